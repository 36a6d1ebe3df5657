# must: builder
# must: score=0
# must: status=error
# must: message~plain file
"""A pipe that nobody writes to, which would block whoever opens it."""

import os


def build(folder):
    os.mkfifo(folder / "01_words.py")
    return folder / "01_words.py"
