import itertools
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from reference.sampling import (
    apply_temperature,
    min_p_filter,
    process_logits,
    repetition_penalty,
    sample,
    top_k_filter,
    top_p_filter,
)

EXACT = {"rtol": 1e-9, "atol": 1e-12}
drawn = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 10**6)


@drawn
@given(seeds, st.integers(1, 3), st.integers(2, 9), st.integers(1, 12), st.floats(0.05, 1), st.floats(0.1, 3))
def test_each_filter_equals_that_of_transformers(draw, draw_tokens, seed, batch, vocab, k, p, temperature):
    logits, tokens = 2 * draw(seed, batch, vocab), draw_tokens(seed, vocab, batch, 5)
    for got, expected in (
        (apply_temperature(logits, temperature), TemperatureLogitsWarper(temperature)(tokens, logits)),
        (top_k_filter(logits, k), TopKLogitsWarper(k)(tokens, logits)),
        (top_p_filter(logits, p), TopPLogitsWarper(p)(tokens, logits) if p < 1 else logits),
        (min_p_filter(logits, p), MinPLogitsWarper(p)(tokens, logits)),
        (repetition_penalty(logits, tokens, 1.7), RepetitionPenaltyLogitsProcessor(1.7)(tokens, logits)),
    ):
        torch.testing.assert_close(got, expected, **EXACT)
    chain = [RepetitionPenaltyLogitsProcessor(1.3), TemperatureLogitsWarper(temperature), TopKLogitsWarper(k)]
    expected = logits
    for step in [*chain, TopPLogitsWarper(min(p, 0.999)), MinPLogitsWarper(p / 2)]:
        expected = step(tokens, expected)
    got = process_logits(logits, tokens, 1.3, temperature, k, min(p, 0.999), p / 2)
    torch.testing.assert_close(got, expected, **EXACT)


def kept(logits):
    return (logits > -math.inf).nonzero()[:, -1].tolist()


def test_the_nucleus_keeps_the_token_that_crosses_p():
    logits = torch.tensor([[0.5, 0.35, 0.1, 0.05]]).double().log()
    assert [kept(top_p_filter(logits, p)) for p in (0, 1e-9, 0.4, 0.6, 0.9, 0.97, 1)] == [
        [0], [0], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3],
    ]  # fmt: skip


@drawn
@given(st.lists(st.integers(0, 3), min_size=2, max_size=6), st.integers(1, 6), st.floats(0, 1), st.randoms())
def test_ties_stay_together_and_the_order_of_the_vocabulary_does_not_matter(values, k, p, random):
    logits = torch.tensor([values]).double()
    order = random.sample(range(len(values)), len(values))
    for keep in (
        lambda x: apply_temperature(x, 0),
        lambda x: top_k_filter(x, k),
        lambda x: top_p_filter(x, p),
        lambda x: min_p_filter(x, p),
    ):
        assert keep(logits[:, order]).equal(keep(logits)[:, order])


def test_temperature_zero_is_greedy_and_a_high_one_is_flat():
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0]])
    assert apply_temperature(logits, 0).softmax(-1).tolist() == [[0, 1, 0], [0.5, 0.5, 0]]
    assert apply_temperature(logits, 1e6).softmax(-1).std() < 1e-5


def test_the_temperature_comes_before_top_p():
    assert kept(process_logits(torch.tensor([[3.0, 2.0, 1.0]]), torch.zeros(1, 0).long(), 1.0, 0.5, None, 0.8)) == [0]


def test_a_penalty_makes_seen_tokens_less_likely_once_whatever_their_sign():
    logits = torch.tensor([[-1.0, 2.0, 0.5]])
    got = repetition_penalty(logits, torch.tensor([[0, 1, 1, 1]]), 1.5)
    torch.testing.assert_close(got, torch.tensor([[-1.5, 2 / 1.5, 0.5]]))
    assert repetition_penalty(logits, torch.zeros(1, 0, dtype=torch.long), 1.5).equal(logits)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: apply_temperature(x, -1),
        lambda x: apply_temperature(x, math.nan),
        lambda x: top_k_filter(x, 0),
        lambda x: top_p_filter(x, 1.1),
        lambda x: top_p_filter(x, -0.1),
        lambda x: min_p_filter(x, 2),
        lambda x: repetition_penalty(x, torch.tensor([[0]]), 0),
    ],
)
def test_settings_that_make_no_sense_are_errors(call):
    with pytest.raises(ValueError, match="expected"):
        call(torch.zeros(1, 3))


def chi_square(drawn_tokens, probs):
    counts = torch.bincount(drawn_tokens, minlength=len(probs))
    possible = probs > 0
    assert counts[~possible].sum() == 0
    expected = len(drawn_tokens) * probs[possible]
    return ((counts[possible] - expected) ** 2 / expected).sum().item()


def test_draws_follow_the_probabilities_and_a_wrong_sampler_is_noticed():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -math.inf]])
    generator = torch.Generator().manual_seed(0)
    tokens = sample(logits.expand(40_000, -1), generator)
    assert chi_square(tokens, logits[0].softmax(-1)) < 21  # 3 degrees of freedom: exceeded once in 9,000 times
    flatter = (logits[0] / 1.1).softmax(-1)
    assert chi_square(tokens, flatter) > 50


def test_rows_are_drawn_independently_and_repeat_with_the_seed():
    logits = torch.full((2, 2), 0.0).repeat(10_000, 1)
    tokens = sample(logits, torch.Generator().manual_seed(1)).view(-1, 2)
    pairs = torch.bincount(tokens[:, 0] * 2 + tokens[:, 1], minlength=4)
    assert all(abs(count - 2500) < 250 for count in pairs.tolist())
    again = sample(logits, torch.Generator().manual_seed(1)).view(-1, 2)
    assert tokens.equal(again)
    assert list(itertools.chain(tokens.shape)) == [10_000, 2]
