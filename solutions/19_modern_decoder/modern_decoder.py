# %% [markdown]
# # 19. A modern decoder
#
# Until here every model had the architecture of GPT-2. Decoders that came later are still stacks of blocks that add to a
# residual stream, trained to predict the next token, and sampled with a cache; what you know holds for them. But most of
# them changed the same four parts, and the result is known by the model that made it common, **Llama**:
#
# | part | GPT-2 | Llama |
# |---|---|---|
# | positions | a learned vector added to each token's | queries and keys **rotate** by their position (RoPE) |
# | norm | LayerNorm: mean, variance, weight, bias | **RMSNorm**: root mean square, weight |
# | MLP | two matrices around a GELU | three matrices, one of them a gate (**SwiGLU**) |
# | heads | a key and a value for each query head | shared by groups of query heads (chapter 11) |
#
# There are no biases, and the head is often not tied to the embedding. You will write the first three parts, ALiBi as the
# other answer to the question of positions, and a whole block. At the end your block computes what Hugging Face's Llama
# computes.
#
# Why positions first? A learned table has a row for each position and ends at the last one. And what it learns about
# "three tokens back" at position 20, it has to learn again at position 700. Both ideas here do without a table: what they
# tell attention is the **distance** between a query and a key.
#
# Shapes are those of the earlier chapters: q is (batch, head, position, d_head), x is (batch, position, d_model), weights
# are (out, in). The six exercises do not depend on each other. You may use `reference` modules of earlier chapters.

# %%
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from reference.attention import merge_heads, split_heads

# %% [markdown]
# ## How fast each pair turns
#
# The sinusoids of chapter 5 were the hands of a clock, drawn on the token: position $p$ was added to x as sin and cos of
# $p\,\omega_i$. Rotary position embedding (RoPE) uses the same hands differently: it does not add them, it **turns** the
# queries and keys by them. The $d_{head}$ channels of a head form $d_{head}/2$ pairs; pair $i$ is a point in a plane, and
# turns by
#
# $$\omega_i = \theta^{-2i/d_{head}}, \qquad i = 0, \ldots, d_{head}/2 - 1$$
#
# radians from one position to the next. Pair 0 turns by 1 radian, so it comes round every 6.28 positions; the last one
# hardly moves. $\theta$ is 10,000 as a rule. Models for long texts raise it (Llama 3: 500,000), which slows all pairs
# down but the first.
#
# The frequencies will be multiplied by positions in the thousands, and their errors with them. In bfloat16, with its 8
# significant bits, a frequency can be off by 0.2 %: at position 3,000 that can be a whole turn of a fast pair.


# %% rope_frequencies
def rope_frequencies(d_head: int, theta: float = 10000.0) -> Float[Tensor, " d_head/2"]:
    """Return the radians that each pair of channels turns by from one position to the next.

    Number i is theta ** (-2i / d_head), for i from 0 to d_head / 2 - 1; d_head is even. The
    result is float32 or float64, and as exact as these are.

    Source: Su et al. 2021, "RoFormer" (2104.09864), section 3.2.2.

    >>> [round(number, 6) for number in rope_frequencies(8).tolist()]
    [1.0, 0.1, 0.01, 0.001]
    >>> [round(number, 6) for number in rope_frequencies(4, theta=10.0**6).tolist()]
    [1.0, 0.001]
    """
    ### BEGIN SOLUTION
    return theta ** (-torch.arange(0, d_head, 2, dtype=torch.float64) / d_head)
    ### END SOLUTION


