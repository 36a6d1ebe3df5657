"""The scores in nbgrader's gradebook, which lies in the class folder."""

from pathlib import Path

from gptdojo import gradebook

from .graded import Graded


def write(graded: Graded, folder: Path) -> list[str]:
    """Put the scores into gradebook.db; return what could not be recorded."""
    return gradebook.write(graded.results, graded.course, folder)
