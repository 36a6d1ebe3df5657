"""The parts of a training step, by hand: gradients, clipping, AdamW, the schedule (chapter 16)."""

import math
from collections.abc import Sequence

import torch

from reference.next_token import softmax
from reference.shapes import Bool, Float, Int, Params, Tensor, expect

Same = Float[Tensor, "*shape"]


def param_groups(params: Params) -> tuple[list[str], list[str]]:
    """The names of parameters with weight decay (two dimensions or more), and without (biases and gains).
    Source: Radford et al. 2018 (GPT), section 4.1: "all non bias or gain weights"."""
    decayed = [name for name, parameter in params.items() if parameter.ndim >= 2]
    return decayed, [name for name in params if name not in decayed]


def adamw_step(
    parameter: Same,
    gradient: Same,
    state: tuple[Same, Same],
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
) -> tuple[Same, tuple[Same, Same]]:
    """The parameter and its state after one update; `state` has the running means of gradient and square, 0 at first.
    `step` counts from 1. The decay acts on the parameter itself, past the gradient's scaling. Raises ValueError if
    step < 1. Sources: Kingma and Ba 2014 (1412.6980), alg. 1; Loshchilov and Hutter 2017 (1711.05101), alg. 2."""
    expect(step >= 1, "steps counted from 1", f"{step}: both means are divided by 1 - beta^step")
    mean = state[0] * betas[0] + gradient * (1 - betas[0])
    square = state[1] * betas[1] + gradient.square() * (1 - betas[1])
    unbiased, scale = mean / (1 - betas[0] ** step), (square / (1 - betas[1] ** step)).sqrt() + eps
    return parameter * (1 - lr * weight_decay) - lr * unbiased / scale, (mean, square)


def warmup_cosine_lr(step: int, n_warmup: int, n_step: int, max_lr: float, min_lr: float) -> float:
    """The learning rate of a step counted from 0: up in a line, then down half a cosine, then `min_lr` for ever.
    Step 0 has max_lr / n_warmup, steps n_warmup - 1 and n_warmup have max_lr, n_step and later ones min_lr. Raises
    ValueError unless 0 <= n_warmup < n_step and step >= 0. Source: Brown et al. 2020 (2005.14165), appendix B."""
    expect(0 <= n_warmup < n_step and step >= 0, "0 <= n_warmup < n_step and step >= 0", n_warmup, n_step, step)
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


def clip_grad_norm(gradients: Params, max_norm: float) -> tuple[dict[str, Tensor], Float[Tensor, ""]]:
    """The gradients, scaled together so that their norm as one vector is at most `max_norm`, and the norm before that.
    Raises ValueError if the norm is not finite. Source: Pascanu et al. 2012 (1211.5063), section 3.2."""
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    if not norm.isfinite():
        raise ValueError(f"got gradients of norm {norm.item()}: the loss has diverged, lower the learning rate")
    scale = (max_norm / norm).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


def accumulate_gradients(micro: Sequence[Params], n_tokens: Sequence[int]) -> dict[str, Float[Tensor, "..."]]:
    """The gradient of the mean loss over all tokens, from that of each micro-batch's mean over its own `n_tokens`.
    Raises ValueError unless each has a count, and there is a token in all."""
    valid = len(micro) == len(n_tokens) and sum(n_tokens) >= 1
    expect(valid, f"a count of tokens for each of {len(micro)} micro-batches", list(n_tokens))
    parts = [(part, n / sum(n_tokens)) for part, n in zip(micro, n_tokens, strict=True)]
    return {name: torch.stack([part[name] * share for part, share in parts]).sum(dim=0) for name in micro[0]}


def cross_entropy_backward(
    logits: Float[Tensor, "position vocab"], targets: Int[Tensor, " position"]
) -> Float[Tensor, "position vocab"]:
    """The gradient of the mean cross-entropy with respect to the logits: (softmax - one-hot) / positions."""
    gradient = softmax(logits)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / len(targets)


def attention_backward(
    q: Float[Tensor, "*batch query d_head"],
    k: Float[Tensor, "*batch key d_head"],
    v: Float[Tensor, "*batch key d_value"],
    mask: Bool[Tensor, "query key"],
    grad_output: Float[Tensor, "*batch query d_value"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of softmax(q k^T / sqrt(d_head)) v with respect to q, k and v; every query sees some key.
    Source: Dao et al. 2022 (2205.14135), appendix B.2."""
    scale = q.shape[-1] ** -0.5
    weights = softmax((q @ k.transpose(-2, -1) * scale).masked_fill(~mask, -math.inf))
    grad_weights = grad_output @ v.transpose(-2, -1)
    grad_scores = weights * (grad_weights - (grad_weights * weights).sum(dim=-1, keepdim=True)) * scale
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, weights.transpose(-2, -1) @ grad_output
