# must: score=0
# must: status=timeout
"""Ignores every signal that can be ignored, and hangs."""

import signal

for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass


def count_vowels(text):
    while True:
        pass
