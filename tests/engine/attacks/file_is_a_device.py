# must: builder
# must: score=0
# must: status=error
"""A link to an endless device."""


def build(folder):
    (folder / "01_words.py").symlink_to("/dev/zero")
    return folder / "01_words.py"