# %% [markdown]
# ## Queries and keys that turn
#
# At position $p$, pair $i$ with the coordinates $(a, b)$ becomes
#
# $$a' = a \cos p\,\omega_i - b \sin p\,\omega_i, \qquad b' = b \cos p\,\omega_i + a \sin p\,\omega_i .$$
#
# Write $R_p$ for all these turns together. A score is the product of a turned query at $m$ and a turned key at $n$, and
# since turning both by the same angle leaves a product as it is,
#
# $$(R_m q)^\top (R_n k) = q^\top R_{n-m}\, k .$$
#
# The score depends on $n - m$ alone: "three tokens back" means the same at position 20 and at position 7,000. Turning
# keeps lengths, so no score is made larger. **Values do not turn**: they are what is passed on, and a sum of values that
# each had been turned by another angle would have to be turned back.
#
# **Which channels are a pair?** Two conventions are in use, and both are right for weights that were trained with them:
#
#     halves:       channel i and channel i + d_head/2      Llama's weights as Hugging Face has them, GPT-NeoX
#     interleaved:  channel 2i and channel 2i + 1           the RoFormer paper, GPT-J, Meta's own code for Llama
#
# They are the same thing up to the order of the channels, so no test of the model against itself can tell which one is
# meant: lengths stay, scores depend on distances, cached equals uncached. Only the weights know. Here it is **halves**.
#
# **Which positions?** Those that are passed. Without a cache they are 0, 1, 2, …; after a cache of 700 tokens the next one
# is at 700, and its key goes into the cache turned, once and for good. In a batch of texts that are padded on the left,
# each row has positions of its own: then they are (batch, position).


# %% apply_rope
def apply_rope(
    x: Float[Tensor, "batch head position d_head"],
    positions: Int[Tensor, " position"] | Int[Tensor, "batch position"],
    frequencies: Float[Tensor, " d_head/2"],
) -> Float[Tensor, "batch head position d_head"]:
    """Turn each pair of channels of the queries or keys x by its frequency times the position.

    The pairs are halves: channel i turns together with channel i + d_head/2, from the first
    towards the second, by positions * frequencies[i] radians. Positions are integers of any
    order, at least 0 and up to some thousands: one for each token, the same in all rows, or
    with an axis for the batch in front. All heads turn alike. Frequencies are float32 or
    float64, and the angles must be, too, whatever x is: bfloat16 cannot tell 256 from 257.
    The result has the dtype of x. x need not be contiguous and is left unchanged.

    Source: Su et al. 2021, "RoFormer" (2104.09864), section 3.2; the order of the channels is
    that of GPT-NeoX and of Hugging Face's Llama.

    Two pairs, (1, 10) and (2, 20). At position 3 the first turns by a quarter, the second by
    a half:

    >>> quarter = torch.pi / 2
    >>> x = torch.tensor([1.0, 2.0, 10.0, 20.0]).reshape(1, 1, 1, 4)
    >>> turned = apply_rope(x, torch.tensor([3]), torch.tensor([quarter / 3, 2 * quarter / 3]))
    >>> [round(number, 4) for number in turned.flatten().tolist()]
    [-10.0, -2.0, 1.0, -20.0]
    """
    ### BEGIN SOLUTION
    angles = positions[..., None] * frequencies  # (position, d_head/2), or with the batch in front
    if positions.ndim == 2:
        angles = angles[:, None]  # one for all heads
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    ### END SOLUTION


# %% [markdown]
# ## Distance as a handicap
#
# ALiBi (attention with linear biases) is the simplest way to tell distances: leave queries and keys alone, and lower each
# score in proportion to the distance,
#
# $$\mathrm{score}_{mn} = \frac{q_m^\top k_n}{\sqrt{d_{head}}} - s_h\,(m - n), \qquad n \le m .$$
#
# The slope $s_h$ is not learned; each head has another one, so some heads look near and some far. For $H$ heads, $H$ a
# power of two,
#
# $$s_h = 2^{-8h/H}, \qquad h = 1, \ldots, H,$$
#
# a geometric sequence that starts with its own ratio and always ends at 1/256. With 8 heads these are 1/2, 1/4, …, 1/256.
# For other $H$ the authors take what they had: the slopes of the largest power of two below $H$, then every second one of
# the slopes of twice that power, from its first on, until there are $H$. The order counts, since each head was trained
# with its slope.


# %% alibi_slopes
def alibi_slopes(n_head: int) -> Float[Tensor, " head"]:
    """Return how much each head lowers a score per position of distance: positive numbers.

    For n_head a power of two, head h (from 1) has 2 ** (-8 h / n_head). For another n_head,
    the first heads have the slopes of the largest power of two below it, the others the 1st,
    3rd, 5th, ... slope of twice that power. n_head is at least 1. The result is float32 or
    float64.

    Source: Press et al. 2021, "Train Short, Test Long" (2108.12409), section 3; numbers that
    are no power of two as in the authors' code.

    >>> [round(slope, 4) for slope in alibi_slopes(4).tolist()]
    [0.25, 0.0625, 0.0156, 0.0039]
    >>> [round(slope, 4) for slope in alibi_slopes(6).tolist()]
    [0.25, 0.0625, 0.0156, 0.0039, 0.5, 0.125]
    """

    ### BEGIN SOLUTION
    def of_a_power(n: int) -> Tensor:
        return 2.0 ** (-8 * torch.arange(1, n + 1, dtype=torch.float64) / n)

    power = 2 ** (n_head.bit_length() - 1)
    return torch.cat([of_a_power(power), of_a_power(2 * power)[::2][: n_head - power]])
    ### END SOLUTION


