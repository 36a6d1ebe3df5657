# must: score=0
# must: status=failed|error
"""Opens files until none can be opened, and then wants to answer."""

import os


def count_vowels(text):
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return -len(held)
