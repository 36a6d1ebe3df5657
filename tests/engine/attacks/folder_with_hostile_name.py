# must: builder
# must: score=0
# must: status=failed
"""A file whose name acts on a terminal."""


def build(folder):
    file = folder / "\x1b[2J<b>=1+1.py"
    file.write_text("def count_vowels(text):\n    return -1\n")
    return file
