# %% [markdown]
# # 6. Encoders and decoders
#
# The GPT of the last chapter reads from left to right and predicts the next token. Nothing in its blocks says so: not the
# layer norms, not the MLPs, not the projections. What makes it a **decoder** is one triangle of booleans, and what makes
# it a language model is the question it is asked in training. So what do the same blocks become under another mask and
# another question?
#
# Two other families, and a bridge between them:
#
# | family | who sees whom | what is predicted | examples |
# |---|---|---|---|
# | decoder only | what came before | the next token | GPT-2, GPT-3 |
# | encoder only | everyone sees everyone | tokens that were hidden | BERT |
# | encoder-decoder | source: everyone; target: what came before, and the source | the next target token | T5 |
# | prefix LM | in the prefix everyone, after it what came before | the next token, after the prefix | UniLM |
#
# You write what is new in each: attention without the triangle, the mask of a prefix, attention from one text to another,
# and the two halves of BERT's training, spoiling a text and asking for what was there.
#
# Masks are True where attention is allowed, weights are (out, in), and `is_token` is False at pads, as before.

# %%
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reference.attention import merge_heads, scaled_dot_product_attention, split_heads

# %% [markdown]
# ## Everyone sees everyone
#
# An encoder is given a finished text, and there is no future to hide. The mask is what is left when the triangle goes:
#
# $$M_{bij} = r_{bj},$$
#
# where $r_{bj}$ says whether key $j$ of text $b$ is a real token. It does not depend on the query $i$: a pad is hidden
# from everyone, and everything else is hidden from no one. Note which axis that is. `is_token` has the shape (batch,
# key), and scores have (batch, head, query, key).
#
# The rest is GPT's attention layer: one projection to q, k and v, heads, softmax of the scaled scores, merge, and the
# output projection. That is the point of this exercise. `reference.attention` has `split_heads`, `merge_heads` and
# `scaled_dot_product_attention(q, k, v, mask)`, and they are yours to use.
#
# What is lost? A causal model makes $T$ predictions of a text of $T$ tokens in one pass. Here each position has seen all
# tokens, its own and the next included, so it cannot be asked for any of them, unless they are hidden first. And what a
# position computes changes whenever a token is added at the end, so nothing of it can be kept for the next step.


# %% bidirectional_attention
def bidirectional_attention(
    x: Float[Tensor, "batch position d_model"],
    w_qkv: Float[Tensor, "3*d_model d_model"],
    b_qkv: Float[Tensor, " 3*d_model"],
    w_out: Float[Tensor, "d_model d_model"],
    b_out: Float[Tensor, " d_model"],
    n_head: int,
    is_token: Bool[Tensor, "batch position"] | None = None,
) -> Float[Tensor, "batch position d_model"]:
    """Let every position read from every real token of its text, later ones and itself included.

    The rows of w_qkv and b_qkv are those of q, then k, then v; n_head divides d_model. `is_token`
    is False at pads, which may stand anywhere, and nobody sees them; each text has at least one
    real token. None means that there are no pads. What the result holds at the positions of pads
    is of no interest, and is not looked at.

    No input need be contiguous. All numbers are float32; scores may lie in the millions, on either
    side of 0. Gradients flow to x and to every weight and bias.

    Source: Devlin et al. 2018, "BERT" (1810.04805), section 3.

    With zero rows for q and k all scores are equal, and everyone takes the mean of the real
    tokens, here of the first two:

    >>> x = torch.tensor([[[2.0, 0.0], [4.0, 2.0], [9.0, 9.0]]])
    >>> w_qkv = torch.cat([torch.zeros(4, 2), torch.eye(2)])
    >>> weights = w_qkv, torch.zeros(6), torch.eye(2), torch.zeros(2)
    >>> is_token = torch.tensor([[True, True, False]])
    >>> bidirectional_attention(x, *weights, 2, is_token)[0, :2].tolist()
    [[3.0, 1.0], [3.0, 1.0]]
    """
    ### BEGIN SOLUTION
    qkv = F.linear(x, w_qkv, b_qkv)  # (batch, position, 3 * d_model)
    q, k, v = (split_heads(part, n_head) for part in qkv.chunk(3, dim=-1))
    mask = None if is_token is None else is_token[:, None, None, :]  # (batch, head, query, key)
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)
    ### END SOLUTION


