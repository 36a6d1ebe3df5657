"""Rows of tokens, each in a state: accepted or rejected, kept or dropped."""

from collections.abc import Iterable, Mapping, Sequence

from .cells import Cell, Row, rows_picture
from .picture import FILLS, Picture

MARKS = {"green": "✓", "red": "✗", "yellow": "~", "blue": "*", "dim": "·"}
SPARE = "+!?=^&%$@"


def sequence(rows: Iterable[tuple[str, Sequence[tuple[str, str]]]], legend: Mapping[str, tuple[str, str]]) -> Picture:
    """Draw rows of (token, state); `legend` says for each state what it means and its color (a name of FILLS).

    >>> legend = {"kept": ("the target agrees", "green"), "rejected": ("it does not", "red")}
    >>> sequence([("draft", [("the", "kept"), (" cat", "rejected")])], legend)
    draft  ✓the ✗␣cat
    <BLANKLINE>
    ✓ the target agrees   ✗ it does not
    """
    rows = [(caption, list(tokens)) for caption, tokens in rows]
    marks = _marks(legend)
    for _, tokens in rows:
        for token, state in tokens:
            if state not in legend:
                raise ValueError(f"expected a state of the legend ({', '.join(legend)}), got {state!r} for {token!r}")
    cells = [
        Row(caption, [Cell(str(token), marks[state], legend[state][1]) for token, state in tokens])
        for caption, tokens in rows
    ]
    used = {state for _, tokens in rows for _, state in tokens}
    explained = [
        (Cell("", marks[state], color), meaning) for state, (meaning, color) in legend.items() if state in used
    ]
    return rows_picture(cells, explained, "tokens: " + ", ".join(caption for caption, _ in rows))


def _marks(legend: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Return one mark a state: that of its color, or a spare one where two states share a color."""
    marks: dict[str, str] = {}
    for state, (_, color) in legend.items():
        if color not in FILLS:
            raise ValueError(f"expected a color out of {', '.join(FILLS)}, got {color!r} for the state {state!r}")
        free = [mark for mark in (MARKS[color], *SPARE) if mark not in marks.values()]
        if not free:
            raise ValueError(f"expected at most {len(SPARE) + 1} states, got {len(legend)}")
        marks[state] = free[0]
    return marks
