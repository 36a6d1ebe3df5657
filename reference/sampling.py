"""From logits to a token: temperature, filters, penalty, draw (chapter 7).
A filter sets what it rules out to -inf, in each row by itself; tokens that tie with the last one kept are kept too."""

from math import inf

import torch

from reference.next_token import softmax
from reference.shapes import Float, Int, Tensor, expect


def apply_temperature(logits: Float[Tensor, "batch vocab"], temperature: float) -> Float[Tensor, "batch vocab"]:
    """Divide by the temperature: below 1 sharpens, above 1 flattens, 0 leaves only the likeliest token (or its ties).
    Raises ValueError if it is negative. Source: Ackley et al. 1985 (A learning algorithm for Boltzmann machines)."""
    expect(temperature >= 0, "a temperature of at least 0", temperature)
    return top_k_filter(logits, 1) if temperature == 0 else logits / temperature


def top_k_filter(logits: Float[Tensor, "batch vocab"], k: int) -> Float[Tensor, "batch vocab"]:
    """Keep the k likeliest tokens, or all; ValueError if k < 1. Source: Fan et al. 2018 (1805.04833), section 5.4."""
    expect(k >= 1, "k to be at least 1", k)
    least = logits.topk(min(k, logits.shape[-1])).values[..., -1:]
    return logits.masked_fill(logits < least, -inf)


def top_p_filter(logits: Float[Tensor, "batch vocab"], p: float) -> Float[Tensor, "batch vocab"]:
    """Keep the fewest likeliest tokens that together have probability p or more; always one at least.
    Raises ValueError unless 0 <= p <= 1. Source: Holtzman et al. 2019 (1904.09751), section 3.1."""
    expect(0 <= p <= 1, "p from 0 to 1", p)
    if p == 1:
        return logits
    ordered, _ = logits.sort(descending=True)
    probs = softmax(ordered)
    before = probs.cumsum(dim=-1) - probs  # what the likelier ones have: the token that crosses p is still kept
    n_kept = (before < p).sum(dim=-1, keepdim=True).clamp(min=1)
    return logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -inf)


def min_p_filter(logits: Float[Tensor, "batch vocab"], min_p: float) -> Float[Tensor, "batch vocab"]:
    """Keep the tokens that have at least min_p times the probability of the likeliest.
    Raises ValueError unless 0 <= min_p <= 1. Source: Nguyen et al. 2024 (2407.01082), section 3."""
    expect(0 <= min_p <= 1, "min_p from 0 to 1", min_p)
    probs = softmax(logits)
    return logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -inf)


def repetition_penalty(
    logits: Float[Tensor, "batch vocab"], tokens: Int[Tensor, "batch seen"], penalty: float
) -> Float[Tensor, "batch vocab"]:
    """Make tokens already seen less likely (penalty > 1), once each: divide positive logits, multiply negative ones.
    Raises ValueError unless penalty > 0. Source: Keskar et al. 2019 (1909.05858), section 4.1."""
    expect(penalty > 0, "a penalty above 0", penalty)
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def process_logits(
    logits: Float[Tensor, "batch vocab"],
    tokens: Int[Tensor, "batch seen"],
    penalty: float = 1.0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Float[Tensor, "batch vocab"]:
    """All of these in this order, for a temperature before top-p changes what is kept; None leaves a filter out."""
    logits = apply_temperature(repetition_penalty(logits, tokens, penalty), temperature)
    logits = logits if top_k is None else top_k_filter(logits, top_k)
    logits = logits if top_p is None else top_p_filter(logits, top_p)
    return logits if min_p is None else min_p_filter(logits, min_p)


def sample(logits: Float[Tensor, "batch vocab"], generator: torch.Generator | None = None) -> Int[Tensor, " batch"]:
    """Draw a token for each row from softmax(logits); one with a logit of -inf is never drawn."""
    return torch.multinomial(softmax(logits.double()), 1, generator=generator).squeeze(-1)