# %% [markdown]
# ## A prefix that is given
#
# Between the two there is a compromise. Much of what a language model reads was given to it, such as a question or a
# document, and only what follows is to be predicted. So let the first $P$ of $T$ positions, the **prefix**, read each
# other in both directions, and keep the rest causal:
#
# $$M_{ij} = [\, j < P \,] \vee [\, j \le i \,].$$
#
# With $P = 2$ and $T = 4$:
#
#             key 0  1  2  3
#     query 0     1  1  0  0      (prefix)
#     query 1     1  1  0  0      (prefix)
#     query 2     1  1  1  0
#     query 3     1  1  1  1
#
# Look at row 0. It sees key 1, which a causal mask would hide, and it does not see key 2, for that would carry the answer
# into the prefix, where everyone can read it. The price: the loss counts only at positions whose next token lies after the
# prefix, because inside the prefix the next token is in plain sight.


# %% prefix_lm_mask
def prefix_lm_mask(n_prefix: int, n_position: int) -> Bool[Tensor, "n_position n_position"]:
    """Let everyone see the whole prefix, and after it let each see itself and what came before.

    The prefix is the first `n_prefix` of the `n_position` positions; it may be empty, and it may be
    all: 0 <= n_prefix <= n_position, and n_position is at least 1. Rows are queries, columns are
    keys, and True means that attention is allowed.

    Source: Raffel et al. 2019, "T5" (1910.10683), section 3.2.1.

    >>> prefix_lm_mask(2, 4).int().tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    >>> prefix_lm_mask(0, 2).int().tolist()
    [[1, 0], [1, 1]]
    """
    ### BEGIN SOLUTION
    position = torch.arange(n_position)
    return (position <= position[:, None]) | (position < n_prefix)
    ### END SOLUTION


# %% [markdown]
# ## From one text to another
#
# To translate, one could put the source in front of the target and use a prefix. The first transformer had two stacks
# instead. The encoder reads the source once and leaves one vector for each of its tokens, the **memory**. The decoder is
# a GPT with one more layer in each block: between its causal self-attention and its MLP stands **cross-attention**, where
# the decoder asks and the encoder answers:
#
# $$Q = x W_q^\top + b_q, \qquad [K, V] = m\, W_{kv}^\top + b_{kv}, \qquad
# \mathrm{out} = \mathrm{merge}(\mathrm{attention}(Q, K, V))\, W_{proj}^\top + b_{proj}.$$
#
# | step | shape |
# |---|---|
# | x, and q in heads | (batch, target, d_model), (batch, head, target, d_head) |
# | memory, and k, v in heads | (batch, source, d_model), (batch, head, source, d_head) |
# | scores | (batch, head, target, source) |
# | the result | (batch, target, d_model) |
#
# There is **no causal mask** here: the source is complete before the first target token is written. There is a mask for
# the pads of the source. And a target position asks for itself alone; it hears of the other target positions in the layer
# before, in self-attention.
#
# While generating, memory does not change, so K and V of this layer are computed once for the whole text. A GPT has no
# such layer: "decoder-only" means the decoder without cross-attention.


