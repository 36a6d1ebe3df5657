# %% [markdown]
# # 1. The next token
#
# A **language model** says how likely a text is. It cuts the text into tokens $w_1, \dots, w_T$ from a vocabulary of
# $V$, and by the chain rule of probability
#
# $$P(w_1, \dots, w_T) = \prod_{t=1}^{T} P(w_t \mid w_1, \dots, w_{t-1}).$$
#
# So one question, asked again and again, is all there is to learn: **given what came before, which token comes next?**
# GPT is a function that answers it. From the tokens so far it computes one number for each token of the vocabulary,
# the **logits**. Everything after the logits is this chapter: probabilities, the loss that training makes smaller, the
# probability of a whole text, and the perplexity by which models are compared. How the logits come about is the rest of
# the course; here they are given.
#
# Logarithms are natural throughout, so losses are in **nats** (1 nat is 1.443 bits).

# %%
import torch
from jaxtyping import Float, Int
from torch import Tensor

# %% [markdown]
# ## From logits to probabilities
#
# Logits are any real numbers; probabilities are positive and sum to 1. The **softmax** makes one of the other:
#
# $$p_i = \frac{e^{z_i}}{\sum_j e^{z_j}}.$$
#
# Only differences count: with the same $c$ taken from every logit, $e^{-c}$ cancels. This is needed, because $e^{89}$
# is infinite in float32, and inf / inf is NaN. Take away the **maximum**, and the largest exponent is 0, the sum is
# at least 1, and nothing can go wrong. It has to be the maximum of the very numbers that are normalized together. The
# maximum of the whole tensor may be so far above the numbers of one row that all their exponentials are 0.
#
# Which numbers belong together is what `dim` says. Logits of shape (batch, position, vocabulary) are normalized along
# the vocabulary, the last axis, but a softmax runs along any axis, and axes may be counted from the front (0, 1, ...)
# or from the end (-1, -2, ...).


