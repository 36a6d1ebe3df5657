"""Grades under nbgrader: its autograder asks here for the verdicts on a submission, and runs nothing itself."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from nbgrader.converters import BaseConverter, NbGraderException
from nbgrader.preprocessors import SaveAutoGrades
from nbgrader.utils import is_grade, is_solution
from traitlets import Enum, Float, Instance, Integer
from traitlets.config import LoggingConfigurable

from gptdojo.course import CourseError, find_course
from gptdojo.gradebook import exercise_of, set_score
from gptdojo.grading.collect import Submission
from gptdojo.grading.feedback import Feedback, for_learner
from gptdojo.grading.job import Job, Options
from gptdojo.grading.limits import Limits
from gptdojo.grading.pool import Graders
from gptdojo.report import ExerciseResult, SubmissionResult
from gptdojo.sandbox import Unavailable, choose
from gptdojo.screen import exercise_html

from .seed import class_seed


class GraderBroke(Exception):
    """The grader itself failed: there is no verdict, and so no score."""


class SandboxGrading(LoggingConfigurable):
    """Grades the submissions that nbgrader goes through, each in a sandbox, several at once."""

    jobs = Integer(1, min=1, help="how many submissions are graded at once").tag(config=True)
    timeout = Float(20.0, min=0.1, help="seconds that an exercise may take").tag(config=True)
    memory = Integer(4096, min=1024, help="MiB that a submission may use").tag(config=True)
    isolation = Enum(["auto", "bubblewrap", "uid"], "auto", help="what a submission runs in").tag(config=True)
    feedback = Enum([each.value for each in Feedback], "full", help="what learners see of a failure").tag(config=True)
    converter = Instance(BaseConverter)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        root = Path(self.converter.coursedir.root)
        try:
            course = find_course(root)
            private = [*(course.root / name for name in ("solutions", "tests", "reference")), root]
            isolation = choose(self.isolation, private)
            seed = class_seed(course) or 0
        except (CourseError, Unavailable) as error:
            self.log.error("%s", error)
            raise NbGraderException(str(error)) from None
        if isolation.warning:
            self.log.warning("%s", isolation.warning)
        self._chapters = {chapter.notebook.name: chapter for chapter in course.chapters.values()}
        self._options = Options(course.root, isolation, seed=seed, limits=Limits(self.timeout, self.memory))
        self._graders: Graders | None = None
        self._started: dict[Path, Future[SubmissionResult]] = {}

    def result(self, path: Path) -> SubmissionResult:
        """Return the verdicts on one submission. Meanwhile those that nbgrader comes to next are graded too."""
        if path.name not in self._chapters:  # a notebook of the instructor's own, which people grade
            return SubmissionResult(str(path), None, [], 0.0)
        coming = self._next_after(path)
        graders = self._graders = self._graders or Graders(self.jobs)
        try:
            for each in [path, *coming][: graders.width]:
                if each not in self._started:
                    self._started[each] = graders.submit(self._job(each))
            result = self._started.pop(path).result()
        except BaseException:
            self._close()
            raise
        if not coming:
            self._close()
        return result

    def _job(self, path: Path) -> Job:
        chapter = self._chapters[path.name]
        return Job.read(Submission(path, chapter=chapter.name), replace(self._options, only=tuple(chapter.exercises)))

    def _close(self) -> None:
        if self._graders is not None:
            self._graders.close()
        self._graders = None
        self._started.clear()

    def _next_after(self, path: Path) -> list[Path]:
        """Return the submissions that nbgrader comes to after this one, in its order."""
        everything = self.converter.assignments
        folders = [folder for folder in sorted(everything) if folder > str(path.parent) and self._is_due(folder)]
        paths = [Path(name) for folder in [str(path.parent), *folders] for name in sorted(everything.get(folder, ()))]
        return [each for each in paths if each.name in self._chapters and (each.parent != path.parent or each > path)]

    def _is_due(self, folder: str) -> bool:
        """Say whether nbgrader will grade the submission in a folder: it leaves those alone that it has graded before."""
        directory = self.converter.coursedir
        pattern = directory.format_path(directory.submitted_directory, "(?P<student>.*)", "(?P<of>.*)", escape=True)
        found = re.fullmatch(pattern, folder)
        if self.converter.force or found is None:
            return True
        return not Path(directory.format_path(directory.autograded_directory, found["student"], found["of"])).exists()


class SandboxGrades(SaveAutoGrades):
    """Stands where nbgrader runs a notebook and reads scores from its outputs: the verdicts come from the sandbox.

    Each check cell gets its verdict as output, and its score goes into the gradebook. A cell that checks nothing of the course
    is left for a person to grade.
    """

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Grade a submission, write its verdicts under the check cells, and save its scores. Raises GraderBroke."""
        about = resources["nbgrader"]
        grading = self.parent.grading
        directory = grading.converter.coursedir
        folder = directory.format_path(directory.submitted_directory, about["student"], about["assignment"])
        result = grading.result(Path(folder, f"{about['notebook']}.ipynb"))
        shown = for_learner(result, Feedback(grading.feedback))
        self._verdicts: Mapping[str, ExerciseResult] = {entry.exercise: entry for entry in result.exercises}
        self._shown: Mapping[str, ExerciseResult] = {entry.exercise: entry for entry in shown.exercises}
        nb, resources = super().preprocess(nb, resources)
        raise_if_broken(result.exercises)
        return nb, resources

    def preprocess_cell(self, cell: Any, resources: Any, cell_index: int) -> tuple[Any, Any]:
        """Write the verdict under a check cell, then let nbgrader save."""
        verdict = self._verdict(cell)
        if verdict is not None and cell.cell_type == "code":
            cell.outputs = outputs(self._shown[verdict.exercise])
            cell.execution_count = 1
        return super().preprocess_cell(cell, resources, cell_index)

    def _verdict(self, cell: Any) -> ExerciseResult | None:
        return self._verdicts.get(exercise_of(cell.metadata["nbgrader"]["grade_id"])) if is_grade(cell) else None

    def _add_score(self, cell: Any, resources: Any) -> None:
        """Save the score of a cell: the sandbox's; for an answer that people grade, nbgrader's own rule."""
        verdict = self._verdict(cell)
        if verdict is None and is_solution(cell):
            super()._add_score(cell, resources)
            return
        name = cell.metadata["nbgrader"]["grade_id"]
        if verdict is None:
            self.log.warning("%s checks no exercise of the course: it is left to be graded by hand", name)
        set_score(self.gradebook.find_grade(name, self.notebook_id, self.assignment_id, self.student_id), verdict)
        self.gradebook.db.commit()


def raise_if_broken(exercises: Sequence[ExerciseResult]) -> None:
    """Raise GraderBroke where an exercise has no verdict for a reason that is not the submission's."""
    broken = [f"{entry.exercise}: {entry.message}" for entry in exercises if entry.status == "grader_error"]
    if broken:
        raise GraderBroke("there is no verdict; " + "; ".join(broken))


def outputs(verdict: ExerciseResult) -> list[Any]:
    """Return what a check cell shows, as in the learner's own notebook: the screen, and the points as its value."""
    from nbformat.v4 import new_output

    text = f"{verdict.exercise}: {verdict.status}, {verdict.score:g} of {verdict.max_score:g} points"
    screen = {"text/html": exercise_html(verdict), "text/plain": text}
    points = new_output("execute_result", {"text/plain": repr(float(verdict.score))}, execution_count=1)
    return [new_output("display_data", screen), points]
