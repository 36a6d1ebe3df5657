"""What learners see of a result. What they must not see is taken out of the data, before any page is made of it."""

from dataclasses import replace
from enum import StrEnum

from gptdojo.report import ExerciseResult, PropertyResult, SubmissionResult

HIDDEN = "this does not hold"


class Feedback(StrEnum):
    """How much learners see: everything; the names of what holds and what does not; their points."""

    full = "full"
    names = "names"
    score = "score"


def for_learner(result: SubmissionResult, feedback: Feedback | str) -> SubmissionResult:
    """Return the part of a result that its learner sees.

    `names` leaves out inputs, values and whatever the submission said while it was graded; it keeps what its cells raised when they
    were loaded, before any input was drawn. `score` leaves points and a status.
    """
    message = "" if feedback == Feedback.score else result.message
    return replace(
        result, message=message, exercises=[exercise_for_learner(each, feedback) for each in result.exercises]
    )


def exercise_for_learner(result: ExerciseResult, feedback: Feedback | str) -> ExerciseResult:
    """Return the part of an exercise's result that its learner sees."""
    if feedback == Feedback.full:
        return result
    if feedback == Feedback.score:
        return replace(result, message="", misconceptions=[], properties=[])
    before_any_input = not result.properties
    return replace(
        result,
        message=result.message if before_any_input else "",
        properties=[_named(entry) for entry in result.properties],
    )


def _named(result: PropertyResult) -> PropertyResult:
    return replace(result, message=HIDDEN if result.verdict == "failed" else "", counterexample=None)
