"""Right, and written differently: all of these must be accepted."""

import bisect
import itertools
import math

import torch
import torch.nn.functional as F

from gptdojo import alternative

INF = float("inf")


# --- apply_temperature ------------------------------------------------------------------------------------------------


@alternative("apply_temperature")
def times_the_inverse(logits, temperature):
    if temperature:
        return logits * (1.0 / temperature)
    best, _ = logits.max(dim=-1, keepdim=True)
    return torch.where(logits == best, logits, -INF)


@alternative("apply_temperature")
def row_by_row(logits, temperature):
    rows = []
    for row in logits.tolist():
        top = max(row)
        rows.append([x / temperature if temperature > 0 else x if x == top else -INF for x in row])
    return torch.tensor(rows)


@alternative("apply_temperature")
def in_float64_in_place(logits, temperature):
    out = logits.double().clone()
    if temperature == 0:
        out[out < out.amax(-1)[:, None]] = -INF
    else:
        out.div_(temperature)
    return out.to(logits.dtype)


@alternative("apply_temperature")
def added_mask(logits, temperature):
    if temperature != 0:
        return torch.div(logits, temperature)
    mask = torch.zeros_like(logits)
    mask[logits != logits.amax(dim=1, keepdim=True)] = -INF
    return (logits.T + mask.T).T


# --- top_k_filter -----------------------------------------------------------------------------------------------------


@alternative("top_k_filter")
def by_full_sort(logits, k):
    climbing = torch.sort(logits, dim=-1)[0]
    border = climbing[:, max(0, logits.size(1) - k)]
    return torch.where(logits >= border[:, None], logits, torch.tensor(-INF))


@alternative("top_k_filter")
def by_counting_the_likelier(logits, k):
    likelier = (logits[:, None, :] > logits[:, :, None]).sum(dim=-1)
    return logits.masked_fill(likelier >= k, -INF)


@alternative("top_k_filter")
def by_python_sort(logits, k):
    rows = []
    for row in logits.tolist():
        border = sorted(row, reverse=True)[:k][-1]
        rows.append([x if x >= border else -INF for x in row])
    return torch.tensor(rows, dtype=logits.dtype)


@alternative("top_k_filter")
def by_kthvalue(logits, k):
    vocab = logits.shape[-1]
    if k >= vocab:
        return logits.clone()
    border = logits.kthvalue(vocab - k + 1, dim=-1, keepdim=True).values
    out = torch.full_like(logits, -INF)
    keep = logits >= border
    out[keep] = logits[keep]
    return out


# --- top_p_filter -----------------------------------------------------------------------------------------------------


@alternative("top_p_filter")
def by_the_strictly_likelier(logits, p):
    probs = F.softmax(logits, dim=-1)
    likelier = probs[:, None, :] * (logits[:, None, :] > logits[:, :, None])
    keep = (likelier.sum(dim=-1) < p) | (logits == logits.amax(dim=-1, keepdim=True)) | (p == 1)
    return logits.masked_fill(~keep, -INF)


@alternative("top_p_filter")
def upward_as_in_transformers(logits, p):
    if p >= 1:
        return logits
    climbing, order = logits.double().sort(dim=-1)
    remove = climbing.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    remove[:, -1] = False
    border = climbing.masked_fill(remove, INF).amin(dim=-1, keepdim=True)
    remove = torch.zeros_like(remove).scatter(-1, order, climbing < border)
    return logits.masked_fill(remove, -INF)


@alternative("top_p_filter")
def shifted_by_one(logits, p):
    ordered, order = torch.sort(logits, descending=True)
    remove = torch.softmax(ordered, dim=-1).cumsum(dim=-1) > p
    remove[:, 1:] = remove[:, :-1].clone()
    remove[:, 0] = False
    if p == 1.0:
        remove[:] = False
    ties = ordered == ordered.masked_fill(remove, INF).min(dim=-1, keepdim=True).values
    back = torch.empty_like(remove).scatter_(1, order, remove & ~ties)
    return torch.where(back, -INF, logits)


