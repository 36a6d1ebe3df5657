"""Tries a test on one implementation: what `gptdojo writetest` does with each of them, in a process of its own or in a notebook."""

import random
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gptdojo.catalog import Misconception, load_catalog
from gptdojo.course import Exercise
from gptdojo.solutions import right_variants
from gptdojo.text import printable

PREFIX = "test_"
MAX_MESSAGE = 400


@dataclass(frozen=True)
class Variant:
    """An implementation that a test is tried on; `believes` and `truth` are of a wrong one."""

    name: str
    right: bool
    believes: str = ""
    truth: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a test did on one implementation; `message` says why it did not pass, with the line of the test."""

    variant: Variant
    outcome: str  # "passed", "failed", "timeout" or "crashed"
    message: str = ""


def variants(exercise: Exercise) -> list[tuple[Variant, Any]]:
    """Return what a test is tried on: the right implementations first, the worked solution before all."""
    right = [(Variant(name, True), function) for name, function in right_variants(exercise).items()]
    entries = load_catalog(exercise.chapter).of(Misconception, exercise.name)
    wrong = [(Variant(e.name, False, e.believes, e.truth), e.implementation) for e in entries]
    for _, function in right + wrong:
        function.__name__ = exercise.name
    return right + wrong


def find_tests(namespace: Mapping[str, Any]) -> list[Callable]:
    """Return the tests of a namespace in their order."""
    return [value for name, value in namespace.items() if name.startswith(PREFIX) and callable(value)]


def attempt(tests: list[Callable], implementation: Any, of_learner: Callable[[str], bool]) -> tuple[str, str]:
    """Return the outcome of some tests on one implementation; every test starts from the same random state."""
    for test in tests:
        _seed()
        try:
            test(impl=implementation)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if getattr(error, "is_time_limit", False):
                return "timeout", ""
            return "failed", _message(error, of_learner)
    return "passed", ""


def _seed() -> None:
    import numpy
    import torch

    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)


def _message(error: BaseException, of_learner: Callable[[str], bool]) -> str:
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if of_learner(frame.filename)]
    where = f"line {own[-1].lineno}: {own[-1].line}\n" if own else ""
    said = str(error)
    kind = "the assertion does not hold" if isinstance(error, AssertionError) else f"it raises {type(error).__name__}"
    return printable(f"{where}{kind}{f': {said}' if said else ''}"[:MAX_MESSAGE])


def steady_hypothesis() -> None:
    """Have tests that are written with Hypothesis draw the same each time, and leave no files behind."""
    from hypothesis import Phase, settings

    from gptdojo.determinism import steady

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("writetest", derandomize=True, database=None, deadline=None, phases=phases)
    settings.load_profile("writetest")
    steady()
