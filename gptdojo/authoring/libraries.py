"""The libraries that only making notebooks needs; they are imported where they are used."""

from importlib.util import find_spec

from ..course import CourseError

NEEDED = ("jupytext", "nbformat", "nbgrader")


def require_libraries() -> None:
    """Raise CourseError, saying what to install, where a library is missing that making notebooks needs."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise CourseError(
            f"making notebooks needs {', '.join(missing)}, which is not installed: "
            'pip install "gptdojo[class]" installs all of it'
        )
