# must: score=0
"""Returns tensors that are sparse, quantized, nested, on no device, or expanded to terabytes."""

import itertools

import torch

MAKE = [
    lambda: torch.eye(2).to_sparse(),
    lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    lambda: torch.ones(2, device="meta"),
    lambda: torch.zeros(1).expand(2**40),
    lambda: torch.ones(2, dtype=torch.float8_e4m3fn),
    lambda: torch.empty(0, 2**40),
    lambda: torch.ones(2, dtype=torch.cfloat).conj(),
    lambda: torch.ones(()).as_strided((2, 2), (0, 0)),
]
turn = itertools.cycle(MAKE)


def count_vowels(text):
    return next(turn)()
