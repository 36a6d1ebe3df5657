# must: builder
# must: score=0
# must: status=error
# must: message~opened
"""A link to the solution."""


def build(folder):
    solution = folder / "solution"
    solution.write_text("def count_vowels(text):\n    return sum(letter in 'aeiou' for letter in text.lower())\n")
    link = folder / "01_words.py"
    link.symlink_to(solution)
    return link
