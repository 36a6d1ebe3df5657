"""A row of slots, once a step: how something fills up, and what changed since the step before."""

from collections.abc import Iterable, Mapping, Sequence

from .cells import Cell, Row, rows_picture
from .picture import Picture

EMPTY, CHANGED = "·", "*"
GROUP_COLORS = ("blue", "green", "yellow", "red")


def slots(
    steps: Iterable[tuple[str, Sequence[object | None]]],
    block: int | None = None,
    groups: Mapping[object, str] | None = None,
) -> Picture:
    """Draw one row of slots a step; None is an empty slot, and what differs from the step before is marked.

    `block` draws a border every so many slots. `groups` names the group of a label; each group has its color.

    >>> slots([("start", [None] * 4), ("two tokens", ["a", "b", None, None])], block=2)
                │  0  1 │  2  3 │
    start       │  ·  · │  ·  · │
    two tokens  │ *a *b │  ·  · │
    <BLANKLINE>
    * changed since the step before   · empty
    """
    steps = [(caption, list(labels)) for caption, labels in steps]
    groups = groups or {}
    colors = {name: GROUP_COLORS[i % len(GROUP_COLORS)] for i, name in enumerate(dict.fromkeys(groups.values()))}
    rows = [Row("", [Cell(str(i), bare=True) for i in range(max((len(labels) for _, labels in steps), default=0))])]
    before: Sequence[object | None] = ()
    for caption, labels in steps:
        cells = []
        for i, label in enumerate(labels):
            changed = label != (before[i] if i < len(before) else None)
            shown, color = (EMPTY, "dim") if label is None else (str(label), colors.get(groups.get(label, "")))
            cells.append(Cell(shown, CHANGED if changed else " ", color, framed=changed))
        rows.append(Row(caption, cells))
        before = labels
    drawn = {cell.label for row in rows[1:] for cell in row.cells}
    legend = []
    if any(cell.framed for row in rows for cell in row.cells):
        legend.append((Cell("", CHANGED, framed=True), "changed since the step before"))
    if EMPTY in drawn:
        legend.append((Cell(EMPTY, color="dim"), "empty"))
    for name, color in colors.items():
        members = [str(label) for label, group in groups.items() if group == name and str(label) in drawn]
        if members:
            legend.append((Cell(members[0] + (", …" if len(members) > 1 else ""), color=color), name))
    return rows_picture(rows, legend, "slots: " + ", ".join(caption for caption, _ in steps), block=block, even=True)
