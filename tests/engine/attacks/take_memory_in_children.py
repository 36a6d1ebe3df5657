# must: score=0
# must: status=memory
"""Takes memory in several processes, each of which stays below its own limit."""

import os
import time


def count_vowels(text):
    for _ in range(6):
        if os.fork() == 0:
            held = bytearray(400 * 2**20)
            held[::4096] = b"x" * len(held[::4096])
            time.sleep(60)
    time.sleep(60)
