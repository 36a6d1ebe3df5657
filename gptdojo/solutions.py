"""The worked solutions as implementations: the cells of a chapter's source, without its demonstrations."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from .catalog import Alternative, Misconception, load_catalog
from .course import Chapter, CourseError, Exercise
from .implementation import Implementation, local
from .worker.submission import run


@lru_cache
def solution_namespace(chapter: Chapter) -> Mapping[str, Any]:
    """Return what the worked chapter defines."""
    chapter.course.importable()
    content = chapter.solution.read_bytes()
    loaded = run("py", content, frozenset(chapter.demonstrations), module_name=f"gptdojo_solution_{chapter.topic}")
    if loaded.notes:
        raise CourseError(f"{chapter.solution} does not run: {loaded.notes[0]}")
    return loaded.namespace


def solution(exercise: Exercise) -> Any:
    """Return the worked solution of one exercise."""
    try:
        return solution_namespace(exercise.chapter)[exercise.name]
    except KeyError:
        raise CourseError(f"{exercise.chapter.solution} does not define {exercise.name}") from None


def as_implementation(exercise: Exercise, function: Any) -> Implementation:
    """Return a function or class as an implementation of an exercise, in this process."""
    return local(function, exercise.name, **load_catalog(exercise.chapter).facts(exercise))


def right_variants(exercise: Exercise) -> dict[str, Any]:
    """Return the solution and the alternatives of an exercise, by name."""
    entries = load_catalog(exercise.chapter).of(Alternative, exercise.name)
    return {"solution": solution(exercise)} | {entry.name: entry.implementation for entry in entries}


def wrong_variants(exercise: Exercise) -> dict[str, Any]:
    """Return the misconceptions of an exercise, by name."""
    entries = load_catalog(exercise.chapter).of(Misconception, exercise.name)
    return {entry.name: entry.implementation for entry in entries}
