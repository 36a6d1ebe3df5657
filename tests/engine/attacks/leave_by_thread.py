# must: score=0
# must: status=crashed
"""A thread ends the process a moment after the first call."""

import os
import threading
import time


def count_vowels(text):
    threading.Timer(0.01, os._exit, [0]).start()
    time.sleep(0.5)
    return sum(letter in "aeiou" for letter in text.lower())
