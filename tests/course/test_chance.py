"""The judgment on draws: its rate of false alarms is what it says, and it turns down what is a little wrong."""

import itertools
import math

import pytest
import torch

from gptdojo.faults import Mismatch
from tests.strategies.chance import FALSE_ALARM, expect_draws, follows, limit, surprise

PROBS = torch.tensor([0.7, 0.2, 0.07, 0.03], dtype=torch.float64)


@pytest.mark.parametrize(("n_draw", "n_outcome", "rate"), [(40, 3, 1e-3), (60, 3, 1e-6), (20, 4, 1e-4), (25, 2, 1e-3)])
def test_the_rate_of_false_alarms_is_bounded_for_few_draws_too(n_draw: int, n_outcome: int, rate: float) -> None:
    probs = PROBS[:n_outcome] / PROBS[:n_outcome].sum()
    false_alarms = 0.0
    for some in itertools.product(range(n_draw + 1), repeat=n_outcome - 1):
        counts = torch.tensor([*some, n_draw - sum(some)])
        if counts.min() >= 0 and surprise(counts, probs) >= limit(n_outcome, rate):
            ways = math.lgamma(n_draw + 1) - sum(math.lgamma(count + 1) for count in counts.tolist())
            false_alarms += math.exp(ways + (counts * probs.log()).sum().item())
    assert false_alarms <= rate


def test_a_hundred_comparisons_fail_a_right_answer_less_than_once_in_a_billion_times() -> None:
    assert 100 * FALSE_ALARM < 1e-9


def test_right_draws_follow_and_those_of_a_slightly_wrong_sampler_do_not() -> None:
    generator = torch.Generator().manual_seed(0)

    def counts(probs: torch.Tensor) -> torch.Tensor:
        return torch.bincount(torch.multinomial(probs, 16_384, replacement=True, generator=generator), minlength=4)

    assert follows(counts(PROBS), PROBS)
    sharper = (PROBS.log() / 0.85).softmax(dim=-1)
    assert not follows(counts(sharper), PROBS)
    with pytest.raises(Mismatch, match=r"token \d came \d+ times in 16384 draws, expected about \d+"):
        expect_draws(counts(sharper), PROBS, what="token", inputs={})


def test_what_is_impossible_must_not_come() -> None:
    probs = torch.tensor([0.5, 0.5, 0.0])
    assert not follows(torch.tensor([500, 499, 1]), probs)
    assert follows(torch.tensor([500, 500, 0]), probs)
    assert follows(torch.tensor([7, 0]), torch.tensor([1.0, 0.0]))
