"""The forms of a report. Each is a module of its own with a function `write(graded, folder)`; this is the table of them.

`write` returns what a person should know of what it could not write. Those that are one text also have `text(graded)`, for
standard output.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from gptdojo.course import CourseError

from .graded import Graded


@dataclass(frozen=True)
class Format:
    """One form of a report: the module that writes it, what it is, and whether it is one text."""

    module: str
    description: str
    is_text: bool = False

    def write(self, graded: Graded, folder: Path) -> list[str]:
        """Write it into a folder; return what could not be written, and why."""
        return self._function("write")(graded, folder)

    def text(self, graded: Graded) -> str:
        """Return it as one text."""
        return self._function("text")(graded)

    def _function(self, name: str) -> Callable:
        try:
            return getattr(import_module(self.module), name)
        except ModuleNotFoundError as error:
            raise CourseError(f"this form of a report needs {error.name}: `pip install 'gptdojo[class]'`") from None


FORMATS = {
    "json": Format("gptdojo.grading.formats.json_file", "report.json: everything, for programs", is_text=True),
    "csv": Format(
        "gptdojo.grading.formats.csv_files", "scores.csv, and exercises.csv with a row an exercise", is_text=True
    ),
    "html": Format(
        "gptdojo.grading.formats.html_pages", "class.html for you, and learners/ with a page for each of them"
    ),
    "gradescope": Format(
        "gptdojo.grading.formats.gradescope", "Gradescope's results.json, one for each learner", is_text=True
    ),
    "nbgrader": Format("gptdojo.grading.formats.nbgrader", "the scores in nbgrader's gradebook.db"),
}
