# must: score=0
# must: status=failed
"""Answers the first call wrongly and has forged replies written when the interpreter ends."""

import atexit
import os


@atexit.register
def forge():
    for fd in range(3, 10):
        try:
            os.write(fd, b"\x00\x00\x00\x01\x80")
        except OSError:
            pass


def count_vowels(text):
    return -1
