"""The `impl` that a property is given: the learner's function or class, wherever it lives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from .faults import ArgumentChanged, Evidence, ForbiddenCall, LearnerError, Stopped
from .text import printable
from .worker.endpoint import Endpoint
from .worker.values import BadValue, Opaque, ValueCodec

MAX_PROVIDED = 10_000


class Provided:
    """Base of objects that a property hands to the learner's code; `exposes` names the methods that may be called."""

    exposes: tuple[str, ...] = ()


class Transport(Protocol):
    """Carries one request to the learner's code; `call_back` answers what it asks meanwhile."""

    def request(self, message: dict, call_back: "Session") -> dict:
        """Return the reply; raises Stopped when there can be none."""


class LocalTransport:
    """The learner's code in this process."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._answer: Session | None = None
        self._endpoint = Endpoint(namespace, self._call_back)

    def _call_back(self, message: dict) -> dict:
        assert self._answer is not None
        return self._answer.answer(message)

    def request(self, message: dict, call_back: "Session") -> dict:
        """Call the endpoint directly, so that a debugger can step in."""
        outer, self._answer = self._answer, call_back
        try:
            return self._endpoint.request(message)
        finally:
            self._answer = outer


@dataclass
class Session(ValueCodec):
    """One conversation with a learner's namespace."""

    transport: Transport
    provided: list[Any] = field(default_factory=list)
    grievance: AssertionError | None = None
    exchanges: int = 0
    ended: bool = False

    def call(
        self, handle: int | None, name: str, args: Sequence, kwargs: Mapping, forbids: Sequence[str], **more: Any
    ) -> dict:
        """Send a call and return its reply, whose `value` and `gradients` are decoded."""
        message = {
            "op": "call", "handle": handle, "name": name, "forbids": list(forbids),
            "args": self.encode(tuple(args)), "kwargs": self.encode(dict(kwargs)),
            "wrt": list(more.get("wrt", ())), "cotangents": self.encode(list(more.get("cotangents", ()))),
            "measures": bool(more.get("measures")),
        }  # fmt: skip
        self.grievance = None
        self.exchanges += 1
        try:
            reply = self.transport.request(message, self)
        except Stopped:
            self.ended = True
            raise
        if self.grievance is not None:
            raise self.grievance
        try:
            return self._checked(reply)
        except (BadValue, KeyError, TypeError) as error:
            raise Stopped("crashed", f"the reply of the submission's process makes no sense: {error}"[:300]) from None

    def _checked(self, reply: dict) -> dict:
        if reply["op"] == "raise":
            types, where = _texts(reply["types"]), _texts(reply["where"])
            return {"op": "raise", "types": types or ("Exception",), "message": _text(reply["message"]), "where": where}
        if reply["op"] != "return":
            raise BadValue("neither a result nor an exception")
        changed = [index for index in reply["changed"] if type(index) is int]
        value, gradients = self.decode(reply["value"]), self.decode(reply["gradients"])
        return {
            "op": "return",
            "value": value,
            "gradients": gradients,
            "changed": changed,
            "forbidden": _texts(reply["forbidden"]),
            "largest": _size(reply["largest"]),
        }

    def answer(self, message: dict) -> dict:
        """Answer a call-back of the learner's code."""
        self.exchanges += 1
        try:
            target = self.provided[message["object"]]
            method = message["method"]
            if isinstance(target, Provided):
                if method not in target.exposes:
                    raise AttributeError(f"{type(target).__name__} has no {method}, only {', '.join(target.exposes)}")
                target = getattr(target, method)
            args, kwargs = self.decode(message["args"]), self.decode(message["kwargs"])
        except (BadValue, KeyError, IndexError, TypeError, AttributeError) as error:
            return {"op": "raise", "type": type(error).__name__, "message": str(error)[:500]}
        try:
            with torch.no_grad():
                return {"op": "return", "value": self.encode(target(*args, **kwargs))}
        except AssertionError as error:
            self.grievance = self.grievance or error
            return {"op": "raise", "type": "AssertionError", "message": str(error)[:500]}
        except Exception as error:
            return {"op": "raise", "type": type(error).__name__, "message": str(error)[:500]}

    def encode_object(self, value: Any) -> list:
        """What is the grader's own travels as a number."""
        if isinstance(value, Proxy):
            return ["handle", value._handle]
        if not isinstance(value, Provided) and not callable(value):
            raise TypeError(f"a property passes {type(value).__name__}; derive it from gptdojo.Provided")
        numbers = [number for number, known in enumerate(self.provided) if known is value]
        if not numbers:
            if len(self.provided) >= MAX_PROVIDED:
                raise RuntimeError("too many objects were handed to one implementation")
            self.provided.append(value)
            numbers = [len(self.provided) - 1]
        if isinstance(value, Provided):
            return ["provided", numbers[0], type(value).__name__, list(value.exposes)]
        return ["callback", numbers[0]]

    def decode_object(self, tag: str, fields: list) -> Any:
        """What is the grader's own comes back as itself, an object of the learner's as a proxy."""
        if tag in ("callback", "provided") and len(fields) == 1 and type(fields[0]) is int:
            if not 0 <= fields[0] < len(self.provided):
                raise BadValue("an object that was never handed out")
            return self.provided[fields[0]]
        if tag == "handle" and len(fields) == 2 and type(fields[0]) is int:
            return Handle(fields[0], _text(fields[1]))
        if tag == "opaque" and len(fields) == 1:
            return Opaque(_text(fields[0]))
        return super().decode_object(tag, fields)


