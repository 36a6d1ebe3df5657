"""Right, and written differently."""

import re

import torch

from gptdojo import alternative


@alternative("count_vowels")
def by_pattern(text):
    return len(re.findall("[aeiou]", text, re.IGNORECASE))


@alternative("count_vowels")
def by_counting(text):
    return torch.tensor(sum(text.count(vowel) for vowel in "aeiouAEIOU"))


@alternative("Thermometer")
class Running:
    def __init__(self, digits):
        self.digits, self.total, self.count = digits, torch.zeros(1, dtype=torch.float64), 0

    def read(self, readings):
        self.total = self.total + readings.double().sum()
        self.count += len(readings)

    def average(self):
        if self.count == 0:
            raise ValueError("nothing was read")
        return (self.total / self.count).float()

    def __len__(self):
        return self.count


@alternative("Thermometer")
class OneTensor:
    def __init__(self, digits):
        self.everything = torch.empty(0)

    def read(self, readings):
        self.everything = torch.cat([self.everything, readings])

    def average(self):
        if not self.everything.numel():
            raise ValueError("nothing was read")
        return torch.stack([self.everything.sum() / self.everything.numel()])

    def __len__(self):
        return self.everything.numel()
