# %% [markdown]
# # 5. GPT
#
# The block of the last chapter takes x and returns x, of the same shape. So blocks can be stacked, but nothing has been
# said of what goes into the first, nor of what is done with what comes out of the last. And two things are missing that
# no block can supply. Attention compares a query with keys and adds up values: it treats what a position sees as a set.
# Without help, "dog bites man" and "man bites dog" look much the same to it. And every block adds to the residual stream
# twice: with 48 blocks that is 96 sums, and the stream grows with each.
#
# In this chapter you finish the model: from tokens to vectors that know where they stand, through all the blocks, to
# **logits**, one number for each word of the vocabulary at each position. Then you give the weights the size at which
# training can begin, and count them. At the end your `gpt_forward` computes what Hugging Face's GPT-2 computes.
#
# Shapes: tokens are (batch, position), integers from 0 to vocab_size - 1; x is (batch, position, d_model); logits are
# (batch, position, vocab). The context `n_ctx` is the number of positions that the model can tell apart.

# %%
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from reference.block import BLOCK_KEYS, layer_norm, transformer_block

# %% [markdown]
# ## Positions as clock hands
#
# How do you tell position 437 from 438 with numbers between -1 and 1? A clock does it with hands: each turns at its own
# speed, the fast ones tell neighbors apart, the slow ones tell morning from evening. The first transformer gave each
# position $p$ the coordinates of $d_{model}/2$ hands:
#
# $$\mathrm{PE}_{p,\,2i} = \sin\left(p\,\omega_i\right), \qquad \mathrm{PE}_{p,\,2i+1} = \cos\left(p\,\omega_i\right),
# \qquad \omega_i = 10000^{-2i/d_{model}}, \qquad i = 0, \ldots, d_{model}/2 - 1.$$
#
# The fastest hand turns once in $2\pi$ positions, the slowest almost 10,000 times slower. Both coordinates of a hand are
# needed, for this is what makes the encoding more than a label: moving $k$ positions on turns hand $i$ by the angle
# $k\,\omega_i$, **wherever it stands**. That is a linear map which depends on $k$ alone, so "three tokens back" can be
# learned once for all positions.
#
# Nothing here is learned, and nothing ends: there is a row for every position. GPT-2 learns its positions instead (the
# next exercise). You write the sinusoids because interviewers ask for them, and because the idea of turning by an angle
# comes back in later models.
#
# Rows start at `first_position`. That matters when a text is continued: its first 700 tokens have been dealt with, and
# the next one stands at 700. Large positions need precision: float32 holds them, bfloat16 cannot tell 256 from 257.


# %% sinusoidal_positions
def sinusoidal_positions(
    n_position: int,
    d_model: int,
    first_position: int = 0,
) -> Float[Tensor, "n_position d_model"]:
    """Return the sinusoidal encodings of n_position positions, the first of which is
    first_position.

    Row r is that of position p = first_position + r. Its channels 2i and 2i + 1 are sin and
    cos of the same angle, p * 10000 ** (-2i / d_model), in radians. d_model is even;
    first_position is at least 0, and may be in the thousands. The result is float32 or
    float64.

    Source: Vaswani et al. 2017, "Attention Is All You Need" (1706.03762), section 3.5.

    >>> [[round(number, 3) for number in row] for row in sinusoidal_positions(2, 4).tolist()]
    [[0.0, 1.0, 0.0, 1.0], [0.841, 0.54, 0.01, 1.0]]
    >>> [round(number, 3) for number in sinusoidal_positions(1, 4, first_position=100)[0].tolist()]
    [-0.506, 0.862, 0.841, 0.54]
    """
    ### BEGIN SOLUTION
    position = torch.arange(first_position, first_position + n_position, dtype=torch.float64)
    frequency = 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angle = position[:, None] * frequency  # (n_position, d_model / 2), radians
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(start_dim=1)
    ### END SOLUTION