# %% softmax
def softmax(logits: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    """Return positive numbers that sum to 1 along `dim`, in the ratios exp(logit).

    `logits` has one axis or more, is float32, and need not be contiguous; it is left unchanged. The result has its
    shape and dtype. `dim` may be negative, as everywhere in torch.

    Logits of any size give finite results. A logit of -inf gets probability 0 (along `dim` there is always one that is
    finite).

    Write it yourself: torch's own softmax functions are what this exercise is about.
    Source: Goodfellow et al. 2016, "Deep Learning", section 4.1.

    >>> softmax(torch.tensor([0.0, 0.0, float("-inf"), 0.0, 0.0])).tolist()
    [0.25, 0.25, 0.0, 0.25, 0.25]
    >>> softmax(torch.tensor([[1000.0, 5.0], [0.0, 5.0]]), dim=0).tolist()
    [[1.0, 0.5], [0.0, 0.5]]
    """
    ### BEGIN SOLUTION
    weights = (logits - logits.amax(dim=dim, keepdim=True)).exp()  # at most 1, and 1 where the maximum is
    return weights / weights.sum(dim=dim, keepdim=True)
    ### END SOLUTION


# %% [markdown]
# ## The logarithm of a probability
#
# Losses and probabilities of texts need $\log p_i$, and not by way of $p_i$: a probability of $e^{-104}$ is 0 in
# float32, and its logarithm is then $-\infty$ instead of -104. Written out, the exponential of the numerator is gone:
#
# $$\log p_i = z_i - \log \sum_j e^{z_j}.$$
#
# The sum still overflows, and the same maximum $m$ helps: $\log p_i = (z_i - m) - \log \sum_j e^{z_j - m}$.


# %% log_softmax
def log_softmax(logits: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    """Return the natural logarithm of the softmax of `logits` along `dim`.

    `logits` has one axis or more, is float32, and need not be contiguous; it is left unchanged. The result has its
    shape and dtype. `dim` may be negative.

    Finite logits of any size give finite results, also where the probability itself is too small for a float. A logit
    of -inf gives -inf (along `dim` there is always one that is finite).

    Write it yourself: torch's own softmax functions are what this exercise is about.

    >>> log_softmax(torch.tensor([0.0, -1000.0, float("-inf")])).tolist()
    [0.0, -1000.0, -inf]
    >>> [round(x, 4) for x in log_softmax(torch.tensor([2.0, 2.0])).tolist()]
    [-0.6931, -0.6931]
    """
    ### BEGIN SOLUTION
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return shifted - shifted.exp().sum(dim=dim, keepdim=True).log()
    ### END SOLUTION


# %% [markdown]
# ## What to feed, and what to predict
#
# A text is its own answer sheet. Feed it, and at every position the right answer is the token that follows:
#
#     fed         The   cat   sat   on
#     to predict  cat   sat   on    the
#
# A text of $T$ tokens makes $T - 1$ such pairs: the last token has no answer, and nobody was asked for the first.
# Everything that can go wrong here goes wrong silently. Without the shift, the answer is the input, and the loss falls
# to 0 within minutes. Shifted twice, the model learns to skip a token. Rolled instead of cut, the last position has to
# predict the first token.


# %% shift_targets
def shift_targets(
    tokens: Int[Tensor, "batch position"],
) -> tuple[Int[Tensor, "batch position-1"], Int[Tensor, "batch position-1"]]:
    """Return what to feed and what to predict there: all tokens but the last, and all tokens but the first.

    `tokens` has two positions or more; with fewer there would be nothing to predict. Entry (b, t) of the second result
    is the token that follows entry (b, t) of the first in text b. They are two tensors of the same shape, which may
    share memory with `tokens`; `tokens` itself is left unchanged.

    >>> inputs, targets = shift_targets(torch.tensor([[5, 6, 7, 8], [1, 2, 1, 2]]))
    >>> inputs.tolist(), targets.tolist()
    ([[5, 6, 7], [1, 2, 1]], [[6, 7, 8], [2, 1, 2]])
    """
    ### BEGIN SOLUTION
    return tokens[:, :-1], tokens[:, 1:]
    ### END SOLUTION


# %% [markdown]
# ## The loss
#
# How good are the predictions? At each position, look at the probability $p(y)$ that the model gave to the token $y$
# that really came, and take $-\log p(y)$: 0 if it was sure and right, and more the less it expected it. The mean over
# all positions that count is the **cross-entropy**,
#
# $$L = \frac{1}{N} \sum_{n\,:\,y_n \ne \text{ignore}} -\log p_n(y_n), \qquad N = \#\{n : y_n \ne \text{ignore}\}.$$
#
# Not every target counts. Pads are no text, and the tokens of a user's question are not what an assistant should learn
# to write. Such targets are replaced by `ignore_index`, by convention -100, and are left out of the sum **and** out of
# $N$. Two things follow. The mean is over tokens and not over texts: a text with more tokens has more weight. And if
# nothing counts, the mean is 0 / 0. `torch.nn.functional.cross_entropy` gives NaN there, which a step later is in every
# weight of the model; here it is an error.


# %% cross_entropy
def cross_entropy(
    logits: Float[Tensor, "*batch vocab"], targets: Int[Tensor, "*batch"], ignore_index: int = -100
) -> Float[Tensor, ""]:
    """Return the mean of -log P(target), in nats, over the targets that are not `ignore_index`.

    `logits` has one row of `vocab` numbers for each target, and any number of axes (one or more) before the last; it is
    float32 and need not be contiguous. It may hold huge numbers. Each target is one of 0, ..., vocab - 1 or
    `ignore_index`, which may be any number, that of a token included. The result is a float32 tensor without axes.

    If every target is ignored, there is no mean: raise an error that says so, such as a ValueError.

    `torch.log_softmax` is yours to use; torch's own `cross_entropy` and `nll_loss` are what this exercise is about.

    >>> logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1000.0, 0.0]])
    >>> round(cross_entropy(logits, torch.tensor([0, 1, 0])).item(), 4)  # (log 2 + log 2 + 0) / 3
    0.4621
    >>> round(cross_entropy(logits, torch.tensor([0, 1, -100])).item(), 4)  # (log 2 + log 2) / 2
    0.6931
    """
    ### BEGIN SOLUTION
    counted = targets != ignore_index
    if not counted.any():
        raise ValueError("expected at least one target that counts: the mean of nothing is not a number")
    log_probs = logits[counted].log_softmax(dim=-1)  # (counted, vocab)
    return -log_probs.gather(-1, targets[counted][:, None]).mean()
    ### END SOLUTION


# %% [markdown]
# ## The probability of a text
#
# The chain rule multiplies the probabilities of the tokens, so their logarithms are added:
#
# $$\log P(w_2, \dots, w_T \mid w_1) = \sum_{t=2}^{T} \log P(w_t \mid w_1, \dots, w_{t-1}).$$
#
# Adding is also the only way that works in floating point: 60 tokens of probability 0.01 each make $10^{-120}$, which
# is 0 in float32.
#
# This is `shift_targets` once more, from the other side. Feed a model all $T$ tokens, and it returns logits at all $T$
# positions. Those at position $t$ were computed from the tokens **up to and including** $t$, so they are about token
# $t+1$. The last ones are about a token that nobody has seen yet. The first token is given: a model has nothing to
# predict it from, which is why real texts are put behind a special first token.
#
# It is a probability in the full sense: over all texts of one length with the same first token, it sums to 1.


# %% sequence_log_prob
def sequence_log_prob(
    logits: Float[Tensor, "batch position vocab"], tokens: Int[Tensor, "batch position"]
) -> Float[Tensor, " batch"]:
    """Return log P(w_2, ..., w_T | w_1) of each text, in nats: the sum over its tokens, not their mean.

    `logits` is what a model returns when it is fed `tokens`: those at a position are about the token after it. They are
    float32, may be huge, and need not be contiguous. There are two positions or more. The result is float32.

    Here the logits are the logarithms of 1/4 and 3/4 everywhere:

    >>> logits = torch.tensor([0.25, 0.75]).log().expand(2, 3, 2)
    >>> log_probs = sequence_log_prob(logits, torch.tensor([[0, 1, 1], [1, 0, 1]]))
    >>> [round(p, 4) for p in log_probs.exp().tolist()]  # 3/4 * 3/4 and 1/4 * 3/4
    [0.5625, 0.1875]
    """
    ### BEGIN SOLUTION
    log_probs = logits[:, :-1].log_softmax(dim=-1)  # (batch, position - 1, vocab)
    return log_probs.gather(-1, tokens[:, 1:, None]).squeeze(-1).sum(dim=-1)
    ### END SOLUTION


# %% [markdown]
# ## Perplexity
#
# A loss of 3.4 nats a token says little to a person. Its exponential says more: a model with **perplexity** 30 is as
# unsure, on average, as if it had to choose among 30 equally likely tokens.
#
# $$\text{PPL} = \exp\Bigl( -\frac{\sum_k \log P_k}{\sum_k n_k} \Bigr),$$
#
# where text $k$ has the log-probability $\log P_k$ and $n_k$ predicted tokens. Add first, divide once, exponentiate
# last. The mean of the perplexities of the texts is another number, and a larger one if one short text is hard; so is
# the mean of the losses of batches in which different numbers of tokens count. And perplexity is per **token**: models
# with different tokenizers divide by different numbers, and cannot be compared by it.


# %% perplexity
def perplexity(log_probs: Float[Tensor, " text"], n_tokens: Int[Tensor, " text"]) -> Float[Tensor, ""]:
    """Return exp(-mean log-probability of a token), in which every token of all texts has the same weight.

    `log_probs` holds the total log-probability of each text in nats, and `n_tokens` the number of tokens that were
    predicted in it. A text may be thousands of tokens long, or have none (0 tokens and a log-probability of 0), and
    then it does not count. The result is a tensor without axes, in the dtype of `log_probs`, which is float32.

    If no text has a token, there is no mean: raise an error that says so, such as a ValueError.
    Source: Jelinek et al. 1977, "Perplexity: a measure of the difficulty of speech recognition tasks".

    >>> log_probs = torch.tensor([1 * 0.5, 3 * 0.125]).log()  # two texts of probability 1/2 and 3/8
    >>> round(perplexity(log_probs, torch.tensor([1, 3])).item(), 4)  # (1/2 * 3/8) ** (-1/4)
    1.5197
    """
    ### BEGIN SOLUTION
    total = n_tokens.sum()
    if total < 1:
        raise ValueError(f"expected at least one token, got counts of {n_tokens.tolist()}")
    return (-log_probs.sum() / total).exp()
    ### END SOLUTION


# %% [markdown]
# ## Every text of one length
#
# A model that looks one token back is a table: row $i$ holds the logits of what follows token $i$. Here is one with
# three tokens and made-up numbers. It gives a probability to each text that starts with `a`, and however many texts of a
# length there are, together they have the probability 1. With the shift left out, they do not: what is then added up is
# not the probability of anything.

# %% every_text_of_one_length
from itertools import product

names = "abc"
table = torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.0, 3.0], [2.0, 2.0, -1.0]])  # row: the last token, column: the next
print("length   texts   sum of P   the same without the shift")
for length in range(2, 8):
    texts = torch.tensor([(0, *rest) for rest in product(range(3), repeat=length - 1)])
    log_probs = sequence_log_prob(table[texts], texts)
    unshifted = table[texts].log_softmax(dim=-1).gather(-1, texts[..., None]).sum(dim=(1, 2))
    print(f"{length:6} {len(texts):7} {log_probs.exp().sum():10.6f} {unshifted.exp().sum():12.6f}")
