import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from transformers import DynamicCache

from reference.config import GPTConfig
from reference.kv_cache import KVCache, allocate_caches, attend_with_cache, forward_with_cache
from reference.model import gpt_forward

EXACT = {"rtol": 1e-9, "atol": 1e-9}
CONFIG = GPTConfig(n_layer=3, n_head=2, d_model=6, n_ctx=9, vocab_size=7)
seeds = st.integers(0, 10**6)
splits = st.lists(st.integers(1, 4), min_size=1, max_size=9).filter(lambda sizes: sum(sizes) <= CONFIG.n_ctx)


def caches_for(batch):
    return allocate_caches(CONFIG, batch, torch.float64)


def feed(tokens, sizes, model, caches):
    """Logits of all positions, fed in chunks of these sizes."""
    chunks = tokens[:, : sum(sizes)].split(sizes, dim=1)
    return torch.cat([forward_with_cache(chunk, model.params, CONFIG.n_head, caches) for chunk in chunks], dim=1)


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 3), splits)
def test_cached_logits_equal_uncached_and_transformers_for_any_split(
    random_gpt, hugging_face, draw_tokens, seed, batch, sizes
):
    model, tokens = random_gpt(CONFIG, seed), draw_tokens(seed, 7, batch, sum(sizes))
    caches = caches_for(batch)
    got = feed(tokens, sizes, model, caches)
    assert [len(cache) for cache in caches] == [sum(sizes)] * 3
    torch.testing.assert_close(got, gpt_forward(tokens, model.params, CONFIG.n_head), **EXACT)

    twin, past = hugging_face(model), DynamicCache()
    expected = [twin(chunk, past_key_values=past, use_cache=True).logits for chunk in tokens.split(sizes, dim=1)]
    torch.testing.assert_close(got, torch.cat(expected, dim=1), **EXACT)


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(1, 4), st.integers(1, 4), st.data())
def test_crop_and_go_on_is_as_if_it_had_never_gone_there(random_gpt, draw_tokens, seed, before, after, data):
    model, tokens = random_gpt(CONFIG, seed), draw_tokens(seed, 7, 2, 9)
    keep = data.draw(st.integers(0, before))
    caches = caches_for(2)
    feed(tokens, [before], model, caches)
    for cache in caches:
        cache.crop(keep)
    other = draw_tokens(seed + 1, 7, 2, after)
    got = forward_with_cache(other, model.params, CONFIG.n_head, caches)
    expected = gpt_forward(torch.cat([tokens[:, :keep], other], dim=1), model.params, CONFIG.n_head)
    torch.testing.assert_close(got, expected[:, keep:], **EXACT)


def test_reset_forgets_everything(random_gpt, draw_tokens):
    model, caches = random_gpt(CONFIG, 0), caches_for(2)
    feed(draw_tokens(1, 7, 2, 9), [4, 5], model, caches)
    for cache in caches:
        cache.reset()
    tokens = draw_tokens(2, 7, 2, 9)
    torch.testing.assert_close(feed(tokens, [1, 8], model, caches), model(tokens), **EXACT)


def test_rows_and_runs_share_nothing(random_gpt, draw_tokens):
    model, tokens = random_gpt(CONFIG, 0), draw_tokens(1, 7, 3, 6)
    together = feed(tokens, [3, 2, 1], model, caches_for(3))
    alone = [feed(tokens[row : row + 1], [3, 2, 1], model, caches_for(1)) for row in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), **EXACT)


@pytest.mark.parametrize("n_new", [1, 4, 30])
def test_past_the_context_is_an_error_and_changes_no_cache(random_gpt, draw_tokens, n_new):
    model, tokens, caches = random_gpt(CONFIG, 0), draw_tokens(1, 7, 2, 40), caches_for(2)
    start = 9 if n_new == 1 else 6
    feed(tokens, [start], model, caches)
    with pytest.raises(ValueError, match=f"got {start + n_new} positions, the context is 9"):
        forward_with_cache(tokens[:, :n_new], model.params, CONFIG.n_head, caches)
    assert [len(cache) for cache in caches] == [start] * 3
    for cache in caches:
        cache.crop(5)
    expected = gpt_forward(tokens[:, :9], model.params, CONFIG.n_head)[:, 5:]
    torch.testing.assert_close(
        forward_with_cache(tokens[:, 5:9], model.params, CONFIG.n_head, caches), expected, **EXACT
    )


