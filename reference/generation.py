"""Greedy generation: feed the prompt, then each new token (chapter 8)."""

from collections.abc import Callable

import torch

from reference.kv_cache import allocate_caches, forward_with_cache
from reference.model import GPT
from reference.shapes import Float, Int, Tensor, Tokens, expect

Forward = Callable[[Int[Tensor, "batch n"]], Float[Tensor, "batch n vocab"]]
"""Takes the tokens that come next, remembers them, and returns the logits after each."""


def generate(forward: Forward, prompt: Int[Tensor, "batch prompt"], n_new: int) -> Int[Tensor, "batch prompt+n_new"]:
    """The prompt and `n_new` tokens, each the likeliest; `forward` is fed the prompt, then each token but the last.
    Raises ValueError if n_new is negative or the prompt is not (batch, position) with at least one position."""
    expect(n_new >= 0, "n_new to be at least 0", n_new)
    valid = prompt.ndim == 2 and prompt.shape[1] >= 1
    expect(valid, "a prompt of shape (batch, position), at least one position", prompt.shape)
    pieces = [prompt]
    for _ in range(n_new):
        pieces.append(forward(pieces[-1])[:, -1].argmax(dim=-1, keepdim=True))  # (batch, 1)
    return torch.cat(pieces, dim=1)


@torch.no_grad()
def greedy(model: GPT, prompt: Tokens, n_new: int, use_cache: bool = True) -> Int[Tensor, "batch prompt+n_new"]:
    """Generate with a model, with the cache or, for comparison, without.
    Raises ValueError at once if the tokens to feed, all but the last, do not fit into the context."""
    n_fed, n_ctx = prompt.shape[-1] + max(n_new - 1, 0), model.config.n_ctx
    if n_fed > n_ctx:
        raise ValueError(f"got {n_fed} positions to feed, the context is {n_ctx}: shorten the prompt or n_new")
    return generate(cached_forward(model, prompt.shape[0]) if use_cache else uncached_forward(model), prompt, n_new)


def cached_forward(model: GPT, batch: int) -> Forward:
    """The model, remembering the keys and values of what it was fed."""
    params, wte = model.params, model.wte.weight
    caches = allocate_caches(model.config, batch, wte.dtype, wte.device)
    return lambda tokens: forward_with_cache(tokens, params, model.config.n_head, caches)


def uncached_forward(model: GPT) -> Forward:
    """The model, remembering only the tokens: every call computes the whole sequence again."""
    fed: list[Tensor] = []

    def forward(tokens: Tensor) -> Tensor:
        fed.append(tokens)
        return model(torch.cat(fed, dim=1))[:, -tokens.shape[1] :]

    return forward
