"""Grades a class for the command line: the pool, the results that are kept, and what a person sees meanwhile."""

import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group
from rich.text import Text

from gptdojo.course import Course, CourseError
from gptdojo.grading.collect import Submission, collect
from gptdojo.grading.feedback import Feedback
from gptdojo.grading.formats.graded import Graded
from gptdojo.grading.job import Job, Options
from gptdojo.grading.limits import Limits
from gptdojo.grading.output import summary, table
from gptdojo.grading.pool import Graders
from gptdojo.grading.run import Pool, grade_on
from gptdojo.grading.store import InUse, Store
from gptdojo.report import SubmissionResult
from gptdojo.sandbox import Isolation, Unavailable, choose

from .meter import Meter

CONTENT = ("solutions", "tests", "reference")


@dataclass
class Batch:
    """One run of `gptdojo grade`."""

    course: Course
    paths: Sequence[Path]
    only: tuple[str, ...]
    seed: int
    jobs: int
    cluster: str | None
    isolation: str
    timeout: float
    memory: int
    folder: Path | None
    resume: bool
    quiet: bool
    results: dict[Submission, SubmissionResult] = field(default_factory=dict)
    submissions: list[Submission] = field(default_factory=list)

    def run(self, feedback: Feedback) -> Graded:
        """Grade what there is to grade. Raises CourseError for what cannot be done, KeyboardInterrupt or PoolLost when it was stopped."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self.submissions = collect(self.course, self.paths)
            if not self.submissions:
                names = ", ".join(map(str, self.paths))
                raise CourseError(f"no notebook (.ipynb) or Python file (.py) in {names}")
            with ExitStack() as stack:
                store = stack.enter_context(Store(self.folder)) if self.folder else None
                pool, isolation = stack.enter_context(self._pool())
                self._grade(pool, isolation, store)
        except (FileNotFoundError, Unavailable, InUse) as error:
            raise CourseError(str(error)) from None
        ordered = [self.results[submission] for submission in self.submissions]
        return Graded(self.course, ordered, self.seed, isolation.kind, feedback)

    @contextmanager
    def _pool(self) -> Iterator[tuple[Pool, Isolation]]:
        """Yield what grades, and the isolation that it grades in."""
        if self.cluster is None:
            private = [*(self.course.root / name for name in CONTENT), *self.paths]
            isolation = choose(self.isolation, private)
            with Graders(min(self.jobs, len(self.submissions))) as graders:
                yield graders, isolation
            return
        try:
            from gptdojo.grading.cluster import ClusterError, cluster
        except ModuleNotFoundError as error:
            raise CourseError(f"--cluster needs {error.name}: `pip install 'gptdojo[cluster]'`") from None
        try:
            with cluster(self.cluster, self.course) as workers:
                yield workers, workers.choose(self.isolation)
        except ClusterError as error:
            raise CourseError(str(error)) from None

    def _grade(self, pool: Pool, isolation: Isolation, store: Store | None) -> None:
        errors = Console(stderr=True)
        if isolation.warning:
            errors.print(Text(isolation.warning, style="yellow"))
        limits = Limits(self.timeout, self.memory)
        options = Options(self.course.root, isolation, seed=self.seed, limits=limits, only=self.only)
        if store is not None and self.resume:
            self._take_kept(store, options)
            if not self.quiet:
                errors.print(f"{len(self.results)} of {len(self.submissions)} are graded already", highlight=False)
        waiting = [submission for submission in self.submissions if submission not in self.results]
        with Meter(errors, len(waiting), quiet=self.quiet) as meter:

            def done(job: Job, result: SubmissionResult) -> None:
                if store is not None:
                    store.keep(job, result)
                self.results[job.submission] = result
                meter.advance(result)

            grade_on(pool, waiting, options, done)

    def _take_kept(self, store: Store, options: Options) -> None:
        for submission in self.submissions:
            kept = store.kept(Job.read(submission, options), self.course)
            if kept is not None:
                self.results[submission] = kept

    def how_to_go_on(self) -> str:
        """Say what is done, and the command that does the rest."""
        done = f"{len(self.results)} of {len(self.submissions)} submissions are graded"
        if self.folder is None:
            return f"{done}, and none of it is kept: --out FOLDER keeps what is graded, also when it is stopped."
        arguments = sys.argv[1:] if self.resume else [*sys.argv[1:], "--resume"]
        return f"{done}, and kept in {self.folder}. To go on: {shlex.join(['gptdojo', *arguments])}"

    def show(self, graded: Graded) -> None:
        """Print the table; for a single submission also the screen of each exercise that did not pass."""
        from gptdojo.screen import exercise_screen

        console = Console()
        console.print(table(graded.results))
        if len(graded.results) > 1:
            console.print(Text(summary(graded.results)))
            return
        for entry in graded.results[0].exercises:
            if entry.status != "passed":
                console.print(Group("", exercise_screen(entry)))

    def say_where(self, formats: Sequence[str]) -> None:
        """Say where the reports are."""
        if self.folder is not None:
            parts = ", ".join([*formats, "and one file for each submission"])
            Console().print(Text(f"In {self.folder}: {parts}"), soft_wrap=True)
