"""Exact attention, tile by tile, with a softmax that is corrected as it goes (chapter 13).
No tensor of all queries by all keys ever exists; the operations are as many as before. Sources: Milakov and Gimelshein
2018 (online softmax, 1805.02867); Dao et al. 2022 (FlashAttention, 2205.14135), algorithm 1."""

import math
from collections.abc import Callable

import torch

from reference.attention import Attend, Keys, Mask, Output, Queries, Values
from reference.shapes import Float, Tensor, expect

Tile = Callable[[slice, slice], Tensor | None]  # the part of the mask for some queries and keys; None allows all


def online_softmax(scores: Float[Tensor, "*batch key"], block_size: int) -> Float[Tensor, "*batch key"]:
    """Softmax whose normalizer is found in one pass over blocks of scores; a row of nothing but -inf gets zeros."""
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        top, correction, weights = _rescale(top, block)
        total = total * correction + weights.sum(dim=-1, keepdim=True)
    return _exp_below(scores, top) / total.masked_fill(total == 0, 1.0)


def flash_attention(q: Queries, k: Keys, v: Values, block_query: int, block_key: int, mask: Mask = None) -> Output:
    """`scaled_dot_product_attention`, holding at most block_query x block_key scores a head."""

    def tile(queries: slice, keys: slice) -> Tensor | None:
        if mask is None:
            return None
        part = mask if mask.shape[-2] == 1 else mask[..., queries, :]
        return part if part.shape[-1] == 1 else part[..., keys]

    return _flash(q, k, v, block_query, block_key, tile, lambda last_query: k.shape[-2])


def flash_attention_causal(q: Queries, k: Keys, v: Values, block_query: int, block_key: int) -> Output:
    """Causal attention, queries last; tiles wholly in the future are skipped. ValueError unless 1 <= query <= key."""
    past = k.shape[-2] - q.shape[-2]
    expect(past >= 0 and q.shape[-2] >= 1, "1 <= query <= key", q.shape[-2], k.shape[-2])

    def tile(queries: slice, keys: slice) -> Tensor:
        position = torch.arange(queries.start, queries.stop, device=q.device) + past
        return position[:, None] >= torch.arange(keys.start, keys.stop, device=q.device)

    return _flash(q, k, v, block_query, block_key, tile, lambda last_query: past + last_query + 1)


def causal_by_tiles(block: int = 64) -> Attend:
    """A model's way to attend: causal, in tiles of block x block."""
    return lambda layer, q, k, v: flash_attention_causal(q, k, v, block, block)


def _flash(
    q: Queries, k: Keys, v: Values, block_query: int, block_key: int, tile: Tile, n_visible: Callable[[int], int]
) -> Output:
    """Loop over tiles; `n_visible` says how many keys the query of an index can see at most."""
    expect(block_query >= 1 and block_key >= 1, "blocks of at least 1", block_query, block_key)
    wide = torch.promote_types(q.dtype, torch.float32)  # sums over many tiles
    outputs = []
    for start in range(0, q.shape[-2], block_query):
        queries = slice(start, min(start + block_query, q.shape[-2]))
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf, dtype=wide)
        total, output = torch.zeros_like(top), top.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_visible(queries.stop - 1), block_key):
            keys = slice(first_key, min(first_key + block_key, k.shape[-2]))
            scores = (q_block @ k[..., keys, :].transpose(-2, -1)).to(wide)
            if (allowed := tile(queries, keys)) is not None:
                scores = scores.masked_fill(~allowed, -math.inf)
            top, correction, weights = _rescale(top, scores)
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :].to(wide)
        outputs.append((output / total.masked_fill(total == 0, 1.0)).to(q.dtype))
    return torch.cat(outputs, dim=-2)


def _rescale(top: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The largest score so far, the factor for all that was summed below the former one, and the block's weights."""
    highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
    return highest, _exp_below(top, highest), _exp_below(scores, highest)


def _exp_below(scores: Tensor, highest: Tensor) -> Tensor:
    """exp(scores - highest), 0 where both are -inf: nothing was seen yet."""
    return (scores - highest.masked_fill(highest == -math.inf, 0.0)).exp()
