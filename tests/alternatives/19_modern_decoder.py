"""Right answers in other styles, all of which have to be accepted."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from gptdojo import alternative
from reference.attention import merge_heads, split_heads

# --- rope_frequencies -------------------------------------------------------------------------------------------------


@alternative("rope_frequencies")
def as_transformers_writes_it(d_head, theta=10000.0):
    return 1.0 / (theta ** (torch.arange(0, d_head, 2, dtype=torch.int64).to(dtype=torch.float) / d_head))


@alternative("rope_frequencies")
def by_exp_and_log(d_head, theta=10000.0):
    return torch.exp(torch.arange(0, d_head, 2).float() * (-math.log(theta) / d_head))


@alternative("rope_frequencies")
def one_after_the_other(d_head, theta=10000.0):
    frequencies, ratio = [1.0], theta ** (-2 / d_head)
    while len(frequencies) < d_head // 2:
        frequencies.append(frequencies[-1] * ratio)
    return torch.tensor(frequencies)


@alternative("rope_frequencies")
def by_logspace(d_head, theta=10000.0):
    return torch.logspace(0, 2 / d_head - 1, d_head // 2, base=theta, dtype=torch.float64)


# --- apply_rope -------------------------------------------------------------------------------------------------------


@alternative("apply_rope")
def with_rotate_half(x, positions, frequencies):
    angles = positions.unsqueeze(-1).float() * frequencies.float()
    both = torch.cat([angles, angles], dim=-1)
    both = both if positions.ndim == 1 else both.unsqueeze(1)
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * both.cos().to(x.dtype) + turned * both.sin().to(x.dtype)


@alternative("apply_rope")
def complex_numbers(x, positions, frequencies):
    angles = positions[..., None].double() * frequencies.double()
    turns = torch.polar(torch.ones_like(angles), angles)
    turns = turns if positions.ndim == 1 else turns[:, None]
    first, second = x.double().chunk(2, dim=-1)
    turned = torch.complex(first, second) * turns
    return torch.cat([turned.real, turned.imag], dim=-1).to(x.dtype)


@alternative("apply_rope")
def matrices_of_two_by_two(x, positions, frequencies):
    rows = positions.expand(x.shape[0], x.shape[2])  # (batch, position)
    angles = torch.einsum("bp,f->bpf", rows.double(), frequencies.double())
    cos, sin = angles.cos(), angles.sin()
    turns = torch.stack([torch.stack([cos, -sin], dim=-1), torch.stack([sin, cos], dim=-1)], dim=-2)
    pairs = x.double().unflatten(-1, (2, -1))  # (batch, head, position, 2, d_head / 2)
    return torch.einsum("bpfij,bhpjf->bhpif", turns, pairs).flatten(-2).to(x.dtype)


@alternative("apply_rope")
def loops_over_positions(x, positions, frequencies):
    result = torch.empty_like(x)
    half = x.shape[-1] // 2
    for row in range(x.shape[0]):
        for place in range(x.shape[2]):
            position = positions[place] if positions.dim() == 1 else positions[row, place]
            for pair, frequency in enumerate(frequencies.tolist()):
                cos, sin = math.cos(position.item() * frequency), math.sin(position.item() * frequency)
                a, b = x[row, :, place, pair], x[row, :, place, pair + half]
                result[row, :, place, pair] = a * cos - b * sin
                result[row, :, place, pair + half] = a * sin + b * cos
    return result


@alternative("apply_rope")
def looked_up_in_a_table(x, positions, frequencies):
    table = torch.arange(int(positions.max()) + 1).float()[:, None] * frequencies.float()
    cos, sin = F.embedding(positions, table.cos()).to(x.dtype), F.embedding(positions, table.sin()).to(x.dtype)
    if cos.dim() == 3:
        cos, sin = cos[:, None], sin[:, None]
    result, half = x.clone(), x.size(-1) // 2
    result[..., :half] = x[..., :half] * cos - x[..., half:] * sin
    result[..., half:] = x[..., half:] * cos + x[..., :half] * sin
    return result


# --- alibi_slopes -----------------------------------------------------------------------------------------------------


@alternative("alibi_slopes")
def as_its_authors_write_it(n_head):
    def power_of_two(n):
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]

    if math.log2(n_head).is_integer():
        return torch.tensor(power_of_two(n_head))
    closest = 2 ** math.floor(math.log2(n_head))
    more = alibi_of(2 * closest)[0::2][: n_head - closest]
    return torch.tensor(power_of_two(closest) + more)


def alibi_of(n):
    return [2 ** (-8 * h / n) for h in range(1, n + 1)]


@alternative("alibi_slopes")
def as_bloom_writes_it(n_head):
    closest = 2 ** math.floor(math.log2(n_head))
    base = torch.tensor(2 ** (-(2 ** -(math.log2(closest) - 3))), dtype=torch.float32)
    slopes = torch.pow(base, torch.arange(1, 1 + closest, dtype=torch.int32))
    if closest != n_head:
        extra = torch.tensor(2 ** (-(2 ** -(math.log2(2 * closest) - 3))), dtype=torch.float32)
        left = min(closest, n_head - closest)
        slopes = torch.cat([slopes, torch.pow(extra, torch.arange(1, 1 + 2 * left, 2, dtype=torch.int32))])
    return slopes


@alternative("alibi_slopes")
def one_head_at_a_time(n_head):
    power = 1
    while 2 * power <= n_head:
        power *= 2
    slopes = []
    for head in range(n_head):
        exponent = (head + 1) / power if head < power else (head - power + 0.5) / power
        slopes.append(0.5 ** (8 * exponent))
    return torch.tensor(slopes, dtype=torch.float64)


# --- rms_norm ---------------------------------------------------------------------------------------------------------


@alternative("rms_norm")
def as_llama_writes_it(x, weight, eps=1e-6):
    dtype = x.dtype
    x = x.to(torch.float32)
    x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    return weight * x.to(dtype)


@alternative("rms_norm")
def rounded_last(x, weight, eps=1e-6):
    wide = x.float()
    divisor = (torch.linalg.vecdot(wide, wide) / x.shape[-1] + eps).sqrt()
    return (wide * weight.float() / divisor.unsqueeze(-1)).type_as(x)


@alternative("rms_norm")
def from_its_length(x, weight, eps=1e-6):
    wide = x.double()
    d_model = x.shape[-1]
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return (wide / torch.hypot(length / math.sqrt(d_model), torch.tensor(math.sqrt(eps)).double()) * weight).to(x.dtype)


@alternative("rms_norm")
def position_by_position(x, weight, eps=1e-6):
    result = torch.empty(x.shape, dtype=x.dtype)
    rows, flat = x.reshape(-1, x.shape[-1]).float(), result.view(-1, x.shape[-1])
    for place, row in enumerate(rows):
        mean_square = sum(number * number for number in row.tolist()) / len(row)
        flat[place] = (row / math.sqrt(mean_square + eps)).to(x.dtype) * weight
    return result


# --- swiglu -----------------------------------------------------------------------------------------------------------


@alternative("swiglu")
def one_product_for_both_ways_up(x, w_gate, w_up, w_down):
    gate, up = F.linear(x, torch.cat([w_gate, w_up])).chunk(2, dim=-1)
    return F.linear(F.silu(gate) * up, w_down)


@alternative("swiglu")
def by_matmul_and_sigmoid(x, w_gate, w_up, w_down):
    gate = x @ w_gate.T
    return (gate * gate.sigmoid() * (x @ w_up.T)) @ w_down.T


@alternative("swiglu")
def silu_as_a_quotient(x, w_gate, w_up, w_down):
    gate = torch.einsum("...d,fd->...f", x, w_gate)
    hidden = gate / (1 + torch.exp(-gate)) * torch.einsum("...d,fd->...f", x, w_up)
    return torch.einsum("...f,df->...d", hidden, w_down)


@alternative("swiglu")
def modules_without_biases(x, w_gate, w_up, w_down):
    layers = []
    for weight in (w_gate, w_up, w_down):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight = nn.Parameter(weight, requires_grad=False)
        layers.append(layer)
    return layers[2](nn.SiLU()(layers[0](x)).mul_(layers[1](x)))


# --- llama_block ------------------------------------------------------------------------------------------------------


@alternative("llama_block")
def everything_by_hand(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    batch, n_position, d_model = x.shape
    d_head = d_model // n_head

    def norm(x, name):
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * params[f"{name}.weight"]

    def heads(x, name, count):
        projected = x @ params[f"self_attn.{name}_proj.weight"].T
        return projected.reshape(batch, n_position, count, d_head).permute(0, 2, 1, 3)

    def turn(x):
        angles = (torch.arange(n_position) + first_position).unsqueeze(1) * frequencies.unsqueeze(0)
        both = torch.cat([angles, angles], dim=1)
        other = torch.cat([-x[..., d_head // 2 :], x[..., : d_head // 2]], dim=3)
        return x * both.cos() + other * both.sin()

    normed = norm(x, "input_layernorm")
    seen = attend(turn(heads(normed, "q", n_head)), turn(heads(normed, "k", n_kv_head)), heads(normed, "v", n_kv_head))
    middle = x + seen.transpose(1, 2).reshape(x.shape) @ params["self_attn.o_proj.weight"].T
    normed = norm(middle, "post_attention_layernorm")
    gate = normed @ params["mlp.gate_proj.weight"].T
    hidden = gate * torch.sigmoid(gate) * (normed @ params["mlp.up_proj.weight"].T)
    return middle + hidden @ params["mlp.down_proj.weight"].T


@alternative("llama_block")
def in_float64_and_complex(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    p = {name.removesuffix(".weight"): tensor.double() for name, tensor in params.items()}
    positions = torch.arange(first_position, first_position + x.shape[1], dtype=torch.float64)
    angles = torch.outer(positions, frequencies.double())
    turns = torch.polar(torch.ones_like(angles), angles)

    def turned(part):
        pair = torch.complex(*part.chunk(2, dim=-1)) * turns
        return torch.cat([pair.real, pair.imag], dim=-1).to(x.dtype)

    stream = x.double()
    normed = F.rms_norm(stream, stream.shape[-1:], p["input_layernorm"], 1e-6)
    q, k, v = (
        split_heads(normed @ p[f"self_attn.{name}_proj"].mT, count)
        for name, count in zip("qkv", (n_head, n_kv_head, n_kv_head), strict=True)
    )
    heads = attend(turned(q), turned(k), v.to(x.dtype))
    stream = stream + merge_heads(heads).double() @ p["self_attn.o_proj"].mT
    normed = F.rms_norm(stream, stream.shape[-1:], p["post_attention_layernorm"], 1e-6)
    hidden = F.silu(normed @ p["mlp.gate_proj"].mT) * (normed @ p["mlp.up_proj"].mT)
    return (stream + hidden @ p["mlp.down_proj"].mT).to(x.dtype)


@alternative("llama_block")
def fused_matrices_and_a_stream_in_place(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    names = [f"self_attn.{name}_proj.weight" for name in "qkv"]
    widths = [params[name].shape[0] for name in names]
    stream = x.clone()
    read = F.rms_norm(stream, (stream.shape[2],), params["input_layernorm.weight"], eps=1e-6)
    q, k, v = F.linear(read, torch.cat([params[name] for name in names])).split(widths, dim=-1)
    q, k, v = split_heads(q, n_head), split_heads(k, n_kv_head), split_heads(v, n_kv_head)
    angles = (first_position + torch.arange(x.shape[1]))[:, None] * frequencies
    for part in (q, k):
        first, second = (half.clone() for half in part.chunk(2, dim=-1))
        part.copy_(
            torch.cat([first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()], -1)
        )
    stream += F.linear(merge_heads(attend(q, k, v)), params["self_attn.o_proj.weight"])
    read = F.rms_norm(stream, (stream.shape[2],), params["post_attention_layernorm.weight"], eps=1e-6)
    gate_up = F.linear(read, torch.cat([params["mlp.gate_proj.weight"], params["mlp.up_proj.weight"]]))
    gate, up = gate_up.tensor_split(2, dim=-1)
    stream += F.linear(F.silu(gate) * up, params["mlp.down_proj.weight"])
    return stream


@alternative("llama_block")
def gains_folded_into_the_matrices(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    def plain(x):
        return F.rms_norm(x, x.shape[-1:], eps=1e-6)

    def read(x, norm, name):
        return F.linear(plain(x), params[f"{name}.weight"] * params[f"{norm}.weight"])

    cos = torch.cos(torch.arange(first_position, first_position + x.shape[1]).outer(frequencies)).repeat(1, 2)
    sin = torch.sin(torch.arange(first_position, first_position + x.shape[1]).outer(frequencies)).repeat(1, 2)
    half = frequencies.shape[0]
    sin[:, :half] *= -1
    q = split_heads(read(x, "input_layernorm", "self_attn.q_proj"), n_head)
    k = split_heads(read(x, "input_layernorm", "self_attn.k_proj"), n_kv_head)
    v = split_heads(read(x, "input_layernorm", "self_attn.v_proj"), n_kv_head)
    q, k = (part * cos + part.roll(half, dims=-1) * sin for part in (q, k))
    x = x + F.linear(merge_heads(attend(q, k, v)), params["self_attn.o_proj.weight"])
    gate = read(x, "post_attention_layernorm", "mlp.gate_proj")
    up = read(x, "post_attention_layernorm", "mlp.up_proj")
    return x + F.linear(F.silu(gate) * up, params["mlp.down_proj.weight"])
