# %% [markdown]
# # 17. Scaling
#
# Chapter 16 trained one small GPT. How much better would a larger one have been, or more text, or a longer run? Nobody
# can compute the loss of a model that has not been trained. But losses of models that differ only in size lie on
# curves that are surprisingly regular, so one trains small models, fits a curve, and reads off what a large one will
# do before paying for it.
#
# This chapter has the four calculations behind that: what a training run costs, how a curve is fitted, how a budget
# is best divided between size and data, and why a smooth curve can look like a jump.
#
# Throughout, $N$ is the number of parameters, $D$ the number of tokens in training, and $C$ the operations (FLOPs) of
# the run. Numbers get large, $10^{23}$ and more: Python's own numbers hold them, 64-bit integers do not.

# %%
import torch
from jaxtyping import Float
from torch import Tensor

from reference.config import GPT2, GPT2_PAPER_MILLIONS, GPT3, GPT3_PRINTED, count_parameters

# %% [markdown]
# ## What a run costs
#
# Chapter 10 counted a forward pass: 2 operations, a multiplication and an addition, for each weight and each token.
# The backward pass of a linear layer $y = Wx$ has two products of the same size: the gradient of the weights,
# $g\,x^\top$, and the gradient of what came in, $W^\top g$. Together
#
# $$C \approx (2 + 4)\,N D = 6 N D .$$
#
# It leaves out the scores of attention, which have no weights, and counts each token of the training, also one that is
# seen for the second time.


# %% training_flops
def training_flops(n_parameters: float, n_tokens: float) -> float:
    """Return the operations of training `n_parameters` on `n_tokens`, forward and backward.

    A multiply-add is two operations. Each parameter is in one multiply-add a token forward and in two backward; nothing
    else is counted: no scores, no optimizer, no activations computed twice. Both arguments are positive numbers, integers
    or not, and may be as large as GPT-3's; so is the result. It may be an int or a float.

    Source: Kaplan et al. 2020 (2001.08361), section 2.1.

    >>> training_flops(1000, 10)
    60000
    >>> f"{training_flops(174.6e9, 300e9):.2e}"  # GPT-3: its paper says 3.14e23
    '3.14e+23'
    """
    ### BEGIN SOLUTION
    forward, backward = 2, 4
    return (forward + backward) * n_parameters * n_tokens
    ### END SOLUTION


# %% [markdown]
# ## A line in logarithms
#
# A **power law** $y = a x^b$ multiplies $y$ by the same factor whenever $x$ doubles. Its logarithm is a line,
#
# $$\log y = \log a + b \log x,$$
#
# so the exponent is a slope, and fitting is what least squares does best: among all lines, take the one whose squared
# distances from the points $(\log x_i, \log y_i)$, measured in $\log y$, are smallest in sum.
#
# Distances in the logarithm are relative errors. A fit to $y$ itself would care for the largest losses, those of the
# smallest models, and hardly at all for the end that one wants to extrapolate from.


# %% fit_power_law
def fit_power_law(x: Float[Tensor, " point"], y: Float[Tensor, " point"]) -> tuple[float, float]:
    """Return a and b of the power law y = a x^b that fits best: least squares of log y, as a line in log x.

    All numbers are positive. The points stand in any order; an x may occur several times, and every point counts the
    same; at least two x are different. Both results are numbers (or tensors of a single number).

    >>> a, b = fit_power_law(torch.tensor([1.0, 10.0, 100.0]), torch.tensor([8.0, 4.0, 2.0]))
    >>> round(a, 4), round(b, 4)  # each factor of 10 halves it: b is -log10(2)
    (8.0, -0.301)
    """
    ### BEGIN SOLUTION
    log_x, log_y = x.double().log(), y.double().log()
    centered = log_x - log_x.mean()
    exponent = (centered * log_y).sum() / centered.square().sum()
    constant = log_y.mean() - exponent * log_x.mean()  # the line goes through the mean of the points
    return constant.exp().item(), exponent.item()
    ### END SOLUTION


