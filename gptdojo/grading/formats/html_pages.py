"""Pages to open in a browser: one for the class, and one for each learner. They load nothing and run nothing.

Everything of a submission is escaped, and the pages forbid scripts should anything get through.
"""

from pathlib import Path
from statistics import mean, median
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gptdojo.pictures.grid import drawable, grid_picture
from gptdojo.report import ExerciseResult, SubmissionResult
from gptdojo.text import printable

from ..store import write_atomically
from . import statistics
from .graded import Graded, Learner


def write(graded: Graded, folder: Path) -> list[str]:
    """Write class.html and learners/NAME.html."""
    (folder / "learners").mkdir(exist_ok=True)
    learners = graded.learners()
    for learner in learners:
        write_atomically(folder / "learners" / f"{learner.file_name}.html", learner_page(graded, learner))
    write_atomically(folder / "class.html", class_page(graded, learners))
    return []


def learner_page(graded: Graded, learner: Learner) -> str:
    """Return the page of a learner, with as much as the feedback lets them see."""
    shown = [graded.for_learner(result) for result in learner.results]
    return _render("learner.html.j2", course=graded.course, learner=learner, results=shown)


def class_page(graded: Graded, learners: list[Learner]) -> str:
    """Return the page for the instructor."""
    failed = [learner for learner in learners if learner.grader_failed]
    shares = [
        100 * learner.score / learner.max_score for learner in learners if learner.max_score and learner not in failed
    ]
    return _render(
        "class.html.j2",
        course=graded.course,
        learners=learners,
        failed=failed,
        submissions=len(graded.results),
        mean=mean(shares) if shares else 0.0,
        median=median(shares) if shares else 0.0,
        histogram=statistics.histogram(graded),
        charts=[
            ("Exercises", "Points lost, of those that could be won.", statistics.exercises(graded)),
            ("Rungs", "Points lost by those whose first failure is this claim.", statistics.rungs(graded)),
            ("Misconceptions", "Points lost by those whose code gives exactly the results of this belief.",
             statistics.misconceptions(graded)),
        ],
    )  # fmt: skip


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("gptdojo.grading.formats"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else printable(value),
    )
    environment.filters |= {"number": _number, "words": _words, "place": _place, "picture": _picture}
    return environment.get_template(template).render(**values)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _place(result: SubmissionResult) -> str:
    """Return the chapter and the file of a submission, for its learner: the rest of the path is the instructor's."""
    path = Path(result.submission)
    return f"{path.parent.name}/{path.name}" if result.learner is not None else path.name


def _picture(result: ExerciseResult) -> Markup:
    """Return the grid of the first failure; empty where there is none to draw."""
    case = result.failure.counterexample if result.failure else None
    grid = case.grid if case else None
    return Markup(grid_picture(grid)) if grid and drawable(grid) else Markup("")
