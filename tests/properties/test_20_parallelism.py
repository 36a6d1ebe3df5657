"""How right parts of a parallel model are told from wrong ones: what several processes do together, one does alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect, expect_close, in_float64
from gptdojo.implementation import Implementation
from gptdojo.strategies import Values, values
from reference.block import mlp
from tests.strategies.processes import on_processes

WIDTH = st.integers(1, 5)
BATCH = st.sampled_from([(3,), (), (2, 3), (2, 1, 3)])
OTHERS = st.integers(1, 4)


def pieces(v: Values, n: int) -> list[int]:
    """Sizes of the parts of n processes, from 1 to 3 each."""
    return v.integers(1, 3, (n,)).tolist()


def together(impl: Implementation, parts: Sequence[tuple[Any, ...]]) -> tuple[list[Any], list[Tensor]]:
    """Run the implementation in a process for each part, with `all_reduce` as its last argument."""
    return on_processes([lambda all_reduce, part=part: impl(*part, all_reduce) for part in parts])


def inputs_of(impl: Implementation, parts: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """The parts by name, for each process that has its own."""
    labels = [impl.label(impl.name, part) for part in parts]
    return {f"process {rank + 1}: {name}": value for rank, label in enumerate(labels) for name, value in label.items()}


# --- column_parallel_linear -------------------------------------------------------------------------------------------


def expect_columns(impl: Implementation, x: Tensor, weight: Tensor, bias: Tensor, sizes: Sequence[int]) -> None:
    """Compare each process's outputs with its share of the whole layer's."""
    whole = F.linear(*in_float64((x, weight, bias)))
    parts = zip(weight.split(sizes), bias.split(sizes), whole.split(sizes, dim=-1), strict=True)
    for rank, (rows, entries, expected) in enumerate(parts):
        inputs = impl.label(impl.name, (x, rows, entries))
        what = f"what process {rank + 1} of {len(sizes)} returned"
        expect_close(impl, impl(x, rows, entries), expected, inputs=inputs, what=what, dtype=x.dtype)


@claim("column_parallel_linear", rung=1, examples=8)
@given(d_in=WIDTH, n=st.integers(1, 3), v=values())
def test_column_parallel_linear_rows_of_the_weight(impl, d_in, n, v):
    """Without a bias: each process computes the outputs whose rows of the weight it has."""
    sizes = pieces(v, n)
    expect_columns(impl, v.normal(2, d_in), v.normal(sum(sizes), d_in), torch.zeros(sum(sizes)), sizes)


@claim("column_parallel_linear", rung=2, examples=10)
@given(d_in=WIDTH, n=st.integers(1, 3), v=values())
def test_column_parallel_linear_bias(impl, d_in, n, v):
    """Each process adds its own entries of the bias, whole and once."""
    sizes = pieces(v, n)
    expect_columns(impl, v.normal(2, d_in), v.normal(sum(sizes), d_in), v.normal(sum(sizes)) + 1, sizes)


@claim("column_parallel_linear", rung=3, examples=10)
@given(d_in=WIDTH, batch=BATCH, v=values())
def test_column_parallel_linear_any_batch(impl, d_in, batch, v):
    """The input has any number of axes before the last, none or several, and need not be contiguous."""
    sizes = pieces(v, 2)
    expect_columns(impl, v.scattered(v.normal(*batch, d_in)), v.normal(sum(sizes), d_in), v.normal(sum(sizes)), sizes)


# --- row_parallel_linear ----------------------------------------------------------------------------------------------


def expect_rows(impl: Implementation, x: Tensor, weight: Tensor, bias: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Compare what each process returned with the whole layer's output; return what was summed over them."""
    whole = F.linear(*in_float64((x, weight, bias)))
    parts = [(*part, bias) for part in zip(x.split(sizes, dim=-1), weight.split(sizes, dim=1), strict=True)]
    results, sums = together(impl, parts)
    expect_same(impl, results, whole, parts)
    return sums


def expect_same(impl: Implementation, results: Sequence[Any], whole: Tensor, parts: Sequence[tuple[Any, ...]]) -> None:
    for rank, got in enumerate(results):
        what = f"what process {rank + 1} of {len(results)} returned"
        expect_close(impl, got, whole, inputs=inputs_of(impl, parts), what=what, dtype=torch.float32)


def expect_one_sum(impl: Implementation, sums: Sequence[Tensor], expected: Tensor) -> None:
    """One all-reduce, of a tensor as large as the output."""
    message = f"each process called all_reduce {len(sums)} times, expected one call"
    expect(len(sums) == 1, message)
    size = sums[0].numel()
    message = f"all_reduce was given {size} numbers, expected {expected.numel()}, as many as the output has"
    expect(size == expected.numel(), message)


@claim("row_parallel_linear", rung=1, examples=8)
@given(d_out=WIDTH, v=values())
def test_row_parallel_linear_two_processes(impl, d_out, v):
    """Without a bias: the summands of two processes add up to the whole output, on both."""
    sizes = pieces(v, 2)
    expect_rows(impl, v.normal(2, sum(sizes)), v.normal(d_out, sum(sizes)), torch.zeros(d_out), sizes)


@claim("row_parallel_linear", rung=2, examples=10)
@given(d_out=WIDTH, v=values())
def test_row_parallel_linear_bias_once(impl, d_out, v):
    """The bias is in the result once, though both processes have it."""
    sizes = pieces(v, 2)
    expect_rows(impl, v.normal(2, sum(sizes)), v.normal(d_out, sum(sizes)), v.normal(d_out) + 1, sizes)


