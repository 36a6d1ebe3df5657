"""Names of files that are made for a submission: readable, never the same for two, and never a way out of their folder."""

import hashlib
import re
import unicodedata

LONGEST = 60


def file_name(path: str, learner: str | None = None) -> str:
    """Return a name for a submission, without an ending.

    >>> file_name("submitted/ada/01_words/words.ipynb", "ada")
    'ada-words-e3c60bf75a831002'
    """
    stem = path.rpartition("/")[2].rpartition(".")[0] or path
    readable = slug(f"{learner}-{stem}" if learner else stem)
    return f"{readable}-{digest(path)}"


def digest(text: str) -> str:
    """Return 16 characters that tell a text from all others."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def slug(text: str) -> str:
    """Return what is left of a text when only plain letters, digits, - and _ may stand in it.

    >>> slug("../Zoë\\x1b.ipynb")
    'Zoe-ipynb'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-")[:LONGEST] or "submission"
