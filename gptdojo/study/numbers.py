"""Numbers in what a learner types, and in the worked calculation of a card."""

import doctest
import re

from gptdojo.cards import Card

CLOSE = 0.02  # relative: an interview's arithmetic is done in one's head
NUMBER = r"[-+−]?(?:\d{1,3}(?:[,_]\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?"
TYPED = re.compile(
    rf"(?P<number>{NUMBER})(?:\s*(?:\*\*|\^)\s*(?P<power>\d+))?"
    r"\s?(?P<unit>[KMGT]i?B?\b|[kmgt]i?b?\b|million\b|billion\b|trillion\b|thousand\b|%)?",
)
SCALES = {
    "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12, "ki": 2.0**10, "mi": 2.0**20, "gi": 2.0**30, "ti": 2.0**40,
    "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "%": 1e-2,
}  # fmt: skip


def worked_values(card: Card) -> list[float]:
    """Return the numbers that the card's doctests give, in their order, without repetition."""
    found: list[float] = []
    for example in doctest.DocTestParser().get_examples(card.answer):
        for text in re.findall(rf"(?<![\w.]){NUMBER}(?![\w])", example.want):
            value = _value(text)
            if value not in found:
                found.append(value)
    return found


def typed_values(text: str) -> list[list[float]]:
    """Return the readings of each number that was typed: as it stands, and with its unit (36 GiB is 36 and 38654705664)."""
    found = []
    for match in TYPED.finditer(text.replace("×10^", "e").replace("x10^", "e")):
        value = _value(match["number"])
        if match["power"]:
            value = value ** int(match["power"])
        unit = (match["unit"] or "").lower()
        unit = unit if unit in SCALES else unit.removesuffix("b")
        found.append([value, value * SCALES[unit]] if unit in SCALES else [value])
    return found


def matching(text: str, card: Card) -> list[float] | None:
    """Return the values of the worked calculation that the learner's numbers meet; None where the card has no value."""
    expected = worked_values(card)
    if not expected:
        return None
    readings = [value for group in typed_values(text) for value in group]
    return [value for value in expected if any(abs(got - value) <= CLOSE * abs(value) for got in readings)]


def _value(text: str) -> float:
    return float(text.replace(",", "").replace("_", "").replace("−", "-"))
