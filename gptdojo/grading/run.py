"""Grades many submissions, several at once."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any

from gptdojo.report import SubmissionResult

from .collect import Submission
from .grade import Options, broken, grade


class _Here(Executor):
    """Runs a job at once in this process."""

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Return a future that is done."""
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextmanager
def executor(jobs: int) -> Iterator[Executor]:
    """Yield what runs `jobs` gradings at once, each in a grader process of its own when there are several."""
    if jobs == 1:
        yield _Here()
        return
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def grade_all(
    submissions: Sequence[Submission], options: Options, jobs: int, done: Callable[[SubmissionResult], None]
) -> list[SubmissionResult]:
    """Grade every submission; `done` is told of each as it finishes. The results are in the order of the submissions."""
    results: dict[Submission, SubmissionResult] = {}
    with executor(min(jobs, len(submissions)) or 1) as pool:
        for submission, result in _finished(pool, submissions, options):
            results[submission] = result
            done(result)
    for submission in submissions:
        if submission not in results:  # a grader was lost while it was graded, or waited: once more, by itself
            results[submission] = _alone(submission, options)
            done(results[submission])
    return [results[submission] for submission in submissions]


def _finished(
    pool: Executor, submissions: Iterable[Submission], options: Options
) -> Iterator[tuple[Submission, SubmissionResult]]:
    if isinstance(pool, _Here):
        yield from ((submission, pool.submit(grade, submission, options).result()) for submission in submissions)
        return
    futures = {pool.submit(grade, submission, options): submission for submission in submissions}
    for future in as_completed(futures):
        with suppress(BrokenProcessPool):
            yield futures[future], future.result()


def _alone(submission: Submission, options: Options) -> SubmissionResult:
    with executor(2) as pool:
        try:
            return pool.submit(grade, submission, options).result()
        except BrokenProcessPool:
            return broken(submission, options, "the grader's process died twice on this submission")
