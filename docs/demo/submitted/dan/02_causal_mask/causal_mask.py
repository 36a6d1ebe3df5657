"""One loop never ends; the other answers are graded all the same."""

import torch


def causal_mask(n_query, n_key):
    mask = torch.zeros(n_query, n_key, dtype=torch.bool)
    row = 0
    while row < n_query:
        mask[row, : row + 1 + n_key - n_query] = True
    return mask


def sliding_window_mask(n_query, n_key, window):
    row = torch.arange(n_query)[:, None] + (n_key - n_query)
    column = torch.arange(n_key)[None]
    return (column <= row) & (column >= row - window)
