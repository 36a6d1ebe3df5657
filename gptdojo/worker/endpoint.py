"""Answers the grader's requests on the learner's functions and objects."""

import builtins
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .observe import Observer
from .values import BadValue, ValueCodec

Transport = Callable[[dict], dict]
MAX_MESSAGE = 2_000
MAX_TRACEBACK_LINES = 12
NUMBERED = re.compile(r", \d+>$")  # sources of one label are numbered; the learner wrote only one of them


class Endpoint(ValueCodec):
    """One learner's namespace. `request` takes a message and returns the reply; `call_back` reaches the grader meanwhile."""

    def __init__(self, namespace: Mapping[str, Any], call_back: Transport) -> None:
        self.namespace = namespace
        self.call_back = call_back
        self.objects: dict[int, Any] = {}
        self.next_handle = 1

    def request(self, message: dict) -> dict:
        """Answer a `call` or a `release`."""
        if message["op"] == "release":
            self.objects.pop(message["handle"], None)
            return {"op": "return", "value": None}
        try:
            return self._call(message)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit and the like are answers too: the learner's code raised them
            if getattr(error, "is_time_limit", False):
                raise
            return describe_exception(error)

    def _call(self, message: dict) -> dict:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the learner's file switched off for good
            return self._call_with_gradients(message)

    def _call_with_gradients(self, message: dict) -> dict:
        target = self._target(message)
        decoder = _Arguments(self)
        args: tuple[Any, ...] = decoder.decode(message["args"])
        kwargs: dict[str, Any] = decoder.decode(message["kwargs"])
        tensors = decoder.tensors
        for index in message["wrt"]:
            tensors[index].requires_grad_()
        before = [tensor.detach().clone() for tensor in tensors]
        with Observer(message["forbids"], measures=message["measures"], given=tensors) as observer:
            value = target(*args, **kwargs)
            gradients = self._gradients(value, message, tensors) if message["wrt"] else None
        is_instance = isinstance(target, type) and type(value) is target
        return {
            "op": "return",
            "value": self._keep(value) if is_instance else self.encode(value, tensors),
            "gradients": self.encode(gradients),
            "changed": [i for i, (old, new) in enumerate(zip(before, tensors, strict=True)) if not _same(old, new)],
            "forbidden": sorted(observer.seen),
            "largest": observer.largest,
        }

    def _target(self, message: dict) -> Callable:
        if message["handle"] is None:
            return self.namespace[message["name"]]
        return getattr(self.objects[message["handle"]], message["name"])

    def _gradients(self, value: Any, message: dict, tensors: list[Tensor]) -> list:
        results = value if isinstance(value, tuple | list) else [value]
        outputs = [item for item in results if isinstance(item, Tensor)]
        if not outputs:
            raise BadValue(f"it is a {type(value).__name__}, expected a tensor to take gradients of")
        cotangents = self.decode(message["cotangents"])
        if len(outputs) != len(cotangents):
            raise BadValue(f"it holds {len(outputs)} tensors, expected {len(cotangents)} to take gradients of")
        inputs = [tensors[index] for index in message["wrt"]]
        # a result that does not depend on the inputs adds nothing; where none depends on them, autograd says so
        pairs = list(zip(outputs, cotangents, strict=True))
        pairs = [pair for pair in pairs if pair[0].requires_grad] or pairs
        kept, weights = zip(*pairs, strict=True)
        return list(torch.autograd.grad(kept, inputs, weights, allow_unused=True))

    def _keep(self, value: Any) -> list:
        handle, self.next_handle = self.next_handle, self.next_handle + 1
        self.objects[handle] = value
        return ["handle", handle, type(value).__name__[:100]]

    def encode_object(self, value: Any) -> list:
        """Objects of the grader's go back as what they are; the learner's own are known by their type only."""
        if type(value) in (_CallBack, _Method):
            return ["callback", value.number]
        number = getattr(type(value), "_provided_number", None)
        if number is not None:
            return ["provided", number]
        for handle, kept in self.objects.items():
            if kept is value:
                return ["handle", handle, type(value).__name__[:100]]
        return super().encode_object(value)

    def decode_object(self, tag: str, fields: list) -> Any:
        """A call-back becomes a function, a provided object a stand-in, a handle the object itself."""
        if tag == "callback":
            return _CallBack(self, fields[0])
        if tag == "provided":
            return _stand_in(self, *fields)
        if tag == "handle":
            return self.objects[fields[0]]
        return super().decode_object(tag, fields)

    def ask(self, number: int, method: str | None, args: tuple, kwargs: dict) -> Any:
        """Call an object of the grader's, and return or raise what it does."""
        with _without_modes():
            reply = self.call_back(
                {
                    "op": "callback",
                    "object": number,
                    "method": method,
                    "args": self.encode(args),
                    "kwargs": self.encode(kwargs),
                }
            )
            if reply["op"] == "return":
                return self.decode(reply["value"])
        kind = getattr(builtins, reply["type"], RuntimeError)
        raise (kind if isinstance(kind, type) and issubclass(kind, Exception) else RuntimeError)(reply["message"])