# %% [markdown]
# ## A budget, divided
#
# Given $C$, should a model be large and see little text, or be small and see much? Hoffmann et al. (Chinchilla) trained
# over 400 models and described their losses by
#
# $$L(N, D) = E + \frac{A}{N^\alpha} + \frac{B}{D^\beta}.$$
#
# $E$ is what no model can predict, the second term is for being too small, the third for having seen too little. With
# $C = 6ND$ one of the two is free. Put $D = C / (6N)$, set the derivative by $N$ to zero, and solve:
#
# $$N^* = \left(\frac{\alpha A}{\beta B}\right)^{\frac{1}{\alpha+\beta}}
# \left(\frac{C}{6}\right)^{\frac{\beta}{\alpha+\beta}}, \qquad D^* = \frac{C}{6 N^*}.$$
#
# At the optimum it is not the two terms that are equal but $\alpha A / N^\alpha$ and $\beta B / D^\beta$: what the next
# percent of either would gain.
#
# The defaults below are not those that Hoffmann et al. printed. Besiroglu et al. reconstructed their data from a figure
# and found that the printed constants do not fit it; these do.


# %% chinchilla_optimal
def chinchilla_optimal(
    flops: float, a: float = 482.01, b: float = 2085.43, alpha: float = 0.3478, beta: float = 0.3658
) -> tuple[float, float]:
    """Return the parameters N and the tokens D, in this order, that a training budget is best spent on.

    They minimize E + a / N^alpha + b / D^beta among all positive real N and D (not rounded) with 6 N D = flops. E does
    not matter. All arguments are positive. A relative error of 1e-4 is small enough.

    Source: Hoffmann et al. 2022 (2203.15556), section 3.3; the defaults: Besiroglu et al. 2024 (2404.10102).

    >>> n, d = chinchilla_optimal(5.76e23)  # the budget of Chinchilla, which was 70e9 and 1.4e12
    >>> f"{n:.2e} parameters, {d:.2e} tokens, {d / n:.1f} each"
    '7.22e+10 parameters, 1.33e+12 tokens, 18.4 each'
    """
    ### BEGIN SOLUTION
    n_parameters = (alpha * a / (beta * b) * (flops / 6) ** beta) ** (1 / (alpha + beta))
    return n_parameters, flops / 6 / n_parameters
    ### END SOLUTION


# %% [markdown]
# ## All or nothing
#
# Loss falls smoothly with size. Yet on some tasks, small models score zero and large ones suddenly do not; such
# abilities were called **emergent**. A part of it is in the ruler. If an answer has $\ell$ tokens and counts only when
# all are right, and each is right with probability $p$ whatever became of the others, then the score is
#
# $$p^\ell .$$
#
# While $p$ creeps from 0.5 to 0.9, $p^{10}$ goes from 0.001 to 0.35.


# %% exact_match_from_token_accuracy
def exact_match_from_token_accuracy(accuracy: Float[Tensor, "*size"], length: int) -> Float[Tensor, "*size"]:
    """Return the probability that all `length` tokens of an answer are right, for each entry of `accuracy`.

    `accuracy` is the probability that a token is right, from 0 to 1 (both included), of any shape; tokens are
    independent of each other. `length` is at least 1. The result has the shape and the dtype of `accuracy`.

    Source: Schaeffer et al. 2023 (2304.15004), section 2.

    >>> exact_match_from_token_accuracy(torch.tensor([0.5, 1.0]), 3).tolist()
    [0.125, 1.0]
    """
    ### BEGIN SOLUTION
    return accuracy**length
    ### END SOLUTION


# %% [markdown]
# ## The tables of GPT-2 and GPT-3
#
# Two things can be recomputed from layers and widths alone: the number of parameters, by chapter 5's formula, and the
# compute. Printed beside them is what the papers say. GPT-2's report miscounts, as its authors have said since. Two rows
# of GPT-3's Table 2.1 contradict themselves in heads and widths (XL has 24 heads of 128 in a width of 2048, 13B has 40
# of 128 in 5140); what is counted here is 16 heads of 128, and 5120, which agrees with the paper's own Table D.1.

