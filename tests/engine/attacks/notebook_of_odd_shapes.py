# must: builder
# must: score=full
"""Cells that are no cells, sources that are no texts, and a right answer between them."""

import json

GOOD = "def count_vowels(text):\n    return sum(letter in 'aeiou' for letter in text.lower())\n"
BAD = "def count_vowels(text):\n    return -1\n"


def code(source, **more):
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None} | more


def notebook(*cells, **more):
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)} | more)


def build(folder):
    cells = [
        None,
        1,
        [],
        {},
        {"cell_type": "code"},
        {"cell_type": "code", "source": {"a": 1}},
        {"cell_type": "code", "source": [1, None, "x = 1"]},
    ]
    file = folder / "odd.ipynb"
    file.write_text(
        notebook(*cells, code(GOOD.splitlines(keepends=True), id={"not": "text"}), nbformat="four", metadata=None)
    )
    return file
