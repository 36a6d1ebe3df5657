"""The same seed draws the same inputs, whatever else is loaded."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis.internal.conjecture.providers as providers


def steady() -> None:
    """Keep Hypothesis from mixing constants of loaded modules into its draws."""
    empty = providers.Constants()
    providers._get_local_constants = lambda: empty


def derive_seed(seed: int, *labels: str) -> int:
    """Return the seed of one random choice, from the one seed of a run and what the choice is for."""
    text = "\0".join((str(seed), *labels))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute in one thread: the sums are then always added in one order, and small tensors wait for nobody."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
