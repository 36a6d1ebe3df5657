"""Comparisons for properties. Each failure carries what the learner is shown."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .comparing import Grid, compare_numbers, counts, leaves
from .faults import Evidence, LearnerError, Mismatch
from .implementation import Implementation
from .show import Raised

__all__ = [
    "Grid", "expect", "expect_close", "expect_gradients", "expect_kind", "expect_raised", "expect_raises", "expect_reference",
    "in_float64", "tensors_in",
]  # fmt: skip


def expect(
    condition: bool,
    message: str,
    *,
    inputs: Mapping[str, Any] | None = None,
    expected: Any = None,
    got: Any = None,
    grid: Grid | None = None,
) -> None:
    """Fail with `message` unless `condition` holds."""
    if not bool(condition):
        raise Mismatch(message, Evidence(dict(inputs or {}), expected, got, grid))


def expect_reference(
    impl: Implementation,
    oracle: Callable,
    *args: Any,
    at: Callable[[Any], Any] | None = None,
    what: str = "the result",
    grid: Grid | None = None,
    tolerance: float | None = None,
) -> Any:
    """Compare `impl(*args)` with `oracle(*args)`, which is computed first and in float64; return what the learner returned.

    Floating results must have the dtype of the first floating argument. `at` is applied to both results before they are
    compared, for a rung that looks at a part only.
    """
    expected = oracle(*in_float64(args))
    got = impl(*args)
    dtype = next((t.dtype for t in tensors_in(args) if t.is_floating_point()), None)
    inputs = impl.label(impl.name if impl.name in impl.parameters else "__init__", args)
    ours, theirs = got, expected
    if at is not None:
        # of the right kind all through, so that `at` finds its part; `what` names the part, this is about all of it
        list(leaves(got, expected, "the result", inputs, None))
        ours, theirs = at(got), at(expected)
    expect_close(impl, ours, theirs, inputs=inputs, what=what, dtype=dtype, tolerance=tolerance, grid=grid)
    return got


def expect_close(
    impl: Implementation,
    got: Any,
    expected: Any,
    *,
    inputs: Mapping[str, Any] | None = None,
    what: str = "the result",
    dtype: torch.dtype | None = None,
    tolerance: float | None = None,
    grid: Grid | None = None,
) -> None:
    """Compare type, dtype, shape, finiteness and values of two results, which may be tuples, lists or dicts of such.

    `dtype` is what a floating result must have (None: any floating dtype). The error is max|got - expected| / max(1, max|expected|)
    and is bounded by `tolerance`, by default the exercise's; integers and booleans are compared exactly unless it is given.
    """
    limit = impl.tolerance if tolerance is None else tolerance
    for name, ours, theirs in leaves(got, expected, what, inputs or {}, dtype):
        if isinstance(theirs, Tensor | float):
            bound = 0.0 if tolerance is None and counts(theirs) else limit
            compare_numbers(impl, ours, theirs, name, Evidence(dict(inputs or {}), theirs, ours, grid), bound)
        elif ours != theirs:
            raise Mismatch(
                f"{name} is {ours!r:.80}, expected {theirs!r:.80}", Evidence(dict(inputs or {}), theirs, ours, grid)
            )


def expect_kind(impl: Implementation, expected: Tensor, *args: Any) -> Tensor:
    """Return `impl(*args)`, once it is a finite float32 tensor of the shape of `expected`, whatever its values are."""
    got: Tensor = impl(*args)
    inputs = impl.label(impl.name, args)
    expect_close(impl, got, expected, inputs=inputs, dtype=torch.float32, tolerance=math.inf)
    return got


def expect_gradients(
    impl: Implementation, oracle: Callable, args: tuple, cotangent: Tensor, names: Sequence[str]
) -> None:
    """Compare the gradients for all floating tensors in `args`, called `names`, with those of `oracle` in float64.

    `cotangent` is the gradient of the result, of its shape.
    """
    exact = in_float64(args)
    places = [place for place, tensor in enumerate(tensors_in(exact)) if tensor.is_floating_point()]
    parts = [tensors_in(exact)[place].requires_grad_() for place in places]
    expected = torch.autograd.grad(oracle(*exact), parts, cotangent.double())
    inputs = impl.label(impl.name, args) | {"gradient of the result": cotangent}
    try:
        _, got = impl.vjp(args, cotangent, wrt=places)
    except LearnerError as error:
        if "does not require grad" not in error.said:
            raise
        got = [None] * len(places)  # autograd's way to say that nothing of the result depends on any of them
    for name, ours, theirs in zip(names, got, expected, strict=True):
        expect(ours is not None, f"no gradient reaches {name}: what is computed from it was cut off", inputs=inputs)
        expect_close(impl, ours, theirs, inputs=inputs, what=f"the gradient for {name}", dtype=torch.float32)


def expect_raises(impl: Implementation, kind: type[Exception], *args: Any, because: str) -> None:
    """Fail unless `impl(*args)` raises `kind` (or a class derived from it)."""
    inputs = impl.label(impl.name if impl.name in impl.parameters else "__init__", args)
    expect_raised(kind, lambda: impl(*args), inputs=inputs, because=because)


def expect_raised(kind: type[Exception], call: Callable[[], Any], *, inputs: Mapping[str, Any], because: str) -> None:
    """Fail unless `call()`, which uses the learner's code, raises `kind` (or a class derived from it)."""
    try:
        got = call()
    except LearnerError as error:
        if "NotImplementedError" in error.types and kind is not NotImplementedError:
            raise  # a stub, though a NotImplementedError is a RuntimeError too
        if kind.__name__ in error.types:
            return
        raised = f"it raised {error.types[0]}"
        got = Raised(f"{error.types[0]}: {error.said}")
    else:
        raised = "it returned a result"
    wanted = "an error" if kind is Exception else kind.__name__
    message = f"expected {wanted} because {because}, but {raised}"
    raise Mismatch(message, Evidence(dict(inputs), Raised(wanted), got))


def in_float64(value: Any) -> Any:
    """Return a copy of a value with its floating tensors in float64; the other tensors are cloned."""
    if isinstance(value, Tensor):
        return value.detach().to(torch.float64, copy=True) if value.is_floating_point() else value.clone()
    if isinstance(value, tuple | list):
        return type(value)(in_float64(item) for item in value)
    if isinstance(value, dict):
        return {key: in_float64(item) for key, item in value.items()}
    return value


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors of a value, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in tensors_in(item)] if isinstance(value, tuple | list) else []
