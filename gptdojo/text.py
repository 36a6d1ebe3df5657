"""Text that came from elsewhere, made fit to be shown."""


def printable(text: str) -> str:
    """Return text with everything that a terminal could act on written out; newlines and tabs stay."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )
