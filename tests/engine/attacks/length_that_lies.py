# must: score<full
"""Has a length that is a negative number, a text, a tensor or an endless call."""

import itertools

import torch


class Thermometer:
    lengths = itertools.cycle([-1, 2**70, torch.tensor(3), "3", None, True])

    def __init__(self, digits):
        self.readings = torch.empty(0)

    def read(self, readings):
        self.readings = torch.cat([self.readings, readings])

    def average(self):
        if not len(self.readings):
            raise ValueError
        return (self.readings.sum() / self.readings.numel()).reshape(1)

    __len__ = lambda self: next(self.lengths)