# %% [markdown]
# ## What it is, and where it stands
#
# GPT-2 has two tables. Row $w$ of `wte` (token embedding) is the vector of word $w$; row $p$ of `wpe` (position
# embedding) is the vector of position $p$. Both are learned, and x starts as their sum:
#
# $$x_{bt} = \mathrm{wte}[w_{bt}] + \mathrm{wpe}[p_0 + t].$$
#
# A sum keeps both apart well enough: in a few hundred channels, two sets of vectors find directions of their own, and
# each head can read the one or the other.
#
# The price of a learned table is that it ends. GPT-2 has 1,024 rows, and no vector for position 1,024 at all. Mind how
# such a limit fails: an index past the end is an error, but a **slice** past the end is silently shorter. If exactly one
# row is left, it broadcasts over all tokens, and the result has the right shape.


# %% embed_tokens
def embed_tokens(
    tokens: Int[Tensor, "batch position"],
    wte: Float[Tensor, "vocab d_model"],
    wpe: Float[Tensor, "n_ctx d_model"],
    first_position: int = 0,
) -> Float[Tensor, "batch position d_model"]:
    """Return each token's row of wte plus its position's row of wpe.

    Position t of each row of `tokens` stands at first_position + t, and there is at least
    one. No tensor need be contiguous. The result has the dtype of the tables, which may be
    float16 or bfloat16. Gradients flow to both tables.

    Raises ValueError (any error will do) if a token stands past the context: at a position
    that wpe has no row for.

    Source: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training"
    (GPT), section 3.1.

    >>> wte = torch.tensor([[10.0, 0.0], [20.0, 0.0], [30.0, 0.0]])
    >>> wpe = torch.tensor([[0.0, 0.25], [0.0, 0.5], [0.0, 0.75], [0.0, 1.0]])
    >>> embed_tokens(torch.tensor([[2, 0, 2]]), wte, wpe).tolist()
    [[[30.0, 0.25], [10.0, 0.5], [30.0, 0.75]]]
    >>> embed_tokens(torch.tensor([[2, 0]]), wte, wpe, first_position=2).tolist()
    [[[30.0, 0.75], [10.0, 1.0]]]
    """
    ### BEGIN SOLUTION
    n_ctx, end = wpe.shape[0], first_position + tokens.shape[1]
    if end > n_ctx:
        raise ValueError(f"got {end} positions, the context is {n_ctx}")
    return wte[tokens] + wpe[first_position:end]
    ### END SOLUTION


# %% [markdown]
# ## From tokens to logits
#
# The whole model, in four steps:
#
# $$x = \mathrm{wte}[w] + \mathrm{wpe}[0 \ldots T-1], \qquad x \leftarrow \mathrm{block}_\ell(x) \quad
# (\ell = 0, \ldots, L-1), \qquad x \leftarrow \mathrm{LN}_f(x), \qquad \mathrm{logits} = x\,\mathrm{wte}^\top.$$
#
# - **The final norm**, `ln_f`. Inside a block, the norms make copies for its parts to read; nobody has ever normalized
#   the stream itself. After $2L$ sums it can be large. `ln_f` is its only norm, and what the head reads.
# - **The tied head.** The logit of word $w$ is the product of x with row $w$ of `wte`: how much the position's vector
#   looks like that word's. It is the same parameter as in the first step, used once more, transposed. There is no
#   `lm_head` in `params`, and no bias. The gradient of `wte` is therefore the sum of two: as embedding, only the rows of
#   the words that occur learn; as head, all rows do.
# - **Logits are not probabilities.** They go as they are to the cross-entropy of chapter 1, which normalizes them.
# - **Every position** gets its logits. In training all of them are used.
#
# `params` holds tensors under GPT-2's names, weights (out, in):
#
# | name | shape |
# |---|---|
# | wte.weight | (vocab_size, d_model) |
# | wpe.weight | (n_ctx, d_model) |
# | h.{i}.ln_1.weight, h.{i}.ln_1.bias | (d_model,) each |
# | h.{i}.attn.c_attn.weight, h.{i}.attn.c_attn.bias | (3 * d_model, d_model), (3 * d_model,) |
# | h.{i}.attn.c_proj.weight, h.{i}.attn.c_proj.bias | (d_model, d_model), (d_model,) |
# | h.{i}.ln_2.weight, h.{i}.ln_2.bias | (d_model,) each |
# | h.{i}.mlp.c_fc.weight, h.{i}.mlp.c_fc.bias | (4 * d_model, d_model), (4 * d_model,) |
# | h.{i}.mlp.c_proj.weight, h.{i}.mlp.c_proj.bias | (d_model, 4 * d_model), (d_model,) |
# | ln_f.weight, ln_f.bias | (d_model,) each |
#
# for i from 0 to n_layer - 1. How many layers there are, the names tell. `transformer_block(x, params, n_head)` and
# `layer_norm(x, weight, bias)` of chapter 4 are imported above; the block expects its twelve parameters without the
# prefix `h.{i}.`, under the names that `BLOCK_KEYS` lists. Write the first step out here: your other functions are
# checked by themselves.


