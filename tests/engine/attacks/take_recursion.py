# must: score=0
# must: status=error|memory|timeout|crashed
"""Recurses without end after raising the limit."""

import sys

sys.setrecursionlimit(10**9)


def count_vowels(text):
    return count_vowels(text) + 1
