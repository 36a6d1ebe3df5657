import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from reference.config import GPTConfig
from reference.modern_decoder import Llama, LlamaConfig
from reference.paged_cache import PagedCache
from reference.smaller_cache import (
    Cache,
    Int8Cache,
    RollingCache,
    dequantize_kv,
    grouped_causal,
    grouped_query_attention,
    quantize_kv,
    remember,
    repeat_kv,
)

EXACT = {"rtol": 1e-9, "atol": 1e-9}
seeds = st.integers(0, 10**6)
drawn = settings(max_examples=20, deadline=None)
GPT_CONFIG = GPTConfig(n_layer=2, n_head=2, d_model=8, n_ctx=9, vocab_size=7)
LLAMA = LlamaConfig(n_layer=2, n_head=6, n_kv_head=2, d_model=24, d_ff=10, n_ctx=9, vocab_size=7)


@pytest.fixture(scope="module")
def random_llama(draw):
    def build(config, seed):
        model = Llama(config).double()
        for i, parameter in enumerate(model.parameters()):
            scale = 1.0 if parameter.ndim == 1 else 1.5 * parameter.shape[1] ** -0.5
            parameter.data = scale * draw(seed + i, *parameter.shape)
        return model

    return build


def caches(kind, config, batch, window=None, dtype=torch.float64):
    n_head = getattr(config, "n_kv_head", config.n_head)
    shape = (batch, n_head, window or config.n_ctx, config.d_model // config.n_head)
    return [kind(*shape, dtype) for _ in range(config.n_layer)]


def feed(forward, tokens, sizes):
    return torch.cat([forward(chunk) for chunk in tokens.split(sizes, dim=1)], dim=1)


def test_each_head_is_repeated_beside_itself():
    x = torch.arange(2 * 3 * 4 * 2).view(2, 3, 4, 2)
    assert repeat_kv(x, 2).equal(x[:, [0, 0, 1, 1, 2, 2]])
    assert repeat_kv(x, 1).equal(x)
    with pytest.raises(ValueError, match="at least 1"):
        repeat_kv(x, 0)


@drawn
@given(seeds, st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))
def test_grouped_attention_equals_torchs_with_gradients(draw, seed, batch, n_kv, group, n_query, n_key):
    q = draw(seed, batch, n_kv * group, n_query, 4).requires_grad_()
    k, v = (draw(seed + i, batch, n_kv, n_key, 4).requires_grad_() for i in (1, 2))
    mask = draw(seed + 3, batch, 1, n_query, n_key) > -0.7
    got = grouped_query_attention(q, k, v, mask)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    torch.testing.assert_close(got, expected, **EXACT)
    cotangent = draw(seed + 4, *got.shape)
    for mine, theirs in zip(*(torch.autograd.grad(out, (q, k, v), cotangent) for out in (got, expected)), strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)
    if n_kv > 1:
        with pytest.raises(ValueError, match="kv_head to divide head"):
            grouped_query_attention(q[:, :1], k, v, mask)


splits = st.lists(st.integers(1, 4), min_size=1, max_size=9).filter(lambda sizes: sum(sizes) <= 9)


@drawn
@given(seeds, splits, st.integers(1, 3), st.sampled_from([Cache, PagedCache]))
def test_every_cache_gives_the_uncached_logits_under_any_model(
    random_gpt, random_llama, draw_tokens, seed, sizes, batch, kind
):
    tokens = draw_tokens(seed, 7, batch, sum(sizes))
    for model, config in ((random_gpt(GPT_CONFIG, seed), GPT_CONFIG), (random_llama(LLAMA, seed), LLAMA)):
        got = feed(remember(model, caches(kind, config, batch)), tokens, sizes)
        torch.testing.assert_close(got, model(tokens), **EXACT)


