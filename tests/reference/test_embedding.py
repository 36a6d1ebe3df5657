import math

import pytest
import torch
from hypothesis import given, strategies as st

from reference.embedding import embed_tokens, sinusoidal_positions


@given(st.integers(0, 4), st.integers(1, 3))
def test_a_token_is_its_vector_plus_that_of_its_position(draw, first_position, n_position):
    wte, wpe = draw(0, 5, 3), draw(1, 7, 3)
    tokens = torch.tensor([[4, 0, 4], [2, 2, 1]])[:, :n_position]
    x = embed_tokens(tokens, wte, wpe, first_position)
    for row in range(2):
        for i in range(n_position):
            assert x[row, i].equal(wte[tokens[row, i]] + wpe[first_position + i])


@pytest.mark.parametrize(
    ("shape", "first_position", "message"),
    [
        ((1, 1025), 0, "got 1025 positions, the context is 1024: "),
        ((2, 1), 1024, "got 1025 positions, the context is 1024: "),
        ((5,), 0, r"expected tokens of shape \(batch, position\), at least one position, got \(5,\)"),
        ((5, 0), 0, r"got \(5, 0\)"),
        ((1, 1), -1, "first_position to be at least 0, got -1"),
    ],
)
def test_tokens_that_have_no_position_are_errors(shape, first_position, message):
    with pytest.raises(ValueError, match=message):
        embed_tokens(torch.zeros(shape, dtype=torch.long), torch.zeros(3, 2), torch.zeros(1024, 2), first_position)


@pytest.mark.parametrize("token", [-1, 3])
def test_a_token_outside_the_vocabulary_is_an_error(token):
    with pytest.raises(IndexError):
        embed_tokens(torch.tensor([[token]]), torch.zeros(3, 2), torch.zeros(4, 2))


def test_sinusoidal_positions_follow_the_formula_with_an_offset():
    got = sinusoidal_positions(3, 6, first_position=700)
    for row, position in enumerate(range(700, 703)):
        for i in range(3):
            angle = position / 10000 ** (2 * i / 6)
            assert got[row, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-12)
            assert got[row, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)
    with pytest.raises(ValueError, match="even d_model"):
        sinusoidal_positions(3, 5)
