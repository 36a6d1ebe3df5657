"""How right figures about scaling are told from wrong ones: by what torch counts, by planted laws, by enumeration."""

from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect_close, expect_reference
from gptdojo.implementation import Implementation
from gptdojo.strategies import Values, values
from reference import scaling as reference
from reference.config import GPT2, GPT3, count_parameters
from tests.strategies.counted import flops


def expect_truth(impl: Implementation, expected: Any, *args: Any, what: str | tuple[str, ...] = "the result") -> None:
    """Compare `impl(*args)` with what is known of it; `what` has a name for each part."""
    got = impl(*args)
    inputs = impl.label(impl.name, args)
    if isinstance(what, str) or not (isinstance(got, tuple | list) and len(got) == len(what)):
        expect_close(impl, got, expected, inputs=inputs)
        return
    for ours, theirs, part in zip(got, expected, what, strict=True):
        expect_close(impl, ours, theirs, inputs=inputs, what=part)


# --- training_flops ---------------------------------------------------------------------------------------------------


def train_once(x: Tensor, weight: Tensor) -> None:
    """A forward and a backward pass of a linear layer inside a network."""
    with torch.enable_grad():
        F.linear(x.requires_grad_(), weight.requires_grad_()).sum().backward()


def counted_training(d_in: int, d_out: int, n_tokens: int) -> float:
    """What torch counts in both passes."""
    return float(flops(train_once, torch.zeros(n_tokens, d_in), torch.zeros(d_out, d_in)))


@claim("training_flops", rung=1, examples=8)
@given(d_in=st.integers(1, 9), d_out=st.integers(1, 9))
def test_training_flops_one_token(impl, d_in, d_out):
    """One token takes a multiply-add for each parameter forward and two backward, a multiply-add being two operations."""
    expect_truth(impl, counted_training(d_in, d_out, 1), d_in * d_out, 1)


@claim("training_flops", rung=2, examples=8)
@given(d_in=st.integers(1, 9), d_out=st.integers(1, 9), n_tokens=st.integers(2, 20))
def test_training_flops_several_tokens(impl, d_in, d_out, n_tokens):
    """Every token costs the same."""
    expect_truth(impl, counted_training(d_in, d_out, n_tokens), d_in * d_out, n_tokens)


@claim("training_flops", rung=3, examples=10)
@given(config=st.sampled_from([*GPT2.values(), *GPT3.values()]), billions=st.integers(1, 15_000), whole=st.booleans())
def test_training_flops_of_published_models(impl, config, billions, whole):
    """Models like GPT-2 and GPT-3 on billions of tokens: numbers beyond what 64 bits hold as an integer."""
    n_parameters, n_tokens = count_parameters(config), billions * 10**9
    args = (n_parameters, n_tokens) if whole else (float(n_parameters), float(n_tokens))
    expect_truth(impl, reference.training_flops(*map(float, args)), *args)


# --- fit_power_law ----------------------------------------------------------------------------------------------------

CONSTANT = st.floats(0.5, 20).map(lambda a: round(a, 2))
EXPONENT = st.sampled_from([-1.5, -0.5, -0.34, -0.076, 0.25, 1.0, 2.0])
POWER = ("the constant a", "the exponent b")


def spread(v: Values, n: int, low: float, high: float) -> Tensor:
    """Different positive numbers, unevenly spaced, in no order, with the first and the last possible one among them."""
    steps = 0.2 + torch.rand(n - 1, generator=v.generator)
    logs = torch.cat([torch.zeros(1), steps.cumsum(0) / steps.sum()]) * (high - low) + low
    return (10**logs)[v.permutation(n)]


@claim("fit_power_law", rung=1, examples=8)
@given(a=CONSTANT, b=EXPONENT, x=st.sampled_from([2.0, 10.0, 100.0]))
def test_fit_power_law_two_points_from_one(impl, a, b, x):
    """Of two points on a power law, one at x = 1: y there is the constant, and the exponent tells what became of it."""
    xs = torch.tensor([1.0, x])
    expect_truth(impl, (a, b), xs, a * xs**b, what=POWER)


@claim("fit_power_law", rung=2, examples=10)
@given(a=CONSTANT, b=EXPONENT, at=st.floats(-1, 3), v=values())
def test_fit_power_law_two_points_anywhere(impl, a, b, at, v):
    """Two points on a power law determine it, wherever they lie and in whatever order they come."""
    xs = spread(v, 2, at, at + 2)
    expect_truth(impl, (a, b), xs, a * xs**b, what=POWER)


@claim("fit_power_law", rung=3, examples=10)
@given(a=CONSTANT, b=EXPONENT, n=st.integers(3, 7), v=values())
def test_fit_power_law_recovers_a_planted_law(impl, a, b, n, v):
    """Several points on a power law, unevenly spaced and in no order, give it back."""
    xs = spread(v, n, 0.5, 4)
    expect_truth(impl, (a, b), xs, a * xs**b, what=POWER)


@claim("fit_power_law", rung=4, examples=15)
@given(a=CONSTANT, b=EXPONENT, n=st.integers(5, 40), noise=st.sampled_from([1.0, 0.5]), v=values())
def test_fit_power_law_under_noise(impl, a, b, n, noise, v):
    """When the points scatter, the law is the one whose squared errors in log y are least in sum."""
    xs = spread(v, n, 0.5, 4)
    ys = a * xs**b * torch.exp(noise * torch.randn(n, generator=v.generator))
    expect_reference(impl, reference.fit_power_law, xs, ys)


