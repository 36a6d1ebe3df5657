"""The notebook that nbgrader gets in place of a submitted one: its cells, without anything that could act or mislead.

What is graded is the file itself, in the sandbox. This is what people look at.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from gptdojo.authoring.source import METADATA
from gptdojo.text import printable

if TYPE_CHECKING:
    from nbformat import NotebookNode

MAX_BYTES = 8 * 2**20
MAX_CELLS = 500
MAX_CHARACTERS = 100_000
MAX_LINE = 1_000  # the time that highlighting takes grows with the square of it
CUT = "... the rest is not shown: this notebook is too long"


@dataclass(frozen=True)
class Known:
    """A cell of the released notebook: what nbgrader's gradebook knows of it."""

    cell_type: str
    source: str
    marks: Mapping[str, Any]

    @property
    def locked(self) -> bool:
        """Whether its source is the course's, not the learner's."""
        return self.marks["locked"] and not self.marks["solution"]


@dataclass
class Cell:
    """What is taken from a cell of a submission."""

    cell_type: str
    source: str
    grade_id: str


def clean_notebook(content: bytes, known: Mapping[str, Known]) -> "NotebookNode":
    """Return a notebook of the cells that `content` holds, as text; nothing in it comes from elsewhere in the file.

    Cells that nbgrader knows carry its marks. Of a cell that was copied the last one counts, as in nbgrader. Graded cells
    that are missing are put back. A file that cannot be read gives these alone, and says why.
    """
    from nbformat.v4 import new_notebook

    try:
        cells = _named_once(_cells_in(content))
    except (ValueError, RecursionError) as error:
        note = f"What was handed in cannot be shown: {error}"
        cells = [Cell("markdown", printable(note)[:500], "")]
    cells = _with_missing(_shortened(cells), known)
    made = [_made(cell, known, number) for number, cell in enumerate(cells, 1)]
    return new_notebook(cells=made, metadata=METADATA, nbformat_minor=5)


def _cells_in(content: bytes) -> list[Cell]:
    if len(content) > MAX_BYTES:
        raise ValueError(f"the file is larger than {MAX_BYTES >> 20} MiB")
    notebook = json.loads(content.decode("utf-8-sig"))
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise ValueError("it is not a notebook of format 4")
    found = [_cell(cell) for cell in cells[:MAX_CELLS] if isinstance(cell, dict)]
    return found + [Cell("markdown", CUT, "")] * (len(cells) > MAX_CELLS)


def _cell(cell: Mapping[str, Any]) -> Cell:
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    metadata = cell.get("metadata")
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = marks.get("grade_id") if isinstance(marks, dict) else None
    return Cell(
        "code" if cell.get("cell_type") == "code" else "markdown",
        source if isinstance(source, str) else "",
        grade_id if isinstance(grade_id, str) else "",
    )


def _named_once(cells: Sequence[Cell]) -> list[Cell]:
    """Let the last cell of each name keep it."""
    last = {cell.grade_id: number for number, cell in enumerate(cells)}
    return [
        cell if last[cell.grade_id] == number else Cell(cell.cell_type, cell.source, "")
        for number, cell in enumerate(cells)
    ]


def _shortened(cells: Sequence[Cell]) -> list[Cell]:
    left = MAX_CHARACTERS
    found = []
    for cell in cells:
        shown = cell.source if len(cell.source) <= left else f"{cell.source[:left]}\n# {CUT}"
        lines = (line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}..." for line in shown.split("\n"))
        found.append(Cell(cell.cell_type, printable("\n".join(lines)), cell.grade_id))
        left = max(0, left - len(cell.source))
    return found


def _with_missing(cells: Sequence[Cell], known: Mapping[str, Known]) -> list[Cell]:
    """Put each graded cell that is not there behind the cell that comes before it in the release, else at the end."""
    found, before = list(cells), ""
    for name, entry in known.items():
        names = [cell.grade_id for cell in found]
        if entry.marks["grade"] and name not in names:
            place = names.index(before) + 1 if before else len(found)
            found.insert(place, Cell(entry.cell_type, entry.source, name))
        if name in names or entry.marks["grade"]:
            before = name
    return found


def _made(cell: Cell, known: Mapping[str, Known], number: int) -> "NotebookNode":
    from nbformat.v4 import new_code_cell, new_markdown_cell

    entry = known.get(cell.grade_id)
    kind = entry.cell_type if entry else cell.cell_type
    text = entry.source if entry and entry.locked else cell.source
    metadata = {"nbgrader": dict(entry.marks)} if entry else {}
    if kind == "code":
        return new_code_cell(text, id=f"cell_{number}", metadata=metadata)
    if not (entry and entry.locked):  # Markdown may hold HTML, and so scripts: a learner's is shown as it was typed
        text = f"<pre>{escape(text)}</pre>"
    return new_markdown_cell(text, id=f"cell_{number}", metadata=metadata)
