"""Gives properties their `impl` under plain pytest: the worked solution, then each alternative."""

from pathlib import Path
from typing import Any

import pytest

from .catalog import Property
from .course import find_course
from .determinism import derive_seed, steady
from .solutions import as_implementation, right_variants


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a property once for each right variant of its exercise."""
    entry: Property | None = getattr(metafunc.function, "_gptdojo", None)
    if not isinstance(entry, Property) or "impl" not in metafunc.fixturenames:
        return
    course = find_course(Path(str(metafunc.definition.path)).parent)
    exercise = course.exercises[entry.exercise]
    variants = right_variants(exercise)
    implementations = [as_implementation(exercise, variant) for variant in variants.values()]
    metafunc.parametrize("impl", implementations, ids=list(variants), scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fix the seed of a property, so that a run can be repeated."""
    function: Any = getattr(item, "obj", None)
    entry = getattr(function, "_gptdojo", None)
    if isinstance(entry, Property) and hasattr(function, "hypothesis"):
        steady()
        function._hypothesis_internal_use_seed = derive_seed(0, entry.exercise, entry.name)
