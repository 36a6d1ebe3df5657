# must: builder
# must: score=0
# must: status=missing
"""The cell of the exercise is gone, in a file that names its chapter."""

import json

GOOD = "def count_vowels(text):\n    return sum(letter in 'aeiou' for letter in text.lower())\n"
BAD = "def count_vowels(text):\n    return -1\n"


def code(source, **more):
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None} | more


def notebook(*cells, **more):
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)} | more)


def build(folder):
    file = folder / "01_words.ipynb"
    file.write_text(notebook(code("import torch")))
    return file
