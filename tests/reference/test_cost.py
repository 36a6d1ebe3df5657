import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils.flop_counter import FlopCounterMode

from reference.attention import scaled_dot_product_attention
from reference.config import GPT2, GPT3, GPTConfig, count_parameters
from reference.cost import (
    arithmetic_intensity,
    attention_flops,
    decode_flops,
    forward_flops,
    kv_cache_bytes,
    max_batch_size,
    weight_bytes,
)
from reference.generation import greedy
from reference.kv_cache import allocate_caches, forward_with_cache
from reference.model import GPT
from reference.smaller_cache import Cache, Int8Cache

configs = st.builds(
    lambda n_layer, n_head, d_head, vocab: GPTConfig(n_layer, n_head, n_head * d_head, 12, vocab),
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(2, 9),
)  # fmt: skip
drawn = settings(max_examples=15, deadline=None)


def counted(function, *args):
    with FlopCounterMode(display=False) as counter:
        function(*args)
    return counter.get_total_flops()


@drawn
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7))
def test_attention_costs_what_torch_counts(batch, n_head, d_head, n_query, n_key):
    q, k = torch.zeros(batch, n_head, n_query, d_head), torch.zeros(batch, n_head, n_key, d_head)
    got = counted(scaled_dot_product_attention, q, k, k, None)
    assert got == batch * attention_flops(n_query, n_key, n_head * d_head)


@drawn
@given(configs, st.integers(1, 6), st.integers(0, 6), st.integers(1, 3))
def test_a_pass_costs_what_torch_counts_with_and_without_a_past(config, n_query, n_past, batch):
    model, caches = GPT(config), allocate_caches(config, batch)
    if n_past:
        forward_with_cache(torch.zeros(batch, n_past, dtype=torch.long), model.params, config.n_head, caches)
    tokens = torch.zeros(batch, n_query, dtype=torch.long)
    got = counted(forward_with_cache, tokens, model.params, config.n_head, caches)
    shape = (config.n_layer, config.d_model, config.vocab_size)
    assert got == batch * forward_flops(*shape, n_query, n_past + n_query)


@drawn
@given(configs, st.integers(1, 6), st.integers(0, 6), st.booleans())
def test_generating_costs_what_torch_counts(config, n_prompt, n_new, use_cache):
    prompt = torch.zeros(1, n_prompt, dtype=torch.long)
    got = counted(greedy, GPT(config), prompt, n_new, use_cache)
    assert got == decode_flops(config.n_layer, config.d_model, config.vocab_size, n_prompt, n_new, use_cache)


def test_the_published_figures():
    small, xl, large = GPT2["gpt2"], GPT2["gpt2-xl"], GPT3["gpt3-175b"]

    def share(config):
        whole = forward_flops(config.n_layer, config.d_model, config.vocab_size, 1, config.n_ctx)
        return config.n_layer * attention_flops(1, config.n_ctx, config.d_model) / whole

    assert [round(100 * share(config), 1) for config in (small, xl, large)] == [13.3, 9.2, 2.7]
    assert kv_cache_bytes(12, 12, 64, 1) == 36_864
    assert kv_cache_bytes(48, 25, 64, 1) == 307_200
    assert kv_cache_bytes(96, 96, 128, 1) == 4_718_592
    assert kv_cache_bytes(80, 8, 128, 8192, batch=32) / 2**30 == 80  # Llama-2-70B
    shape = (12, 768, 50257)
    ratio = decode_flops(*shape, 1, 1023, use_cache=False) / decode_flops(*shape, 1, 1023, use_cache=True)
    assert 300 < ratio < 600


@drawn
@given(configs, st.integers(1, 3), st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_bytes_are_those_that_tensors_really_take(config, batch, dtype):
    model, size = GPT(config).to(dtype), dtype.itemsize
    assert weight_bytes(count_parameters(config), size) == sum(p.nbytes for p in model.parameters())
    caches = allocate_caches(config, batch, dtype)
    expected = kv_cache_bytes(config.n_layer, config.n_head, config.d_head, config.n_ctx, batch, size)
    assert expected == sum(cache.nbytes for cache in caches)
    k, v = caches[0]._k, caches[0]._v
    assert 2 * k.untyped_storage().nbytes() == k.nbytes + v.nbytes == expected / config.n_layer


def test_int8_takes_a_quarter_and_a_scale():
    plain, small = Cache(2, 3, 10, 64), Int8Cache(2, 3, 10, 64)
    assert plain.nbytes == kv_cache_bytes(1, 3, 64, 10, batch=2, bytes_per_number=4)
    assert small.nbytes == kv_cache_bytes(1, 3, 64, 10, batch=2, bytes_per_number=1 + 4 / 64)


def test_intensity_is_nearly_the_number_of_tokens_while_that_is_small():
    assert arithmetic_intensity(1, 4096, 4096) == pytest.approx(1, rel=1e-3)
    assert arithmetic_intensity(64, 4096, 4096) == pytest.approx(64, rel=0.04)
    assert arithmetic_intensity(3, 5, 7, 4) == 2 * 3 * 5 * 7 / (4 * (5 * 7 + 3 * 5 + 3 * 7))
    x, w = torch.zeros(3, 5), torch.zeros(7, 5)
    moved = sum(tensor.nbytes for tensor in (x, w, x @ w.T))
    assert arithmetic_intensity(3, 5, 7, 4) == counted(torch.nn.functional.linear, x, w) / moved


def test_what_fits_beside_the_weights():
    assert max_batch_size(80e9, 14e9, 2 * 2**30) == 30
    assert max_batch_size(100, 90, 10) == 1
    assert max_batch_size(100, 91, 10) == 0
    assert max_batch_size(10, 91, 10) == 0
    for size in (0, -1, float("inf")):
        with pytest.raises(ValueError, match="take bytes"):
            max_batch_size(1, 1, size)


@pytest.mark.parametrize(("call", "args"), [(forward_flops, (1, 2, 3, 2, 1)), (decode_flops, (1, 2, 3, 0, 1, True))])
def test_sizes_that_make_no_sense_are_errors(call, args):
    with pytest.raises(ValueError, match="expected"):
        call(*args)
