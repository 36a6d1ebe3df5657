# must: score=0
# must: status=error
# must: message~reference
"""Delegates to the reference of its own chapter."""


def count_vowels(text):
    from reference.words import count_vowels as theirs

    return theirs(text)
