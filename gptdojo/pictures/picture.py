"""What every picture is made of: one object that shows itself in notebooks and in terminals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from rich.text import Text

WIDTH = 78  # of a screen of 80 columns, with what is drawn indented by two
PAGE = 900  # pixels: what the output of a notebook's cell holds without being shrunk
CHARACTER = 8  # pixels, of a monospace font of 13

FILLS = {"green": "#2e7d32", "red": "#c62828", "yellow": "#f9a825", "blue": "#1565c0", "dim": "#80808030"}
INK = {"green": "#fff", "red": "#fff", "yellow": "#000", "blue": "#fff", "dim": "currentColor"}


@dataclass(frozen=True, repr=False)
class Picture:
    """A figure where HTML is shown, text elsewhere."""

    text: Text
    svg: str = field(compare=False)

    def __str__(self) -> str:
        return self.text.plain

    __repr__ = __str__

    def __rich__(self) -> Text:
        return self.text

    def _repr_html_(self) -> str:
        return self.svg


def escaped(content: object) -> str:
    """Return the content on one line; what is not printable is escaped as in Python."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(content))


def visible(label: object) -> str:
    """Return the label in one line of printable characters; spaces at its ends are seen.

    >>> visible(" the\\n")
    '␣the\\\\n'
    """
    text = escaped(label)
    inner = text.strip(" ")
    left = len(text) - len(text.lstrip(" ")) if inner else len(text)
    return "␣" * left + inner + "␣" * (len(text) - left - len(inner))


def shortened(label: object, length: int) -> str:
    """Return the label visible and at most `length` characters long."""
    text = visible(label)
    return text if len(text) <= length else text[: length - 1] + "…"


def lines(rows: Iterable[Text]) -> Text:
    """Return the rows below each other, nothing at their right ends."""
    text = Text("\n").join(rows)
    ended = text.split("\n", allow_blank=True)
    for row in ended:
        row.rstrip()
    return Text("\n").join(ended)


def beside(panels: Sequence[Text], gap: int = 3) -> Text:
    """Return the panels side by side, as many in a row as fit on a screen."""
    rows: list[list[Text]] = []
    used = 0
    for panel in panels:
        width = max(line.cell_len for line in panel.split("\n"))
        if not rows or used + gap + width > WIDTH:
            rows.append([])
            used = -gap
        rows[-1].append(panel)
        used += gap + width
    return Text("\n\n").join(_joined(row, gap) for row in rows)


def _joined(panels: Sequence[Text], gap: int) -> Text:
    blocks = [list(panel.split("\n", allow_blank=True)) for panel in panels]
    widths = [max(line.cell_len for line in block) for block in blocks]
    joined = []
    for number in range(max(map(len, blocks))):
        row = Text()
        for block, width in zip(blocks, widths, strict=True):
            line = block[number].copy() if number < len(block) else Text()
            line.append(" " * (width + gap - line.cell_len))
            row.append_text(line)
        joined.append(row)
    return lines(joined)


def figure(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """Return an inline SVG; it shrinks where there is less room than it wants."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" style="max-width:100%;height:auto" font-family="monospace" '
        f'font-size="13" role="img" aria-label="{escape(escaped(title))}">{"".join(parts)}</svg>'
    )


def words(x: float, y: float, content: object, *, fill: str = "currentColor", middle: bool = False) -> str:
    """Return one line of text whose baseline is at y."""
    anchor = ' text-anchor="middle"' if middle else ""
    return f'<text x="{x:g}" y="{y:g}" fill="{fill}"{anchor} xml:space="preserve">{escape(escaped(content))}</text>'


def box(x: float, y: float, width: float, height: float, fill: str, *, stroke: str = "#bbb", thick: float = 1) -> str:
    """Return one rectangle."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="{thick:g}"/>'
    )