best = log_probs.argmax()
likeliest = "".join(names[token] for token in texts[best])
print(f"the likeliest of length 7 is {likeliest} with P = {log_probs[best].exp():.4f}")

# %% [markdown]
# ## The first loss
#
# Before training, a model knows nothing, and its loss should say so: $\ln V$, which for GPT-2's vocabulary of 50,257
# tokens is 10.825 nats. It is the first number to look at in any training run. Well above it, the model is not ignorant
# but wrong with confidence: its logits start out too large. Well below it, it has seen the answer.

# %% the_first_loss
import math

generator = torch.Generator().manual_seed(0)
vocab_size, n_target = 50257, 64
targets = torch.randint(vocab_size, (n_target,), generator=generator)
print(f"ln {vocab_size} = {math.log(vocab_size):.3f} nats = {math.log2(vocab_size):.3f} bits")
for spread in (0.0, 0.5, 1.0, 3.0, 10.0):
    loss = cross_entropy(spread * torch.randn(n_target, vocab_size, generator=generator), targets)
    print(f"logits of standard deviation {spread:4}: loss {loss:7.3f}")
echo = 20.0 * torch.nn.functional.one_hot(targets, vocab_size).float()
print(f"a model that copies its input, asked for its input: loss {cross_entropy(echo, targets):7.3f}")
print(f"the same model, asked for the next token:           loss {cross_entropy(echo[:-1], targets[1:]):7.3f}")

