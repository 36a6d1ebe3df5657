"""What came after GPT-3: rotary positions, RMSNorm, SwiGLU; together a Llama (chapter 19).
Parameters carry the names of Hugging Face's Llama; weights are (out, in), without biases."""

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from reference.attention import Attend, Queries, merge_heads, split_heads
from reference.shapes import Float, Gain, Hidden, Int, Logits, Narrower, Params, Rows, Tensor, Tokens, Wider, expect
from reference.smaller_cache import grouped_causal

Frequencies = Float[Tensor, " d_head/2"]


def rope_frequencies(d_head: int, theta: float = 10000.0) -> Frequencies:
    """Radians per position of each pair of channels, from 1 down to almost 1/theta, in float64.
    Raises ValueError if d_head is odd. Source: Su et al. 2021 (RoFormer, 2104.09864), section 3.2.2."""
    expect(d_head % 2 == 0, "an even d_head (channels rotate in pairs)", d_head)
    return theta ** (-torch.arange(0, d_head, 2, dtype=torch.float64) / d_head)


def apply_rope(x: Queries, positions: Int[Tensor, "*batch query"], frequencies: Frequencies) -> Queries:
    """Rotate each pair of channels by its frequency times the position; q k^T then depends on offsets alone.
    Channel i pairs with i + d_head/2, as in Llama's published weights. `positions` are (query,), or (batch,
    query) where rows differ. Angles are float64 whatever x is: bfloat16 cannot tell 256 from 257."""
    angles = positions[..., None] * frequencies.double()  # (*batch, position, d_head/2)
    angles = angles if positions.ndim == 1 else angles[:, None]  # one for all heads
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def alibi_slopes(n_head: int) -> Float[Tensor, " head"]:
    """How much each head lowers a score per position of distance: 2^(-8/n), 2^(-16/n), ... for n a power of two.
    For other n: those of the power of two below, then every second one of twice that power. Float64. Raises ValueError
    if n_head < 1. Source: Press et al. 2021 (2108.12409), section 3.
    >>> alibi_slopes(8)[:3].tolist()
    [0.5, 0.25, 0.125]"""
    expect(n_head >= 1, "n_head to be at least 1", n_head)
    power = 2 ** int(math.log2(n_head))
    slopes = 2 ** (-8 * torch.arange(1, power + 1, dtype=torch.float64) / power)
    between = 2 ** (-4 * torch.arange(1, 2 * power, 2, dtype=torch.float64) / power)
    return torch.cat([slopes, between[: n_head - power]])


def rms_norm(x: Rows, weight: Gain, eps: float = 1e-6) -> Rows:
    """Divide each position by its root mean square, and scale (Zhang and Sennrich 2019, 1910.07467, section 4)."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide / torch.sqrt(wide.square().mean(dim=-1, keepdim=True) + eps)).to(x.dtype) * weight


def swiglu(x: Rows, w_gate: Wider, w_up: Wider, w_down: Narrower) -> Rows:
    """A gated MLP: (silu(x w_gate^T) * x w_up^T) w_down^T, silu(z) = z sigmoid(z) (Shazeer 2020, 2002.05202, 2)."""
    gate = F.linear(x, w_gate)
    return F.linear(gate * torch.sigmoid(gate) * F.linear(x, w_up), w_down)


def llama_block(
    x: Hidden,
    params: Params,
    n_head: int,
    n_kv_head: int,
    first_position: int = 0,
    frequencies: Frequencies | None = None,
    attend: Attend | None = None,
    layer: int = 0,
    eps: float = 1e-6,
) -> Hidden:
    """RMSNorm, grouped attention with rotated q and k, RMSNorm, SwiGLU (Touvron et al. 2023, 2302.13971, section 2.2).
    `params` has input_layernorm, self_attn.q_proj, k_proj, v_proj and o_proj, post_attention_layernorm, mlp.gate_proj,
    up_proj and down_proj, each .weight. `frequencies` of None are `rope_frequencies`; `attend` of None is causal."""
    normed = rms_norm(x, params["input_layernorm.weight"], eps)
    q, k, v = (
        split_heads(F.linear(normed, params[f"self_attn.{name}_proj.weight"]), heads)
        for name, heads in (("q", n_head), ("k", n_kv_head), ("v", n_kv_head))
    )
    frequencies = rope_frequencies(q.shape[-1]) if frequencies is None else frequencies
    positions = torch.arange(first_position, first_position + x.shape[1], device=x.device)
    q, k = (apply_rope(part, positions, frequencies.to(x.device)) for part in (q, k))
    heads = (attend or grouped_causal())(layer, q, k, v)
    x = x + F.linear(merge_heads(heads), params["self_attn.o_proj.weight"])
    normed = rms_norm(x, params["post_attention_layernorm.weight"], eps)
    return x + swiglu(normed, *(params[f"mlp.{name}_proj.weight"] for name in ("gate", "up", "down")))


@dataclass(frozen=True)
class LlamaConfig:
    """The shape of a Llama; with a `window`, of a Mistral."""

    n_layer: int
    n_head: int
    n_kv_head: int
    d_model: int
    d_ff: int
    n_ctx: int
    vocab_size: int
    window: int | None = None
    theta: float = 10000.0
    eps: float = 1e-6


class Llama(nn.Module):
    """Embedding, `llama_block`s, a final norm, a head of its own; weights are drawn from N(0, 0.02), gains are 1.
    >>> model = Llama(LlamaConfig(n_layer=2, n_head=4, n_kv_head=2, d_model=16, d_ff=40, n_ctx=8, vocab_size=10))
    >>> model(torch.tensor([[3, 1, 4]])).shape
    torch.Size([1, 3, 10])"""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(_block_parameters(config) for _ in range(config.n_layer))
        self.norm = nn.RMSNorm(config.d_model)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tokens, first_position: int = 0, attend: Attend | None = None) -> Logits:
        """Logits of the token after each position; `attend` of None is causal, in the window if there is one.
        Raises ValueError past the context, unless a window or `attend` says who sees whom: rotary positions go on."""
        config, end = self.config, first_position + tokens.shape[1]
        if end > config.n_ctx and config.window is None and attend is None:
            raise ValueError(f"got {end} positions, the context is {config.n_ctx}")
        heads, attend = (config.n_head, config.n_kv_head), attend or grouped_causal(config.window)
        frequencies = rope_frequencies(config.d_model // config.n_head, config.theta)
        x = self.embed_tokens(tokens)
        for layer, block in enumerate(self.layers):
            params = dict(block.named_parameters())
            x = llama_block(x, params, *heads, first_position, frequencies, attend, layer, config.eps)
        return self.lm_head(rms_norm(x, self.norm.weight, config.eps))


def _block_parameters(config: LlamaConfig) -> nn.ModuleDict:
    """Holds what `llama_block` takes."""
    linear = partial(nn.Linear, bias=False)
    d_model, d_ff, d_kv = config.d_model, config.d_ff, config.d_model // config.n_head * config.n_kv_head
    width = {"q_proj": d_model, "k_proj": d_kv, "v_proj": d_kv, "o_proj": d_model}
    attention = nn.ModuleDict({name: linear(d_model, d_out) for name, d_out in width.items()})
    mlp = {"gate_proj": linear(d_model, d_ff), "up_proj": linear(d_model, d_ff), "down_proj": linear(d_ff, d_model)}
    before, after = nn.RMSNorm(d_model), nn.RMSNorm(d_model)
    parts = {"input_layernorm": before, "self_attn": attention, "post_attention_layernorm": after}
    return nn.ModuleDict(parts | {"mlp": nn.ModuleDict(mlp)})
