"""Distributions over the same labels, beside each other: one bar a label, with its number."""

import math
from collections.abc import Iterable, Mapping, Sequence

from rich.text import Text

from .picture import CHARACTER, FILLS, PAGE, WIDTH, Picture, beside, box, figure, lines, shortened, words

LABEL, BAR = 14, 16  # characters
EIGHTHS = " ▏▎▍▌▋▊▉"
LENGTH, HIGH = 120, 20  # pixels: the longest bar, a line


def distributions(labels: Iterable[object], panels: Mapping[str, Iterable[float]]) -> Picture:
    """Draw one panel a distribution, all to one scale; a probability of exactly 0 is printed as 0.

    >>> distributions(["yes", "no"], {"before": [0.75, 0.25], "after": [1.0, 0.0]})
          before                   after
    yes   0.750 ████████████       1.000 ████████████████
    no    0.250 ████               0
    """
    names = [shortened(label, LABEL) for label in labels]
    numbers = {title: [float(p) for p in column] for title, column in panels.items()}
    if not names or not numbers:
        raise ValueError("expected at least one label and one distribution")
    for title, column in numbers.items():
        if len(column) != len(names):
            raise ValueError(f"expected {len(names)} probabilities in {title!r}, got {len(column)}")
        if not all(math.isfinite(p) and p >= 0 for p in column):
            raise ValueError(f"expected finite probabilities >= 0 in {title!r}, got {column}")
    largest = max(max(column) for column in numbers.values()) or 1.0
    return Picture(_text(names, numbers, largest), _svg(names, numbers, largest))


def number(p: float) -> str:
    """Return three decimals; 0 is exactly zero, and what is smaller than three decimals show says so.

    >>> [number(p) for p in (0.0, 0.0001, 0.25)]
    ['0', '<.001', '0.250']
    """
    if p == 0:
        return "0"
    return "<.001" if p < 0.0005 else f"{p:.3f}"


def _bar(share: float) -> str:
    whole, rest = divmod(round(share * BAR * 8), 8)
    return "█" * whole + EIGHTHS[rest].strip()


def _text(names: Sequence[str], numbers: Mapping[str, Sequence[float]], largest: float) -> Text:
    margin = max(map(len, names))
    bars = []
    for title, column in numbers.items():
        panel = Text(f"{shortened(title, BAR + 6):{BAR + 6}}\n", style="")
        for i, p in enumerate(column):
            panel.append(f"{number(p):5} ")
            panel.append(f"{_bar(p / largest):{BAR}}", style="blue")
            panel.append("\n" * (i < len(column) - 1))
        bars.append(panel)
    left = lines([Text(" "), *(Text(name) for name in names)])
    left.append(" " * (margin - len(names[-1])))
    per_row = max(1, (WIDTH - margin) // (BAR + 6 + 3))
    chunks = [bars[start : start + per_row] for start in range(0, len(bars), per_row)]
    return Text("\n\n").join(beside([left, *chunk]) for chunk in chunks)


def _svg(names: Sequence[str], numbers: Mapping[str, Sequence[float]], largest: float) -> str:
    left = (max(map(len, names)) + 2) * CHARACTER
    panel = LENGTH + 8 * CHARACTER
    per_row = max(1, int((PAGE - left) // panel))
    parts, top = [], 0
    for start in range(0, len(numbers), per_row):
        for i, name in enumerate(names):
            parts.append(words(0, top + (i + 1) * HIGH + 15, name))
        for place, title in enumerate(list(numbers)[start : start + per_row]):
            x = left + place * panel
            parts.append(words(x, top + 15, shortened(title, BAR + 6)))
            for i, p in enumerate(numbers[title]):
                y = top + (i + 1) * HIGH
                parts.append(box(x, y + 3, p / largest * LENGTH, HIGH - 6, FILLS["blue"], stroke="none"))
                parts.append(words(x + p / largest * LENGTH + 4, y + 15, number(p)))
        top += (len(names) + 2) * HIGH
    width = left + min(per_row, len(numbers)) * panel
    return figure(width, top - HIGH, "distributions: " + ", ".join(numbers), parts)
