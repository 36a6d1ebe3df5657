# must: score=0
# must: status=failed|timeout|crashed
"""Answers every call with the most items that may cross."""

rows = [[0] * 90] * 1000


def count_vowels(text):
    return rows
