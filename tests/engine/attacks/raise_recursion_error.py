# must: score=0
# must: status=error|crashed
"""Raises at a depth where describing the exception fails as well."""


def count_vowels(text):
    return count_vowels(text)
