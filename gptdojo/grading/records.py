"""Reads results back from their JSON form; what that form leaves out is in the course."""

from typing import Any

from gptdojo.course import Course
from gptdojo.report import Counterexample, ExerciseResult, Explanation, PropertyResult, SubmissionResult


class Unfit(Exception):
    """A record names what the course does not have."""


def read_record(record: dict[str, Any], course: Course) -> SubmissionResult:
    """Return the result that `SubmissionResult.to_json` made a record of.

    Raises Unfit if it names exercises, properties or misconceptions that the course does not have; KeyError or TypeError if it is
    no such record.
    """
    exercises = [_exercise(row, course) for row in record["exercises"]]
    return SubmissionResult(record["submission"], record["learner"], exercises, record["seconds"], record["message"])


def _exercise(row: dict[str, Any], course: Course) -> ExerciseResult:
    from gptdojo.catalog import Misconception, load_catalog

    if row["exercise"] not in course.exercises:
        raise Unfit(row["exercise"])
    name = row["exercise"]
    catalog = load_catalog(course.exercises[name].chapter)
    claims = {entry.name: entry.claim for entry in catalog.properties(name)} if row["properties"] else {}
    wrong = {entry.name: entry for entry in catalog.of(Misconception, name)} if row["misconceptions"] else {}
    try:
        properties = [_property(entry, claims[entry["property"]]) for entry in row["properties"]]
        explained = [Explanation(key, wrong[key].believes, wrong[key].truth) for key in row["misconceptions"]]
    except KeyError as error:
        raise Unfit(str(error)) from None
    return ExerciseResult(**row | {"properties": properties, "misconceptions": explained})


def _property(entry: dict[str, Any], claim: str) -> PropertyResult:
    case = entry["counterexample"]
    return PropertyResult(**entry | {"counterexample": Counterexample(**case) if case else None, "claim": claim})