@alternative("top_p_filter")
def token_by_token(logits, p):
    result = []
    for row in logits.tolist():
        top = max(row)
        weights = [math.exp(x - top) for x in row]
        total, so_far, border = sum(weights), 0.0, top
        for x, weight in sorted(zip(row, weights, strict=True), reverse=True):
            if so_far >= p * total and p < 1:
                break
            so_far, border = so_far + weight, x
        result.append([x if x >= min(border, top) else -INF for x in row])
    return torch.tensor(result)


@alternative("top_p_filter")
def by_searchsorted(logits, p):
    ordered = logits.sort(dim=-1, descending=True).values
    total = ordered.softmax(dim=-1).cumsum(dim=-1)
    last = torch.searchsorted(total, torch.full((len(logits), 1), float(p))).clamp(max=logits.shape[-1] - 1)
    if p == 1:
        last = torch.full_like(last, logits.shape[-1] - 1)
    return logits.masked_fill(logits < torch.take_along_dim(ordered, last, dim=-1), -INF)


# --- min_p_filter -----------------------------------------------------------------------------------------------------


@alternative("min_p_filter")
def by_logits(logits, min_p):
    distance = -math.log(min_p) if min_p > 0 else INF
    return torch.where(logits.amax(dim=-1, keepdim=True) - logits <= distance, logits, -INF)


@alternative("min_p_filter")
def by_log_softmax(logits, min_p):
    log_probs = F.log_softmax(logits.double(), dim=-1)
    least = log_probs.max(dim=-1, keepdim=True).values + torch.tensor(float(min_p), dtype=torch.float64).log()
    return logits.masked_fill(log_probs < least, -INF)


@alternative("min_p_filter")
def by_ratio(logits, min_p):
    out = logits.clone()
    out[(logits - logits.amax(-1, keepdim=True)).exp() < min_p] = -INF
    return out


@alternative("min_p_filter")
def by_python_loops(logits, min_p):
    rows = []
    for row in logits.unbind(0):
        top = row.max().item()
        rows.append([x if math.exp(x - top) >= min_p else -INF for x in row.tolist()])
    return torch.tensor(rows)


# --- repetition_penalty -----------------------------------------------------------------------------------------------


@alternative("repetition_penalty")
def gathered_and_scattered(logits, tokens, penalty):
    score = logits.gather(1, tokens)
    score = torch.where(score < 0, score * penalty, score / penalty)
    return logits.scatter(1, tokens, score)


@alternative("repetition_penalty")
def sets_of_tokens(logits, tokens, penalty):
    out = logits.clone()
    for row, seen in enumerate(tokens.tolist()):
        for token in set(seen):
            out[row, token] = out[row, token] / penalty if out[row, token] > 0 else out[row, token] * penalty
    return out


@alternative("repetition_penalty")
def by_comparing_all(logits, tokens, penalty):
    vocab = torch.arange(logits.shape[1])
    seen = (tokens[:, :, None] == vocab).any(dim=1)
    factor = torch.where(logits > 0, 1 / penalty, penalty)
    return torch.where(seen, logits * factor, logits)


@alternative("repetition_penalty")
def positive_and_negative_part(logits, tokens, penalty):
    penalized = logits.clamp(min=0) / penalty + logits.clamp(max=0) * penalty
    counts = torch.zeros(logits.shape).scatter_add_(1, tokens, torch.ones(tokens.shape))
    out = logits.clone()
    out[counts > 0] = penalized[counts > 0]
    return out


# --- process_logits ---------------------------------------------------------------------------------------------------


