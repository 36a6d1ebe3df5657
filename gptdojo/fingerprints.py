"""Names the misconception behind a wrong implementation, by running both on the same fixed probes."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .catalog import Catalog, Misconception
from .course import Exercise
from .faults import ArgumentChanged, ForbiddenCall, LearnerError, Mismatch, Stopped
from .implementation import Implementation, Proxy, local
from .report import Explanation
from .worker.values import Opaque

LOOSENESS = 1e-4


def outcome(probe: Callable[[], Any]) -> Any:
    """Return what a probe gives: its value, or the kind of exception it ends in."""
    try:
        return probe()
    except LearnerError as error:
        return ("raised", error.types[0])
    except ArgumentChanged:
        return ("changed an argument",)
    except ForbiddenCall:
        return ("forbidden",)
    except Mismatch as error:
        return ("mismatch", str(error))
    except Stopped:
        return ("stopped",)
    except Exception as error:
        return ("unusable", type(error).__name__)  # the probe could not go on with what it got, None for a tensor


def alike(one: Any, other: Any) -> bool:
    """Say whether two outcomes are equal: tensors up to rounding, NaN equal to NaN."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if not one.is_floating_point():
            return torch.equal(one, other)
        left, right = one.detach().double(), other.detach().double()
        return torch.allclose(left, right, rtol=LOOSENESS, atol=LOOSENESS, equal_nan=True)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, Opaque | Proxy) and isinstance(other, Opaque | Proxy):
        return repr(one) == repr(other)
    if isinstance(one, float) and isinstance(other, float):
        return one == other or abs(one - other) <= LOOSENESS * max(1.0, abs(one)) or (one != one and other != other)
    return type(one) is type(other) and bool(one == other)


def fingerprint_of(catalog: Catalog, exercise: Exercise, impl: Implementation) -> list[Any]:
    """Return the outcomes of all probes of an exercise on one implementation."""
    return [outcome(probe) for probe in catalog.probes(exercise.name, impl)]


@lru_cache
def known_fingerprints(catalog: Catalog, exercise: Exercise) -> list[tuple[Misconception, list[Any]]]:
    """Return every misconception of an exercise with its outcomes."""
    known = []
    for entry in catalog.of(Misconception, exercise.name):
        impl = local(entry.implementation, exercise.name, **catalog.facts(exercise))
        known.append((entry, fingerprint_of(catalog, exercise, impl)))
    return known


def explain(catalog: Catalog, exercise: Exercise, impl: Implementation) -> list[Explanation]:
    """Return the misconceptions that reproduce every outcome of `impl`; none where none does."""
    known = known_fingerprints(catalog, exercise)
    if not known:
        return []
    own = fingerprint_of(catalog, exercise, impl)
    return [Explanation(entry.name, entry.believes, entry.truth) for entry, outcomes in known if alike(own, outcomes)]
