# must: score=0
"""Defines a name that is no function, and hides another behind a module's __getattr__."""


class Callable:
    def __call__(self, *args):
        raise NotImplementedError

    def __bool__(self):
        raise SystemExit


count_vowels = Callable()
