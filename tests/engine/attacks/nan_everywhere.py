# must: score=0
# must: status=failed
"""Answers with NaN, which is neither more nor less than any tolerance."""

import torch


class Thermometer:
    def __init__(self, digits):
        pass

    def read(self, readings):
        pass

    def average(self):
        return torch.full((1,), float("nan"))

    def __len__(self):
        return 0
