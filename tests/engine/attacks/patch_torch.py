# must: score=0
"""Makes every comparison of torch's true."""

import torch

torch.equal = torch.allclose = torch.Tensor.equal = lambda *args, **kwargs: True
torch.Tensor.__eq__ = lambda self, other: torch.ones(1, dtype=torch.bool).all()
torch.testing.assert_close = lambda *args, **kwargs: None


def count_vowels(text):
    return torch.tensor(-1)
