# %% [markdown]
# # 10. What it costs
#
# Chapter 8 fed one token a step where the whole text was fed before, and chapter 9 let several texts share a step.
# Both were said to be faster. By how much, in what, and what is paid for it? This chapter counts, so that you can
# answer such questions with a pencil: how long a token takes at best, how many users fit on a device, when a longer
# context begins to hurt.
#
# Two things are counted.
#
# - **Operations** (FLOPs, floating-point operations): one multiplication or one addition. Only matrix products are
#   counted, since all else is small beside them. `torch.utils.flop_counter` counts in the same way, and the reference
#   GPT run under it is what your formulas are compared with.
# - **Bytes**: what has to be held, and what has to be moved between memory and the arithmetic units.
#
# Then their quotient tells which of the two a computation waits for.
#
# The rule behind all counts of operations: a product of an $(a \times b)$ and a $(b \times c)$ matrix has $ac$
# results, each a sum of $b$ products, so it takes $ac \cdot b$ multiplications and as many additions:
#
# $$2\,a\,b\,c \text{ operations.}$$
#
# All functions of this chapter take and return plain numbers. Sizes can be those of GPT-3, so count in Python's
# integers, which neither round nor overflow.

# %%
import os
import time
from collections.abc import Callable

import torch
from torch import Tensor

from reference.attention import scaled_dot_product_attention
from reference.config import GPT2, GPT3, GPTConfig, count_parameters
from reference.kv_cache import allocate_caches, forward_with_cache
from reference.model import GPT, gpt_forward

# %% [markdown]
# ## Scores and values
#
# Attention has two products that involve pairs of positions. In each head, $q k^\top$ is a $(T_q \times d_{head})$
# times a $(d_{head} \times T_k)$ matrix, and the weights times $v$ are a $(T_q \times T_k)$ times a
# $(T_k \times d_{head})$. All $H$ heads together have $H d_{head} = d$ channels, so the number of heads drops out.
#
# The causal mask forbids the future, but a plain implementation computes the whole rectangle of scores and throws
# part of it away. The whole rectangle is what torch counts and what you count here. The projections that make $q$,
# $k$ and $v$ are products with weights: they come in the next exercise.


# %% attention_flops
def attention_flops(n_query: int, n_key: int, d_model: int) -> int:
    """Return the operations of scores and weighted values, for all heads of one layer and one sequence.

    A multiply-add is two operations; matrix products only, so no softmax, scale or mask; the whole rectangle of
    `n_query` by `n_key` scores, whatever the mask hides; without the projections. `d_model` is the number of channels
    of all heads together. All arguments are at least 1.

    Source: Pope et al. 2022 (2211.05102), section 2. Kaplan et al. 2020 (2001.08361), table 1, have half of it.

    >>> attention_flops(1, 1024, 768)  # one query of GPT-2 small at the end of its context
    3145728
    """
    ### BEGIN SOLUTION
    scores = 2 * n_query * n_key * d_model  # q k^T
    weighted_values = 2 * n_query * n_key * d_model
    return scores + weighted_values
    ### END SOLUTION


# %% [markdown]
# ## A pass through the model
#
# All other products are tokens times weights, and each token pays for itself: 2 operations for each weight. A block
# of GPT-2 has $4d^2$ weights in attention ($3d^2$ in `c_attn`, $d^2$ in `c_proj`) and $8d^2$ in the MLP. So with $V$
# words, $L$ layers, $n$ tokens fed, and $N$ positions that the last of them sees,
#
# $$\underbrace{24\,L\,d^2\,n}_{\text{blocks}} \;+\; \underbrace{4\,L\,d\,nN}_{\text{attention}} \;+\;
# \underbrace{2\,V\,d\,n}_{\text{head}} .$$
#
# Looking up embeddings is no product. Biases, norms, residuals and GELU are left out, as torch leaves them out.
#
# Without a cache $n = N$. With one, $n = 1$ in a decode step, and $N$ counts the keys that its query meets, its own
# included. Set both in and compare term by term: that is all there is to "from $O(N^2)$ to $O(N)$".
#
#     one token at position N      without a cache     with a cache
#     weights (blocks and head)    O(N)                O(1)
#     attention                    O(N^2)              O(N)
#
# The saying is about the lower row. The upper one falls by a factor of $N$ too, and as long as $N < 6d$ it is the
# larger of the two: $24 L d^2 > 4 L d N$.


