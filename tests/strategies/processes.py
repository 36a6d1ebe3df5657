"""Several processes that share work, for implementations that answer one call at a time.

Each process runs until it gives its next tensor to `all_reduce`, and goes on when all have, as threads behind a barrier
do. Since an implementation cannot stand still in the middle of a call, a process that waits is ended there, and begun
again once the sum is known: a call with the same arguments gives the same tensors. So nothing can wait forever.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gptdojo.expect import expect
from gptdojo.faults import LearnerError

MOST = 64
AllReduce = Callable[[Tensor], Tensor]


class Waits(Exception):
    """The process has given a tensor, and the others have not come so far."""


def on_processes(work: Sequence[Callable[[AllReduce], Any]]) -> tuple[list[Any], list[Tensor]]:
    """Return the results of `work`, an entry a process, and the sums of what all of them gave to `all_reduce`."""
    sums: list[Tensor] = []
    while True:
        results, given = zip(*(_run(process, sums) for process in work), strict=True)
        counts = [len(tensors) for tensors in given]
        deadlock = f"the processes called all_reduce {counts} times, so some wait forever"
        expect(len(set(counts)) == 1, deadlock)
        if counts[0] <= len(sums):
            return list(results), sums
        expect(counts[0] <= MOST, f"all_reduce was called more than {MOST} times")
        waiting = [tensors[len(sums)] for tensors in given]
        shapes = [tuple(tensor.shape) for tensor in waiting]
        expect(len(set(shapes)) == 1, f"the processes gave all_reduce tensors of different shapes: {shapes}")
        sums.append(torch.stack(waiting).sum(dim=0))


def _run(process: Callable[[AllReduce], Any], sums: Sequence[Tensor]) -> tuple[Any, list[Tensor]]:
    given: list[Tensor] = []

    def all_reduce(tensor: Tensor) -> Tensor:
        expect(isinstance(tensor, Tensor), f"all_reduce was given a {type(tensor).__name__}, expected a tensor")
        given.append(tensor.detach().clone())
        if len(given) > len(sums):
            raise Waits
        return sums[len(given) - 1].clone()

    try:
        return process(all_reduce), given
    except LearnerError:
        if len(given) > len(sums):
            return None, given
        raise
