# %% [markdown]
# # 16. Training
#
# The model can be written, and text can be turned into tokens. What is missing is where the numbers in the matrices come
# from. They start as noise, and training changes them a little, many times over. One **step**:
#
# 1. Take a batch of text; inputs are all tokens but the last, targets the same tokens one place on.
# 2. **Forward**: logits, and the mean cross-entropy $L$ in nats per token.
# 3. **Backward**: the gradient $\partial L / \partial \theta$ of every parameter, from the loss back to the embeddings.
# 4. If the batch does not fit into memory, steps 1 to 3 in pieces, and the gradients **accumulated**.
# 5. **Clip** the gradients to a largest length.
# 6. Ask the **schedule** for the learning rate of this step.
# 7. **AdamW** moves the parameters; matrices also **decay**.
#
# You write every part of it that a library usually hides. In the end they train a small GPT on real text, with no
# optimizer but yours, and with your own gradients of the loss and of attention. All functions return new tensors and
# leave their arguments as they are. The exercises do not depend on each other.

# %%
import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# %% [markdown]
# ## What decays
#
# Weight decay pulls weights toward 0 in every step, so that none grows large without a reason. For the gain of a layer
# norm the neutral value is 1, not 0, and a bias is one number a channel that has little room to overfit: both go without.
# GPT's authors write "all non bias or gain weights". Whoever goes by names has to know them all; the number of
# dimensions says the same in every model.


# %% param_groups
def param_groups(params: Mapping[str, Float[Tensor, "..."]]) -> tuple[list[str], list[str]]:
    """Return the names of the parameters with weight decay, and the names of those without.

    A parameter with two dimensions or more decays: matrices, stacks of matrices, and embeddings
    too, with however few rows or columns, whatever their names are. All others do not. Each list
    may be in any order.

    Source: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
    section 4.1.

    >>> matrix, vector = torch.ones(3, 2), torch.ones(3)
    >>> param_groups({"fc.weight": matrix, "fc.bias": vector, "ln.weight": vector})
    (['fc.weight'], ['fc.bias', 'ln.weight'])
    """
    ### BEGIN SOLUTION
    decayed = [name for name, parameter in params.items() if parameter.ndim >= 2]
    spared = [name for name, parameter in params.items() if parameter.ndim < 2]
    return decayed, spared
    ### END SOLUTION


# %% [markdown]
# ## AdamW
#
# Plain gradient descent has one learning rate for all parameters, while their gradients differ by orders of magnitude.
# Adam keeps two running means for each number: $m$ of its gradient $g$, and $s$ of $g^2$,
#
# $$m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad s_t = \beta_2 s_{t-1} + (1 - \beta_2)\, g_t^2 .$$
#
# Both start at 0, so they are too small at first. After $t$ steps the weights of all gradients in $m_t$ add up to
# $1 - \beta_1^t$, so dividing by that makes a mean of it: $\hat m_t = m_t / (1 - \beta_1^t)$, $\hat s_t = s_t / (1 - \beta_2^t)$.
# With $\beta_2 = 0.95$ the first $s$ is a twentieth of what it should be, and its root less than a quarter. The step is
#
# $$\theta_t = \theta_{t-1} - \eta\, \frac{\hat m_t}{\sqrt{\hat s_t} + \epsilon} - \eta \lambda\, \theta_{t-1} .$$
#
# Where the gradients of a number agree, the fraction is near 1 or -1, however small they are: it moves by about $\eta$.
# Where they contradict each other it is near 0.
#
# The last term is the **decoupled** weight decay. Added to the gradient instead (which is the derivative of an L2
# penalty), it would be divided by $\sqrt{\hat s}$ as well, and the parameters with the largest gradients would decay
# least. The W in AdamW is this difference.
#
# The optimizers of `torch.optim` are the exercise itself, so calling one is not accepted here.


