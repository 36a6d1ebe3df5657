# must: builder
# must: score=full
"""A cell with the name of a demonstration, which is not run, holds the wrong answer that a reader sees."""

import json

GOOD = "def count_vowels(text):\n    return sum(letter in 'aeiou' for letter in text.lower())\n"
BAD = "def count_vowels(text):\n    return -1\n"


def code(source, **more):
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None} | more


def notebook(*cells, **more):
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)} | more)


def build(folder):
    file = folder / "named.ipynb"
    file.write_text(notebook(code(GOOD), code(BAD, id="count_a_sentence")))
    return file
