# must: score=0
# must: status=timeout
"""Never answers."""


def count_vowels(text):
    while True:
        pass
