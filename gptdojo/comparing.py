"""Compares what a learner returned with what was expected: kind first, then values."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .faults import Evidence, Mismatch
from .implementation import Implementation, Proxy
from .show import show
from .worker.values import Opaque


@dataclass(frozen=True)
class Grid:
    """Two boolean matrices: which row should see which column, and which does."""

    expected: Tensor
    got: Tensor
    rows: str = "query"
    columns: str = "key"


def leaves(
    got: Any, expected: Any, what: str, inputs: Mapping[str, Any], dtype: torch.dtype | None
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, what was got and what was expected of each part that is no container, each of the right kind."""
    compare_kind(got, expected, what, inputs, dtype)
    if isinstance(expected, tuple | list):
        for number, (ours, theirs) in enumerate(zip(got, expected, strict=True)):
            yield from leaves(ours, theirs, f"{what}[{number}]", inputs, dtype)
    elif isinstance(expected, dict):
        for key, theirs in expected.items():
            yield from leaves(got[key], theirs, f"{what}[{key!r}]", inputs, dtype)
    else:
        yield what, got, expected


def kind_of(value: Any) -> str:
    """Return what a value is, in words."""
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{'an' if dtype.startswith('int') else 'a'} {dtype} tensor of shape {tuple(value.shape)}"
    if value is None:
        return "None"
    if isinstance(value, Opaque | Proxy):
        return repr(value).strip("<>")
    article = "an" if type(value).__name__[0] in "aeiou" else "a"
    size = f" of {len(value)}" if isinstance(value, tuple | list | dict) else ""
    return f"{article} {type(value).__name__}{size}"


def compare_kind(got: Any, expected: Any, what: str, inputs: Mapping[str, Any], dtype: torch.dtype | None) -> None:
    """Fail unless `got` is the same kind of thing as `expected`: type, dtype, shape, length, keys."""

    def fail(problem: str) -> None:
        raise Mismatch(f"{what} is {problem}", Evidence(dict(inputs), expected, got))

    if isinstance(expected, Tensor):
        wanted = kind_of(expected if dtype is None or not expected.is_floating_point() else expected.to(dtype))
        if not isinstance(got, Tensor):
            hint = "; is the `return` missing?" if got is None else ""
            fail(f"{kind_of(got)}, expected {wanted}{hint}")
        if got.shape != expected.shape or not _same_family(got.dtype, expected.dtype):
            fail(f"{kind_of(got)}, expected {wanted}")
        if dtype is not None and expected.is_floating_point() and got.dtype != dtype:
            fail(f"{kind_of(got)}, expected the dtype of the input: {wanted}")
    elif isinstance(expected, tuple | list):
        if not isinstance(got, tuple | list) or len(got) != len(expected):
            fail(f"{kind_of(got)}, expected {kind_of(expected)}")
    elif isinstance(expected, dict):
        if not isinstance(got, dict) or got.keys() != expected.keys():
            keys = f" with the keys {show(sorted(got, key=str))}" if isinstance(got, dict) else ""
            fail(f"{kind_of(got)}{keys}, expected the keys {sorted(expected, key=str)}")
    elif isinstance(expected, bool) or expected is None or isinstance(expected, str):
        if type(got) is not type(expected):
            fail(f"{kind_of(got)}, expected {kind_of(expected)}")
    elif isinstance(expected, int | float):
        number = (isinstance(got, Tensor) and got.dim() == 0) or type(got) in (int, float)
        if not number or (isinstance(expected, int) and not _is_integer(got)):
            fail(f"{kind_of(got)}, expected {kind_of(expected)}")


def _is_integer(value: Any) -> bool:
    return type(value) is int or (isinstance(value, Tensor) and _family(value.dtype) == "integer")


def _same_family(one: torch.dtype, other: torch.dtype) -> bool:
    return _family(one) == _family(other)


def _family(dtype: torch.dtype) -> str:
    if dtype == torch.bool:
        return "bool"
    return "floating" if dtype.is_floating_point else "complex" if dtype.is_complex else "integer"


def compare_numbers(impl: Implementation, got: Any, expected: Any, what: str, evidence: Evidence, limit: float) -> None:
    """Fail unless numbers or tensors of one kind differ by at most `limit`, relative to the largest expected value."""
    ours, theirs = _as_tensor(got), _as_tensor(expected)
    same = (ours == theirs) | (ours.isnan() & theirs.isnan())
    if bool(same.all()):
        impl.errors.append(0.0)
        return
    if evidence.grid is None and theirs.dtype == torch.bool and theirs.dim() >= 2:
        evidence.grid = _first_difference(theirs, ours)
    wide = torch.complex128 if theirs.is_complex() else torch.float64
    ours, theirs = ours.to(wide), theirs.to(wide)
    unfinite = ~ours.isfinite() & theirs.isfinite()
    if bool(unfinite.any()):
        where = _place(unfinite)
        value = "NaN" if bool(ours[where].isnan()) else "infinite"
        raise Mismatch(f"{what} is {value}{_at(where)}, expected {theirs[where].item() or 0.0:.6g}", evidence)
    scale = max(1.0, theirs[theirs.isfinite()].abs().max().item() if bool(theirs.isfinite().any()) else 1.0)
    difference = torch.where(same, 0.0, (ours - theirs).abs() / scale).nan_to_num(nan=torch.inf, posinf=torch.inf)
    error = difference.max().item()
    # what a tolerance of the exercise's would have to be for this error to matter as much as it does here
    impl.errors.append(error * impl.tolerance / limit if limit else error)
    if error > limit or limit == 0:
        where = _place(
            difference == error if error else ~same
        )  # integers beyond 2**53 may differ by less than float64 shows
        got_text, expected_text = _apart(_as_tensor(got)[where].item(), _as_tensor(expected)[where].item())
        raise Mismatch(f"{what} is {got_text}{_at(where)}, expected {expected_text}", evidence)


def _as_tensor(value: Any) -> Tensor:
    """Return a tensor or number as a tensor; Python's numbers keep their precision."""
    if isinstance(value, Tensor):
        return value.detach()
    try:
        return torch.tensor(float(value), dtype=torch.float64)
    except OverflowError:
        return torch.tensor(math.inf if value > 0 else -math.inf, dtype=torch.float64)


def counts(value: Any) -> bool:
    """Say whether a value is a tensor of whole numbers or of booleans, which are compared exactly."""
    return isinstance(value, Tensor) and _family(value.dtype) in ("integer", "bool")


def _apart(one: Any, other: Any) -> tuple[str, str]:
    """Return two numbers as texts: whole ones exactly, others with as many digits as tell them apart."""
    if isinstance(one, int) and isinstance(other, int):
        return str(one), str(other)
    one, other = one or 0.0, other or 0.0  # minus zero says nothing to a reader
    texts = [(f"{one:.{digits}g}", f"{other:.{digits}g}") for digits in (6, 9, 17)]
    return next((pair for pair in texts if pair[0] != pair[1]), texts[-1])


def _place(marked: Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i in marked.nonzero()[0])


def _at(index: tuple[int, ...]) -> str:
    return f" at [{', '.join(map(str, index))}]" if index else ""


def _first_difference(expected: Tensor, got: Tensor) -> Grid:
    """The first pair of matrices that differ, of two batches of boolean matrices."""
    matrices = zip(expected.reshape(-1, *expected.shape[-2:]), got.reshape(-1, *got.shape[-2:]), strict=True)
    pairs = [pair for pair in matrices if not torch.equal(*pair)] or [
        (expected.reshape(-1, *expected.shape[-2:])[0],) * 2
    ]
    return Grid(*pairs[0])
