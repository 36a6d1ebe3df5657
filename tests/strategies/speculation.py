"""Models with a memory whose probabilities are whole fractions, and randomness as a tree that is walked to its last leaf."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gptdojo import Provided
from gptdojo.expect import expect

VOCAB = 3
QUARTERS = ((1, 1, 2), (1, 2, 1), (2, 1, 1), (0, 2, 2), (2, 0, 2), (2, 2, 0))
"""Distributions of a draft, in quarters."""
TWO_QUARTERS = tuple(parts for parts in QUARTERS if 0 in parts)
"""Those with two possible tokens: fewer ways through a longer text."""
TARGET_QUARTERS = ((1, 1, 2), (1, 2, 1), (2, 1, 1), (0, 1, 3), (1, 3, 0), (3, 0, 1), (1, 0, 3), (0, 3, 1), (3, 1, 0))
"""Distributions of a target. Divided by any of a draft's they are a multiple of a half, if not above 1."""
EIGHTHS = ((1, 2, 5), (5, 1, 2), (2, 5, 1), (0, 3, 5), (3, 5, 0), (5, 0, 3), (3, 3, 2), (1, 6, 1), (6, 1, 1), (1, 1, 6))
"""Distributions of a target that are a multiple of a quarter then."""
CERTAIN = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


class RememberingModel(Provided):
    """A model with a memory of one sequence, whose next token depends on all that it remembers.

    It is strict about what it is fed and how it is cropped, and keeps a list of what was fed in each call. The whole
    fractions of its table are its probabilities at a temperature.
    """

    exposes = ("forward", "crop", "__len__")

    def __init__(
        self,
        salt: int,
        table: tuple[tuple[int, ...], ...],
        n_ctx: int = 1_000,
        held: tuple[int, ...] = (),
        temperature: float = 1.0,
    ) -> None:
        self.salt, self.table, self.n_ctx, self.temperature = salt, table, n_ctx, temperature
        self.memory: list[int] = list(held)
        self.pieces: list[list[int]] = []

    def probs(self, history: list[int]) -> Float[Tensor, " vocab"]:
        """The probabilities of the next token after a history, at the temperature, in float64."""
        parts = self.table[hash((self.salt, len(history), *history)) % len(self.table)]
        return torch.tensor(parts, dtype=torch.float64) / sum(parts)

    def forward(self, tokens: Int[Tensor, "1 new"]) -> Float[Tensor, "1 new vocab"]:
        """Remember the tokens; return the logits after each of them. Raises ValueError for what is no such tensor."""
        if not isinstance(tokens, Tensor) or tokens.is_floating_point() or tokens.dtype == torch.bool:
            kind = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
            raise ValueError(f"forward expected a tensor of integer tokens, got {kind}")
        if tokens.dim() != 2 or tokens.shape[0] != 1 or tokens.shape[1] == 0:
            raise ValueError(f"forward expected tokens of shape (1, new), new at least 1, got {tuple(tokens.shape)}")
        new = tokens[0].tolist()
        if len(self.memory) + len(new) > self.n_ctx:
            raise ValueError(f"forward was fed {len(self.memory) + len(new)} positions, the context is {self.n_ctx}")
        if not all(0 <= token < VOCAB for token in new):
            raise ValueError(f"forward expected tokens from 0 to {VOCAB - 1}, got {new}")
        self.pieces.append(new)
        rows = []
        for token in new:
            self.memory.append(token)
            shift = len(self.memory) % 3 - 1.0  # logits are log-probabilities only up to a constant
            rows.append(self.temperature * self.probs(self.memory).log() + shift)
        return torch.stack(rows).float()[None]

    def crop(self, length: int) -> None:
        """Forget all but the first `length` tokens. Raises ValueError if so many are not remembered."""
        if not 0 <= length <= len(self.memory):
            raise ValueError(f"crop expected a length from 0 to the {len(self.memory)} tokens remembered, got {length}")
        self.memory = self.memory[:length]

    def __len__(self) -> int:
        return len(self.memory)

    def greedy(self, tokens: list[int], n_new: int) -> list[int]:
        """What follows if the likeliest token is taken each time; feeds nothing."""
        sequence = list(tokens)
        for _ in range(n_new):
            sequence.append(int(self.probs(sequence).argmax()))
        return sequence[len(tokens) :]

    def chance(self, tokens: list[int], new: tuple[int, ...]) -> float:
        """The probability that `new` follows `tokens`."""
        chance, sequence = 1.0, list(tokens)
        for token in new:
            chance *= self.probs(sequence)[token].item()
            sequence.append(token)
        return chance


@dataclass
class Branch:
    """One way through the tree of random choices: follows `path`, then first choices, and notes what else there was."""

    path: list[int]
    parts: int = 2
    taken: list[int] = field(default_factory=list)
    others: list[list[int]] = field(default_factory=list)
    weight: float = 1.0

    def pick(self, weights: list[float]) -> int:
        """Choose an index; what has no weight is no choice."""
        possible = [index for index, weight in enumerate(weights) if weight > 1e-6]
        step = len(self.taken)
        expect(step < 60, "it asks for random numbers without an end: 60 in one call")
        # a path that is no longer possible: the code answers differently on the same numbers, which the weights will show
        wanted = self.path[step] if step < len(self.path) else possible[0]
        chosen = wanted if wanted in possible else possible[0]
        self.taken.append(chosen)
        self.others.append([index for index in possible if index != chosen])
        self.weight *= weights[chosen]
        return chosen

    def uniform(self) -> float:
        """The middle of one of so many equal `parts` of [0, 1): on no border of acceptance, which are multiples of a part."""
        return (self.pick([1 / self.parts] * self.parts) + 0.5) / self.parts

    def draw(self, probs: Tensor) -> int:
        """A token from probabilities."""
        return self.pick(checked(probs).tolist())


def checked(probs: Tensor) -> Tensor:
    """The probabilities that `draw` was given, in float64; fails unless that is what they are."""
    shape = tuple(probs.shape) if isinstance(probs, Tensor) else type(probs).__name__
    expect(shape == (VOCAB,), f"draw was given {shape}, expected probabilities of shape ({VOCAB},)")
    wide = probs.double()
    good = bool(wide.isfinite().all()) and bool((wide > -1e-6).all())
    expect(good, f"draw was given {probs.tolist()}, expected probabilities", got=probs)
    total = wide.sum().item()
    expect(abs(total - 1) < 1e-4, f"draw was given numbers that sum to {total:.4g}, expected probabilities", got=probs)
    return wide.clamp(min=0)


def every_outcome(
    run: Callable[[Branch], tuple[int, ...]], parts: int = 2, most: int = 5_000
) -> dict[tuple[int, ...], float]:
    """The exact distribution of what `run` returns over all its random choices."""
    outcomes: dict[tuple[int, ...], float] = {}
    stack: list[list[int]] = [[]]
    for _ in range(most):
        if not stack:
            return outcomes
        branch = Branch(stack.pop(), parts)
        result = run(branch)
        outcomes[result] = outcomes.get(result, 0.0) + branch.weight
        for step in range(len(branch.path), len(branch.taken)):
            stack += [[*branch.taken[:step], other] for other in branch.others[step]]
    expect(False, f"it asks for more random numbers than it needs: there are over {most} ways through it")
    return outcomes
