"""Grades many submissions, several at once."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from itertools import islice
from typing import Protocol

from gptdojo.report import SubmissionResult

from .collect import Submission
from .job import Job, Options, broken
from .pool import Graders


class Pool(Protocol):
    """What jobs are given to: processes of this machine, or a cluster."""

    @property
    def width(self) -> int:
        """How many jobs it should have at a time, so that it never waits for one."""

    def submit(self, job: Job) -> "Future[SubmissionResult]":
        """Return the future result of a job; raises PoolLost."""


class PoolLost(Exception):
    """What jobs were given to is gone; the message says what."""


def grade_all(
    submissions: Sequence[Submission], options: Options, jobs: int, done: Callable[[SubmissionResult], None]
) -> list[SubmissionResult]:
    """Grade every submission on this machine; `done` is told of each as it finishes. The results are in their order."""
    results: dict[Submission, SubmissionResult] = {}

    def note(job: Job, result: SubmissionResult) -> None:
        results[job.submission] = result
        done(result)

    with Graders(max(1, min(jobs, len(submissions)))) as pool:
        grade_on(pool, submissions, options, note)
    return [results[submission] for submission in submissions]


def grade_on(
    pool: Pool, submissions: Iterable[Submission], options: Options, done: Callable[[Job, SubmissionResult], None]
) -> None:
    """Grade every submission on a pool; `done` is told of each as it finishes. Submissions are read when it is their turn.

    Raises PoolLost when the pool is gone.
    """
    rest = iter(submissions)
    waiting: dict[Future[SubmissionResult], Job] = {}
    while True:
        for submission in islice(rest, max(0, pool.width - len(waiting))):
            job = Job.read(submission, options)
            waiting[pool.submit(job)] = job
        if not waiting:
            return
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            job = waiting.pop(future)
            done(job, _outcome(future, job))


def _outcome(future: "Future[SubmissionResult]", job: Job) -> SubmissionResult:
    try:
        return future.result()
    except CancelledError:
        raise PoolLost("the cluster is gone") from None
    except Exception as error:
        return broken(job, f"the grader failed on this submission: {type(error).__name__}: {error}")
