import itertools
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from reference.batched_generation import (
    beam_search,
    generate_batch,
    left_pad,
    likeliest,
    padded_forward,
    position_ids,
    reorder_cache,
    sample_tokens,
)
from reference.config import GPTConfig
from reference.generation import cached_forward, generate, uncached_forward
from reference.kv_cache import allocate_caches, forward_with_cache
from reference.next_token import sequence_log_prob
from reference.sampling import process_logits, sample

CONFIG = GPTConfig(n_layer=2, n_head=2, d_model=8, n_ctx=12, vocab_size=5)
EXACT = {"rtol": 1e-9, "atol": 1e-9}
seeds = st.integers(0, 10**6)
ragged = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=5), min_size=1, max_size=4)


def caches_for(batch):
    return allocate_caches(CONFIG, batch, torch.float64)


def test_padding_goes_left_and_positions_count_real_tokens():
    tokens, is_token = left_pad([[5, 6, 7], [8], [9, 1]], pad=0)
    assert tokens.tolist() == [[5, 6, 7], [0, 0, 8], [0, 9, 1]]
    assert is_token.int().tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]
    assert position_ids(is_token).tolist() == [[0, 1, 2], [0, 0, 0], [0, 0, 1]]
    for prompts in ([], [[1], []]):
        with pytest.raises(ValueError, match="at least one token"):
            left_pad(prompts, pad=0)


@settings(max_examples=15, deadline=None)
@given(seeds, ragged, st.integers(0, 7), st.booleans())
def test_each_row_of_a_ragged_batch_is_that_row_alone(random_gpt, seed, prompts, n_new, penalized):
    model = random_gpt(CONFIG, seed)

    def choose(logits, tokens):
        return likeliest(process_logits(logits, tokens, penalty=2.0) if penalized else logits, tokens)

    tokens, is_token = left_pad(prompts, pad=seed % 5)
    forward = padded_forward(model.params, CONFIG.n_head, caches_for(len(prompts)))
    together = generate_batch(forward, tokens, is_token, n_new, eos=3, choose=choose)
    assert together.shape == (len(prompts), tokens.shape[1] + n_new)
    assert together[:, : tokens.shape[1]].equal(tokens)
    for row, prompt in enumerate(prompts):
        fed = torch.tensor([prompt])
        alone = [token.item() for token in sample_tokens(uncached_forward(model), fed, n_new, choose)]
        if 3 in alone:  # stopped: nothing but the filling after it
            end = alone.index(3)
            alone = alone[: end + 1] + [3] * (n_new - end - 1)
        assert together[row, tokens.shape[1] :].tolist() == alone


def test_padded_logits_equal_unpadded_ones_in_every_call(random_gpt, draw_tokens):
    model, prompts = random_gpt(CONFIG, 1), [[1, 2, 3, 4], [2], [4, 0, 1]]
    tokens, is_token = left_pad(prompts, pad=0)
    forward = padded_forward(model.params, CONFIG.n_head, caches_for(3))
    more = draw_tokens(0, 5, 3, 6)
    got = [forward(tokens, is_token)[:, -1]]
    for chunk in more.split([1, 3, 2], dim=1):
        is_token = torch.cat([is_token, torch.ones_like(chunk, dtype=torch.bool)], dim=1)
        got.append(forward(chunk, is_token)[:, -1])
    for row, prompt in enumerate(prompts):
        whole = model(torch.tensor([[*prompt, *more[row].tolist()]]))[0]
        for logits, n in zip(got, (0, 1, 4, 6), strict=True):
            torch.testing.assert_close(logits[row], whole[len(prompt) + n - 1], **EXACT)


def test_the_model_is_not_called_once_every_row_has_stopped():
    calls = []

    def counts_up(tokens, is_token):
        calls.append(is_token.int().tolist())
        return torch.nn.functional.one_hot((tokens + 1).clamp(max=6), 7).double()

    tokens, is_token = left_pad([[4], [1, 2]], pad=0)
    assert generate_batch(counts_up, tokens, is_token, 9, eos=6).tolist() == [
        [0, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6],
        [1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6],
    ]
    assert len(calls) == 4
    assert calls[-1] == [[0, 1, 1, 1, 0], [1, 1, 1, 1, 1]]  # what fills up a row that stopped is padding


def test_past_the_context_is_an_error(random_gpt):
    tokens, is_token = left_pad([[1, 2, 3], [4]], pad=0)
    forward = padded_forward(random_gpt(CONFIG, 0).params, CONFIG.n_head, caches_for(2))
    generate_batch(forward, tokens, is_token, 10, eos=-1)
    forward = padded_forward(random_gpt(CONFIG, 0).params, CONFIG.n_head, caches_for(2))
    with pytest.raises(ValueError, match="got 13 positions, the context is 12"):
        generate_batch(forward, tokens, is_token, 11, eos=-1)
    with pytest.raises(ValueError, match="n_new to be at least 0"):
        generate_batch(forward, tokens, is_token, -1, eos=-1)


