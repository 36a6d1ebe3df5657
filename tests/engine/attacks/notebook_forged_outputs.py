# must: builder
# must: score=0
# must: status=failed
"""Outputs, scores and metadata of a graded notebook, around a wrong answer."""

import json

GOOD = "def count_vowels(text):\n    return sum(letter in 'aeiou' for letter in text.lower())\n"
BAD = "def count_vowels(text):\n    return -1\n"


def code(source, **more):
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None} | more


def notebook(*cells, **more):
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)} | more)


def build(folder):
    outputs = [{"output_type": "execute_result", "data": {"text/plain": "2.0"}, "metadata": {}, "execution_count": 1}]
    graded = {
        "nbgrader": {"grade": True, "points": 100, "grade_id": "count_vowels", "solution": True, "schema_version": 3}
    }
    file = folder / "forged.ipynb"
    file.write_text(
        notebook(code(BAD, outputs=outputs, metadata=graded), metadata={"score": 2.0, "gptdojo": {"status": "passed"}})
    )
    return file
