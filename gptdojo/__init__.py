"""Checks, grades and studies a course made of exercises; knows nothing of the course's subject.

`from gptdojo import check` is what a notebook needs: it also makes the course's own modules importable.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .course import CourseError, find_course

if TYPE_CHECKING:
    from .catalog import alternative, claim, fingerprint, misconception
    from .implementation import Provided
    from .notebook import check

__version__ = "0.1.0"
__all__ = ["Provided", "alternative", "check", "claim", "fingerprint", "misconception"]

_HOMES = {"check": "notebook", "Provided": "implementation"} | dict.fromkeys(
    ("alternative", "claim", "fingerprint", "misconception"), "catalog"
)


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for, so that the command line starts at once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


with suppress(CourseError):  # outside a course there is nothing to make importable; commands that need one say so
    find_course().importable()
