"""Starts the diagonal at the top left, and masks after the softmax."""

import torch


def causal_mask(n_query, n_key):
    return torch.ones(n_query, n_key, dtype=torch.bool).tril()


def padding_causal_mask(is_token, n_query):
    return is_token[:, None, None, :] & causal_mask(n_query, is_token.shape[1])


def masked_softmax(scores, mask):
    return torch.softmax(scores, dim=-1) * mask
