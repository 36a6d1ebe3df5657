# must: builder
# must: score=0
# must: status=error
"""Bytes that are no text."""


def build(folder):
    file = folder / "01_words.py"
    file.write_bytes(b"def count_vowels(text): return 0\n\xff\xfe\x00")
    return file
