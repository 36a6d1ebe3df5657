# must: score=0
# must: message~Operation not permitted
"""Makes a user namespace, in which it would have every capability."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def count_vowels(text):
    pid = libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return -1
