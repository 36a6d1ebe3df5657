"""Sees which torch functions a call uses, under whatever name it reaches them."""

import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from typing import Any

from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


def matches(name: str, forbids: Sequence[str]) -> bool:
    """Say whether a function of this name is one of `forbids`, which may hold `*`; leading underscores do not count."""
    return any(fnmatchcase(name.lstrip("_"), pattern) for pattern in forbids)


class _Functions(TorchFunctionMode):
    def __init__(self, forbids: Sequence[str], seen: set[str]) -> None:
        super().__init__()
        self.forbids, self.seen = forbids, seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if matches(name, self.forbids):
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler at the first call, which takes seconds

    def __init__(self, forbids: Sequence[str], seen: set[str]) -> None:
        super().__init__()
        self.forbids, self.seen = forbids, seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[-1]
        if matches(name, self.forbids):
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


class Observer(ExitStack):
    """While entered, collects in `seen` the names of forbidden torch functions and operators that were called.

    An observation, not a proof: code in the same process can hide from it.
    """

    def __init__(self, forbids: Sequence[str]) -> None:
        super().__init__()
        self.forbids = forbids
        self.seen: set[str] = set()

    def __enter__(self) -> "Observer":
        super().__enter__()
        if self.forbids:
            self.enter_context(_Functions(self.forbids, self.seen))
            self.enter_context(_Operators(self.forbids, self.seen))
            self.callback(threading.setprofile, threading.getprofile())
            threading.setprofile(self._begin_thread)
        return self

    def _begin_thread(self, frame: Any, event: str, argument: Any) -> None:
        """Modes belong to one thread: a thread that starts meanwhile enters its own, and keeps them until it ends."""
        sys.setprofile(None)
        _Functions(self.forbids, self.seen).__enter__()
        _Operators(self.forbids, self.seen).__enter__()
