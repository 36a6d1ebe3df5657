"""Who may see whom: attention masks and a softmax that obeys them (chapter 2).
A mask is boolean and True where attention is allowed, as in `torch.nn.functional.scaled_dot_product_attention`. Rows
are queries, columns are keys; the queries are the last `n_query` of the `n_key` positions: a mask sits bottom right."""

import torch

from reference.shapes import Bool, Float, Int, Tensor, expect


def causal_mask(n_query: int, n_key: int) -> Bool[Tensor, "n_query n_key"]:
    """Each query sees itself and what came before; raises ValueError unless 1 <= n_query <= n_key.
    >>> causal_mask(2, 3).int().tolist()
    [[1, 1, 0], [1, 1, 1]]"""
    return _distance(n_query, n_key) >= 0


def sliding_window_mask(n_query: int, n_key: int, window: int) -> Bool[Tensor, "n_query n_key"]:
    """Each query sees the last `window` keys up to and including itself (Beltagy et al. 2020, 2004.05150, section 3.1).
    Raises ValueError if window < 1, or unless 1 <= n_query <= n_key.
    >>> sliding_window_mask(3, 3, window=2).int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]"""
    expect(window >= 1, "a window of at least 1 (a query sees itself)", window)
    distance = _distance(n_query, n_key)
    return (distance >= 0) & (distance < window)


def padding_causal_mask(is_token: Bool[Tensor, "batch n_key"], n_query: int) -> Bool[Tensor, "batch 1 n_query n_key"]:
    """Each query sees the keys that are real tokens and not in its future; one matrix a sequence, for all heads.
    A padding query may see nothing at all: its row is then all False. Raises ValueError unless 1 <= n_query <= n_key.
    >>> padding_causal_mask(torch.tensor([[False, True, True]]), n_query=2).int().tolist()
    [[[[0, 1, 0], [0, 1, 1]]]]"""
    return causal_mask(n_query, is_token.shape[-1]).to(is_token.device) & is_token[:, None, None, :]


def masked_softmax(
    scores: Float[Tensor, "*batch query key"], mask: Bool[Tensor, "*#batch #query #key"]
) -> Float[Tensor, "*batch query key"]:
    """Softmax over the keys that the mask allows; the others get exactly 0, whatever their scores are, NaN included.
    A query that sees no key gets a row of zeros, and zero gradients.
    >>> masked_softmax(torch.tensor([[1.0, 1.0, 9.0]]), torch.tensor([[True, True, False]])).tolist()
    [[0.5, 0.5, 0.0]]"""
    # -inf has no competitor in any dtype, but a row of nothing else would be 0/0: give such a row any finite scores.
    sees_something = mask.any(dim=-1, keepdim=True)
    scores = scores.masked_fill(~mask, float("-inf")).masked_fill(~sees_something, 0.0)
    return scores.softmax(dim=-1).masked_fill(~mask, 0.0)


def _distance(n_query: int, n_key: int) -> Int[Tensor, "n_query n_key"]:
    """How far each key lies behind each query; negative in the query's future."""
    expect(1 <= n_query <= n_key, "1 <= n_query <= n_key (queries are the last positions)", n_query, n_key)
    return torch.arange(n_key - n_query, n_key)[:, None] - torch.arange(n_key)
