# must: score=0
# must: status=memory
"""Takes memory until there is none."""


def count_vowels(text):
    held = []
    while True:
        held.append(bytearray(512 * 2**20))
