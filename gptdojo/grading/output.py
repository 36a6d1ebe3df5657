"""Reports: the JSON object that is a contract, and the table that a person reads."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from rich.table import Table
from rich.text import Text

from gptdojo.report import FORMAT, SubmissionResult
from gptdojo.text import printable

COLORS = {"passed": "green", "not_started": "yellow", "grader_error": "bold magenta"}
PACKAGES = ("gptdojo", "hypothesis", "torch", "numpy")


def json_report(results: Sequence[SubmissionResult], *, seed: int, isolation: str) -> dict[str, Any]:
    """Return the report as plain data."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return {
        "format": FORMAT,
        "seed": seed,
        "isolation": isolation,
        "versions": versions,
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
