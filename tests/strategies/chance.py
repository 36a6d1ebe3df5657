"""Whether draws follow given probabilities, with a rate of false alarms that is bounded for any number of draws."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gptdojo.expect import expect

FALSE_ALARM = 1e-12
"""Of one comparison. Grading a chapter makes fewer than 100 of them, so a right answer fails once in 1e10 seeds at most."""


def limit(n_outcome: int, false_alarm: float = FALSE_ALARM) -> float:
    """How large `surprise` is at most, but with probability `false_alarm`, if the draws do follow the probabilities.

    P(surprise >= x) <= exp(-x) (e x / (k - 1))^(k - 1) for k outcomes and x > k - 1, however many draws there are:
    Agrawal 2020, "Finite-Sample Concentration of the Multinomial in Relative Entropy" (1904.02291).
    Pearson's chi-square has its rate only in the limit of many draws, and far in the tail that limit is far away.
    """
    free = n_outcome - 1
    if free == 0:
        return math.inf
    low, high = float(free), 1000.0 * n_outcome
    for _ in range(100):
        middle = (low + high) / 2
        log_bound = -middle + free * math.log(math.e * middle / free)
        low, high = (middle, high) if log_bound > math.log(false_alarm) else (low, middle)
    return high


def surprise(counts: Tensor, probs: Tensor) -> float:
    """Half the likelihood-ratio chi-square statistic: draws times the relative entropy of their shares from `probs`.

    Infinite if something came that has probability 0.
    """
    counts, probs = counts.double().flatten(), probs.double().flatten()
    came = counts > 0
    if bool((probs[came] == 0).any()):
        return math.inf
    return float((counts[came] * (counts[came] / (counts.sum() * probs[came])).log()).sum())


def follows(counts: Tensor, probs: Tensor) -> bool:
    """Whether counts of outcomes can come from these probabilities; True for right ones but with probability FALSE_ALARM."""
    return surprise(counts, probs) < limit(int((probs > 0).sum()))


def expect_draws(counts: Tensor, probs: Tensor, *, what: str, inputs: Mapping[str, Any]) -> None:
    """Fail unless the counts follow the probabilities; say which outcome is furthest off."""
    counts, expected = counts.flatten(), counts.sum() * probs.double().flatten()
    off = (counts - expected).abs() / expected.clamp(min=1e-9).sqrt()
    worst = int(off.argmax())
    message = f"{what} {worst} came {int(counts[worst])} times in {int(counts.sum())} draws, expected about {expected[worst]:.0f}"
    expect(follows(counts, probs), message, inputs=inputs, expected=expected.round().long(), got=counts)