# %% [markdown]
# ## A norm without a mean
#
# LayerNorm subtracts the mean, divides by the standard deviation, scales and shifts. RMSNorm keeps what turned out to
# matter, the size:
#
# $$y = \frac{x}{\sqrt{\frac{1}{d}\sum_j x_j^2 + \epsilon}} \odot w .$$
#
# Nothing is subtracted and there is no bias: one pass over the numbers instead of two, half the parameters, and training
# goes as well. The mean is over the channels of one position, as ever, and $\epsilon$ stands inside the root, next to the
# mean square.
#
# Models run in 16 bits, and squares do not fit there: float16 ends at 65,504, so the square of 300 is infinite and the
# position becomes 0; in bfloat16 the sum of many squares loses most of its digits. So the statistics are computed in
# float32, and the result returns to the dtype of x. (Llama's code returns to it before the weight is applied, others after;
# the difference is one rounding.)


# %% rms_norm
def rms_norm(
    x: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, " d_model"],
    eps: float = 1e-6,
) -> Float[Tensor, "*batch d_model"]:
    """Divide the channels of each position by their root mean square, and scale them.

    x has any number of axes; the last one is normalized, each position by itself: x / sqrt(mean
    of x squared + eps), times weight. x and weight have one dtype, which may be float16 or
    bfloat16, and the result has it, too; the mean square is then computed in float32, so that
    no square overflows. x need not be contiguous and is left unchanged.

    Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization" (1910.07467),
    section 4.

    >>> x = torch.tensor([[3.0, -4.0, 0.0, 0.0], [0.3, -0.4, 0.0, 0.0]])  # mean squares 6.25, 0.0625
    >>> got = rms_norm(x, torch.tensor([1.0, 2.0, 1.0, 1.0]))
    >>> [[round(number, 4) for number in row] for row in got.tolist()]
    [[1.2, -3.2, 0.0, 0.0], [1.2, -3.2, 0.0, 0.0]]
    """
    ### BEGIN SOLUTION
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean_square = wide.square().mean(dim=-1, keepdim=True)
    return (wide / torch.sqrt(mean_square + eps)).to(x.dtype) * weight
    ### END SOLUTION


# %% [markdown]
# ## An MLP with a gate
#
# GPT-2's MLP widens, bends, and narrows: $W_2\,\mathrm{gelu}(W_1 x)$. A gated one widens twice. One of the two goes
# through an activation and becomes the gate of the other:
#
# $$\mathrm{SwiGLU}(x) = W_{down} \bigl(\mathrm{silu}(W_{gate}\,x) \odot W_{up}\,x\bigr), \qquad
# \mathrm{silu}(z) = z\,\sigma(z) = \frac{z}{1 + e^{-z}} .$$
#
# SiLU is also called Swish, which gave SwiGLU its name (GeGLU has GELU in its place, GLU a bare sigmoid). A product of
# two functions of x can do what a sum of bent lines can only approximate, and at equal size such models reach a lower
# loss. At equal size, because there are three matrices: with $d_{ff} = \frac{2}{3} \cdot 4d$ they have as many parameters
# as two with $4d$. Llama rounds that up: for $d = 4096$ to 11,008.


