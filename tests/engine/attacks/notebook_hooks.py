# must: builder
# must: score=0
"""Hooks that a kernel or an import would run."""

import json

GOOD = "def count_vowels(text):\n    return sum(letter in 'aeiou' for letter in text.lower())\n"
BAD = "def count_vowels(text):\n    return -1\n"


def code(source, **more):
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None} | more


def notebook(*cells, **more):
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)} | more)


def build(folder):
    hooks = """
import sys, builtins
sys.excepthook = sys.displayhook = sys.unraisablehook = lambda *args: None
sys.settrace(lambda *args: None)
sys.setprofile(lambda *args: None)
builtins.__import__ = lambda *args, **kwargs: sys
import __main__
__main__.count_vowels = lambda text: 0
"""
    file = folder / "hooks.ipynb"
    file.write_text(notebook(code(hooks), code(BAD)))
    return file