# %% cross_attention
def cross_attention(
    x: Float[Tensor, "batch target d_model"],
    memory: Float[Tensor, "batch source d_model"],
    params: Mapping[str, Float[Tensor, "..."]],
    n_head: int,
    is_token: Bool[Tensor, "batch source"] | None = None,
) -> Float[Tensor, "batch target d_model"]:
    """Let every target position read from every real token of its source.

    Queries come from the decoder's `x`, keys and values from the encoder's output `memory`; the two
    lengths may differ either way. `params` has q_attn.weight (d_model, d_model), c_attn.weight
    (2 * d_model, d_model) with the rows of k, then v, c_proj.weight (d_model, d_model), and
    q_attn.bias, c_attn.bias, c_proj.bias; n_head divides d_model. `is_token` is False where
    `memory` is a pad, which may be anywhere; each source has at least one real token. None means
    that there are no pads. The residual sum is not part of this layer.

    No input need be contiguous. All numbers are float32; scores may lie in the millions, on either
    side of 0. Gradients flow to x, to memory and to every weight and bias.

    Source: Vaswani et al. 2017, "Attention Is All You Need" (1706.03762), section 3.2.3.

    With zeros for q_attn all scores are equal, and each target position takes the mean of the real
    source tokens:

    >>> zero, one = torch.zeros(2, 2), torch.eye(2)
    >>> weights = {"q_attn": zero, "c_attn": torch.cat([one, one]), "c_proj": one}
    >>> params = {f"{name}.weight": weight for name, weight in weights.items()}
    >>> params |= {f"{name}.bias": torch.zeros(len(weight)) for name, weight in weights.items()}
    >>> x, memory = torch.ones(1, 2, 2), torch.tensor([[[2.0, 0.0], [4.0, 2.0], [9.0, 9.0]]])
    >>> cross_attention(x, memory, params, 2, torch.tensor([[True, True, False]])).tolist()
    [[[3.0, 1.0], [3.0, 1.0]]]
    """
    ### BEGIN SOLUTION
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    kv = F.linear(memory, params["c_attn.weight"], params["c_attn.bias"])  # (batch, source, 2 * d_model)
    k, v = (split_heads(part, n_head) for part in kv.chunk(2, dim=-1))
    mask = None if is_token is None else is_token[:, None, None, :]  # (batch, head, target, source)
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])
    ### END SOLUTION


# %% [markdown]
# ## Hide some, and ask for them
#
# An encoder sees every token, so a question has to be made by taking something away. That is a **masked language
# model**: choose some positions, spoil them in the input, and ask for the tokens that stood there. (This mask has
# nothing to do with the attention mask: it is a token, written [MASK].)
#
# If the chosen tokens always became [MASK], the model would learn to work at [MASK] only, and a text in use has none.
# So BERT spoils in three ways. Each position that may be chosen is chosen with probability 0.15, on its own. Of a chosen
# position,
#
# | probability | the token becomes | what that teaches |
# |---|---|---|
# | 0.8 | [MASK] | to fill in from both sides |
# | 0.1 | a token drawn from the whole vocabulary | to doubt a token that does not fit |
# | 0.1 | itself | that a token that is there may well be right |
#
# In all three cases the position counts as chosen and is asked for. The three fates exclude each other, so one draw
# decides; to draw for each of them apart is where implementations go wrong. "The whole vocabulary" is meant: the drawn
# token may happen to be the original, or [MASK].
#
# Chance comes from a `torch.Generator`, which torch's functions take as `generator=`. It has a seed, so a run can be
# repeated, and it goes on from where it is, so that no two batches are spoiled alike.


# %% corrupt_for_mlm
def corrupt_for_mlm(
    tokens: Int[Tensor, "batch position"],
    maskable: Bool[Tensor, "batch position"],
    mask_token: int,
    vocab_size: int,
    generator: torch.Generator,
    rate: float = 0.15,
) -> tuple[Int[Tensor, "batch position"], Bool[Tensor, "batch position"]]:
    """Spoil some tokens to be asked for: what the encoder reads, and which positions were chosen.

    Each position where `maskable` is True is chosen with probability `rate`, independently of all
    others, and no other position ever is. Of each chosen position again independently: with
    probability 0.8 it becomes `mask_token`, with 0.1 a token drawn from all of 0 to vocab_size - 1
    with equal probability (the original and `mask_token` among them), and with 0.1 it stays as it
    is. All other positions keep their tokens. 0 <= rate <= 1, and mask_token is one of the
    vocab_size tokens.

    All chance comes from `generator`: equal seeds give equal results. How many numbers are drawn
    from it, and in which order, is up to you.

    Source: Devlin et al. 2018, "BERT" (1810.04805), section 3.1, task 1.

    >>> tokens = torch.tensor([[5, 6, 7, 8]])
    >>> maskable = torch.tensor([[False, True, True, False]])
    >>> generator = torch.Generator().manual_seed(0)
    >>> corrupted, chosen = corrupt_for_mlm(tokens, maskable, 0, 10, generator, rate=1.0)
    >>> chosen.tolist(), corrupted[~chosen].tolist()
    ([[False, True, True, False]], [5, 8])
    """
    ### BEGIN SOLUTION
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen
    ### END SOLUTION