# %% swiglu
def swiglu(
    x: Float[Tensor, "*batch d_model"],
    w_gate: Float[Tensor, "d_ff d_model"],
    w_up: Float[Tensor, "d_ff d_model"],
    w_down: Float[Tensor, "d_model d_ff"],
) -> Float[Tensor, "*batch d_model"]:
    """Return (silu(x w_gate^T) * x w_up^T) w_down^T, where silu(z) = z * sigmoid(z).

    Weights are (out, in), without biases. x has any number of axes, of which the last holds
    the channels. All numbers are float32; those in front of the gate may be large, of either
    sign. No tensor need be contiguous, and x is left unchanged.

    Source: Shazeer 2020, "GLU Variants Improve Transformer" (2002.05202), section 2.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> w_gate = torch.tensor([[20.0, -20.0]])  # wide open for the first row, closed for the second
    >>> w_up, w_down = torch.tensor([[3.0, 3.0]]), torch.tensor([[1.0], [-1.0]])
    >>> [[round(number, 4) for number in row] for row in swiglu(x, w_gate, w_up, w_down).tolist()]
    [[60.0, -60.0], [-0.0, 0.0]]
    """
    ### BEGIN SOLUTION
    return F.linear(F.silu(F.linear(x, w_gate)) * F.linear(x, w_up), w_down)
    ### END SOLUTION


# %% [markdown]
# ## A block of Llama
#
# The frame is that of chapter 4, two sums on the residual stream:
#
# $$x \leftarrow x + \mathrm{attention}(\mathrm{RMSNorm}_1(x)), \qquad x \leftarrow x + \mathrm{SwiGLU}(\mathrm{RMSNorm}_2(x)) .$$
#
# In attention, q, k and v have matrices of their own. q is split into `n_head` heads, k and v into `n_kv_head`; then q and
# k turn by their positions; then they attend; the heads are merged and go through `o_proj`. `params` holds, under the names
# of Hugging Face's Llama, with $d_{kv}$ = n_kv_head · d_head:
#
# | name | shape |
# |---|---|
# | input_layernorm.weight | (d_model,) |
# | self_attn.q_proj.weight, self_attn.o_proj.weight | (d_model, d_model) each |
# | self_attn.k_proj.weight, self_attn.v_proj.weight | (d_kv, d_model) each |
# | post_attention_layernorm.weight | (d_model,): the second norm, in front of the MLP |
# | mlp.gate_proj.weight, mlp.up_proj.weight | (d_ff, d_model) each |
# | mlp.down_proj.weight | (d_model, d_ff) |
#
# The attention itself, the masks, groups and cache of chapters 2, 3, 8 and 11, arrives as a function: `attend(q, k, v)`. It
# may hold the keys and values of `first_position` tokens that came before, and adds yours behind them. That is why keys
# have to be turned before they are handed over, each by its true position.
#
# Your other functions are checked by themselves, so write the block out: `F.rms_norm(x, x.shape[-1:], weight, eps)` and
# `F.silu` are in torch, `split_heads` and `merge_heads` of chapter 3 are imported above.


