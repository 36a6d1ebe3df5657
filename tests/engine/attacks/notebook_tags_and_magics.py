# must: builder
# must: score=full
"""Tags and magics that would change how a kernel runs the cells."""

import json

GOOD = "def count_vowels(text):\n    return sum(letter in 'aeiou' for letter in text.lower())\n"
BAD = "def count_vowels(text):\n    return -1\n"


def code(source, **more):
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None} | more


def notebook(*cells, **more):
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)} | more)


def build(folder):
    cells = [
        code(
            "%load_ext autoreload\n%autoreload 2\n!pip install nothing\n" + GOOD,
            metadata={"tags": ["skip-execution", "raises-exception"]},
        ),
        code("%%bash\nexit 1"),
        code("%%time\nx = 1"),
        code("?count_vowels"),
        code("get_ipython().kernel.do_shutdown(True)"),
        code("1 +"),
        {"cell_type": "markdown", "source": "text", "metadata": {}},
    ]
    file = folder / "magics.ipynb"
    file.write_text(notebook(*cells))
    return file
