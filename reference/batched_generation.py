"""Many sequences at once: ragged prompts, rows that stop apart, beams (chapter 9).
Prompts of different lengths are padded on the left, so that every row's newest token is in the last column."""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F

from reference.attention import scaled_dot_product_attention
from reference.generation import Forward
from reference.kv_cache import KVCache
from reference.mask import padding_causal_mask
from reference.model import run_blocks
from reference.next_token import log_softmax
from reference.shapes import Float, Int, IsToken, Params, Tensor, Tokens, expect

Choose = Callable[[Tensor, Tensor], Tensor]
"""Takes logits (batch, vocab) and the tokens so far (batch, seen), returns a token a row: a way to sample."""

PaddedForward = Callable[[Tensor, Tensor], Tensor]
"""Takes the next tokens (batch, n) and which of all tokens so far are real (batch, seen); logits (batch, n, vocab)."""

Reorder = Callable[[Int[Tensor, " beam"]], None]  # told that row i goes on from row rows[i]


def likeliest(logits: Float[Tensor, "batch vocab"], tokens: Int[Tensor, "batch seen"]) -> Int[Tensor, " batch"]:
    """The greedy choice."""
    return logits.argmax(dim=-1)


@torch.no_grad()
def sample_tokens(
    forward: Forward, prompt: Int[Tensor, "batch prompt"], n_new: int, choose: Choose = likeliest
) -> Iterator[Int[Tensor, " batch"]]:
    """Yield one token a row at a time, as soon as it is chosen; `forward` is fed as by `generate`."""
    tokens = fed = prompt
    for _ in range(n_new):
        chosen = choose(forward(fed)[:, -1], tokens)
        yield chosen
        fed = chosen[:, None]
        tokens = torch.cat([tokens, fed], dim=1)


def left_pad(prompts: Sequence[Sequence[int]], pad: int) -> tuple[Tokens, IsToken]:
    """The prompts as one tensor, shorter ones with `pad` on the left, and where the real tokens are.
    Raises ValueError if there is no prompt or one is empty.
    >>> left_pad([[5, 6, 7], [8]], pad=0)[0].tolist()
    [[5, 6, 7], [0, 0, 8]]"""
    expect(prompts and all(prompts), "prompts of at least one token", f"lengths {[len(prompt) for prompt in prompts]}")
    longest = max(map(len, prompts))
    n_pad = [longest - len(prompt) for prompt in prompts]
    tokens = torch.tensor([[pad] * n + list(prompt) for n, prompt in zip(n_pad, prompts, strict=True)])
    return tokens, torch.arange(longest) >= torch.tensor(n_pad)[:, None]


def position_ids(is_token: IsToken) -> Int[Tensor, "batch position"]:
    """The position of each token among the real ones of its row, from 0; padding gets 0, which nobody sees.
    >>> position_ids(torch.tensor([[True, True], [False, True]])).tolist()
    [[0, 1], [0, 0]]"""
    return (is_token.long().cumsum(dim=-1) - 1).clamp(min=0)


def padded_forward(params: Params, n_head: int, caches: Sequence[KVCache]) -> PaddedForward:
    """A GPT that remembers in `caches` and leaves padding out; raises ValueError past the context."""

    def forward(tokens: Tensor, is_token: Tensor) -> Tensor:
        n_ctx, seen = params["wpe.weight"].shape[0], is_token.shape[1]
        if seen > n_ctx:
            raise ValueError(f"got {seen} positions, the context is {n_ctx}: shorten the prompts or n_new")
        mask = padding_causal_mask(is_token, tokens.shape[1])

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            caches[layer].append(k, v)
            return scaled_dot_product_attention(q, *caches[layer].view(), mask)

        positions = position_ids(is_token)[:, -tokens.shape[1] :]
        x = F.embedding(tokens, params["wte.weight"]) + F.embedding(positions, params["wpe.weight"])
        return run_blocks(x, params, n_head, attend)

    return forward


@torch.no_grad()
def generate_batch(
    forward: PaddedForward, tokens: Tokens, is_token: IsToken, n_new: int, eos: int, choose: Choose = likeliest
) -> Int[Tensor, "batch prompt+n_new"]:
    """Continue left-padded prompts, each row until its own `eos`, after which it is filled up with `eos`.
    `forward` is fed the prompts, then a column a call until all have stopped; ValueError if n_new is negative."""
    expect(n_new >= 0, "n_new to be at least 0", n_new)
    n_prompt, fed = tokens.shape[1], tokens
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool, device=tokens.device)
    for _ in range(n_new):
        logits = forward(fed, is_token)[:, -1]
        # a choice that penalizes repetition must not see padding as tokens: show it the prompt's last one instead
        seen = torch.where(is_token, tokens, tokens[:, n_prompt - 1 : n_prompt])
        fed = choose(logits, seen).masked_fill(stopped, eos)[:, None]
        tokens = torch.cat([tokens, fed], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (fed[:, 0] == eos)
        if stopped.all():
            break
    return F.pad(tokens, (0, n_prompt + n_new - tokens.shape[1]), value=eos)


def reorder_cache(caches: Sequence[KVCache], rows: Int[Tensor, " batch"]) -> None:
    """Make row i of every layer's cache what row rows[i] was; a row may go on as several, or end."""
    for cache in caches:
        k, v = (part[rows] for part in cache.view())  # copies: the buffers are about to be overwritten
        cache.reset()
        cache.append(k, v)


@torch.no_grad()
def beam_search(
    forward: Forward, reorder: Reorder, prompt: Int[Tensor, " prompt"], n_new: int, width: int, eos: int | None = None
) -> tuple[Int[Tensor, "beam prompt+n_new"], Float[Tensor, " beam"]]:
    """The `width` likeliest continuations that a search finds which keeps that many at each step, best first.
    Also their scores, log P(continuation | prompt) in nats. A beam that reached `eos` keeps its score and its place,
    filled up with `eos`. There are fewer beams than `width` only if fewer continuations exist. `forward` is fed the
    prompt in `width` rows, then one token a row; before each of these calls, `reorder(rows)` tells it that row i goes
    on from row rows[i]. Exact only if width >= vocab ** n_new. Source: Graves 2012 (1211.3711), section 2.4."""
    tokens = fed = prompt.expand(width, -1)
    ended = torch.zeros(width, dtype=torch.bool, device=prompt.device)
    scores = torch.full((width,), float("-inf"), device=prompt.device)
    scores[0] = 0.0  # all rows are the same at first: only one may speak
    for step in range(n_new):
        log_probs = log_softmax(forward(fed)[:, -1])  # (beam, vocab)
        log_probs[ended] = float("-inf")
        log_probs[ended, eos] = 0.0
        scores, best = (scores[:, None] + log_probs).flatten().topk(width)
        rows, chosen = best // log_probs.shape[1], best % log_probs.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == eos)
        if step == n_new - 1 or (ended | scores.isneginf()).all():
            break
        reorder(rows)
        fed = chosen[:, None]
    found = scores > float("-inf")
    return F.pad(tokens[found], (0, len(prompt) + n_new - tokens.shape[1]), value=eos or 0), scores[found]
