# must: score=full
"""Prints, warns, logs and draws; reads input where there is none."""

import logging
import sys
import warnings

try:
    name = input("who are you? ")
except EOFError:
    name = None
print("loading", file=sys.stderr)
warnings.warn("a warning", stacklevel=1)


def count_vowels(text):
    print("counting", text)
    warnings.warn("again", stacklevel=1)
    logging.error("a log line")
    sys.stdout.write("x" * 10_000)
    return sum(letter in "aeiou" for letter in text.lower())


if __name__ == "__main__":
    assert count_vowels("aa") == 2
