# must: score=0
# must: status=timeout|crashed
"""Sends a frame a byte at a time, so that something always comes."""

import os
import time


def count_vowels(text):
    for fd in range(3, 10):
        try:
            os.write(fd, b"\x07\x00\x00\x00")
        except OSError:
            continue
        while True:
            os.write(fd, b"\x90")
            time.sleep(0.01)
