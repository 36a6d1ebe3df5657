"""The source notebook of a chapter, solutions included: what nbgrader releases from."""

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..course import Chapter, CourseError, Exercise
from ..worker.submission import cells_of
from .wording import IMPORT, START, label

if TYPE_CHECKING:
    from nbformat import NotebookNode

BEGIN = "BEGIN SOLUTION"
END = "END SOLUTION"
NAME = re.compile(r"[A-Za-z0-9_-]{1,58}")  # a cell id has at most 64 characters, and `check_` goes before some
BOOKKEEPING = {"cell_marker", "lines_to_next_cell", "lines_to_end_of_cell_marker"}  # jupytext's own
ADDED_FIRST = ("start", "import_check")  # the ids of the cells before the author's first
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def source_notebook(chapter: Chapter) -> "NotebookNode":
    """Return the notebook that nbgrader releases from: the author's cells, and around each exercise what build adds.

    Raises CourseError, with the cell and what to do, where the worked chapter and chapter.toml do not agree.
    """
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    start, import_check = ADDED_FIRST
    cells = [_locked(new_markdown_cell(START, id=start)), _locked(new_code_cell(IMPORT, id=import_check))]
    authored = author_cells(chapter)
    _complain(chapter, authored)
    for cell in authored:
        exercise = chapter.exercises.get(cell.metadata.get("title", ""))
        if exercise is None:
            cells.append(_plain(cell) if cell.cell_type == "code" else _locked(cell))
            continue
        name = exercise.name
        points = int(exercise.points) if exercise.points == int(exercise.points) else exercise.points
        cells += [
            _locked(new_markdown_cell(label(exercise), id=f"label_{name}")),
            _marked(cell, solution=True),
            _marked(new_code_cell(f"check({name})", id=f"check_{name}"), grade=True, locked=True, points=points),
        ]
    repeated = [identity for identity, count in Counter(cell.id for cell in cells).items() if count > 1]
    if repeated:
        raise CourseError(f"{chapter.solution} has two cells named {', '.join(repeated)}: each name occurs once")
    return new_notebook(cells=cells, metadata=METADATA, nbformat_minor=5)


def author_cells(chapter: Chapter) -> list["NotebookNode"]:
    """Return the cells of the worked chapter; a named cell has its name as id and as title, others are numbered.

    Raises CourseError where the file is missing or a cell carries more than a name.
    """
    import jupytext

    text = _text(chapter)
    try:
        cells = [cell for cell in jupytext.reads(text, fmt="py:percent").cells if cell.source.strip()]
    except Exception as error:  # a header of notebook metadata can be wrong in many ways
        raise CourseError(f"{chapter.solution} cannot be read as percent format: {error}") from error
    unnamed: Counter[str] = Counter()
    for cell in cells:
        extra = cell.metadata.keys() - BOOKKEEPING - {"title"}
        name = cell.metadata.get("title", "")
        if extra or (name and not NAME.fullmatch(name)):
            got = name or ", ".join(sorted(extra))
            raise CourseError(
                f"{chapter.solution}: a cell has a name of letters, digits and underscores after its %%, or nothing; "
                f"got {got!r} above {cell.source.splitlines()[0]!r}"
            )
        cell.metadata = {"title": name} if name else {}
        if not name:
            kind = "code" if cell.cell_type == "code" else "text"
            unnamed[kind] += 1
            name = f"{kind}_{unnamed[kind]}"
        cell.id = name
    return cells


def solution_source(exercise: Exercise) -> str:
    """Return the cell of an exercise's worked solution as plain source, without the markers of its regions.

    Needs no optional library. Raises CourseError where the worked chapter has no cell of that name.
    """
    path = exercise.chapter.solution
    for name, _, cell in cells_of("py", _text(exercise.chapter).encode()):
        if name == exercise.name:
            lines = cell.lstrip("\n").rstrip().split("\n")[1:]  # the first one holds the name
            return "\n".join(line for line in lines if BEGIN not in line and END not in line) + "\n"
    raise CourseError(f"{path} has no cell named {exercise.name}: start it with `# %% {exercise.name}`")


