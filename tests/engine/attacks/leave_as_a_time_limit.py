# must: score=0
# must: status=crashed|error
"""Raises an exception that looks like the engine's own time limit."""


class Limit(BaseException):
    is_time_limit = True


def count_vowels(text):
    raise Limit
