# must: score=0
# must: status=memory
"""Has children fill memory that is shared and then leave, so that no process is seen to hold it."""

import mmap
import os
import time


def count_vowels(text):
    for _ in range(4):
        if os.fork() == 0:
            shared = mmap.mmap(-1, 600 * 2**20)
            if os.fork() == 0:
                for start in range(0, len(shared), 4096):
                    shared[start] = 1
                os._exit(0)
            time.sleep(60)
    time.sleep(60)