# %% gpt_forward
def gpt_forward(
    tokens: Int[Tensor, "batch position"],
    params: Mapping[str, Float[Tensor, "..."]],
    n_head: int,
) -> Float[Tensor, "batch position vocab"]:
    """Return the logits of the token after each position.

    `params` has the names of the table above, in any order, of one or more layers, which may be
    more than ten. The first token of each row stands at position 0, and there are at most n_ctx of
    them. Blocks and layer norms are those of chapter 4: causal attention with n_head heads, which
    divide d_model, GELU in its tanh form, eps 1e-5, in the final norm too. No tensor need be
    contiguous. The result has the dtype of the parameters. Gradients flow to every parameter, and
    to wte.weight from both of its uses.

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"
    (GPT-2), section 2.3.

    A model of one block that writes nothing, so that its tokens are only embedded, normalized
    and compared with both words:

    >>> shapes = {"ln_1": (2,), "attn.c_attn": (6, 2), "attn.c_proj": (2, 2)}
    >>> shapes |= {"ln_2": (2,), "mlp.c_fc": (8, 2), "mlp.c_proj": (2, 8)}
    >>> params = {f"h.0.{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    >>> params |= {f"h.0.{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    >>> params |= {"wte.weight": torch.tensor([[200.0, 0.0], [0.0, 400.0]])}
    >>> params |= {"wpe.weight": torch.zeros(3, 2)}
    >>> params |= {"ln_f.weight": torch.ones(2), "ln_f.bias": torch.tensor([0.0, 0.5])}
    >>> gpt_forward(torch.tensor([[0, 1]]), params, 1).tolist()
    [[[200.0, -200.0], [-200.0, 600.0]]]
    """
    ### BEGIN SOLUTION
    n_layer = sum(name.endswith(".ln_1.weight") for name in params)
    x = params["wte.weight"][tokens] + params["wpe.weight"][: tokens.shape[1]]
    for layer in range(n_layer):
        x = transformer_block(x, {key: params[f"h.{layer}.{key}"] for key in BLOCK_KEYS}, n_head)
    x = layer_norm(x, params["ln_f.weight"], params["ln_f.bias"])
    return F.linear(x, params["wte.weight"])  # (batch, position, vocab)
    ### END SOLUTION


# %% [markdown]
# ## Weights to begin with
#
# Training begins with random weights, and their size decides whether it can. GPT-2 draws them from a normal distribution
# around 0 with a standard deviation of 0.02; biases start at 0, the weights of layer norms at 1. With numbers so small
# all logits are near 0, every word has about the same probability, and the first loss is little more than $\ln V$, which
# for GPT-2's vocabulary of 50,257 is 10.82. A first loss far above that means that the model is sure of something that it
# has not learned.
#
# But a stream to which $2L$ matrices add, each with the same standard deviation, has a variance that grows with $L$.
# Independent terms add their **variances**: $N$ terms of variance $v$ have the variance $N v$ together. So GPT-2 scales
# the matrices that write to the stream at initialization, by one over the root of their number:
#
# $$\sigma_{residual} = \frac{0.02}{\sqrt{2L}}.$$
#
# All of them together then add what one would. Which matrices write to the stream? In each block two: the projection of
# attention and the projection of the MLP, both named `c_proj`. `c_attn` and `c_fc` read a normalized copy, whose size is
# the same at any depth, so they need no scale.


