"""Who sees whom: a boolean matrix beside the one that was expected, as text for terminals and as a picture for notebooks."""

from collections.abc import Sequence
from html import escape

from rich.table import Table
from rich.text import Text

from .picture import WIDTH

MAX_SIDE = 22
SEEN, HIDDEN, LEAK, BLIND = "■", "·", "x", "o"
LEGEND = {
    SEEN: ("sees", "green", "#2e7d32"),
    HIDDEN: ("does not see", "dim", "#eeeeee"),
    LEAK: ("sees and should not", "bold red", "#c62828"),
    BLIND: ("should see and does not", "bold yellow", "#f9a825"),
}
CELL, GAP, LABEL, TITLE = 22, 40, 18, 230

Matrix = Sequence[Sequence[bool]]


def marks(expected: Matrix, got: Matrix) -> list[list[str]]:
    """Return one mark a cell: seen or hidden where both agree, else what is wrong with `got`."""
    table = {(True, True): SEEN, (False, False): HIDDEN, (False, True): LEAK, (True, False): BLIND}
    return [[table[pair] for pair in zip(*rows, strict=True)] for rows in zip(expected, got, strict=True)]


def drawable(grid: dict) -> bool:
    """Say whether both matrices have one shape that fits on a screen."""
    shapes = [(len(grid[name]), {len(row) for row in grid[name]}) for name in ("expected", "got")]
    rows, columns = shapes[0]
    return shapes[0] == shapes[1] and 0 < rows <= MAX_SIDE and len(columns) == 1 and 0 < max(columns) <= MAX_SIDE


def grid_text(grid: dict) -> Table:
    """Return the grid for a terminal; readable without color."""
    got = marks(grid["expected"], grid["got"])
    titled = (
        ("expected", matrix_text(marks(grid["expected"], grid["expected"]), grid)),
        ("got", matrix_text(got, grid)),
    )
    table = Table.grid(padding=(0, 6, 0, 0))
    if 2 * max(len(line) for line in str(titled[1][1]).split("\n")) + 6 <= WIDTH:
        table.add_row(*(title for title, _ in titled))
        table.add_row(*(matrix for _, matrix in titled))
    else:
        for title, matrix in titled:
            table.add_row(title)
            table.add_row(matrix)
    used = {mark for row in got for mark in row} | {SEEN}
    legend = Text("  ".join(f"{mark} {words}" for mark, (words, _, _) in LEGEND.items() if mark in used), style="dim")
    outer = Table.grid()
    outer.add_row(table)
    outer.add_row(legend)
    return outer


def matrix_text(rows: list[list[str]], grid: dict) -> Text:
    """Return the marks of one matrix, rows and columns numbered; `grid` names them."""
    margin = max(6, len(grid["rows"]) + 1)
    left = " " * (margin + 3)
    text = Text(f"{left}{grid['columns']}\n{left}" + " ".join(f"{column:<2}" for column in range(len(rows[0]))) + "\n")
    for number, row in enumerate(rows):
        text.append(f"{grid['rows'] if number == 0 else '':{margin}}{number:>2} ")
        for mark in row:
            text.append(f"{mark:<3}", style=LEGEND[mark][1])
        text.append("\n" * (number < len(rows) - 1))
    return text


def grid_picture(grid: dict) -> str:
    """Return the grid as inline SVG."""
    wrong = marks(grid["expected"], grid["got"])
    right = marks(grid["expected"], grid["expected"])
    width = max(LABEL + len(right[0]) * CELL, TITLE)
    used = sorted({mark for row in (*wrong, *right) for mark in row}, key=list(LEGEND).index)
    height = GAP + len(right) * CELL
    total = max(2 * width + GAP, 200 * len(used))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{height + GAP}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="who sees whom: expected and got">'
    ]
    for left, title, rows in ((0, "expected", right), (width + GAP, "got", wrong)):
        parts.append(_text(left, 12, f"{title}  (rows: {grid['rows']}, columns: {grid['columns']})"))
        parts += [_text(left + LABEL + x * CELL + 6, GAP - 10, str(x)) for x in range(len(rows[0]))]
        for y, row in enumerate(rows):
            parts.append(_text(left, GAP + y * CELL + 9, str(y)))
            parts += [_square(left + LABEL + x * CELL, GAP - 6 + y * CELL, mark) for x, mark in enumerate(row)]
    for number, mark in enumerate(used):
        parts.append(_square(number * 200, height + 4, mark))
        parts.append(_text(number * 200 + CELL + 4, height + 19, LEGEND[mark][0]))
    return "".join([*parts, "</svg>"])


def _text(x: int, y: int, words: str) -> str:
    return f'<text x="{x}" y="{y}" fill="currentColor">{escape(words)}</text>'


def _square(x: int, y: int, mark: str) -> str:
    sign = "" if mark in (SEEN, HIDDEN) else f'<text x="{x + 7}" y="{y + 14}" fill="#fff">{mark}</text>'
    side = CELL - 2
    return f'<rect x="{x}" y="{y}" width="{side}" height="{side}" rx="3" fill="{LEGEND[mark][2]}" stroke="#bbb"/>{sign}'
