# %% [markdown]
# # 3. Attention

# %%
import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from reference.mask import causal_mask, masked_softmax


# %% scaled_dot_product_attention
def scaled_dot_product_attention(
    q: Float[Tensor, "batch head query d_head"],
    k: Float[Tensor, "batch head key d_head"],
    v: Float[Tensor, "batch head key d_value"],
    mask: Bool[Tensor, "#batch #head #query #key"] | None,
) -> Float[Tensor, "batch head query d_value"]:
    """Average the values for each query, weighted by how well the query matches the keys."""
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (batch, head, query, key)
    weights = scores.softmax(dim=-1) if mask is None else masked_softmax(scores, mask)
    return weights @ v
    ### END SOLUTION


# %% split_heads
def split_heads(x: Float[Tensor, "batch position d_model"], n_head: int) -> Float[Tensor, "batch head position d_head"]:
    """Deal the channels of each position out to the heads."""
    ### BEGIN SOLUTION
    batch, n_position, d_model = x.shape
    if d_model % n_head:
        raise ValueError(f"expected a d_model that n_head divides, got d_model {d_model} and n_head {n_head}")
    heads = x.reshape(batch, n_position, n_head, d_model // n_head)
    return heads.transpose(1, 2)  # (batch, head, position, d_head)
    ### END SOLUTION


# %% merge_heads
def merge_heads(x: Float[Tensor, "batch head position d_head"]) -> Float[Tensor, "batch position d_model"]:
    """Lay the heads of each position side by side."""
    ### BEGIN SOLUTION
    batch, n_head, n_position, d_head = x.shape
    return x.transpose(1, 2).reshape(batch, n_position, n_head * d_head)
    ### END SOLUTION


# %% causal_self_attention
def causal_self_attention(
    x: Float[Tensor, "batch position d_model"],
    w_qkv: Float[Tensor, "3*d_model d_model"],
    b_qkv: Float[Tensor, " 3*d_model"],
    w_out: Float[Tensor, "d_model d_model"],
    b_out: Float[Tensor, " d_model"],
    n_head: int,
) -> Float[Tensor, "batch position d_model"]:
    """Let every position read from itself and from what came before."""
    ### BEGIN SOLUTION
    batch, n_position, d_model = x.shape
    d_head = d_model // n_head
    qkv = (x @ w_qkv.T + b_qkv).reshape(batch, n_position, 3, n_head, d_head)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, head, position, d_head)
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_head)  # (batch, head, query, key)
    weights = masked_softmax(scores, causal_mask(n_position, n_position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, n_position, d_model)
    return merged @ w_out.T + b_out
    ### END SOLUTION
