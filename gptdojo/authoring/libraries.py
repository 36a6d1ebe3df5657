"""The libraries that only building needs."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..course import CourseError


@contextmanager
def needed_for_notebooks() -> Iterator[None]:
    """Import optional libraries inside; a missing one becomes a CourseError that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "a library").partition(".")[0]
        raise CourseError(
            f"{library} is not installed, and notebooks cannot be made without it: "
            'pip install "gptdojo[class]" installs nbgrader, jupytext and what they need'
        ) from None
