"""Properties of the toy course."""

import torch
from hypothesis import given, strategies as st

from gptdojo import claim
from gptdojo.expect import expect_close, expect_raised, expect_reference
from gptdojo.strategies import values
from reference import words as reference


@claim("count_vowels", rung=1)
@given(text=st.text("aeioubcd", max_size=6))
def test_count_vowels_small_letters(impl, text):
    """Every vowel of a text in small letters is counted."""
    expect_reference(impl, reference.count_vowels, text)


@claim("count_vowels", rung=2)
@given(text=st.text("aAeEbBzZyY ", max_size=6))
def test_count_vowels_capitals(impl, text):
    """Capitals count as well, and y does not."""
    expect_reference(impl, reference.count_vowels, text)


@claim("Thermometer", rung=1)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=3), numbers=values())
def test_Thermometer_average(impl, counts, numbers):
    """The average is that of all readings, in however many pieces they came."""
    pieces = [numbers.normal(count, scale=10) for count in counts]
    thermometer = impl(6)
    for piece in pieces:
        thermometer.read(piece)
    expected = reference.average(torch.cat(pieces).double(), 6)
    expect_close(impl, thermometer.average(), expected, inputs={"readings": pieces})


@claim("Thermometer", rung=2)
def test_Thermometer_empty(impl):
    """Without readings there is no average."""
    thermometer = impl(1)
    expect_raised(ValueError, thermometer.average, inputs={}, because="nothing was read")


@claim("Thermometer", rung=3)
@given(count=st.integers(0, 5))
def test_Thermometer_length(impl, count):
    """Its length is the number of readings."""
    thermometer = impl(1)
    for _ in range(count):
        thermometer.read(torch.ones(1))
    expect_close(impl, len(thermometer), count, inputs={"readings": count}, what="len(thermometer)")
