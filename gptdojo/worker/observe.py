"""Sees which torch functions a call uses, under whatever name it reaches them, and how large the tensors get that it makes."""

import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor
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

    def __init__(self, observer: "Observer") -> None:
        super().__init__()
        self.observer = observer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[-1]
        if matches(name, self.observer.forbids):
            self.observer.seen.add(name)
        result = func(*args, **(kwargs or {}))
        if self.observer.measures:
            self.observer.measure(result)
        return result


class Observer(ExitStack):
    """While entered, collects in `seen` the names of forbidden torch functions and operators that were called.

    With `measures`, `largest` is how many elements the largest tensor holds that was made meanwhile, the `given` ones and views
    of them left out. An observation, not a proof: code in the same process can hide from it.
    """

    def __init__(self, forbids: Sequence[str], *, measures: bool = False, given: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.forbids = forbids
        self.seen: set[str] = set()
        self.measures = measures
        self.largest = 0
        self._given = {storage for storage in map(_storage, given) if storage}

    def __enter__(self) -> "Observer":
        super().__enter__()
        if self.forbids or self.measures:
            self.enter_context(_Functions(self.forbids, self.seen))
            self.enter_context(_Operators(self))
            self.callback(threading.setprofile, threading.getprofile())
            threading.setprofile(self._begin_thread)
        return self

    def _begin_thread(self, frame: Any, event: str, argument: Any) -> None:
        """Modes belong to one thread: a thread that starts meanwhile enters its own, and keeps them until it ends."""
        sys.setprofile(None)
        _Functions(self.forbids, self.seen).__enter__()
        _Operators(self).__enter__()

    def measure(self, result: Any) -> None:
        """Note how many elements the tensors of an operator's result hold."""
        if isinstance(result, tuple | list):
            for item in result:
                self.measure(item)
        elif isinstance(result, Tensor) and _storage(result) not in self._given:
            self.largest = max(self.largest, _held(result))


def _storage(tensor: Tensor) -> int:
    """Where the memory of a tensor begins; 0 if it has none of its own."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0


def _held(tensor: Tensor) -> int:
    """How many elements a tensor holds in memory: an expanded one fewer than its shape says, one without memory none."""
    if tensor.is_meta:
        return 0
    try:
        return min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size())
    except (RuntimeError, NotImplementedError):  # a sparse tensor has no storage
        return int(tensor._values().numel()) if tensor.is_sparse else tensor.numel()