# %% adamw_step
def adamw_step(
    parameter: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
    state: tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]],
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
) -> tuple[Float[Tensor, "*shape"], tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]]:
    """Return the parameter after one update, and the state after it.

    `state` holds the running means of gradient and squared gradient, uncorrected; both are 0 before
    the first step. `step` counts from 1. `eps` is added to the root of the corrected square. The
    decay takes lr * weight_decay times the parameter, as it came in, from the parameter itself.
    Any shape, also of a single number. Everything is float32; nothing is changed in place. The
    defaults are GPT-3's.

    Sources: Kingma and Ba 2014, "Adam" (1412.6980), algorithm 1; Loshchilov and Hutter 2017,
    "Decoupled Weight Decay Regularization" (1711.05101), algorithm 2.

    >>> x, gradient, zeros = torch.tensor([2.0, 2.0]), torch.tensor([30.0, -0.5]), torch.zeros(2)
    >>> x, state = adamw_step(x, gradient, (zeros, zeros), step=1, lr=0.1, weight_decay=0.0)
    >>> x, state  # by lr, whatever the size of the gradient
    (tensor([1.9000, 2.1000]), (tensor([ 3.0000, -0.0500]), tensor([4.5000e+01, 1.2500e-02])))
    """
    ### BEGIN SOLUTION
    beta_mean, beta_square = betas
    mean = beta_mean * state[0] + (1 - beta_mean) * gradient
    square = beta_square * state[1] + (1 - beta_square) * gradient.square()
    corrected_mean = mean / (1 - beta_mean**step)
    corrected_square = square / (1 - beta_square**step)
    kept = parameter * (1 - lr * weight_decay)
    return kept - lr * corrected_mean / (corrected_square.sqrt() + eps), (mean, square)
    ### END SOLUTION


# %% [markdown]
# ## The schedule
#
# The learning rate is not constant. In the first steps the running means know little, and with random weights the
# gradients are large and soon out of date: a full step may throw the model to where it does not come back from. So it
# **warms up**, along a line. Later the steps have to become smaller for the noise of the batches to average out: it
# falls along half a **cosine**, flat at its top and at its end.
#
#     max_lr              *  *  .
#                      *           .
#                   *                 .
#                *                       .
#     min_lr  *                             .  .  .  .  .
#             0            W                   N             step
#
# Steps are counted from 0. The warm-up has $W$ steps, 0 to $W - 1$, and the first of them is not lost with a rate of 0:
# it has $1/W$ of the maximum, the last all of it. The cosine has its top at step $W$ and its lowest point at $N$. Then
# the rate stays.
#
# $$\eta(t) = \eta_{min} + (\eta_{max} - \eta_{min}) \cdot \tfrac{1}{2} \left(1 + \cos \pi \frac{t - W}{N - W}\right).$$


# %% warmup_cosine_lr
def warmup_cosine_lr(step: int, n_warmup: int, n_step: int, max_lr: float, min_lr: float) -> float:
    """Return the learning rate of a step, counted from 0.

    Step i < n_warmup has max_lr * (i + 1) / n_warmup. Step n_warmup has max_lr; from there the rate
    falls along half a cosine to min_lr at step n_step, and all later steps have min_lr.
    0 <= n_warmup < n_step, where n_step counts the warm-up, too; with n_warmup = 0 the cosine
    begins at step 0.

    Source: Brown et al. 2020, "Language Models are Few-Shot Learners" (2005.14165), appendix B.

    >>> [round(warmup_cosine_lr(step, 4, 8, 1.0, 0.1), 3) for step in (0, 1, 3, 4, 6, 8, 100)]
    [0.25, 0.5, 1.0, 1.0, 0.55, 0.1, 0.1]
    """
    ### BEGIN SOLUTION
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))  # 0 at the top, 1 at the end
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2
    ### END SOLUTION


# %% [markdown]
# ## Clipping
#
# Now and then a batch has a gradient many times longer than usual. One such step can undo hundreds. Clipping bounds its
# length and keeps its **direction**: all gradients of all parameters are one long vector, and if that is longer than
# `max_norm`, every number in it is multiplied by the same factor,
#
# $$g \to g \cdot \min\left(1, \frac{c}{\lVert g \rVert}\right), \qquad \lVert g \rVert = \sqrt{\textstyle\sum_i g_i^2} .$$
#
# The norm before clipping is worth a look in every step: it is the first thing to move when training goes wrong.


