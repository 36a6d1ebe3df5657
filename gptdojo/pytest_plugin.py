"""Gives properties their `impl` under plain pytest: the worked solution, and each alternative among the slow tests.

The content gate runs the same properties on every variant; here each is a test of its own, to look at one by name.

Imports the engine only where a property is collected, since pytest loads plugins in every project.
"""

from pathlib import Path
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known in every course."""
    config.addinivalue_line("markers", "slow: takes long")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a property once for each right variant of its exercise."""
    entry: Any = getattr(metafunc.function, "_gptdojo", None)
    if entry is None or "impl" not in metafunc.fixturenames:
        return
    from .course import find_course
    from .solutions import as_implementation, right_variants

    exercise = find_course(Path(str(metafunc.definition.path)).parent).exercises[entry.exercise]
    variants = right_variants(exercise)
    implementations = [
        pytest.param(
            as_implementation(exercise, variant), id=name, marks=[] if name == "solution" else pytest.mark.slow
        )
        for name, variant in variants.items()
    ]
    metafunc.parametrize("impl", implementations, scope="session")


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
