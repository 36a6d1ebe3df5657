# %% [markdown]
# # 13. FlashAttention
#
# Chapter 10 counted operations and bytes, and found that what a device waits for is often the bytes. Attention over a
# long prompt is a case of its own. Its operations are those of two large matrix products, but between the two a
# matrix with a number for **every pair of positions** is written to memory, read for the softmax, written again, and
# read once more. For 8,192 positions that is 67 million scores a head, and 32 heads in float16 make 4 GiB of a thing
# that nobody wants to keep.
#
# **FlashAttention** never makes it. It cuts queries and keys into blocks, and works on one **tile** of scores at a
# time, small enough for the fast memory next to the arithmetic units. What stands in the way is the softmax, whose
# denominator is a sum over all keys. So the softmax has to be computed as the blocks come in, and corrected when a
# later block changes what was known before.
#
# This is **exact**: not an approximation, not a sparse pattern, the same numbers up to rounding. The operations are
# as many as before. What falls is memory, from $O(T^2)$ to $O(T)$, and with it the traffic.
#
# You write the softmax in blocks, then attention in tiles, then its causal form. A real kernel is this loop in CUDA or
# Triton; here it is PyTorch, which shows the idea and gains no speed.

# %%
import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from reference.attention import scaled_dot_product_attention
from reference.mask import causal_mask

# %% [markdown]
# ## A softmax that is corrected as it goes
#
# A softmax needs the largest score $m$ (so that no exponential overflows) and the sum $\ell = \sum_j e^{s_j - m}$.
# Read plainly that is three passes over the scores: one for $m$, one for $\ell$, one for the results. But both can be
# had in one pass. Keep $m$ and $\ell$ of what was seen so far. When a block comes with the largest score
# $\tilde m$, then
#
# $$m' = \max(m, \tilde m), \qquad \ell' = \ell \cdot e^{m - m'} + \sum_{j \in \text{block}} e^{s_j - m'} .$$
#
# The factor $e^{m - m'}$ turns what was summed relative to the former maximum into what it would have been relative
# to the new one. It is at most 1, so nothing overflows, whatever the order of the scores.
#
#     scores        1    3  |  5    2         blocks of 2
#     after 1       m = 3   l = e^-2 + e^0                          = 1.135
#     after 2       m = 5   l = 1.135 e^-2 + e^0 + e^-3             = 1.203
#
# It begins with $m = -\infty$ and $\ell = 0$. Masked scores are $-\infty$ too, and a block may hold nothing else: then
# $m' = -\infty$ as well, and $-\infty - (-\infty)$ is NaN. Guard that difference. A row of nothing but $-\infty$ gets
# zeros, as in chapter 2.
#
# The properties of this exercise see your results and not the way to them; whether a loop over blocks never holds
# more than it should is observed in the two exercises after it.


# %% online_softmax
def online_softmax(scores: Float[Tensor, "*batch key"], block_size: int) -> Float[Tensor, "*batch key"]:
    """Return the softmax over the last axis, its maximum and its denominator found in one pass over blocks.

    A block has `block_size` scores, the last one perhaps fewer; `block_size` is at least 1 and may exceed the row. There
    are any number of axes before the last, also none. Scores may be in the hundreds, and -inf, which gives exactly 0; a
    row of nothing but -inf gives zeros. `scores` is left unchanged.

    Source: Milakov and Gimelshein 2018 (1805.02867), algorithm 3, by blocks.

    >>> scores = torch.tensor([1.0, 3.0, 5.0, 2.0])
    >>> [round(weight, 4) for weight in online_softmax(scores, 2).tolist()]
    [0.0152, 0.1125, 0.831, 0.0414]
    """
    ### BEGIN SOLUTION
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)  # the largest score so far
    total = torch.zeros_like(top)  # the sum of exponentials so far, relative to `top`
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)  # -inf - -inf would be NaN
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.masked_fill(total == 0, 1.0)
    ### END SOLUTION


# %% [markdown]
# ## Attention in tiles
#
# Attention does not want the weights $w_j$ but the mean $\sum_j w_j v_j$ of values, and the same correction works on
# a running sum of values. For a block of queries keep three things a query: the largest score $m$, the sum $\ell$,
# and the **unnormalized** output $o$. A tile with the scores $s$ and the values $v$ gives
#
# $$m' = \max(m, \max_j s_j), \quad p_j = e^{s_j - m'}, \quad \ell' = \ell\, e^{m - m'} + \sum_j p_j, \quad
# o' = o\, e^{m - m'} + \sum_j p_j v_j .$$
#
# After the last block of keys the output is $o / \ell$. Division once, at the end, is all the normalization there is.
#
#                keys 0..3   keys 4..7   keys 8..9
#     queries 0..3    tile   -> tile   -> tile    -> divide, done
#     queries 4..6    tile   -> tile   -> tile    -> divide, done
#
# $o$ and $\ell$ need the same factor. Forgetting it on both is the worst kind of mistake: the weights still sum to 1,
# so values that are all equal come out right.
#
# Never make a tensor with a number for every query and every key, whether of scores, of weights or of a mask. Beside
# tensors of the size of `q`, `k` and `v`, hold one tile at a time, or at the most one column of tiles (all queries by
# one block of keys). That is observed.


