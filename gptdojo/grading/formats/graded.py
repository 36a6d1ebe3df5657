"""What reports are made of: the results of a class, and the circumstances."""

from collections.abc import Sequence
from dataclasses import dataclass

from gptdojo.course import Course
from gptdojo.report import ExerciseResult, SubmissionResult

from ..feedback import Feedback, for_learner
from ..names import digest, file_name, slug


@dataclass(frozen=True)
class Learner:
    """Somebody who handed in: a name to show, a name for files, and what was graded."""

    name: str
    file_name: str
    results: tuple[SubmissionResult, ...]

    @property
    def score(self) -> float:
        """Points won."""
        return round(sum(result.score for result in self.results), 6)

    @property
    def max_score(self) -> float:
        """Points that could be won."""
        return round(sum(result.max_score for result in self.results), 6)

    @property
    def grader_failed(self) -> bool:
        """Whether some verdict is missing because the grader failed."""
        return any(result.grader_failed for result in self.results)

    @property
    def unfinished(self) -> list[ExerciseResult]:
        """The exercises that did not pass."""
        return [entry for result in self.results for entry in result.exercises if entry.status != "passed"]


@dataclass(frozen=True)
class Graded:
    """The results of a class, and how they came about."""

    course: Course
    results: Sequence[SubmissionResult]
    seed: int
    isolation: str
    feedback: Feedback = Feedback.full

    def learners(self) -> list[Learner]:
        """Return everybody who handed in; a submission without a learner's name stands for itself."""
        groups: dict[tuple[bool, str], list[SubmissionResult]] = {}
        for result in self.results:
            named = result.learner is not None
            groups.setdefault((named, result.learner if named else result.submission), []).append(result)  # type: ignore[arg-type]
        return [
            Learner(name, f"{slug(name)}-{digest(name)}" if named else file_name(name), tuple(results))
            for (named, name), results in groups.items()
        ]

    def for_learner(self, result: SubmissionResult) -> SubmissionResult:
        """Return the part of a result that its learner sees."""
        return for_learner(result, self.feedback)
