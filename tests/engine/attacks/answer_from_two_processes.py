# must: score=0|full
# must: status=crashed|passed|failed
"""Forks in the call, so that two processes answer the same question."""

import os


def count_vowels(text):
    os.fork()
    return sum(letter in "aeiou" for letter in text.lower())
