# must: score=0
# must: status=forbidden
# must: message~mean
"""Calls what the exercise forbids in a function that was compiled while the file was loaded."""

import warnings

import torch


def _mean(x: torch.Tensor):
    return torch.mean(x, 0, keepdim=True)


with warnings.catch_warnings(action="ignore"):
    compiled = torch.jit.trace(_mean, torch.ones(3))


class Thermometer:
    def __init__(self, digits):
        self.readings = []

    def read(self, readings):
        self.readings.append(readings)

    def average(self):
        if not self.readings:
            raise ValueError
        return compiled(torch.cat(self.readings))

    def __len__(self):
        return sum(map(len, self.readings))
