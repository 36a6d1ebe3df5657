# must: score=0
# must: status=forbidden
# must: message~mean
"""Calls what the exercise forbids in a thread of its own."""

from concurrent.futures import ThreadPoolExecutor

import torch


class Thermometer:
    def __init__(self, digits):
        self.readings = []

    def read(self, readings):
        self.readings.append(readings)

    def average(self):
        if not self.readings:
            raise ValueError
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.mean, torch.cat(self.readings), 0, keepdim=True).result()

    def __len__(self):
        return sum(map(len, self.readings))