@claim("fit_power_law", rung=5, examples=10)
@given(a=CONSTANT, b=EXPONENT, n=st.integers(3, 4), v=values())
def test_fit_power_law_several_runs_of_a_size(impl, a, b, n, v):
    """Several runs at one x, as with different seeds, are as many points, and each counts the same."""
    sizes = spread(v, n, 0.5, 4)
    xs = sizes.repeat_interleave(torch.arange(1, n + 1))[v.permutation(n * (n + 1) // 2)]
    ys = a * xs**b * torch.exp(torch.randn(len(xs), generator=v.generator))
    expect_reference(impl, reference.fit_power_law, xs, ys)


# --- chinchilla_optimal -----------------------------------------------------------------------------------------------

TERM = st.floats(0.5, 50).map(lambda a: round(a, 1))
DECAY = st.floats(0.2, 0.9).map(lambda a: round(a, 2))
SMALL_BUDGET = st.floats(1e3, 1e7).map(round)
SHARES = ("the number of parameters", "the number of tokens")


def expect_optimum(impl: Implementation, *args: float) -> None:
    expect_truth(impl, reference.chinchilla_optimal(*args), *args, what=SHARES)


@claim("chinchilla_optimal", rung=1, examples=8)
@given(flops=SMALL_BUDGET, a=TERM, alpha=DECAY)
def test_chinchilla_optimal_equal_terms(impl, flops, a, alpha):
    """Where parameters and tokens help equally, there are equally many, and 6 N D is the budget."""
    half = (flops / 6) ** 0.5
    expect_truth(impl, (half, half), flops, a, a, alpha, alpha, what=SHARES)


@claim("chinchilla_optimal", rung=2, examples=10)
@given(flops=SMALL_BUDGET, a=TERM, b=TERM, alpha=DECAY)
def test_chinchilla_optimal_equal_exponents(impl, flops, a, b, alpha):
    """With equal exponents, the larger of the two terms gets the larger share, and the ratio is that of any budget."""
    expect_optimum(impl, flops, a, b, alpha, alpha)


@claim("chinchilla_optimal", rung=3, examples=15)
@given(flops=SMALL_BUDGET, a=TERM, b=TERM, alpha=DECAY, beta=DECAY)
def test_chinchilla_optimal_any_constants(impl, flops, a, b, alpha, beta):
    """For any constants, no other N and D of the same budget have a lower loss."""
    expect_optimum(impl, flops, a, b, alpha, beta)


@claim("chinchilla_optimal", rung=4, examples=10)
@given(exponent=st.floats(15, 27), digits=st.floats(1, 9.99))
def test_chinchilla_optimal_real_budgets(impl, exponent, digits):
    """With the constants of Besiroglu et al., from a laptop's budget to one that nobody has spent yet."""
    expect_optimum(impl, round(digits, 2) * 10.0 ** round(exponent))


# --- exact_match_from_token_accuracy ----------------------------------------------------------------------------------


def shares(v: Values, *shape: int) -> Tensor:
    """Probabilities that are neither nearly 0 nor nearly 1."""
    return 0.1 + 0.85 * torch.rand(shape, generator=v.generator)


def all_right(accuracy: Tensor, length: int) -> Tensor:
    """The probability of the one outcome, of 2^length, in which every token is right, token by token."""
    probability = torch.ones_like(accuracy)
    for _ in range(length):
        probability = probability * accuracy
    return probability


def expect_match(impl: Implementation, accuracy: Tensor, length: int) -> None:
    expect_reference(impl, all_right, accuracy, length)


@claim("exact_match_from_token_accuracy", rung=1, examples=8)
@given(n=st.integers(2, 5), v=values())
def test_exact_match_from_token_accuracy_two_tokens(impl, n, v):
    """In an answer of two tokens both have to be right, and they are independent."""
    expect_match(impl, shares(v, n), 2)


@claim("exact_match_from_token_accuracy", rung=2, examples=10)
@given(n=st.integers(2, 5), length=st.sampled_from([3, 1, 2, 4, 5, 6, 7, 8]), v=values())
def test_exact_match_from_token_accuracy_other_lengths(impl, n, length, v):
    """Each further token has to be right too, and an answer of one token is right as often as a token is."""
    expect_match(impl, shares(v, n), length)


@claim("exact_match_from_token_accuracy", rung=3, examples=8)
@given(shape=st.sampled_from([(), (2, 3), (2, 1, 4)]), length=st.integers(1, 4), v=values())
def test_exact_match_from_token_accuracy_any_shape(impl, shape, length, v):
    """The result has a number for each number of the input, whether that is one or a table."""
    expect_match(impl, shares(v, *shape), length)


@claim("exact_match_from_token_accuracy", rung=4, examples=10)
@given(length=st.integers(1, 200), v=values())
def test_exact_match_from_token_accuracy_the_extremes(impl, length, v):
    """A model that is never right stays at 0 and one that is always right at 1, however long the answer is."""
    accuracy = torch.cat([torch.tensor([0.0, 1.0]), 1 - shares(v, 2) / length])
    expect_match(impl, accuracy[v.permutation(4)], length)
