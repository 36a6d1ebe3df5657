"""Attention written in other ways, all of them right."""

import math

import torch
from torch.nn.functional import linear, softmax

from gptdojo import alternative
from reference.mask import causal_mask, masked_softmax


@alternative("scaled_dot_product_attention")
def one_query_at_a_time(q, k, v, mask):
    batch, n_head, n_query, d_head = q.shape
    n_key = k.shape[-2]
    allowed = torch.ones(1, dtype=torch.bool) if mask is None else mask
    allowed = allowed.expand(batch, n_head, n_query, n_key)
    rows = []
    for b in range(batch):
        for h in range(n_head):
            for i in range(n_query):
                seen = allowed[b, h, i]
                scores = (k[b, h][seen] * q[b, h, i]).sum(dim=-1) * d_head**-0.5
                rows.append(scores.softmax(dim=0) @ v[b, h][seen])
    return torch.stack(rows).view(batch, n_head, n_query, -1)


@alternative("scaled_dot_product_attention")
def by_einsum(q, k, v, mask):
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = torch.where(mask, scores, torch.tensor(-torch.inf, dtype=scores.dtype))
    return torch.einsum("bhqk,bhkv->bhqv", torch.softmax(scores, dim=-1), v)


@alternative("scaled_dot_product_attention")
def by_baddbmm(q, k, v, mask):
    batch, n_head, n_query, d_head = q.shape
    n_key = k.shape[-2]
    lowest = torch.finfo(q.dtype).min / 2
    bias = torch.zeros(batch, n_head, n_query, n_key, dtype=q.dtype)
    if mask is not None:
        bias = bias.masked_fill(mask.logical_not(), lowest)
    scores = torch.baddbmm(bias.flatten(0, 1), q.flatten(0, 1), k.flatten(0, 1).mT, alpha=1 / math.sqrt(d_head))
    return torch.bmm(softmax(scores, dim=-1), v.flatten(0, 1)).unflatten(0, (batch, n_head))


@alternative("scaled_dot_product_attention")
def exponentials_by_hand(q, k, v, mask):
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if mask is None:
        mask = torch.ones((), dtype=torch.bool)
    hidden = ~mask.expand_as(scores)
    largest = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).max(dim=-1, keepdim=True).values
    weights = torch.exp((scores - largest.detach()).masked_fill(hidden, -torch.inf))
    return (weights @ v) / weights.sum(dim=-1, keepdim=True)


@alternative("scaled_dot_product_attention")
def in_float64_inside(q, k, v, mask):
    dtype = q.dtype
    q, k, v = q.double(), k.double(), v.double()
    scores = q.matmul(k.transpose(2, 3)).div(math.sqrt(k.size(-1)))
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e30)
    return scores.softmax(-1).matmul(v).to(dtype)


@alternative("scaled_dot_product_attention")
def keys_in_chunks(q, k, v, mask):
    q = q / math.sqrt(q.shape[-1])
    shape = (*q.shape[:-1], k.shape[-2])
    allowed = torch.ones(shape, dtype=torch.bool) if mask is None else mask.expand(shape)
    lowest = torch.finfo(q.dtype).min
    largest = torch.full((*shape[:-1], 1), lowest, dtype=q.dtype)
    total = torch.zeros_like(largest)
    output = torch.zeros(*shape[:-1], v.shape[-1], dtype=v.dtype)
    for start in range(0, k.shape[-2], 2):
        part = slice(start, start + 2)
        seen = allowed[..., part]
        scores = torch.where(seen, q @ k[..., part, :].transpose(-2, -1), lowest)
        grown = torch.maximum(largest, scores.amax(dim=-1, keepdim=True))
        weights = torch.where(seen, torch.exp(scores - grown), 0)
        shrink = torch.exp(largest - grown)
        total = total * shrink + weights.sum(dim=-1, keepdim=True)
        output = output * shrink + weights @ v[..., part, :]
        largest = grown
    return output / total


@alternative("scaled_dot_product_attention")
def output_not_contiguous(q, k, v, mask):
    scores = k @ q.transpose(-2, -1)
    scores *= q.shape[-1] ** -0.5
    weights = scores.transpose(-2, -1)
    weights = weights.softmax(-1) if mask is None else masked_softmax(weights, mask)
    return (v.transpose(-2, -1) @ weights.transpose(-2, -1)).transpose(-2, -1)


@alternative("scaled_dot_product_attention")
def filled_in_place(q, k, v, mask):
    root = q.shape[-1] ** 0.25
    scores = torch.matmul(q / root, (k / root).transpose(-1, -2))
    if mask is not None:
        scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
    return (scores - scores.logsumexp(dim=-1, keepdim=True)).exp() @ v


@alternative("scaled_dot_product_attention")
def filled_with_minus_infinity(q, k, v, mask):
    scores = torch.matmul(q, k.transpose(-2, -1)) / torch.sqrt(torch.tensor(k.size(-1)))
    if mask is not None:
        scores = scores.masked_fill(mask == 0, float("-inf"))
    return torch.softmax(scores, dim=-1) @ v


