# must: score=0
# must: status=crashed
"""Ends the process before anything is defined."""

import os

os._exit(0)


def count_vowels(text):
    return 0