def test_an_error_in_a_late_layer_changes_no_cache(random_gpt, draw_tokens):
    model, tokens, caches = random_gpt(CONFIG, 0), draw_tokens(1, 7, 2, 9), caches_for(2)
    caches[2] = KVCache(batch=2, n_head=2, n_ctx=4, d_head=3, dtype=torch.float64)
    feed(tokens, [3], model, caches)
    with pytest.raises(ValueError, match="got 5 positions, the context is 4"):
        forward_with_cache(tokens[:, 3:5], model.params, CONFIG.n_head, caches)
    assert [len(cache) for cache in caches] == [3, 3, 3]


def test_caches_of_different_lengths_are_an_error(random_gpt, draw_tokens):
    model, tokens, caches = random_gpt(CONFIG, 0), draw_tokens(1, 7, 2, 9), caches_for(2)
    feed(tokens, [3], model, caches)
    caches[1].crop(2)
    with pytest.raises(ValueError, match=r"one length, got \[3, 2, 3\]"):
        forward_with_cache(tokens[:, :1], model.params, CONFIG.n_head, caches)


def test_a_cache_keeps_no_graph_and_counts_its_bytes(random_gpt, draw_tokens):
    cache = KVCache(batch=2, n_head=3, n_ctx=5, d_head=4)
    k = torch.randn(2, 3, 2, 4, requires_grad=True)
    cache.append(k, k * 2)
    assert not any(tensor.requires_grad for tensor in cache.view())
    assert cache.nbytes == 2 * (2 * 3 * 5 * 4) * 4
    caches = caches_for(2)
    logits = feed(draw_tokens(1, 7, 2, 9), [4, 5], random_gpt(CONFIG, 0), caches)
    assert not logits.requires_grad
    assert not any(tensor.requires_grad for cache in caches for tensor in cache.view())


def test_append_copies_its_arguments_behind_what_is_held(draw):
    cache = KVCache(batch=2, n_head=3, n_ctx=5, d_head=4, dtype=torch.float64)
    k, v = draw(0, 2, 3, 5, 4), draw(1, 2, 3, 5, 4)
    first = k[:, :, :2].clone()
    cache.append(first, v[:, :, :2])
    first.fill_(math.nan)
    cache.append(k[:, :, 2:], v[:, :, 2:])
    assert len(cache) == 5
    assert cache.view()[0].equal(k)
    assert cache.view()[1].equal(v)


@pytest.mark.parametrize(
    ("k", "v", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), "got 6 positions, the context is 5: 2 held, 4 more"),
        (torch.zeros(1, 3, 1, 4), torch.zeros(1, 3, 1, 4), r"expected k and v of shape \(2, 3, new, 4\)"),
        (torch.zeros(2, 3, 1, 4), torch.zeros(2, 3, 2, 4), r"expected k and v of shape \(2, 3, new, 4\)"),
        (torch.zeros(3, 1, 4), torch.zeros(3, 1, 4), r"expected k and v of shape \(2, 3, new, 4\)"),
        (torch.zeros(2, 3, 1, 4).double(), torch.zeros(2, 3, 1, 4), "dtype, torch.float32, got torch.float64"),
    ],
)
def test_what_does_not_fit_is_an_error_and_changes_nothing(k, v, message):
    cache = KVCache(batch=2, n_head=3, n_ctx=5, d_head=4)
    cache.append(torch.ones(2, 3, 2, 4), torch.ones(2, 3, 2, 4))
    with pytest.raises(ValueError, match=message):
        cache.append(k, v)
    assert len(cache) == 2
    assert all((tensor == 1).all() for tensor in cache.view())


@pytest.mark.parametrize("length", [-1, 3])
def test_crop_to_what_is_not_held_is_an_error(length):
    cache = KVCache(batch=1, n_head=1, n_ctx=5, d_head=1)
    cache.append(torch.ones(1, 1, 2, 1), torch.ones(1, 1, 2, 1))
    with pytest.raises(ValueError, match=f"from 0 to the 2 positions held, got {length}"):
        cache.crop(length)
    assert len(cache) == 2


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 6), st.integers(1, 6), st.integers(0, 3))
def test_attention_reads_no_slot_past_the_length(draw, seed, n_query, length, unused):
    n_query = min(n_query, length)
    q, k, v = (draw(seed + i, 2, 3, length, 4) for i in range(3))
    poison = torch.full((2, 3, unused, 4), math.nan, dtype=torch.float64)
    got = attend_with_cache(q[:, :, -n_query:], torch.cat([k, poison], 2), torch.cat([v, poison], 2), length)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(got, expected[:, :, -n_query:], **EXACT)


@pytest.mark.parametrize("length", [0, 1, 6])
def test_a_length_without_room_for_the_queries_or_past_the_buffer_is_an_error(length):
    with pytest.raises(ValueError, match=f"expected a length from 2 .* to 5 .*, got {length}"):
        attend_with_cache(torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 5, 3), torch.zeros(1, 1, 5, 3), length)
