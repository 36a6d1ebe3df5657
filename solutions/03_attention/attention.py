# %% [markdown]
# # 3. Attention
#
# Everything else in a GPT works on one position at a time. Attention is the only place where a position learns anything
# about the others. It is a soft lookup: each position sends out a **query** (what am I looking for), each position
# holds up a **key** (what can I be found by) and a **value** (what do I hand over), and each query takes home an
# average of the values, weighted by how well the keys match.
#
# You write it in four parts: the lookup itself, the split of the channels into heads, the merge that undoes it, and
# GPT-2's attention layer, which has all of them and two linear layers around.
#
# Shapes throughout: x is (batch, position, d_model), and inside the heads q, k and v are (batch, head, position,
# d_head), with d_model = n_head * d_head. Masks are True where attention is allowed.

# %%
import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from reference.mask import causal_mask, masked_softmax

# %% [markdown]
# ## The lookup
#
# For one head, with queries $Q$ ($T_q \times d$), keys $K$ ($T_k \times d$) and values $V$ ($T_k \times d_v$),
#
# $$S = \frac{Q K^\top}{\sqrt{d}}, \qquad W_{ij} = \frac{M_{ij}\, e^{S_{ij}}}{\sum_k M_{ik}\, e^{S_{ik}}}, \qquad
# O = W V.$$
#
# Each row of $W$ belongs to one query, is positive and sums to 1: the softmax runs along the keys. Each row of $O$ is
# the average that this query takes home.
#
# The root keeps the scores at a size that the softmax can use. If the entries of a query and a key are independent with
# mean 0 and variance 1, their dot product is a sum of $d$ terms of variance 1, so it has variance $d$. Divided by
# $\sqrt{d}$ it has variance 1 again, however wide the head is. Without the root, wide heads start out with weights that
# are nearly 0 or 1, and there the softmax has nearly no gradient.
#
# The mask arrives as an argument. A decoder passes a triangle, an encoder passes None or the mask of its pads, and this
# function need not know which model it is in. `reference.mask.masked_softmax` from the last chapter is yours to use.


# %% scaled_dot_product_attention
def scaled_dot_product_attention(
    q: Float[Tensor, "batch head query d_head"],
    k: Float[Tensor, "batch head key d_head"],
    v: Float[Tensor, "batch head key d_value"],
    mask: Bool[Tensor, "*#leading #query #key"] | None,
) -> Float[Tensor, "batch head query d_value"]:
    """Average the values with the weights softmax(q k^T / sqrt(d_head)) over the keys.

    `mask` is True where attention is allowed; it has any shape that broadcasts to (batch, head,
    query, key), such as (query, key) for one mask for all, or (batch, 1, 1, key) for the pads of
    a batch. Each query may attend to at least one key. A mask of None allows everything.

    The number of queries may differ from that of keys, and d_value from d_head. No input need be
    contiguous. All numbers are float32; scores may lie in the millions, on either side of 0.
    Gradients flow to q, k and v.

    Source: Vaswani et al. 2017, "Attention Is All You Need" (1706.03762), section 3.2.1,
    equation 1.

    Here the scores are log(3) and 0, so the weights are 3/4 and 1/4:

    >>> q = torch.tensor([[[[2.0, 0.0, 0.0, 0.0]]]])
    >>> k = torch.tensor([[[[math.log(3), 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]]])
    >>> v = torch.tensor([[[[8.0], [4.0]]]])
    >>> round(scaled_dot_product_attention(q, k, v, None).item(), 4)
    7.0
    >>> scaled_dot_product_attention(q, k, v, torch.tensor([[False, True]])).item()
    4.0
    """
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (batch, head, query, key)
    weights = scores.softmax(dim=-1) if mask is None else masked_softmax(scores, mask)
    return weights @ v
    ### END SOLUTION


# %% [markdown]
# ## Into heads
#
# One softmax gives one pattern: a query can look for one thing at a time. So the $d_{model}$ channels are divided among
# $H$ **heads**, each $d_{head} = d_{model} / H$ wide, and each head attends by itself. The arithmetic is that of one
# wide head; what is gained are $H$ patterns.
#
# Head $h$ owns the channels from $h\, d_{head}$ to $(h + 1)\, d_{head} - 1$:
#
# $$y_{b h t c} = x_{b t,\; h\, d_{head} + c}.$$
#
# Two things happen there, and only the first is a reshape. Splitting the last axis in two changes no order in memory.
# Moving the head axis in front of the positions does, so it is a transpose. A single reshape straight to (batch, head,
# position, d_head) gives the right *shape* and the wrong *numbers*, which is what makes it a popular bug.