def solution_lines(source: str) -> Iterator[str]:
    """Yield the lines of a cell's source that lie in its solution regions, stripped; blank ones are left out."""
    inside = False
    for line in source.split("\n"):
        if BEGIN in line or END in line:
            inside = BEGIN in line
        elif inside and line.strip():
            yield line.strip()


def plain_checksum(cell: "NotebookNode") -> str:
    """Return the checksum by which a change to a cell without nbgrader metadata is noticed."""
    return hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:32]


def _text(chapter: Chapter) -> str:
    try:
        return chapter.solution.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CourseError(f"{chapter.solution} is missing: every chapter has a worked chapter") from None
    except UnicodeDecodeError as error:
        raise CourseError(f"{chapter.solution} is not UTF-8 text (byte {error.start})") from None


def _complain(chapter: Chapter, cells: list["NotebookNode"]) -> None:
    """Raise CourseError where the named cells are not exactly those that chapter.toml names."""
    named = [cell.id for cell in cells if cell.cell_type == "code" and "title" in cell.metadata]
    exercises = [name for name in named if name in chapter.exercises]
    if exercises != list(chapter.exercises):
        raise CourseError(
            f"{chapter.solution} has the exercises {exercises}, chapter.toml says {list(chapter.exercises)}: "
            "expected the same ones in the same order, each in a cell that starts with `# %% NAME`"
        )
    others = {name for name in named if name not in chapter.exercises}
    if others != set(chapter.demonstrations):
        raise CourseError(
            f"{chapter.solution} has the named cells {sorted(others)} beside its exercises, "
            f"the demonstrations of chapter.toml are {sorted(chapter.demonstrations)}: expected the same"
        )
    for cell in cells:
        if cell.id in chapter.exercises:
            _complain_of_exercise(chapter, cell)
        elif BEGIN in cell.source or END in cell.source:
            raise CourseError(f"{chapter.solution}: the cell {cell.id} marks a solution, but is no exercise")


def _complain_of_exercise(chapter: Chapter, cell: "NotebookNode") -> None:
    where = f"{chapter.solution}, cell {cell.id}"
    marks = re.findall(f"{BEGIN}|{END}", cell.source)
    if not marks or marks != [BEGIN, END] * (len(marks) // 2):
        raise CourseError(f"{where}: put the solution between `### {BEGIN}` and `### {END}`; found the marks {marks}")
    try:
        defined = {getattr(node, "name", "") for node in ast.parse(cell.source).body}
    except SyntaxError as error:
        raise CourseError(f"{where}: line {error.lineno} is not Python: {error.msg}") from None
    if cell.id not in defined:
        raise CourseError(f"{where} defines {sorted(defined - {''})}: expected a function or class named {cell.id}")


def _marked(
    cell: "NotebookNode",
    *,
    grade: bool = False,
    locked: bool = False,
    solution: bool = False,
    points: float | None = None,
) -> "NotebookNode":
    """Mark a cell for nbgrader, by version 3 of its schema."""
    marks = {"schema_version": 3, "grade": grade, "locked": locked, "solution": solution, "task": False}
    cell.metadata["nbgrader"] = marks | {"grade_id": cell.id} | ({} if points is None else {"points": points})
    return cell


def _locked(cell: "NotebookNode") -> "NotebookNode":
    return _marked(cell, locked=True)


def _plain(cell: "NotebookNode") -> "NotebookNode":
    """Leave a cell to the learner, who may play with it; nbgrader has no checksum for such a cell.

    The id stands in the metadata too: Colab gives cells ids of its own.
    """
    cell.metadata["gptdojo"] = {"id": cell.id, "checksum": plain_checksum(cell)}
    return cell
