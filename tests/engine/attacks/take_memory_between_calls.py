# must: score=0
# must: status=memory|failed|timeout
"""Answers every call at once while its children fill the memory."""

import os
import time


def count_vowels(text):
    if os.fork() == 0:
        held = bytearray(400 * 2**20)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(60)
    return -1
