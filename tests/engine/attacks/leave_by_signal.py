# must: score=0
# must: status=crashed
# must: message~SIGKILL
"""Kills itself, which must not look like a time limit or a lack of memory."""

import os
import signal


def count_vowels(text):
    os.kill(os.getpid(), signal.SIGKILL)
