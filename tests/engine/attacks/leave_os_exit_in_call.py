# must: score=0
# must: status=crashed
"""Ends the process at once, with the exit status of success."""

import os


def count_vowels(text):
    os._exit(0)
