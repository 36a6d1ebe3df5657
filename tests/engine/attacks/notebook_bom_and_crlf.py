# must: builder
# must: score=full
"""Byte order mark, carriage returns and letters of every script."""

import json

GOOD = "def count_vowels(text):\n    return sum(letter in 'aeiou' for letter in text.lower())\n"
BAD = "def count_vowels(text):\n    return -1\n"


def code(source, **more):
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None} | more


def notebook(*cells, **more):
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)} | more)


def build(folder):
    file = folder / "bom.py"
    file.write_bytes(b"\xef\xbb\xbf" + ("# \u00fc\u4e2d\U0001f600\r\n" + GOOD.replace("\n", "\r\n")).encode())
    return file
