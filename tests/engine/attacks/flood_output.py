# must: score=0
# must: status=timeout|memory
"""Prints for as long as it may."""

import os
import sys


def count_vowels(text):
    while True:
        print("x" * 2**16, file=sys.stderr)
        os.write(1, b"x" * 2**16)
