"""`gptdojo grade`: grade submissions."""

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from gptdojo.course import Course, CourseError, find_course
from gptdojo.report import SubmissionResult
from gptdojo.screen import exercise_screen
from gptdojo.text import printable


class Isolation(StrEnum):
    """What stands between a submission and the machine."""

    auto = "auto"
    bubblewrap = "bubblewrap"
    uid = "uid"
    none = "none"


class Format(StrEnum):
    """The forms of a report."""

    json = "json"


def grade(
    paths: Annotated[list[Path], typer.Argument(help="files, folders, or nbgrader's submitted/LEARNER/CHAPTER/")],
    exercise: Annotated[list[str] | None, typer.Option(help="grade only this exercise (may be repeated)")] = None,
    seed: Annotated[int, typer.Option(help="every random choice derives from it")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="how many submissions at once")] = 1,
    isolation: Annotated[Isolation, typer.Option(help="what a submission runs in")] = Isolation.auto,
    timeout: Annotated[float, typer.Option(min=0.1, help="seconds an exercise may take")] = 20.0,
    memory: Annotated[int, typer.Option(min=1024, help="MiB of address space a submission may use")] = 4096,
    out: Annotated[str | None, typer.Option(help="a folder for the report, or - for standard output")] = None,
    format: Annotated[list[Format] | None, typer.Option(help="the form of the report")] = None,  # noqa: A002
) -> None:
    """Grade submissions, each in a process of its own.

    Exit status 0 when every submission was graded, 2 for bad arguments, 3 when the grader itself failed on any.
    """
    course = find_course()
    only = _known(course, exercise or [])
    quiet = out == "-"
    from gptdojo.grading.collect import collect
    from gptdojo.sandbox import Unavailable, choose
    from gptdojo.sandbox.zygote import prepare

    try:
        submissions = collect(course, paths)
        chosen = choose(
            isolation.value, [*(course.root / name for name in ("solutions", "tests", "reference")), *paths]
        )
    except (FileNotFoundError, Unavailable) as error:
        raise CourseError(str(error)) from None
    if not submissions:
        raise CourseError(f"no notebook (.ipynb) or Python file (.py) in {', '.join(map(str, paths))}")
    if jobs == 1:
        prepare(chosen)  # it imports torch while this process does
    from gptdojo.grading.grade import Options
    from gptdojo.grading.output import json_report, table
    from gptdojo.grading.process import Limits
    from gptdojo.grading.run import grade_all

    errors = Console(stderr=True)
    if chosen.warning:
        errors.print(Text(chosen.warning, style="yellow"))
    options = Options(course.root, chosen, seed=seed, limits=Limits(timeout, memory), only=only)
    with _progress(errors, quiet) as progress:
        task = progress.add_task("grading", total=len(submissions))

        def done(result: SubmissionResult) -> None:
            progress.advance(task)
            if not quiet and not errors.is_terminal:
                errors.print(Text(f"{printable(result.submission)}: {result.score:.4g} of {result.max_score:g}"))

        results = grade_all(submissions, options, jobs, done)
    report = json_report(results, seed=seed, isolation=chosen.kind)
    if quiet:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        console = Console()
        console.print(table(results))
        if len(results) == 1:
            for entry in results[0].exercises:
                if entry.status != "passed":
                    console.print(Group("", exercise_screen(entry)))
        if out is not None:
            _write(Path(out), json.dumps(report, indent=1))
    failed = any(entry.status == "grader_error" for result in results for entry in result.exercises)
    raise typer.Exit(3 if failed else 0)


def _known(course: Course, names: list[str]) -> tuple[str, ...]:
    from .check import find_exercise

    return tuple(find_exercise(course, name).name for name in names)


def _progress(console: Console, quiet: bool) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal)


def _write(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".report-{os.getpid()}.json"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, folder / "report.json")
