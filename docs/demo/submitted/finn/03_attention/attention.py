"""Forgets the scale; his heads are right."""

import torch


def scaled_dot_product_attention(q, k, v, mask):
    scores = q @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return torch.softmax(scores, dim=-1) @ v


def split_heads(x, n_head):
    batch, position, d_model = x.shape
    if d_model % n_head:
        raise ValueError(f"{d_model} does not divide into {n_head} heads")
    return x.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2)


def merge_heads(x):
    return x.transpose(1, 2).flatten(2)
