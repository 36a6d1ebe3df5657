# %% [markdown]
# # 9. Batched generation
#
# With the cache of chapter 8, a step feeds one token and reads all the weights of the model for it. Reading them for
# 32 rows costs the same, so nobody generates one text at a time. But texts do not keep step: prompts have different
# lengths, and answers end at different times. This chapter is about making one rectangle of them, and about getting
# for each row exactly what it would have got alone.
#
# The second half is about several continuations of **one** prompt. Greedy generation takes the likeliest token at each
# step, and that need not lead to the likeliest text. Beam search keeps the best few texts, whose rows in the cache have
# to change places as some go on and others end.
#
# You will write the padding, the positions, the loop, the reordering of a cache, and the search. The five exercises do
# not depend on each other. You may use `reference` modules of earlier chapters.

# %%
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reference.attention import scaled_dot_product_attention
from reference.config import GPTConfig
from reference.kv_cache import KVCache, forward_with_cache
from reference.mask import padding_causal_mask
from reference.model import GPT, run_blocks

# %% [markdown]
# ## A rectangle of prompts
#
# For generation the shorter prompts are filled up **on the left**:
#
#     [5 6 7]            5  6  7            1 1 1
#     [8]          →     .  .  8            0 0 1
#     [9 4]              .  9  4            0 1 1
#                        tokens             is_token
#
# So every row's newest token stands in the last column: `logits[:, -1]` is the right place for all, and the next token
# of each row is appended as one more column. With padding on the right, the rows would end in different columns and new
# tokens would have to go into the middle.
#
# Which number a pad is makes no difference, as nobody will see it. It may well be a token that occurs in the text:
# GPT-2 has no token to spare and is padded with its end-of-text token. So where padding stands is known from the
# lengths, and has to be passed on beside the tokens.


# %% left_pad
def left_pad(
    prompts: Sequence[Sequence[int]], pad: int
) -> tuple[Int[Tensor, "batch longest"], Bool[Tensor, "batch longest"]]:
    """Return the prompts as one tensor, shorter ones filled up with `pad` on the left, and where the real tokens are.

    There is at least one prompt, and each has at least one token. `pad` may also occur in the prompts, as a real token.
    The tokens are int64, the mask is True at real tokens.

    >>> tokens, is_token = left_pad([[5, 6, 7], [8]], pad=0)
    >>> tokens.tolist()
    [[5, 6, 7], [0, 0, 8]]
    >>> is_token.int().tolist()
    [[1, 1, 1], [0, 0, 1]]
    """
    ### BEGIN SOLUTION
    longest = max(len(prompt) for prompt in prompts)
    n_pad = [longest - len(prompt) for prompt in prompts]
    tokens = torch.tensor([[pad] * n + list(prompt) for n, prompt in zip(n_pad, prompts, strict=True)])
    return tokens, torch.arange(longest) >= torch.tensor(n_pad)[:, None]
    ### END SOLUTION


# %% [markdown]
# ## Positions
#
# Two things must not depend on the padding. The first is who sees whom: padding is hidden as a key from every query,
# in every step, by the mask of chapter 2. The second is where a token stands. Alone, the prompt `[8]` has its token at
# position 0; in the rectangle above it stands in column 2, and `wpe[2]` would be added to it.
#
# The position of a token is the number of real tokens before it in its row,
#
# $$\mathrm{pos}_{bj} = \sum_{i < j} r_{bi} = \Bigl(\sum_{i \le j} r_{bi}\Bigr) - 1 \quad\text{where } r_{bj} = 1 .$$
#
# At a pad any position will do, since nobody sees what comes of it; but the table is looked up there, too, so it has to
# be a position that exists. The right-hand formula gives $-1$ for pads on the left, which does not.


# %% position_ids
def position_ids(is_token: Bool[Tensor, "batch position"]) -> Int[Tensor, "batch position"]:
    """Return the position of each token among the real ones of its row, counted from 0.

    Pads may stand anywhere, and each row has a real token. At a pad the result may be any number that is a position,
    from 0 to position - 1. The result is int64.

    >>> position_ids(torch.tensor([[True, True, True], [False, False, True]]))[:, -1].tolist()
    [2, 0]
    """
    ### BEGIN SOLUTION
    return (is_token.long().cumsum(dim=-1) - 1).clamp(min=0)
    ### END SOLUTION


# %% [markdown]
# Who sees whom in the rectangle above: each row of the batch has its own mask, in the prefill and in each step after
# it. The pads on the left see nothing at all, and nobody sees them.

# %% who_sees_whom_in_a_ragged_batch
from gptdojo.pictures import who_sees_whom