# %% [markdown]
# ## The answer counts where there was a question
#
# With the chosen positions $C$ of a batch, and the original tokens $w$,
#
# $$\mathcal{L} = -\frac{1}{|C|} \sum_{(b, t) \in C} \log P(w_{bt} \mid \text{the spoiled text}).$$
#
# Compare this with the loss of chapter 1. Nothing is **shifted**: position $t$ predicts its own token, which it cannot
# see (or cannot trust). And only **chosen** positions count. At the others the answer stands in the input; a model that
# copies would have a loss of nearly 0 there, and 85 % of the loss would be about copying. The positions that kept their
# token count too, although they look like the others: that is why `chosen` is passed along and not guessed from what has
# changed.
#
# All chosen positions of the batch count alike. A text may have none.


# %% mlm_loss
def mlm_loss(
    logits: Float[Tensor, "batch position vocab"],
    tokens: Int[Tensor, "batch position"],
    chosen: Bool[Tensor, "batch position"],
) -> Float[Tensor, ""]:
    """Return the mean of -log P(original token), in nats, over the chosen positions of the batch.

    `logits` is what the model returns for the spoiled text, and `tokens` is the original one: a
    position predicts its own token. At least one position is chosen. Logits are float32 and may be
    huge, but finite. No input need be contiguous. The result is a tensor without axes, and
    gradients flow to the logits.

    Source: Devlin et al. 2018, "BERT" (1810.04805), section 3.1, task 1.

    >>> logits = torch.tensor([[[0.0, 0.0], [9.0, -9.0], [1000.0, 0.0]]])
    >>> tokens = torch.tensor([[1, 1, 0]])
    >>> chosen = torch.tensor([[True, False, True]])
    >>> round(mlm_loss(logits, tokens, chosen).item(), 4)  # (log 2 + 0) / 2
    0.3466
    """
    ### BEGIN SOLUTION
    return F.cross_entropy(logits[chosen], tokens[chosen])
    ### END SOLUTION


# %% [markdown]
# ## Three masks, one graph
#
# The same GPT with the same random weights, under the three masks. A cell is dark if changing the token of its column
# changes the logits of its row. Nothing but the mask is different, and everything about the family is in it. (The
# reference's `gpt_forward` takes the way to attend as an argument; two layers, so that what one position learned from
# another could travel on.)

# %% three_masks_one_graph
import matplotlib.pyplot as plt

from reference.config import GPTConfig
from reference.model import GPT

n_position, n_prefix = 7, 3
gpt = GPT(GPTConfig(n_layer=2, n_head=2, d_model=16, n_ctx=n_position, vocab_size=11))
generator = torch.Generator().manual_seed(6)
for parameter in gpt.parameters():
    parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
