"""Layer norm, GELU, the MLP and the block written in other ways, all of them right."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gptdojo import alternative
from reference.attention import causal_self_attention, merge_heads, scaled_dot_product_attention, split_heads
from reference.mask import causal_mask

# --- layer_norm -------------------------------------------------------------------------------------------------------


@alternative("layer_norm")
def var_mean_without_correction(x, weight, bias, eps=1e-5):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + eps) * weight + bias


@alternative("layer_norm")
def in_numpy(x, weight, bias, eps=1e-5):
    x, weight, bias = x.numpy(), weight.numpy(), bias.numpy()
    normed = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + np.float32(eps))
    return torch.from_numpy(normed * weight + bias)


@alternative("layer_norm")
def unbiased_variance_corrected(x, weight, bias, eps=1e-5):
    d_model = x.shape[-1]
    variance = x.var(dim=-1, keepdim=True) * (d_model - 1) / d_model
    return (x - x.mean(dim=-1, keepdim=True)) / (variance + eps) ** 0.5 * weight + bias


@alternative("layer_norm")
def difference_of_squares(x, weight, bias, eps=1e-5):
    mean = x.mean(dim=-1, keepdim=True)
    variance = x.square().mean(dim=-1, keepdim=True) - mean.square()
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias


@alternative("layer_norm")
def statistics_without_autograd(x, weight, bias, eps=1e-5):
    with torch.no_grad():
        out = x - x.mean(-1, keepdim=True)
        out /= (out.var(-1, correction=0, keepdim=True) + eps).sqrt_()
        out *= weight
        out += bias
    return out


@alternative("layer_norm")
def std_squared(x, weight, bias, eps=1e-5):
    mean = x.mean(-1, keepdim=True)
    std = x.std(-1, unbiased=False, keepdim=True)
    return weight * ((x - mean) / (std**2 + eps) ** 0.5) + bias


@alternative("layer_norm")
def row_by_row(x, weight, bias, eps=1e-5):
    rows = []
    for row in x.reshape(-1, x.shape[-1]).double():
        mean = sum(row) / len(row)
        variance = sum((number - mean) ** 2 for number in row) / len(row)
        rows.append((row - mean) / torch.sqrt(variance + eps) * weight + bias)
    return torch.stack(rows).reshape(x.shape).to(x.dtype)


@alternative("layer_norm")
def squares_in_float64(x, weight, bias, eps=1e-5):
    wide = x.double()
    mean = wide.mean(dim=-1, keepdim=True)
    variance = (wide**2).mean(dim=-1, keepdim=True) - mean**2
    return torch.addcmul(bias.double(), (wide - mean) / (variance + eps).sqrt(), weight.double()).to(x.dtype)


@alternative("layer_norm")
def by_a_centering_matrix(x, weight, bias, eps=1e-5):
    d_model = x.shape[-1]
    centered = x @ (torch.eye(d_model) - 1 / d_model)
    variance = torch.einsum("...c,...c->...", centered, centered) / d_model
    return centered / torch.sqrt(variance[..., None] + eps) * weight + bias


@alternative("layer_norm")
def in_place_on_its_own_copy(x, weight, bias, eps=1e-5):
    out = x.clone()
    out -= out.mean(dim=-1, keepdim=True)
    scale = torch.linalg.vector_norm(out, dim=-1, keepdim=True).square().div(x.shape[-1]).add(eps).rsqrt()
    return (out * scale).mul(weight).add(bias)


@alternative("layer_norm")
def channels_first_inside(x, weight, bias, eps=1e-5):
    columns = x.movedim(-1, 0)
    mean = columns.mean(0)
    variance = (columns - mean).pow(2).mean(0)
    normed = (columns - mean) / (variance + eps).sqrt()
    return normed.movedim(0, -1) * weight + bias


@alternative("layer_norm")
def one_scale_and_one_shift(x, weight, bias, eps=1e-5):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    scale = torch.rsqrt(variance + eps)
    shift = -mean * scale
    return (x * scale + shift) * weight + bias


# --- gelu -------------------------------------------------------------------------------------------------------------


@alternative("gelu")
def by_sigmoid(x):
    return x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


@alternative("gelu")
def by_horner(x):
    inner = x * (0.7978845608028654 + 0.035677408136300125 * x * x)
    return torch.lerp(torch.zeros_like(x), x, (inner.tanh() + 1) / 2)


@alternative("gelu")
def number_by_number(x):
    factor = (2 / math.pi) ** 0.5
    rows = [0.5 * number * (1 + torch.tanh(factor * (number + 0.044715 * number**3))) for number in x.reshape(-1)]
    return torch.stack(rows).reshape(x.shape)


@alternative("gelu")
def float64_inside(x):
    wide = x.double()
    gate = (1 + (math.sqrt(2 / math.pi) * (wide + 0.044715 * wide.pow(3))).tanh()) / 2
    return (wide * gate).to(x.dtype)


@alternative("gelu")
def in_place_on_the_inner_sum(x):
    inner = torch.pow(x, 3)
    inner = inner.mul(0.044715).add_(x).mul_(torch.tensor(2.0).div(torch.pi).sqrt().item())
    return inner.tanh().add(1).mul(x).mul(0.5)


@alternative("gelu")
def transposed_result(x):
    turned = x.T if x.dim() == 2 else x
    half = turned / 2
    out = half + half * torch.tanh(math.sqrt(2 / math.pi) * turned * (1 + 0.044715 * turned.square()))
    return out.T if x.dim() == 2 else out


@alternative("gelu")
def gelu_in_numpy(x):
    z = x.numpy()
    return torch.from_numpy(0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi).astype(np.float32) * (z + 0.044715 * z**3))))


@alternative("gelu")
def in_place_throughout(x):
    gate = x.clone()
    gate.mul_(gate).mul_(0.044715).add_(1).mul_(x).mul_(math.sqrt(2 / math.pi)).tanh_().add_(1).mul_(0.5)
    gate *= x
    return gate


# --- mlp --------------------------------------------------------------------------------------------------------------


@alternative("mlp")
def matmuls_with_transposes(x, w_fc, b_fc, w_proj, b_proj):
    hidden = x @ w_fc.T + b_fc
    hidden = 0.5 * hidden * (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
    return hidden @ w_proj.T + b_proj


@alternative("mlp")
def by_einsum(x, w_fc, b_fc, w_proj, b_proj):
    hidden = nn.GELU("tanh")(torch.einsum("...m,fm->...f", x, w_fc).add(b_fc))
    return torch.einsum("...f,mf->...m", hidden, w_proj) + b_proj


@alternative("mlp")
def one_position_at_a_time(x, w_fc, b_fc, w_proj, b_proj):
    rows = x.reshape(-1, x.shape[-1])
    results = [torch.mv(w_proj, F.gelu(torch.mv(w_fc, row) + b_fc, approximate="tanh")) + b_proj for row in rows]
    return torch.stack(results).reshape(*x.shape[:-1], -1)


@alternative("mlp")
def hidden_channels_in_two_halves(x, w_fc, b_fc, w_proj, b_proj):
    middle = (len(b_fc) + 1) // 2
    out = b_proj
    for part in (slice(0, middle), slice(middle, None)):
        out = out + F.linear(F.gelu(F.linear(x, w_fc[part], b_fc[part]), approximate="tanh"), w_proj[:, part])
    return out


@alternative("mlp")
def sum_over_hidden_channels(x, w_fc, b_fc, w_proj, b_proj):
    out = b_proj.expand(x.shape).clone()
    for key, threshold, value in zip(w_fc, b_fc, w_proj.T, strict=True):
        score = (x * key).sum(dim=-1, keepdim=True) + threshold
        out = out + F.gelu(score, approximate="tanh") * value
    return out


@alternative("mlp")
def modules_with_weights(x, w_fc, b_fc, w_proj, b_proj):
    d_ff, d_model = w_fc.shape
    layers = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU("tanh"), nn.Linear(d_ff, d_model)).to(x.dtype)
    weights = {"0.weight": w_fc, "0.bias": b_fc, "2.weight": w_proj, "2.bias": b_proj}
    return torch.func.functional_call(layers, weights, (x,))


@alternative("mlp")
def parameters_of_modules(x, w_fc, b_fc, w_proj, b_proj):
    c_fc, c_proj = nn.Linear(*w_fc.T.shape), nn.Linear(*w_proj.T.shape)
    c_fc.weight, c_fc.bias = nn.Parameter(w_fc), nn.Parameter(b_fc)
    c_proj.weight, c_proj.bias = nn.Parameter(w_proj), nn.Parameter(b_proj)
    return c_proj(nn.functional.gelu(c_fc(x), approximate="tanh"))


@alternative("mlp")
def mlp_in_numpy(x, w_fc, b_fc, w_proj, b_proj):
    hidden = x.numpy() @ w_fc.numpy().T + b_fc.numpy()
    hidden = 0.5 * hidden * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
    return torch.from_numpy(hidden @ w_proj.numpy().T + b_proj.numpy())


@alternative("mlp")
def mlp_in_float64(x, w_fc, b_fc, w_proj, b_proj):
    flat = x.reshape(-1, x.shape[-1]).double()
    hidden = F.gelu(torch.addmm(b_fc.double(), flat, w_fc.double().t()), approximate="tanh")
    return torch.addmm(b_proj.double(), hidden, w_proj.double().t()).reshape(x.shape).to(x.dtype)


# --- transformer_block ------------------------------------------------------------------------------------------------


@alternative("transformer_block")
def a_module_called_with_params(x, params, n_head):
    d_model, d_ff = x.shape[-1], params["mlp.c_fc.weight"].shape[0]

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.c_attn, self.c_proj = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

        def forward(self, x):
            q, k, v = (split_heads(part, n_head) for part in self.c_attn(x).split(d_model, dim=2))
            return self.c_proj(merge_heads(F.scaled_dot_product_attention(q, k, v, is_causal=True)))

    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.c_fc, self.c_proj = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)
            self.act = nn.GELU(approximate="tanh")

        def forward(self, x):
            return self.c_proj(self.act(self.c_fc(x)))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.attn, self.ln_2, self.mlp = nn.LayerNorm(d_model), Attention(), nn.LayerNorm(d_model), MLP()

        def forward(self, x):
            x = x + self.attn(self.ln_1(x))
            return x + self.mlp(self.ln_2(x))

    return torch.func.functional_call(Block().to(x.dtype), dict(params), (x,))


@alternative("transformer_block")
def torchs_encoder_layer(x, params, n_head):
    d_model, d_ff = x.shape[-1], len(params["mlp.c_fc.bias"])
    block = nn.TransformerEncoderLayer(d_model, n_head, d_ff, 0.0, nn.GELU("tanh"), batch_first=True, norm_first=True)
    names = {"self_attn.in_proj_": "attn.c_attn.", "self_attn.out_proj.": "attn.c_proj.", "norm1.": "ln_1."}
    names |= {"linear1.": "mlp.c_fc.", "linear2.": "mlp.c_proj.", "norm2.": "ln_2."}
    block.load_state_dict(
        {theirs + kind: params[ours + kind] for theirs, ours in names.items() for kind in ("weight", "bias")}
    )
    return block(x, src_mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1]), is_causal=True)


@alternative("transformer_block")
def everything_by_hand(x, params, n_head):
    def norm(x, name):
        centered = x - x.mean(-1, keepdim=True)
        normed = centered / (centered.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return normed * params[f"{name}.weight"] + params[f"{name}.bias"]

    def linear(x, name):
        return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]

    batch, position, d_model = x.shape
    qkv = linear(norm(x, "ln_1"), "attn.c_attn").view(batch, position, 3, n_head, d_model // n_head)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    scores = q @ k.mT / math.sqrt(d_model // n_head)
    future = torch.ones(position, position, dtype=torch.bool).triu(1)
    heads = scores.masked_fill(future, -math.inf).softmax(-1) @ v
    middle = x + linear(heads.transpose(1, 2).reshape(x.shape), "attn.c_proj")
    hidden = linear(norm(middle, "ln_2"), "mlp.c_fc")
    gate = (1 + torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3))) / 2
    return middle + linear(hidden * gate, "mlp.c_proj")


@alternative("transformer_block")
def adds_to_a_copy_in_place(x, params, n_head):
    p, x = params, x.clone()
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x += causal_self_attention(F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"]), *qkv, *out, n_head)
    hidden = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"]) @ p["mlp.c_fc.weight"].T
    hidden += p["mlp.c_fc.bias"]
    x += F.linear(F.gelu(hidden, approximate="tanh"), p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])
    return x


@alternative("transformer_block")
def one_loop_for_both_parts(x, params, n_head):
    stream = x
    for norm in ("ln_1", "ln_2"):
        read = F.layer_norm(stream, stream.shape[-1:], params[f"{norm}.weight"], params[f"{norm}.bias"], eps=1e-5)
        if norm == "ln_1":
            names = [f"attn.{layer}.{kind}" for layer in ("c_attn", "c_proj") for kind in ("weight", "bias")]
            stream = stream + causal_self_attention(read, *(params[name] for name in names), n_head)
        else:
            hidden = F.gelu(F.linear(read, params["mlp.c_fc.weight"], params["mlp.c_fc.bias"]), approximate="tanh")
            stream = F.linear(hidden, params["mlp.c_proj.weight"], params["mlp.c_proj.bias"]) + stream
    return stream


@alternative("transformer_block")
def in_float64_throughout(x, params, n_head):
    dtype = x.dtype
    x, p = x.double(), {name: tensor.double() for name, tensor in params.items()}
    read = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    q, k, v = (
        split_heads(part, n_head)
        for part in F.linear(read, p["attn.c_attn.weight"], p["attn.c_attn.bias"]).chunk(3, -1)
    )
    heads = scaled_dot_product_attention(q, k, v, causal_mask(x.shape[1], x.shape[1]))
    attended = F.linear(merge_heads(heads), p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    read = F.layer_norm(x + attended, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    thought = F.linear(
        F.gelu(F.linear(read, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh"),
        p["mlp.c_proj.weight"],
        p["mlp.c_proj.bias"],
    )
    return (x + attended + thought).to(dtype)


@alternative("transformer_block")
def gains_folded_into_the_weights(x, params, n_head):
    def folded(norm, layer):
        weight = params[f"{layer}.weight"]
        return weight * params[f"{norm}.weight"], params[f"{layer}.bias"] + weight @ params[f"{norm}.bias"]

    plain = F.layer_norm(x, x.shape[-1:])
    out = params["attn.c_proj.weight"], params["attn.c_proj.bias"]
    x = x + causal_self_attention(plain, *folded("ln_1", "attn.c_attn"), *out, n_head)
    hidden = F.gelu(F.linear(F.layer_norm(x, x.shape[-1:]), *folded("ln_2", "mlp.c_fc")), approximate="tanh")
    return x + F.linear(hidden, params["mlp.c_proj.weight"], params["mlp.c_proj.bias"])


@alternative("transformer_block")
def one_entry_at_a_time(x, params, n_head):
    p = dict(params)
    results = []
    for entry in x:
        read = F.layer_norm(entry, entry.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
        weights = p["attn.c_attn.weight"], p["attn.c_attn.bias"], p["attn.c_proj.weight"], p["attn.c_proj.bias"]
        entry = entry + causal_self_attention(read[None], *weights, n_head)[0]
        read = F.layer_norm(entry, entry.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
        hidden = F.gelu(read @ p["mlp.c_fc.weight"].mT + p["mlp.c_fc.bias"], approximate="tanh")
        results.append(entry + hidden @ p["mlp.c_proj.weight"].mT + p["mlp.c_proj.bias"])
    return torch.stack(results)
