# must: score=0
# must: status=timeout
"""Never gets past its own file."""

while True:
    pass


def count_vowels(text):
    return 0
