"""Scores in nbgrader's gradebook."""

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .authoring.libraries import require_libraries
from .classroom.seed import class_folder
from .course import Chapter, Course
from .report import ExerciseResult, SubmissionResult

if TYPE_CHECKING:
    from nbgrader.api import Gradebook
    from traitlets.config import Config

CHECK = "check_"
CONFIG = "nbgrader_config.py"
NOISE = "Object of type .* not in session"  # what nbgrader does with its database, at each learner


def exercise_of(grade_id: str) -> str:
    """Return the exercise whose points a cell of a released notebook gives; an empty text for any other cell."""
    return grade_id.removeprefix(CHECK) if grade_id.startswith(CHECK) else ""


def set_score(grade: Any, result: ExerciseResult | None) -> None:
    """Set what a row of the gradebook says of one exercise; without a verdict a person has to look, and it is no zero.

    A score that a person gave stays. Where the gradebook gives a cell other points than the course, the share is kept.
    """
    if result is None or result.status == "grader_error":
        grade.auto_score = None
    elif grade.max_score == result.max_score:
        grade.auto_score = result.score
    else:
        grade.auto_score = grade.max_score * result.score / result.max_score
    grade.needs_manual_grade = grade.auto_score is None or grade.manual_score is not None


def write(results: Sequence[SubmissionResult], course: Course, folder: Path) -> list[str]:
    """Put scores into the gradebook of the class that the course belongs to, else of `folder`; say what could not be recorded.

    As in nbgrader, a submission counts as the notebook that its file name says, for the learner and the chapter that its folders
    say. Late penalties are those of nbgrader_config.py. Raises CourseError where nbgrader is not installed.
    """
    require_libraries()
    from nbgrader.api import Gradebook
    from nbgrader.coursedir import CourseDirectory

    folder = (class_folder(course) or folder).absolute()
    # nbgrader starts a program of its own by name; it lies where this Python has its programs
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    problems: list[str] = []
    taken: set[tuple[str, str]] = set()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", NOISE)
        config = _config(folder)
        directory = CourseDirectory(config=config)
        with Gradebook(directory.db_url, directory.course_id) as gradebook:
            for result in sorted(results, key=lambda each: not each.submission.endswith(".ipynb")):
                path = Path(result.submission)
                chapter = course.chapters.get(path.parent.name)
                if result.learner is None or chapter is None:
                    problems.append(f"{path}: whose it is is not known; put it into submitted/LEARNER/CHAPTER/")
                elif path.stem != chapter.topic or (result.learner, chapter.name) in taken:
                    problems.append(f"{path}: nbgrader counts {chapter.notebook.name} only, and once")
                else:
                    taken.add((result.learner, chapter.name))
                    _record(gradebook, chapter, result, config)
    return problems


def _config(folder: Path) -> "Config":
    from traitlets.config import Config, PyFileConfigLoader

    config: Config = Config()
    if (folder / CONFIG).is_file():
        config = PyFileConfigLoader(CONFIG, path=str(folder)).load_config()
    config.CourseDirectory.setdefault("root", str(folder))
    return config


def _record(gradebook: "Gradebook", chapter: Chapter, result: SubmissionResult, config: "Config") -> None:
    from nbformat.v4 import new_notebook
    from nbgrader.api import MissingEntry
    from nbgrader.preprocessors import AssignLatePenalties

    from .classroom.timestamp import handed_in

    assert result.learner is not None
    about = {"student": result.learner, "assignment": chapter.name, "notebook": chapter.topic}
    resources = {"nbgrader": about | {"db_url": str(gradebook.engine.url)}}
    try:
        gradebook.find_notebook(chapter.topic, chapter.name)
    except MissingEntry:
        _introduce(gradebook, chapter, config, resources)
    gradebook.update_or_create_student(result.learner)
    when = handed_in(Path(result.submission).parent)
    gradebook.update_or_create_submission(chapter.name, result.learner, **({"timestamp": when} if when else {}))
    for exercise in result.exercises:
        if exercise.chapter == chapter.name:
            grade = gradebook.find_grade(CHECK + exercise.exercise, chapter.topic, chapter.name, result.learner)
            set_score(grade, exercise)
    gradebook.db.commit()
    AssignLatePenalties(config=config).preprocess(new_notebook(), resources)


def _introduce(gradebook: "Gradebook", chapter: Chapter, config: "Config", resources: dict[str, Any]) -> None:
    """Tell the gradebook of a chapter that was not released yet, as `nbgrader generate_assignment` does."""
    from nbgrader.preprocessors import ClearSolutions, ComputeChecksums, LockCells, SaveCells

    from .authoring.source import source_notebook

    gradebook.update_or_create_assignment(chapter.name)
    notebook = source_notebook(chapter)
    for step in (LockCells, ClearSolutions, ComputeChecksums, SaveCells):
        notebook, _ = step(config=config).preprocess(notebook, resources)