tokens, is_token = left_pad([[5, 6, 7], [8], [9, 4]], pad=0)
prefill = padding_causal_mask(is_token, n_query=3)[:, 0]
prompts = ["5 6 7", "8", "9 4"]
who_sees_whom({f"prompt {prompt}": mask for prompt, mask in zip(prompts, prefill, strict=True)})

# %% [markdown]
# ## The loop
#
# `forward(tokens, is_token)` is a model with a memory, as in chapter 8, that also wants to be told what is real: it is
# fed the next tokens, (batch, n), and the mask of **all** tokens so far, these included, (batch, seen). It hides the
# padding and counts the positions by itself.
#
# Each row ends with its own end-of-text token, `eos`:
#
#     step           1    2    3    4    5
#     row 0         11   12  eos  eos  eos       stopped after step 3, filled up
#     row 1         21   22   23   24  eos       stopped after step 5
#     is_token     1 1  1 1  1 1  0 1            the filling counts as padding
#
# What the model says about a row that has stopped is not looked at. Once all rows have stopped, no call is made any
# more; the result is filled up to `n_new` columns all the same. Only what is **generated** ends a row: an eos in the
# prompt, at its very start or between two documents, is a token like any other.
#
# Rows that have stopped go on costing as much as the others until the last one is done. How to put new requests into
# their places is a question of serving, not of this loop.


# %% generate_batch
def generate_batch(
    forward: Callable[[Int[Tensor, "batch n"], Bool[Tensor, "batch seen"]], Float[Tensor, "batch n vocab"]],
    tokens: Int[Tensor, "batch prompt"],
    is_token: Bool[Tensor, "batch prompt"],
    n_new: int,
    eos: int,
) -> Int[Tensor, "batch prompt+n_new"]:
    """Continue left-padded prompts greedily, each row up to its own `eos`, after which it is filled up with `eos`.

    `forward(tokens, is_token)` is fed the prompts first (in one call, or in several pieces), then one token of each row
    a call. It remembers what it was fed; its second argument says which of all tokens fed so far, those of this call
    included, are real: the generated ones are, up to a row's eos. (What it says of a row after its eos makes no
    difference.) It returns the logits after each of the tokens of this call, and raises ValueError past its context.

    An `eos` in a prompt does not stop anything. The last generated token is never fed, and no call is made once every
    row has stopped, nor with `n_new` = 0. The result begins with `tokens` as they are.

    >>> def count_up(tokens, is_token):  # a model that has learned to count to 9
    ...     return F.one_hot((tokens + 1) % 10, 10).float()
    >>> tokens = torch.tensor([[1, 2], [0, 7]])
    >>> is_token = torch.tensor([[True, True], [False, True]])
    >>> generate_batch(count_up, tokens, is_token, n_new=4, eos=9)
    tensor([[1, 2, 3, 4, 5, 6],
            [0, 7, 8, 9, 9, 9]])
    """
    ### BEGIN SOLUTION
    n_total = tokens.shape[1] + n_new
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    fed = tokens
    for _ in range(n_new):
        logits = forward(fed, is_token)[:, -1]  # (batch, vocab)
        chosen = logits.argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)
    ### END SOLUTION


# %% [markdown]
# Does each row get what it would get alone? The next cell makes a small GPT for padded batches out of the parts of
# earlier chapters and your `position_ids`, and generates for three prompts together and one by one. Then it leaves out
# the positions, and then the mask, to show what each of them is for.

# %% together_or_alone
from gptdojo.pictures import sequence

config = GPTConfig(n_layer=2, n_head=4, d_model=32, n_ctx=32, vocab_size=12)
torch.manual_seed(3)
params = {name: 4 * parameter.detach() for name, parameter in GPT(config).named_parameters()}
EOS = 0


def new_caches(batch: int) -> list[KVCache]:
    return [KVCache(batch, config.n_head, config.n_ctx, config.d_head) for _ in range(config.n_layer)]


def padded_model(batch: int, positions: bool = True, mask: bool = True) -> Callable:
    caches = new_caches(batch)

    def forward(tokens: Tensor, is_token: Tensor) -> Tensor:
        n_new = tokens.shape[1]
        real = is_token if mask else torch.ones_like(is_token)
        allowed = padding_causal_mask(real, n_new)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            caches[layer].append(k, v)
            return scaled_dot_product_attention(q, *caches[layer].view(), allowed)

        place = position_ids(is_token if positions else torch.ones_like(is_token))[:, -n_new:]
        x = F.embedding(tokens, params["wte.weight"]) + F.embedding(place, params["wpe.weight"])
        return run_blocks(x, params, config.n_head, attend)

    return forward