@dataclass(frozen=True)
class Handle:
    """An object that lives on the learner's side, as a reply names it."""

    number: int
    type_name: str


def _text(value: Any) -> str:
    if type(value) is not str:
        raise BadValue("expected text")
    return printable(value[:2_000])


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(_text(value) for value in values[:20])


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise BadValue("expected a size")
    return value


class Implementation:
    """One exercise of a learner's. Calling it calls the learner's function, with copies of the arguments."""

    def __init__(
        self,
        transport: Transport,
        name: str,
        *,
        tolerance: float = 0.0,
        forbids: Sequence[str] = (),
        parameters: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.name = name
        self.tolerance = tolerance
        self.forbids = forbids
        self.parameters = parameters or {}
        self.errors: list[float] = []
        self._session = Session(transport)

    def __repr__(self) -> str:
        return self.name

    @property
    def ended(self) -> bool:
        """Whether the learner's code can be asked no more."""
        return self._session.ended

    @property
    def exchanges(self) -> int:
        """How many calls and call-backs there have been."""
        return self._session.exchanges

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the learner's function; raises LearnerError, ArgumentChanged, ForbiddenCall or Stopped."""
        return self._call(None, self.name, args, kwargs)["value"]

    def vjp(
        self, args: Sequence, cotangents: Sequence[Tensor] | Tensor, wrt: Sequence[int]
    ) -> tuple[Any, list[Tensor | None]]:
        """Return the result and its gradients: for each output a cotangent, for each of `wrt` (the i-th tensor argument) a gradient."""
        given = [cotangents] if isinstance(cotangents, Tensor) else list(cotangents)
        reply = self._call(None, self.name, args, {}, wrt=wrt, cotangents=given)
        return reply["value"], reply["gradients"]

    def measured(self, *args: Any) -> tuple[Any, int]:
        """Return the result, and how many elements the largest tensor holds that the call made; the arguments do not count.

        An observation from inside the learner's process: what torch's operators return, which code can hide from.
        """
        reply = self._call(None, self.name, args, {}, measures=True)
        return reply["value"], reply["largest"]

    def label(self, method: str, args: Sequence) -> dict[str, Any]:
        """Return the arguments by name, as the solution's signature has them."""
        names = list(self.parameters.get(method, ()))
        names += [f"argument {number + 1}" for number in range(len(names), len(args))]
        return dict(zip(names, args, strict=False))

    def _call(self, handle: int | None, name: str, args: Sequence, kwargs: Mapping, **more: Any) -> dict:
        method = name if handle is not None or name in self.parameters else "__init__"
        evidence = Evidence(inputs=self.label(method, args) | dict(kwargs))
        reply = self._session.call(handle, name, args, kwargs, self.forbids, **more)
        if reply["op"] == "raise":
            raise LearnerError(reply["types"], reply["message"], reply["where"], evidence)
        if reply["forbidden"]:
            called = ", ".join(sorted(reply["forbidden"]))
            raise ForbiddenCall(f"it calls {called}, which is what this exercise asks you to write yourself", evidence)
        if reply["changed"]:
            raise ArgumentChanged(
                "your code changed a tensor that it was given; work on a copy, or build a tensor of your own", evidence
            )
        if isinstance(reply["value"], Handle):
            reply["value"] = Proxy(self, reply["value"])
        return reply


class Proxy:
    """An object of the learner's: its methods can be called, its attributes cannot be seen."""

    def __init__(self, implementation: Implementation, handle: Handle) -> None:
        self._implementation = implementation
        self._handle = handle.number
        self._type_name = handle.type_name

    def __repr__(self) -> str:
        return f"<a {self._type_name}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self._implementation._call(self._handle, name, args, kwargs)["value"]

    def __len__(self) -> int:
        length = self._implementation._call(self._handle, "__len__", (), {})["value"]
        if type(length) is not int or not 0 <= length < 2**40:
            raise LearnerError(("TypeError",), f"len() gave {length!r}", (), Evidence())
        return length


def local(function: Any, name: str, **facts: Any) -> Implementation:
    """Return the implementation that `function` (or a class) is, in this process."""
    return Implementation(LocalTransport({name: function}), name, **facts)
