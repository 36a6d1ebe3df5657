# must: score=0
# must: status=failed|timeout
"""Answers every call with the largest tensor that may cross."""

import torch

large = torch.zeros(16 * 2**20)


def count_vowels(text):
    return large
