"""What a learner did to a released notebook, and whether it still is what solutions/ makes."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from .release import json_cells
from .source import plain_checksum

if TYPE_CHECKING:
    from nbformat import NotebookNode


def learner_changes(text: str, released: str) -> list[str]:
    """Say what of a notebook would be lost if it were replaced; empty when nobody has written into it.

    `text` is the notebook as it lies there, released from this or an earlier version of the chapter; `released` is what
    solutions/ makes. Runs, outputs, deleted or moved cells, empty cells and what editors add to the metadata are no
    work. A file that cannot be read counts as somebody's work.
    """
    try:
        cells = json_cells(text)
        ours = {(cell.cell_type, cell.source) for cell in json_cells(released)}
        return [
            _describe(cell, number)
            for number, cell in enumerate(cells, 1)
            if (cell.cell_type, cell.source) not in ours and not _is_untouched(cell)
        ]
    except Exception as error:  # the file may hold anything, and whatever cannot be understood is not ours to replace
        return [f"the file cannot be read as a notebook ({error or type(error).__name__})"]


def differences(text: str, released: str) -> list[str]:
    """Say in which cells a notebook is not what solutions/ makes (`released`), whatever a learner has done to it.

    A learner may answer, change demonstrations, run, add cells and delete what is not locked.
    """
    try:
        theirs = json_cells(text)
        ours = json_cells(released)
        found = _cell_differences(theirs, ours)
    except Exception as error:  # as above
        return [f"the file cannot be read as a notebook ({error or type(error).__name__})"]
    if found or learner_changes(text, released):
        return found
    order = list(dict.fromkeys(_identity(cell) for cell in theirs if _identity(cell)))  # a copy is no other order
    return [] if order == [_identity(cell) for cell in ours] else ["the cells are missing or in another order"]


def _cell_differences(theirs: list["NotebookNode"], ours: list["NotebookNode"]) -> list[str]:
    by_identity = defaultdict(list)
    for cell in theirs:
        by_identity[_identity(cell)].append(cell)
    by_identity.pop("", None)
    found = []
    for cell in ours:
        copies = by_identity.pop(_identity(cell), [])
        if not copies and "nbgrader" in cell.metadata:
            found.append(f"{_identity(cell)} is missing")
        elif copies and not any(_is_same(copy, cell) for copy in copies):
            found.append(f"{_identity(cell)} differs")
    return found + [f"{identity} is left over from an earlier version" for identity in by_identity]


def _is_untouched(cell: "NotebookNode") -> bool:
    from nbgrader.utils import compute_checksum

    marks = _marks(cell)
    if "checksum" not in marks:
        return not cell.source.strip() and not cell.get("attachments")
    return marks["checksum"] == (compute_checksum(cell) if "nbgrader" in cell.metadata else plain_checksum(cell))


def _is_same(theirs: "NotebookNode", ours: "NotebookNode") -> bool:
    """Tell whether a cell was released from ours: the marks hold the checksum of what was released."""
    if _marks(theirs) != _marks(ours):
        return False
    may_edit = ours.metadata.get("editable", True)
    return may_edit or (theirs.cell_type, theirs.source) == (ours.cell_type, ours.source)


def _marks(cell: "NotebookNode") -> dict[str, Any]:
    return cell.metadata.get("nbgrader") or cell.metadata.get("gptdojo") or {}


def _identity(cell: "NotebookNode") -> str:
    """The id that build gave the cell, wherever an editor left it; empty for a cell that the learner added."""
    return _marks(cell).get("grade_id") or _marks(cell).get("id") or ""


def _describe(cell: "NotebookNode", number: int) -> str:
    identity = _identity(cell)
    if cell.metadata.get("nbgrader", {}).get("solution"):
        return f"{identity} is filled in"
    return f"{identity} was changed" if identity else f"cell {number} was added"
