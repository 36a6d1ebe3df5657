# must: score=0
# must: status=failed
"""Has hostile names of types and keys in what it returns."""

Hostile = type("\x1b[31m<b>=1+1" + "y" * 10**5, (), {})


def count_vowels(text):
    return Hostile() if len(text) % 2 else {"\x1b[2J" + "k" * 50_000: Hostile()}
