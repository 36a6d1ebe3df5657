import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from reference.attention import (
    causal,
    causal_self_attention,
    merge_heads,
    scaled_dot_product_attention,
    split_heads,
)

seeds = st.integers(0, 10**6)
small = st.integers(1, 5)
drawn = settings(max_examples=30, deadline=None)


@drawn
@given(seeds, small, small, small, small, small, small)
def test_attention_equals_torch(draw, seed, batch, n_head, n_query, n_key, d_head, d_value):
    q, k = draw(seed, batch, n_head, n_query, d_head), draw(seed + 1, batch, n_head, n_key, d_head)
    v = draw(seed + 2, batch, n_head, n_key, d_value)
    mask = draw(seed + 3, batch, 1, n_query, n_key) > -0.5
    for allowed in (mask, None):
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        torch.testing.assert_close(scaled_dot_product_attention(q, k, v, allowed), expected, rtol=1e-9, atol=1e-9)


@drawn
@given(seeds, small, st.integers(1, 4), small)
def test_causal_attention_of_the_last_queries_is_the_end_of_that_of_all(draw, seed, n_key, n_query, d_head):
    n_query = min(n_query, n_key)
    q, k, v = (draw(seed + i, 2, 3, n_key, d_head) for i in range(3))
    full = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(causal(0, q, k, v), full, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(causal(7, q[:, :, -n_query:], k, v), full[:, :, -n_query:], rtol=1e-9, atol=1e-9)


def test_scores_of_unit_variance_vectors_have_unit_variance(draw):
    q, k = draw(0, 1, 1, 400, 64), draw(1, 1, 1, 400, 64)
    weights = scaled_dot_product_attention(q, k, torch.eye(400, dtype=torch.float64)[None, None], None)
    assert weights.log().var(dim=-1).mean() == pytest.approx(1, abs=0.05)


def test_a_query_that_sees_nothing_gets_zeros_and_finite_gradients(draw):
    q, k, v = (draw(i, 1, 1, 2, 3).requires_grad_() for i in range(3))
    output = scaled_dot_product_attention(q, k, v, torch.tensor([[False, False], [True, False]]))
    output.sum().backward()
    assert output[0, 0, 0].tolist() == [0, 0, 0]
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (q, k, v))


def test_masked_keys_may_be_nan_but_masked_values_may_not(draw):
    q, k, v = (draw(i, 1, 1, 3, 2) for i in range(3))
    mask = torch.tensor([True, True, False])
    expected = scaled_dot_product_attention(q, k[:, :, :2], v[:, :, :2], None)
    k[:, :, 2] = math.nan
    torch.testing.assert_close(scaled_dot_product_attention(q, k, v, mask), expected, rtol=1e-12, atol=1e-12)
    v[:, :, 2] = math.nan
    assert scaled_dot_product_attention(q, k, v, mask).isnan().all()


@drawn
@given(small, small, small, small)
def test_heads_are_neighboring_channels_and_merge_undoes_split(batch, n_position, n_head, d_head):
    x = torch.arange(batch * n_position * n_head * d_head).reshape(batch, n_position, n_head * d_head)
    heads = split_heads(x, n_head)
    assert heads.shape == (batch, n_head, n_position, d_head)
    assert all(heads[:, i].equal(x[..., i * d_head : (i + 1) * d_head]) for i in range(n_head))
    assert merge_heads(heads).equal(x)
    assert split_heads(x.transpose(0, 1).contiguous().transpose(0, 1), n_head).equal(heads)


@pytest.mark.parametrize("n_head", [0, -1, 4, 7])
def test_heads_must_divide_the_width(n_head):
    with pytest.raises(ValueError, match="divide d_model"):
        split_heads(torch.zeros(2, 3, 6), n_head)


@drawn
@given(seeds, st.integers(1, 3), small, st.integers(1, 3), st.integers(1, 3))
def test_causal_self_attention_equals_torch_with_gradients(draw, seed, batch, n_position, n_head, d_head):
    d_model = n_head * d_head
    shapes = [(batch, n_position, d_model), (3 * d_model, d_model), (3 * d_model,), (d_model, d_model), (d_model,)]
    ours = [draw(seed + i, *shape).requires_grad_() for i, shape in enumerate(shapes)]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    x, w_qkv, b_qkv, w_out, b_out = theirs
    # nn.MultiheadAttention's own function: (position, batch, d_model), and a mask that is True where attention is forbidden
    expected, _ = F.multi_head_attention_forward(
        *(3 * [x.transpose(0, 1)]), d_model, n_head, w_qkv, b_qkv, None, None, False, 0.0, w_out, b_out,
        need_weights=False, attn_mask=torch.ones(n_position, n_position, dtype=torch.bool).triu(1),
    )  # fmt: skip
    got = causal_self_attention(*ours, n_head)
    torch.testing.assert_close(got, expected.transpose(0, 1), rtol=1e-9, atol=1e-9)
    cotangent = draw(seed + 9, *got.shape)
    got.backward(cotangent)
    expected.transpose(0, 1).backward(cotangent)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-9, atol=1e-9)


def test_a_position_depends_on_every_earlier_one_and_on_no_later_one(draw):
    x = draw(0, 1, 5, 6).requires_grad_()
    weights = [draw(i, *shape) for i, shape in enumerate([(18, 6), (18,), (6, 6), (6,)])]
    for position in range(5):
        (gradient,) = torch.autograd.grad(causal_self_attention(x, *weights, 2)[0, position].sum(), x)
        assert ((gradient[0] != 0).any(dim=-1)).tolist() == [key <= position for key in range(5)]


def test_the_hook_gets_the_layer_and_the_heads_and_replaces_the_attention(draw):
    seen = []

    def look_at_self(layer, q, k, v):
        seen.append((layer, q.shape, k.shape, v.shape))
        return v

    x, identity = draw(0, 2, 5, 6), torch.eye(6, dtype=torch.float64)
    zero = torch.zeros(18, dtype=torch.float64)
    output = causal_self_attention(x, identity.repeat(3, 1), zero, identity, zero[:6], 3, look_at_self, layer=4)
    assert output.equal(x)
    assert seen == [(4, *(3 * [(2, 3, 5, 2)]))]