# %% clip_grad_norm
def clip_grad_norm(
    gradients: Mapping[str, Float[Tensor, "..."]], max_norm: float
) -> tuple[dict[str, Float[Tensor, "..."]], Float[Tensor, ""]]:
    """Return the gradients, none longer together than `max_norm`, and their norm before.

    The norm is that of all numbers of all gradients as one vector. If it is above max_norm > 0, all
    gradients are multiplied by max_norm / norm; otherwise they stay as they are, those that are all
    0 too. The norm may be a tensor without dimensions or a float. There is at least one gradient,
    and all numbers are finite. (To add 1e-6 to the norm before dividing, as torch does, is right.)

    Source: Pascanu et al. 2012, "On the difficulty of training recurrent neural networks"
    (1211.5063), section 3.2.

    >>> clip_grad_norm({"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}, 1.0)
    ({'a': tensor([0.6000, 0.0000]), 'b': tensor([[0.8000]])}, tensor(5.))
    """
    ### BEGIN SOLUTION
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    scale = (max_norm / norm).clamp(max=1.0)  # norm 0: infinity, which becomes 1
    return {name: gradient * scale for name, gradient in gradients.items()}, norm
    ### END SOLUTION


# %% [markdown]
# ## Accumulation
#
# A batch of half a million tokens does not fit into one forward pass. It need not: the gradient of a sum is the sum of
# the gradients, so the batch is cut into **micro-batches**, and their gradients are put together before the step. The
# trap is that the loss is a **mean** over tokens, and micro-batches differ in how many tokens count, because of padding,
# or because only answers count. With $n_i$ counted tokens in micro-batch $i$,
#
# $$\nabla L = \sum_i \frac{n_i}{\sum_j n_j} \nabla L_i .$$
#
# The mean of the means is another number, unless all $n_i$ are equal: a token in a short micro-batch then counts more
# than one in a long one. In 2024 it was found that the most widely used training library did this, with every model that
# was fine-tuned by accumulation.


# %% accumulate_gradients
def accumulate_gradients(
    micro_gradients: Sequence[Mapping[str, Float[Tensor, "..."]]], n_tokens: Sequence[int]
) -> dict[str, Float[Tensor, "..."]]:
    """Return the gradient of the mean loss over all tokens of all micro-batches.

    `micro_gradients[i]` has the gradients, by name, of the mean loss over the `n_tokens[i]` tokens
    of micro-batch i. All have the same names. A micro-batch without a counted token has the number
    0 and gradients of 0, and changes nothing; at least one has tokens. The arguments stay as they
    are.

    >>> accumulate_gradients([{"w": torch.tensor([1.0])}, {"w": torch.tensor([5.0])}], [3, 1])
    {'w': tensor([2.])}
    """
    ### BEGIN SOLUTION
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients, n in zip(micro_gradients, n_tokens, strict=True):
        for name, gradient in gradients.items():
            total[name] += gradient * (n / sum(n_tokens))
    return total
    ### END SOLUTION


# %% [markdown]
# ## Where the gradient begins: the loss
#
# From here on, backward by hand. The loss of one position with logits $z$ and target $y$ is
# $\ell = \log \sum_w e^{z_w} - z_y$. The derivative of the first term is the softmax, that of the second is 1 at the
# target:
#
# $$\frac{\partial \ell}{\partial z_w} = p_w - [w = y] .$$
#
# Nothing in training is simpler, and much follows from it. The entries sum to 0. Every wrong word is pushed down by its
# probability, the right one up by what it lacks. A word that is surely right gives no gradient, and the worst mistake a
# bounded one, which a squared error behind a softmax does not: there a confident mistake gets almost no gradient.
#
# The loss is the **mean** over the positions, so each gets its share of that.


# %% cross_entropy_backward
def cross_entropy_backward(
    logits: Float[Tensor, "position vocab"], targets: Int[Tensor, " position"]
) -> Float[Tensor, "position vocab"]:
    """Return the gradient of the mean cross-entropy, in nats, with respect to the logits.

    The loss is the mean over the positions of -log softmax(logits)[target]. Logits may be in the
    thousands. Written by hand: without autograd.

    Source: Goodfellow et al. 2016, "Deep Learning", section 6.2.2.3.

    >>> logits = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]).log()
    >>> cross_entropy_backward(logits, torch.tensor([0, 1]))
    tensor([[-0.2500,  0.1250,  0.1250],
            [ 0.1000, -0.4000,  0.3000]])
    """
    ### BEGIN SOLUTION
    gradient = torch.softmax(logits, dim=-1)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / len(targets)
    ### END SOLUTION


