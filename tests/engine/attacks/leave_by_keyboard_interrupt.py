# must: score=0
# must: status=crashed|error
"""Raises KeyboardInterrupt, which the worker itself does not swallow."""


def count_vowels(text):
    raise KeyboardInterrupt
