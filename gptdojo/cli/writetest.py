"""`gptdojo writetest`: write the test; it is graded by what it rejects and accepts."""

from typing import Annotated

import typer

from gptdojo.course import find_course
from gptdojo.study.asking import learner_console

from .check import find_exercise


def writetest(exercise: Annotated[str, typer.Argument(help="the name of the exercise to test")]) -> None:
    """Write the test: the first call makes a file to start from, later ones say what your test lets through.

    Exit status 1 while the test refuses a right implementation or lets a wrong one through.
    """
    course = find_course()
    chosen = find_exercise(course, exercise)
    console = learner_console()
    with console.status("loading"):
        from gptdojo.study.writing import file_of, write_test
    first = not file_of(chosen).exists()
    complete = write_test(console, course, chosen)
    raise typer.Exit(0 if complete or first else 1)
