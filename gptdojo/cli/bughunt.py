"""`gptdojo bughunt`: a broken implementation to repair."""

from typing import Annotated

import typer

from gptdojo.course import find_course
from gptdojo.study.asking import learner_console


def bughunt(
    chapter: Annotated[str | None, typer.Argument(help="a chapter, or a drill of the course")] = None,
    bugs: Annotated[
        int | None, typer.Option(min=1, help="how many bugs are planted (1, in a drill what it says)")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="hand out another file, though one is open")] = False,
    hint: Annotated[bool, typer.Option("--hint", help="the next hint for the first bug that is left")] = False,
    give_up: Annotated[bool, typer.Option("--give-up", help="tell the bugs, and end the hunt")] = False,
) -> None:
    """A broken implementation to repair; called again, it says how many bugs are left. Exit status 1 while there are any."""
    course = find_course()
    course.importable()
    console = learner_console()
    with console.status("loading"):
        from gptdojo.study.hunting import Hunting
    hunting = Hunting(console, course)
    if hint:
        hunting.hint(chapter)
    elif give_up:
        hunting.give_up(chapter)
    elif new or not hunting.has_open(chapter):
        hunting.begin(chapter, bugs)
    else:
        raise typer.Exit(0 if hunting.look(chapter) else 1)
