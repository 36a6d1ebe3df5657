"""Right, and written differently: softmax in blocks and attention in tiles that the graders must accept."""

import math

import torch

from gptdojo import alternative

# --- online_softmax ---------------------------------------------------------------------------------------------------


@alternative("online_softmax")
def logarithms_of_sums(scores, block_size):
    total = torch.full(scores.shape[:-1], -math.inf)
    for start in range(0, scores.shape[-1], block_size):
        total = torch.logaddexp(total, scores[..., start : start + block_size].logsumexp(-1))
    total = torch.where(total == -math.inf, torch.zeros_like(total), total)
    return torch.exp(scores - total.unsqueeze(-1))


@alternative("online_softmax")
def score_by_score(scores, block_size):
    rows = []
    for row in scores.reshape(-1, scores.shape[-1]).tolist():
        top, total = -math.inf, 0.0
        for score in row:
            if score > top:
                total = total * math.exp(top - score) + 1.0
                top = score
            elif score > -math.inf:
                total += math.exp(score - top)
        rows.append([math.exp(score - top) / total if total else 0.0 for score in row])
    return torch.tensor(rows).reshape(scores.shape)


@alternative("online_softmax")
def in_float64_with_a_finite_start(scores, block_size):
    wide = scores.double()
    lowest = torch.finfo(torch.float64).min
    top = torch.full_like(wide[..., :1], lowest)
    total = torch.zeros_like(top)
    for block in torch.split(wide, block_size, dim=-1):
        former, top = top, torch.maximum(top, block.amax(-1, keepdim=True))
        total = total * torch.exp(former - top) + torch.exp(block - top).sum(-1, keepdim=True)
    return (torch.exp(wide - top) / total.clamp(min=1e-300)).to(scores.dtype)


@alternative("online_softmax")
def blocks_of_weights_joined(scores, block_size):
    pieces = []
    top = total = None
    for block in scores.split(block_size, -1):
        here = block.max(dim=-1, keepdim=True).values
        new = here if top is None else torch.maximum(top, here)
        safe = torch.nan_to_num(new, neginf=0.0)
        weights = torch.exp(block - safe)
        scale = torch.zeros_like(new) if top is None else torch.exp(top - safe)
        pieces = [piece * scale for piece in pieces] + [weights]
        total = weights.sum(-1, keepdim=True) if total is None else total * scale + weights.sum(-1, keepdim=True)
        top = new
    return torch.nan_to_num(torch.cat(pieces, dim=-1) / total, nan=0.0)


# --- flash_attention --------------------------------------------------------------------------------------------------


@alternative("flash_attention")
def keys_outside_queries_inside(q, k, v, block_query, block_key, mask=None):
    batch, n_head, n_query, d_head = q.shape
    n_key = k.shape[2]
    output = torch.zeros(batch, n_head, n_query, v.shape[-1])
    top = torch.full((batch, n_head, n_query), -math.inf)
    total = torch.zeros(batch, n_head, n_query)
    for j in range(0, n_key, block_key):
        for i in range(0, n_query, block_query):
            rows = slice(i, i + block_query)
            scores = torch.einsum("bhqd,bhkd->bhqk", q[:, :, rows], k[:, :, j : j + block_key]) / d_head**0.5
            if mask is not None:
                part = torch.broadcast_to(mask, (batch, n_head, n_query, n_key))[:, :, rows, j : j + block_key]
                scores = torch.where(part, scores, torch.tensor(-math.inf))
            new = torch.maximum(top[:, :, rows], scores.amax(-1))
            safe = torch.where(new.isinf(), torch.zeros_like(new), new)
            scale = torch.exp(top[:, :, rows] - safe)
            weights = torch.exp(scores - safe[..., None])
            total[:, :, rows] = total[:, :, rows] * scale + weights.sum(-1)
            output[:, :, rows] = output[:, :, rows] * scale[..., None] + weights @ v[:, :, j : j + block_key]
            top[:, :, rows] = new
    return output / total.clamp(min=1e-30)[..., None]


@alternative("flash_attention")
def merged_by_logarithms(q, k, v, block_query, block_key, mask=None):
    rows = []
    if mask is not None:
        mask = mask.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    for i in range(0, q.shape[2], block_query):
        q_block = q[:, :, i : i + block_query]
        mean, logs = torch.zeros(*q_block.shape[:3], v.shape[3]), torch.full((*q_block.shape[:3], 1), -math.inf)
        for j in range(0, k.shape[2], block_key):
            scores = q_block @ k[:, :, j : j + block_key].mT * q.shape[3] ** -0.5
            if mask is not None:
                scores = scores.masked_fill(mask[:, :, i : i + block_query, j : j + block_key].logical_not(), -math.inf)
            here = scores.logsumexp(-1, keepdim=True)
            both = torch.logaddexp(logs, here)
            safe = both.masked_fill(both.isneginf(), 0.0)
            mean = mean * (logs - safe).exp() + (scores - safe).exp() @ v[:, :, j : j + block_key]
            logs = both
        rows.append(mean)
    return torch.cat(rows, 2)


