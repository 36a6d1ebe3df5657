# must: score=0
# must: status=memory
"""Asks torch for more memory than there may be."""

import torch


def count_vowels(text):
    return int(torch.ones(2**40).sum())
