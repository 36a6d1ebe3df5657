"""What grading says: one record a property, an exercise, a submission. The JSON form is a contract."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["passed", "failed", "not_run"]
Status = Literal[
    "passed", "failed", "not_started", "missing", "error", "timeout", "memory", "crashed", "forbidden", "grader_error"
]
FORMAT = 1


@dataclass
class Counterexample:
    """A failing case as text, each value as short as it can be read.

    `grid` holds two boolean matrices as rows, `calls` the calls that led to the failure, a line of Python each.
    """

    inputs: dict[str, str] = field(default_factory=dict)
    expected: str | None = None
    got: str | None = None
    grid: dict[str, Any] | None = None
    calls: list[str] = field(default_factory=list)


@dataclass
class PropertyResult:
    """The verdict on one property."""

    property: str
    rung: int
    verdict: Verdict
    message: str = ""
    counterexample: Counterexample | None = None
    claim: str = field(default="", metadata={"json": False})


@dataclass
class Explanation:
    """A misconception that reproduces what the learner's code does."""

    name: str
    believes: str
    truth: str


@dataclass
class ExerciseResult:
    """The verdict on one exercise."""

    exercise: str
    chapter: str
    score: float
    max_score: float
    seconds: float
    status: Status
    message: str = ""
    misconceptions: list[Explanation] = field(default_factory=list)
    properties: list[PropertyResult] = field(default_factory=list)

    @property
    def failure(self) -> PropertyResult | None:
        """The first property that failed."""
        return next((result for result in self.properties if result.verdict == "failed"), None)

    def to_json(self) -> dict[str, Any]:
        """Return the record of the JSON report."""
        record = asdict(self)
        record["misconceptions"] = [explanation.name for explanation in self.misconceptions]
        for result in record["properties"]:
            del result["claim"]
        return record


@dataclass
class SubmissionResult:
    """The verdict on one submission."""

    submission: str
    learner: str | None
    exercises: list[ExerciseResult]
    seconds: float
    message: str = ""

    @property
    def score(self) -> float:
        """Points won."""
        return round(sum(result.score for result in self.exercises), 6)

    @property
    def max_score(self) -> float:
        """Points that could be won."""
        return round(sum(result.max_score for result in self.exercises), 6)

    @property
    def grader_failed(self) -> bool:
        """Whether some verdict is missing because the grader failed."""
        return any(result.status == "grader_error" for result in self.exercises)

    def to_json(self) -> dict[str, Any]:
        """Return the record of the JSON report."""
        return {
            "submission": self.submission,
            "learner": self.learner,
            "score": self.score,
            "max_score": self.max_score,
            "seconds": self.seconds,
            "message": self.message,
            "exercises": [result.to_json() for result in self.exercises],
        }
