"""Right, and written differently: all of these must be accepted."""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F

from gptdojo import alternative

# --- param_groups -----------------------------------------------------------------------------------------------------


@alternative("param_groups")
def by_a_loop(params):
    decayed, spared = [], []
    for name in sorted(params):
        (decayed if len(params[name].shape) > 1 else spared).append(name)
    return decayed, spared


@alternative("param_groups")
def by_filter(params):
    def is_vector(name):
        return params[name].dim() in (0, 1)

    spared = list(filter(is_vector, params))
    return [name for name in params if name not in set(spared)], spared


@alternative("param_groups")
def as_tuples(params):
    matrices = {name: parameter for name, parameter in params.items() if parameter.ndim >= 2}
    return tuple(matrices), tuple(params.keys() - matrices.keys())


# --- adamw_step -------------------------------------------------------------------------------------------------------


@alternative("adamw_step")
def as_torch_writes_it(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    parameter = parameter.clone().mul_(1 - lr * weight_decay)
    mean = state[0].clone().lerp_(gradient, 1 - betas[0])
    square = (state[1] * betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    scale = (square.sqrt() / math.sqrt(1 - betas[1] ** step)).add_(eps)
    return parameter.addcdiv_(mean, scale, value=-lr / (1 - betas[0] ** step)), (mean, square)


@alternative("adamw_step")
def in_float64(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    (b1, b2), g = betas, gradient.double()
    mean, square = (old.double() for old in state)
    mean = b1 * mean + (1 - b1) * g
    square = b2 * square + (1 - b2) * g**2
    move = (mean / (1 - b1**step)) / (torch.sqrt(square / (1 - b2**step)) + eps) + weight_decay * parameter
    return (parameter - lr * move).to(parameter.dtype), [mean.float(), square.float()]


@alternative("adamw_step")
def number_by_number(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    rows = zip(*(t.flatten().tolist() for t in (parameter, gradient, *state)), strict=True)
    new = []
    for p, g, m, s in rows:
        m = m + (1 - betas[0]) * (g - m)
        s = s + (1 - betas[1]) * (g * g - s)
        corrected = m / (1 - betas[0] ** step), s / (1 - betas[1] ** step)
        new.append((p - lr * weight_decay * p - lr * corrected[0] / (corrected[1] ** 0.5 + eps), m, s))
    p, m, s = (torch.tensor(column).reshape(parameter.shape) for column in zip(*new, strict=True))
    return p, (m, s)


@alternative("adamw_step")
def by_numpy(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    p, g, m, s = (np.asarray(t) for t in (parameter, gradient, *state))
    m = np.multiply(m, betas[0]) + g * (1 - betas[0])
    s = np.multiply(s, betas[1]) + np.square(g) * (1 - betas[1])
    unbiased = np.divide(m, 1 - math.pow(betas[0], step))
    root = np.sqrt(s / (1 - math.pow(betas[1], step)))
    p = p - lr * (unbiased / (root + eps) + weight_decay * p)
    return torch.as_tensor(p).float(), (torch.as_tensor(m).float(), torch.as_tensor(s).float())


# --- warmup_cosine_lr -------------------------------------------------------------------------------------------------


@alternative("warmup_cosine_lr")
def with_three_returns(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return (step + 1) * (max_lr / n_warmup)
    if step >= n_step:
        return min_lr
    angle = math.pi * (step - n_warmup) / (n_step - n_warmup)
    share = 0.5 * (1.0 + math.cos(angle))
    return share * max_lr + (1 - share) * min_lr


@alternative("warmup_cosine_lr")
def by_the_square_of_half_the_angle(step, n_warmup, n_step, max_lr, min_lr):
    if step in range(n_warmup):
        return max_lr - max_lr * (n_warmup - 1 - step) / n_warmup
    left = max(n_step - step, 0) / (n_step - n_warmup)
    return min_lr + (max_lr - min_lr) * math.sin(math.pi / 2 * left) ** 2


@alternative("warmup_cosine_lr")
def by_torch(step, n_warmup, n_step, max_lr, min_lr):
    warm = torch.linspace(0, max_lr, n_warmup + 1)[1:]
    cosine = torch.cos(torch.linspace(0, math.pi, n_step - n_warmup + 1))
    rates = torch.cat([warm, (max_lr + min_lr) / 2 + (max_lr - min_lr) / 2 * cosine])
    return rates[step if step < n_warmup else min(step, n_step)]


# --- clip_grad_norm ---------------------------------------------------------------------------------------------------


@alternative("clip_grad_norm")
def as_torch_does_with_a_small_number(gradients, max_norm):
    norm = math.sqrt(sum(gradient.pow(2).sum().item() for gradient in gradients.values()))
    scale = min(1.0, max_norm / (norm + 1e-6))
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


@alternative("clip_grad_norm")
def as_one_vector(gradients, max_norm):
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients.values()]).double()
    norm = torch.linalg.vector_norm(flat)
    if norm <= max_norm:
        return gradients, norm.float()
    return {name: (gradient / norm * max_norm).float() for name, gradient in gradients.items()}, norm.float()


@alternative("clip_grad_norm")
def divided_by_how_much_too_long(gradients, max_norm):
    total = functools.reduce(torch.add, [torch.einsum("i,i->", g.flatten(), g.flatten()) for g in gradients.values()])
    norm = total.sqrt()
    too_long = torch.maximum(norm / max_norm, torch.tensor(1.0))
    clipped = {}
    for name in reversed(list(gradients)):
        clipped[name] = torch.div(gradients[name], too_long)
    return [clipped, norm]


# --- accumulate_gradients ---------------------------------------------------------------------------------------------


@alternative("accumulate_gradients")
def sums_then_one_division(micro_gradients, n_tokens):
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients, n in zip(micro_gradients, n_tokens, strict=True):
        for name, gradient in gradients.items():
            total[name] += gradient * n
    return {name: gradient / sum(n_tokens) for name, gradient in total.items()}


@alternative("accumulate_gradients")
def by_einsum(micro_gradients, n_tokens):
    counts = torch.tensor(n_tokens, dtype=torch.float64)
    shares = counts / counts.sum()
    stacked = {name: torch.stack([part[name].double() for part in micro_gradients]) for name in micro_gradients[0]}
    return {name: torch.einsum("m,m...->...", shares, parts).float() for name, parts in stacked.items()}


@alternative("accumulate_gradients")
def as_a_running_mean(micro_gradients, n_tokens):
    mean = {name: gradient.clone() for name, gradient in micro_gradients[0].items()}
    seen = n_tokens[0]
    for gradients, n in list(zip(micro_gradients, n_tokens, strict=True))[1:]:
        if n == 0:
            continue
        seen += n
        mean = {name: old + (gradients[name] - old) * (n / seen) for name, old in mean.items()}
    return mean


# --- cross_entropy_backward -------------------------------------------------------------------------------------------


@alternative("cross_entropy_backward")
def minus_one_hot(logits, targets):
    return (F.softmax(logits, dim=1) - F.one_hot(targets, logits.shape[1])) / logits.shape[0]


@alternative("cross_entropy_backward")
def number_by_number_with_lists(logits, targets):
    rows = []
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        top = max(row)
        exps = [math.exp(z - top) for z in row]
        rows.append([(e / sum(exps) - (w == target)) / len(targets) for w, e in enumerate(exps)])
    return torch.tensor(rows)


@alternative("cross_entropy_backward")
def by_scatter_in_float64(logits, targets):
    gradient = (logits.double() - torch.logsumexp(logits.double(), -1, keepdim=True)).exp().t().contiguous().t()
    ones = torch.full((len(targets), 1), -1.0, dtype=torch.float64)
    return gradient.scatter_add(1, targets[:, None], ones).mul(1 / len(targets)).float()


# --- attention_backward -----------------------------------------------------------------------------------------------


@alternative("attention_backward")
def by_the_output_as_flash_attention_does(q, k, v, mask, grad_output):
    scale = 1 / math.sqrt(q.size(-1))
    scores = torch.where(mask, torch.einsum("...qd,...kd->...qk", q, k) * scale, float("-inf"))
    weights = (scores - torch.logsumexp(scores, dim=-1, keepdim=True)).exp()
    output = weights @ v
    delta = (grad_output * output).sum(dim=-1, keepdim=True)
    grad_scores = weights * (torch.einsum("...qe,...ke->...qk", grad_output, v) - delta)
    grad_q = scale * torch.einsum("...qk,...kd->...qd", grad_scores, k)
    grad_k = scale * torch.einsum("...qk,...qd->...kd", grad_scores, q)
    return grad_q, grad_k, torch.einsum("...qk,...qe->...ke", weights, grad_output)


@alternative("attention_backward")
def by_the_jacobian_of_each_row(q, k, v, mask, grad_output):
    scaled = q * q.shape[-1] ** -0.5
    weights = torch.softmax((scaled @ k.mT).masked_fill(~mask, -1e30), dim=-1)
    jacobian = torch.diag_embed(weights) - weights.unsqueeze(-1) * weights.unsqueeze(-2)
    grad_scores = (jacobian @ (grad_output @ v.mT).unsqueeze(-1)).squeeze(-1)
    return [grad_scores @ k * q.shape[-1] ** -0.5, grad_scores.mT @ scaled, weights.mT @ grad_output]


@alternative("attention_backward")
def query_by_query_in_float64(q, k, v, mask, grad_output):
    q, k, v, upstream = (t.double() for t in (q, k, v, grad_output))
    grad_q, grad_k, grad_v = (torch.zeros(t.shape, dtype=torch.float64) for t in (q, k, v))
    for i in range(q.shape[-2]):
        seen = mask[i].nonzero().flatten()
        keys, values = k[..., seen, :], v[..., seen, :]
        p = ((keys * q[..., i : i + 1, :]).sum(-1) / q.shape[-1] ** 0.5).softmax(-1)
        dp = (values * upstream[..., i : i + 1, :]).sum(-1)
        ds = (p * dp - p * (p * dp).sum(-1, keepdim=True)) / q.shape[-1] ** 0.5
        grad_q[..., i, :] = (ds.unsqueeze(-1) * keys).sum(-2)
        grad_k[..., seen, :] += ds.unsqueeze(-1) * q[..., i : i + 1, :]
        grad_v[..., seen, :] += p.unsqueeze(-1) * upstream[..., i : i + 1, :]
    return grad_q.float(), grad_k.float(), grad_v.float()
