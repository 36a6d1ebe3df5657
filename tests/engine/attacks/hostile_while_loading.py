# must: score=0
# must: status=failed
"""Raises a hostile text while it is loaded, after having defined its function."""


def count_vowels(text):
    return -1


raise RuntimeError("\x1b[2J" + "\u202e" * 10**5)
