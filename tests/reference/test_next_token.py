import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from reference.next_token import cross_entropy, log_softmax, perplexity, sequence_log_prob, shift_targets, softmax

EXACT = {"rtol": 1e-9, "atol": 1e-12}
drawn = settings(max_examples=30, deadline=None)
small = st.integers(1, 4)
scales = st.sampled_from([1e-3, 1.0, 50.0, 1e5])


@drawn
@given(st.integers(0, 10**6), small, small, small, st.integers(-3, 2), scales)
def test_softmax_and_its_logarithm_equal_torchs_along_every_dim(draw, seed, a, b, c, dim, scale):
    x = draw(seed, a, b, c) * scale
    torch.testing.assert_close(softmax(x, dim), x.softmax(dim), **EXACT)
    torch.testing.assert_close(log_softmax(x, dim), x.log_softmax(dim), **EXACT)
    y = x.transpose(0, 2)
    torch.testing.assert_close(softmax(y, dim), y.softmax(dim), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_huge_and_forbidden_logits_stay_finite_in_every_dtype(dtype):
    x = torch.tensor([[6e4, -6e4, 0.0], [1.0, -math.inf, 1.0]], dtype=dtype)
    assert softmax(x).tolist() == [[1, 0, 0], [0.5, 0, 0.5]]
    assert log_softmax(x)[0, 0] == 0
    assert log_softmax(x)[1, 1] == -math.inf
    assert log_softmax(torch.tensor([0.0, -1e4]))[1] == -1e4  # where log(softmax) is -inf


def test_targets_are_the_tokens_one_step_later():
    inputs, targets = shift_targets(torch.tensor([[5, 6, 7], [1, 2, 3]]))
    assert inputs.tolist() == [[5, 6], [1, 2]]
    assert targets.tolist() == [[6, 7], [2, 3]]
    for shape in ((2, 1), (3,), (2, 0)):
        with pytest.raises(ValueError, match="at least two positions"):
            shift_targets(torch.zeros(shape, dtype=torch.long))


@drawn
@given(st.integers(0, 10**6), small, small, st.integers(2, 5), st.sampled_from([-100, 0, 1]), scales)
def test_cross_entropy_equals_torchs_with_gradients_and_ignored_targets(draw, seed, a, b, vocab, ignore, scale):
    logits = (draw(seed, a, b, vocab) * scale).requires_grad_()
    targets = torch.randint(vocab, (a, b), generator=torch.Generator().manual_seed(seed))
    targets[0, 0] = vocab - 1  # always one to count: ignore is never the last
    if ignore == vocab - 1:
        ignore = -100
    loss = cross_entropy(logits, targets, ignore)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=ignore)
    torch.testing.assert_close(loss, expected, **EXACT)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, **EXACT)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([-100, -100], "no target to count"),
        ([0, 3], r"targets from 0 to 2 or -100, got \[0, 3\]"),
        ([0, -1], "targets from 0 to 2"),
        ([0], r"targets of shape \(2,\), got \(1,\)"),
    ],
)
def test_targets_that_make_no_sense_are_errors_and_not_nan(targets, message):
    with pytest.raises(ValueError, match=message):
        cross_entropy(torch.zeros(2, 3), torch.tensor(targets))


def test_the_probabilities_of_all_sequences_of_one_length_sum_to_1(random_gpt):
    from reference.config import GPTConfig

    model = random_gpt(GPTConfig(n_layer=2, n_head=2, d_model=8, n_ctx=4, vocab_size=3), 0)
    tokens = torch.tensor([(1, *rest) for rest in itertools.product(range(3), repeat=3)])
    log_probs = sequence_log_prob(model(tokens), tokens)
    assert log_probs.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert log_probs.std() > 0.1


def test_a_sequences_log_probability_is_minus_its_summed_cross_entropy(draw, draw_tokens):
    logits, tokens = draw(0, 3, 5, 7), draw_tokens(1, 7, 3, 5)
    expected = -F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none").sum(1)
    torch.testing.assert_close(sequence_log_prob(logits, tokens), expected, **EXACT)
    assert sequence_log_prob(logits[:, :1], tokens[:, :1]).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="tokens of shape"):
        sequence_log_prob(logits, tokens[:, 1:])


def test_perplexity_weighs_tokens_equally():
    uniform = torch.tensor([10 * math.log(1 / 50), 2 * math.log(1 / 50)])
    assert perplexity(uniform, torch.tensor([10, 2])).item() == pytest.approx(50, rel=1e-6)
    log_probs, counts = torch.tensor([-9.0, -2.0]).double(), torch.tensor([3, 1])
    assert perplexity(log_probs, counts).item() == pytest.approx(math.exp(11 / 4))
    with pytest.raises(ValueError, match="a token or more"):
        perplexity(log_probs, torch.tensor([0, 0]))
