"""How right softmax in blocks and attention in tiles are told from wrong ones, and from those that hold the whole matrix."""

import math
from dataclasses import dataclass

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect, expect_reference
from gptdojo.implementation import Implementation
from gptdojo.strategies import Values, values
from reference.attention import scaled_dot_product_attention
from reference.mask import causal_mask, masked_softmax

# --- online_softmax ---------------------------------------------------------------------------------------------------

N_KEY = st.integers(2, 9)


def softmax(scores: Tensor, block_size: int) -> Tensor:
    """The softmax of whole rows, zeros where a row is all -inf."""
    return masked_softmax(scores, scores > -math.inf)


@claim("online_softmax", rung=1, examples=8)
@given(n_key=N_KEY, more=st.integers(0, 2), v=values())
def test_online_softmax_one_block(impl, n_key, more, v):
    """Where one block holds the whole row, the result is a softmax over the last axis."""
    expect_reference(impl, softmax, v.normal(2, 3, n_key), n_key + more, what="the weights")


@claim("online_softmax", rung=2, examples=12)
@given(n_block=st.integers(2, 4), block_size=st.integers(1, 4), v=values())
def test_online_softmax_several_blocks(impl, n_block, block_size, v):
    """Several blocks give what one gives: what was summed before is corrected when a larger score comes."""
    scores = v.normal(2, 3, n_block * block_size, scale=2.0)
    expect_reference(impl, softmax, scores, block_size, what="the weights")


@claim("online_softmax", rung=3, examples=12)
@given(n_block=st.integers(1, 3), block_size=st.integers(2, 4), data=st.data(), v=values())
def test_online_softmax_shorter_last_block(impl, n_block, block_size, data, v):
    """The last block may be shorter than the others."""
    n_key = n_block * block_size + data.draw(st.integers(1, block_size - 1), label="last block")
    expect_reference(impl, softmax, v.normal(2, 3, n_key, scale=2.0), block_size, what="the weights")


@claim("online_softmax", rung=4, examples=12)
@given(n_key=N_KEY, block_size=st.integers(1, 4), step=st.sampled_from([1, 40, 100]), v=values())
def test_online_softmax_rising_and_falling(impl, n_key, block_size, step, v):
    """Scores that rise from block to block, or fall, by a little or by hundreds, neither overflow nor lose anything."""
    rising = torch.arange(n_key) * float(step) + v.integers(0, 1, (2, n_key)).float()
    expect_reference(impl, softmax, torch.stack([rising, rising.flip(-1)]), block_size, what="the weights")


@claim("online_softmax", rung=5, examples=8)
@given(n_key=N_KEY, block_size=st.integers(1, 4), shift=st.sampled_from([-1000.0, -200.0]), v=values())
def test_online_softmax_far_below_zero(impl, n_key, block_size, shift, v):
    """Scores that are all far below zero have weights like any others: only differences count."""
    expect_reference(impl, softmax, v.integers(0, 3, (2, 3, n_key)) + shift, block_size, what="the weights")


@claim("online_softmax", rung=6, examples=12)
@given(n_block=st.integers(2, 4), block_size=st.integers(1, 3), hidden=st.integers(0, 3), v=values())
def test_online_softmax_block_of_nothing(impl, n_block, block_size, hidden, v):
    """A block of nothing but -inf adds nothing, also where it is the first: hidden keys get 0, the others their share."""
    scores = v.normal(2, 3, n_block, block_size)
    scores[:, :, hidden % n_block] = -math.inf
    scores[:, 0, 0] = -math.inf
    scores[:, :, -1, -1] = 0.5  # every row sees something
    expect_reference(impl, softmax, scores.flatten(2), block_size, what="the weights")


@claim("online_softmax", rung=7, examples=8)
@given(n_key=N_KEY, block_size=st.integers(1, 4), v=values())
def test_online_softmax_row_of_nothing(impl, n_key, block_size, v):
    """A row of nothing but -inf gets zeros, and its neighbors their weights."""
    scores = v.normal(2, 3, n_key)
    scores[:, 1] = -math.inf
    expect_reference(impl, softmax, scores, block_size, what="the weights")


