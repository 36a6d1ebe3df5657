"""`gptdojo build`: solutions/ to exercises/, for authors."""

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from gptdojo.course import CourseError, find_course

STYLES = {"written": "green", "unchanged": "dim", "kept": "yellow", "failed": "bold red"}


def build(
    check: Annotated[
        bool, typer.Option("--check", help="only say whether exercises/ is what solutions/ makes")
    ] = False,
) -> None:
    """Make the notebooks of exercises/ from solutions/; one that somebody has filled in is never overwritten."""
    from gptdojo import build as builder

    course = find_course()
    console = Console()
    if check:
        differences = builder.check(course)
        for difference in differences:
            console.print(Text(f"{difference.kind}: {difference.path}: {difference.message}", style="red"))
        if not differences:
            console.print("exercises/ is what solutions/ makes.")
        raise typer.Exit(1 if differences else 0)
    results = builder.build(course)
    if not results:
        raise CourseError(f"{course.root / 'solutions'} holds no chapter")
    for built in results:
        console.print(
            Text.assemble((f"{built.status:10}", STYLES[built.status]), f"{built.notebook} {built.error}".rstrip())
        )
        for change in built.changes:
            console.print(Text(f"{'':10}somebody has filled it in: {change}"))
        for change in built.outdated:
            console.print(Text(f"{'':10}it is out of date: {change}"))
    raise typer.Exit(1 if any(built.status == "failed" for built in results) else 0)
