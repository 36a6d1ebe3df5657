# must: score=0
"""Puts modules of its own in front of those that the worker imports later."""

import os
import sys

with open("msgpack.py", "w") as file:
    file.write("raise SystemExit")
with open("linecache.py", "w") as file:
    file.write("raise SystemExit")
sys.path.insert(0, os.getcwd())
sys.meta_path.insert(0, type("Finder", (), {"find_spec": staticmethod(lambda name, path=None, target=None: None)}))
for name in [name for name in sys.modules if name.startswith(("torch", "gptdojo_worker", "msgpack"))]:
    del sys.modules[name]


def count_vowels(text):
    return -1