# %% forward_flops
def forward_flops(n_layer: int, d_model: int, vocab_size: int, n_query: int, n_key: int) -> int:
    """Return the operations of one pass of a GPT-2 over `n_query` new tokens of one sequence.

    The tokens are the last `n_query` of `n_key` positions, 1 <= n_query <= n_key: keys and values of the others come
    from a cache. The MLP is 4 d_model wide, and the head computes the logits of all `n_query` tokens. A multiply-add
    is two operations; matrix products only, with the whole rectangle of scores in each layer.

    Source: Kaplan et al. 2020 (2001.08361), table 1, whose total leaves out the head and half of attention.

    >>> forward_flops(12, 768, 50257, n_query=1, n_key=1024)  # GPT-2 small decodes the last token of its context
    284812800
    >>> forward_flops(12, 768, 50257, n_query=1024, n_key=1024)  # the same without a cache
    291648307200
    """
    ### BEGIN SOLUTION
    attention = 4 * n_query * n_key * d_model
    block = 24 * d_model**2 * n_query + attention
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + head
    ### END SOLUTION


# %% [markdown]
# ## A whole generation
#
# For $m$ new tokens after a prompt of $P$, the loop of chapter 8 makes $m$ passes: the first over the prompt, and one
# for each new token but the last, which is chosen and never fed. Step $i$ (from 0) ends at $N = P + i$ positions. It
# feeds
#
#     step     with a cache     without
#     0        P                P
#     1        1                P + 1
#     2        1                P + 2
#     ...
#     m - 1    1                P + m - 1
#
# Summed up, the weights go from $\Theta(N^2)$ to $\Theta(N)$ over a generation of $N$ tokens, and attention from
# $\Theta(N^3)$ to $\Theta(N^2)$. Neither is $\Theta(N)$ in all: with a cache, generation is still quadratic in its
# attention. And the first pass costs the same in both columns: a cache does nothing for the prompt.


# %% decode_flops
def decode_flops(n_layer: int, d_model: int, vocab_size: int, n_prompt: int, n_new: int, use_cache: bool) -> int:
    """Return the operations of generating `n_new` tokens after a prompt of `n_prompt`, for one sequence.

    The prompt, of at least 1 token, is fed in one pass, then each new token but the last. With a cache a pass computes
    only the tokens that it is fed; without one, every pass computes all tokens so far. Every pass computes the logits
    of all its tokens. `n_new` = 0 needs no pass at all. What a pass costs is counted as in the exercise above.

    >>> small = (12, 768, 50257)
    >>> decode_flops(*small, n_prompt=1, n_new=1024, use_cache=True)
    272339828736
    >>> decode_flops(*small, n_prompt=1, n_new=1024, use_cache=False)
    142872693964800
    """
    ### BEGIN SOLUTION
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):  # one step each
        is_prefill = n_key == n_prompt
        n_query = n_key if is_prefill or not use_cache else 1
        block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total
    ### END SOLUTION


# %% [markdown]
# ## What the cache holds
#
# The price is memory. Each layer keeps a key and a value of $d_{head}$ numbers for each position of each sequence of
# the batch, and for each head that has keys and values of its own. In GPT-2 that is every head, $H d_{head} = d$. In
# later models several query heads share one pair, and it is the number of **key-value heads** that counts:
#
# $$2 \cdot L \cdot H_{kv} \cdot d_{head} \cdot N \cdot B \cdot \text{bytes per number}.$$
#
# A number has 4 bytes in float32, 2 in float16 and bfloat16, 1 in int8, and half a byte in int4.
#
# This grows linearly in the text **and in the batch**. The weights are read once for the whole batch, a cache belongs
# to one sequence: batching shares the former and not the latter.


# %% kv_cache_bytes
def kv_cache_bytes(
    n_layer: int, n_kv_head: int, d_head: int, n_position: int, batch: int = 1, bytes_per_number: float = 2
) -> float:
    """Return how many bytes the keys and values of `n_position` positions take, for a batch of sequences.

    `n_kv_head` counts the heads that have keys and values of their own, in each of `n_layer` layers. Only the numbers
    themselves are counted. The result may be an int or a float.

    Source: Pope et al. 2022 (2211.05102), section 2.1.

    >>> kv_cache_bytes(12, 12, 64, n_position=1024) / 2**20  # GPT-2 small, float16, a full context: MiB
    36.0
    >>> kv_cache_bytes(80, 8, 128, n_position=8192, batch=32) / 2**30  # Llama-2-70B, 8 of 64 heads: GiB
    80.0
    """
    ### BEGIN SOLUTION
    numbers = 2 * n_layer * n_kv_head * d_head * n_position * batch  # keys and values
    return numbers * bytes_per_number
    ### END SOLUTION


