# must: builder
# must: score=0
# must: status=error
# must: message~MiB
"""A file larger than any notebook."""


def build(folder):
    file = folder / "01_words.ipynb"
    with file.open("wb") as handle:
        handle.truncate(200 * 2**20)
    return file
