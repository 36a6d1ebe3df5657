"""Tables for spreadsheets: scores.csv with a row a submission, exercises.csv with a row an exercise."""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from gptdojo.text import printable

from ..store import write_atomically
from .graded import Graded

Cell = str | float
# what starts a formula, where a cell starts: also where a spreadsheet that splits at other marks would start one
FORMULA = re.compile(r"(^|[;,|\t\r\n\"'])(\s*)([=+\-@＝＋－＠])")


def text(graded: Graded) -> str:
    """Return scores.csv."""
    exercises = list(dict.fromkeys(entry.exercise for result in graded.results for entry in result.exercises))
    rows: list[list[Cell]] = [["learner", "submission", "score", "max_score", "message", *exercises]]
    for result in graded.results:
        points: dict[str, Cell] = {entry.exercise: entry.score for entry in result.exercises}
        # a verdict that is missing because the grader failed is no zero, in a sum neither
        points |= {entry.exercise: "grader_error" for entry in result.exercises if entry.status == "grader_error"}
        score: Cell = "grader_error" if result.grader_failed else result.score
        row: list[Cell] = [result.learner or "", result.submission, score, result.max_score, result.message]
        rows.append(row + [points.get(name, "") for name in exercises])
    return _table(rows)


def write(graded: Graded, folder: Path) -> list[str]:
    """Write both tables."""
    write_atomically(folder / "scores.csv", text(graded))
    rows: list[list[Cell]] = [
        [
            "learner",
            "submission",
            "chapter",
            "exercise",
            "status",
            "score",
            "max_score",
            "first_failed",
            "misconceptions",
        ]
    ]
    for result in graded.results:
        for entry in result.exercises:
            failed = entry.failure.property if entry.failure else ""
            score: Cell = "" if entry.status == "grader_error" else entry.score
            named = " ".join(explanation.name for explanation in entry.misconceptions)
            row = [result.learner or "", result.submission, entry.chapter, entry.exercise, entry.status]
            rows.append([*row, score, entry.max_score, failed, named])
    write_atomically(folder / "exercises.csv", _table(rows))
    return []


def _table(rows: Iterable[Iterable[Cell]]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([disarmed(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return table.getvalue()


def disarmed(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula.

    >>> disarmed("=HYPERLINK(1)"), disarmed("two"), disarmed("a; @SUM(1)")
    ("'=HYPERLINK(1)", 'two', "a; '@SUM(1)")
    """
    return FORMULA.sub(r"\1\2'\3", printable(text))
