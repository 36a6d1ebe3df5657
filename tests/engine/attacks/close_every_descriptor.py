# must: score=0
# must: status=crashed
"""Closes every descriptor that it did not open."""

import os


def count_vowels(text):
    os.closerange(0, 256)
    return -1
