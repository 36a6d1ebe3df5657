"""Reads submissions for nbgrader: plain files of bounded size, and of each notebook its text alone."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from nbconvert.exporters import NotebookExporter
from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory

from gptdojo.grading.collect import Submission, Unreadable

from .cells import Known, clean_notebook
from .sandboxed import SandboxGrading
from .timestamp import TIMESTAMP, handed_in, timestamp_text


class GuardedDirectory(CourseDirectory):
    """nbgrader's course directory, for folders of strangers: nothing is copied from them, and a link leads nowhere."""

    @classmethod
    def around(cls, directory: CourseDirectory) -> "GuardedDirectory":
        """Return one with the same settings."""
        guarded = cls(parent=directory.parent)
        for name in directory.trait_names(config=True):
            setattr(guarded, name, getattr(directory, name))
        guarded.ignore = ["*"]  # what lies beside a notebook is not graded, and may be a link to anywhere
        return guarded

    def get_existing_timestamp(self, dest_path: str) -> datetime | None:
        """Return when a submission was handed in, which its timestamp.txt says; raises ValueError if that is no time."""
        return handed_in(Path(dest_path))


class SubmittedNotebookExporter(NotebookExporter):
    """What nbgrader's autograder reads notebooks with. Of a submitted one it passes on a clean copy."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        converter: Any = self.parent
        self.directory = converter.coursedir = GuardedDirectory.around(converter.coursedir)
        self.grading = SandboxGrading(parent=self, converter=converter)

    def from_filename(self, filename: str, resources: Any = None, **options: Any) -> tuple[Any, Any]:
        """Convert a notebook: a submitted one as far as its text goes, one that was cleaned before as it is."""
        about = resources["nbgrader"]
        submitted = self.directory.format_path(
            self.directory.submitted_directory, about["student"], about["assignment"]
        )
        if Path(filename).parent != Path(submitted):
            return super().from_filename(filename, resources=resources, **options)
        if Path(submitted).is_symlink():  # it could lead to somebody else's work
            raise ValueError(f"{submitted} is a link; it has to be the folder itself")
        try:
            content = Submission(Path(filename)).read()
        except Unreadable as error:
            content = str(error).encode()  # no notebook: the copy says that it cannot be shown
        resources["metadata"] = {"name": Path(filename).stem, "path": submitted}
        if stamp := timestamp_text(Path(submitted)):
            resources["outputs"] = {TIMESTAMP: stamp}  # by it nbgrader notices that a later one was handed in
        notebook = clean_notebook(content, self._known(about))
        return self.from_notebook_node(notebook, resources=resources, **options)

    def _known(self, about: Mapping[str, str]) -> dict[str, Known]:
        """Return the marked cells of the released notebook by name, in its order."""
        with Gradebook(about["db_url"]) as gradebook:
            notebook = gradebook.find_notebook(about["notebook"], about["assignment"])
            points = {cell.name: cell.max_score for cell in [*notebook.grade_cells, *notebook.task_cells]}
            solutions = {cell.name for cell in notebook.solution_cells}
            tasks = {cell.name for cell in notebook.task_cells}
            return {
                cell.name: Known(
                    cell.cell_type, cell.source, _marks(cell, points, cell.name in solutions, cell.name in tasks)
                )
                for cell in notebook.source_cells
            }


def _marks(cell: Any, points: Mapping[str, float], solution: bool, task: bool) -> dict[str, Any]:
    grade = cell.name in points and not task
    marks = {"schema_version": 3, "grade_id": cell.name, "grade": grade, "solution": solution, "task": task}
    marks |= {"locked": cell.locked, "checksum": cell.checksum, "cell_type": cell.cell_type}
    return marks | ({"points": points[cell.name]} if cell.name in points else {})
