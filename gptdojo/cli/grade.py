"""`gptdojo grade`: grade submissions."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from gptdojo.course import Course, CourseError, find_course
from gptdojo.grading.feedback import Feedback
from gptdojo.grading.formats import FORMATS
from gptdojo.grading.run import PoolLost

if TYPE_CHECKING:
    from gptdojo.grading.formats.graded import Graded

    from .batch import Batch


class Isolation(StrEnum):
    """What stands between a submission and the machine."""

    auto = "auto"
    bubblewrap = "bubblewrap"
    uid = "uid"
    none = "none"


Form = StrEnum("Form", {name: name for name in FORMATS})  # type: ignore[misc]
FORM_HELP = "the form of the report, may be repeated; " + "; ".join(
    f"{name}: {form.description}" for name, form in FORMATS.items()
)


def grade(
    paths: Annotated[list[Path], typer.Argument(help="files, folders, or nbgrader's submitted/LEARNER/CHAPTER/")],
    exercise: Annotated[list[str] | None, typer.Option(help="grade only this exercise (may be repeated)")] = None,
    seed: Annotated[
        int | None, typer.Option(help="every random choice derives from it; that of the class, or 0, if left out")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="how many submissions at once")] = 1,
    cluster: Annotated[str | None, typer.Option(metavar="ADDRESS", help="a dask scheduler whose workers grade")] = None,
    isolation: Annotated[Isolation, typer.Option(help="what a submission runs in")] = Isolation.auto,
    timeout: Annotated[float, typer.Option(min=0.1, help="seconds an exercise may take")] = 20.0,
    memory: Annotated[int, typer.Option(min=1024, help="MiB of address space a submission may use")] = 4096,
    feedback: Annotated[
        Feedback, typer.Option(help="what learners see in html and gradescope: everything, names of claims, or points")
    ] = Feedback.full,
    out: Annotated[str | None, typer.Option(help="a folder for the results, or - for standard output")] = None,
    forms: Annotated[list[Form] | None, typer.Option("--format", help=FORM_HELP)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="keep what --out holds; grade what is missing or changed")
    ] = False,
) -> None:
    """Grade submissions, each in a process of its own.

    Exit status 0 when every submission was graded, 2 for bad arguments, 3 when the grader itself failed on any, 130 when it was
    stopped.
    """
    from .batch import Batch

    course = find_course()
    formats = tuple(dict.fromkeys(map(str, forms or ()))) or (("json",) if out is not None else ())
    _check_output(out, formats, resume)
    batch = Batch(
        course=course,
        paths=paths,
        only=_known(course, exercise or []),
        seed=_class_seed(course) if seed is None else seed,
        jobs=jobs,
        cluster=cluster,
        isolation=isolation.value,
        timeout=timeout,
        memory=memory,
        folder=Path(out) if out not in (None, "-") else None,
        resume=resume,
        quiet=out == "-",
    )
    try:
        graded = batch.run(feedback)
        _report(batch, graded, formats)
    except KeyboardInterrupt:
        _say(batch.how_to_go_on())
        raise typer.Exit(130) from None
    except PoolLost as error:
        _say(f"{error}. {batch.how_to_go_on()}")
        raise typer.Exit(3) from None
    except OSError as error:
        raise CourseError(f"{error}. {batch.how_to_go_on()}") from None
    raise typer.Exit(3 if any(result.grader_failed for result in graded.results) else 0)


def _report(batch: "Batch", graded: "Graded", formats: Sequence[str]) -> None:
    if batch.quiet:
        sys.stdout.write(FORMATS[formats[0]].text(graded))
        return
    batch.show(graded)
    for name in formats:
        for problem in FORMATS[name].write(graded, batch.folder or Path.cwd()):
            _say(problem)
    batch.say_where(formats)


def _check_output(out: str | None, formats: tuple[str, ...], resume: bool) -> None:
    texts = [name for name, form in FORMATS.items() if form.is_text]
    if out == "-" and (len(formats) != 1 or formats[0] not in texts):
        raise CourseError(f"--out - takes one --format of {', '.join(texts)}; a folder takes any number of them")
    if out is None and set(formats) - {"nbgrader"}:
        raise CourseError("--format needs a place: --out FOLDER, or --out - for standard output")
    if resume and out in (None, "-"):
        raise CourseError("--resume needs the folder that was given as --out before")


def _class_seed(course: Course) -> int:
    from gptdojo.classroom.seed import class_seed

    return class_seed(course) or 0


def _known(course: Course, names: list[str]) -> tuple[str, ...]:
    from .check import find_exercise

    return tuple(find_exercise(course, name).name for name in names)


def _say(text: str) -> None:
    Console(stderr=True).print(Text(text, style="yellow"), soft_wrap=True)
