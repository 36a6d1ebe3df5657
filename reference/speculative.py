"""A small model drafts, the large one checks several tokens in one pass, and the distribution is its own (chapter 14).
Sources: Leviathan et al. 2022 (2211.17192), algorithm 1; Chen et al. 2023 (2302.01318)."""

from collections.abc import Callable, Sequence

import torch

from reference.generation import Forward
from reference.next_token import softmax
from reference.shapes import Float, Tensor
from reference.smaller_cache import Cache, remember

Draw = Callable[[Float[Tensor, " vocab"]], int]  # draws a token from probabilities


class CachedModel:
    """A model that remembers len tokens in `caches`, one a layer; `forward` takes the next (1, new), gives logits."""

    def __init__(self, model: Callable[..., Tensor], caches: Sequence[Cache]) -> None:
        self._caches = caches
        self.forward: Forward = remember(model, caches)

    def __len__(self) -> int:
        return len(self._caches[0])

    def crop(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        for cache in self._caches:
            cache.crop(length)


def accept_or_resample(
    p: Float[Tensor, " vocab"], q: Float[Tensor, " vocab"], token: int, uniform: float, draw: Draw
) -> tuple[bool, int]:
    """Keep a `token` drawn from the draft's `q` if uniform < p/q there, else draw from max(p - q, 0), made to sum to 1:
    it is distributed as the target's `p`. `uniform` is from [0, 1). Returns whether the draft was kept, and the token.
    Source: Leviathan et al., section 2.3."""
    if uniform * q[token] < p[token]:
        return True, token
    excess = (p - q).clamp(min=0)
    return False, draw(excess / excess.sum())


def speculative_step(
    target: CachedModel,
    draft: CachedModel,
    tokens: list[int],
    gamma: int,
    uniform: Callable[[], float],
    draw: Draw,
    to_probs: Callable[[Tensor], Tensor] = softmax,
) -> list[int]:
    """The next 1 to gamma + 1 tokens after `tokens`, at the cost of one pass of the target.
    Both models are fed what they do not remember of `tokens` yet. The draft proposes `gamma` tokens, the target judges
    all of them at once; the first one refused is replaced, and if none is, one more is drawn from the target.
    Afterwards neither remembers a refused token. `to_probs` makes probabilities of logits (..., vocab)."""
    drafted: list[int] = []
    proposed: list[Tensor] = []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])  # after the last token, and after each drafted one
    accepted: list[int] = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        kept, chosen = accept_or_resample(p, q, token, uniform(), draw)
        accepted.append(chosen)
        if not kept:
            break
    else:
        accepted.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(accepted) - 1))  # the last token was fed to nobody
    return accepted


def speculative_generate(
    target: CachedModel,
    draft: CachedModel,
    prompt: list[int],
    n_new: int,
    gamma: int,
    uniform: Callable[[], float],
    draw: Draw,
    to_probs: Callable[[Tensor], Tensor] = softmax,
) -> list[int]:
    """The prompt and `n_new` tokens, distributed as if the target had drawn each; fewer are drafted near the end."""
    tokens = list(prompt)
    while (missing := len(prompt) + n_new - len(tokens)) > 0:
        tokens += speculative_step(target, draft, tokens, min(gamma, missing - 1), uniform, draw, to_probs)
    return tokens


def one_hot_argmax(logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch vocab"]:
    """All probability on the likeliest token: speculative decoding becomes greedy decoding, token by token."""
    return torch.zeros_like(logits).scatter(-1, logits.argmax(dim=-1, keepdim=True), 1.0)