# %% [markdown]
# ## Through attention
#
# Forward, attention is three lines:
#
# $$S = \frac{Q K^\top}{\sqrt{d}}, \qquad P = \mathrm{softmax}(S), \qquad O = P V .$$
#
# Backward we are given $\bar O = \partial L / \partial O$, of the shape of $O$, and go up the lines. For a product
# $C = A B$ the gradients are $\bar A = \bar C B^\top$ and $\bar B = A^\top \bar C$; the shapes leave no other choice. So
#
# $$\bar V = P^\top \bar O, \qquad \bar P = \bar O V^\top .$$
#
# The softmax is along a row. One score changes all weights of its row, because they sum to 1:
# $\partial P_j / \partial S_i = P_j ([i = j] - P_i)$. Put together,
#
# $$\bar S_i = P_i \Big(\bar P_i - \sum_j P_j \bar P_j\Big) .$$
#
# A score is raised if its weight would do more good than the row does on average. Last the scores, with their scale:
#
# $$\bar Q = \frac{\bar S K}{\sqrt d}, \qquad \bar K = \frac{\bar S^\top Q}{\sqrt d} .$$
#
# A hidden key has $P = 0$, so $\bar S = 0$ and no part of any gradient. The weights $P$ are computed again here, from $q$,
# $k$ and the mask. FlashAttention does so too, to avoid keeping a matrix of all pairs, and it takes the average of the row
# from $\sum_j P_j \bar P_j = \bar O \cdot O$.


# %% attention_backward
def attention_backward(
    q: Float[Tensor, "*batch query d_head"],
    k: Float[Tensor, "*batch key d_head"],
    v: Float[Tensor, "*batch key d_value"],
    mask: Bool[Tensor, "query key"],
    grad_output: Float[Tensor, "*batch query d_value"],
) -> tuple[
    Float[Tensor, "*batch query d_head"],
    Float[Tensor, "*batch key d_head"],
    Float[Tensor, "*batch key d_value"],
]:
    """Return the gradients for q, k and v of softmax(q k^T / sqrt(d_head)) v.

    `grad_output` is the gradient of the loss for the output. `mask` is True where attention is
    allowed; every query is allowed some key. Scores may be in the hundreds. There may be any
    leading dimensions, the same in q, k and v, usually (batch, head). Written by hand: without
    autograd.

    Source: Dao et al. 2022, "FlashAttention" (2205.14135), appendix B.2.

    >>> q, k = torch.tensor([[2.0]]), torch.tensor([[1.0], [1.0]])  # equal keys: weights of 1/2
    >>> v, mask = torch.tensor([[1.0], [3.0]]), torch.tensor([[True, True]])
    >>> attention_backward(q, k, v, mask, torch.tensor([[1.0]]))
    (tensor([[0.]]), tensor([[-1.],
            [ 1.]]), tensor([[0.5000],
            [0.5000]]))
    """
    ### BEGIN SOLUTION
    scale = q.shape[-1] ** -0.5
    scores = (q @ k.transpose(-2, -1) * scale).masked_fill(~mask, float("-inf"))
    weights = torch.softmax(scores, dim=-1)  # (*batch, query, key)
    grad_v = weights.transpose(-2, -1) @ grad_output
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v
    ### END SOLUTION


# %% [markdown]
# ## The same as torch
#
# Twenty steps of your AdamW beside `torch.optim.AdamW`, gradients clipped by yours and by torch's, with your schedule; and
# your two gradients beside those of autograd. The figure shows the schedule and the distance that a parameter moves in a
# step when its gradients agree, and when their signs alternate.

# %% the_same_as_torch
import matplotlib.pyplot as plt
import torch.nn.functional as F

