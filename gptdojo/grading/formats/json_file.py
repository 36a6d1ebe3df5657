"""The JSON report: a contract, and for instructors only."""

import json
from pathlib import Path

from ..output import json_report
from ..store import write_atomically
from .graded import Graded


def text(graded: Graded) -> str:
    """Return the report as one line."""
    return json.dumps(json_report(graded.results, seed=graded.seed, isolation=graded.isolation)) + "\n"


def write(graded: Graded, folder: Path) -> list[str]:
    """Write report.json."""
    report = json_report(graded.results, seed=graded.seed, isolation=graded.isolation)
    write_atomically(folder / "report.json", json.dumps(report, indent=1) + "\n")
    return []
