"""From tokens to vectors that know where they stand (chapter 5)."""

import torch
import torch.nn.functional as F

from reference.shapes import Float, Hidden, Tensor, Tokens, expect


def embed_tokens(
    tokens: Tokens, wte: Float[Tensor, "vocab d_model"], wpe: Float[Tensor, "n_ctx d_model"], first_position: int = 0
) -> Hidden:
    """Each token's vector plus that of its position, counted from `first_position`.
    Raises ValueError if tokens are not (batch, position) with at least one position, or reach past the context."""
    valid = tokens.ndim == 2 and tokens.shape[1] >= 1
    expect(valid, "tokens of shape (batch, position), at least one position", tokens.shape)
    expect(first_position >= 0, "first_position to be at least 0", first_position)
    n_ctx, end = wpe.shape[0], first_position + tokens.shape[1]
    if end > n_ctx:
        raise ValueError(f"got {end} positions, the context is {n_ctx}: this model has no vector for the others")
    return F.embedding(tokens, wte) + wpe[first_position:end]


def sinusoidal_positions(n_position: int, d_model: int, first_position: int = 0) -> Float[Tensor, "n_position d_model"]:
    """Positions as clock hands, from fast to slow: sin in the even channels, cos in the odd ones, in float64.
    Raises ValueError if d_model is odd. Source: Vaswani et al. 2017 (1706.03762), section 3.5.
    >>> sinusoidal_positions(1, 4).tolist()
    [[0.0, 1.0, 0.0, 1.0]]"""
    expect(d_model % 2 == 0, "an even d_model (channels come in pairs of sin and cos)", d_model)
    position = torch.arange(first_position, first_position + n_position, dtype=torch.float64)
    frequency = 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angle = position[:, None] * frequency  # (n_position, d_model / 2), radians
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(start_dim=1)
