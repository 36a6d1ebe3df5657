"""The transformer block of GPT-2: normalize, attend, add; normalize, think, add (chapter 4).
Source: Radford et al. 2019 (GPT-2 report), section 2.3: layer norm moved to the input of each sub-block."""

import math

import torch
import torch.nn.functional as F

from reference.attention import Attend, causal, causal_self_attention
from reference.shapes import Float, Gain, Hidden, Narrower, Params, Rows, Tensor, Wider

_MODULES = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
BLOCK_KEYS = tuple(f"{module}.{kind}" for module in _MODULES for kind in ("weight", "bias"))
"""GPT-2's names of the parameters of one block."""


def layer_norm(x: Rows, weight: Gain, bias: Gain, eps: float = 1e-5) -> Rows:
    """Each position on its own: subtract the mean, divide by the standard deviation, scale and shift.
    The variance is the biased one (over d_model), eps stands inside the root. Source: Ba et al. 2016 (1607.06450)."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # the square of 256 is past the largest float16
    centered = wide - wide.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return (centered / torch.sqrt(variance + eps)).to(x.dtype) * weight + bias


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x times the normal distribution function, by GPT-2's tanh formula (Hendrycks and Gimpel 2016, 1606.08415, 2)."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def mlp(x: Rows, w_fc: Wider, b_fc: Float[Tensor, " d_ff"], w_proj: Narrower, b_proj: Gain) -> Rows:
    """Each position on its own: widen (d_ff = 4 d_model in GPT), apply GELU, narrow."""
    return F.linear(gelu(F.linear(x, w_fc, b_fc)), w_proj, b_proj)


def transformer_block(x: Hidden, params: Params, n_head: int, attend: Attend = causal, layer: int = 0) -> Hidden:
    """One pre-norm block; `params` has the keys of BLOCK_KEYS. `layer` is only handed on to `attend`."""
    ln_1, qkv, out, ln_2, fc, proj = ((params[f"{name}.weight"], params[f"{name}.bias"]) for name in _MODULES)
    x = x + causal_self_attention(layer_norm(x, *ln_1), *qkv, *out, n_head, attend, layer)
    return x + mlp(layer_norm(x, *ln_2), *fc, *proj)
