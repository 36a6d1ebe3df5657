"""Grades one submission."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from gptdojo.catalog import load_catalog
from gptdojo.course import Chapter, Course, Exercise
from gptdojo.faults import Stopped
from gptdojo.implementation import Implementation
from gptdojo.ladder import run_ladder
from gptdojo.report import ExerciseResult, SubmissionResult
from gptdojo.selfstudy import undefined
from gptdojo.time_limit import time_limit

from .collect import Submission, candidates
from .job import Job, Options, broken, unread, without_verdict
from .process import WorkerProcess

GRADER_SECONDS = 10.0


def grade(submission: Submission, options: Options) -> SubmissionResult:
    """Read and grade one submission; whatever it does, this returns."""
    return grade_job(Job.read(submission, options))


def grade_job(job: Job) -> SubmissionResult:
    """Grade one submission that was read; whatever it does, this returns."""
    if job.unreadable:
        return unread(job)
    start = time.perf_counter()
    torch.set_num_threads(1)
    result = SubmissionResult(str(job.submission.path), job.submission.learner, [], 0.0)
    try:
        course = Course(job.options.root)
        result.exercises, result.message = _Grading(course, job.submission, job.content, job.options).run()
    except Exception as error:
        return broken(job, f"the grader failed on this submission: {type(error).__name__}: {error}")
    result.seconds = round(time.perf_counter() - start, 3)
    return result


@dataclass
class _Grading:
    """The exercises of one submission, graded one after the other; a process that dies is replaced for the next."""

    course: Course
    submission: Submission
    content: bytes
    options: Options
    message: str = ""
    left: list[Exercise] = field(default_factory=list)

    def run(self) -> tuple[list[ExerciseResult], str]:
        """Return the results, and what there is to say about the submission as a whole."""
        waiting = candidates(self.course, self.submission, self.content, self.options.only) or self._discover()
        results: list[ExerciseResult] = []
        while waiting:
            chapter = waiting[0].chapter
            batch = [exercise for exercise in waiting if exercise.chapter is chapter]
            with self._worker(chapter) as process:
                results += self._grade_batch(batch, process)
            # what is left of the batch, after an exercise that ended its process, goes on in the next process
            waiting = self.left + [exercise for exercise in waiting if exercise not in batch]
        if not results and not self.message:
            self.message = "it defines no exercise of this course"
        return results, self.message

    def _discover(self) -> list[Exercise]:
        """Run a submission that names no exercise, to see whether it makes one all the same, or why it does not run."""
        with WorkerProcess(self.options.isolation, self.course, (), self.options.limits) as process:
            try:
                defined, notes = process.load(self.submission.kind, self.content, list(self.course.exercises), ())
            except Stopped as error:
                self.message = str(error)
                return []
        if notes:
            self.message = f"{notes[0]['cell']} raised {notes[0]['types'][0]}: {notes[0]['message']}"
        return [exercise for exercise in self.course.exercises.values() if exercise.name in defined]

    def _grade_batch(self, batch: Sequence[Exercise], process: WorkerProcess) -> list[ExerciseResult]:
        """Grade exercises of one chapter until they are done or the process is gone; note in `left` what is still to do."""
        self.left = []
        try:
            skip = [name for chapter in self.course.chapters.values() for name in chapter.demonstrations]
            defined, notes = process.load(self.submission.kind, self.content, [e.name for e in batch], skip)
        except Stopped as error:
            self.message = str(error)
            return [without_verdict(exercise, error.status, str(error)) for exercise in batch]  # type: ignore[arg-type]
        if notes and not self.message:
            self.message = f"{notes[0]['cell']} raised {notes[0]['types'][0]}: {notes[0]['message']}"
        results = []
        for number, exercise in enumerate(batch):
            if exercise.name not in defined:
                if self._owed(exercise, notes):
                    results.append(undefined(exercise, notes, self.content))
                continue
            results.append(self._grade(exercise, process))
            if not process.alive:
                self.left = list(batch[number + 1 :])
                break
        return results

    def _owed(self, exercise: Exercise, notes: Sequence[dict]) -> bool:
        """Say whether an exercise that is not defined counts: it was asked for, or its definition failed."""
        asked = exercise.name in self.options.only or exercise.chapter.name == self.submission.chapter
        return asked or (bool(notes) and self.submission.chapter is None)

    def _worker(self, chapter: Chapter) -> WorkerProcess:
        modules = self.course.reference_before(chapter)
        return WorkerProcess(self.options.isolation, self.course, modules, self.options.limits)

    def _grade(self, exercise: Exercise, process: WorkerProcess) -> ExerciseResult:
        catalog = load_catalog(exercise.chapter)
        process.start_clock()
        try:
            impl = Implementation(process, exercise.name, **catalog.facts(exercise))
            # the limit on the submission's own time is kept by its process; this one is on what its answers make the grader do
            with time_limit(2 * self.options.limits.seconds + GRADER_SECONDS):
                return run_ladder(exercise, catalog, impl, self.options.seed)
        except Stopped as error:
            return without_verdict(exercise, error.status, str(error))  # type: ignore[arg-type]
        except Exception as error:
            reason = f"the grader failed on this exercise: {type(error).__name__}: {error}"[:500]
            return without_verdict(exercise, "grader_error", reason)
