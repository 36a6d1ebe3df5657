# must: score=0
# must: status=crashed
"""Returns an object whose destructor ends the process."""

import os


class Last:
    def __del__(self):
        os._exit(0)


def count_vowels(text):
    return Last()
