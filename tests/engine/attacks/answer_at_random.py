# must: score=0
# must: status=failed
"""Is right two times in three."""

import random


def count_vowels(text):
    return sum(letter in "aeiou" for letter in text.lower()) + random.choice([0, 0, 1])
