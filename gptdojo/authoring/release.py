"""The released notebook of a chapter, made by nbgrader's own converter."""

import ast
import json
import logging
from typing import TYPE_CHECKING

from ..course import Chapter, Course, CourseError
from .libraries import require_libraries
from .source import ADDED_FIRST, source_notebook

if TYPE_CHECKING:
    from nbformat import NotebookNode

CONFIG = "nbgrader_config.py"
log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())  # what nbgrader logs on an error, it also raises


class Releaser:
    """Releases chapters of one course as `nbgrader generate_assignment --no-db` does, without its files and start-up.

    Raises CourseError where nbgrader or the course's nbgrader_config.py is missing.
    """

    def __init__(self, course: Course) -> None:
        """Load nbgrader and the configuration that the course gives it."""
        require_libraries()
        from nbgrader.converters import GenerateAssignment
        from traitlets.config import Config, PyFileConfigLoader

        if not (course.root / CONFIG).is_file():
            raise CourseError(f"{course.root / CONFIG} is missing: it says how nbgrader releases the chapters")
        config = PyFileConfigLoader(CONFIG, path=str(course.root)).load_config()
        config.merge(Config({"SaveCells": {"enabled": False}, "GenerateAssignment": {"no_database": True}}))
        converter = GenerateAssignment(config=config, log=log)
        self._exporter = converter.exporter_class(parent=converter, config=converter.config)
        for preprocessor in converter.preprocessors:
            self._exporter.register_preprocessor(preprocessor)

    def source(self, chapter: Chapter) -> str:
        """Return the text of the chapter's source notebook; CourseError where the author has to repair something."""
        import nbformat

        return nbformat.writes(source_notebook(chapter), version=4) + "\n"

    def release(self, chapter: Chapter, source: str | None = None) -> str:
        """Return the text of the chapter's released notebook; CourseError where the author has to repair something."""
        import nbformat

        notebook = nbformat.reads(source if source is not None else self.source(chapter), as_version=4)
        try:
            text, _ = self._exporter.from_notebook_node(notebook)
        except Exception as error:  # RuntimeError, ValueError or nbgrader's own, all for what the author wrote
            raise CourseError(f"nbgrader cannot release {chapter.solution}: {error}") from error
        for cell in json_cells(text):
            if cell.metadata.get("nbgrader", {}).get("solution"):
                _complain_of_stub(chapter, cell)
        return text


def stub_source(chapter: Chapter) -> str:
    """Return the released chapter as a Python file in percent format, its stubs untouched and nothing to run `check`.

    Raises CourseError as Releaser and its methods do.
    """
    releaser = Releaser(chapter.course)
    import jupytext
    from nbformat.v4 import new_notebook

    cells = json_cells(releaser.release(chapter))
    kept = [cell for cell in cells if cell.id not in ADDED_FIRST and not cell.metadata.get("nbgrader", {}).get("grade")]
    for cell in kept:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "title"}
    notebook = new_notebook(cells=kept, metadata={"jupytext": {"notebook_metadata_filter": "-all"}})
    return jupytext.writes(notebook, fmt="py:percent")


def json_cells(text: str) -> list["NotebookNode"]:
    """Return the cells of a notebook of format 4 as they stand in the file, each with its source as one string.

    Raises ValueError where the text is no such notebook. It may come from any editor: nothing is repaired on the way.
    """
    from nbformat import from_dict

    content = json.loads(text)
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise ValueError("no notebook of format 4: it has no list of cells")
    for cell in content["cells"]:
        if not isinstance(cell, dict) or not isinstance(cell.get("metadata"), dict):
            raise ValueError("no notebook of format 4: a cell has no metadata")
        source = cell.get("source")
        cell["source"] = "".join(source) if isinstance(source, list) else source
        if not isinstance(cell["source"], str) or not isinstance(cell.get("cell_type"), str):
            raise ValueError("no notebook of format 4: a cell has no source or no type")
    return [from_dict(cell) for cell in content["cells"]]


def _complain_of_stub(chapter: Chapter, cell: "NotebookNode") -> None:
    try:
        ast.parse(cell.source)
    except SyntaxError as error:
        raise CourseError(
            f"{chapter.solution}, cell {cell.id}: without its solution, line {error.lineno} is not Python "
            f"({error.msg}); mark whole statements as the solution"
        ) from None
