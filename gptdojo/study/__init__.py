"""Studying: interview cards, the mock interview, the bug hunt, the test that you write.

`from gptdojo.study import study, interview, bughunt, writetest` is what a notebook needs.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cells import bughunt, interview, study, writetest

__all__ = ["bughunt", "interview", "study", "writetest"]


def __getattr__(name: str) -> Any:
    """Import what a notebook asks for when it asks for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from . import cells

    return getattr(cells, name)
