# must: score=0
# must: status=failed
"""Returns at once and leaves children that spin for ever in sessions of their own."""

import os


def count_vowels(text):
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            while True:
                pass
    return -1