@settings(max_examples=30, deadline=None)
@given(seeds, st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(1, 6))
def test_a_rolling_cache_gives_the_logits_of_the_windowed_model_for_prompts_of_any_length(
    random_llama, draw_tokens, seed, sizes, window
):
    config = LlamaConfig(**{**LLAMA.__dict__, "window": window})
    model, tokens = random_llama(config, seed), draw_tokens(seed, 7, 2, sum(sizes))
    rolling = caches(RollingCache, config, 2, window)
    torch.testing.assert_close(feed(remember(model, rolling), tokens, sizes), model(tokens), **EXACT)
    plain = Llama(LLAMA).double()  # the same cache makes a window for a model that has none
    plain.load_state_dict(model.state_dict())
    again = feed(remember(plain, caches(RollingCache, LLAMA, 2, window)), tokens, sizes)
    torch.testing.assert_close(again, model(tokens), **EXACT)
    if len(tokens[0]) <= LLAMA.n_ctx:  # or a cache that keeps all, and the window as an argument
        everything = feed(remember(model, caches(Cache, config, 2), window), tokens, sizes)
        torch.testing.assert_close(everything, model(tokens), **EXACT)
    assert [len(cache) for cache in rolling] == [sum(sizes)] * 2
    assert rolling[0].view()[0].shape[2] == min(window, sum(sizes))
    assert rolling[0].nbytes == 2 * 2 * 2 * window * 4 * 8


def test_a_window_hides_what_lies_before_it(random_gpt, draw_tokens):
    model, tokens = random_gpt(GPTConfig(1, 2, 8, 9, 7), 0), draw_tokens(0, 7, 1, 9)
    attend = grouped_causal(window=3)
    changed = tokens.clone()
    changed[:, 4] = (tokens[:, 4] + 1) % 7
    moved = (model(tokens, attend=attend) - model(changed, attend=attend)).abs().amax(dim=(0, 2)) > 0
    assert moved.tolist() == [False] * 4 + [True] * 3 + [False] * 2


def test_past_the_context_is_an_error_unless_the_cache_rolls(random_gpt, random_llama, draw_tokens):
    tokens = draw_tokens(0, 7, 1, 10)
    for model, config in ((random_gpt(GPT_CONFIG, 0), GPT_CONFIG), (random_llama(LLAMA, 0), LLAMA)):
        for kind in (Cache, Int8Cache, PagedCache):
            held = caches(kind, config, 1)
            forward = remember(model, held)
            forward(tokens[:, :8])
            with pytest.raises(ValueError, match="got 10 positions, the context is 9"):
                forward(tokens[:, 8:])
            assert [len(cache) for cache in held] == [8, 8]
    forward = remember(random_llama(LLAMA, 0), caches(RollingCache, LLAMA, 1, 3))
    for _ in range(6):
        assert forward(tokens).isfinite().all()
    forward = remember(random_gpt(GPT_CONFIG, 0), caches(RollingCache, GPT_CONFIG, 1, 3))
    forward(tokens[:, :9])
    with pytest.raises(ValueError, match="has no vector for the others"):  # learned positions end, whatever the cache
        forward(tokens[:, 9:])


@drawn
@given(
    seeds, st.sampled_from([Cache, PagedCache, RollingCache]), st.integers(1, 6), st.integers(0, 6), st.integers(1, 3)
)
def test_crop_and_go_on_is_as_if_it_had_never_gone_there(random_gpt, draw_tokens, seed, kind, before, keep, after):
    model, held = random_gpt(GPT_CONFIG, seed), caches(kind, GPT_CONFIG, 2)
    forward, keep = remember(model, held), min(keep, before)
    first, second = draw_tokens(seed, 7, 2, before), draw_tokens(seed + 1, 7, 2, after)
    forward(first)
    for cache in held:
        cache.crop(keep)
    expected = model(torch.cat([first[:, :keep], second], dim=1))[:, keep:]
    torch.testing.assert_close(forward(second), expected, **EXACT)
    for cache in held:
        cache.reset()
    assert len(held[0]) == 0
    torch.testing.assert_close(forward(first), model(first), **EXACT)


