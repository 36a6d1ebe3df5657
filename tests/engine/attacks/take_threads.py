# must: score=0
# must: status=error|timeout|crashed|memory
"""Starts threads until none can be started."""

import threading
import time


def count_vowels(text):
    while True:
        threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