class _Arguments(ValueCodec):
    """Decodes arguments and remembers the tensors among them, in order."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.tensors: list[Tensor] = []
        self.decode_object = endpoint.decode_object  # type: ignore[method-assign]

    def _decode_tensor(self, depth: int, *fields: Any) -> Tensor:
        tensor = super()._decode_tensor(depth, *fields)
        self.tensors.append(tensor)
        return tensor


class _CallBack:
    def __init__(self, endpoint: Endpoint, number: int) -> None:
        self.endpoint, self.number = endpoint, number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.endpoint.ask(self.number, None, args, kwargs)


class _Method:
    """A method of a stand-in, found on its type so that `len(cache)` works too."""

    def __init__(self, endpoint: Endpoint, number: int, name: str) -> None:
        self.endpoint, self.number, self.name = endpoint, number, name

    def __get__(self, instance: Any, owner: Any) -> "_Method":
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.endpoint.ask(self.number, self.name, args, kwargs)


def _stand_in(endpoint: Endpoint, number: int, name: str, exposes: list) -> Any:
    methods: dict[str, Any] = {method: _Method(endpoint, number, method) for method in exposes}
    return type(name, (), methods | {"_provided_number": number})()


@contextmanager
def _without_modes() -> Iterator[None]:
    """What the grader does on behalf of a call-back is not the learner's."""
    with torch._C.DisableTorchFunction(), torch.utils._python_dispatch._disable_current_modes():
        yield


def _same(old: Tensor, new: Tensor) -> bool:
    if old.shape != new.shape or old.dtype != new.dtype:
        return False
    return torch.equal(old, new) or bool(
        torch.equal(old.nan_to_num(), new.nan_to_num()) and torch.equal(old != old, new != new)
    )


def describe_exception(error: BaseException) -> dict:
    """Return the reply that tells of an exception: the names of its types, its message, and where it was raised."""
    names = [cls.__name__[:100] for cls in type(error).__mro__ if cls not in (object, BaseException)][:20]
    try:
        message = str(error)[:MAX_MESSAGE]
    except BaseException:
        message = "(its message could not be read)"
    if isinstance(error, BadValue):
        names, message = ["BadResult"], f"the result cannot be used: {message}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    learner = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    lines = [
        f"{_place(frame.filename)}, line {frame.lineno}, in {frame.name}: {frame.line or ''}"[:300] for frame in learner
    ]
    return {"op": "raise", "types": names, "message": message, "where": lines[-MAX_TRACEBACK_LINES:]}


def _place(filename: str) -> str:
    """Return the name of a source as the learner knows it: a module by its folder and name, wherever it is installed."""
    return "/".join(NUMBERED.sub(">", filename).split("/")[-2:])


def _is_ours(filename: str) -> bool:
    return filename.rpartition("/")[0] == __file__.rpartition("/")[0]
