"""Rows of labeled cells below one another, each with a caption: a cache, a text, a row of drafts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text

from .picture import CHARACTER, FILLS, INK, PAGE, WIDTH, Picture, box, figure, lines, shortened, words

LABEL, CAPTION = 12, 34  # characters that are shown of a label, and of a caption that stands beside its row
HIGH, APART, SPLIT = 24, 8, 10  # pixels: of a cell, between rows, between blocks
FRAME = "#e65100"


@dataclass(frozen=True)
class Cell:
    """One label; `mark` tells without color what `color` (a name of FILLS) and `framed` tell with it."""

    label: str
    mark: str = " "
    color: str | None = None
    framed: bool = False
    bare: bool = False


@dataclass(frozen=True)
class Row:
    """A caption and its cells."""

    caption: str
    cells: Sequence[Cell]


def rows_picture(
    rows: Sequence[Row], legend: Sequence[tuple[Cell, str]], title: str, *, block: int | None = None, even: bool = False
) -> Picture:
    """Return the rows with their cells aligned; where a line is too short for them, ranges of columns below each other.

    `even` makes all columns as wide as the widest, where a line is long enough for that.
    """
    if not any(row.cells for row in rows):
        raise ValueError("expected at least one row with at least one cell")
    if block is not None and block < 1:
        raise ValueError(f"expected block >= 1, got {block}")
    rows = [Row(shortened(row.caption, CAPTION), row.cells) for row in rows]
    legend = [(cell, shortened(meaning, WIDTH - LABEL)) for cell, meaning in legend]
    columns = range(max(len(row.cells) for row in rows))
    widths = [max(len(_label(row.cells[i])) for row in rows if i < len(row.cells)) for i in columns]
    margin = max(len(row.caption) for row in rows)
    broad = [max(widths)] * len(widths)
    if even and len(_ranges([width + 2 for width in broad], WIDTH - margin - 3, block, 2)) == 1:
        widths = broad
    return Picture(_text(rows, legend, widths, margin, block), _svg(rows, legend, widths, margin, block, title))


def _label(cell: Cell) -> str:
    return shortened(cell.label, LABEL)


def _ranges(widths: Sequence[int], room: int, block: int | None, border: int) -> list[range]:
    """Return ranges of columns that fit into the room, each beginning with a block if a whole block fits."""
    ranges, start, used = [], 0, 0
    for column, width in enumerate(widths):
        new = width + border * _begins(column, block)
        if column > start and used + new > room:
            cut = column - column % block if block else column
            cut = cut if cut > start else column
            ranges.append(range(start, cut))
            start, used = cut, sum(w + border * _begins(i, block) for i, w in enumerate(widths[:column]) if i >= cut)
        used += new
    return [*ranges, range(start, len(widths))]


def _rows_in(columns: range, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if columns.start == 0 or len(row.cells) > columns.start]


def _begins(column: int, block: int | None) -> bool:
    return block is not None and column % block == 0


def _text(
    rows: Sequence[Row], legend: Sequence[tuple[Cell, str]], widths: Sequence[int], margin: int, block: int | None
) -> Text:
    parts = []
    for columns in _ranges([width + 2 for width in widths], WIDTH - margin - 3, block, 2):
        for row in _rows_in(columns, rows):
            line = Text(f"{row.caption:{margin}}  ")
            for column in columns:
                line.append("│ " * _begins(column, block), style="dim")
                cell = row.cells[column] if column < len(row.cells) else Cell("", bare=True)
                line.append_text(_cell_text(cell, widths[column]))
            line.append("│" * (block is not None), style="dim")
            parts.append(line)
        parts.append(Text())
    words_of = (f"{cell.mark if cell.mark != ' ' else _label(cell)} {meaning}" for cell, meaning in legend)
    parts += [Text(line, style="dim") for line in _wrapped(words_of)]
    return lines(parts if legend else parts[:-1])


def _cell_text(cell: Cell, width: int) -> Text:
    style = "dim" if cell.bare else " ".join([*(["bold"] * cell.framed), *([cell.color] if cell.color else [])])
    return Text.assemble((f"{cell.mark}{_label(cell)}", style), " " * (width + 1 - len(_label(cell))))


def _wrapped(entries: Iterable[str]) -> list[str]:
    found: list[str] = []
    for entry in entries:
        if found and len(found[-1]) + 3 + len(entry) <= WIDTH:
            found[-1] += "   " + entry
        else:
            found.append(entry)
    return found


def _svg(
    rows: Sequence[Row],
    legend: Sequence[tuple[Cell, str]],
    widths: Sequence[int],
    margin: int,
    block: int | None,
    title: str,
) -> str:
    left = (margin + 2) * CHARACTER
    wide = [(width + 2) * CHARACTER for width in widths]
    parts: list[str] = []
    top, right = 0, left
    for columns in _ranges(wide, PAGE - left, block, SPLIT):
        for row in _rows_in(columns, rows):
            parts.append(words(0, top + 17, row.caption))
            x = left
            for column in columns:
                x += SPLIT * (_begins(column, block) and column > columns.start)
                if column < len(row.cells):
                    parts.append(_cell_svg(row.cells[column], x, top, wide[column]))
                x += wide[column]
            right, top = max(right, x), top + HIGH + APART
        top += APART
    x = 0
    for cell, meaning in legend:
        width = (len(cell.mark + _label(cell)) + 1) * CHARACTER
        step = width + (len(meaning) + 4) * CHARACTER
        if x and x + step > max(right, PAGE // 2):
            x, top = 0, top + HIGH + APART
        parts += [_cell_svg(cell, x, top, width), words(x + width + 8, top + 17, meaning)]
        x += step
        right = max(right, x)
    return figure(right + 2, top + (HIGH + APART) * bool(legend), title, parts)


def _cell_svg(cell: Cell, x: int, y: int, width: int) -> str:
    middle = x + width / 2
    if cell.bare:
        return words(middle, y + 17, _label(cell), middle=True)
    fill, ink = (FILLS[cell.color], INK[cell.color]) if cell.color else ("none", "currentColor")
    frame = box(
        x + 2, y + 2, width - 4, HIGH - 4, fill, stroke=FRAME if cell.framed else "#999", thick=3 if cell.framed else 1
    )
    return frame + words(middle, y + 17, f"{cell.mark}{_label(cell)}".strip(), fill=ink, middle=True)
