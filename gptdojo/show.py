"""Values as short text: exact where they are small, summarized where they are not."""

from typing import Any

import torch
from torch import Tensor

from .worker.values import Opaque


class Raised(str):
    """An exception as a result: shown as it is, without quotes."""

    def __repr__(self) -> str:
        return f"raises {self}"


MAX_ELEMENTS = 72
MAX_TEXT = 600
MAX_ROWS = 24
HALVES = (torch.float16, torch.bfloat16)


def show(value: Any) -> str:
    """Return a value as text that fits on a screen."""
    return _bounded(_show(value))


def show_argument(value: Any) -> str:
    """Return what was given to the learner's code: as `show`, and what else about a tensor decides how code fares with it."""
    notes = []
    if isinstance(value, Tensor):
        notes += [str(value.dtype).removeprefix("torch.")] * (value.dtype in HALVES)
        notes += ["not contiguous in memory"] * (not value.is_contiguous())
    return show(value) + f"   ({', '.join(notes)})" * bool(notes)


def _show(value: Any) -> str:
    if isinstance(value, Tensor):
        return show_tensor(value)
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{key!r}: {_brief(item)}" for key, item in list(value.items())[:12])
            + _more(len(value), 12)
            + "}"
        )
    if isinstance(value, list | tuple):
        opening, closing = "[]" if isinstance(value, list) else "()"
        return opening + ", ".join(_brief(item) for item in value[:12]) + _more(len(value), 12) + closing
    if isinstance(value, float):
        return f"{value or 0.0:.6g}"
    if isinstance(value, type) and issubclass(value, BaseException):
        return f"raises {value.__name__}"
    if callable(value) and hasattr(value, "__name__"):
        return f"a function ({value.__name__})"
    if isinstance(value, str | bytes | int | bool | torch.dtype | Opaque | Raised) or value is None:
        return repr(value)
    return f"a {type(value).__name__}"


def _brief(value: Any) -> str:
    if isinstance(value, Tensor) and value.numel() > 8:
        return f"<{_kind(value)}>"
    return _show(value)


def _more(count: int, limit: int) -> str:
    return f", ... {count - limit} more" if count > limit else ""


def _kind(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def show_tensor(value: Tensor) -> str:
    """Return a tensor as nested rows; a large one by its shape and first row."""
    value = value.detach()
    digits = _digits(value) if value.numel() <= MAX_ELEMENTS else 0
    rows = _rows(value, digits, 0) if value.numel() <= MAX_ELEMENTS else None
    if rows is not None and rows.count("\n") < MAX_ROWS:
        return (
            rows
            if value.dim() < 2 or value.numel() == 0
            else rows + f"   (shape {tuple(value.shape)})" * ("\n" not in rows)
        )
    narrow = value.shape[-1] == 1  # a row of one number tells too little
    row = value.flatten()[:6] if narrow else value.reshape(-1, value.shape[-1])[0][:6]
    part = "first numbers are" if narrow else "first row starts"
    return f"a tensor of shape {tuple(value.shape)}, its {part} {_rows(row, _digits(row), 0)}"


def _digits(value: Tensor) -> int:
    if not value.is_floating_point():
        return 0
    finite = value[value.isfinite()].to(torch.float64)
    for digits in (0, 1, 2):
        if torch.equal(finite, (finite * 10**digits).round() / 10**digits) or torch.allclose(
            finite, (finite * 10**digits).round() / 10**digits, rtol=0, atol=1e-6
        ):
            return digits
    return 4


def _number(value: Any, digits: int) -> str:
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, float):
        value = value or 0.0  # minus zero says nothing to a reader
        big = abs(value) >= 1e5 or 0 < abs(value) < 10 ** -max(digits, 1) / 2
        return (
            f"{value:.4g}"
            if big
            else f"{value:.{digits}f}" + ("." if digits == 0 and value == value and abs(value) < 1e5 else "")
        )
    return str(value)


def _rows(value: Tensor, digits: int, indent: int) -> str:
    if value.dim() == 0:
        return _number(value.item(), digits)
    if value.dim() == 1:
        cells = [_number(item, digits) for item in value.tolist()]
        return "[" + ", ".join(cells) + "]"
    inner = [_rows(row, digits, indent + 1) for row in value]
    flat = "[" + ", ".join(inner) + "]"
    if "\n" not in flat and len(flat) <= 50:
        return flat
    return "[" + (",\n" + " " * (indent + 1)).join(inner) + "]"


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " ..."
