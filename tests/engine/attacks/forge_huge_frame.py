# must: score=0
# must: status=crashed
"""Announces a frame of four gigabytes, and one of few bytes that holds millions of items."""

import os
import struct


def count_vowels(text):
    for fd in range(3, 10):
        try:
            os.write(fd, struct.pack(">I", 2**32 - 1) + b"\x91" * 1000)
        except OSError:
            pass
    return -1
