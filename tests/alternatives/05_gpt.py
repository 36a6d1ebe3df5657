"""Right, and written differently: all of these must be accepted."""

import math
import re
from collections import OrderedDict
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gptdojo import alternative
from reference.attention import causal_self_attention
from reference.block import BLOCK_KEYS, layer_norm, mlp, transformer_block

# --- sinusoidal_positions ---------------------------------------------------------------------------------------------


@alternative("sinusoidal_positions")
def as_pytorchs_tutorial(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position).unsqueeze(1)
    div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
    pe = torch.zeros(n_position, d_model)
    pe[:, 0::2] = torch.sin(position * div_term)
    pe[:, 1::2] = torch.cos(position * div_term)
    return pe


@alternative("sinusoidal_positions")
def two_loops_and_math(n_position, d_model, first_position=0):
    rows = []
    for position in range(first_position, first_position + n_position):
        row = []
        for i in range(d_model // 2):
            angle = position / 10000 ** (2 * i / d_model)
            row += [math.sin(angle), math.cos(angle)]
        rows.append(row)
    return torch.tensor(rows)


@alternative("sinusoidal_positions")
def sines_with_a_quarter_turn(n_position, d_model, first_position=0):
    channel = torch.arange(d_model, dtype=torch.float64)
    even = channel - channel % 2
    position = torch.arange(n_position, dtype=torch.float64) + first_position
    return torch.sin(torch.outer(position, 10000.0 ** (-even / d_model)) + channel % 2 * math.pi / 2).float()


@alternative("sinusoidal_positions")
def end_of_a_longer_table(n_position, d_model, first_position=0):
    positions = torch.arange(first_position + n_position, dtype=torch.float32)
    angles = positions[:, None] / torch.pow(torch.tensor(10000.0), torch.arange(0, d_model, 2) / d_model)
    table = torch.cat([angles.sin()[..., None], angles.cos()[..., None]], dim=2).reshape(-1, d_model)
    return table[first_position:]


@alternative("sinusoidal_positions")
def numpy_with_where(n_position, d_model, first_position=0):
    position = np.arange(first_position, first_position + n_position)[:, np.newaxis]
    channel = np.arange(d_model)[np.newaxis, :]
    angles = position / np.power(10000.0, 2 * (channel // 2) / np.float64(d_model))
    return torch.from_numpy(np.where(channel % 2 == 0, np.sin(angles), np.cos(angles)))


@alternative("sinusoidal_positions")
def parts_of_complex_rotations(n_position, d_model, first_position=0):
    frequency = torch.logspace(0, -4 * (d_model - 2) / d_model, d_model // 2, dtype=torch.float64)
    angle = torch.arange(first_position, first_position + n_position, dtype=torch.float64)[:, None] * frequency
    rotation = torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(rotation)[..., [1, 0]].reshape(n_position, d_model)


@alternative("sinusoidal_positions")
def one_column_at_a_time(n_position, d_model, first_position=0):
    position = torch.linspace(first_position, first_position + n_position - 1, n_position, dtype=torch.float64)
    columns = []
    wavelength = 1.0
    for _ in range(d_model // 2):
        columns += [(position / wavelength).sin(), (position / wavelength).cos()]
        wavelength *= 10000.0 ** (2 / d_model)
    return torch.stack(columns).T


# --- embed_tokens -----------------------------------------------------------------------------------------------------


def refuse(first_position, n_position, n_ctx):
    if first_position + n_position > n_ctx:
        raise ValueError(f"{first_position + n_position} positions do not fit into a context of {n_ctx}")


@alternative("embed_tokens")
def two_lookups(tokens, wte, wpe, first_position=0):
    position = torch.arange(first_position, first_position + tokens.shape[1])
    return F.embedding(tokens, wte) + F.embedding(position, wpe)


@alternative("embed_tokens")
def positions_of_each_row(tokens, wte, wpe, first_position=0):
    batch, n_position = tokens.shape
    position = torch.arange(n_position).repeat(batch, 1) + first_position
    return wpe[position] + wte[tokens]


@alternative("embed_tokens")
def one_hot_products(tokens, wte, wpe, first_position=0):
    n_position = tokens.shape[1]
    position = F.one_hot(torch.arange(first_position, first_position + n_position), wpe.shape[0]).to(wpe.dtype)
    which = F.one_hot(tokens, wte.shape[0]).to(wte.dtype)
    return torch.einsum("btv,vd->btd", which, wte) + position @ wpe


@alternative("embed_tokens")
def rows_selected_by_index(tokens, wte, wpe, first_position=0):
    rows = torch.index_select(wpe, 0, torch.arange(tokens.size(1)) + first_position)
    return torch.add(torch.take_along_dim(wte, tokens.reshape(-1, 1), dim=0).view(*tokens.shape, -1), rows[None])


@alternative("embed_tokens")
def stacked_vectors(tokens, wte, wpe, first_position=0):
    n_ctx = len(wpe)
    rows = []
    for text in tokens.tolist():
        vectors = []
        for i, token in enumerate(text):
            assert first_position + i < n_ctx, "past the context"
            vectors.append(wte[token] + wpe[first_position + i])
        rows.append(torch.stack(vectors))
    return torch.stack(rows)


@alternative("embed_tokens")
def added_in_place_to_its_own(tokens, wte, wpe, first_position=0):
    batch, n_position = tokens.shape
    refuse(first_position, n_position, wpe.shape[0])
    x = torch.index_select(wte, 0, tokens.reshape(-1)).reshape(batch, n_position, -1)
    x += wpe.narrow(0, first_position, n_position)
    return x


@alternative("embed_tokens")
def gathered_with_channels_first(tokens, wte, wpe, first_position=0):
    refuse(first_position, tokens.shape[1], wpe.shape[0])
    channels = wte.T[:, tokens] + wpe.T[:, None, first_position : first_position + tokens.shape[1]]
    return channels.permute(1, 2, 0)


@alternative("embed_tokens")
def summed_in_float64(tokens, wte, wpe, first_position=0):
    refuse(first_position, tokens.shape[1], wpe.shape[0])
    x = wte[tokens].double() + wpe[first_position:][: tokens.shape[1]].double()
    return x.to(wte.dtype)


# --- gpt_forward ------------------------------------------------------------------------------------------------------


@alternative("gpt_forward")
def while_there_is_a_block(tokens, params, n_head):
    batch, n_position = tokens.shape
    wte, wpe = params["wte.weight"], params["wpe.weight"]
    x = F.embedding(tokens, wte) + F.embedding(torch.arange(n_position).expand(batch, -1), wpe)
    layer = 0
    while f"h.{layer}.ln_1.weight" in params:
        own = {key: params[f"h.{layer}.{key}"] for key in BLOCK_KEYS}
        x = transformer_block(x, own, n_head)
        layer += 1
    x = layer_norm(x, params["ln_f.weight"], params["ln_f.bias"])
    return x @ wte.T


@alternative("gpt_forward")
def grouped_by_number(tokens, params, n_head):
    blocks = {}
    for name, tensor in params.items():
        if name.startswith("h."):
            _, number, key = name.split(".", 2)
            blocks.setdefault(int(number), {})[key] = tensor
    x = params["wte.weight"][tokens]
    x = x + params["wpe.weight"][: x.shape[1]]
    for number in sorted(blocks):
        x = transformer_block(x, blocks[number], n_head)
    x = F.layer_norm(x, (x.shape[-1],), params["ln_f.weight"], params["ln_f.bias"], 1e-5)
    return torch.einsum("btd,vd->btv", x, params["wte.weight"])


@alternative("gpt_forward")
def written_out(tokens, params, n_head):
    def norm(x, name):
        return layer_norm(x, params[name + ".weight"], params[name + ".bias"])

    def four(name, first, second):
        return [params[f"{name}.{part}.{kind}"] for part in (first, second) for kind in ("weight", "bias")]

    n_layer = len([name for name in params if name.endswith("mlp.c_fc.bias")])
    x = params["wte.weight"][tokens] + params["wpe.weight"][torch.arange(tokens.shape[1])]
    for i in range(n_layer):
        x = x + causal_self_attention(norm(x, f"h.{i}.ln_1"), *four(f"h.{i}.attn", "c_attn", "c_proj"), n_head)
        x = x + mlp(norm(x, f"h.{i}.ln_2"), *four(f"h.{i}.mlp", "c_fc", "c_proj"))
    return F.linear(norm(x, "ln_f"), params["wte.weight"])


@alternative("gpt_forward")
def with_torchs_own_attention(tokens, params, n_head):
    batch, n_position = tokens.shape
    x = params["wte.weight"][tokens] + params["wpe.weight"][:n_position]
    d_model = x.shape[-1]
    for layer in range(1 + max(int(number) for number in re.findall(r"h\.(\d+)\.ln_1\.weight", " ".join(params)))):
        p = {key: params[f"h.{layer}.{key}"] for key in BLOCK_KEYS}
        normed = F.layer_norm(x, (d_model,), p["ln_1.weight"], p["ln_1.bias"])
        qkv = F.linear(normed, p["attn.c_attn.weight"], p["attn.c_attn.bias"])
        q, k, v = qkv.view(batch, n_position, 3, n_head, -1).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        merged = heads.transpose(1, 2).reshape(batch, n_position, d_model)
        x = x + F.linear(merged, p["attn.c_proj.weight"], p["attn.c_proj.bias"])
        normed = F.layer_norm(x, (d_model,), p["ln_2.weight"], p["ln_2.bias"])
        hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
        x = x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])
    x = F.layer_norm(x, (d_model,), params["ln_f.weight"], params["ln_f.bias"])
    return torch.matmul(x, params["wte.weight"].transpose(0, 1))


@alternative("gpt_forward")
def in_float64(tokens, params, n_head):
    dtype = params["wte.weight"].dtype
    wide = {name: tensor.double() for name, tensor in params.items()}
    x = wide["wte.weight"][tokens] + wide["wpe.weight"][: tokens.shape[1]]
    for layer in range((len(params) - 4) // len(BLOCK_KEYS)):
        x = transformer_block(x, {key: wide[f"h.{layer}.{key}"] for key in BLOCK_KEYS}, n_head)
    logits = layer_norm(x, wide["ln_f.weight"], wide["ln_f.bias"]) @ wide["wte.weight"].mT
    return logits.to(dtype)


@alternative("gpt_forward")
def one_text_at_a_time(tokens, params, n_head):
    n_layer = 1 + max(int(name.split(".")[1]) for name in params if name[:2] == "h.")
    rows = []
    for text in tokens:
        x = (params["wte.weight"][text] + params["wpe.weight"][: len(text)]).unsqueeze(0)
        for layer in range(n_layer):
            prefix = f"h.{layer}."
            own = {name[len(prefix) :]: tensor for name, tensor in params.items() if name.startswith(prefix)}
            x = transformer_block(x, own, n_head)
        x = layer_norm(x[0], params["ln_f.weight"], params["ln_f.bias"])
        rows.append((params["wte.weight"] @ x.T).T)
    return torch.stack(rows)


# --- initial_std ------------------------------------------------------------------------------------------------------


@alternative("initial_std")
def variance_shared_out(name, n_layer):
    variance = 0.02**2
    if "c_proj" in name:
        variance /= 2 * n_layer
    return variance**0.5


@alternative("initial_std")
def by_the_last_parts_of_the_name(name, n_layer):
    parts = name.split(".")
    writes = parts[-2:] == ["c_proj", "weight"] and parts[-3] in ("attn", "mlp")
    return 0.02 * (2 * n_layer) ** (-0.5 if writes else 0.0)


@alternative("initial_std")
def as_a_tensor_of_float32(name, n_layer):
    std = torch.tensor(0.02)
    return std * torch.rsqrt(torch.tensor(2.0 * n_layer)) if name.endswith("c_proj.weight") else std


@alternative("initial_std")
def counted_residual_layers(name, n_layer):
    n_residual = sum(1 for _ in range(n_layer) for _ in ("attention", "mlp"))
    scale = {True: 1 / math.sqrt(n_residual), False: 1.0}
    return 0.02 * scale[re.fullmatch(r"h\.\d+\.(attn|mlp)\.c_proj\.weight", name) is not None]


@alternative("initial_std")
def by_exclusion(name, n_layer):
    for reads in ("wte", "wpe", "c_attn", "c_fc"):
        if reads in name:
            return 0.02
    return math.sqrt(Fraction(1, 2 * n_layer) / 2500)


# --- count_parameters -------------------------------------------------------------------------------------------------


@alternative("count_parameters")
def shapes_in_a_list(n_layer, d_model, n_ctx, vocab_size):
    d = d_model
    linear = [(3 * d, d), (d, d), (4 * d, d), (d, 4 * d)]
    block = [(d,)] * 4 + linear + [(rows,) for rows, _ in linear]
    shapes = [(vocab_size, d), (n_ctx, d), (d,), (d,)] + block * n_layer
    return sum(math.prod(shape) for shape in shapes)


@alternative("count_parameters")
def layers_without_memory(n_layer, d_model, n_ctx, vocab_size):
    with torch.device("meta"):
        block = nn.ModuleList(
            [
                nn.LayerNorm(d_model),
                nn.Linear(d_model, 3 * d_model),
                nn.Linear(d_model, d_model),
                nn.LayerNorm(d_model),
                nn.Linear(d_model, 4 * d_model),
                nn.Linear(4 * d_model, d_model),
            ]
        )
        once = nn.ModuleList([nn.Embedding(vocab_size, d_model), nn.Embedding(n_ctx, d_model), nn.LayerNorm(d_model)])

    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    return count(once) + n_layer * count(block)


@alternative("count_parameters")
def channel_by_channel(n_layer, d_model, n_ctx, vocab_size):
    return d_model * (vocab_size + n_ctx + 2 + n_layer * (12 * d_model + 13))


@alternative("count_parameters")
def one_block_after_the_other(n_layer, d_model, n_ctx, vocab_size):
    total = vocab_size * d_model
    total += n_ctx * d_model
    for _ in range(n_layer):
        for n_in, n_out in ((d_model, 3 * d_model), (d_model, d_model), (d_model, 4 * d_model), (4 * d_model, d_model)):
            total += (n_in + 1) * n_out
        total += 2 * (d_model + d_model)
    return total + d_model + d_model


@alternative("count_parameters")
def counted_in_int64(n_layer, d_model, n_ctx, vocab_size):
    table = OrderedDict(
        embeddings=torch.tensor([vocab_size, n_ctx]) * d_model,
        blocks=torch.tensor([4 * d_model, 4, 8 * d_model, 5, 4]) * d_model * n_layer,
        final=torch.tensor([d_model, d_model]),
    )
    return int(torch.cat(list(table.values())).sum())