# %% initial_std
def initial_std(name: str, n_layer: int) -> float:
    """Return the standard deviation that the weight matrix `name` of a model of n_layer blocks
    is drawn with.

    `name` is one of those above that stand for a matrix: wte.weight, wpe.weight, or, with i
    from 0 to n_layer - 1, h.{i}.attn.c_attn.weight, h.{i}.attn.c_proj.weight,
    h.{i}.mlp.c_fc.weight, h.{i}.mlp.c_proj.weight. Those that write to the residual stream
    have 0.02 / sqrt(2 n_layer), the others 0.02.

    Source: Radford et al. 2019 (GPT-2), section 2.3: scaled by 1/sqrt(N), where N is the
    number of residual layers.

    >>> initial_std("wte.weight", n_layer=8)
    0.02
    >>> round(initial_std("h.3.mlp.c_proj.weight", n_layer=8), 6)
    0.005
    """
    ### BEGIN SOLUTION
    return 0.02 / math.sqrt(2 * n_layer) if name.endswith("c_proj.weight") else 0.02
    ### END SOLUTION


# %% [markdown]
# ## How many numbers that is
#
# "GPT-2 has 1.5 billion parameters" is something you can check: go through the table of shapes above and count. The four
# sizes of GPT-2 and the eight of GPT-3 follow from four numbers each. Written out for a block, with $d = d_{model}$:
#
# | part | weights | biases |
# |---|---|---|
# | attention: c_attn, c_proj | $3 d^2$, $d^2$ | $3 d$, $d$ |
# | MLP: c_fc, c_proj | $4 d^2$, $4 d^2$ | $4 d$, $d$ |
# | ln_1, ln_2 | $d$, $d$ | $d$, $d$ |
#
# The rest occurs once in a model. Two things make counts disagree: what is tied counts once, and what is not learned
# does not count at all (old checkpoints hold the causal mask of every layer). The number of heads is not among the
# arguments. Why not?


# %% count_parameters
def count_parameters(n_layer: int, d_model: int, n_ctx: int, vocab_size: int) -> int:
    """Return how many numbers a GPT-2 of these sizes learns, embeddings included.

    All linear layers and layer norms have biases; the head is tied to the token embedding.
    The result is an exact integer at any size, up to the 174,604,259,328 of the largest
    GPT-3.

    Source: Radford et al. 2019 (GPT-2), table 2, whose own counts are a little off; Brown et
    al. 2020, "Language Models are Few-Shot Learners" (GPT-3, 2005.14165), tables 2.1 and D.1.

    >>> count_parameters(n_layer=12, d_model=768, n_ctx=1024, vocab_size=50257)  # GPT-2 small
    124439808
    """
    ### BEGIN SOLUTION
    block = 12 * d_model**2 + 13 * d_model
    return (vocab_size + n_ctx) * d_model + n_layer * block + 2 * d_model
    ### END SOLUTION


# %% [markdown]
# ## The hands of a clock
#
# On the left, 128 positions (rows) and 64 channels (columns): fast hands on the left, slow ones on the right. In the
# middle, the products of all pairs of positions: what counts is the distance from the diagonal. On the right, one row of
# that picture from three places in the text, drawn against the distance: it is one curve.

# %% hands_of_a_clock
import matplotlib.pyplot as plt

