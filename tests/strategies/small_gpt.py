"""GPTs small enough to grade with: weights at O(1), a cache that the grader owns, a model that is nothing but memory."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from hypothesis import strategies as st
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gptdojo import Provided
from gptdojo.strategies import Values, values
from reference.attention import causal
from reference.model import gpt_forward

Params = dict[str, Tensor]


def random_params(v: Values, n_layer: int, d_model: int, n_ctx: int, vocab_size: int) -> Params:
    """Parameters of a GPT under GPT-2's names. Gains, biases and embeddings have a standard deviation of 1.

    The matrices have 0.5, so that at d_model 8 the attention scores stay near 4: no softmax is flat, none is saturated.
    All ones become small integers: a layer norm of equal channels has nothing to divide by but the root of eps, which makes
    errors of rounding 300 times larger and would fail right answers.
    """
    if v.style == "ones":
        v = Values("integers", v.seed)

    def matrix(rows: int, columns: int) -> Tensor:
        return v.normal(rows, columns, scale=0.5)

    params = {"wte.weight": v.normal(vocab_size, d_model), "wpe.weight": v.normal(n_ctx, d_model)}
    for layer in range(n_layer):
        block = {
            "ln_1.weight": v.normal(d_model),
            "ln_1.bias": v.normal(d_model),
            "attn.c_attn.weight": matrix(3 * d_model, d_model),
            "attn.c_attn.bias": v.normal(3 * d_model),
            "attn.c_proj.weight": matrix(d_model, d_model),
            "attn.c_proj.bias": v.normal(d_model),
            "ln_2.weight": v.normal(d_model),
            "ln_2.bias": v.normal(d_model),
            "mlp.c_fc.weight": matrix(4 * d_model, d_model),
            "mlp.c_fc.bias": v.normal(4 * d_model),
            "mlp.c_proj.weight": matrix(d_model, 4 * d_model),
            "mlp.c_proj.bias": v.normal(d_model),
        }
        params |= {f"h.{layer}.{name}": tensor for name, tensor in block.items()}
    return params | {"ln_f.weight": v.normal(d_model), "ln_f.bias": v.normal(d_model)}


@dataclass(frozen=True)
class SmallGPT:
    """A GPT with drawn parameters, and what is known of it."""

    n_layer: int
    n_head: int
    d_model: int
    n_ctx: int
    vocab_size: int
    params: Params = field(repr=False)

    def logits(self, tokens: Int[Tensor, "batch position"]) -> Float[Tensor, "batch position vocab"]:
        """What the reference computes without a cache, in float64."""
        return gpt_forward(tokens, self._in_float64(), self.n_head)

    def caches(self, batch: int, tokens: Int[Tensor, "batch position"] | None = None) -> list["ProvidedCache"]:
        """A cache for each layer, holding `tokens` (default: nothing) as the reference computes their keys and values."""
        caches = [ProvidedCache(batch, self.n_head, self.d_model // self.n_head) for _ in range(self.n_layer)]
        if tokens is not None and tokens.shape[1]:

            def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                caches[layer].append(k, v)
                return causal(layer, q, k, v)

            gpt_forward(tokens, self._in_float64(), self.n_head, attend=attend)
        return caches

    def _in_float64(self) -> Params:
        return {name: tensor.double() for name, tensor in self.params.items()}


@st.composite
def small_gpts(draw: Callable, n_ctx: int) -> SmallGPT:
    """A GPT whose context is `n_ctx`, with 2 or 3 layers and now and then 1, 2 or 3 heads, a d_head of 2 to 4 and 5 to 7 words."""
    n_layer = draw(st.sampled_from([2, 3, 2, 3, 1]))
    n_head, vocab_size = draw(st.integers(2, 3)), draw(st.integers(5, 7))
    d_model = n_head * draw(st.integers(2, 4))
    params = random_params(draw(values()), n_layer, d_model, n_ctx, vocab_size)
    return SmallGPT(n_layer, n_head, d_model, n_ctx, vocab_size, params)


class ProvidedCache(Provided):
    """The cache of one layer as a grader hands it out: any number of positions, strict about shapes, counting.

    `appended` counts the positions that were ever appended.
    """

    exposes = ("append", "view", "crop", "reset", "__len__")

    def __init__(self, batch: int, n_head: int, d_head: int) -> None:
        self._keys = self._values = torch.zeros(batch, n_head, 0, d_head)
        self.appended = 0

    def append(self, k: Tensor, v: Tensor) -> None:
        """Add positions at the end, in float32. Raises ValueError if k or v is not (batch, head, new, d_head)."""
        batch, n_head, _, d_head = self._keys.shape
        for name, got in (("k", k), ("v", v)):
            shape = tuple(got.shape) if isinstance(got, Tensor) else type(got).__name__
            fits = isinstance(got, Tensor) and got.dim() == 4
            if not fits or (got.shape[0], got.shape[1], got.shape[3]) != (batch, n_head, d_head):
                expected = f"(batch, head, new, d_head) = ({batch}, {n_head}, new, {d_head})"
                raise ValueError(f"cache.append expected {name} of shape {expected}, got {shape}")
        if k.shape != v.shape:
            raise ValueError(f"cache.append expected as many keys as values, got {k.shape[2]} and {v.shape[2]}")
        self._keys = torch.cat([self._keys, k.detach().float()], dim=2)
        self._values = torch.cat([self._values, v.detach().float()], dim=2)
        self.appended += k.shape[2]

    def view(self) -> tuple[Tensor, Tensor]:
        """The keys and values held."""
        return self._keys, self._values

    def crop(self, length: int) -> None:
        """Keep the first `length` positions. Raises ValueError if it is negative or more than are held."""
        if not 0 <= length <= len(self):
            raise ValueError(f"cache.crop expected a length from 0 to the {len(self)} positions held, got {length}")
        self._keys, self._values = self._keys[:, :, :length], self._values[:, :, :length]

    def reset(self) -> None:
        """Hold nothing."""
        self.crop(0)

    def __len__(self) -> int:
        return self._keys.shape[2]


class HistoryModel:
    """A model whose logits look random and depend on everything that it was fed: nothing fed amiss stays unseen.

    The logits after one history are 0 to vocab_size - 1 in an order and with a shift below 1 that the history decides, so
    there are no ties, neither in a row nor between rows.
    """

    def __init__(self, salt: int, batch: int, vocab_size: int, n_ctx: int = 1_000) -> None:
        self.salt, self.batch, self.vocab_size, self.n_ctx = salt, batch, vocab_size, n_ctx
        self.pieces: list[Tensor] = []

    @property
    def fed(self) -> list[list[int]]:
        """All tokens fed, row by row."""
        rows: list[list[int]] = torch.cat([torch.zeros(self.batch, 0, dtype=torch.long), *self.pieces], dim=1).tolist()
        return rows

    def forward(self, tokens: Int[Tensor, "batch n"]) -> Float[Tensor, "batch n vocab"]:
        """The logits after each of the tokens, which continue what was fed before.

        Raises ValueError if they are not integers of shape (batch, n), or go past the context.
        """
        if not isinstance(tokens, Tensor) or tokens.is_floating_point() or tokens.dtype == torch.bool:
            kind = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
            raise ValueError(f"forward expected a tensor of integer tokens, got {kind}")
        if tokens.dim() != 2 or tokens.shape[0] != self.batch or tokens.shape[1] == 0:
            expected = f"(batch, n) = ({self.batch}, n) with n at least 1"
            raise ValueError(f"forward expected tokens of shape {expected}, got {tuple(tokens.shape)}")
        held = sum(piece.shape[1] for piece in self.pieces)
        if held + tokens.shape[1] > self.n_ctx:
            raise ValueError(f"forward was fed {held + tokens.shape[1]} positions, the context is {self.n_ctx}")
        self.pieces.append(tokens.long())
        ends = range(held + 1, held + tokens.shape[1] + 1)
        return torch.stack([torch.stack([self._logits(row[:end]) for end in ends]) for row in self.fed])

    def greedy(self, prompt: Int[Tensor, "batch prompt"], n_new: int) -> Int[Tensor, "batch prompt+n_new"]:
        """What greedy generation has to return; feeds nothing."""
        rows = prompt.tolist()
        for _ in range(n_new):
            rows = [[*row, int(self._logits(row).argmax())] for row in rows]
        return torch.tensor(rows)

    def _logits(self, history: list[int]) -> Tensor:
        seed = hash((self.salt, *history)) % 2**63  # hash() of integers is the same in every process
        generator = torch.Generator().manual_seed(seed)
        return torch.randperm(self.vocab_size, generator=generator) + torch.rand(1, generator=generator)


class RaggedModel(HistoryModel):
    """A history model for padded batches: what a row was fed counts only where it is a real token."""

    def __init__(self, salt: int, batch: int, vocab_size: int, n_ctx: int = 1_000) -> None:
        super().__init__(salt, batch, vocab_size, n_ctx)
        self.masks: list[Tensor] = []

    def padded_forward(
        self, tokens: Int[Tensor, "batch n"], is_token: Bool[Tensor, "batch seen"]
    ) -> Float[Tensor, "batch n vocab"]:
        """The logits after each of the tokens; `is_token` says which of all tokens fed so far, these included, are real.

        Raises ValueError if they do not fit together, or go past the context.
        """
        seen = sum(piece.shape[1] for piece in self.pieces) + (tokens.shape[1] if isinstance(tokens, Tensor) else 0)
        shape = tuple(is_token.shape) if isinstance(is_token, Tensor) else type(is_token).__name__
        if shape != (self.batch, seen) or is_token.dtype != torch.bool:
            kind = f"{is_token.dtype} of shape {shape}" if isinstance(is_token, Tensor) else shape
            expected = f"booleans of shape (batch, seen) = ({self.batch}, {seen}), for all tokens fed so far"
            raise ValueError(f"forward expected is_token to be {expected}, got {kind}")
        n_new = self.forward(tokens).shape[1]
        self.masks.append(is_token)
        real = [[int(t) for t, kept in zip(*row, strict=True) if kept] for row in zip(self.fed, is_token, strict=True)]
        counts = is_token.long().cumsum(dim=1)
        return torch.stack(
            [
                torch.stack([self._logits(row[: int(count)]) for count in ends[seen - n_new :]])
                for row, ends in zip(real, counts, strict=True)
            ]
        )


class BeamModel:
    """A model that remembers `width` rows and can be told to reorder them; logits are random and depend on the history."""

    def __init__(self, salt: int, vocab_size: int, width: int, n_ctx: int = 1_000, scale: float = 1.5) -> None:
        self.salt, self.vocab_size, self.width, self.n_ctx, self.scale = salt, vocab_size, width, n_ctx, scale
        self.rows: list[list[int]] = [[] for _ in range(width)]
        self.sizes: list[int] = []

    def forward(self, tokens: Int[Tensor, "beam n"]) -> Float[Tensor, "beam n vocab"]:
        """The logits after each of the tokens, which continue the rows. Raises ValueError if they do not fit."""
        shape = tuple(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
        if not isinstance(tokens, Tensor) or tokens.is_floating_point() or tokens.dtype == torch.bool:
            raise ValueError(f"forward expected a tensor of integer tokens, got {getattr(tokens, 'dtype', shape)}")
        if tokens.dim() != 2 or tokens.shape[0] != self.width or tokens.shape[1] == 0:
            raise ValueError(f"forward expected tokens of shape (width, n) = ({self.width}, n), got {shape}")
        if len(self.rows[0]) + tokens.shape[1] > self.n_ctx:
            raise ValueError(
                f"forward was fed {len(self.rows[0]) + tokens.shape[1]} positions, the context is {self.n_ctx}"
            )
        self.sizes.append(tokens.shape[1])
        logits = []
        for row, new in zip(self.rows, tokens.tolist(), strict=True):
            start = len(row)
            row += new
            logits.append(torch.stack([self.logits(row[:end]) for end in range(start + 1, len(row) + 1)]))
        return torch.stack(logits)

    def reorder(self, rows: Int[Tensor, " beam"]) -> None:
        """Row i becomes what row rows[i] was. Raises ValueError unless rows are `width` numbers of rows."""
        numbers = rows.tolist() if isinstance(rows, Tensor) else rows
        if not isinstance(numbers, list) or len(numbers) != self.width:
            raise ValueError(f"reorder expected the numbers of {self.width} rows, got {numbers}")
        if not all(isinstance(row, int) and 0 <= row < self.width for row in numbers):
            raise ValueError(f"reorder expected numbers of rows from 0 to {self.width - 1}, got {numbers}")
        self.rows = [list(self.rows[row]) for row in numbers]

    def logits(self, history: list[int]) -> Tensor:
        """The logits after a history: normal numbers with a shift that the softmax takes out again."""
        generator = torch.Generator().manual_seed(hash((self.salt, *history)) % 2**63)
        return self.scale * torch.randn(self.vocab_size, generator=generator) + 3 * torch.rand(1, generator=generator)
