"""What is to be graded, and how: small enough to send to another process or another machine."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from gptdojo.course import Course, Exercise
from gptdojo.report import ExerciseResult, Status, SubmissionResult
from gptdojo.sandbox import Isolation

from .collect import SUFFIXES, Submission, Unreadable, candidates
from .limits import Limits

MAX_MESSAGE = 500


@dataclass(frozen=True)
class Options:
    """How submissions are graded."""

    root: Path
    isolation: Isolation
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One submission with its bytes, or with the reason why it has none."""

    submission: Submission
    options: Options
    content: bytes = field(default=b"", repr=False)
    unreadable: str = ""

    @classmethod
    def read(cls, submission: Submission, options: Options) -> "Job":
        """Read a submission from disk."""
        try:
            content = submission.read()
            if submission.path.suffix not in SUFFIXES:
                raise Unreadable("it is neither a notebook (.ipynb) nor a Python file (.py)")
            return cls(submission, options, content)
        except Unreadable as error:
            return cls(submission, options, unreadable=str(error))

    def candidates(self) -> list[Exercise]:
        """Return what it may be graded on, as far as that can be told without running it."""
        return candidates(_course(self.options.root), self.submission, self.content, self.options.only)


@lru_cache
def _course(root: Path) -> Course:
    """Return a course whose chapter.toml files are read once, however many submissions there are."""
    return Course(root)


def without_verdict(exercise: Exercise, status: Status, message: str) -> ExerciseResult:
    """Return the result of an exercise none of whose properties could be run."""
    return ExerciseResult(exercise.name, exercise.chapter.name, 0.0, float(exercise.points), 0.0, status, message)


def unread(job: Job) -> SubmissionResult:
    """Return the result of a submission that could not be read: nothing of it has to be run."""
    exercises = [without_verdict(exercise, "error", job.unreadable) for exercise in job.candidates()]
    return SubmissionResult(str(job.submission.path), job.submission.learner, exercises, 0.0, job.unreadable)


def broken(job: Job, message: str) -> SubmissionResult:
    """Return the result of a submission on which the grader itself failed: no verdict, and never a zero by right."""
    wanted = job.candidates() or list(_course(job.options.root).exercises.values())
    exercises = [without_verdict(exercise, "grader_error", message[:MAX_MESSAGE]) for exercise in wanted]
    return SubmissionResult(str(job.submission.path), job.submission.learner, exercises, 0.0, message[:MAX_MESSAGE])
