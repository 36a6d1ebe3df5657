"""The second half of a drill: once the program is whole, add to it, and prove with a test of your own that it is right."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from gptdojo.course import Course, CourseError
from gptdojo.report import ExerciseResult
from gptdojo.screen import exercise_screen

from .asking import busy
from .attempt import Verdict
from .attempt_process import try_file
from .drill import Drill
from .hunt import Hunt
from .repair import grade_source
from .writing import report, shortcomings


def part_two(console: Console, course: Course, drill: Drill, hunt: Hunt, source: bytes | None) -> bool:
    """Say how far the learner has come after the repair; return whether all of it is done."""
    content = hunt.source() if source is None else source
    with busy(console, "checking the whole program"):
        whole = grade_source(course, content, drill.exercises, alone=False, shrink=True)
        added = grade_source(course, content, drill.then, shrink=True) if not whole.broken else whole
    if whole.broken:
        console.print(Text("Each function is right by itself, and the program is not: what calls what?", style="red"))
        console.print(exercise_screen(whole.results[whole.broken[0]]))
        return False
    for name in added.broken:
        _show(console, drill, added.results[name], first=name == added.broken[0])
    if added.broken:
        return False
    return _proved(console, course, drill, content)


def _show(console: Console, drill: Drill, result: ExerciseResult, *, first: bool) -> None:
    if result.status in ("not_started", "missing"):
        if first:
            console.print(Text(drill.part_two))
    elif first:
        console.print(exercise_screen(result))


def _proved(console: Console, course: Course, drill: Drill, content: bytes) -> bool:
    exercise = course.exercises[drill.prove]
    with busy(console, "trying your test"), _file(content) as path:
        try:
            verdicts = try_file(course, exercise, path)
        except CourseError as error:
            console.print(Text(str(error).replace(str(path), "your program"), style="red"))
            return False
    refused, _ = shortcomings(verdicts)
    enough = rejected(verdicts) >= drill.rejects
    if refused or not enough:
        console.print(report(exercise, verdicts), highlight=False)
        console.print(Text(f"Part two is done when it rejects {drill.rejects:.0%} of the wrong ones."))
        return False
    console.print(Text(drill.done, style="bold green"))
    return True


def rejected(verdicts: list[Verdict]) -> float:
    """Return the share of wrong implementations that a test rejects."""
    wrong = [verdict.outcome != "passed" for verdict in verdicts if not verdict.variant.right]
    return sum(wrong) / len(wrong)


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[Path]:
    """Yield a file with this content, for a process of its own."""
    handle, name = tempfile.mkstemp(suffix=".py")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
