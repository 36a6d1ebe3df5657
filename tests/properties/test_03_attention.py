"""Attention: who reads from whom, and how much."""

import math

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect_gradients, expect_kind, expect_reference
from gptdojo.strategies import Values, values
from reference import attention as reference
from tests.strategies.influence import expect_influence, influence

BATCH = st.integers(2, 3)
ANY_BATCH = st.integers(1, 3)
HEADS = st.integers(1, 4)
LENGTH = st.integers(1, 6)
LONG = st.integers(65, 70)
WIDTH = st.integers(1, 6)
MASK_AXES = st.sampled_from(["query key", "head query key", "batch query key", "batch head query key", "batch key"])


# batch, n_head, n_query, n_key: small, or many keys, or many queries. An answer may be a loop over all pairs, and each
# pair then costs a fifth of a millisecond: no axis is long where another is.
SHAPES = st.one_of(
    st.tuples(ANY_BATCH, HEADS, LENGTH, LENGTH),
    st.tuples(st.just(1), st.integers(1, 2), st.integers(1, 3), LONG),
    st.tuples(st.just(1), st.integers(1, 2), LONG, st.integers(1, 3)),
)


def mask_shape(axes: str, batch: int, n_head: int, n_query: int, n_key: int) -> tuple[int, ...]:
    """The shape of a mask that varies over `axes`, with length 1 elsewhere and no more axes in front than it needs."""
    lengths = {"batch": batch, "head": n_head, "query": n_query, "key": n_key}
    shape = tuple(length if axis in axes.split() else 1 for axis, length in lengths.items())
    return shape if "batch" in axes else shape[1:] if "head" in axes else shape[2:]


def allowed_keys(v, shape: tuple[int, ...], at_least: int) -> Tensor:
    """A random mask in which each query may attend to `at_least` keys or more."""
    order = torch.rand(shape, generator=v.generator).argsort(dim=-1)
    return (order < at_least) | v.booleans(*shape)


# scaled_dot_product_attention


@claim("scaled_dot_product_attention", rung=1, examples=8)
@given(BATCH, HEADS, st.integers(1, 4), WIDTH, WIDTH, values())
def test_scaled_dot_product_attention_one_key(impl, batch, n_head, n_query, d_head, d_value, v):
    """With a single key there is nothing to choose: every query gets its value, whatever the score is."""
    q, k = v.normal(batch, n_head, n_query, d_head), v.normal(batch, n_head, 1, d_head)
    value = v.normal(batch, n_head, 1, d_value)
    expect_reference(impl, reference.scaled_dot_product_attention, q, k, value, None)


@claim("scaled_dot_product_attention", rung=2, examples=12)
@given(BATCH, HEADS, LENGTH, st.integers(2, 6), WIDTH, WIDTH, values())
def test_scaled_dot_product_attention_one_allowed_key(impl, batch, n_head, n_query, n_key, d_head, d_value, v):
    """A query that may attend to one key only gets exactly the value of that key (True in the mask means: allowed)."""
    q, k = v.normal(batch, n_head, n_query, d_head), v.normal(batch, n_head, n_key, d_head)
    value = v.normal(batch, n_head, n_key, d_value)
    chosen = v.integers(0, n_key - 1, (n_query,))
    mask = torch.arange(n_key) == chosen[:, None]
    expect_reference(impl, reference.scaled_dot_product_attention, q, k, value, mask)


def variance_of_scores(weights: Tensor) -> Tensor:
    """The variance of the scores that lie behind `weights`: their logarithm, but for a constant in each row."""
    return weights.clamp_min(1e-30).log().var(dim=-1).mean()


@claim("scaled_dot_product_attention", rung=3, examples=6)
@given(st.sampled_from([9, 16, 48]), values())
def test_scaled_dot_product_attention_spread_of_scores(impl, d_head, v):
    """Queries and keys of unit variance make scores of unit variance, however wide the heads are."""
    batch, n_head, n_query, n_key = 2, 3, 5, 4
    q = torch.randn(batch, n_head, n_query, d_head, generator=v.generator)
    k = torch.randn(batch, n_head, n_key, d_head, generator=v.generator)
    # The values are unit vectors, so the output is the weights themselves.
    unit = torch.eye(n_key).expand(batch, n_head, n_key, n_key)
    mask = torch.ones(n_query, n_key, dtype=torch.bool)
    what = f"the variance of a query's scores (heads {d_head} wide)"
    expect_reference(impl, reference.scaled_dot_product_attention, q, k, unit, mask, at=variance_of_scores, what=what)


