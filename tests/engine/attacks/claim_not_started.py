# must: score<full
# must: status=error
"""Passes the first rung and raises NotImplementedError afterwards."""


def count_vowels(text):
    if text != text.lower():
        raise NotImplementedError
    return sum(letter in "aeiou" for letter in text)
