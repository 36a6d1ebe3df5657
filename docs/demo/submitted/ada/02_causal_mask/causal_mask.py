"""All right, and written her own way."""

import torch


def causal_mask(n_query, n_key):
    if not 1 <= n_query <= n_key:
        raise ValueError(f"{n_query} queries and {n_key} keys")
    positions = range(n_key - n_query, n_key)
    return torch.tensor([[key <= position for key in range(n_key)] for position in positions])


def padding_causal_mask(is_token, n_query):
    n_key = is_token.shape[1]
    return causal_mask(n_query, n_key)[None, None] & is_token[:, None, None, :]


def sliding_window_mask(n_query, n_key, window):
    if window < 1:
        raise ValueError("the window must hold at least the position itself")
    if n_query > n_key:
        raise ValueError("more queries than keys")
    distance = torch.arange(n_key - n_query, n_key)[:, None] - torch.arange(n_key)
    return (distance >= 0) & (distance < window)


def masked_softmax(scores, mask):
    visible = torch.where(mask, scores.float(), float("-inf"))
    largest = visible.amax(-1, keepdim=True)
    weights = torch.exp(visible - torch.where(largest.isinf(), 0.0, largest))
    total = weights.sum(-1, keepdim=True)
    return (weights / torch.where(total == 0, 1.0, total)).to(scores.dtype)
