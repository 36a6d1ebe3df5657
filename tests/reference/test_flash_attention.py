import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from reference.config import GPTConfig
from reference.flash_attention import causal_by_tiles, flash_attention, flash_attention_causal, online_softmax

EXACT = {"rtol": 1e-9, "atol": 1e-9}
seeds = st.integers(0, 10**6)
sizes = st.integers(1, 9)
drawn = settings(max_examples=40, deadline=None)


@drawn
@given(seeds, sizes, sizes, st.sampled_from(["random", "ascending", "descending", "huge", "first is -inf"]))
def test_one_pass_in_any_blocks_is_softmax(draw, seed, n, block, order):
    scores = draw(seed, 2, 3, n) * (1e4 if order == "huge" else 3)
    if order == "ascending":
        scores = scores.sort().values
    elif order == "descending":
        scores = scores.sort(descending=True).values
    elif order == "first is -inf" and n > 1:
        scores[..., : n // 2] = -math.inf
    torch.testing.assert_close(online_softmax(scores, block), scores.softmax(-1), **EXACT)


def test_a_row_that_sees_nothing_gets_zeros():
    assert online_softmax(torch.full((2, 5), -math.inf), 2).tolist() == [[0] * 5] * 2


@drawn
@given(seeds, sizes, sizes, sizes, sizes, st.integers(0, 4), st.floats(1, 30))
def test_attention_by_tiles_is_exact_for_any_sizes_masks_and_gradients(
    draw, seed, n_query, n_key, block_query, block_key, n_masked, scale
):
    q, k, v = draw(seed, 2, 3, n_query, 4) * scale, draw(seed + 1, 2, 3, n_key, 4), draw(seed + 2, 2, 3, n_key, 4)
    for tensor in (q, k, v):
        tensor.requires_grad_()
    random = draw(seed + 3, 2, 1, n_query, n_key) > 0
    padding = (torch.arange(n_key) >= n_masked).expand(2, 1, 1, n_key)  # the first blocks may be wholly masked
    for mask in (None, random, padding):
        got = flash_attention(q, k, v, block_query, block_key, mask)
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        torch.testing.assert_close(got, expected, **EXACT)
    if n_masked < n_key:
        cotangent = draw(seed + 4, *got.shape)
        pairs = zip(*(torch.autograd.grad(out, (q, k, v), cotangent) for out in (got, expected)), strict=True)
        for mine, theirs in pairs:
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-8)


@drawn
@given(seeds, sizes, sizes, sizes, sizes)
def test_causal_attention_by_tiles_sits_bottom_right(draw, seed, n_query, past, block_query, block_key):
    k, v = (draw(seed + i, 2, 3, n_query + past, 4) for i in range(2))
    q = draw(seed + 2, 2, 3, n_query + past, 4)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, :, past:]
    got = flash_attention_causal(q[:, :, past:], k, v, block_query, block_key)
    torch.testing.assert_close(got, expected, **EXACT)


class Largest(TorchDispatchMode):
    """Remembers the most numbers that any tensor held."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


@pytest.mark.parametrize("causal", [False, True])
def test_no_tensor_of_all_queries_by_all_keys_ever_exists(draw, causal):
    q, k, v = (draw(i, 1, 1, 512, 4) for i in range(3))
    with Largest() as largest:
        (flash_attention_causal if causal else flash_attention)(q, k, v, 16, 16)
    assert 512 * 4 <= largest.numbers < 512 * 512 / 64
    with Largest() as largest:
        F.scaled_dot_product_attention(q, k, v, torch.ones(512, 512, dtype=torch.bool))
    assert largest.numbers >= 512 * 512


def test_tiles_in_the_future_are_not_computed(draw):
    from torch.utils.flop_counter import FlopCounterMode

    q = draw(0, 1, 1, 64, 4)
    with FlopCounterMode(display=False) as counter:
        flash_attention_causal(q, q, q, 8, 8)
    assert counter.get_total_flops() == 2 * (2 * 64 * 64 * 4) * (8 + 1) / 16  # 36 of 64 tiles


def test_a_model_attends_by_tiles_with_the_same_logits(random_gpt, draw_tokens):
    model, tokens = random_gpt(GPTConfig(2, 2, 8, 9, 7), 0), draw_tokens(0, 7, 2, 9)
    torch.testing.assert_close(model(tokens, attend=causal_by_tiles(4)), model(tokens), **EXACT)


def test_half_precision_sums_in_float32(draw):
    q, k, v = (draw(i, 1, 2, 300, 8).half() for i in range(3))
    got = flash_attention_causal(q, k, v, 32, 32)
    assert got.dtype == torch.float16
    expected = F.scaled_dot_product_attention(*(x.double() for x in (q, k, v)), is_causal=True)
    torch.testing.assert_close(got.double(), expected, rtol=5e-3, atol=5e-3)


def test_sizes_that_make_no_sense_are_errors(draw):
    q, k = draw(0, 1, 1, 3, 2), draw(1, 1, 1, 2, 2)
    with pytest.raises(ValueError, match="1 <= query <= key, got 3 and 2"):
        flash_attention_causal(q, k, k, 1, 1)
    for blocks in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="blocks of at least 1"):
            flash_attention(q, k, k, *blocks)
