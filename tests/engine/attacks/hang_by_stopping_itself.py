# must: score=0
# must: status=timeout
"""Stops its own process instead of ending it."""

import os
import signal


def count_vowels(text):
    os.kill(os.getpid(), signal.SIGSTOP)
    return 0