@claim("row_parallel_linear", rung=3, examples=12)
@given(d_out=WIDTH, n=st.sampled_from([3, 1, 4]), batch=BATCH, v=values())
def test_row_parallel_linear_any_number_of_processes(impl, d_out, n, batch, v):
    """The same holds for one process and for many, and for inputs with any number of axes before the last."""
    sizes = pieces(v, n)
    x = v.scattered(v.normal(*batch, sum(sizes)))
    expect_rows(impl, x, v.normal(d_out, sum(sizes)), v.normal(d_out) + 1, sizes)


@claim("row_parallel_linear", rung=4, examples=5)
@given(d_out=st.integers(2, 5), batch=st.sampled_from([(3,), (2, 3)]), v=values())
def test_row_parallel_linear_communicates_once(impl, d_out, batch, v):
    """There is one all-reduce, of as many numbers as the output has."""
    sizes = [6, 5]
    x, weight, bias = v.normal(*batch, 11), v.normal(d_out, 11), v.normal(d_out)
    expect_one_sum(impl, expect_rows(impl, x, weight, bias, sizes), F.linear(x, weight))


# --- tensor_parallel_mlp ----------------------------------------------------------------------------------------------


def expect_mlp(
    impl: Implementation,
    v: Values,
    sizes: Sequence[int],
    batch: tuple[int, ...] = (2,),
    *,
    biases: float = 1.0,
    d: int = 3,
) -> list[Tensor]:
    """Compare the MLP whose inner channels are dealt out with the reference's; return what was summed."""
    x, fc, proj = v.normal(*batch, d), v.normal(sum(sizes), d), v.normal(d, sum(sizes))
    fc_bias, proj_bias = biases * v.normal(sum(sizes)), biases * (v.normal(d) + 1)
    shares = zip(fc.split(sizes), fc_bias.split(sizes), proj.split(sizes, dim=1), strict=True)
    names = ("c_fc.weight", "c_fc.bias", "c_proj.weight", "c_proj.bias")
    parts = [(x, dict(zip(names, (*share, proj_bias), strict=True))) for share in shares]
    results, sums = together(impl, parts)
    expect_same(impl, results, mlp(*in_float64((x, fc, fc_bias, proj, proj_bias))), parts)
    return sums


@claim("tensor_parallel_mlp", rung=1, examples=10)
@given(d=st.integers(2, 4), v=values())
def test_tensor_parallel_mlp_two_processes(impl, d, v):
    """Without biases: two processes that share the inner channels compute what one computes with all of them."""
    expect_mlp(impl, v, pieces(v, 2), biases=0.0, d=d)


@claim("tensor_parallel_mlp", rung=2, examples=10)
@given(d=st.integers(2, 4), v=values())
def test_tensor_parallel_mlp_biases(impl, d, v):
    """Each inner channel has its own bias before GELU, and the bias of the output is added once."""
    expect_mlp(impl, v, pieces(v, 2), d=d)


@claim("tensor_parallel_mlp", rung=3, examples=10)
@given(n=st.sampled_from([3, 1, 4]), batch=BATCH, v=values())
def test_tensor_parallel_mlp_any_number_of_processes(impl, n, batch, v):
    """The same holds for one process and for many, and for inputs with any number of axes before the last."""
    expect_mlp(impl, v, pieces(v, n), batch)


@claim("tensor_parallel_mlp", rung=4, examples=5)
@given(batch=st.sampled_from([(3,), (2, 3)]), v=values())
def test_tensor_parallel_mlp_communicates_once(impl, batch, v):
    """There is one all-reduce, of as many numbers as the output has; the inner channels stay where they are."""
    expect_one_sum(impl, expect_mlp(impl, v, [5, 6], batch), torch.empty(*batch, 3))


# --- average_gradients ------------------------------------------------------------------------------------------------


def expect_average(impl: Implementation, gradients: Sequence[Mapping[str, Tensor]], counts: Sequence[float]) -> None:
    """Compare with the weighted mean, on every process."""
    parts = [(given, torch.tensor(float(count))) for given, count in zip(gradients, counts, strict=True)]
    results, _ = together(impl, parts)
    expected = {
        name: sum(n * given[name].double() for n, given in zip(counts, gradients, strict=True)) / math.fsum(counts)
        for name in gradients[0]
    }
    for rank, got in enumerate(results):
        what = f"what process {rank + 1} of {len(results)} returned"
        expect_close(impl, got, expected, inputs=inputs_of(impl, parts), what=what, dtype=torch.float32)


@claim("average_gradients", rung=1, examples=8)
@given(count=st.integers(2, 9), v=values())
def test_average_gradients_equally_many_tokens(impl, count, v):
    """Two processes with equally many tokens: the gradient is the mean of both."""
    expect_average(impl, [{"wte.weight": v.normal(3, 2) + 1} for _ in range(2)], [count, count])


@claim("average_gradients", rung=2, examples=8)
@given(count=st.integers(2, 9), v=values())
def test_average_gradients_of_several_parameters(impl, count, v):
    """Every parameter's gradient is averaged, matrix, vector or number, and keeps its name and its shape."""

    def gradients() -> dict[str, Tensor]:
        return {
            "weight": v.scattered(v.normal(3, 2)),
            "bias": v.normal(4) + 1,
            "scale": v.normal(),
            "cube": v.normal(2, 1, 3),
        }

    expect_average(impl, [gradients() for _ in range(2)], [count, count])


@claim("average_gradients", rung=3, examples=15)
@given(n=st.sampled_from([2, 3, 4, 1]), v=values())
def test_average_gradients_of_unequal_shares(impl, n, v):
    """With any number of processes, each token counts the same, wherever it is: who has more tokens has more weight."""
    counts = v.integers(1, 12, (n,)).tolist()
    expect_average(impl, [{"a": v.normal(2, 3) + rank, "b": v.normal(2) - rank} for rank in range(n)], counts)
