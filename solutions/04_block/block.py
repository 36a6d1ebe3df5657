# %% [markdown]
# # 4. The block
#
# The attention layer of the last chapter lets a position collect what others hold. It leaves three things open. Its
# output is an average of values: it moves information and computes hardly anything with it. It returns something new
# and says nothing of what the position was before. And its scores are products of two vectors that both come from x,
# so they grow with the square of x.
#
# The **block** settles all three. An MLP works on what attention has collected. Both add their results to x instead of
# replacing it. And each reads x through a layer norm, so that it sees numbers of the same size at any depth. GPT-2 is
# 12 to 48 such blocks in a row, and hardly anything else.
#
# Shapes: x is (batch, position, d_model), and so is everything that a block reads from x and adds to it.

# %%
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from reference.attention import causal_self_attention

# %% [markdown]
# ## Numbers of the same size
#
# **Layer norm** takes the $d$ channels of one position, subtracts their mean, divides by their standard deviation, and
# then gives each channel a gain and a shift that are learned:
#
# $$\mu = \frac{1}{d} \sum_c x_c, \qquad \sigma^2 = \frac{1}{d} \sum_c (x_c - \mu)^2, \qquad
# y_c = \frac{x_c - \mu}{\sqrt{\sigma^2 + \varepsilon}}\, w_c + b_c.$$
#
# Each part of that is a convention, and a checkpoint works with the one it was trained with:
#
# - The statistics are those of **one position**. Neither the batch nor the other positions take part. A norm over the
#   sequence would tell each position about later ones, around every mask.
# - The variance is **biased**: divided by $d$. `torch.var` and `torch.std` divide by $d - 1$ unless told otherwise.
# - $\varepsilon$ is added to the variance, **inside the root**. GPT-2 has $10^{-5}$. Where the standard deviation is
#   about 0.003 or less, this decides the result: a row of equal channels becomes $b$ instead of NaN.
#
# Two more things are worth knowing, though nothing here depends on them. The formula $\overline{x^2} - \mu^2$ for the
# variance is right on paper; in float32, with a mean of 4,096, both terms are 16,777,216 and a variance of 1 is lost in
# their rounding. Subtract first, square then. And float16 ends at 65,504, so it cannot hold the square of 256: models in
# half precision take mean and variance in float32.


# %% layer_norm
def layer_norm(
    x: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, " d_model"],
    bias: Float[Tensor, " d_model"],
    eps: float = 1e-5,
) -> Float[Tensor, "*batch d_model"]:
    """Normalize the channels of each position, scale them by `weight` and shift them by `bias`.

    The channels are the last axis; any number of axes stands in front of it, none included, and x need not be
    contiguous. The variance is the biased one, and eps is added to it inside the root; variances far below eps, and 0,
    are normal. All numbers are float32, and x is left unchanged.

    Source: Ba et al. 2016, "Layer Normalization" (1607.06450), section 3; GPT-2's published code for eps.

    The channels 1 and 3 have mean 2 and variance 1; 5 and 5 have variance 0:

    >>> x = torch.tensor([[1.0, 3.0], [5.0, 5.0]])
    >>> y = layer_norm(x, torch.tensor([10.0, 10.0]), torch.tensor([0.0, 1.0]))
    >>> [[round(number, 3) for number in row] for row in y.tolist()]
    [[-10.0, 11.0], [0.0, 1.0]]
    """
    ### BEGIN SOLUTION
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return centered / torch.sqrt(variance + eps) * weight + bias
    ### END SOLUTION


# %% [markdown]
# ## A gate for each number
#
# Between two linear layers there must be something that is not linear, or the two are one. ReLU multiplies a number by
# 1 if it is positive and by 0 if not. **GELU** multiplies it by a smooth gate, the share $\Phi(x)$ of a standard normal
# distribution that lies below $x$: 0 far to the left, 1/2 at 0, 1 far to the right. So it has a slope everywhere, also
# left of 0, where ReLU passes no gradient.
#
# $\Phi$ needs the error function. GPT-2 uses an approximation with a tanh:
#
# $$\mathrm{GELU}(x) = x\,\Phi(x) \approx \frac{x}{2} \left(1 + \tanh\left(\sqrt{2/\pi}\,
# (x + 0.044715\, x^3)\right)\right).$$
#
# The two differ by less than 0.0005. That is far more than rounding, and GPT-2 was trained with the right-hand side:
# it is not an approximation of the model, it **is** the model.