prompts = [[5, 6, 7, 1], [8], [9, 4]]
tokens, is_token = left_pad(prompts, pad=EOS)
together = generate_batch(padded_model(3), tokens, is_token, 10, EOS)
rows = []
for prompt, row in zip(prompts, together, strict=True):
    whole = torch.ones(1, len(prompt), dtype=torch.bool)
    alone = generate_batch(padded_model(1), torch.tensor([prompt]), whole, 10, EOS)[0]
    assert torch.equal(row[-10:], alone[-10:])
    new = row[-10:].tolist()
    end = new.index(EOS) if EOS in new else 10
    states = ["pad"] * (4 - len(prompt)) + ["prompt"] * len(prompt) + ["new"] * end
    states += ["end"] * (end < 10) + ["filling"] * (9 - end)
    rows.append((f"prompt {prompt}", list(zip(map(str, row.tolist()), states, strict=True))))

expected = padded_model(1)(torch.tensor([[8]]), torch.tensor([[True]]))[0, -1]
for name, model in (
    ("mask and positions", padded_model(3)),
    ("positions left out", padded_model(3, positions=False)),
    ("mask left out", padded_model(3, mask=False)),
):
    error = (model(tokens, is_token)[1, -1] - expected).abs().max()
    print(f"{name:18}: the logits of row 1 are off by {error:.1e}")
meaning = {
    "prompt": ("prompt", "blue"),
    "pad": ("padding", "dim"),
    "new": ("generated", "green"),
    "end": ("its eos", "red"),
    "filling": ("filled up", "yellow"),
}
sequence(rows, meaning)

# %% [markdown]
# ## Rows that change places
#
# From here on, the rows of the batch are continuations of one prompt, and some go on while others end. Say the best
# three continuations after a step are two that go on from row 1 and one that goes on from row 0:
#
#     rows = [1, 1, 0]        row 0 becomes what row 1 was,
#                             row 1 stays,
#                             row 2 becomes what row 0 was; what row 2 was is gone.
#
# The keys and values of each row's past lie in the cache, in every layer, and have to follow. It is a **gather**: row
# $i$ fetches what `rows[i]` held. (Sending row $i$ to place `rows[i]` is the inverse order, and for a row that goes on
# twice there is none.)


# %% reorder_cache
def reorder_cache(caches: Sequence["KVCache"], rows: Int[Tensor, " batch"]) -> None:
    """Make row i of every cache what row rows[i] was, keys and values; change the caches, return nothing.

    `caches` has one cache a layer, with the methods `append`, `view`, `crop`, `reset` and `len()` of chapter 8; each
    holds at least one position. `rows` has a number from 0 to batch - 1 for each row, the same one perhaps several
    times. Every cache holds as many positions afterwards as before.

    >>> cache = KVCache(3, 1, 4, 1)
    >>> numbers = torch.tensor([10.0, 11.0, 12.0]).reshape(3, 1, 1, 1)
    >>> cache.append(numbers, -numbers)
    >>> reorder_cache([cache], torch.tensor([1, 1, 0]))
    >>> cache.view()[0].flatten().tolist(), len(cache)
    ([11.0, 11.0, 10.0], 1)
    """
    ### BEGIN SOLUTION
    for cache in caches:
        k, v = cache.view()
        k, v = k[rows], v[rows]  # copies, so that nothing is overwritten before it was read
        cache.reset()
        cache.append(k, v)
    ### END SOLUTION


# %% [markdown]
# ## Beam search
#
# The best continuation $y$ of a prompt $x$ in $n$ steps would be $\arg\max_y \log P(y \mid x)$ over all $V^n$ of
# them, with
#
# $$\log P(y \mid x) = \sum_{t=1}^{n} \log P(y_t \mid x, y_{<t}) .$$
#
# Greedy generation keeps one text and extends it by its best token. **Beam search** keeps the best $B$ texts (the
# **beams**). Each step extends every beam by every token, which gives $B \cdot V$ candidates with the scores
#
# $$s_{b,w} = s_b + \log P(w \mid x, y^{(b)}),$$
#
# and the best $B$ **of all of them** are the new beams. A good beam may have several heirs, and a bad one none. With
# $B = 1$ it is greedy; with $B \ge V^n$ nothing is ever dropped, so it finds the best text for certain; between, it may
# miss it.
#
# Three places need care.
#
# - **The first step.** All rows are copies of the prompt. If all of them may speak, the same best token is found $B$
#   times. One row begins with the score 0, the others with $-\infty$.
# - **The memory.** The new beam $i$ continues some row of the old ones. Before its token is fed, the model has to be told:
#   `reorder(rows)`.
# - **The end.** A beam that reached `eos` has one continuation, eos again, at no cost: so it keeps its score and has to
#   defend its place against those that go on.
#
# There may be fewer continuations than beams: $B = 10$ and $V = 3$ gives 3 beams after one step and 9 after two. Rows
# with a score of $-\infty$ fill the batch meanwhile, and are left out at the end.


