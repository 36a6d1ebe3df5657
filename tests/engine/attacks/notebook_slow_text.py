# must: builder
# must: score=0
"""A text that makes a careless search for definitions take hours."""


def build(folder):
    file = folder / "slow.py"
    file.write_text('"count_vowels:' * 400_000 + "def count_vowels" + " " * 10**6)
    return file