@pytest.mark.parametrize("kind", [Cache, PagedCache, RollingCache, Int8Cache])
def test_a_length_that_is_not_held_is_an_error_and_changes_nothing(draw, kind):
    cache = kind(1, 1, 4, 2, torch.float64)
    k = draw(0, 1, 1, 3, 2)
    cache.append(k, -k)
    for length in (-1, 4):
        with pytest.raises(ValueError, match="expected a length from 0 to"):
            cache.crop(length)
    assert len(cache) == 3
    with pytest.raises(ValueError, match="expected k and v of"):
        cache.append(k[:, :, :, :1], k[:, :, :, :1])
    assert len(cache) == 3
    assert cache.view()[1].equal(-cache.view()[0])


def test_a_rolling_cache_goes_back_only_as_far_as_it_remembers(draw):
    cache = RollingCache(1, 1, 3, 2)
    k = draw(0, 1, 1, 9, 2).float()
    cache.append(k[:, :, :5], k[:, :, :5])
    for length in (3, 0):
        with pytest.raises(ValueError, match="expected a length from 4 to 5"):
            cache.crop(length)
    cache.crop(4)
    assert cache.view()[0].equal(k[:, :, 2:4])
    cache.append(k[:, :, 7:9], k[:, :, 7:9])
    assert cache.view()[0].equal(k[:, :, [3, 7, 8]])
    cache.reset()
    cache.append(k, k)
    assert cache.view()[0].equal(k[:, :, 6:])


@drawn
@given(
    seeds,
    st.sampled_from([Cache, PagedCache, RollingCache, Int8Cache]),
    st.lists(st.integers(0, 2), min_size=3, max_size=3),
)
def test_reordered_rows_go_on_apart(draw, seed, kind, rows):
    cache, alone = kind(3, 2, 8, 4, torch.float64), [kind(1, 2, 8, 4, torch.float64) for _ in range(3)]
    k, more = draw(seed, 3, 2, 3, 4), draw(seed + 1, 3, 2, 2, 4)
    cache.append(k, -k)
    cache.reorder(torch.tensor(rows))
    cache.append(more, -more)
    for row, one in enumerate(alone):
        one.append(k[rows[row]][None], -k[rows[row]][None])
        one.append(more[row][None], -more[row][None])
        for got, expected in zip(cache.view(), one.view(), strict=True):
            torch.testing.assert_close(got[row], expected[0], rtol=0, atol=0)
    assert len(cache) == 5


@drawn
@given(seeds, st.sampled_from([-1, -2, 0]), st.sampled_from([1e-3, 1.0, 1e4]))
def test_int8_is_off_by_at_most_half_a_step(draw, seed, dim, scale):
    x = scale * draw(seed, 2, 3, 4, 5)
    numbers, step = quantize_kv(x, dim)
    assert numbers.dtype == torch.int8
    assert numbers.abs().amax(dim).min() == 127
    assert step.shape == x.amax(dim, keepdim=True).shape
    assert ((dequantize_kv(numbers, step) - x).abs() <= step / 2 * (1 + 1e-9)).all()


def test_zeros_stay_zeros_and_half_precision_stays_finite():
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        x = torch.tensor([[0.0, 0.0], [1e-7, -1e-7], [6e4, 1.0]], dtype=dtype)
        back = dequantize_kv(*quantize_kv(x))
        assert back.dtype == dtype
        assert back.isfinite().all()
        assert back[0].tolist() == [0, 0]


def test_an_outlier_channel_spoils_a_scale_for_each_token_but_not_one_for_each_channel(draw):
    k = draw(0, 1, 1, 64, 16)
    k[..., 3] *= 100
    per_token, per_channel = (dequantize_kv(*quantize_kv(k, dim)) for dim in (-1, -2))
    small = [channel for channel in range(16) if channel != 3]
    assert (per_token - k)[..., small].abs().mean() > 10 * (per_channel - k)[..., small].abs().mean()


def test_an_int8_cache_is_close_and_takes_less(random_gpt, draw_tokens):
    model, tokens = random_gpt(GPT_CONFIG, 0), draw_tokens(0, 7, 2, 9)
    held = caches(Int8Cache, GPT_CONFIG, 2)
    got, expected = feed(remember(model, held), tokens, [4, 1, 3, 1]), model(tokens)
    error = (got - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.05
    assert held[0].nbytes < caches(Cache, GPT_CONFIG, 2)[0].nbytes / 2
