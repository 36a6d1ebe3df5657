"""Gives properties their `impl` under plain pytest: the worked solution, then each alternative.

Imports the engine only where a property is collected, since pytest loads plugins in every project.
"""

from pathlib import Path
from typing import Any

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a property once for each right variant of its exercise."""
    entry: Any = getattr(metafunc.function, "_gptdojo", None)
    if entry is None or "impl" not in metafunc.fixturenames:
        return
    from .course import find_course
    from .solutions import as_implementation, right_variants

    exercise = find_course(Path(str(metafunc.definition.path)).parent).exercises[entry.exercise]
    variants = right_variants(exercise)
    implementations = [as_implementation(exercise, variant) for variant in variants.values()]
    metafunc.parametrize("impl", implementations, ids=list(variants), scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fix the seed of a property, so that a run can be repeated."""
    function: Any = getattr(item, "obj", None)
    entry: Any = getattr(function, "_gptdojo", None)
    if entry is None or not hasattr(function, "hypothesis"):
        return
    from .determinism import derive_seed, steady

    steady()
    function._hypothesis_internal_use_seed = derive_seed(0, entry.exercise, entry.name)