# %% split_heads
def split_heads(
    x: Float[Tensor, "batch position d_model"],
    n_head: int,
) -> Float[Tensor, "batch head position d_head"]:
    """Deal the channels of each position out to the heads, d_head neighboring channels to each.

    n_head divides d_model, and d_head is d_model // n_head. x is float32 and need not be
    contiguous; the result need not be either, and may be a view of x. Gradients flow through.

    Source: Vaswani et al. 2017 (1706.03762), section 3.2.2.

    >>> x = torch.arange(12.0).reshape(1, 2, 6)
    >>> split_heads(x, 3).int().tolist()
    [[[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10, 11]]]]
    """
    ### BEGIN SOLUTION
    batch, n_position, d_model = x.shape
    heads = x.reshape(batch, n_position, n_head, d_model // n_head)
    return heads.transpose(1, 2)  # (batch, head, position, d_head)
    ### END SOLUTION


# %% [markdown]
# ## And back
#
# After attention the heads are laid side by side again, head 0 first, so that each position has $d_{model}$ channels:
#
# $$x_{b t,\; h\, d_{head} + c} = y_{b h t c}.$$
#
# This is the inverse of the split, and has the same trap the other way round. It has a second one: after a transpose,
# the two axes to be joined are not neighbors in memory, so `view` refuses, and something has to copy. A test that only
# merges what it has just split does not notice: there the second transpose undoes the first.


# %% merge_heads
def merge_heads(
    x: Float[Tensor, "batch head position d_head"],
) -> Float[Tensor, "batch position d_model"]:
    """Lay the heads of each position side by side: the inverse of split_heads.

    d_model is n_head * d_head. x is float32 and need not be contiguous. Gradients flow through.

    Source: Vaswani et al. 2017 (1706.03762), section 3.2.2, the Concat of multi-head attention.

    >>> heads = torch.tensor([[[[0.0, 1.0], [6.0, 7.0]], [[2.0, 3.0], [8.0, 9.0]]]])
    >>> merge_heads(heads).int().tolist()
    [[[0, 1, 2, 3], [6, 7, 8, 9]]]
    """
    ### BEGIN SOLUTION
    batch, n_head, n_position, d_head = x.shape
    return x.transpose(1, 2).reshape(batch, n_position, n_head * d_head)
    ### END SOLUTION


# %% [markdown]
# ## The layer
#
# In GPT-2 one linear layer makes queries, keys and values of $x$ together, because one large matrix product is faster
# than three small ones, and a second one, the output projection, mixes what the heads have found:
#
# $$[Q, K, V] = x W_{qkv}^\top + b_{qkv}, \qquad
# \mathrm{out} = \mathrm{merge}(\mathrm{head}_1, \ldots, \mathrm{head}_H)\, W_{out}^\top + b_{out}.$$
#
# | step | shape |
# |---|---|
# | x | (batch, position, d_model) |
# | after the first linear layer | (batch, position, 3 * d_model) |
# | q, k, v, in heads | (batch, head, position, d_head) each |
# | scores, weights | (batch, head, position, position) |
# | weights @ v | (batch, head, position, d_head) |
# | merged, and after the second linear layer | (batch, position, d_model) |
#
# Weights are (out, in), as in `torch.nn.functional.linear`, and the rows of `w_qkv` are those of q, then k, then v. The
# residual connection is not part of this layer; the block of the next chapter adds it.
#
# Write this one from x to the end, without calling your other three: each exercise is checked by itself.


# %% causal_self_attention
def causal_self_attention(
    x: Float[Tensor, "batch position d_model"],
    w_qkv: Float[Tensor, "3*d_model d_model"],
    b_qkv: Float[Tensor, " 3*d_model"],
    w_out: Float[Tensor, "d_model d_model"],
    b_out: Float[Tensor, " d_model"],
    n_head: int,
) -> Float[Tensor, "batch position d_model"]:
    """Let every position read from itself and from what came before, with n_head heads.

    The rows of w_qkv and b_qkv are those of q, then k, then v, d_model each; within each of them
    head 0 comes first. n_head divides d_model. x has any number of positions, from 1 on. No input
    need be contiguous. All numbers are float32; scores may lie in the millions, on either side
    of 0. Gradients flow to x and to every weight and bias.

    Source: Radford et al. 2019 (GPT-2), `attn` in its published code; Vaswani et al. 2017
    (1706.03762), section 3.2.

    With zero rows for q and k all scores are equal, and each position takes the mean of what
    came before, itself included:

    >>> x = torch.tensor([[[2.0, 0.0], [4.0, 2.0]]])
    >>> w_qkv = torch.cat([torch.zeros(4, 2), torch.eye(2)])
    >>> causal_self_attention(x, w_qkv, torch.zeros(6), torch.eye(2), torch.zeros(2), 2).tolist()
    [[[2.0, 0.0], [3.0, 1.0]]]
    """
    ### BEGIN SOLUTION
    batch, n_position, d_model = x.shape
    d_head = d_model // n_head
    qkv = (x @ w_qkv.T + b_qkv).reshape(batch, n_position, 3, n_head, d_head)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, head, position, d_head)
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_head)  # (batch, head, query, key)
    weights = masked_softmax(scores, causal_mask(n_position, n_position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, n_position, d_model)
    return merged @ w_out.T + b_out
    ### END SOLUTION


# %% [markdown]
# ## The root, measured
#
# Queries and keys of unit variance, 64 keys a query, heads of growing width. The variance of the plain dot product
# grows like d_head; the scaled one stays at 1. The last two columns say what that does to the softmax: the mean weight
# of the best key, which is 1/64 = 0.016 when nothing is preferred and 1 when nothing else is seen.

# %% why_the_root
generator = torch.Generator().manual_seed(3)
print(f"{'d_head':>6} {'var(q.k)':>10} {'scaled':>8} {'best weight, plain':>20} {'scaled':>8}")
for d_head in (4, 16, 64, 256):
    queries, keys = torch.randn(2, 2000, 64, d_head, generator=generator).unbind()
    # one query and 64 keys in each of 2000 trials
    plain = (queries[:, :1] @ keys.transpose(-2, -1)).squeeze(1)  # (2000, 64)
    scaled = plain / math.sqrt(d_head)
    best = [scores.softmax(dim=-1).amax(dim=-1).mean().item() for scores in (plain, scaled)]
    spread = f"{plain.var().item():10.2f} {scaled.var().item():8.2f}"
    print(f"{d_head:6} {spread} {best[0]:20.3f} {best[1]:8.3f}")

# %% [markdown]
# ## What a head looks at
#
# Trained heads often have a simple job. Three of them can be built by hand, from unit vectors for positions and for
# letters: one that looks at the position before, one that looks for earlier copies of its own letter, and one that has
# no preference. If the values are unit vectors too, the output of your `scaled_dot_product_attention` is the pattern
# itself. In the picture of the second, look at which rows have something to find.

# %% what_a_head_looks_at
import matplotlib.pyplot as plt

text = "a banana band"
letters = sorted(set(text))
by_position = torch.eye(len(text))
by_letter = torch.eye(len(letters))[[letters.index(letter) for letter in text]]
sharpness = 30.0
heads = {
    "the position before": (sharpness * by_position.roll(-1, dims=1), by_position),
    "the same letter": (sharpness * by_letter, by_letter),
    "no preference": (0 * by_position, by_position),
}
figure, axes = plt.subplots(1, len(heads), figsize=(13, 4.4), layout="constrained")
for axis, (title, (queries, keys)) in zip(axes, heads.items(), strict=True):
    unit = torch.eye(len(text))
    mask = causal_mask(len(text), len(text))
    q, k, v = (t[None, None] for t in (queries, keys, unit))  # one batch entry, one head
    pattern = scaled_dot_product_attention(q, k, v, mask)[0, 0]
    axis.imshow(pattern, cmap="Greys", vmin=0, vmax=1)
    marks = [letter.replace(" ", "␣") for letter in text]
    axis.set(title=title, xlabel="key", ylabel="query")
    axis.set(xticks=range(len(text)), yticks=range(len(text)))
    axis.set_xticklabels(marks)
    axis.set_yticklabels(marks)
plt.show()
