# must: score=0
# must: message~Operation not permitted
"""Leaves a key for the next submission and looks for one of an earlier one."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def count_vowels(text):
    if libc.syscall(248, b"user", b"gptdojo", b"answer", 6, -4) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return 0
