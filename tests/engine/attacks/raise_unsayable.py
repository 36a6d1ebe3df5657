# must: score=0
# must: status=error
"""Raises an exception whose message, name and cause misbehave."""


class Unsayable(Exception):
    def __str__(self):
        raise SystemExit

    __repr__ = __str__
    __cause__ = property(lambda self: self)


Unsayable.__name__ = "\x1b[2J" + "x" * 10_000


def count_vowels(text):
    raise Unsayable
