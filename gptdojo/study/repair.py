"""Grades the file of a bug hunt: each function by its own properties, with the file's other functions exchanged for right ones."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gptdojo.catalog import load_catalog
from gptdojo.course import Course, Exercise
from gptdojo.determinism import one_thread
from gptdojo.faults import Stopped
from gptdojo.implementation import Implementation, LocalTransport
from gptdojo.ladder import run_ladder
from gptdojo.report import ExerciseResult
from gptdojo.selfstudy import SECONDS, SEED, undefined
from gptdojo.solutions import solution
from gptdojo.time_limit import time_limit
from gptdojo.worker.submission import run


@dataclass(frozen=True)
class Repaired:
    """What a file is like: the result of each exercise in it, by name, and what went wrong while it was loaded."""

    results: dict[str, ExerciseResult]
    problem: str = ""

    @property
    def broken(self) -> list[str]:
        """The exercises that do not pass."""
        return [name for name, result in self.results.items() if result.status != "passed"]


def grade_source(
    course: Course, content: bytes, exercises: Sequence[str], *, alone: bool = True, shrink: bool = False
) -> Repaired:
    """Grade exercises of a file; `alone` gives each the right versions of all others, so that one mistake counts once.

    With `shrink`, the case that is shown for a failure is a small one, which takes longer to find.
    """
    try:
        with time_limit(SECONDS):
            loaded = run("py", content, frozenset(), module_name="gptdojo_drill")
    except Stopped as error:
        return Repaired({}, f"the file does not run to its end: {error}")
    chosen = [course.exercises[name] for name in exercises]
    results = {}
    for exercise in chosen:
        if not callable(loaded.namespace.get(exercise.name)):
            results[exercise.name] = undefined(exercise, loaded.notes, content)
            continue
        right = {other.name: solution(other) for other in chosen if other is not exercise} if alone else {}
        with _exchanged(loaded.namespace, right):
            results[exercise.name] = _grade(exercise, loaded.namespace, shrink=shrink)
    problem = f"{loaded.notes[0]['types'][0]}: {loaded.notes[0]['message']}" if loaded.notes else ""
    return Repaired(results, problem)


def _grade(exercise: Exercise, namespace: dict[str, Any], *, shrink: bool) -> ExerciseResult:
    catalog = load_catalog(exercise.chapter)
    impl = Implementation(LocalTransport(namespace), exercise.name, **catalog.facts(exercise))
    with one_thread(), time_limit(SECONDS):
        return run_ladder(exercise, catalog, impl, SEED, shrink=shrink)


@contextmanager
def _exchanged(namespace: dict[str, Any], right: Mapping[str, Any]) -> Iterator[None]:
    """Put right versions in the place of what a namespace defines, for a while."""
    before = {name: namespace[name] for name in right if name in namespace}
    namespace.update({name: right[name] for name in before})
    try:
        yield
    finally:
        namespace.update(before)