torch.manual_seed(0)
start = {"weight": torch.randn(4, 3), "bias": torch.randn(4)}
mine = {name: (p, (torch.zeros_like(p), torch.zeros_like(p))) for name, p in start.items()}
theirs = {name: torch.nn.Parameter(parameter.clone()) for name, parameter in start.items()}
decayed, spared = param_groups(start)
optimizer = torch.optim.AdamW(
    [
        {"params": [theirs[name] for name in decayed], "weight_decay": 0.1},
        {"params": [theirs[name] for name in spared], "weight_decay": 0.0},
    ],
    betas=(0.9, 0.95),
)
for step in range(20):
    gradients = {name: torch.randn_like(parameter) for name, parameter in start.items()}
    lr = warmup_cosine_lr(step, 5, 20, 0.1, 0.01)
    clipped, norm = clip_grad_norm(gradients, 2.0)
    for name, (parameter, state) in mine.items():
        decay = 0.1 if name in decayed else 0.0
        mine[name] = adamw_step(parameter, clipped[name], state, step + 1, lr, weight_decay=decay)
        theirs[name].grad = gradients[name].clone()
    torch.nn.utils.clip_grad_norm_(list(theirs.values()), 2.0)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
differences = {"20 steps": max((mine[name][0] - theirs[name]).abs().max().item() for name in start)}

logits, targets = torch.randn(5, 7, requires_grad=True), torch.randint(7, (5,))
F.cross_entropy(logits, targets).backward()
by_hand = cross_entropy_backward(logits.detach(), targets)
differences["cross-entropy"] = (logits.grad - by_hand).abs().max().item()
q, k, v = (torch.randn(2, 3, 6, 4, requires_grad=True) for _ in range(3))
mask, grad_output = torch.ones(6, 6, dtype=torch.bool).tril(), torch.randn(2, 3, 6, 4)
F.scaled_dot_product_attention(q, k, v, mask).backward(grad_output)
by_hand = attention_backward(q.detach(), k.detach(), v.detach(), mask, grad_output)
pairs = zip((q, k, v), by_hand, strict=True)
differences["attention"] = max((x.grad - y).abs().max().item() for x, y in pairs)
for what, difference in differences.items():
    print(f"{what:14} the largest difference from torch is {difference:.1e}")
    assert difference < 1e-4

figure, axes = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
axes[0].plot([warmup_cosine_lr(step, 50, 500, 1.0, 0.1) for step in range(600)])
axes[0].set(title="50 steps of warm-up, 500 in all", xlabel="step", ylabel="learning rate / max_lr")
for what, sign in (("agree", 1.0), ("alternate", -1.0)):
    position, state, moved = torch.zeros(()), (torch.zeros(()), torch.zeros(())), []
    for step in range(40):
        before = position
        gradient = torch.tensor(sign**step)
        position, state = adamw_step(position, gradient, state, step + 1, 1.0, weight_decay=0.0)
        moved.append(abs(position - before).item())
    axes[1].plot(moved, label=f"the signs of the gradients {what}")
axes[1].set(title="AdamW", xlabel="step", ylabel="distance / learning rate", ylim=(0, 1.1))
axes[1].legend()
plt.show()

# %% [markdown]
# ## Train a small GPT
#
# The text is the documentation of Python that every Python carries, cut into tokens by chapter 15's byte-pair encoding.
# The model is chapter 5's, with 4 layers and 0.9 million parameters. What makes it learn is yours: the gradient enters at
# the logits by `cross_entropy_backward` and passes through every layer's attention by `attention_backward` (autograd does
# the rest: linear layers, norms, embeddings). Each batch of 16 windows comes in two pieces of 12 and 4, put together by
# `accumulate_gradients`.
#
# The first loss has to be near $\ln 512 = 6.24$ nats a token: a model that knows nothing. **The aim is a validation loss
# below 3.2 nats a token**, on text that it was not trained on. The plot grows while it trains, for one or two minutes on
# two cores. The result is kept in `results/small_gpt.safetensors` beside this notebook and loaded from there the next time;
# delete the file to train again.

# %% train_a_small_gpt
# GPTDOJO_QUICK=1 in the environment cuts the training to six steps and keeps nothing: for tests.
import json
import os
import tempfile
import time
import zlib
from pathlib import Path