# %% tables_recomputed
print(f"{'':12} {'layers':>6} {'d_model':>7} {'parameters':>15} {'printed':>9}")
for name, config in GPT2.items():
    row = f"{config.n_layer:6} {config.d_model:7} {count_parameters(config):15,}"
    print(f"{name:12} {row} {GPT2_PAPER_MILLIONS[name]:8,}M")
print()
print(f"{'':12} {'layers':>6} {'d_model':>7} {'parameters':>15} {'printed':>9} {'6ND':>9} {'PF-days':>8}")
for name, config in GPT3.items():
    parameters = count_parameters(config)
    run = training_flops(parameters, 300e9)
    row = f"{config.n_layer:6} {config.d_model:7} {parameters:15,} {GPT3_PRINTED[name].n_params:>9}"
    print(f"{name:12} {row} {run:9.2e} {run / (1e15 * 86400):8.3g}")

# %% [markdown]
# ## Compute-optimal, by which constants
#
# Hoffmann et al. estimated the optimum in three ways. Two of them say about 20 tokens for each parameter. The third is
# the formula above, and with the constants as printed it says something else. Rounded to two digits, an exponent moves
# the optimum a lot, since it is the exponent of $10^{23}$; but with the exponents of four digits that the paper's source
# holds it is not right either. The refit agrees with the other two ways.
#
# The last column is the loss that the refit predicts for what each row proposes. Little is at stake: the valley is flat.
# (What was trained spent a little more than the budget in Chinchilla's case, 6 times 70e9 times 1.4e12.)

# %% compute_optimal
constants = {
    "Hoffmann, as printed": (406.4, 410.7, 0.34, 0.28),
    "Hoffmann, finer": (406.4, 410.7, 0.3392, 0.2849),
    "Besiroglu, refitted": (482.01, 2085.43, 0.3478, 0.3658),
}


def refitted_loss(parameters: float, tokens: float) -> float:
    """Nats per token."""
    return 1.8172 + 482.01 / parameters**0.3478 + 2085.43 / tokens**0.3658


for label, budget, built in (
    ("Chinchilla's budget", 5.76e23, (70e9, 1.4e12)),
    ("GPT-3's budget", 3.14e23, (174.6e9, 300e9)),
):
    print(f"{label}, {budget:.2e} operations")
    print(f"    {'':22} {'parameters':>10} {'tokens':>9} {'tokens each':>12} {'loss':>7}")
    proposals = {name: chinchilla_optimal(budget, *values) for name, values in constants.items()}
    for name, (n, d) in (proposals | {"what was trained": built}).items():
        print(f"    {name:22} {n / 1e9:9.1f}B {d / 1e12:8.2f}T {d / n:12.1f} {refitted_loss(n, d):7.4f}")

# %% [markdown]
# ## A law of our own
#
# `reference/sweep.json` holds what became of a handful of small GPTs, two layers each, that were trained on the text of
# Python's own documentation, byte by byte. `make sweep` (in the course's repository) trains them again, in some minutes.
# Six differ in width and saw equally much text; three more of one width saw less.
#
# The lines are your `fit_power_law`. The question to ask of such a fit is not how well it goes through its points, but
# what it says about a point that it has not seen. So the largest model, and the longest run, are left out of the fits.
# The largest model is foreseen to a few percent. The longest run is not: it is much better than the shorter ones let
# expect, for those were so short (64 to 256 steps) that they ended before the model had learned much beyond which bytes
# are frequent. A power law describes a regime, and the fit alone does not say whether one is in it.
#
# Look at which parameters are counted. In models as small as these the embedding tables are a large share, and the two
# counts give different exponents: one reason for which Kaplan et al. and Hoffmann et al. came to different advice.

# %% a_law_of_our_own
from types import SimpleNamespace

import matplotlib.pyplot as plt

from reference.scaling import sweep