encodings = sinusoidal_positions(128, 64)
products = encodings @ encodings.T
figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
axes[0].imshow(encodings, cmap="RdBu", aspect="auto")
axes[0].set(title="sin and cos", xlabel="channel", ylabel="position")
axes[1].imshow(products, cmap="viridis")
axes[1].set(title="product of two positions", xlabel="position", ylabel="position")
for start in (0, 500, 5000):
    row = sinusoidal_positions(1, 64, start) @ sinusoidal_positions(128, 64, start).T
    axes[2].plot(row[0], label=f"from position {start}", linewidth=3 if start == 0 else 1)
axes[2].set(title="product by distance", xlabel="distance")
axes[2].legend()
plt.show()

# %% [markdown]
# ## Order, without positions
#
# "Without positions, a transformer sees a bag of words." Does a GPT? Here wpe is all zeros, two earlier tokens change
# places, and the number says how far the logits of the **last** position move. With one block they do not: its query
# adds up the same keys and values in another order. With two they do: in the first block the causal mask lets each
# position see another set of tokens, so what the second block adds up is no longer the same. A mask tells a decoder
# something about order; a position embedding tells it plainly.

# %% order_without_positions
generator = torch.Generator().manual_seed(5)


def random_parameters(n_layer, d_model, n_ctx, vocab_size, std_of=lambda name: 0.3):
    matrices = {"attn.c_attn": (3, 1), "attn.c_proj": (1, 1)}
    matrices |= {"mlp.c_fc": (4, 1), "mlp.c_proj": (1, 4)}
    params = {"wte.weight": torch.empty(vocab_size, d_model)}
    params["wpe.weight"] = torch.empty(n_ctx, d_model)
    for i in range(n_layer):
        for name, (rows, columns) in matrices.items():
            params[f"h.{i}.{name}.weight"] = torch.empty(rows * d_model, columns * d_model)
            params[f"h.{i}.{name}.bias"] = torch.zeros(rows * d_model)
    for name in params:
        if name.endswith(".weight"):
            params[name].normal_(std=std_of(name), generator=generator)
    for name in ["ln_f"] + [f"h.{i}.{norm}" for i in range(n_layer) for norm in ("ln_1", "ln_2")]:
        params |= {f"{name}.weight": torch.ones(d_model), f"{name}.bias": torch.zeros(d_model)}
    return params


one_order, other_order = torch.tensor([[3, 1, 4, 0, 5]]), torch.tensor([[3, 4, 1, 0, 5]])
for n_layer in (1, 2):
    blind = random_parameters(n_layer, 16, 8, 6)
    seeing = dict(blind)
    blind["wpe.weight"] = torch.zeros(8, 16)
    for label, params in (("without positions", blind), ("with positions", seeing)):
        first, second = (gpt_forward(order, params, 4)[0, -1] for order in (one_order, other_order))
        moved = (first - second).abs().max().item()
        print(f"{n_layer} block{'s' * (n_layer > 1):1} {label:18} {moved:8.1e}")

# %% [markdown]
# ## The same numbers as Hugging Face's GPT-2
#
# A GPT-2 of the library `transformers`, with random weights, and your `gpt_forward` on the same weights. Hugging Face keeps
# the matrices of a block the other way round, (in, out), so they are transposed on the way. In float64 nothing but
# rounding is left. (`reference.model.GPT.from_pretrained("gpt2")` downloads the published weights, and turns them round in
# the same way.)

# %% equals_hugging_face
try:
    from transformers import GPT2Config, GPT2LMHeadModel
except ImportError:
    print("This cell needs the package transformers: pip install transformers")