from IPython.display import display
from pydoc_data.topics import topics
from safetensors import safe_open
from safetensors.torch import save_file

from reference.attention import scaled_dot_product_attention
from reference.config import GPTConfig
from reference.mask import causal_mask
from reference.model import GPT, gpt_forward
from reference.next_token import cross_entropy
from reference.tokenizer import Tokenizer

quick = os.environ.get("GPTDOJO_QUICK") == "1"
plan = {"n_layer": 4, "n_head": 4, "d_model": 128, "n_ctx": 64, "vocab_size": 512}
recipe = {"n_step": 700, "n_warmup": 50, "max_lr": 4e-3, "min_lr": 4e-4}
if quick:
    recipe |= {"n_step": 6, "n_warmup": 2}
batch, pieces, weight_decay, max_norm = 16, [12, 4], 0.1, 1.0
goal = 3.2  # nats a token

text = "\n".join(topics[name] for name in sorted(topics))[: 40_000 if quick else None]
cut = len(text) * 9 // 10
tokenizer = Tokenizer.train(text[:cut], plan["vocab_size"])
train_tokens = torch.tensor(tokenizer.encode(text[:cut]))
val_tokens = torch.tensor(tokenizer.encode(text[cut:]))
span = plan["n_ctx"] + 1
val_windows = val_tokens[: len(val_tokens) // span * span].view(-1, span)[:128]


class HandWritten(torch.autograd.Function):
    """Causal attention whose way back is yours."""

    @staticmethod
    def forward(ctx, q, k, v):
        ctx.save_for_backward(q, k, v)
        return scaled_dot_product_attention(q, k, v, causal_mask(q.shape[-2], k.shape[-2]))

    @staticmethod
    def backward(ctx, grad_output):
        q, k, v = ctx.saved_tensors
        return attention_backward(q, k, v, causal_mask(q.shape[-2], k.shape[-2]), grad_output)


def forward(windows: Tensor, params: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return logits and targets of all positions of all windows, one after the other."""

    def attend(layer, q, k, v):
        return HandWritten.apply(q, k, v)

    logits = gpt_forward(windows[:, :-1], params, plan["n_head"], attend=attend)
    return logits.flatten(0, 1), windows[:, 1:].flatten()


def validation_loss(params: dict[str, Tensor]) -> float:
    with torch.no_grad():
        losses = [cross_entropy(*forward(part, params)).item() for part in val_windows.split(32)]
    return sum(losses) / len(losses)


def training_step(step: int, params: dict[str, Tensor], states: dict) -> tuple[float, float]:
    """Move all parameters once; return the loss of the batch and the norm of its gradients."""
    generator = torch.Generator().manual_seed(step)
    starts = torch.randint(len(train_tokens) - span, (batch,), generator=generator).tolist()
    windows = torch.stack([train_tokens[start : start + span] for start in starts])
    micro, counts, losses = [], [], []
    for part in windows.split(pieces):
        logits, targets = forward(part, params)
        losses.append(cross_entropy(logits.detach(), targets).item())
        grad_logits = cross_entropy_backward(logits.detach(), targets)
        grads = torch.autograd.grad(logits, list(params.values()), grad_logits)
        micro.append(dict(zip(params, grads, strict=True)))
        counts.append(len(targets))
    gradients, norm = clip_grad_norm(accumulate_gradients(micro, counts), max_norm)
    assert math.isfinite(norm), f"the training diverged in step {step}"
    lr = warmup_cosine_lr(step, **recipe)
    for names, decay in zip(param_groups(params), (weight_decay, 0.0), strict=True):
        for name in names:
            old = (params[name].detach(), gradients[name], states[name])
            updated, states[name] = adamw_step(*old, step + 1, lr, weight_decay=decay)
            params[name] = updated.requires_grad_()
    return sum(loss * n for loss, n in zip(losses, counts, strict=True)) / sum(counts), float(norm)


class LivePlot:
    """The losses so far and how far the training is, drawn again every few seconds."""

    def __init__(self) -> None:
        self.figure, self.axis = plt.subplots(figsize=(9, 3.5), layout="constrained")
        plt.close(self.figure)  # it is shown by its own display
        self.shown = display(self.figure, display_id=True)
        self.drawn = self.began = time.monotonic()

    def draw(self, losses: list[float], validation: dict[int, float]) -> None:
        done, spent = len(losses), time.monotonic() - self.began
        self.axis.clear()
        self.axis.plot(losses, linewidth=0.6, label="training")
        self.axis.plot(list(validation), list(validation.values()), "o-", label="validation")
        self.axis.axhline(goal, color="gray", linestyle=":", label="the aim")
        self.axis.set(xlabel="step", ylabel="loss (nats a token)", xlim=(0, recipe["n_step"]))
        self.axis.legend()
        left = spent / max(done, 1) * (recipe["n_step"] - done)
        pace = done * batch * plan["n_ctx"] / spent
        progress = f"{done} of {recipe['n_step']} steps"
        self.axis.set_title(f"{progress}, {pace:,.0f} tokens/s, {left:.0f} s left")
        self.shown.update(self.figure)
        self.drawn = time.monotonic()


def train() -> tuple[dict[str, Tensor], list[float], dict[int, float]]:
    """Train from the beginning; return the parameters and both losses, the validation's by step."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(**plan))
    params = {name: p.detach().clone().requires_grad_() for name, p in model.params.items()}
    states = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in params.items()}
    losses, validation = [], {0: validation_loss(params)}
    plot = LivePlot()
    for step in range(recipe["n_step"]):
        losses.append(training_step(step, params, states)[0])
        if (step + 1) % 100 == 0 or step + 1 == recipe["n_step"]:
            validation[step + 1] = validation_loss(params)
        if time.monotonic() - plot.drawn > 3 or step + 1 == recipe["n_step"]:
            plot.draw(losses, validation)
    print(f"{len(losses)} steps in {time.monotonic() - plot.began:.0f} s")
    return params, losses, validation


kept = Path(tempfile.mkdtemp() if quick else "results") / "small_gpt.safetensors"
identity = {**plan, **recipe, "text": zlib.crc32(text.encode())}
record = {}
if kept.exists():
    with safe_open(kept, "pt") as file:
        record = json.loads(file.metadata()["record"])
        params = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
if record.get("of") == identity:
    losses = record["losses"]
    validation = {int(step): loss for step, loss in record["validation"].items()}
    print(f"loaded what was trained before from {kept}; delete the file to train again")
    LivePlot().draw(losses, validation)
else:
    params, losses, validation = train()
    kept.parent.mkdir(exist_ok=True)
    record = {"of": identity, "losses": losses, "validation": validation}
    weights = {name: p.detach() for name, p in params.items()}
    save_file(weights, kept, metadata={"record": json.dumps(record)})
    print(f"saved in {kept}: the next time it is loaded from there")

first, final = validation[0], validation[recipe["n_step"]]
n_byte = len(tokenizer.decode(val_windows.flatten().tolist()).encode())
bytes_per_token = n_byte / val_windows.numel()
print(f"validation loss: {first:.2f} nats a token before training, {final:.2f} after it")
print(f"that is {final / math.log(2) / bytes_per_token:.2f} bits a byte")
assert abs(first - math.log(plan["vocab_size"])) < 0.2, "an untrained model should know nothing"
assert final < (first if quick else goal)

# %% [markdown]
# ## What it writes
#
# Drawn token by token, at a temperature of 0.7, after a beginning of your choice. It is a small model on a small text: it
# knows the words, the markup and the tone, and not what it is talking about.

# %% what_it_writes
generator = torch.Generator().manual_seed(0)
for prompt in ("The function", "If an exception"):
    tokens = tokenizer.encode(prompt)
    with torch.no_grad():
        for _ in range(10 if quick else 120):
            last = torch.tensor([tokens[-plan["n_ctx"] :]])
            logits = gpt_forward(last, params, plan["n_head"])[0, -1]
            probs = torch.softmax(logits / 0.7, dim=-1)
            tokens.append(torch.multinomial(probs, 1, generator=generator).item())
    print(tokenizer.decode(tokens), "\n" + 80 * "-")