runs = [SimpleNamespace(**row) for row in sweep()]
most = max(run.n_tokens for run in runs)
by_size = [run for run in runs if run.n_tokens == most]
shared = next(run.d_model for run in runs if run.n_tokens < most)
by_data = sorted((run for run in runs if run.d_model == shared), key=lambda run: run.n_tokens)
axes_of_scaling = {
    "parameters": [(run.n_parameters, run.loss) for run in by_size],
    "parameters without embeddings": [(run.n_non_embedding, run.loss) for run in by_size],
    "bytes of text in training": [(run.n_tokens, run.loss) for run in by_data],
}
figure, panels = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", sharey=True)
for panel, (label, points) in zip(panels, axes_of_scaling.items(), strict=True):
    sizes, losses = torch.tensor(points, dtype=torch.float64).T
    a, b = fit_power_law(sizes[:-1], losses[:-1])
    foreseen = a * sizes[-1].item() ** b
    panel.loglog(sizes[:-1], losses[:-1], "o", label="fitted")
    panel.loglog(sizes[-1:], losses[-1:], "s", color="tab:red", label="left out")
    panel.loglog(sizes, a * sizes**b, "-", color="tab:gray", label=f"{a:.2f} x^({b:.3f})")
    panel.set(xlabel=label)
    panel.legend()
    error = foreseen / losses[-1].item() - 1
    print(f"{label:30} exponent {b:6.3f}; the one left out: {foreseen:.3f} foreseen,", end=" ")
    print(f"{losses[-1]:.3f} measured ({error:+.1%})")
panels[0].set(ylabel="loss (nats per byte)")
plt.show()

# %% [markdown]
# ## What looks like emergence
#
# The same six models, asked to continue unseen text. An answer of $\ell$ bytes counts if each byte is the right one.
# On the left, the accuracy of single bytes: it rises from model to model, and no model stands out. In the middle,
# answers of 4 and of 8 bytes, on an axis of their own: the small models are near zero and the large ones are not. On the
# right the same numbers on a logarithmic axis, and the jump is gone.
#
# The dashed lines are $p^\ell$, from your function, with the accuracy measured on the left. The measured shares lie
# above them, for most models by half and more: bytes are **not** independent, since what is easy and what is hard come
# in stretches.
# So $p^\ell$ has the shape right and the numbers wrong, and it should be told like that: as an account of how a sharp
# curve *can* come from a smooth one. It does not say that every sharp curve did, and whoever needs the whole answer to
# be right is served by the sharp one.

# %% looks_like_emergence
sizes = [run.n_parameters for run in by_size]
byte_accuracy = torch.tensor([run.exact_match["1"] for run in by_size])
figure, panels = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
panels[0].semilogx(sizes, byte_accuracy, "o-", color="black")
panels[0].set(title="single bytes", ylabel="share right", ylim=(0, 1))
for length, color in ((4, "tab:blue"), (8, "tab:red")):
    measured = torch.tensor([run.exact_match[str(length)] for run in by_size])
    independent = exact_match_from_token_accuracy(byte_accuracy, length)
    for panel in panels[1:]:
        shown = measured if panel is panels[1] else measured.where(measured > 0, torch.nan)
        panel.plot(sizes, shown, "o-", color=color, label=f"{length} bytes, measured")
        panel.plot(sizes, independent, "--", color=color, label=f"{length} bytes, if independent")
panels[1].set(title="all bytes of an answer", xscale="log")
panels[2].set(title="the same, logarithmic", xscale="log", yscale="log")
panels[1].legend()
for panel in panels:
    panel.set(xlabel="parameters")
plt.show()
print(f"{'parameters':>10} {'loss':>6} {'1 byte':>7} {'4 bytes':>8} {'p^4':>8} {'8 bytes':>8} {'p^8':>8}")
for run, p in zip(by_size, byte_accuracy, strict=True):
    print(f"{run.n_parameters:10,} {run.loss:6.3f} {p.item():7.3f}", end="")
    for length in (4, 8):
        independent = exact_match_from_token_accuracy(p, length).item()
        print(f" {run.exact_match[str(length)]:8.4f} {independent:8.4f}", end="")
    print()
