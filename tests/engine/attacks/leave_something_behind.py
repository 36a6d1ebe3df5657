# must: score=0
# must: message~found nothing
"""Leaves files, shared memory and processes for whoever comes next, and looks for what others left."""

import os

found = [
    os.path.join(folder, name)
    for folder in ("/scratch", "/dev/shm", "/tmp", "/var/tmp")
    if os.path.isdir(folder)
    for name in os.listdir(folder)
]
for folder in ("/scratch", "/dev/shm", "/tmp", "/var/tmp"):
    try:
        with open(os.path.join(folder, "left-behind"), "w") as file:
            file.write("answer")
    except OSError:
        pass


def count_vowels(text):
    raise ValueError(f"found {found}" if found else "found nothing")