else:
    sizes = {"vocab_size": 97, "n_positions": 32, "n_embd": 48, "n_layer": 3, "n_head": 4}
    config = GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    hugging_face = GPT2LMHeadModel(config).double().eval()
    for parameter in hugging_face.parameters():  # at initial size, mistakes hardly show
        std = 1.0 if parameter.ndim == 1 else 48**-0.5
        parameter.data = std * torch.randn(parameter.shape, generator=generator).double()
    theirs = dict(hugging_face.transformer.named_parameters())
    turned = {name for name, p in theirs.items() if name.startswith("h.") and p.ndim == 2}
    ours = {name: p.T if name in turned else p for name, p in theirs.items()}
    tokens = torch.randint(97, (2, 32), generator=generator)
    with torch.no_grad():
        expected, got = hugging_face(tokens).logits, gpt_forward(tokens, ours, 4)
    print(f"logits of shape {tuple(got.shape)}, from {expected.min():.1f} to {expected.max():.1f}")
    print(f"largest difference: {(got - expected).abs().max().item():.1e}")
    assert torch.allclose(got, expected, rtol=1e-9, atol=1e-9)

# %% [markdown]
# ## The stream at the start
#
# How large is the residual stream after each block of a model of 48, before any training? Once with 0.02 for every
# matrix, once with your `initial_std`, and once twice as deep. (The width is that of a small model, so that this runs in a
# moment.) Below, the first loss: with the scale or without, it is about $\ln V$, because `ln_f` hides the size of the
# stream from the head. What the scale changes is how much of the stream the embeddings still are: without it, they are
# soon drowned by what the blocks add.

# %% the_stream_at_the_start
width, vocab = 64, 1000
text = torch.randint(vocab, (2, 32), generator=generator)
runs = {
    "48 blocks, all 0.02": (48, lambda name: 0.02),
    "48 blocks, initial_std": (48, lambda name: initial_std(name, 48)),
    "96 blocks, initial_std": (96, lambda name: initial_std(name, 96)),
}
figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
for label, (n_block, std_of) in runs.items():
    params = random_parameters(n_block, width, 32, vocab, std_of)
    x = embed_tokens(text, params["wte.weight"], params["wpe.weight"])
    sizes = [x.std().item()]
    for i in range(n_block):
        x = transformer_block(x, {key: params[f"h.{i}.{key}"] for key in BLOCK_KEYS}, 4)
        sizes.append(x.std().item())
    logits = gpt_forward(text, params, 4)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), text[:, 1:].flatten())
    growth = f"grows {sizes[-1] / sizes[0]:4.1f} times"
    print(f"{label:24} {growth}; loss {loss:.2f}, ln {vocab} = {math.log(vocab):.2f}")
    axis.plot(range(n_block + 1), sizes, label=label)
axis.set(xlabel="block", ylabel="std of the residual stream")
axis.legend()
plt.show()

# %% [markdown]
# ## Twelve sizes
#
# Your `count_parameters` on the published models, beside what the papers print. The GPT-2 report's counts (117M, 345M, 762M,
# 1542M) are wrong, as its authors have said since. Of the GPT-3 paper's table, two rows cannot be built as they stand: in
# `gpt3-xl` 24 heads of 128 channels are 3,072 and not 2,048; in `gpt3-13b` 40 heads of 128 are 5,120 and not 5,140. The
# paper's own counts in its table D.1 settle it: they fit 16 heads of 128, and a d_model of 5,120.

# %% twelve_sizes
from reference.config import GPT2, GPT2_PAPER_MILLIONS, GPT3, GPT3_PRINTED

header = f"{'layers':>6} {'d_model':>8} {'heads':>6} {'d_head':>7} {'parameters':>16}"
print(f"{'':12} {header} {'printed':>9}")
for name, size in (GPT2 | GPT3).items():
    counted = count_parameters(size.n_layer, size.d_model, size.n_ctx, size.vocab_size)
    printed = GPT2_PAPER_MILLIONS[name] if name in GPT2 else GPT3_PRINTED[name].millions
    columns = f"{size.n_layer:6} {size.d_model:8,} {size.n_head:6} {size.d_head:7}"
    print(f"{name:12} {columns} {counted:16,} {printed:8,}M")
print()
for name, row in GPT3_PRINTED.items():
    if row.n_head * row.d_head != row.d_model:
        attention = f"{row.n_head} heads of {row.d_head} are {row.n_head * row.d_head:,}"
        print(f"{name} as printed: {attention}, and d_model is {row.d_model:,}")
