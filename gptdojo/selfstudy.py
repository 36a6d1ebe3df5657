"""Checking one's own work, in one's own process."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalog import load_catalog
from .course import Course, CourseError, Exercise
from .determinism import one_thread
from .faults import Stopped
from .implementation import Implementation, LocalTransport
from .ladder import run_ladder
from .progress import note
from .report import ExerciseResult, Status
from .text import printable
from .time_limit import time_limit
from .worker.submission import run

SEED = 0
SECONDS = 30.0


def check_callable(course: Course, exercise: Exercise, namespace: dict[str, Any]) -> ExerciseResult:
    """Check one exercise of a namespace, and remember the result."""
    catalog = load_catalog(exercise.chapter)
    impl = Implementation(LocalTransport(namespace), exercise.name, **catalog.facts(exercise))
    with one_thread(), time_limit(SECONDS):
        result = run_ladder(exercise, catalog, impl, SEED)
    note(course, result)
    return result


@dataclass
class CheckedFile:
    """What checking a file gave."""

    results: list[ExerciseResult]
    notes: list[dict]


def check_file(course: Course, path: Path, exercises: Sequence[Exercise] | None = None) -> CheckedFile:
    """Run a notebook or Python file of one's own and check the exercises it defines, or those that are named.

    The file is read, never written. Raises CourseError when there is nothing in it to check.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CourseError(f"{path} cannot be read: {error.strerror}") from None
    demonstrations = {name for chapter in course.chapters.values() for name in chapter.demonstrations}
    try:
        with time_limit(SECONDS):
            loaded = run("ipynb" if path.suffix == ".ipynb" else "py", content, frozenset(demonstrations))
    except Stopped as error:
        raise CourseError(f"{path} does not run to its end: {error}") from None
    found = [exercise for exercise in course.exercises.values() if callable(loaded.namespace.get(exercise.name))]
    # a name that is only imported is not the learner's answer
    wanted = [exercise for exercise in found if exercise.is_defined_in(content)] if exercises is None else exercises
    if not wanted:
        problem = printable(f": {loaded.notes[0]['types'][0]}: {loaded.notes[0]['message']}") if loaded.notes else ""
        raise CourseError(f"{path} defines no exercise of this course{problem}")
    results = [
        check_callable(course, exercise, loaded.namespace)
        if exercise in found
        else undefined(exercise, loaded.notes, content)
        for exercise in wanted
    ]
    return CheckedFile(results, loaded.notes)


def undefined(exercise: Exercise, notes: Sequence[dict], content: bytes) -> ExerciseResult:
    """Return the result of an exercise that a file does not define: it is missing, or the cell that should define it raised."""
    unreadable = any("NotASubmission" in note["types"] for note in notes)
    notes = notes if unreadable or exercise.is_defined_in(content) else ()
    raised = printable("; ".join(f"{note['cell']} raised {note['types'][0]}: {note['message']}" for note in notes[:3]))
    message = f"{exercise.name} is not defined" + (f": {raised}" if raised else "")
    status: Status = "error" if raised else "missing"
    return ExerciseResult(exercise.name, exercise.chapter.name, 0.0, float(exercise.points), 0.0, status, message)