@claim("scaled_dot_product_attention", rung=4, examples=10)
@given(BATCH, HEADS, LENGTH, st.integers(2, 4), WIDTH, WIDTH, MASK_AXES | st.none(), values())
def test_scaled_dot_product_attention_who_sees_whom(impl, batch, n_head, n_query, n_key, d_head, d_value, axes, v):
    """Changing a key changes the queries that may attend to it, and no other, in every entry and head of the mask."""
    q, k = v.normal(batch, n_head, n_query, d_head), v.normal(batch, n_head, n_key, d_head)
    other, value = v.normal(batch, n_head, n_key, d_head), v.normal(batch, n_head, n_key, d_value)
    mask, allowed = None, torch.ones(batch, n_head, n_query, n_key, dtype=torch.bool)
    if axes is not None:
        mask = allowed_keys(v, mask_shape(axes, batch, n_head, n_query, n_key), at_least=2)
        allowed = mask.expand_as(allowed)

    def oracle(keys: Tensor) -> Tensor:
        return reference.scaled_dot_product_attention(q.double(), keys.double(), value.double(), mask)

    def learner(keys: Tensor) -> Tensor:
        return expect_kind(impl, exact, q, keys, value, mask)

    exact = oracle(k)
    expected, change = influence(oracle, k, other), influence(learner, k, other)
    expect_influence(change, expected, allowed, impl.label(impl.name, (q, k, value, mask)))


@claim("scaled_dot_product_attention", rung=5, examples=20)
@given(SHAPES, WIDTH, WIDTH, MASK_AXES | st.none(), st.booleans(), values())
def test_scaled_dot_product_attention_everything(impl, shape, d_head, d_value, axes, dense, v):
    """Any shapes, any mask that broadcasts, None too, and any layout in memory: softmax(q k^T / sqrt(d_head)) v."""
    batch, n_head, n_query, n_key = shape
    q, k = v.normal(batch, n_head, n_query, d_head), v.normal(batch, n_head, n_key, d_head)
    value, mask = v.normal(batch, n_head, n_key, d_value), None
    if axes is not None:
        mask = allowed_keys(v, mask_shape(axes, batch, n_head, n_query, n_key), at_least=1)
    if not dense:
        q, k, value = v.scattered(q), v.scattered(k), v.scattered(value)
    expect_reference(impl, reference.scaled_dot_product_attention, q, k, value, mask)


