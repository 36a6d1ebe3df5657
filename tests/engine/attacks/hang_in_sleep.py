# must: score=0
# must: status=timeout
"""Sleeps, so that no processor time is used."""

import time


def count_vowels(text):
    time.sleep(10**6)