# %% beam_search
def beam_search(
    forward: Callable[[Int[Tensor, "width n"]], Float[Tensor, "width n vocab"]],
    reorder: Callable[[Int[Tensor, " width"]], None],
    prompt: Int[Tensor, " prompt"],
    n_new: int,
    width: int,
    eos: int | None = None,
) -> tuple[Int[Tensor, "beam prompt+n_new"], Float[Tensor, " beam"]]:
    """Return the best `width` continuations of a prompt that beam search finds, best first, and their scores.

    A score is log P(continuation | prompt) in nats, not normalized by length. A beam that reached `eos` keeps its score,
    stays in the search and is filled up with `eos`; with None no token ends anything. An eos in the prompt does not
    count. There are fewer beams than `width` only where fewer continuations exist. `n_new` and `width` are at least 1.

    `forward(tokens)` always works on `width` rows and remembers what each was fed: it is fed the prompt in every row
    (in one call or several), then one token a row. It returns the logits after each of these tokens, which may differ by
    hundreds, and raises ValueError past its context; the last token of a beam is never fed. Before each call but those
    with the prompt, `reorder(rows)` has to tell it that row i goes on from what row rows[i] was fed.

    Source: Graves 2012, "Sequence Transduction with Recurrent Neural Networks" (1211.3711), section 2.4, for a plain
    left-to-right model.

    >>> table = torch.tensor([[0.1, 0.5, 0.4], [0.4, 0.3, 0.3], [0.9, 0.05, 0.05]]).log()
    >>> def forward(tokens):  # the next token depends on the last one only: there is nothing to reorder
    ...     return table[tokens]
    >>> tokens, scores = beam_search(forward, lambda rows: None, torch.tensor([0]), n_new=2, width=2)
    >>> tokens.tolist(), [round(p, 2) for p in scores.exp().tolist()]  # greedy would go 1, 0, with 0.5 * 0.4
    ([[0, 2, 0], [0, 1, 0]], [0.36, 0.2])
    """
    ### BEGIN SOLUTION
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)  # (width, vocab)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        vocab = log_probs.shape[1]
        scores, best = (scores[:, None] + log_probs).flatten().topk(width)
        rows, chosen = best // vocab, best % vocab
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        if eos is not None:
            ended = ended[rows] | (chosen == eos)
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]
    ### END SOLUTION


# %% [markdown]
# ## Greedy is not best
#
# The last cell searches in the small GPT, with its caches reordered by your function, at several widths, and compares
# with all $12^3$ continuations of three tokens. A beam's score must be that which the model gives its text when the
# text is scored afresh: that is the test that finds a forgotten `reorder`.
#
# A wider beam finds the same or better texts most of the time, and not always: what a narrower one kept may be pushed
# out by candidates that look better for a step. And the likeliest text is not the best one to read. For open-ended
# text it tends to be short and to repeat itself, which is why chat models sample; translation, where there is little
# freedom in what to say, is where beams help.

# %% greedy_is_not_best
from itertools import product

torch.manual_seed(0)
params = {name: 4 * parameter.detach() for name, parameter in GPT(config).named_parameters()}
prompt = torch.tensor([3, 1, 4])


def search(width: int, n_new: int) -> tuple[Tensor, Tensor]:
    caches = new_caches(width)

    def forward(tokens: Tensor) -> Tensor:
        return forward_with_cache(tokens, params, config.n_head, caches)

    return beam_search(forward, lambda rows: reorder_cache(caches, rows), prompt, n_new, width)


def score(texts: Tensor) -> Tensor:
    """log P(continuation | prompt), computed afresh for whole texts."""
    caches = new_caches(len(texts))
    logits = forward_with_cache(texts, params, config.n_head, caches)
    start = len(prompt) - 1
    log_probs = logits[:, start:-1].log_softmax(dim=-1)
    return log_probs.gather(2, texts[:, start + 1 :, None]).sum(dim=(1, 2))


everything = torch.tensor([[*prompt.tolist(), *new] for new in product(range(12), repeat=3)])
best = score(everything).max()
rows = []
for width in (1, 2, 4, 16):
    texts, scores = search(width, n_new=3)
    assert torch.allclose(scores, score(texts), atol=1e-4)
    state = "best" if torch.isclose(scores[0], best, atol=1e-4) else "worse"
    labels = [(str(token), "prompt") for token in prompt.tolist()]
    labels += [(str(token), state) for token in texts[0, 3:].tolist()]
    rows.append((f"width {width:2}: {scores[0]:.2f} nats", labels))
states = {
    "prompt": ("prompt", "blue"),
    "best": ("the likeliest of all 1,728 continuations", "green"),
    "worse": ("a less likely one", "yellow"),
}
sequence(rows, states)
