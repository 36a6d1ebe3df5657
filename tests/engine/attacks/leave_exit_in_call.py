# must: score=0
# must: status=error
"""Leaves with sys.exit(0) in the call: an exit without an answer is no pass."""

import sys


def count_vowels(text):
    sys.exit(0)