# %% flash_attention
def flash_attention(
    q: Float[Tensor, "batch head query d_head"],
    k: Float[Tensor, "batch head key d_head"],
    v: Float[Tensor, "batch head key d_value"],
    block_query: int,
    block_key: int,
    mask: Bool[Tensor, "#batch #head #query #key"] | None = None,
) -> Float[Tensor, "batch head query d_value"]:
    """Return softmax(q k^T / sqrt(d_head)) v, in tiles of `block_query` queries by `block_key` keys.

    Blocks are at least 1 long, need not divide the lengths, and may exceed them. `mask` is True where attention is
    allowed; each of its axes may have size 1, which then stands for all. None allows everything. A query that may see no
    key gets zeros. Scores may be in the hundreds; d_value may differ from d_head.

    Without a mask, no tensor that is made on the way may grow with the number of queries times the number of keys: beside
    what is as large as q, k, v or the result, only a tile, or a column of tiles: all queries by one block of keys.

    Source: Dao et al. 2022 (2205.14135), algorithm 1; the order of the loops is that of FlashAttention-2 (2307.08691).

    >>> q, k = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 5, 1)  # all scores are 0
    >>> v = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0]).reshape(1, 1, 5, 1)
    >>> flash_attention(q, k, v, block_query=1, block_key=2).item()  # the mean
    4.0
    """
    ### BEGIN SOLUTION
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:  # a view: sizes of 1 are stretched without memory
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)  # one tile
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)
    ### END SOLUTION


# %% [markdown]
# ## Causal, and without a mask
#
# A causal mask as a tensor would bring the $T \times T$ matrix back. It is not needed: whether a query may see a key
# follows from their positions, and a tile knows those. The queries are the newest of the positions, as always, so
# query $i$ of $T_q$ has the position $T_k - T_q + i$, and a tile is one of three kinds:
#
#     2 by 2 tiles of 5 queries, 8 keys       keys 0-1   2-3    4-5    6-7
#                         queries 0-1 (3, 4)     all     all    part   none
#                         queries 2-3 (5, 6)     all     all    all    part
#                         query   4   (7)        all     all    all    all
#
# Tiles of nothing but future need not be computed at all, which saves about half the work of a long prompt: the one
# place where FlashAttention does fewer operations than the plain implementation. Tiles of nothing but past need no
# mask. In between, compare positions. Both savings are up to you; the result is what counts, and that nothing of the
# size of all pairs is made.


# %% flash_attention_causal
def flash_attention_causal(
    q: Float[Tensor, "batch head query d_head"],
    k: Float[Tensor, "batch head key d_head"],
    v: Float[Tensor, "batch head key d_value"],
    block_query: int,
    block_key: int,
) -> Float[Tensor, "batch head query d_value"]:
    """Return causal attention in tiles, scaled by 1/sqrt(d_head); each query sees itself and what came before.

    The queries are the last of the key positions, 1 <= query <= key: the mask sits bottom right. Blocks are at least 1
    long, need not divide the lengths, and may exceed them. Scores may be in the hundreds.

    No tensor that is made on the way may grow with the number of queries times the number of keys, a mask included:
    beside what is as large as q, k, v or the result, only a tile, or a column of tiles: all queries by one block of
    keys.

    Source: Dao et al. 2022 (2205.14135), algorithm 1; Dao 2023 (2307.08691), section 3.1.1, causal masking.

    >>> q, k = torch.zeros(1, 1, 2, 1), torch.zeros(1, 1, 4, 1)  # 2 new tokens behind 2 old ones
    >>> v = torch.tensor([1.0, 3.0, 5.0, 11.0]).reshape(1, 1, 4, 1)
    >>> flash_attention_causal(q, k, v, block_query=2, block_key=3).flatten()  # the means of 1, 3, 5 and of all
    tensor([3., 5.])
    """
    ### BEGIN SOLUTION
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2], device=q.device) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        n_visible = n_key - n_query + first_query + q_block.shape[-2]  # later keys are future to all of the block
        for first_key in range(0, n_visible, block_key):
            k_block = k[..., first_key : first_key + block_key, :]
            scores = q_block @ k_block.transpose(-2, -1)
            key_position = torch.arange(k_block.shape[-2], device=q.device) + first_key
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))  # finite: key 0 is seen by all
            correction, weights = (top - highest).exp(), (scores - highest).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., first_key : first_key + block_key, :]
            top = highest
        outputs.append(output / total)
    return torch.cat(outputs, dim=-2)
    ### END SOLUTION


