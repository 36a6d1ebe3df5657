# must: score=0
# must: status=forbidden
# must: message~mean
"""Calls what the exercise forbids, by a name put together at run time."""

import torch


class Thermometer:
    def __init__(self, digits):
        self.readings = []

    def read(self, readings):
        self.readings.append(readings)

    def average(self):
        if not self.readings:
            raise ValueError
        space = {"torch": torch, "x": torch.cat(self.readings)}
        exec("import importlib; y = getattr(torch.ops.aten, 'm' + 'ean').dim(x, [0], True)", space)
        return space["y"]

    def __len__(self):
        return sum(map(len, self.readings))