# %% [markdown]
# ## Operations per byte
#
# A linear layer on $n$ tokens reads its $d_{in} d_{out}$ weights and $n d_{in}$ inputs, writes $n d_{out}$ outputs,
# and does $2 n d_{in} d_{out}$ operations. The quotient is its **arithmetic intensity**:
#
# $$I = \frac{2\,n\,d_{in} d_{out}}{(d_{in} d_{out} + n\,d_{in} + n\,d_{out}) \cdot \text{bytes per number}}.$$
#
# With few tokens the weights dominate the denominator, and with 2 bytes a number $I \approx n$: one operation per
# byte in a decode step of one sequence, 64 in a step of a batch of 64, a thousand in a prefill of a thousand tokens.
#
# A device has an intensity of its own, peak operations per second divided by bytes per second: about 295 for an
# H100 in bfloat16 (989e12 / 3.35e12). A computation below it waits for memory, one above it for arithmetic. So a
# decode step of a small batch takes as long as reading the weights and the caches takes, and computing for more
# sequences costs almost nothing, until $n$ comes near the device's number or the caches fill the memory.


# %% arithmetic_intensity
def arithmetic_intensity(n_token: int, d_in: int, d_out: int, bytes_per_number: float = 2) -> float:
    """Return the operations per byte of a linear layer without bias on `n_token` tokens.

    A multiply-add is two operations. Weights and inputs are read once and outputs written once, all with
    `bytes_per_number` bytes.

    Source: Williams et al. 2009, "Roofline" (Communications of the ACM 52, 4).

    >>> round(arithmetic_intensity(1, 4096, 4096), 3), round(arithmetic_intensity(512, 4096, 4096), 1)
    (1.0, 409.6)
    """
    ### BEGIN SOLUTION
    operations = 2 * n_token * d_in * d_out
    numbers_moved = d_in * d_out + n_token * d_in + n_token * d_out
    return operations / (numbers_moved * bytes_per_number)
    ### END SOLUTION


# %% [markdown]
# ## How many fit
#
# A large batch is nearly free in time, so memory decides how many sequences are served at once. The weights are there
# once, and each sequence brings a cache. Only whole sequences count, and a device that cannot hold the weights holds
# no sequence.


