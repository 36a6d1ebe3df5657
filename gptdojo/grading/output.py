"""Reports: the JSON object that is a contract, and the table that a person reads."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from gptdojo.report import FORMAT, SubmissionResult
from gptdojo.text import printable

from .versions import versions

COLORS = {"passed": "green", "not_started": "yellow", "grader_error": "bold magenta"}


def json_report(results: Sequence[SubmissionResult], *, seed: int, isolation: str) -> dict[str, Any]:
    """Return the report as plain data."""
    return {
        "format": FORMAT,
        "seed": seed,
        "isolation": isolation,
        "versions": versions(),
        "submissions": [result.to_json() for result in results],
    }


def table(results: Sequence[SubmissionResult]) -> Table:
    """Return one row a submission."""
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for name, justify in (("submission", "left"), ("points", "right"), ("seconds", "right"), ("exercises", "left")):
        drawn.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for result in results:
        statuses = Text(", ").join(
            Text.assemble(f"{entry.exercise} ", (entry.status.replace("_", " "), COLORS.get(entry.status, "red")))
            for entry in result.exercises
        )
        name = f"{result.learner}: {result.submission}" if result.learner else result.submission
        points = f"{result.score:.4g} of {result.max_score:g}"
        drawn.add_row(
            Text(printable(name)),
            points,
            f"{result.seconds:.1f}",
            statuses if result.exercises else Text(printable(result.message)),
        )
    return drawn


def summary(results: Sequence[SubmissionResult]) -> str:
    """Return one line about a class."""
    failed = sum(result.grader_failed for result in results)
    shares = [result.score / result.max_score for result in results if result.max_score and not result.grader_failed]
    parts = [f"{len(results)} submissions"]
    if shares:
        parts.append(f"{100 * sum(shares) / len(shares):.0f} % of the points on average")
    if failed:
        parts.append(f"the grader failed on {failed}: no verdict there, and no zero; --resume tries again")
    return ", ".join(parts)