# %% [markdown]
# ## How much context helps
#
# The simplest language model counts. To predict a character from the $n$ before it, count what followed these $n$
# characters in a training text, and add a little to every count, so that nothing is impossible. The text is one that
# comes with Python: its own documentation.
#
# More context makes the training text ever easier. On text that was held out, it helps for a few characters and then
# does not: most contexts of 6 characters occur once or never, and there is nothing to count. A GPT uses a thousand tokens
# of context, hardly any of which it has ever seen in that order. It cannot count; it has to compute what similar contexts
# have in common.

# %% how_much_context_helps
from collections import Counter

import matplotlib.pyplot as plt
from pydoc_data.topics import topics

text = "\n".join(topics[name] for name in sorted(topics))[:200_000]
cut = 150_000
alphabet = sorted(set(text))


def perplexity_of_counting(n_context: int, start: int, end: int) -> float:
    """The perplexity of text[start:end] under counts of what followed each `n_context` characters before `cut`."""
    seen = Counter(text[i : i + n_context] for i in range(cut - n_context))
    followed = Counter(text[i : i + n_context + 1] for i in range(cut - n_context))
    contexts_and_next = [text[i - n_context : i + 1] for i in range(start + n_context, end)]
    log_probs = [
        math.log((followed[both] + 0.01) / (seen[both[:-1]] + 0.01 * len(alphabet))) for both in contexts_and_next
    ]
    return perplexity(torch.tensor([sum(log_probs)]), torch.tensor([len(log_probs)])).item()


lengths = range(8)
on_training_text = [perplexity_of_counting(n, 0, 50_000) for n in lengths]
on_held_out_text = [perplexity_of_counting(n, cut, len(text)) for n in lengths]
figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
axis.plot(lengths, on_training_text, "o--", label="text that was counted")
axis.plot(lengths, on_held_out_text, "o-", label="text that was held out")
axis.axhline(len(alphabet), color="gray", linewidth=1, label=f"knows nothing: {len(alphabet)} characters")
axis.set(xlabel="characters of context", ylabel="perplexity a character", yscale="log")
axis.legend()
plt.show()
print("held out:", ", ".join(f"{value:.1f}" for value in on_held_out_text))

# %% [markdown]
# Everything here worked on logits that somebody else had computed, for all positions of a text at once. A model that
# computes them gets the whole text as input, and the answer to position $t$ is right there, at position $t+1$. What
# keeps it from looking is the subject of the next chapter.
