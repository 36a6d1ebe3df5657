"""What a course says about its exercises in code: properties, misconceptions, alternatives, fingerprints."""

import ast
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.configuration import set_hypothesis_home_dir
from platformdirs import user_cache_path

from .course import Chapter, CourseError, Exercise

Decorated = TypeVar("Decorated", bound=Callable)
EXAMPLES = 25


@dataclass(frozen=True)
class Property:
    """One claim about an exercise."""

    exercise: str
    rung: int
    name: str
    claim: str
    function: Callable = field(repr=False)


@dataclass(frozen=True)
class Misconception:
    """A wrong implementation and what its author believes."""

    exercise: str
    name: str
    believes: str
    truth: str
    implementation: Any = field(repr=False)


@dataclass(frozen=True)
class Alternative:
    """A right implementation, written differently."""

    exercise: str
    name: str
    implementation: Any = field(repr=False)


@dataclass(frozen=True)
class Fingerprint:
    """Fixed probes on which the misconceptions of an exercise differ."""

    exercise: str
    probes: Callable = field(repr=False)


def claim(exercise: str, *, rung: int, examples: int = EXAMPLES) -> Callable[[Decorated], Decorated]:
    """Mark a test function as a graded property of `exercise`; its docstring is the claim in words."""

    def mark(function: Decorated) -> Decorated:
        prefix = f"test_{exercise}_"
        name = function.__name__.removeprefix(prefix)
        if name == function.__name__:
            raise CourseError(f"{function.__name__} is a property of {exercise}: call it {prefix}...")
        if not function.__doc__:
            raise CourseError(f"{function.__name__} has no docstring; it says the claim to the learner")
        if hasattr(function, "hypothesis"):
            function = settings(
                max_examples=examples,
                database=None,
                deadline=None,
                derandomize=False,
                print_blob=False,
                report_multiple_bugs=False,
                verbosity=Verbosity.quiet,
                phases=(Phase.explicit, Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            )(function)
        text = " ".join((function.__doc__ or "").split())
        _attach(function, Property(exercise, rung, name, text, function))
        return function

    return mark


def _attach(marked: Any, entry: object) -> None:
    marked._gptdojo = entry


def misconception(exercise: str, *, believes: str, truth: str) -> Callable[[Decorated], Decorated]:
    """Mark a wrong implementation: "You may think that `believes`. In fact, `truth`." """

    def mark(implementation: Decorated) -> Decorated:
        name = implementation.__name__
        _attach(implementation, Misconception(exercise, name, believes, truth, implementation))
        return implementation

    return mark


def alternative(exercise: str) -> Callable[[Decorated], Decorated]:
    """Mark a right implementation that is written differently."""

    def mark(implementation: Decorated) -> Decorated:
        _attach(implementation, Alternative(exercise, implementation.__name__, implementation))
        return implementation

    return mark


def fingerprint(exercise: str) -> Callable[[Decorated], Decorated]:
    """Mark a function that takes an implementation and returns the probes of `exercise`: functions of no arguments."""

    def mark(probes: Decorated) -> Decorated:
        _attach(probes, Fingerprint(exercise, probes))
        return probes

    return mark


@dataclass(frozen=True)
class Catalog:
    """Everything that is said about the exercises of one chapter. Each file is loaded when it is first needed."""

    chapter: Chapter

    def of(self, kind: Any, exercise: str) -> list[Any]:
        """Return the entries of one kind for one exercise, in the order of their file."""
        entries: tuple[Any, ...] = _entries(self.chapter, kind)
        return [entry for entry in entries if isinstance(entry, kind) and entry.exercise == exercise]

    def properties(self, exercise: str) -> list[Property]:
        """Return the ladder of an exercise, simplest rung first."""
        found = sorted(self.of(Property, exercise), key=lambda entry: entry.rung)
        if not found:
            raise CourseError(f"{self.chapter.properties} holds no property of {exercise}")
        return found

    def probes(self, exercise: str, implementation: Any) -> list[Callable]:
        """Return the fingerprint probes of an exercise for one implementation."""
        return [probe for entry in self.of(Fingerprint, exercise) for probe in entry.probes(implementation)]

    def parameters(self, exercise: str) -> Mapping[str, tuple[str, ...]]:
        """Return the names of the parameters: of the function, or of each method of the class."""
        signatures = _signatures(self.chapter.solution)
        if exercise not in signatures:
            raise CourseError(f"{self.chapter.solution} does not define {exercise}")
        return signatures[exercise]

    def facts(self, exercise: Exercise) -> dict[str, Any]:
        """Return what an Implementation of `exercise` needs to know."""
        return {
            "tolerance": exercise.tolerance,
            "forbids": exercise.forbids,
            "parameters": self.parameters(exercise.name),
        }


@lru_cache
def load_catalog(chapter: Chapter) -> Catalog:
    """Return the catalog of a chapter."""
    return Catalog(chapter)


def _entries(chapter: Chapter, kind: type) -> tuple[Any, ...]:
    if kind is Property:
        return _load_entries(chapter, chapter.properties)
    return _load_entries(chapter, chapter.alternatives if kind is Alternative else chapter.misconceptions)


@lru_cache
def _load_entries(chapter: Chapter, path: Path) -> tuple[Any, ...]:
    chapter.course.importable()
    # Hypothesis keeps tables of characters; not in the folder in which a learner happens to be
    set_hypothesis_home_dir(user_cache_path("gptdojo", appauthor=False) / "hypothesis")
    module = load_module(path)
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    entries = tuple(value._gptdojo for value in own if hasattr(value, "_gptdojo"))
    unknown = {entry.exercise for entry in entries} - chapter.exercises.keys()
    if unknown:
        raise CourseError(f"{path} has entries for {sorted(unknown)}, which chapter.toml does not name")
    return entries


def load_module(path: Path) -> ModuleType:
    """Load a module of the course by its path, under a name that no other file can have."""
    name = "gptdojo_course_" + "_".join(path.with_suffix("").parts[-3:])
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise CourseError(f"{path} is missing: every chapter has one")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@lru_cache
def _signatures(solution: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for node in ast.parse(solution.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = {node.name: _names(node)}
        elif isinstance(node, ast.ClassDef):
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            found[node.name] = {method.name: _names(method)[1:] for method in methods}
    return found


def _names(function: ast.FunctionDef) -> tuple[str, ...]:
    return tuple(argument.arg for argument in (*function.args.posonlyargs, *function.args.args))
