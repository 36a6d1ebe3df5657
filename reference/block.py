"""The transformer block of GPT-2: normalize, attend, add; normalize, think, add (chapter 4).

Source: Radford et al. 2019 (GPT-2 report), section 2.3: layer norm moved to the input of each sub-block.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from reference.attention import Attend, causal, causal_self_attention
from reference.shapes import Float

BLOCK_KEYS = (
    "ln_1.weight",
    "ln_1.bias",
    "attn.c_attn.weight",
    "attn.c_attn.bias",
    "attn.c_proj.weight",
    "attn.c_proj.bias",
    "ln_2.weight",
    "ln_2.bias",
    "mlp.c_fc.weight",
    "mlp.c_fc.bias",
    "mlp.c_proj.weight",
    "mlp.c_proj.bias",
)
"""GPT-2's names of the parameters of one block."""


def layer_norm(
    x: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, " d_model"],
    bias: Float[Tensor, " d_model"],
    eps: float = 1e-5,
) -> Float[Tensor, "*batch d_model"]:
    """Each position on its own: subtract the mean, divide by the standard deviation, scale and shift.

    The variance is the biased one (over d_model), eps stands inside the root. Source: Ba et al. 2016 (1607.06450).
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # the square of 256 is past the largest float16
    centered = wide - wide.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return (centered / torch.sqrt(variance + eps)).to(x.dtype) * weight + bias


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """GPT-2's activation: x times the normal distribution function, by its tanh approximation.

    Source: Hendrycks and Gimpel 2016 (1606.08415), section 2.
    """
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def mlp(
    x: Float[Tensor, "*batch d_model"],
    w_fc: Float[Tensor, "d_ff d_model"],
    b_fc: Float[Tensor, " d_ff"],
    w_proj: Float[Tensor, "d_model d_ff"],
    b_proj: Float[Tensor, " d_model"],
) -> Float[Tensor, "*batch d_model"]:
    """Each position on its own: widen (d_ff = 4 d_model in GPT), apply GELU, narrow."""
    return F.linear(gelu(F.linear(x, w_fc, b_fc)), w_proj, b_proj)


def transformer_block(
    x: Float[Tensor, "batch position d_model"],
    params: Mapping[str, Float[Tensor, "..."]],
    n_head: int,
    attend: Attend = causal,
    layer: int = 0,
) -> Float[Tensor, "batch position d_model"]:
    """One pre-norm block; `params` has the keys of BLOCK_KEYS. `layer` is only handed on to `attend`."""
    normed = layer_norm(x, params["ln_1.weight"], params["ln_1.bias"])
    x = x + causal_self_attention(
        normed,
        params["attn.c_attn.weight"],
        params["attn.c_attn.bias"],
        params["attn.c_proj.weight"],
        params["attn.c_proj.bias"],
        n_head,
        attend,
        layer,
    )
    normed = layer_norm(x, params["ln_2.weight"], params["ln_2.bias"])
    return x + mlp(
        normed,
        params["mlp.c_fc.weight"],
        params["mlp.c_fc.bias"],
        params["mlp.c_proj.weight"],
        params["mlp.c_proj.bias"],
    )
