"""`gptdojo watch`: the same as check, again on every save."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from gptdojo.course import CourseError, Exercise, find_course

from .check import show, targets

PAUSE_MS = 100  # after a save, for an editor that writes a file in several steps


def watch(
    what: Annotated[
        str | None, typer.Argument(help="a chapter, an exercise or a file; all chapters if left out")
    ] = None,
) -> None:
    """Check my work again on every save, until Ctrl-C. Never writes to a file of yours."""
    import watchfiles

    course = find_course()
    chosen = {path.resolve(): (path, exercises) for path, exercises in targets(course, what)}
    console = Console()
    for target in chosen.values() if len(chosen) == 1 else ():
        _check(console, *target)
    names = next(iter(chosen.values()))[0] if len(chosen) == 1 else f"{len(chosen)} notebooks"
    console.print(Text(f"Watching {names}; Ctrl-C ends it.", style="dim"))
    folders = sorted({path.parent for path in chosen})
    saved = watchfiles.watch(
        *folders, watch_filter=lambda change, path: change != watchfiles.Change.deleted and Path(path) in chosen,
        debounce=PAUSE_MS * 4, step=PAUSE_MS, recursive=False, raise_interrupt=False,
    )  # fmt: skip
    for changes in saved:
        for path in sorted({Path(name) for _, name in changes}):
            console.rule(Text(f"{path.name}"), align="left")
            _check(console, *chosen[path])
    console.print()


def _check(console: Console, path: Path, exercises: Sequence[Exercise] | None) -> None:
    """Check one file; what cannot be checked at the moment is said, and watching goes on."""
    from gptdojo.selfstudy import check_file

    try:
        checked = check_file(find_course(), path, exercises)
    except CourseError as error:
        console.print(Text(str(error), style="red"))
    else:
        show(console, checked.results, checked.notes)
