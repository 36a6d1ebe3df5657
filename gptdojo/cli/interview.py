"""`gptdojo interview`: a timed mock interview."""

from typing import Annotated

import typer

from gptdojo.course import find_course
from gptdojo.study.asking import learner_console


def interview(
    minutes: Annotated[float, typer.Option(min=1, help="how long it lasts")] = 45,
    seed: Annotated[int | None, typer.Option(help="the same seed asks the same")] = None,
) -> None:
    """A timed mock interview: two questions, a calculation, code to write, code to repair, and a written debrief.

    Ctrl-C leaves it, and the same command goes on. Exit status 1 when it was left.
    """
    course = find_course()
    course.importable()
    console = learner_console()
    with console.status("loading"):
        from gptdojo.study.interviewing import interview as conduct
    raise typer.Exit(0 if conduct(console, course, minutes, seed) else 1)