@alternative("scaled_dot_product_attention")
def minus_billion_added(q, k, v, mask):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + (1.0 - mask.float()) * -1e9
    weights = torch.exp(scores - scores.max(dim=-1, keepdim=True)[0])
    return weights / (weights.sum(dim=-1, keepdim=True) + 1e-12) @ v


@alternative("scaled_dot_product_attention")
def written_head_by_head(q, k, v, mask):
    batch, n_head, n_query, d_head = q.shape
    output = torch.zeros(batch, n_head, n_query, v.shape[-1])
    for b in range(batch):
        for h in range(n_head):
            scores = q[b, h] @ k[b, h].T / math.sqrt(d_head)
            if mask is not None:
                scores[~mask.expand(batch, n_head, *scores.shape)[b, h]] = -torch.inf
            output[b, h] = softmax(scores, dim=1) @ v[b, h]
    return output


@alternative("split_heads")
def slices_stacked(x, n_head):
    d_head = x.shape[-1] // n_head
    return torch.stack([x[:, :, h * d_head : (h + 1) * d_head] for h in range(n_head)], dim=1)


@alternative("split_heads")
def unflattened(x, n_head):
    return x.unflatten(-1, (n_head, -1)).permute(0, 2, 1, 3)


@alternative("split_heads")
def chunks_stacked(x, n_head):
    return torch.cat([part.unsqueeze(1) for part in torch.split(x, x.shape[-1] // n_head, dim=-1)], dim=1).contiguous()


@alternative("split_heads")
def written_into_a_buffer(x, n_head):
    batch, position, d_model = x.shape
    d_head = d_model // n_head
    heads = torch.empty(batch, n_head, position, d_head)
    for h in range(n_head):
        heads[:, h].copy_(x.narrow(-1, h * d_head, d_head))
    return heads


@alternative("split_heads")
def gathered_by_index(x, n_head):
    channels = torch.arange(x.shape[-1]).view(n_head, -1)
    return x[..., channels].movedim(2, 1)


@alternative("split_heads")
def by_einsum_with_a_basis(x, n_head):
    d_model = x.shape[-1]
    if d_model % n_head:
        raise ValueError("n_head does not divide d_model")
    basis = torch.eye(d_model).reshape(n_head, d_model // n_head, d_model)
    return torch.einsum("btm,hdm->bhtd", x, basis)


@alternative("merge_heads")
def heads_concatenated(x):
    return torch.cat([x[:, h] for h in range(x.shape[1])], dim=-1)


@alternative("merge_heads")
def contiguous_then_view(x):
    batch, n_head, position, d_head = x.size()
    return x.transpose(1, 2).contiguous().view(batch, position, n_head * d_head)


@alternative("merge_heads")
def flattened(x):
    return x.permute(0, 2, 1, 3).flatten(-2)


@alternative("merge_heads")
def unbound_and_joined(x):
    return torch.cat(x.unbind(1), -1)


@alternative("merge_heads")
def written_side_by_side(x):
    batch, n_head, position, d_head = x.shape
    merged = torch.empty(batch, position, n_head * d_head)
    for h in range(n_head):
        merged[:, :, h * d_head : (h + 1) * d_head] = x[:, h]
    return merged


@alternative("merge_heads")
def merged_not_contiguous(x):
    return x.permute(1, 3, 0, 2).flatten(0, 1).permute(1, 2, 0)


@alternative("causal_self_attention")
def views_and_a_float_mask(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, length, width = x.size()
    heads = [
        part.view(batch, length, n_head, width // n_head).transpose(1, 2)
        for part in linear(x, w_qkv, b_qkv).split(width, dim=2)
    ]
    pattern = heads[0].matmul(heads[1].transpose(2, 3)).div(math.sqrt(width // n_head))
    is_future = torch.tril(torch.ones(1, 1, length, length)) == 0
    pattern = softmax(pattern.masked_fill(is_future, float("-inf")), dim=3)
    mixed = pattern.matmul(heads[2]).transpose(1, 2).contiguous().view(batch, length, width)
    return linear(mixed, w_out, b_out)


@alternative("causal_self_attention")
def one_head_at_a_time(x, w_qkv, b_qkv, w_out, b_out, n_head):
    d_model = x.shape[-1]
    d_head = d_model // n_head
    mask = causal_mask(x.shape[1], x.shape[1])
    output = b_out
    for h in range(n_head):
        rows = [slice(part * d_model + h * d_head, part * d_model + (h + 1) * d_head) for part in range(3)]
        q, k, v = (linear(x, w_qkv[part], b_qkv[part]) for part in rows)
        weights = masked_softmax(q @ k.mT / d_head**0.5, mask)
        output = output + weights @ v @ w_out[:, h * d_head : (h + 1) * d_head].T
    return output


@alternative("causal_self_attention")
def one_position_at_a_time(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, n_position, _ = x.shape
    keys, values, outputs = [], [], []
    for t in range(n_position):
        q, k, v = (x[:, t] @ w_qkv.T + b_qkv).view(batch, 3, n_head, -1).unbind(1)
        keys.append(k)
        values.append(v)
        scores = (torch.stack(keys, dim=2) * q.unsqueeze(2)).sum(-1) / math.sqrt(q.shape[-1])
        weights = scores.softmax(dim=-1).unsqueeze(-1)
        heads = (weights * torch.stack(values, dim=2)).sum(dim=2)
        outputs.append(heads.flatten(1) @ w_out.T + b_out)
    return torch.stack(outputs, dim=1)


@alternative("causal_self_attention")
def by_einsum_over_weights(x, w_qkv, b_qkv, w_out, b_out, n_head):
    d_model = x.shape[-1]
    weights = w_qkv.unflatten(0, (3, n_head, d_model // n_head))
    biases = b_qkv.unflatten(0, (3, n_head, d_model // n_head))
    q, k, v = torch.einsum("btm,chdm->cbhtd", x, weights) + biases[:, None, :, None, :]
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(d_model // n_head)
    future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(diagonal=1)
    pattern = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
    blocks = w_out.unflatten(1, (n_head, d_model // n_head))
    return torch.einsum("bhqk,bhkd,mhd->bqm", pattern, v, blocks) + b_out


@alternative("causal_self_attention")
def value_bias_added_last(x, w_qkv, b_qkv, w_out, b_out, n_head):
    # Every row of weights sums to 1, so the bias of the values passes through; the bias of the keys adds the same
    # number to all scores of a row, which a softmax does not see.
    batch, n_position, d_model = x.shape
    b_q, _, b_v = b_qkv.chunk(3)
    q, k, v = (x @ w.T for w in w_qkv.chunk(3))
    q = q + b_q
    q, k, v = (t.reshape(batch, n_position, n_head, -1).permute(0, 2, 1, 3) for t in (q, k, v))
    scores = q @ k.mT * (d_model // n_head) ** -0.5
    heads = masked_softmax(scores, causal_mask(n_position, n_position)) @ v
    return (heads.transpose(1, 2).flatten(2) + b_v) @ w_out.T + b_out


@alternative("causal_self_attention")
def query_and_key_weights_multiplied_out(x, w_qkv, b_qkv, w_out, b_out, n_head):
    dtype = x.dtype
    x, w_qkv, b_qkv, w_out, b_out = (t.double() for t in (x, w_qkv, b_qkv, w_out, b_out))
    n_position, d_model = x.shape[1:]
    d_head = d_model // n_head
    homogeneous = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)
    rows = torch.cat([w_qkv, b_qkv[:, None]], dim=1).view(3, n_head, d_head, d_model + 1)
    bilinear = rows[0].mT @ rows[1] / math.sqrt(d_head)
    scores = homogeneous.unsqueeze(1) @ bilinear @ homogeneous.unsqueeze(1).mT
    lower = torch.arange(n_position)[:, None] >= torch.arange(n_position)
    pattern = torch.where(lower, scores, torch.finfo(scores.dtype).min).softmax(-1)
    circuits = w_out.view(d_model, n_head, d_head).transpose(0, 1) @ rows[2]
    return ((pattern @ homogeneous.unsqueeze(1) @ circuits.mT).sum(dim=1) + b_out).to(dtype)


@alternative("causal_self_attention")
def positions_in_blocks(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, n_position, d_model = x.shape
    qkv = torch.addmm(b_qkv, x.reshape(-1, d_model), w_qkv.t()).view(batch, n_position, 3, n_head, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    blocks = []
    for start in range(0, n_position, 3):
        end = min(start + 3, n_position)
        scores = q[:, :, start:end] @ k[:, :, :end].transpose(-2, -1) / math.sqrt(q.shape[-1])
        blocks.append(masked_softmax(scores, causal_mask(end - start, end)) @ v[:, :, :end])
    heads = torch.cat(blocks, dim=2)
    return torch.cat(heads.unbind(dim=1), dim=-1) @ w_out.t() + b_out


@alternative("causal_self_attention")
def separate_weights_and_minus_billion(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, n_position, d_model = x.shape

    def heads(part):
        rows = slice(part * d_model, (part + 1) * d_model)
        return linear(x, w_qkv[rows], b_qkv[rows]).view(batch, n_position, n_head, -1).permute(0, 2, 1, 3)

    scores = heads(0) @ heads(1).mT / (d_model / n_head) ** 0.5
    scores += torch.triu(torch.full((n_position, n_position), -1e9), diagonal=1)
    mixed = torch.einsum("bhqk,bhkd->bqhd", scores.softmax(-1), heads(2))
    return linear(mixed.reshape(batch, n_position, d_model), w_out, b_out)