@claim("scaled_dot_product_attention", rung=6, examples=12)
@given(BATCH, HEADS, LENGTH, st.integers(2, 6), WIDTH, values())
def test_scaled_dot_product_attention_huge_scores(impl, batch, n_head, n_query, n_key, d_value, v):
    """With scores in the millions the best allowed key takes all the weight, and nothing overflows or leaks."""
    # Multiples of one vector of signs, with d_head 16: all scores are exact in float32, and no two of a row are equal.
    signs = v.booleans(batch, n_head, 1, 16) * 1000.0 - 500.0
    order = torch.rand(batch, n_head, n_key, 1, generator=v.generator).argsort(dim=-2)
    q = (v.integers(1, 3, (batch, n_head, n_query, 1)) * (v.booleans(batch, n_head, n_query, 1) * 2 - 1)) * signs
    k = (order - n_key // 2) * signs
    value = v.normal(batch, n_head, n_key, d_value)
    mask = allowed_keys(v, (batch, n_head, n_query, n_key), at_least=1)
    expect_reference(impl, reference.scaled_dot_product_attention, q, k, value, mask)


@claim("scaled_dot_product_attention", rung=7, examples=10)
@given(BATCH, HEADS, LENGTH, st.integers(2, 6), WIDTH, WIDTH, values())
def test_scaled_dot_product_attention_gradients(impl, batch, n_head, n_query, n_key, d_head, d_value, v):
    """Queries, keys and values all learn: their gradients are right."""
    q, k = v.normal(batch, n_head, n_query, d_head), v.normal(batch, n_head, n_key, d_head)
    value, cotangent = v.normal(batch, n_head, n_key, d_value), v.normal(batch, n_head, n_query, d_value)
    mask = allowed_keys(v, (batch, 1, n_query, n_key), at_least=2)
    oracle = reference.scaled_dot_product_attention
    expect_gradients(impl, oracle, (q, k, value, mask), cotangent, ["q", "k", "v"])


# split_heads


@claim("split_heads", rung=1, examples=8)
@given(ANY_BATCH, LENGTH, WIDTH, values())
def test_split_heads_one_head(impl, batch, n_position, d_model, v):
    """One head has all the channels; it still gets an axis, in front of the positions."""
    expect_reference(impl, reference.split_heads, v.normal(batch, n_position, d_model), 1)


@claim("split_heads", rung=2, examples=10)
@given(BATCH, st.integers(2, 4), WIDTH, values())
def test_split_heads_one_position(impl, batch, n_head, d_head, v):
    """The channels of one position are dealt out in runs: the first d_head of them to head 0, the next to head 1."""
    expect_reference(impl, reference.split_heads, v.normal(batch, 1, n_head * d_head), n_head)


@claim("split_heads", rung=3, examples=15)
@given(ANY_BATCH, LENGTH, HEADS, WIDTH, values())
def test_split_heads_every_position(impl, batch, n_position, n_head, d_head, v):
    """Every head keeps every position, in order."""
    expect_reference(impl, reference.split_heads, v.normal(batch, n_position, n_head * d_head), n_head)


@claim("split_heads", rung=4, examples=15)
@given(BATCH, st.integers(2, 6), HEADS, WIDTH, st.booleans(), values())
def test_split_heads_any_layout(impl, batch, n_position, n_head, d_head, transposed, v):
    """How x lies in memory does not matter: transposed, or a third of a wider tensor, as q is of q, k and v."""
    x = v.normal(batch, n_position, 3 * n_head * d_head).chunk(3, dim=-1)[1]
    expect_reference(impl, reference.split_heads, v.scattered(x) if transposed else x, n_head)


@claim("split_heads", rung=5, examples=8)
@given(ANY_BATCH, LENGTH, HEADS, WIDTH, values())
def test_split_heads_gradient(impl, batch, n_position, n_head, d_head, v):
    """The gradient comes back to the channels that it belongs to."""
    x = v.normal(batch, n_position, n_head * d_head)
    cotangent = v.normal(batch, n_head, n_position, d_head)
    expect_gradients(impl, reference.split_heads, (x, n_head), cotangent, ["x"])


# merge_heads


@claim("merge_heads", rung=1, examples=8)
@given(ANY_BATCH, LENGTH, WIDTH, values())
def test_merge_heads_one_head(impl, batch, n_position, d_head, v):
    """A single head is all of d_model; its axis goes."""
    expect_reference(impl, reference.merge_heads, v.normal(batch, 1, n_position, d_head))


@claim("merge_heads", rung=2, examples=10)
@given(BATCH, st.integers(2, 4), WIDTH, values())
def test_merge_heads_one_position(impl, batch, n_head, d_head, v):
    """At one position the heads lie side by side: all channels of head 0, then all of head 1."""
    expect_reference(impl, reference.merge_heads, v.normal(batch, n_head, 1, d_head))


@claim("merge_heads", rung=3, examples=15)
@given(ANY_BATCH, HEADS, LENGTH, WIDTH, values())
def test_merge_heads_every_position(impl, batch, n_head, n_position, d_head, v):
    """Every position gets what its own heads hold, and nothing of another position."""
    expect_reference(impl, reference.merge_heads, v.normal(batch, n_head, n_position, d_head))


@claim("merge_heads", rung=4, examples=15)
@given(BATCH, HEADS, LENGTH, WIDTH, st.booleans(), values())
def test_merge_heads_any_layout(impl, batch, n_head, n_position, d_head, as_split, v):
    """How the heads lie in memory does not matter: straight from a split, or transposed in another way."""
    x = v.normal(batch, n_head, n_position, d_head)
    x = x.transpose(1, 2).contiguous().transpose(1, 2) if as_split else v.scattered(x)
    expect_reference(impl, reference.merge_heads, x)


@claim("merge_heads", rung=5, examples=8)
@given(ANY_BATCH, HEADS, LENGTH, WIDTH, values())
def test_merge_heads_gradient(impl, batch, n_head, n_position, d_head, v):
    """The gradient comes back to the heads that it belongs to."""
    x = v.normal(batch, n_head, n_position, d_head)
    cotangent = v.normal(batch, n_position, n_head * d_head)
    expect_gradients(impl, reference.merge_heads, (x,), cotangent, ["x"])


# causal_self_attention


def parameters(v, d_model: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """w_qkv, b_qkv, w_out, b_out, of a size that keeps queries, keys and values at O(1) and the biases plain to see."""
    scale = 0.5 ** round(math.log2(d_model) / 2)  # about d_model ** -0.5, and simple numbers stay readable
    w_qkv, w_out = v.normal(3 * d_model, d_model, scale=scale), v.normal(d_model, d_model, scale=scale)
    return w_qkv, v.normal(3 * d_model), w_out, v.normal(d_model)


@claim("causal_self_attention", rung=1, examples=8)
@given(BATCH, HEADS, WIDTH, values())
def test_causal_self_attention_one_position(impl, batch, n_head, d_head, v):
    """A single position attends to itself: its value, projected out. The scores do not matter yet."""
    d_model = n_head * d_head
    x = v.normal(batch, 1, d_model)
    expect_reference(impl, reference.causal_self_attention, x, *parameters(v, d_model), n_head)


@claim("causal_self_attention", rung=2, examples=8)
@given(BATCH, st.integers(2, 6), HEADS, WIDTH, values())
def test_causal_self_attention_first_position(impl, batch, n_position, n_head, d_head, v):
    """Position 0 sees itself alone, so it gets what it would get in a sequence of length 1."""
    d_model = n_head * d_head
    x, weights = v.normal(batch, n_position, d_model), parameters(v, d_model)
    first = "the result at position 0"
    expect_reference(impl, reference.causal_self_attention, x, *weights, n_head, at=lambda out: out[:, 0], what=first)


@claim("causal_self_attention", rung=3, examples=8)
@given(BATCH, st.integers(2, 5), HEADS, WIDTH, values())
def test_causal_self_attention_who_sees_whom(impl, batch, n_position, n_head, d_head, v):
    """Changing a token changes the result at its own and at every later position, and at no earlier one."""
    d_model = n_head * d_head
    x, other = v.normal(batch, n_position, d_model), v.normal(batch, n_position, d_model)
    weights = parameters(v, d_model)
    weights64 = [w.double() for w in weights]

    def oracle(tokens: Tensor) -> Tensor:
        return reference.causal_self_attention(tokens.double(), *weights64, n_head)

    def learner(tokens: Tensor) -> Tensor:
        return expect_kind(impl, exact, tokens, *weights, n_head)

    exact = oracle(x)
    expected, change = influence(oracle, x, other), influence(learner, x, other)
    allowed = torch.ones(n_position, n_position, dtype=torch.bool).tril().expand_as(change)
    expect_influence(change, expected, allowed, impl.label(impl.name, (x, *weights, n_head)))


@claim("causal_self_attention", rung=4, examples=18)
@given(ANY_BATCH, LENGTH, HEADS, WIDTH, st.booleans(), values())
def test_causal_self_attention_everything(impl, batch, n_position, n_head, d_head, dense, v):
    """All positions, with any number of heads: scores, scale, softmax, heads and both projections."""
    d_model = n_head * d_head
    x, weights = v.normal(batch, n_position, d_model), parameters(v, d_model)
    if not dense:
        x, weights = v.scattered(x), tuple(v.scattered(w) for w in weights)
    expect_reference(impl, reference.causal_self_attention, x, *weights, n_head)


@claim("causal_self_attention", rung=5, examples=8)
@given(BATCH, st.integers(2, 5), st.integers(1, 2), values())
def test_causal_self_attention_huge_scores(impl, batch, n_position, n_head, v):
    """With scores in the millions the best visible position takes all the weight; nothing overflows or leaks."""
    # Channel 0 holds another multiple of 1/2 at each position, and queries and keys are multiples of it: with d_head 16
    # all scores are exact in float32, and no two of a row are equal unless its query is 0. Of opposite signs, so that
    # a position likes itself least, and the first, which sees nothing else, has a score far below 0.
    d_head = 16
    d_model = n_head * d_head
    x = v.normal(batch, n_position, d_model)
    x[..., 0] = torch.rand(batch, n_position, generator=v.generator).argsort(dim=-1) - n_position / 2 + 0.5
    w_qkv, b_qkv, w_out, b_out = parameters(v, d_model)
    w_qkv[: 2 * d_model] = 0
    b_qkv[: 2 * d_model] = 0
    w_qkv[:d_model, 0] = -500
    w_qkv[d_model : 2 * d_model, 0] = 500
    expect_reference(impl, reference.causal_self_attention, x, w_qkv, b_qkv, w_out, b_out, n_head)


@claim("causal_self_attention", rung=6, examples=6)
@given(BATCH, LENGTH, HEADS, WIDTH, values())
def test_causal_self_attention_gradients(impl, batch, n_position, n_head, d_head, v):
    """The gradients of the input and of every weight and bias are right."""
    d_model = n_head * d_head
    args = (v.normal(batch, n_position, d_model), *parameters(v, d_model), n_head)
    cotangent = v.normal(batch, n_position, d_model)
    names = ["x", "w_qkv", "b_qkv", "w_out", "b_out"]
    expect_gradients(impl, reference.causal_self_attention, args, cotangent, names)


@claim("causal_self_attention", rung=7, examples=1)
@given(st.integers(129, 140), st.integers(0, 2**32 - 1))
def test_causal_self_attention_long_text(impl, n_position, seed):
    """A text may be of any length, and its last positions see all of it."""
    v, d_model = Values("normal", seed), 3
    x, (w_qkv, *others) = v.normal(1, n_position, d_model), parameters(v, d_model)
    # All scores of a row are equal, and the first value is the largest by far: nobody can miss it unnoticed.
    w_qkv[: 2 * d_model] = 0
    x[:, 0] *= 100
    last = "the result at the last two positions"
    expect_reference(impl, reference.causal_self_attention, x, w_qkv, *others, 1, at=lambda out: out[:, -2:], what=last)
