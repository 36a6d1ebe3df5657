"""`gptdojo solution`: one worked solution beside mine."""

import json
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from gptdojo.course import Exercise, find_course
from gptdojo.progress import records

from .check import find_exercise

SIDE_BY_SIDE = 170  # columns; in less, one stands below the other


def solution(exercise: Annotated[str, typer.Argument(help="the name of the exercise")]) -> None:
    """One worked solution beside mine; asks first if mine does not pass yet."""
    from gptdojo.study.asking import Left, confirm

    course = find_course()
    chosen = find_exercise(course, exercise)
    console = Console()
    if records(course)[chosen.name].status != "passed":
        hints = f"`gptdojo hint {chosen.name}` gives less away."
        console.print(Text(f"{chosen.name} does not pass yet, as far as `gptdojo check` has seen. {hints}"))
        try:
            if not confirm(console, "Show a solution all the same?", default=False):
                raise typer.Exit(1)
        except Left:
            console.print()
            raise typer.Exit(1) from None
    console.print(beside(chosen, worked(chosen), mine(chosen), console.width))


def beside(exercise: Exercise, right: str, own: str | None, width: int) -> RenderableType:
    """Return both sources, side by side where there is room."""
    other: RenderableType = _code(own) if own else Text(f"There is none in {exercise.chapter.notebook}.")
    heads = [Text(words, style="bold") for words in ("one worked solution", "yours")]
    if width < SIDE_BY_SIDE:
        return Group(heads[0], _code(right), Text(), heads[1], other)
    table = Table.grid(padding=(0, 3, 0, 0), expand=True)
    table.add_row(*heads)
    table.add_row(_code(right), other)
    return table


def _code(source: str) -> Syntax:
    return Syntax(source, "python", theme="bw", word_wrap=True, background_color="default")


def worked(exercise: Exercise) -> str:
    """Return the cell of the worked chapter that defines an exercise."""
    from gptdojo.worker.submission import cells_of

    for name, _, source in cells_of("py", exercise.chapter.solution.read_bytes()):
        if name == exercise.name:
            lines = [line for line in source.strip("\n").split("\n") if not line.startswith("# %%")]
            return "\n".join(line for line in lines if not line.strip().startswith("### ")).strip("\n")
    return ""


def mine(exercise: Exercise) -> str | None:
    """Return the cell of the learner's notebook that defines an exercise, None where there is none."""
    from gptdojo.worker.submission import NotASubmission, cells_of

    try:
        cells = cells_of("ipynb", exercise.chapter.notebook.read_bytes())
    except (OSError, NotASubmission, json.JSONDecodeError):
        return None
    found = [source for _, _, source in cells if exercise.is_defined_in(source.encode())]
    return found[-1] if found else None
