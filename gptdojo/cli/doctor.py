"""`gptdojo doctor`: what works on this machine, each promise of the sandbox tried."""

import platform
import statistics
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gptdojo.course import CourseError, find_course

from .grade import Isolation

PARTS = {
    "learn": ("torch", "hypothesis", "jaxtyping", "rich"),
    "notebooks": ("jupyterlab", "ipykernel", "matplotlib"),
    "class": ("nbgrader", "jupytext", "nbclient"),
}


def doctor(
    isolation: Annotated[Isolation, typer.Option(help="the isolation to try")] = Isolation.auto,
) -> None:
    """What works on this machine, each promise of the sandbox tried; exit status 1 if one is broken."""
    from gptdojo.sandbox import Unavailable, choose
    from gptdojo.sandbox.promises import overhead, try_promises

    course = find_course()
    console = Console()
    console.print(f"Python {platform.python_version()}, course {course.root}", highlight=False)
    for part, packages in PARTS.items():
        console.print(Text(f"{part}: " + ", ".join(f"{name} {_version(name)}" for name in packages)))
    try:
        chosen = choose(isolation.value)
    except Unavailable as error:
        raise CourseError(str(error)) from None
    console.print(Text(f"isolation: {chosen.kind}" + (f" ({chosen.bwrap})" if chosen.bwrap else "")))
    if chosen.warning:
        console.print(Text(chosen.warning, style="yellow"))
    private = [course.root / name for name in ("solutions", "tests", "exercises", "reference")]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("a submission", "", "seen"):
        table.add_column(name, overflow="fold")
    broken = False
    with console.status("trying each promise"):
        for trial in try_promises(chosen, private):
            broken = broken or not trial.held
            word = Text("holds", "green") if trial.held else Text("BROKEN", "bold red")
            table.add_row(Text(trial.promise), word, Text(trial.seen))
        seconds = overhead(chosen)
    console.print(table)
    middle = statistics.median(seconds)
    console.print(
        f"overhead of a submission: {middle:.2f} s (median of {len(seconds)}: sandbox, interpreter and torch)"
    )
    raise typer.Exit(1 if broken else 0)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
