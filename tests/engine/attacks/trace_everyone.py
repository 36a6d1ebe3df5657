# must: score=0
# must: message~0 traced
"""Traces other processes."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def count_vowels(text):
    traced = sum(libc.ptrace(16, pid, 0, 0) == 0 for pid in range(1, 2_000) if pid != os.getpid())
    raise ValueError(f"{traced} traced")
