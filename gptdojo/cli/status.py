"""`gptdojo`: where I stand, and the one next thing to do."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gptdojo.course import Course, Exercise, find_course
from gptdojo.progress import Record, records

MARKS = {"passed": ("done", "green"), "not_started": ("-", "dim")}


def status(
    context: typer.Context,
    track: Annotated[str, typer.Option(help="core, deep, or all")] = "core",
) -> None:
    """Where I stand, and the one next thing to do."""
    if context.invoked_subcommand is not None:
        return
    course = find_course()
    if track not in ("core", "deep", "all"):
        raise typer.BadParameter(f"track is core, deep or all, not {track}")
    current = records(course)
    chosen = [e for e in course.exercises.values() if track in ("all", e.track)]
    console = Console()
    console.print(Text(course.name, style="bold"))
    console.print(_table(course, chosen, current))
    console.print(_next(chosen, current), highlight=False)


def _table(course: Course, chosen: list[Exercise], current: dict[str, Record]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, justify in (("chapter", "left"), ("exercises", "left"), ("points", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for chapter in course.chapters.values():
        own = [exercise for exercise in chosen if exercise.chapter.name == chapter.name]
        if own:
            won = sum(current[exercise.name].score for exercise in own)
            states = Text(", ").join(_state(exercise, current[exercise.name]) for exercise in own)
            total = sum(exercise.points for exercise in own)
            table.add_row(f"{chapter.number}. {chapter.title}", states, f"{won:g} of {total:g}")
    return table


def _state(exercise: Exercise, record: Record) -> Text:
    words, style = MARKS.get(record.status, (record.status.replace("_", " "), "red"))
    return Text.assemble(exercise.name, " ", (words, style))


def _next(chosen: list[Exercise], current: dict[str, Record]) -> str:
    exercise = next((e for e in chosen if current[e.name].status != "passed"), None)
    if exercise is None:
        return "\nAll of it is done. Read course.md once more, aloud: its cards are what interviewers ask."
    notebook = exercise.chapter.notebook.relative_to(exercise.chapter.course.root)
    if current[exercise.name].status == "not_started":
        return f"\nNext: {exercise.name} (about {exercise.minutes} minutes). Open {notebook}, fill it in, run its check cell."
    check, hint = f"gptdojo check {exercise.name}", f"gptdojo hint {exercise.name}"
    return f"\nNext: mend {exercise.name} in {notebook}; `{check}` says what fails, `{hint}` helps."
