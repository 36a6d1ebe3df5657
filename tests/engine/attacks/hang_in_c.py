# must: score=0
# must: status=timeout
"""Hangs where Python handles no signal: a regular expression that backtracks for ever."""

import re


def count_vowels(text):
    return len(re.findall("(a|a)*$", "a" * 60 + "b"))
