"""The other two families: encoders that see everything, and decoders that read an encoder's output (chapter 6).
What tells them from GPT is who sees whom and what is predicted; the attention is the same."""

import torch
import torch.nn.functional as F

from reference.attention import causal_self_attention, merge_heads, scaled_dot_product_attention, split_heads
from reference.mask import causal_mask
from reference.next_token import cross_entropy
from reference.shapes import Bool, Float, Hidden, IsToken, Logits, Params, Tensor, Tokens, expect


def bidirectional(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """An encoder's way to attend, as an argument for a model: each query sees every key."""
    return scaled_dot_product_attention(q, k, v, None)


def bidirectional_attention(
    x: Hidden,
    w_qkv: Float[Tensor, "3*d_model d_model"],
    b_qkv: Float[Tensor, " 3*d_model"],
    w_out: Float[Tensor, "d_model d_model"],
    b_out: Float[Tensor, " d_model"],
    n_head: int,
    is_token: IsToken | None = None,
) -> Hidden:
    """Self-attention of an encoder: every position sees every token, later ones too, but padding (`is_token` False).
    The rows of `w_qkv` are those of q, then k, then v. Source: Devlin et al. 2018 (1810.04805), section 3."""
    mask = None if is_token is None else is_token[:, None, None, :]  # (batch, head, query, key)
    return causal_self_attention(
        x, w_qkv, b_qkv, w_out, b_out, n_head, lambda _, q, k, v: scaled_dot_product_attention(q, k, v, mask)
    )


def prefix_lm_mask(n_prefix: int, n_position: int) -> Bool[Tensor, "n_position n_position"]:
    """Everyone sees the whole prefix; after it, each position also sees itself and what came before.
    ValueError unless 0 <= n_prefix <= n_position >= 1. Source: Raffel et al. 2019 (1910.10683), section 3.2.1.
    >>> prefix_lm_mask(2, 3).int().tolist()
    [[1, 1, 0], [1, 1, 0], [1, 1, 1]]"""
    expect(0 <= n_prefix <= n_position, f"n_prefix from 0 to n_position {n_position}", n_prefix)
    return causal_mask(n_position, n_position) | (torch.arange(n_position) < n_prefix)


def cross_attention(
    x: Float[Tensor, "batch target d_model"],
    memory: Float[Tensor, "batch source d_model"],
    params: Params,
    n_head: int,
    is_token: Bool[Tensor, "batch source"] | None = None,
) -> Float[Tensor, "batch target d_model"]:
    """Queries from the decoder's `x`, keys and values from the encoder's output `memory`; no causal mask.
    `params` has .weight and .bias of q_attn, c_attn (2*d_model, d_model; rows of k, then v) and c_proj. `is_token` is
    False where `memory` is padding. Source: Vaswani et al. 2017 (1706.03762), section 3.2.3."""
    q = F.linear(x, params["q_attn.weight"], params["q_attn.bias"])
    k, v = F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    mask = None if is_token is None else is_token[:, None, None, :]
    heads = scaled_dot_product_attention(split_heads(q, n_head), split_heads(k, n_head), split_heads(v, n_head), mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


def corrupt_for_mlm(
    tokens: Tokens, maskable: IsToken, mask_token: int, vocab_size: int, generator: torch.Generator, rate: float = 0.15
) -> tuple[Tokens, IsToken]:
    """What the encoder reads, with some tokens spoiled to be guessed, and which positions: each maskable one is chosen
    with probability `rate`. Of those 80 % become `mask_token`, 10 % a token drawn from the whole vocabulary, 10 % stay.
    Raises ValueError unless 0 <= rate <= 1. Source: Devlin et al. 2018 (1810.04805), section 3.1."""
    expect(0 <= rate <= 1, "a rate from 0 to 1", rate)
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = tokens.masked_fill(chosen & (lot < 0.8), mask_token)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


def mlm_loss(logits: Logits, tokens: Tokens, chosen: IsToken) -> Float[Tensor, ""]:
    """The mean of -log P(original token at the position itself), in nats, over the chosen ones; ValueError if none."""
    if not chosen.any():
        raise ValueError("got no chosen position: the mean of nothing is not a number")
    return cross_entropy(logits[chosen], tokens[chosen])
