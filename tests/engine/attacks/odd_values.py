# must: score=0
"""Returns what cannot be carried: a list within itself, endless lists, dicts with keys of every kind, huge numbers."""

import itertools
import math


class Endless(list):
    def __len__(self):
        return 1

    def __iter__(self):
        return itertools.repeat(0)


class Liar(list):
    def __len__(self):
        return -5


itself = []
itself.append(itself)
MAKE = [
    itself,
    Liar(),
    {(1, 2): 3, None: 4, 1.5: 5, b"x": 6},
    {object(): 1},
    10**5000,
    -(10**1000),
    math.nan,
    math.inf,
    "\ud800" * 1000,
    b"\xff" * 10**6,
    [[]] * 90_000,
]
turn = itertools.cycle(MAKE)


def count_vowels(text):
    return next(turn)