@settings(max_examples=10, deadline=None)
@given(seeds, st.floats(0.5, 1.5), st.floats(0.3, 1))
def test_sampling_with_a_cache_draws_what_it_draws_without(random_gpt, draw_tokens, seed, temperature, p):
    model, prompt = random_gpt(CONFIG, seed), draw_tokens(seed, 5, 3, 4)

    def tokens(forward):
        generator = torch.Generator().manual_seed(seed)
        return torch.stack(
            list(
                sample_tokens(
                    forward, prompt, 8,
                    lambda logits, seen: sample(process_logits(logits, seen, 1.2, temperature, 4, p), generator),
                )
            )
        )  # fmt: skip

    assert tokens(cached_forward(model, 3)).equal(tokens(uncached_forward(model)))


def test_the_greedy_choice_is_generate(random_gpt, draw_tokens):
    model, prompt = random_gpt(CONFIG, 0), draw_tokens(0, 5, 2, 3)
    chosen = torch.stack(list(sample_tokens(cached_forward(model, 2), prompt, 6)), dim=1)
    assert generate(cached_forward(model, 2), prompt, 6)[:, 3:].equal(chosen)


def test_reordered_rows_go_on_from_where_they_are_told(random_gpt, draw_tokens):
    model, tokens, caches = random_gpt(CONFIG, 0), draw_tokens(0, 5, 4, 6), caches_for(4)
    forward_with_cache(tokens, model.params, 2, caches)
    rows = torch.tensor([2, 0, 0, 3])
    reorder_cache(caches, rows)
    for chunk in draw_tokens(1, 5, 4, 4).split([1, 3], dim=1):  # rows that were one do not share what comes after
        got = forward_with_cache(chunk, model.params, 2, caches)
        tokens = torch.cat([tokens[rows], chunk], dim=1)
        rows = torch.arange(4)
        torch.testing.assert_close(got, model(tokens)[:, -chunk.shape[1] :], **EXACT)


def beams(model, prompt, n_new, width, eos=None):
    caches = caches_for(width)

    def forward(tokens):
        return forward_with_cache(tokens, model.params, CONFIG.n_head, caches)

    return beam_search(forward, lambda rows: reorder_cache(caches, rows), prompt, n_new, width, eos)


def all_continuations(model, prompt, n_new, eos=None):
    """Every continuation with its score, best first; after `eos` nothing but `eos`, for free."""
    found = {}
    for continuation in itertools.product(range(CONFIG.vocab_size), repeat=n_new):
        if eos in continuation:
            end = continuation.index(eos) + 1
            continuation = continuation[:end] + (eos,) * (n_new - end)
        else:
            end = n_new
        tokens = torch.tensor([[*prompt.tolist(), *continuation[:end]]])
        logits = model(tokens)
        prompt_log_prob = sequence_log_prob(logits[:, : len(prompt)], tokens[:, : len(prompt)])
        found[continuation] = (sequence_log_prob(logits, tokens) - prompt_log_prob).item()
    return sorted(found.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("eos", [None, 2])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_as_wide_as_all_sequences_is_brute_force(random_gpt, draw_tokens, seed, eos):
    model, prompt = random_gpt(CONFIG, seed), draw_tokens(seed, 5, 2)
    tokens, scores = beams(model, prompt, 3, 5**3, eos)
    expected = all_continuations(model, prompt, 3, eos)
    assert len(tokens) == len(expected)
    torch.testing.assert_close(scores, torch.tensor([score for _, score in expected], dtype=torch.float64), **EXACT)
    assert {tuple(row[2:]) for row in tokens.tolist()} == {continuation for continuation, _ in expected}
    assert tuple(tokens[0, 2:].tolist()) == expected[0][0]


@settings(max_examples=10, deadline=None)
@given(seeds, st.integers(1, 7), st.integers(1, 6), st.sampled_from([None, 0]))
def test_a_beams_score_is_that_of_its_sequence_and_width_1_is_greedy(random_gpt, draw_tokens, seed, width, n_new, eos):
    model, prompt = random_gpt(CONFIG, seed), draw_tokens(seed, 5, 3)
    tokens, scores = beams(model, prompt, n_new, width, eos)
    assert tokens.shape == (len(scores), 3 + n_new)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert len({tuple(row) for row in tokens.tolist()}) == len(tokens)
    for row, score in zip(tokens, scores.tolist(), strict=True):
        log_probs = model(row[None]).log_softmax(-1)[0]
        rescored = 0.0
        for i in range(3, len(row)):
            rescored += log_probs[i - 1, row[i]].item()
            if row[i] == eos:
                break
        assert math.isclose(score, rescored, rel_tol=1e-9, abs_tol=1e-9)
    if width == 1 and eos is None:
        assert tokens.equal(generate(cached_forward(model, 1), prompt[None], n_new))