@claim("online_softmax", rung=8, examples=10)
@given(
    leading=st.sampled_from([(), (2,), (2, 1, 2, 3)]),
    n_key=N_KEY,
    block_size=st.integers(1, 4),
    v=values(),
)
def test_online_softmax_any_leading_axes(impl, leading, n_key, block_size, v):
    """There may be any number of axes before the last, also none, and any layout in memory."""
    expect_reference(impl, softmax, v.scattered(v.normal(*leading, n_key)), block_size, what="the weights")


# --- attention in tiles -----------------------------------------------------------------------------------------------

BLOCK = st.integers(1, 4)


@dataclass(frozen=True)
class Sizes:
    """Batch, heads and widths, which are all different, and where the numbers come from."""

    d_head: int
    d_value: int
    v: Values

    def qkv(self, n_query: int, n_key: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values at O(1), laid out as heads lie that were split from one projection."""
        widths = ((n_query, self.d_head), (n_key, self.d_head), (n_key, self.d_value))
        q, k, v = (self.v.normal(2, count, 3, width).transpose(1, 2) for count, width in widths)
        return q, k, v


SIZES = st.builds(lambda d_head, v: Sizes(d_head, d_head, v), st.integers(2, 5), values())
WIDER = st.builds(
    lambda d_head, more, v: Sizes(d_head, d_head + more, v), st.integers(2, 4), st.sampled_from([3, -1, 1]), values()
)


def whole(q: Tensor, k: Tensor, v: Tensor, block_query: int, block_key: int, mask: Tensor | None = None) -> Tensor:
    """Attention with the whole matrix."""
    return scaled_dot_product_attention(q, k, v, mask)


def whole_causal(q: Tensor, k: Tensor, v: Tensor, block_query: int, block_key: int) -> Tensor:
    """Causal attention with the whole matrix, bottom right."""
    return scaled_dot_product_attention(q, k, v, causal_mask(q.shape[-2], k.shape[-2]))


def steep(v: Values, n_query: int, n_key: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys whose scores rise or fall by hundreds from key to key, exact in float32."""
    sign = torch.ones(n_query) - 2 * (torch.arange(n_query) % 2)
    q = torch.zeros(2, 3, n_query, 4)
    q[..., 0] = sign
    k = v.integers(0, 1, (2, 3, n_key, 4)).float()
    k[..., 0] += 2.0 * step * (torch.arange(n_key) - n_key - 1)  # divided by the root of 4; far from 0 on one side
    return q, k, v.normal(2, 3, n_key, 4)


def expect_tiles_only(impl: Implementation, n_query: int, n_key: int, v: Values) -> None:
    """Ask how many numbers the largest tensor has that is made on the way: few queries meet many keys, in tiles of 8 by 8."""
    _, largest = impl.measured(v.normal(1, 1, n_query, 1), v.normal(1, 1, n_key, 1), v.normal(1, 1, n_key, 1), 8, 8)
    limit = n_query * n_key // 4
    message = (
        f"a tensor of {largest:,} numbers is made on the way. A tile of 8 * 8 has 64, all keys have {n_key:,}; but {n_query} "
        f"queries times {n_key} keys are {n_query * n_key:,}, and a block of 8 queries times all keys is {8 * n_key:,}"
    )
    inputs = {"queries": n_query, "keys": n_key, "d_head": 1, "block_query": 8, "block_key": 8}
    expect(largest <= limit, message, inputs=inputs)


MANY = st.sampled_from([640, 800])


# --- flash_attention --------------------------------------------------------------------------------------------------


@claim("flash_attention", rung=1, examples=8)
@given(n_query=st.integers(1, 4), n_key=st.integers(1, 5), more=st.integers(0, 2), sizes=SIZES)
def test_flash_attention_one_tile(impl, n_query, n_key, more, sizes):
    """Where one tile holds everything, the result is scaled dot-product attention."""
    expect_reference(impl, whole, *sizes.qkv(n_query, n_key), n_query + more, n_key + more, what="the output")


@claim("flash_attention", rung=2, examples=2)
@given(n_key=MANY, v=values())
def test_flash_attention_holds_tiles_only(impl, n_key, v):
    """No tensor is made with a number for every query and every key, nor for a block of queries and every key."""
    expect_tiles_only(impl, 16, n_key, v)


@claim("flash_attention", rung=3, examples=8)
@given(n_query=st.integers(1, 3), n_block=st.integers(2, 4), block_key=BLOCK, sizes=SIZES)
def test_flash_attention_several_blocks_of_keys(impl, n_query, n_block, block_key, sizes):
    """Blocks of keys come in one after the other, and what was summed before is corrected."""
    expect_reference(impl, whole, *sizes.qkv(n_query, n_block * block_key), n_query, block_key, what="the output")


@claim("flash_attention", rung=4, examples=8)
@given(block_query=BLOCK, n_block=st.integers(2, 3), n_key=st.integers(1, 6), block_key=BLOCK, sizes=SIZES)
def test_flash_attention_several_blocks_of_queries(impl, block_query, n_block, n_key, block_key, sizes):
    """Every block of queries starts afresh, meets all keys, and has its rows of the output."""
    n_key *= block_key
    expect_reference(impl, whole, *sizes.qkv(n_block * block_query, n_key), block_query, block_key, what="the output")


@claim("flash_attention", rung=5, examples=10)
@given(n_query=st.integers(1, 7), n_key=st.integers(1, 9), block_query=BLOCK, block_key=BLOCK, sizes=SIZES)
def test_flash_attention_any_sizes(impl, n_query, n_key, block_query, block_key, sizes):
    """Blocks need not divide the lengths: the last ones are shorter."""
    expect_reference(impl, whole, *sizes.qkv(n_query, n_key), block_query, block_key, what="the output")


@claim("flash_attention", rung=6, examples=8)
@given(n_query=st.integers(2, 4), n_key=st.integers(2, 9), block=BLOCK, step=st.sampled_from([1, 50, 300]), v=values())
def test_flash_attention_rising_and_falling(impl, n_query, n_key, block, step, v):
    """Scores that rise or fall from block to block, by a little or by hundreds, neither overflow nor lose anything."""
    expect_reference(impl, whole, *steep(v, n_query, n_key, step), block, block, what="the output")


@claim("flash_attention", rung=7, examples=8)
@given(n_query=st.integers(1, 4), n_key=st.integers(2, 6), block=BLOCK, sizes=WIDER)
def test_flash_attention_values_of_another_width(impl, n_query, n_key, block, sizes):
    """Values may be wider or narrower than queries and keys; the scale is that of queries and keys."""
    expect_reference(impl, whole, *sizes.qkv(n_query, n_key), block, block, what="the output")


@claim("flash_attention", rung=8, examples=12)
@given(
    n_query=st.integers(2, 6), n_key=st.integers(2, 8), block_query=BLOCK, block_key=BLOCK, sizes=SIZES,
    shared=st.sampled_from(["nothing", "the heads", "the queries", "the batch", "the keys"]),
)  # fmt: skip
def test_flash_attention_masked(impl, n_query, n_key, block_query, block_key, sizes, shared):
    """A mask hides keys from queries; axes of size 1 stand for all rows, heads, queries or keys."""
    q, k, v = sizes.qkv(n_query, n_key)
    mask = sizes.v.booleans(2, 3, n_query, n_key)
    mask[..., 0] = True  # every query sees something, in the first block
    cut = {"the batch": mask[:1], "the heads": mask[:, :1], "the queries": mask[:, :, :1], "the keys": mask[..., :1]}
    expect_reference(impl, whole, q, k, v, block_query, block_key, cut.get(shared, mask), what="the output")


@claim("flash_attention", rung=9, examples=10)
@given(n_query=st.integers(1, 4), n_block=st.integers(2, 4), block=st.integers(1, 3), sizes=SIZES, data=st.data())
def test_flash_attention_first_blocks_hidden(impl, n_query, n_block, block, sizes, data):
    """Blocks in which a query may see nothing add nothing, also where they come first: left padding does that."""
    hidden = data.draw(st.integers(1, n_block - 1), label="hidden blocks") * block
    mask = (torch.arange(n_block * block) >= hidden).expand(2, 1, n_query, -1).clone()
    expect_reference(impl, whole, *sizes.qkv(n_query, n_block * block), block, block, mask, what="the output")


@claim("flash_attention", rung=10, examples=8)
@given(n_query=st.integers(2, 5), n_key=st.integers(1, 6), block=BLOCK, sizes=SIZES)
def test_flash_attention_a_query_that_sees_nothing(impl, n_query, n_key, block, sizes):
    """A query that may see no key at all gets zeros, and its neighbors are not disturbed."""
    mask = torch.ones(2, 1, n_query, n_key, dtype=torch.bool)
    mask[:, :, 1] = False
    expect_reference(impl, whole, *sizes.qkv(n_query, n_key), block, block, mask, what="the output")


# --- flash_attention_causal -------------------------------------------------------------------------------------------


@claim("flash_attention_causal", rung=1, examples=8)
@given(count=st.integers(2, 5), more=st.integers(0, 2), sizes=SIZES)
def test_flash_attention_causal_one_tile(impl, count, more, sizes):
    """Where one tile holds a whole text, the result is causal attention: each query sees itself and what came before."""
    expect_reference(impl, whole_causal, *sizes.qkv(count, count), count + more, count + more, what="the output")


@claim("flash_attention_causal", rung=2, examples=2)
@given(n_key=MANY, v=values())
def test_flash_attention_causal_holds_tiles_only(impl, n_key, v):
    """No tensor is made with a number for every query and every key, a mask included, nor for a block of queries and every key."""
    expect_tiles_only(impl, 16, n_key, v)


@claim("flash_attention_causal", rung=3, examples=10)
@given(n_block=st.integers(2, 4), block=BLOCK, sizes=SIZES)
def test_flash_attention_causal_square_tiles(impl, n_block, block, sizes):
    """In several tiles a query still sees all that came before, in its own tile and in all earlier ones."""
    count = n_block * block
    expect_reference(impl, whole_causal, *sizes.qkv(count, count), block, block, what="the output")


@claim("flash_attention_causal", rung=4, examples=12)
@given(count=st.integers(2, 9), block_query=BLOCK, block_key=BLOCK, sizes=SIZES)
def test_flash_attention_causal_any_tiles(impl, count, block_query, block_key, sizes):
    """Tiles need not be square nor divide the text: the diagonal passes through them anywhere."""
    expect_reference(impl, whole_causal, *sizes.qkv(count, count), block_query, block_key, what="the output")


@claim("flash_attention_causal", rung=5, examples=12)
@given(n_query=st.integers(1, 5), past=st.integers(1, 5), block_query=BLOCK, block_key=BLOCK, sizes=SIZES)
def test_flash_attention_causal_behind_a_past(impl, n_query, past, block_query, block_key, sizes):
    """Fewer queries than keys are the newest positions: each sees the whole past, itself, and nothing later."""
    q, k, v = sizes.qkv(n_query, past + n_query)
    expect_reference(impl, whole_causal, q, k, v, block_query, block_key, what="the output")


@claim("flash_attention_causal", rung=6, examples=10)
@given(n_query=st.integers(2, 4), past=st.integers(0, 4), block=BLOCK, step=st.sampled_from([1, 50, 300]), v=values())
def test_flash_attention_causal_rising_and_falling(impl, n_query, past, block, step, v):
    """Scores that rise or fall by hundreds from key to key neither overflow nor let the future through."""
    q, k, values_ = steep(v, n_query, past + n_query, step)
    expect_reference(impl, whole_causal, q, k, values_, block, block, what="the output")


@claim("flash_attention_causal", rung=7, examples=8)
@given(n_query=st.integers(1, 4), past=st.integers(0, 3), block=BLOCK, sizes=WIDER)
def test_flash_attention_causal_values_of_another_width(impl, n_query, past, block, sizes):
    """Values may be wider or narrower than queries and keys."""
    expect_reference(impl, whole_causal, *sizes.qkv(n_query, past + n_query), block, block, what="the output")
