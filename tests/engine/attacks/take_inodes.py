# must: score=0
# must: status=failed|timeout
"""Makes files without content until no more can be made: they cost the kernel memory that no process holds."""

import itertools
import os


def count_vowels(text):
    made = 0
    for folder in ("/scratch", "/dev/shm"):
        try:
            for number in itertools.count():
                os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY))
                made += 1
                if made > 100_000:
                    return "there is no end to it"
        except OSError:
            pass
    return -made