# %% llama_block
def llama_block(
    x: Float[Tensor, "batch position d_model"],
    params: Mapping[str, Float[Tensor, "..."]],
    n_head: int,
    n_kv_head: int,
    first_position: int,
    frequencies: Float[Tensor, " d_head/2"],
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Float[Tensor, "batch position d_model"]:
    """Run x through one block of Llama: x plus attention, then plus SwiGLU, each reading an RMS norm of x.

    `params` has the nine names of the table above, in any order; weights are (out, in). Both norms
    have eps 1e-6. n_head divides d_model, and n_kv_head divides n_head. Position t of x is position
    first_position + t of the text. Queries and keys turn by position times `frequencies`, in pairs of
    halves: channel i of a head with channel i + d_head/2.

    `attend(q, k, v)` is causal attention in which neighboring query heads share a key-value head. It
    takes q of (batch, n_head, position, d_head), k and v of (batch, n_kv_head, position, d_head), and
    returns (batch, n_head, position, d_head). Call it once: it may keep k and v in a cache.

    All numbers are float32 (or all float64). No tensor need be contiguous, and x is left unchanged.

    Source: Touvron et al. 2023, "LLaMA" (2302.13971), section 2.2.

    If both projections write nothing, x comes back. Here attention writes what it is given as v:

    >>> shapes = {"self_attn.q_proj": (2, 2), "self_attn.k_proj": (2, 2), "self_attn.o_proj": (2, 2)}
    >>> shapes |= {"mlp.gate_proj": (3, 2), "mlp.up_proj": (3, 2), "mlp.down_proj": (2, 3)}
    >>> params = {f"{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    >>> norms = "input_layernorm.weight", "post_attention_layernorm.weight"
    >>> params |= {name: torch.ones(2) for name in norms}
    >>> params["self_attn.v_proj.weight"] = torch.tensor([[10.0, 0.0], [0.0, 0.0]])
    >>> x = torch.tensor([[[4.0, 4.0], [4.0, -4.0]]])
    >>> llama_block(x, params, 1, 1, 0, torch.ones(1), lambda q, k, v: v).tolist()
    [[[4.0, 4.0], [4.0, -4.0]]]
    >>> params["self_attn.o_proj.weight"] = torch.eye(2)
    >>> got = llama_block(x, params, 1, 1, 0, torch.ones(1), lambda q, k, v: v)
    >>> [[round(number, 4) for number in row] for row in got[0].tolist()]
    [[14.0, 4.0], [14.0, -4.0]]
    """

    ### BEGIN SOLUTION
    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, params[f"{name}.weight"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], params[f"{name}.weight"], eps=1e-6)

    def turn(x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    positions = torch.arange(first_position, first_position + x.shape[1], device=x.device)
    angles = positions[:, None] * frequencies  # (position, d_head/2)
    cos, sin = angles.cos(), angles.sin()
    normed = norm(x, "input_layernorm")
    q = split_heads(linear(normed, "self_attn.q_proj"), n_head)
    k, v = (split_heads(linear(normed, f"self_attn.{name}_proj"), n_kv_head) for name in "kv")
    x = x + linear(merge_heads(attend(turn(q), turn(k), v)), "self_attn.o_proj")
    normed = norm(x, "post_attention_layernorm")
    hidden = F.silu(linear(normed, "mlp.gate_proj")) * linear(normed, "mlp.up_proj")
    return x + linear(hidden, "mlp.down_proj")
    ### END SOLUTION


# %% [markdown]
# ## Turning pairs
#
# On the left, four pairs of one query as it moves through 25 positions: the fast pair goes round and round, the slow one
# creeps. On the right, the score of a query with a key that equals it, against their distance: once with the query near
# the start of a text, once 5,000 tokens in. It is one curve. It falls with distance at first, and then wavers: RoPE tells
# heads what distance is, it does not forbid them to look far.

# %% turning_pairs
import matplotlib.pyplot as plt

frequencies = rope_frequencies(64)
figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
path = apply_rope(torch.ones(1, 1, 25, 64), torch.arange(25), frequencies)[0, 0]
for radius, pair in enumerate((0, 6, 12, 20), start=1):
    points = radius * path[:, [pair, pair + 32]]
    axes[0].plot(*points.T, "o-", markersize=3, linewidth=0.5, label=f"pair {pair}")
axes[0].set(title="positions 0 to 24", aspect="equal")
axes[0].legend(loc="upper left", bbox_to_anchor=(1, 1))
key = torch.ones(1, 1, 1, 64)
for start in (0, 5000):
    turned = apply_rope(key.expand(1, 1, 200, 64), start + torch.arange(200), frequencies)[0, 0]
    scores = turned @ turned[0] / 64
    axes[1].plot(scores, label=f"from position {start:,}", linewidth=4 if start == 0 else 1)
axes[1].set(title="score of two equal vectors", xlabel="distance")
axes[1].legend()
plt.show()

# %% [markdown]
# ## Two conventions
#
# Weights that were trained with one convention, used with the other. Two checks of the model against itself pass for
# both: lengths stay, and scores do not change when all positions move on by 1,000. Yet the scores are others. What
# repairs it is an order of the channels: the rows of each head's $W_q$ and $W_k$ are sorted, even ones first. That is what
# a script that converts Meta's Llama to Hugging Face's format does.

# %% two_conventions
generator = torch.Generator().manual_seed(19)


def interleaved_rope(x, positions, frequencies):
    angles = positions[:, None] * frequencies
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = [even * angles.cos() - odd * angles.sin(), odd * angles.cos() + even * angles.sin()]
    return torch.stack(turned, dim=-1).flatten(-2)


few, places = rope_frequencies(8), torch.arange(6)
q, k = torch.randn(2, 1, 1, 6, 8, generator=generator, dtype=torch.float64)
trained = interleaved_rope(q, places, few) @ interleaved_rope(k, places, few).mT
evens_first = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
ways = {
    "interleaved": lambda x, positions: interleaved_rope(x, positions, few),
    "halves": lambda x, positions: apply_rope(x, positions, few),
    "halves, rows sorted": lambda x, positions: apply_rope(x[..., evens_first], positions, few),
}
print(f"{'':20} {'lengths change by':>18} {'a shift changes':>16} {'other than trained':>19}")
for label, turn in ways.items():
    scores = turn(q, places) @ turn(k, places).mT
    shifted = turn(q, places + 1000) @ turn(k, places + 1000).mT
    lengths = (turn(q, places).norm(dim=-1) - q.norm(dim=-1)).abs().max()
    columns = lengths.item(), (shifted - scores).abs().max().item(), (scores - trained).abs().max().item()
    print("{:20} {:18.0e} {:16.0e} {:19.1e}".format(label, *columns))

# %% [markdown]
# ## How far a head looks
#
# With ALiBi, and with queries that like all keys equally, where does a head look? The number behind a slope says within
# how many tokens 90 % of the weight lies. Below, three of the eight heads.

# %% how_far_a_head_looks
from gptdojo.pictures import distributions

distance = torch.arange(4096)
weights = torch.softmax(-alibi_slopes(8)[:, None] * distance, dim=-1)
for head, (slope, row) in enumerate(zip(alibi_slopes(8).tolist(), weights, strict=True), start=1):
    within = int((row.cumsum(0) < 0.9).sum()) + 1
    print(f"head {head}: slope 1/{1 / slope:<4.0f} 90 % of the weight on the last {within:4} tokens")
panels = {f"head {head}": weights[head - 1, :8].tolist() for head in (1, 3, 6)}
distributions([f"{back} back" for back in range(8)], panels)

# %% [markdown]
# ## The same numbers as Hugging Face's Llama
#
# A Llama of the library `transformers` with random weights, 6 query heads on 2 key-value heads, and your functions on the
# same weights: once over the whole text, once in pieces with a cache. Hugging Face computes its norms and angles in float32
# even where the model is float64, so a difference of some millionths is left.

# %% equals_hugging_face
try:
    from transformers import LlamaConfig, LlamaForCausalLM
except ImportError:
    print("This cell needs the package transformers: pip install transformers")
else:
    from reference.mask import causal_mask
    from reference.smaller_cache import grouped_query_attention

    sizes = {"vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3}
    sizes |= {"num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 64}
    config = LlamaConfig(**sizes, rms_norm_eps=1e-6, bos_token_id=0, eos_token_id=0)
    hugging_face = LlamaForCausalLM(config).double().eval()
    for parameter in hugging_face.parameters():  # at initial size, mistakes hardly show
        std = 1.0 if parameter.ndim == 1 else parameter.shape[1] ** -0.5
        parameter.data = std * torch.randn(parameter.shape, generator=generator).double()
    weights = {name.removeprefix("model."): p for name, p in hugging_face.named_parameters()}

    def llama_forward(tokens, first_position, caches):
        x = weights["embed_tokens.weight"][tokens]
        for layer in range(3):
            prefix = f"layers.{layer}."
            block = {n.removeprefix(prefix): p for n, p in weights.items() if n.startswith(prefix)}

            def attend(q, k, v, held=caches[layer]):
                held.append((k, v))
                k, v = (torch.cat(parts, dim=2) for parts in zip(*held, strict=True))
                return grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2]))

            x = llama_block(x, block, 6, 2, first_position, rope_frequencies(8).double(), attend)
        return F.linear(rms_norm(x, weights["norm.weight"]), weights["lm_head.weight"])

    tokens = torch.randint(97, (2, 40), generator=generator)
    with torch.no_grad():
        expected = hugging_face(tokens).logits
        whole = llama_forward(tokens, 0, [[], [], []])
        caches = [[], [], []]
        pieces = [(0, 25), (25, 38), (38, 39), (39, 40)]
        parts = [llama_forward(tokens[:, start:end], start, caches) for start, end in pieces]
    print(f"logits of shape {tuple(whole.shape)}, from {expected.min():.1f} to {expected.max():.1f}")
    for label, got in (("in one piece", whole), ("with a cache", torch.cat(parts, dim=1))):
        print(f"{label}: largest difference {(got - expected).abs().max().item():.1e}")
        assert torch.allclose(got, expected, rtol=1e-4, atol=1e-4)
