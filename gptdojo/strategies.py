"""Hypothesis strategies that any course needs: numbers for tensors, which shrink to readable ones."""

import math
from dataclasses import dataclass, field

import torch
from hypothesis import strategies as st
from torch import Tensor

SIMPLE = ("zeros", "ones", "integers", "decimals")
ORDINARY_SHARE = 16


@dataclass
class Values:
    """Tensors derived from one seed. `style` is what the numbers look like: ordinary ones, or simple ones to read."""

    style: str
    seed: int
    generator: torch.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Return float32 numbers of standard deviation about `scale`."""
        numbers = torch.randn(shape, generator=self.generator)
        if self.style == "zeros":
            numbers = torch.zeros(shape)
        elif self.style == "ones":
            numbers = torch.ones(shape)
        elif self.style == "integers":
            numbers = (numbers * 1.5).round().clamp(-3, 3)
        elif self.style == "decimals":
            numbers = (numbers * 10).round() / 10
        return numbers * scale

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> Tensor:
        """Return int64 numbers from low to high, both included."""
        numbers = torch.randint(low, high + 1, shape, generator=self.generator)
        return torch.full(shape, low) if self.style == "zeros" else numbers

    def booleans(self, *shape: int, true: float = 0.5) -> Tensor:
        """Return booleans, each True with probability `true`."""
        return torch.rand(shape, generator=self.generator) < true

    def permutation(self, count: int) -> Tensor:
        """Return the numbers 0 to count - 1 in some order."""
        return torch.randperm(count, generator=self.generator)

    def scattered(self, tensor: Tensor) -> Tensor:
        """Return an equal tensor that is not contiguous in memory (where its shape allows)."""
        if tensor.dim() < 2 or math.prod(tensor.shape) == 0:
            return tensor
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)


def values() -> st.SearchStrategy[Values]:
    """Draw the numbers of a case. Draw them after the shapes: shapes then shrink first, and values become simple after that."""
    styles = st.integers(0, len(SIMPLE) + ORDINARY_SHARE - 1).map(lambda i: SIMPLE[i] if i < len(SIMPLE) else "normal")
    return st.builds(Values, style=styles, seed=st.integers(0, 2**32 - 1))