@alternative("flash_attention")
def head_by_head_in_float64(q, k, v, block_query, block_key, mask=None):
    batch, n_head, n_query, d_head = q.shape
    result = torch.empty(batch, n_head, n_query, v.shape[-1], dtype=q.dtype)
    shape = (batch, n_head, n_query, k.shape[2])
    visible = None if mask is None else mask.expand(shape)
    for b in range(batch):
        for h in range(n_head):
            for i in range(0, n_query, block_query):
                queries = q[b, h, i : i + block_query].double()
                top = torch.full((len(queries), 1), -1e300, dtype=torch.float64)
                total, output = torch.zeros_like(top), 0.0
                for j in range(0, shape[3], block_key):
                    scores = queries @ k[b, h, j : j + block_key].double().T / math.sqrt(d_head)
                    if visible is not None:
                        scores[~visible[b, h, i : i + block_query, j : j + block_key]] = -math.inf
                    new = torch.maximum(top, scores.max(dim=1, keepdim=True)[0])
                    weights = torch.exp(scores - new)
                    output = output * torch.exp(top - new) + weights @ v[b, h, j : j + block_key].double()
                    total = total * torch.exp(top - new) + weights.sum(1, keepdim=True)
                    top = new
                result[b, h, i : i + block_query] = torch.where(total > 0, output / total, 0.0).to(q.dtype)
    return result


@alternative("flash_attention")
def all_queries_against_a_block_of_keys(q, k, v, block_query, block_key, mask=None):
    wide = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    state = torch.zeros(*q.shape[:-1], wide.shape[-1])
    top = torch.full((*q.shape[:-1], 1), -math.inf)
    for j in range(0, k.shape[-2], block_key):
        scores = (q / math.sqrt(q.shape[-1])) @ k[..., j : j + block_key, :].transpose(2, 3)
        if mask is not None:
            part = mask if mask.shape[-1] == 1 else mask[..., j : j + block_key]
            scores = scores.masked_fill(~part, -math.inf)
        new = torch.maximum(top, scores.amax(-1, keepdim=True))
        safe = new.nan_to_num(neginf=0.0)
        state = state * (top - safe).exp() + (scores - safe).exp() @ wide[..., j : j + block_key, :]
        top = new
    total = state[..., -1:]
    return state[..., :-1] / total.masked_fill(total == 0, 1)


# --- flash_attention_causal -------------------------------------------------------------------------------------------


@alternative("flash_attention_causal")
def masks_all_tiles(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[2], k.shape[2]
    result = torch.zeros(*q.shape[:3], v.shape[3])
    for i in range(0, n_query, block_query):
        q_block = q[:, :, i : i + block_query]
        rows = torch.arange(i, i + q_block.shape[2])[:, None] + (n_key - n_query)
        top, total, output = torch.tensor(-math.inf), 0.0, 0.0
        for j in range(0, n_key, block_key):
            k_block, v_block = k[:, :, j : j + block_key], v[:, :, j : j + block_key]
            scores = torch.einsum("bhqd,bhkd->bhqk", q_block, k_block) * q.shape[3] ** -0.5
            scores = torch.where(rows >= torch.arange(j, j + k_block.shape[2]), scores, -math.inf)
            new = torch.maximum(top, scores.amax(-1, keepdim=True))
            scale, weights = torch.exp(top - new), torch.exp(scores - new)
            total, output = total * scale + weights.sum(-1, keepdim=True), output * scale + weights @ v_block
            top = new
        result[:, :, i : i + block_query] = output / total
    return result


@alternative("flash_attention_causal")
def query_by_query(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[2], k.shape[2]
    rows = []
    for i in range(n_query):
        seen = n_key - n_query + i + 1
        logs, mean = torch.full((*q.shape[:2], 1), -math.inf), 0.0
        for j in range(0, seen, block_key):
            end = min(j + block_key, seen)
            scores = (k[:, :, j:end] @ q[:, :, i].unsqueeze(-1)).squeeze(-1) / math.sqrt(q.shape[3])
            both = torch.logaddexp(logs, scores.logsumexp(-1, keepdim=True))
            part = torch.einsum("bhk,bhkd->bhd", (scores - both).exp(), v[:, :, j:end])
            mean, logs = mean * (logs - both).exp() + part, both
        rows.append(mean)
    return torch.stack(rows, dim=2)


@alternative("flash_attention_causal")
def triangles_on_the_diagonal(q, k, v, block_query, block_key):
    past = k.shape[-2] - q.shape[-2]
    outputs = []
    for i in range(0, q.shape[-2], block_query):
        rows = q[..., i : i + block_query, :].double() / math.sqrt(q.shape[-1])
        first, last = past + i, past + i + rows.shape[-2] - 1
        top = torch.full((*rows.shape[:-1], 1), -math.inf, dtype=torch.float64)
        total, output = torch.zeros_like(top), torch.zeros(*rows.shape[:-1], v.shape[-1], dtype=torch.float64)
        j = 0
        while j <= last:
            scores = rows @ k[..., j : j + block_key, :].mT.double()
            if j + scores.shape[-1] - 1 > first:
                visible = torch.ones(scores.shape[-2:], dtype=torch.bool).tril(diagonal=first - j)
                scores = scores.masked_fill(~visible, -math.inf)
            new = torch.maximum(top, scores.amax(-1, keepdim=True))
            weights, scale = (scores - new).exp(), (top - new).exp()
            total = total * scale + weights.sum(-1, keepdim=True)
            output = output * scale + weights @ v[..., j : j + block_key, :].double()
            top, j = new, j + block_key
        outputs.append((output / total).to(q.dtype))
    return torch.cat(outputs, dim=-2)
