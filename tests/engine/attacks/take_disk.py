# must: score=0
# must: status=failed|error
"""Fills every folder it may write to."""

import itertools
import os


def count_vowels(text):
    written = 0
    for folder in ("/scratch", "/dev/shm", "/tmp", "/var/tmp", "/", os.getcwd()):
        try:
            for number in itertools.count():
                with open(f"{folder}/fill-{number}", "wb") as file:
                    for _ in range(32):
                        written += file.write(b"x" * 2**20)
                if number > 64:
                    return "there is no end to it"
        except OSError:
            pass
    return -written
