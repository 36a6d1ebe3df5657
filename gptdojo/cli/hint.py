"""`gptdojo hint`: the next hint."""

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from gptdojo.course import find_course
from gptdojo.progress import updating

from .check import find_exercise


def hint(exercise: Annotated[str, typer.Argument(help="the name of the exercise")]) -> None:
    """The next hint of an exercise; after the last one, all of them again."""
    course = find_course()
    chosen = find_exercise(course, exercise)
    with updating(course) as current:
        record = current[chosen.name]
        record.hints = min(record.hints + 1, len(chosen.hints))
        shown = record.hints
    console = Console()
    for number, text in enumerate(chosen.hints[:shown], 1):
        style = "default" if number == shown else "dim"
        console.print(Text(f"Hint {number} of {len(chosen.hints)}: {text}", style=style))
