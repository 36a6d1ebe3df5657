"""Who sees whom: boolean matrices side by side."""

from collections.abc import Mapping

from rich.text import Text

from .grid import HIDDEN, LEGEND, MAX_SIDE, SEEN, Matrix, marks, matrix_text
from .picture import CHARACTER, FILLS, PAGE, Picture, beside, box, figure, shortened, words

CELL, HEAD = 20, 40  # pixels: of a cell, of the title and the numbers above it
NAME = 9  # characters
FILL = {SEEN: LEGEND[SEEN][2], HIDDEN: FILLS["dim"]}


def who_sees_whom(matrices: Mapping[str, Matrix], rows: str = "query", columns: str = "key") -> Picture:
    """Draw boolean matrices (nested lists or tensors), True where the row sees the column.

    >>> who_sees_whom({"one head": [[True, False], [True, True]]})
    one head
             key
             0  1
    query  0 ■  ·
           1 ■  ■
    <BLANKLINE>
    ■ sees   · does not see
    """
    if not matrices:
        raise ValueError("expected at least one matrix")
    rows, columns = shortened(rows, NAME), shortened(columns, NAME)
    drawn = {}
    for title, matrix in matrices.items():
        cells = [[bool(cell) for cell in row] for row in matrix]
        if not 0 < len(cells) <= MAX_SIDE or not 0 < len(cells[0]) <= MAX_SIDE or len({len(row) for row in cells}) > 1:
            raise ValueError(f"expected a matrix of 1 to {MAX_SIDE} rows and columns, got another shape for {title!r}")
        drawn[shortened(title, 70)] = marks(cells, cells)
    names = {"rows": rows, "columns": columns}
    panels = [Text(f"{title}\n").append_text(matrix_text(m, names)) for title, m in drawn.items()]
    text = beside(panels).append("\n\n")
    text.append("   ".join(f"{mark} {LEGEND[mark][0]}" for mark in (SEEN, HIDDEN)), style="dim")
    return Picture(text, _svg(drawn, rows, columns))


def _svg(drawn: Mapping[str, list[list[str]]], rows: str, columns: str) -> str:
    parts: list[str] = []
    x, top, high, right = 0, 0, 0, 0
    left = 3 * CHARACTER
    for title, matrix in drawn.items():
        width = max(left + len(matrix[0]) * CELL, len(title) * CHARACTER) + 24
        if x and x + width > PAGE:
            x, top, high = 0, top + high, 0
        parts.append(words(x, top + 14, title))
        parts += [words(x + left + (i + 0.5) * CELL, top + HEAD - 6, i, middle=True) for i in range(len(matrix[0]))]
        for number, row in enumerate(matrix):
            y = top + HEAD + number * CELL
            parts.append(words(x, y + 15, f"{number:>2}"))
            parts += [box(x + left + i * CELL, y, CELL - 2, CELL - 2, FILL[mark]) for i, mark in enumerate(row)]
        x, high = x + width, max(high, HEAD + (len(matrix) + 1) * CELL)
        right = max(right, x)
    x, y = 0, top + high
    for mark in (SEEN, HIDDEN):
        parts += [box(x, y, CELL - 2, CELL - 2, FILL[mark]), words(x + CELL + 4, y + 14, LEGEND[mark][0])]
        x += 18 * CHARACTER
    parts.append(words(x, y + 14, f"rows: {rows}, columns: {columns}"))
    right = max(right, x + (len(rows) + len(columns) + 17) * CHARACTER)
    return figure(right, y + CELL + 2, "who sees whom: " + ", ".join(drawn), parts)
