"""How loss falls with size, data and compute, and what that buys (chapter 17)."""

import json
from pathlib import Path

import torch

from reference.shapes import Float, Tensor


def training_flops(n_parameters: float, n_tokens: float) -> float:
    """2 operations per parameter and token forward, 4 backward, without scores (Kaplan et al. 2020, 2001.08361, 2.1).
    >>> f"{training_flops(174.6e9, 300e9):.2e}"  # GPT-3
    '3.14e+23'"""
    return 6 * n_parameters * n_tokens


def fit_power_law(x: Float[Tensor, " point"], y: Float[Tensor, " point"]) -> tuple[float, float]:
    """The a, b of the best y = a x^b, by least squares of logarithms; ValueError unless all > 0 and two x differ."""
    if (x <= 0).any() or (y <= 0).any() or (x == x[:1]).all():
        raise ValueError("expected positive x and y, and at least two different x: a power law is a line in logarithms")
    log_x, log_y = x.double().log(), y.double().log()
    centered = log_x - log_x.mean()
    exponent = (centered * log_y).sum() / centered.square().sum()
    return (log_y.mean() - exponent * log_x.mean()).exp().item(), exponent.item()


def chinchilla_optimal(
    flops: float, a: float = 482.01, b: float = 2085.43, alpha: float = 0.3478, beta: float = 0.3658
) -> tuple[float, float]:
    """Parameters N and tokens D that minimize E + a/N^alpha + b/D^beta where 6 N D = flops.
    Defaults: Besiroglu et al. 2024 (2404.10102), who refit Hoffmann et al. 2022 (2203.15556), section 3.3."""
    n_parameters = (alpha * a / (beta * b) * (flops / 6) ** beta) ** (1 / (alpha + beta))
    return n_parameters, flops / 6 / n_parameters


def exact_match_from_token_accuracy(accuracy: Float[Tensor, "*size"], length: int) -> Float[Tensor, "*size"]:
    """The probability that all `length` tokens of an answer are right, if each is so on its own.
    A smooth curve of token accuracy becomes a sudden one. Source: Schaeffer et al. 2023 (2304.15004), section 2."""
    return torch.as_tensor(accuracy) ** length


def sweep() -> list[dict]:
    """Small GPTs that really trained, by size and then by tokens: what `make sweep` found."""
    return json.loads(Path(__file__).with_name("sweep.json").read_text(encoding="utf-8"))["runs"]