everything = torch.ones(n_position, n_position, dtype=torch.bool)
families = {
    "decoder": prefix_lm_mask(0, n_position),
    f"prefix LM, {n_prefix} tokens given": prefix_lm_mask(n_prefix, n_position),
    "encoder": everything,
}
text = torch.arange(n_position)[None]
figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
for axis, (family, mask) in zip(axes, families.items(), strict=True):

    def logits_of(tokens, mask=mask):
        def attend(layer, q, k, v):
            return scaled_dot_product_attention(q, k, v, mask)

        with torch.no_grad():
            return gpt(tokens, attend=attend)[0]

    columns = []
    for position in range(n_position):
        changed = text.clone()
        changed[0, position] = 10
        columns.append((logits_of(changed) - logits_of(text)).abs().amax(dim=-1) > 1e-5)
    seen = torch.stack(columns, dim=1)
    assert torch.equal(seen, mask)
    axis.imshow(seen, cmap="Greys", vmin=0, vmax=1.4)
    axis.set(title=family, xlabel="token that is changed", ylabel="logits that change")
plt.show()

# %% [markdown]
# ## Both sides, or one
#
# What is seeing both sides worth? Guess a letter from two others by counting, in the text about Python that comes with
# Python: from the two before it, from its two neighbors, from the two after it. The letter in the middle is a good deal
# easier than the next one. That is the strength of an encoder. It is not that the future says more than the past: from the
# two letters after, the loss is the same as from the two before, because both ways the guesses multiply to the
# probability of the text. The guesses from both sides do not: each of them has already seen the others' answers.

# %% both_sides_or_one
import math
from collections import Counter, defaultdict

from pydoc_data.topics import topics

prose = "\n".join(topics[name] for name in sorted(topics))[:200_000]
cut, alphabet = 150_000, len(set(prose))
sides = {"two before": (-2, -1), "one before, one after": (-1, 1), "two after": (1, 2)}
for name, offsets in sides.items():
    counts = defaultdict(Counter)
    for i in range(2, cut - 2):
        counts[tuple(prose[i + offset] for offset in offsets)][prose[i]] += 1
    loss = 0.0
    for i in range(cut + 2, len(prose) - 2):
        seen_here = counts[tuple(prose[i + offset] for offset in offsets)]
        probability = (seen_here[prose[i]] + 0.1) / (seen_here.total() + 0.1 * alphabet)
        loss -= math.log(probability)
    print(f"{name:22} {loss / (len(prose) - cut - 4):.3f} nats a letter")

# %% [markdown]
# ## A decoder that reads
#
# Cross-attention by hand: the target spells a word backward. Each target position asks for the source position that it
# needs, by unit vectors, and takes the letter that stands there. The encoder is trivial here (memory is position and letter
# side by side), the batch is padded, and your `cross_attention` does the work. The first letter of the result is the last
# of the source: with a causal mask it could not be reached.

# %% translate_by_reading
words = ["stressed", "drawer", "no"]
n_letter, n_longest = 26, max(map(len, words))
d_model = n_longest + n_letter  # one head: the first channels say where, the others what
is_token = torch.tensor([[i < len(word) for i in range(n_longest)] for word in words])
memory = torch.zeros(len(words), n_longest, d_model)
asks = torch.zeros(len(words), n_longest, d_model)
for b, word in enumerate(words):
    for i, letter in enumerate(word):
        memory[b, i, i] = 1
        memory[b, i, n_longest + ord(letter) - ord("a")] = 1
        asks[b, i, len(word) - 1 - i] = 1
where, what = torch.zeros(d_model, d_model), torch.zeros(d_model, d_model)
where[:n_longest, :n_longest] = torch.eye(n_longest)
what[n_longest:, n_longest:] = torch.eye(n_letter)
by_hand = {
    "q_attn.weight": 100.0 * where,
    "q_attn.bias": torch.zeros(d_model),
    "c_attn.weight": torch.cat([where, what]),
    "c_attn.bias": torch.zeros(2 * d_model),
    "c_proj.weight": torch.eye(d_model),
    "c_proj.bias": torch.zeros(d_model),
}
found = cross_attention(asks, memory, by_hand, 1, is_token)[..., n_longest:].argmax(dim=-1)
for b, word in enumerate(words):
    spelled = "".join(chr(ord("a") + letter) for letter in found[b, : len(word)].tolist())
    print(f"{word:10} -> {spelled}")
    assert spelled == word[::-1]
