# must: score=0
# must: status=memory
"""Raises a MemoryError of its own: a label, and no point."""


def count_vowels(text):
    raise MemoryError("none left")
