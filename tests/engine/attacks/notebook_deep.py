# must: builder
# must: score=0
"""A notebook nested a hundred thousand deep."""


def build(folder):
    file = folder / "deep.ipynb"
    file.write_text('{"cells": ' + "[" * 100_000 + '"def count_vowels(text): pass"' + "]" * 100_000 + "}")
    return file