# %% gelu
def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return GPT-2's activation of each number: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))).

    x has any number of axes, is float32, and need not be contiguous; it is left unchanged. The result has the shape and
    the dtype of x. Numbers may be in the millions: large positive ones come back as they are, large negative ones as 0.

    Source: Hendrycks and Gimpel 2016, "Gaussian Error Linear Units" (1606.08415), section 2.

    >>> [round(number, 4) for number in gelu(torch.tensor([-10.0, -1.0, 0.0, 1.0, 10.0])).tolist()]
    [-0.0, -0.1588, 0.0, 0.8412, 10.0]
    """
    ### BEGIN SOLUTION
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ### END SOLUTION


# %% [markdown]
# ## Thinking about what was collected
#
# The MLP (also: feed-forward network) widens each position to $d_{ff}$ hidden channels, applies GELU, and narrows it
# again:
#
# $$\mathrm{MLP}(x) = \mathrm{GELU}(x W_{fc}^\top + b_{fc})\, W_{proj}^\top + b_{proj}.$$
#
# In GPT, $d_{ff} = 4\, d_{model}$, so the two matrices hold $8\, d_{model}^2$ weights, twice as many as attention.
# Written as a sum over hidden channels, with row $k_f$ of $W_{fc}$ and column $v_f$ of $W_{proj}$,
#
# $$\mathrm{MLP}(x) = \sum_f \mathrm{GELU}(x \cdot k_f + b_{fc, f})\, v_f + b_{proj},$$
#
# it looks like attention to a memory that does not depend on the text: each $k_f$ detects something, and $v_f$ is what
# is written when it is there. The bias is the threshold of the detector, and the activation makes it one.
#
# No position sees another one here. This exercise is about the wiring, so torch's own functions are yours to use:
# `F.linear`, and `F.gelu(..., approximate="tanh")`, which is what you have just written.


# %% mlp
def mlp(
    x: Float[Tensor, "*batch d_model"],
    w_fc: Float[Tensor, "d_ff d_model"],
    b_fc: Float[Tensor, " d_ff"],
    w_proj: Float[Tensor, "d_model d_ff"],
    b_proj: Float[Tensor, " d_model"],
) -> Float[Tensor, "*batch d_model"]:
    """Widen each position to d_ff channels, apply GELU in its tanh form, and narrow it to d_model again.

    Weights are (out, in), as in `torch.nn.functional.linear`. d_ff is 4 * d_model in GPT-2, but may be any width here.
    x has any number of axes in front of the channels, none included. No input need be contiguous. All numbers are
    float32. Neither the layer norm before the MLP nor the residual sum after it is part of it.

    Source: Vaswani et al. 2017 (1706.03762), section 3.3, with GPT-2's activation.

    A hidden channel whose gate is open passes its number on (here 10 and 0, each plus its bias of 10):

    >>> x = torch.tensor([[10.0, 0.0]])
    >>> w_fc, w_proj = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> mlp(x, w_fc, torch.tensor([10.0, 10.0]), w_proj, torch.tensor([0.5, 0.0])).tolist()
    [[20.5, 30.0]]
    >>> mlp(x, w_fc, torch.tensor([-20.0, -20.0]), w_proj, torch.tensor([0.5, 0.0])).tolist()
    [[0.5, 0.0]]
    """
    ### BEGIN SOLUTION
    hidden = F.gelu(F.linear(x, w_fc, b_fc), approximate="tanh")  # (*batch, d_ff)
    return F.linear(hidden, w_proj, b_proj)
    ### END SOLUTION


# %% [markdown]
# ## The residual stream
#
# A block adds to x twice:
#
# $$x \leftarrow x + \mathrm{Attention}(\mathrm{LN}_1(x)), \qquad x \leftarrow x + \mathrm{MLP}(\mathrm{LN}_2(x)).$$
#
# Read it as a stream of $d_{model}$ channels that runs through the whole model, from which each part reads a normalized
# copy, and to which it adds what it has found. Three things follow from where the norms and the sums are:
#
# - **Pre-norm.** The norm stands in front of each part, on the copy. The stream itself is never normalized, so between
#   the first block and the last there is a path of nothing but sums, and the gradient goes back along it unweakened.
#   The first transformer and GPT-1 had it the other way round, $x \leftarrow \mathrm{LN}(x + \mathrm{part}(x))$, which
#   puts a norm across that path in every half of a block, and needs care (a warm-up) to train deep.
# - **Both sums.** Attention and the MLP each have their own, and the second starts from the result of the first.
# - **The norms are two.** `ln_1` and `ln_2` have weights of their own, and `ln_2` reads x after attention has added to
#   it.
#
# The twelve parameters come as a dict, under the names that they have in GPT-2's checkpoints:
#
# | name | shape |
# |---|---|
# | ln_1.weight, ln_1.bias | (d_model,) each |
# | attn.c_attn.weight, attn.c_attn.bias | (3 * d_model, d_model), (3 * d_model,) |
# | attn.c_proj.weight, attn.c_proj.bias | (d_model, d_model), (d_model,) |
# | ln_2.weight, ln_2.bias | (d_model,) each |
# | mlp.c_fc.weight, mlp.c_fc.bias | (d_ff, d_model), (d_ff,) |
# | mlp.c_proj.weight, mlp.c_proj.bias | (d_model, d_ff), (d_model,) |
#
# Use `causal_self_attention` of the last chapter, which is imported above, and torch's `F.layer_norm` and `F.gelu`: what
# is asked here is who reads what, and what is added to what. Your other three functions are checked by themselves, so
# do not call them.


# %% transformer_block
def transformer_block(
    x: Float[Tensor, "batch position d_model"],
    params: Mapping[str, Float[Tensor, "..."]],
    n_head: int,
) -> Float[Tensor, "batch position d_model"]:
    """Run x through one block of GPT-2: x plus attention, then plus MLP, each reading a layer norm of x.

    `params` has the twelve names of the table above, in any order; weights are (out, in). Layer norms have eps 1e-5, and
    GELU is in its tanh form. Attention is causal, with n_head heads, which divide d_model. No tensor need be contiguous.
    All numbers are float32, and x is left unchanged.

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2), section 2.3.

    If both projections write nothing, x comes back; a bias of theirs is added to every position:

    >>> shapes = {"ln_1": (2,), "attn.c_attn": (6, 2), "attn.c_proj": (2, 2)}
    >>> shapes |= {"ln_2": (2,), "mlp.c_fc": (8, 2), "mlp.c_proj": (2, 8)}
    >>> params = {f"{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    >>> params |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    >>> x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    >>> transformer_block(x, params, 1).tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    >>> transformer_block(x, params | {"attn.c_proj.bias": torch.tensor([10.0, 0.0])}, 1).tolist()
    [[[11.0, 2.0], [13.0, 4.0]]]
    """

    ### BEGIN SOLUTION
    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, params[f"{name}.weight"], params[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], params[f"{name}.weight"], params[f"{name}.bias"], eps=1e-5)

    attention_weights = [params[f"attn.{name}.{kind}"] for name in ("c_attn", "c_proj") for kind in ("weight", "bias")]
    x = x + causal_self_attention(norm(x, "ln_1"), *attention_weights, n_head)
    hidden = F.gelu(linear(norm(x, "ln_2"), "mlp.c_fc"), approximate="tanh")
    return x + linear(hidden, "mlp.c_proj")
    ### END SOLUTION


# %% [markdown]
# ## Where eps counts
#
# A position with 768 channels of the standard deviation on the left goes through your `layer_norm`, and through two that
# people write instead: with eps outside the root, and with the eps of BERT. The numbers are the standard deviations of
# what comes out. As long as x is of ordinary size, nobody can tell them apart.

# %% where_eps_counts
generator = torch.Generator().manual_seed(4)
row = torch.randn(768, generator=generator)
row = (row - row.mean()) / row.std(correction=0)
gain, shift = torch.ones(768), torch.zeros(768)
print(f"{'std of x':>10} {'layer_norm':>12} {'eps outside':>12} {'eps 1e-12':>12}")
for size in (1.0, 1e-1, 1e-2, 1e-3, 1e-4):
    small = size * row
    results = (
        layer_norm(small, gain, shift),
        (small - small.mean()) / (small.std(correction=0) + 1e-5),
        layer_norm(small, gain, shift, 1e-12),
    )
    print(f"{size:10.0e}", *(f"{result.std(correction=0).item():12.4f}" for result in results))

# %% [markdown]
# ## Three activations
#
# On the left ReLU, GELU and SiLU (which other models use); in the middle their slopes; on the right how far two common
# stand-ins are from your `gelu`. The erf form is the exact GELU, and still the wrong one for GPT-2's weights.

# %% three_activations
import matplotlib.pyplot as plt

x = torch.linspace(-5, 5, 501, requires_grad=True)
curves = {"ReLU": torch.relu, "GELU": gelu, "SiLU": F.silu}
stand_ins = {"erf form": F.gelu, "x sigmoid(1.702 x)": lambda x: x * torch.sigmoid(1.702 * x)}
figure, (values_axis, slopes_axis, errors_axis) = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
for label, curve in curves.items():
    y = curve(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    values_axis.plot(x.detach(), y.detach(), label=label)
    slopes_axis.plot(x.detach(), slope, label=label)
for label, curve in stand_ins.items():
    error = (curve(x) - gelu(x)).detach()
    errors_axis.plot(x.detach(), error, label=label)
    print(f"{label:20} is off by up to {error.abs().max().item():.1e}, at x = {x[error.abs().argmax()].item():.1f}")
for axis, title in ((values_axis, "value"), (slopes_axis, "slope"), (errors_axis, "minus your gelu")):
    axis.set(title=title, xlabel="x")
    axis.legend()
plt.show()

# %% [markdown]
# ## What norms and sums are for
#
# Twenty-four blocks with random weights, wired in four ways: as yours, post-norm, and with the norms or the sums left out.
# On the left the size of the stream: without norms, every part multiplies what it reads, and the stream explodes. On the
# right how alike the positions are, as the mean cosine between two of them. Attention averages, so without the sums, which
# keep what a position was, four blocks make all positions nearly the same. Pre-norm, the stream grows like the root of
# the depth, and positions stay apart for longest.

# %% stream_through_depth
n_block, width = 24, 64
generator = torch.Generator().manual_seed(4)
matrices = {"attn.c_attn": (3, 1), "attn.c_proj": (1, 1), "mlp.c_fc": (4, 1), "mlp.c_proj": (1, 4)}  # in units of width


def random_block():
    params = {
        f"{norm}.{kind}": fill(width)
        for norm in ("ln_1", "ln_2")
        for kind, fill in (("weight", torch.ones), ("bias", torch.zeros))
    }
    for name, (rows, columns) in matrices.items():
        weight = torch.randn(rows * width, columns * width, generator=generator)
        params |= {f"{name}.weight": weight / (columns * width) ** 0.5, f"{name}.bias": torch.zeros(rows * width)}
    return params


def parts(params):
    attention = [params[f"attn.{name}.{kind}"] for name in ("c_attn", "c_proj") for kind in ("weight", "bias")]
    layers = [params[f"mlp.{name}.{kind}"] for name in ("c_fc", "c_proj") for kind in ("weight", "bias")]
    return lambda x: causal_self_attention(x, *attention, 4), lambda x: mlp(x, *layers)


def plain_norm(x):
    return F.layer_norm(x, x.shape[-1:])


def in_turn(half):
    def block(x, params):
        for part in parts(params):
            x = half(x, part)
        return x

    return block


wirings = {
    "pre-norm (yours)": lambda x, params: transformer_block(x, params, 4),
    "post-norm": in_turn(lambda x, part: plain_norm(x + part(x))),
    "norms, no sums": in_turn(lambda x, part: part(plain_norm(x))),
    "sums, no norms": in_turn(lambda x, part: x + part(x)),
}
blocks = [random_block() for _ in range(n_block)]
start = torch.randn(4, 32, width, generator=generator)
figure, (size_axis, alike_axis) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
for label, wiring in wirings.items():
    stream = [start]
    for params in blocks:
        stream.append(wiring(stream[-1], params))
    sizes = [x.std().item() for x in stream]
    units = [F.normalize(x, dim=-1) for x in stream]
    cosines = [(unit @ unit.mT).sum(dim=(-2, -1)).mean().item() for unit in units]
    alike = [(total - 32) / (32 * 31) for total in cosines]  # the mean over pairs of different positions
    size_axis.semilogy(sizes, marker=".", label=label)
    alike_axis.plot(alike, marker=".", label=label)
    print(f"{label:18} after {n_block} blocks: size {sizes[-1]:9.2g}, mean cosine of two positions {alike[-1]:.2f}")
size_axis.set(title="size of the stream", xlabel="block")
alike_axis.set(title="mean cosine of two positions", xlabel="block")
size_axis.legend()
plt.show()