@alternative("process_logits")
def list_of_steps(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    def best(x):
        return x.amax(dim=-1, keepdim=True)

    def rule_out(x, drop):
        return x.masked_fill(drop, -INF)

    def nucleus(x):
        probs = x.softmax(-1)
        likelier = (probs[:, None, :] * (x[:, None, :] > x[:, :, None])).sum(-1)
        return rule_out(x, (likelier >= top_p) & (x < best(x)) & (top_p < 1))

    seen = (tokens[..., None] == torch.arange(logits.shape[-1])).any(1)
    steps = [lambda x: torch.where(seen, torch.where(x > 0, x / penalty, x * penalty), x)]
    steps.append(lambda x: rule_out(x, x < best(x)) if temperature == 0 else x / temperature)
    if top_k is not None:
        steps.append(lambda x: rule_out(x, (x[:, None, :] > x[:, :, None]).sum(-1) >= top_k))
    if top_p is not None:
        steps.append(nucleus)
    if min_p is not None:
        steps.append(lambda x: rule_out(x, (x - best(x)).exp() < min_p))
    for step in steps:
        logits = step(logits)
    return logits


@alternative("process_logits")
def plain_python(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    result = []
    for row, seen in zip(logits.tolist(), tokens.tolist(), strict=True):
        for token in set(seen):
            row[token] = row[token] / penalty if row[token] > 0 else row[token] * penalty
        scale = temperature or 1.0
        row = [x / scale if temperature or x == max(row) else -INF for x in row]
        top = max(row)
        if top_k is not None:
            border = sorted(row)[-min(top_k, len(row))]
            row = [x if x >= border else -INF for x in row]
        if top_p is not None and top_p != 1:
            total = sum(math.exp(x - top) for x in row)
            mass = {x: sum(math.exp(y - top) for y in row if y > x) / total for x in set(row)}
            row = [x if mass[x] < top_p or x == top else -INF for x in row]
        if min_p is not None:
            row = [x if math.exp(x - top) >= min_p else -INF for x in row]
        result.append(row)
    return torch.tensor(result)


@alternative("process_logits")
def one_sort_for_all(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    dtype, logits = logits.dtype, logits.double()
    score = logits.gather(1, tokens)
    logits = logits.scatter(1, tokens, torch.where(score < 0, score * penalty, score / penalty))
    ordered = logits.sort(dim=-1, descending=True).values
    border = ordered[:, :1] if temperature == 0 else ordered[:, -1:]
    if temperature != 0:
        logits, ordered, border = logits / temperature, ordered / temperature, border / temperature
    if top_k is not None:
        border = torch.maximum(border, ordered[:, min(top_k, ordered.shape[1]) - 1].unsqueeze(1))
    if top_p is not None and top_p < 1:
        probs = ordered.masked_fill(ordered < border, -INF).softmax(-1)
        last = ((probs.cumsum(-1) - probs < top_p).sum(-1, keepdim=True) - 1).clamp(min=0)
        border = torch.maximum(border, ordered.gather(1, last))
    if min_p:
        border = torch.maximum(border, ordered[:, :1] + math.log(min_p))
    return torch.where(logits >= border, logits, -INF).to(dtype)


# --- sample -----------------------------------------------------------------------------------------------------------


@alternative("sample")
def inverse_cumulated(logits, generator=None):
    total = torch.softmax(logits.double(), dim=-1).cumsum(dim=-1)
    u = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64) * total[:, -1:]
    return torch.searchsorted(total, u, right=True).squeeze(1)


@alternative("sample")
def gumbel_trick(logits, generator=None):
    u = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    return (logits - (-u.log()).log()).argmax(dim=-1)


@alternative("sample")
def race_of_exponentials(logits, generator=None):
    probs = F.softmax(logits, dim=-1)
    waits = torch.empty_like(probs).exponential_(generator=generator)
    return (probs / waits).argmax(dim=-1)


@alternative("sample")
def loop_over_rows(logits, generator=None):
    u = torch.rand(len(logits), generator=generator).tolist()
    tokens = []
    for row, number in zip(logits.double().softmax(-1).tolist(), u, strict=True):
        total = list(itertools.accumulate(row))
        tokens.append(min(bisect.bisect_right(total, number * total[-1]), len(row) - 1))
    return torch.tensor(tokens)


@alternative("sample")
def unscaled_weights(logits, generator=None):
    weights = (logits - logits.max(dim=-1, keepdim=True).values).exp()
    return torch.cat([torch.multinomial(row, 1, generator=generator) for row in weights]).to(torch.int32)
