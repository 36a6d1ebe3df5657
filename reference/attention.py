"""Scaled dot-product attention with several heads (chapter 3).
Source: Vaswani et al. 2017 (1706.03762), section 3.2. Weights are (out, in), as in `torch.nn.functional.linear`."""

import math
from collections.abc import Callable

import torch.nn.functional as F

from reference.mask import causal_mask, masked_softmax
from reference.shapes import Bool, Float, Hidden, Tensor, expect

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""How the heads attend: (layer, q, k, v), each (batch, head, position, d_head), to the heads' output. A model takes one
as an argument, so that who sees whom can be changed without touching the model."""

Queries = Float[Tensor, "batch head query d_head"]
Keys = Float[Tensor, "batch head key d_head"]
Values = Float[Tensor, "batch head key d_value"]
Mask = Bool[Tensor, "#batch #head #query #key"] | None
Output = Float[Tensor, "batch head query d_value"]


def scaled_dot_product_attention(q: Queries, k: Keys, v: Values, mask: Mask) -> Output:
    """softmax(q k^T / sqrt(d_head)) v over the keys that the mask allows; a mask of None allows all.
    All of `v` must be finite: a masked key has weight 0, and 0 * NaN is NaN. Slice away keys that hold no value."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (batch, head, query, key)
    weights = scores.softmax(dim=-1) if mask is None else masked_softmax(scores, mask)
    return weights @ v


def split_heads(x: Hidden, n_head: int) -> Float[Tensor, "batch head position d_head"]:
    """Cut d_model into n_head heads of neighboring channels. Raises ValueError if n_head does not divide d_model."""
    d_model = x.shape[-1]
    expect(n_head >= 1 and d_model % n_head == 0, "n_head to divide d_model", f"n_head {n_head} and d_model {d_model}")
    return x.unflatten(-1, (n_head, d_model // n_head)).transpose(1, 2)  # (batch, head, position, d_head)


def merge_heads(x: Float[Tensor, "batch head position d_head"]) -> Hidden:
    """Put the heads side by side again: the inverse of `split_heads`."""
    return x.transpose(1, 2).flatten(start_dim=2)


def causal(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The plain GPT's way to attend, whatever the layer: each query sees itself and what came before."""
    return scaled_dot_product_attention(q, k, v, causal_mask(q.shape[-2], k.shape[-2]).to(q.device))


def causal_self_attention(
    x: Hidden,
    w_qkv: Float[Tensor, "3*d_model d_model"],
    b_qkv: Float[Tensor, " 3*d_model"],
    w_out: Float[Tensor, "d_model d_model"],
    b_out: Float[Tensor, " d_model"],
    n_head: int,
    attend: Attend = causal,
    layer: int = 0,
) -> Hidden:
    """Project to queries, keys and values, attend in each head, merge, project back.
    The rows of `w_qkv` are those of q, then k, then v. Raises ValueError if n_head does not divide d_model."""
    q, k, v = (split_heads(part, n_head) for part in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    return F.linear(merge_heads(attend(layer, q, k, v)), w_out, b_out)
