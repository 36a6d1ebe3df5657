# must: score=0
# must: status=forbidden
# must: message~mean
"""Takes a round trip through numpy, and calls what the exercise forbids on what comes back."""

import torch


class Thermometer:
    def __init__(self, digits):
        self.readings = []

    def read(self, readings):
        self.readings.append(readings.numpy().copy())

    def average(self):
        if not self.readings:
            raise ValueError
        return torch.cat([torch.from_numpy(piece) for piece in self.readings]).mean(0, keepdim=True)

    def __len__(self):
        return sum(map(len, self.readings))
