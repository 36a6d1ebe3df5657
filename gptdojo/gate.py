"""The content gate: proves that a chapter's properties tell right from wrong.

`python -m gptdojo.gate [CHAPTER]...` prints what is wrong and the margins of the tolerances; authors and tests use the functions.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .catalog import load_catalog
from .course import Course, Exercise, find_course
from .expect import tensors_in
from .fingerprints import alike, fingerprint_of, known_fingerprints
from .ladder import run_ladder
from .report import ExerciseResult
from .solutions import as_implementation, right_variants, solution, wrong_variants

MARGIN = 10.0
ALTERNATIVES = 2
HINTS = 3


def trivial_variants(exercise: Exercise) -> dict[str, Any]:
    """Return programs that do nothing: they answer with the right shapes and no thought."""
    worked = solution(exercise)
    generator = torch.Generator().manual_seed(0)

    def noise(value: Tensor) -> Tensor:
        if value.is_floating_point():
            return torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
        return torch.randint(0, 2, value.shape, generator=generator).to(value.dtype)

    return {
        "zeros": _altered(worked, lambda value, args: torch.zeros_like(value), lambda value: type(value)(0)),
        "ones": _altered(worked, lambda value, args: torch.ones_like(value), lambda value: type(value)(1)),
        "random": _altered(worked, lambda value, args: noise(value), lambda value: type(value)(7)),
        "identity": _altered(worked, _first_like, lambda value: type(value)(3)),
        "nothing": _altered(worked, lambda value, args: None, lambda value: None),
    }


def _first_like(value: Tensor, args: tuple) -> Tensor:
    """Return the first tensor argument of the same shape, else zeros."""
    for tensor in tensors_in(args):
        if tensor.shape == value.shape:
            return tensor.to(value.dtype)
    return torch.zeros_like(value)


def _altered(worked: Any, tensor: Callable, number: Callable) -> Any:
    """Return `worked` with every tensor and number of its results replaced; of a class, the results of its methods."""

    def change(value: Any, args: tuple) -> Any:
        if isinstance(value, Tensor):
            return tensor(value, args)
        if isinstance(value, bool | int | float | str | bytes):
            return number(value)
        if isinstance(value, tuple | list):
            return type(value)(change(item, args) for item in value)
        if isinstance(value, dict):
            return {key: change(item, args) for key, item in value.items()}
        return value

    def wrapped(function: Callable) -> Callable:
        return lambda *args, **kwargs: change(function(*args, **kwargs), args)

    if not isinstance(worked, type):
        if worked.__annotations__.get("return", worked) is None:  # it acts on its arguments, which nobody touches then
            return lambda *args, **kwargs: None
        return wrapped(worked)
    methods = {name: wrapped(item) for name, item in vars(worked).items() if callable(item) and name != "__init__"}
    return type(worked.__name__, (worked,), methods)


def grade(exercise: Exercise, variant: Any, seed: int = 0) -> tuple[ExerciseResult, list[float]]:
    """Grade a variant in this process, without shrinking; return the result and the errors that were measured."""
    impl = as_implementation(exercise, variant)
    result = run_ladder(exercise, load_catalog(exercise.chapter), impl, seed, shrink=False)
    return result, impl.errors


@dataclass
class Proof:
    """What the gate found out about one exercise."""

    exercise: Exercise
    problems: list[str] = field(default_factory=list)
    worst_right: float = 0.0
    nearest_wrong: float = float("inf")
    seconds: float = 0.0

    def check(self, condition: bool, problem: str) -> None:
        """Note a problem unless `condition` holds."""
        if not condition:
            self.problems.append(f"{self.exercise.name}: {problem}")


def prove(exercise: Exercise, seed: int = 0) -> Proof:
    """Try every variant of an exercise; return the problems and the margins."""
    proof = Proof(exercise)
    catalog = load_catalog(exercise.chapter)
    names = [entry.name for entry in catalog.properties(exercise.name)]
    proof.check(len(exercise.hints) == HINTS, f"{len(exercise.hints)} hints, expected {HINTS}")
    proof.check(len(set(names)) == len(names), "two properties have one name")
    right = right_variants(exercise)
    proof.check(len(right) > ALTERNATIVES, f"{len(right) - 1} alternatives, expected at least {ALTERNATIVES}")
    for name, variant in right.items():
        result, errors = grade(exercise, variant, seed)
        proof.check(result.status == "passed", f"right variant {name} is {result.status}: {result.message}")
        proof.worst_right = max([proof.worst_right, *(e for e in errors if e <= exercise.tolerance)])
        proof.seconds = max(proof.seconds, result.seconds)
    for name, variant in trivial_variants(exercise).items():
        result, _ = grade(exercise, variant, seed)
        proof.check(result.score == 0, f"{name} scores {result.score:g}")
    firsts = set(_prove_wrong(proof, seed))
    proof.check(firsts >= set(names), f"no misconception falls first at {sorted(set(names) - firsts)}")
    _prove_fingerprints(proof)
    return proof


def _prove_wrong(proof: Proof, seed: int) -> Iterator[str]:
    """Grade the misconceptions; yield the properties at which one falls with all rungs before passed."""
    exercise = proof.exercise
    for name, variant in wrong_variants(exercise).items():
        result, errors = grade(exercise, variant, seed)
        proof.check(result.status in ("failed", "error", "forbidden"), f"misconception {name} is {result.status}")
        if result.status == "forbidden":
            continue
        named = [explanation.name for explanation in result.misconceptions]
        proof.check(named == [name], f"misconception {name} is named {named}")
        above = [error for error in errors if error > exercise.tolerance]
        if above and errors:
            # the first comparison that failed is what a larger tolerance would have to let through; the largest error counts
            proof.nearest_wrong = min(proof.nearest_wrong, max(above))
        failed = [entry for entry in result.properties if entry.verdict == "failed"]
        yield from (entry.property for entry in failed if entry.rung == failed[0].rung)


def _prove_fingerprints(proof: Proof) -> None:
    exercise = proof.exercise
    catalog = load_catalog(exercise.chapter)
    known = [(entry.name, outcomes) for entry, outcomes in known_fingerprints(catalog, exercise)]
    known.append(("the solution", fingerprint_of(catalog, exercise, as_implementation(exercise, solution(exercise)))))
    for number, (name, outcomes) in enumerate(known):
        for other, others in known[:number]:
            proof.check(not alike(outcomes, others), f"the fingerprint tells {other} and {name} not apart")


def margins(proof: Proof) -> tuple[float, float]:
    """Return how far the tolerance is from the worst right variant and from the nearest wrong one, as factors."""
    tolerance = proof.exercise.tolerance
    right = tolerance / proof.worst_right if proof.worst_right else float("inf")
    return right, proof.nearest_wrong / tolerance if tolerance else float("inf")


def chosen(course: Course, names: list[str]) -> list[Exercise]:
    """Return the exercises of the chapters that are named, of all if none is."""
    return [e for e in course.exercises.values() if not names or e.chapter.name in names or e.name in names]


def main() -> int:
    """Print the proof of every exercise; return 1 if there is a problem."""
    problems: list[str] = []
    torch.set_num_threads(1)
    print(f"{'exercise':32} {'tolerance':>10} {'worst right':>12} {'nearest wrong':>14}   margins        slowest right")
    for exercise in chosen(find_course(), sys.argv[1:]):
        proof = prove(exercise)
        found = margins(proof)
        proof.check(min(found) >= MARGIN, f"tolerance {exercise.tolerance:g} has the margins {found}")
        shown = "   ".join(f"{margin:8.3g}x" for margin in found)
        print(
            f"{exercise.name:32} {exercise.tolerance:10.1e} {proof.worst_right:12.1e} {proof.nearest_wrong:14.1e} {shown}"
            f" {proof.seconds:10.2f} s"
        )
        problems += proof.problems
    print(*problems, sep="\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
