import pytest
import torch
from hypothesis import given, settings, strategies as st

from reference.config import GPT3, GPT3_PRINTED, count_parameters
from reference.scaling import chinchilla_optimal, exact_match_from_token_accuracy, fit_power_law, training_flops


def test_the_compute_of_gpt3_is_that_of_its_paper():
    flops = training_flops(GPT3_PRINTED["gpt3-175b"].millions * 1e6, 300e9)
    assert flops == pytest.approx(3.14e23, rel=2e-3)
    assert flops / (1e15 * 86_400) == pytest.approx(3.64e3, rel=2e-3)  # petaflop/s-days
    small = training_flops(count_parameters(GPT3["gpt3-small"]), 300e9)
    assert small == pytest.approx(2.25e20, rel=5e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(-2, 2), st.integers(2, 9))
def test_planted_exponents_are_recovered(draw, seed, a, b, n):
    x = torch.logspace(3, 9, n, dtype=torch.float64)
    assert fit_power_law(x, a * x**b) == pytest.approx((a, b), rel=1e-6, abs=1e-9)
    many = torch.logspace(3, 9, 400, dtype=torch.float64)
    noisy = a * many**b * (0.1 * draw(seed, 400)).exp()
    assert fit_power_law(many, noisy)[1] == pytest.approx(b, abs=0.02)


@pytest.mark.parametrize(("x", "y"), [([1.0, 0], [1.0, 2]), ([1.0, 2], [1.0, -2]), ([2.0, 2], [1.0, 2]), ([], [])])
def test_points_that_make_no_line_are_errors(x, y):
    with pytest.raises(ValueError, match="expected positive x and y"):
        fit_power_law(torch.tensor(x), torch.tensor(y))


@pytest.mark.parametrize("flops", [1e18, 3.14e23, 5.76e23])
def test_the_optimum_is_lower_than_its_neighbors_and_spends_all(flops):
    def loss(n):
        return 482.01 / n**0.3478 + 2085.43 / (flops / 6 / n) ** 0.3658

    n, d = chinchilla_optimal(flops)
    assert training_flops(n, d) == pytest.approx(flops)
    assert loss(n) < min(loss(n * 1.01), loss(n / 1.01))


def test_the_published_optima():
    n, d = chinchilla_optimal(5.76e23)
    assert n == pytest.approx(7.2e10, rel=0.01)
    assert d / n == pytest.approx(18.4, rel=0.01)
    n, d = chinchilla_optimal(5.76e23, 406.4, 410.7, 0.34, 0.28)  # as Hoffmann et al. printed them
    assert n == pytest.approx(3.22e10, rel=0.01)
    assert d / n == pytest.approx(92.6, rel=0.01)
    assert chinchilla_optimal(3.14e23)[0] == pytest.approx(53e9, rel=0.02)


def test_a_smooth_token_accuracy_is_a_sharp_exact_match():
    accuracy = torch.tensor([0.5, 0.9, 1.0])
    assert exact_match_from_token_accuracy(accuracy, 10).tolist() == pytest.approx([0.5**10, 0.9**10, 1])
    assert exact_match_from_token_accuracy(accuracy, 1).equal(accuracy)
