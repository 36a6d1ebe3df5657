"""Vowels and means."""

from torch import Tensor

VOWELS = frozenset("aeiouAEIOU")


def count_vowels(text: str) -> int:
    """Return the number of vowels in a text."""
    return len([letter for letter in text if letter in VOWELS])


def average(readings: Tensor, digits: int) -> Tensor:
    """Return the mean of the readings, of shape (1,), rounded."""
    return readings.mean(0, keepdim=True).round(decimals=digits)