# %% max_batch_size
def max_batch_size(memory_bytes: float, weight_bytes: float, cache_bytes_per_sequence: float) -> int:
    """Return how many sequences fit into memory at once, beside one copy of the weights: an int, 0 if none does.

    All three are whole numbers of bytes, as int or as float (`80e9`); memory and weights are at least 0, a cache has
    at least 1 byte. A sequence fits if memory is used up exactly.

    >>> max_batch_size(80e9, 14e9, 2 * 2**30)  # 80 GB, 7B parameters in float16, 2 GiB of cache a sequence
    30
    """
    ### BEGIN SOLUTION
    room = memory_bytes - weight_bytes
    return max(0, int(room // cache_bytes_per_sequence))
    ### END SOLUTION


# %% [markdown]
# ## Counted by torch
#
# GPT-2 small itself, on torch's `meta` device, where tensors have a shape and no numbers: nothing is computed, and
# `FlopCounterMode` counts every product that would be. The caches of the last line are real ones, and their bytes are
# those of the memory behind their tensors.

# %% counted_by_torch
from torch.utils.flop_counter import FlopCounterMode

small = GPT2["gpt2"]
sizes = (small.n_layer, small.d_model, small.vocab_size)
with torch.device("meta"), FlopCounterMode(display=False) as flop_counter:
    gpt2 = GPT(small)
    gpt2(torch.zeros(1, small.n_ctx, dtype=torch.long))
uncached_flops = flop_counter.get_total_flops()
with torch.device("meta"):
    meta_caches = allocate_caches(small, 1, device="meta")
    past = torch.zeros(1, small.n_ctx - 1, dtype=torch.long)
    forward_with_cache(past, gpt2.params, small.n_head, meta_caches)
    with FlopCounterMode(display=False) as flop_counter:
        forward_with_cache(past[:, :1], gpt2.params, small.n_head, meta_caches)
cached_flops = flop_counter.get_total_flops()
held = [
    buffer.untyped_storage().nbytes()
    for cache in allocate_caches(small, 1, torch.float16)
    for buffer in vars(cache).values()
    if isinstance(buffer, Tensor)
]
assert uncached_flops == forward_flops(*sizes, small.n_ctx, small.n_ctx)
assert cached_flops == forward_flops(*sizes, 1, small.n_ctx)
assert sum(held) == kv_cache_bytes(small.n_layer, small.n_head, small.d_head, small.n_ctx)
print(f"GPT-2 small, token {small.n_ctx} of {small.n_ctx}")
print(f"without a cache   {uncached_flops:18,} operations")
print(f"with a cache      {cached_flops:18,} operations")
print(f"the cache holds   {sum(held):18,} bytes in {len(held)} tensors")

# %% [markdown]
# ## What falls, and what does not
#
# The counts of your functions, term by term, for one token of GPT-2 small at each position. On axes that are both
# logarithmic a power $N^p$ is a straight line of slope $p$. Without a cache the weights have slope 1 and attention
# has slope 2. With one, the weights have slope 0 and attention has slope 1. The memory of the cache has slope 1 and
# is what is paid.
#
# Look at where the two terms meet: at $N = 6d$ for the blocks alone, beyond the context of GPT-2. Within it the sum
# of the left panel grows little faster than its weights, so for this model the cache mostly turns $O(N)$ into $O(1)$.

# %% what_falls
import matplotlib.pyplot as plt

positions = [2**power for power in range(15)]  # past the context too, to see the terms cross


def terms(n_query: int, n_key: int) -> tuple[int, int]:
    """The operations of one pass of GPT-2 small: weights, attention."""
    attention = small.n_layer * attention_flops(n_query, n_key, small.d_model)
    return forward_flops(*sizes, n_query, n_key) - attention, attention


figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
for axis, title, fed in (
    (axes[0], "without a cache", lambda n: n),
    (axes[1], "with a cache", lambda n: 1),
):
    weights, attention = zip(*(terms(fed(n), n) for n in positions), strict=True)
    axis.loglog(positions, weights, "o-", markersize=3, label="weights")
    axis.loglog(positions, attention, "s-", markersize=3, label="attention")
    axis.axvline(small.n_ctx, color="gray", linestyle=":", label="context of GPT-2")
    axis.set(title=title, xlabel="position N", ylabel="operations for one token", ylim=(1e3, 1e16))
    axis.legend()
cache_sizes = [kv_cache_bytes(small.n_layer, small.n_head, small.d_head, n) for n in positions]
axes[2].loglog(positions, cache_sizes, "o-", markersize=3, color="tab:green", label="cache, float16")
axes[2].axhline(2 * count_parameters(small), color="gray", linestyle="--", label="weights, float16")
axes[2].set(title="what is held", xlabel="position N", ylabel="bytes")
axes[2].legend()
plt.show()


def slope(before: float, after: float, factor: float) -> float:
    """The power by which something grows, when its argument grows by `factor`."""
    return (torch.tensor(after / before).log() / torch.tensor(factor).log()).item()


for title, fed in (("without", lambda n: n), ("with", lambda n: 1)):
    pairs = zip(terms(fed(512), 512), terms(fed(1024), 1024), strict=True)
    powers = [slope(*pair, 2.0) for pair in pairs]
    print(f"{title:>8} a cache: weights grow as N^{powers[0]:.0f}, attention as N^{powers[1]:.0f}")

# %% [markdown]
# ## Measured: time against position
#
# A small GPT generates a text as long as its context, with the cache, and every step is timed. Without the cache,
# steps at some positions are timed; each is the pass over the whole text that it would need. The model is narrow
# ($d = 64$), so that attention outgrows the blocks at $6d = 384$ positions and the bend of the upper curve can be
# seen.
#
# The second panel times attention alone, the term that the saying is about. Its slopes are measured, so expect them
# near 2 and near 1 and not on them: an operation of torch has a fixed cost, which flattens a curve at its left end,
# and a large matrix no longer fits into the processor's cache, which makes it steeper at its right end.
#
# Compare the measured speedup with the ratio of the counts, too. The clock shows less: a cached step is so little
# work that most of its time is not arithmetic. On a large model on a GPU it is again not arithmetic, but the reading
# of all the weights.

# %% time_against_position
torch.set_num_threads(1)
longest = 256 if os.environ.get("GPTDOJO_QUICK") == "1" else 1024  # positions to generate
narrow = GPTConfig(n_layer=2, n_head=2, d_model=64, n_ctx=longest, vocab_size=256)
torch.manual_seed(0)
narrow_params = {name: parameter.detach() for name, parameter in GPT(narrow).named_parameters()}
text = torch.randint(narrow.vocab_size, (1, longest))


def milliseconds(step: Callable[[], object], repeats: int = 1) -> float:
    """The processor time of the fastest of some runs: what else the machine does meanwhile is not in it."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return 1000 * min(times)


narrow_caches = allocate_caches(narrow, 1)
cached_times = [
    milliseconds(lambda n=n: forward_with_cache(text[:, n : n + 1], narrow_params, narrow.n_head, narrow_caches))
    for n in range(longest)
]
sampled = [longest * part // 16 for part in range(1, 17)]
with torch.no_grad():
    uncached_times = [
        milliseconds(lambda n=n: gpt_forward(text[:, :n], narrow_params, narrow.n_head), repeats=2) for n in sampled
    ]
window = max(1, longest // 32)
cached_medians = [sorted(cached_times[max(0, n - window) : n])[min(window, n) // 2] for n in sampled]


def attention_time(n_query: int, n_key: int) -> float:
    """Milliseconds of attention alone: 2 heads of 64."""
    q, k, v = (torch.randn(1, 2, n, 64) for n in (n_query, n_key, n_key))
    return milliseconds(lambda: scaled_dot_product_attention(q, k, v, None), repeats=5)


square_lengths = [longest // 8, longest // 4, longest // 2, longest]
row_lengths = [16 * n for n in square_lengths]  # one query is so quick that it needs more keys
square_times = [attention_time(n, n) for n in square_lengths]
row_times = [attention_time(1, n) for n in row_lengths]

figure, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
axes[0].plot(sampled, uncached_times, "o-", label="without a cache")
axes[0].plot(range(1, longest + 1), cached_times, ".", markersize=2, alpha=0.4, color="tab:orange")
axes[0].plot(sampled, cached_medians, "-", color="tab:orange", label="with a cache")
top = 1.1 * max(uncached_times)
axes[0].set(title="one token of a small GPT", xlabel="position", ylabel="ms", ylim=(0, top))
axes[1].loglog(square_lengths, square_times, "o-", label="N queries: without a cache")
axes[1].loglog(row_lengths, row_times, "o-", label="1 query: with a cache")
axes[1].set(title="attention alone", xlabel="keys N", ylabel="ms")
for axis in axes:
    axis.legend()
plt.show()

narrow_sizes = (narrow.n_layer, narrow.d_model, narrow.vocab_size)
ratio = forward_flops(*narrow_sizes, longest, longest) / forward_flops(*narrow_sizes, 1, longest)
print(f"token {longest}: {uncached_times[-1]:.2f} ms without, {cached_medians[-1]:.2f} ms with the cache:")
print(f"    {uncached_times[-1] / cached_medians[-1]:.0f} times in time, {ratio:.0f} times in operations")
for what, times in (("N queries", square_times), ("1 query", row_times)):
    print(f"attention alone, {what:9}: time grows as N^{slope(times[0], times[-1], 8.0):.1f}")

# %% [markdown]
# ## Measured: more tokens for the price of one
#
# One linear layer, on more and more tokens. As long as its intensity is low, the time is that of reading the weights,
# and more tokens change it little; the operations per second rise with the intensity. Then the arithmetic units are
# busy, and the time grows with the tokens.

# %% more_tokens_for_the_price_of_one
width = 1536
weight = torch.randn(width, width)
print(f"{'tokens':>6} {'FLOP/byte':>10} {'ms':>8} {'GFLOP/s':>9}")
for n_token in (1, 4, 16, 64, 256):
    x = torch.randn(n_token, width)
    spent = milliseconds(lambda x=x: torch.nn.functional.linear(x, weight), repeats=10)
    intensity = arithmetic_intensity(n_token, width, width, bytes_per_number=4)
    rate = 2 * n_token * width**2 / (spent / 1000) / 1e9
    print(f"{n_token:6} {intensity:10.1f} {spent:8.3f} {rate:9.1f}")

# %% [markdown]
# ## How many sequences a device holds
#
# Weights and caches in float16 on a device of 80 GB, with every sequence as long as the context. The last column is
# the time of a step at best: reading the weights and all caches once, at 3.35e12 bytes a second.

# %% how_many_fit
memory, bandwidth = 80e9, 3.35e12
print(f"{'model':>12} {'weights':>9} {'one cache':>10} {'sequences':>10} {'step at best':>13}")
for name, config in (GPT2 | GPT3).items():
    model_bytes = 2 * count_parameters(config)
    cache_bytes = kv_cache_bytes(config.n_layer, config.n_head, config.d_head, config.n_ctx)
    count = max_batch_size(memory, model_bytes, cache_bytes)
    step = f"{1000 * (model_bytes + count * cache_bytes) / bandwidth:10.1f} ms" if count else "-"
    row = f"{model_bytes / 1e9:6.1f} GB {cache_bytes / 1e9:7.2f} GB {count:10} {step:>13}"
    print(f"{name:>12} {row}")
