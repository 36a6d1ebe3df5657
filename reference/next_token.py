"""Predict the next token: from logits to probabilities, loss and perplexity (chapter 1).
A language model is P(w_1..w_T) = product of P(w_t | w_1..w_{t-1}). Logarithms are natural: losses are in nats."""

from reference.shapes import Float, Int, Logits, Tensor, Tokens, expect


def softmax(logits: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    """Positive numbers that sum to 1 along `dim`, in the ratios exp(logit); large logits stay finite, -inf gets 0.
    Source: Goodfellow et al. 2016 (Deep Learning), section 4.1."""
    weights = (logits - logits.amax(dim=dim, keepdim=True)).exp()  # the shift cancels, and exp never overflows
    return weights / weights.sum(dim=dim, keepdim=True)


def log_softmax(logits: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    """The logarithm of `softmax`, finite even where the probability itself is too small for its dtype."""
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return shifted - shifted.exp().sum(dim=dim, keepdim=True).log()


def shift_targets(tokens: Tokens) -> tuple[Int[Tensor, "batch position-1"], Int[Tensor, "batch position-1"]]:
    """What to feed and what to predict: all tokens but the last, and at each of them the one that comes next.
    Raises ValueError unless there are at least two positions."""
    valid = tokens.ndim == 2 and tokens.shape[1] >= 2
    expect(valid, "tokens of shape (batch, position), at least two positions", tokens.shape)
    return tokens[:, :-1], tokens[:, 1:]


def cross_entropy(
    logits: Float[Tensor, "*batch vocab"], targets: Int[Tensor, "*batch"], ignore_index: int = -100
) -> Float[Tensor, ""]:
    """The mean of -log P(target), in nats, over the targets that are not `ignore_index`.
    Raises ValueError if shapes differ, if a target is outside the vocabulary, or if there is nothing to count."""
    expect(targets.shape == logits.shape[:-1], f"targets of shape {tuple(logits.shape[:-1])}", targets.shape)
    counted = targets != ignore_index
    if not counted.any():
        raise ValueError("got no target to count: every one is ignore_index, and the mean of nothing is not a number")
    wanted = targets[counted]
    if wanted.min() < 0 or wanted.max() >= logits.shape[-1]:
        raise ValueError(f"expected targets from 0 to {logits.shape[-1] - 1} or {ignore_index}, got {wanted.tolist()}")
    return -log_softmax(logits[counted]).gather(-1, wanted[:, None]).mean()


def sequence_log_prob(logits: Logits, tokens: Tokens) -> Float[Tensor, " batch"]:
    """log P(w_2..w_T | w_1) of each row, in nats; `logits` are what a model returns when it is fed `tokens`.
    Logits are about the token after their position: the last are not used. Raises ValueError if shapes differ."""
    expect(tokens.shape == logits.shape[:-1], f"tokens of shape {tuple(logits.shape[:-1])}", tokens.shape)
    return log_softmax(logits[:, :-1]).gather(-1, tokens[:, 1:, None]).squeeze(-1).sum(dim=-1)


def perplexity(log_probs: Float[Tensor, " text"], n_tokens: Int[Tensor, " text"]) -> Float[Tensor, ""]:
    """exp(-mean log-probability of a token) over all texts, given each one's total in nats and its number of tokens.
    Tokens weigh equally, so a long text counts more. Raises ValueError unless there is at least one token.
    Source: Jelinek et al. 1977 (Perplexity, a measure of the difficulty of speech recognition tasks)."""
    total = n_tokens.sum()
    valid = n_tokens.shape == log_probs.shape and (n_tokens >= 0).all() and total >= 1
    expect(valid, "one count a text and a token or more", n_tokens.tolist())
    return (-log_probs.sum() / total).exp()
