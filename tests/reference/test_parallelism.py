import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from reference.block import mlp
from reference.parallelism import (
    average_gradients,
    column_parallel_linear,
    row_parallel_linear,
    tensor_parallel_mlp,
)

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def on_threads(n, work):
    """The results of work(rank, all_reduce) on n threads that stand for processes."""
    barrier, given = threading.Barrier(n, timeout=30), [None] * n

    def run(rank):
        def all_reduce(tensor):
            given[rank] = tensor
            barrier.wait()
            total = torch.stack(given).sum(dim=0)
            barrier.wait()
            return total

        return work(rank, all_reduce)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_linear_layers_on_several_processes_equal_one(draw, n):
    x, weight, bias = draw(0, 2, 5, 6), draw(1, 12, 6), draw(2, 12)
    expected = torch.nn.functional.linear(x, weight, bias)
    columns = on_threads(n, lambda rank, _: column_parallel_linear(x, weight.chunk(n)[rank], bias.chunk(n)[rank]))
    torch.testing.assert_close(torch.cat(columns, dim=-1), expected, **EXACT)
    rows = on_threads(
        n,
        lambda rank, all_reduce: row_parallel_linear(
            x.chunk(n, dim=-1)[rank], weight.chunk(n, dim=1)[rank], bias, all_reduce
        ),
    )
    for row in rows:
        torch.testing.assert_close(row, expected, **EXACT)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_an_mlp_on_several_processes_equals_one_with_a_single_all_reduce(draw, n):
    x, weights = draw(0, 2, 5, 3), (draw(1, 12, 3), draw(2, 12), draw(3, 3, 12), draw(4, 3))
    calls = []

    def work(rank, all_reduce):
        params = {
            "c_fc.weight": weights[0].chunk(n)[rank],
            "c_fc.bias": weights[1].chunk(n)[rank],
            "c_proj.weight": weights[2].chunk(n, dim=1)[rank],
            "c_proj.bias": weights[3],
        }
        return tensor_parallel_mlp(x, params, lambda tensor: calls.append(rank) or all_reduce(tensor))

    for got in on_threads(n, work):
        torch.testing.assert_close(got, mlp(x, *weights), **EXACT)
    assert sorted(calls) == list(range(n))


def test_gradients_are_averaged_by_tokens(draw):
    gradients, counts = [{"a": draw(i, 3), "b": draw(9 + i, 2, 2)} for i in range(3)], torch.tensor([1.0, 5.0, 2.0])
    results = on_threads(3, lambda rank, all_reduce: average_gradients(gradients[rank], counts[rank], all_reduce))
    for got in results:
        for name in ("a", "b"):
            expected = sum(c * g[name] for c, g in zip(counts, gradients, strict=True)) / 8
            torch.testing.assert_close(got[name], expected, **EXACT)
