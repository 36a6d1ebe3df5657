import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils.flop_counter import FlopCounterMode

from reference.config import GPTConfig
from reference.generation import cached_forward, generate, greedy, uncached_forward

CONFIG = GPTConfig(n_layer=2, n_head=2, d_model=6, n_ctx=9, vocab_size=13)


def counting(fed):
    """A language model that counts: after n comes n + 1."""

    def forward(tokens):
        fed.append(tokens.tolist())
        return torch.nn.functional.one_hot(tokens + 1, 20).float()

    return forward


def test_generate_feeds_the_prompt_then_one_token_a_call_and_never_the_last():
    fed = []
    tokens = generate(counting(fed), torch.tensor([[3, 1], [8, 7]]), 3)
    assert tokens.tolist() == [[3, 1, 2, 3, 4], [8, 7, 8, 9, 10]]
    assert fed == [[[3, 1], [8, 7]], [[2], [8]], [[3], [9]]]


def test_generating_nothing_returns_the_prompt_and_calls_nothing():
    fed = []
    assert generate(counting(fed), torch.tensor([[3, 1]]), 0).tolist() == [[3, 1]]
    assert fed == []


@pytest.mark.parametrize(
    ("prompt", "n_new", "message"),
    [
        (torch.tensor([[1]]), -1, "n_new to be at least 0, got -1"),
        (torch.tensor([1, 2]), 1, r"expected a prompt of shape \(batch, position\).*got \(2,\)"),
        (torch.zeros(2, 0, dtype=torch.long), 1, r"got \(2, 0\)"),
    ],
)
def test_what_cannot_be_generated_is_an_error(prompt, n_new, message):
    with pytest.raises(ValueError, match=message):
        generate(counting([]), prompt, n_new)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 9), st.data())
def test_each_token_is_the_likeliest_with_and_without_the_cache(random_gpt, draw_tokens, seed, batch, n_prompt, data):
    n_new = data.draw(st.integers(0, CONFIG.n_ctx - n_prompt + 1))  # the last one needs no room in the context
    model, prompt = random_gpt(CONFIG, seed), draw_tokens(seed, 13, batch, n_prompt)
    tokens = greedy(model, prompt, n_new)
    assert tokens.shape == (batch, n_prompt + n_new)
    assert tokens[:, :n_prompt].equal(prompt)
    assert greedy(model, prompt, n_new, use_cache=False).equal(tokens)
    if n_new:
        assert model(tokens[:, :-1]).argmax(dim=-1)[:, n_prompt - 1 :].equal(tokens[:, n_prompt:])


def test_the_cache_saves_most_of_the_work(random_gpt):
    def flops(use_cache):
        with FlopCounterMode(display=False) as counter:
            greedy(random_gpt(CONFIG, 0), torch.zeros(1, 1, dtype=torch.long), 9, use_cache)
        return counter.get_total_flops()

    assert 4 * flops(use_cache=True) < flops(use_cache=False)  # 9 positions instead of 1 + 2 + ... + 9 = 45


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_the_cached_model_and_its_uncached_twin_give_the_same_logits(random_gpt, draw_tokens, seed, sizes):
    model, tokens = random_gpt(CONFIG, seed), draw_tokens(seed, 13, 2, sum(sizes))
    cached, uncached = cached_forward(model, batch=2), uncached_forward(model)
    for chunk in tokens.split(sizes, dim=1):
        torch.testing.assert_close(cached(chunk), uncached(chunk), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("use_cache", [True, False])
def test_generating_past_the_context_is_an_error_before_any_work(random_gpt, use_cache):
    model = random_gpt(CONFIG, 0)
    model.forward = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="got 10 positions to feed, the context is 9"):
        greedy(model, torch.zeros(1, 4, dtype=torch.long), 7, use_cache)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_cache_follows_the_dtype_of_the_model(random_gpt, dtype):
    tokens = greedy(random_gpt(CONFIG, 0).to(dtype), torch.zeros(2, 3, dtype=torch.long), 4)
    assert tokens.shape == (2, 7)