# %% [markdown]
# ## One row, block by block
#
# The largest score, the factor, and the sum, as the blocks of one row come in. The scores rise, which is the hard
# case: every block corrects all that was summed before. The last line compares with the softmax of the whole row.

# %% one_row_block_by_block
row = torch.tensor([0.5, 1.0, 2.0, 2.5, 4.0, 3.0, 6.0, 5.5])
top, total = -math.inf, 0.0
print(f"{'block':>14} {'largest so far':>15} {'factor':>8} {'sum so far':>11}")
for block in row.split(2):
    highest = max(top, block.max().item())
    factor = math.exp(top - highest)
    top, total = highest, total * factor + (block - highest).exp().sum().item()
    print(f"{block.tolist()!s:>14} {top:15.1f} {factor:8.3f} {total:11.4f}")
print(f"{'at once':>14} {row.max():15.1f} {'':8} {(row - row.max()).exp().sum():11.4f}")
assert torch.allclose(online_softmax(row, 2), row.softmax(dim=0))

# %% [markdown]
# ## Which tiles there are
#
# Left the causal mask of 16 positions, right its tiles of 4 by 4: those in the upper right are never computed. A tile
# on the diagonal is computed whole and masked in part.

# %% which_tiles_there_are
from gptdojo.pictures import who_sees_whom

allowed = causal_mask(16, 16)
tiles = allowed.reshape(4, 4, 4, 4).any(dim=3).any(dim=1)
print(f"{tiles.sum()} of {tiles.numel()} tiles are computed")
who_sees_whom({"positions": allowed, "tiles of 4 x 4": tiles})

# %% [markdown]
# ## What is held, and what is computed
#
# The largest tensor that is made on the way, seen from inside by a dispatch mode, and the operations that
# `torch.utils.flop_counter` counts, for plain attention, for tiles, and for causal tiles. Doubling the length
# multiplies the first column by 4 and the others by 2; the operations grow by 4 in all of them, and causal tiles need
# about half.
#
# A plain loop in Python is slow: each tile is several small operations, each with its fixed cost. In a fused kernel the
# tile stays in fast memory from the product to the sum, and that is where the speed comes from.

# %% what_is_held
import matplotlib.pyplot as plt
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor had that any operation returned."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


lengths, block, d_head = [128, 256, 512, 1024], 32, 16
ways = {
    "plain": lambda q, k, v: scaled_dot_product_attention(q, k, v, causal_mask(len(q[0, 0]), len(q[0, 0]))),
    "tiles": lambda q, k, v: flash_attention(q, k, v, block, block),
    "causal tiles": lambda q, k, v: flash_attention_causal(q, k, v, block, block),
}
held: dict[str, list[int]] = {way: [] for way in ways}
operations: dict[str, list[int]] = {way: [] for way in ways}
for length in lengths:
    q, k, v = torch.randn(3, 1, 1, length, d_head)
    for way, attend in ways.items():
        with Largest() as largest:
            attend(q, k, v)
        with FlopCounterMode(display=False) as counter:
            attend(q, k, v)
        held[way].append(largest.numbers)
        operations[way].append(counter.get_total_flops())

figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
for axis, counts, title in (
    (axes[0], held, "numbers in the largest tensor"),
    (axes[1], operations, "operations"),
):
    for (way, numbers), marker in zip(counts.items(), ("o-", "s--", "^-"), strict=True):
        axis.loglog(lengths, numbers, marker, label=way)
    axis.set(title=title, xlabel="positions")
    axis.legend()
plt.show()
for way in ways:
    print(f"{way:>12} at {lengths[-1]}: {held[way][-1]:9,} numbers, {operations[way][-1]:12,} operations")
assert held["tiles"][-1] == 2 * held["tiles"][-2] < held["plain"][-1] / 32
assert operations["tiles"] == operations["plain"]

# %% [markdown]
# ## Exact, not approximate
#
# The differences from torch's own attention, for tiles of any size, in float32. They are rounding: sums in another
# order.

# %% exact_not_approximate
q, k, v = torch.randn(3, 2, 4, 50, 16)
expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
for block_query, block_key in ((1, 1), (7, 3), (16, 16), (50, 9), (64, 64)):
    error = (flash_attention_causal(q, k, v, block_query, block_key) - expected).abs().max()
    print(f"tiles of {block_query:2} x {block_key:2}: largest difference {error:.1e}")
    assert error < 1e-5
