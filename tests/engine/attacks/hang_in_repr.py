# must: score=0
# must: status=failed
"""Returns an object that hangs when it is shown."""


class Endless:
    def __repr__(self):
        while True:
            pass

    __str__ = __len__ = __iter__ = __eq__ = __hash__ = __bool__ = __repr__


def count_vowels(text):
    return Endless()
