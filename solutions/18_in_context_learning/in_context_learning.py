# %% [markdown]
# # 18. In-context learning
#
# Chapter 17 ended with what changes when a model grows. One change surprised people more than the falling loss:
# GPT-3 can be given a task **in its prompt**. Show it three words with their plurals and then a fourth word, and
# it writes the plural. Nothing was trained for that. No gradient was computed and no weight has changed; the
# three examples are tokens like all others, and they are forgotten with the prompt.
#
# This is called **in-context learning**, and the number of examples gives it its names: **zero-shot**,
# **one-shot**, **few-shot**. These are ways to ask a model, not kinds of models.
#
# In this chapter you write the prompt, then two measurements: how much the loss falls along a text, which is
# in-context learning in the widest sense, and how much a head does what is thought to be a part of it. At the end
# you train two small models and find out which of them can.

# %%
import torch
from jaxtyping import Float, Int
from torch import Tensor

# %% [markdown]
# ## A task as a prompt
#
# The model continues text. So the text has to make the answer the likely continuation: the pattern must be plain,
# it must be kept from block to block, and it must **end exactly where the answer begins**. A space after the last
# colon looks harmless, but in GPT-2's tokens a space belongs to the word that follows it (chapter 15): after a
# lone space no ordinary word can come.


# %% few_shot_prompt
def few_shot_prompt(instruction: str, examples: list[tuple[str, str]], query: str) -> str:
    """Ask for the answer to `query` after `examples` of questions and answers.

    Blocks are parted by one empty line: the instruction, unless it is empty; for each example, in their
    order, the lines "Input: ..." and "Output: ..."; and for the query the line "Input: ..." and the line
    "Output:", with which the prompt ends. Texts stand as they are. No example is zero-shot, one is
    one-shot, several are few-shot.

    Source: Brown et al. 2020 (2005.14165), section 2.1 and figure 2.1.

    >>> print(few_shot_prompt("Give the plural.", [("mouse", "mice")], "goose"))
    Give the plural.
    <BLANKLINE>
    Input: mouse
    Output: mice
    <BLANKLINE>
    Input: goose
    Output:
    """
    ### BEGIN SOLUTION
    blocks = [instruction] if instruction else []
    for source, target in examples:
        blocks.append(f"Input: {source}\nOutput: {target}")
    blocks.append(f"Input: {query}\nOutput:")
    return "\n\n".join(blocks)
    ### END SOLUTION


# %% [markdown]
# ## A head that continues patterns
#
# Suppose a text has had `[A][B]` somewhere, and now `[A]` comes again. A good guess for the next token is `[B]`.
# A head that makes this guess has to look at the position **after** the earlier `[A]`, and copy what it finds
# there. Such a head is called an **induction head**, and it can be found by looking at its attention alone.
#
# For query $q$, the keys that an induction head should look at are
#
# $$K_q = \{\, k : 1 \le k \le q,\; w_{k-1} = w_q \,\},$$
#
# the positions that follow an earlier occurrence of the present token. (For `[A][A]`, what followed the first
# `[A]` is the second one itself.) The score of a head is the attention that it spends on $K_q$, averaged over the
# queries for which $K_q$ is not empty.


# %% induction_score
def induction_score(
    weights: Float[Tensor, "head position position"], tokens: Int[Tensor, " position"]
) -> Float[Tensor, " head"]:
    """Measure how much each head looks at what followed earlier occurrences of the present token.

    `weights` are the attention weights of one text, (head, query, key). For each query whose token has
    occurred before, add up the weights on the positions right after **all** its earlier occurrences; the
    score is the mean over these queries, 0 to 1. At least one token occurs twice.

    Source: Olsson et al. 2022 (2209.11895), prefix matching score.

    >>> looks_back_two = torch.tensor([[[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0.0]]])
    >>> induction_score(looks_back_two, torch.tensor([7, 8, 9, 7]))  # the 7 comes again and looks at 8
    tensor([1.])
    """
    ### BEGIN SOLUTION
    same = (tokens[:, None] == tokens).tril(diagonal=-1)  # (query, key): the same token, and earlier
    wanted = torch.zeros_like(same)
    wanted[:, 1:] = same[:, :-1]  # one position after it
    repeated = wanted.any(dim=-1)
    return (weights * wanted).sum(dim=-1)[:, repeated].mean(dim=-1)
    ### END SOLUTION


# %% [markdown]
# ## What the context is worth
#
# In the widest sense a model learns from its context if it predicts late tokens of a text better than early ones.
# That can be measured on any text, without any task: compare the loss at an early position with that at a late
# one. Olsson et al. take tokens 50 and 500 of many texts. Here the difference is positive when the context helps
# (they report its negative).


# %% in_context_gain
def in_context_gain(losses: Float[Tensor, "text position"], early: int = 50, late: int = 500) -> Float[Tensor, ""]:
    """Tell how many nats lower the loss at token `late` is than at token `early`, on average over the texts.

    Tokens are counted from 1, so token 1 is the first column. 1 <= early < late <= number of positions.
    Positive: later tokens are predicted better.

    Source: Olsson et al. 2022 (2209.11895), in-context learning score, with the sign reversed.

    >>> in_context_gain(torch.tensor([[5.0, 4.0, 2.0], [7.0, 4.0, 3.0]]), early=1, late=3).item()
    3.5
    """
    ### BEGIN SOLUTION
    return (losses[:, early - 1] - losses[:, late - 1]).mean()
    ### END SOLUTION


# %% [markdown]
# ## The prompt is data
#
# A small GPT of random weights reads prompts with no, one and three examples. Whatever it answers, its weights
# are the same numbers afterwards, bit for bit. What differs are the activations, and the keys and values in a
# cache, if there is one.

# %% prompts_are_data
from reference.config import GPTConfig
from reference.model import GPT

torch.manual_seed(0)
untrained = GPT(GPTConfig(n_layer=2, n_head=2, d_model=32, n_ctx=256, vocab_size=256))
before = {name: parameter.clone() for name, parameter in untrained.named_parameters()}
plurals = [("mouse", "mice"), ("foot", "feet"), ("ox", "oxen")]
for name, shots in (("zero-shot", []), ("one-shot", plurals[:1]), ("few-shot", plurals)):
    prompt = few_shot_prompt("Give the plural.", shots, "goose")
    with torch.no_grad():
        logits = untrained(torch.tensor([list(prompt.encode())]))
    print(f"{name:10} {len(prompt):3} tokens (bytes), the answer begins after {prompt[-14:]!r}")
same = all(torch.equal(parameter, before[name]) for name, parameter in untrained.named_parameters())
print("weights unchanged:", same)
assert same
print("\n" + prompt)

# %% [markdown]
# ## Two layers, and one
#
# Two models of attention only, without any MLP, learn texts in which a random block of random length is repeated.
# Random tokens cannot be predicted; their repetition can. To do so, a model must find where the present token
# stood before, and copy what came next. One layer sees tokens and positions, but no key knows which token stands
# **before** it. With two layers, the first can write that into each position, and the second can look for it.
#
# This takes about a minute. The result is kept in `results/`, and read from there the next time; delete the file
# to train again. (`GPTDOJO_QUICK=1` in the environment makes it a matter of seconds, with models that have not
# learned yet, and keeps nothing.)

# %% two_layers_and_one
import math
import os
from pathlib import Path

from IPython.display import clear_output
from torch.nn import functional as F

torch.set_num_threads(1)  # the tensors are small: a second thread would mostly wait for the first
N_TOKEN, N_POSITION, N_HEAD, D_MODEL = 32, 48, 4, 64
quick = os.environ.get("GPTDOJO_QUICK") == "1"
n_step = 40 if quick else 1200
saved = Path("results", "induction.pt")


def repeated_blocks(n_text: int, generator: torch.Generator) -> Tensor:
    """Texts (text, position), each a random block of 8 to 24 tokens, repeated until the text is full."""
    texts = torch.empty(n_text, N_POSITION, dtype=torch.long)
    for text in texts:
        size = int(torch.randint(8, N_POSITION // 2 + 1, (1,), generator=generator))
        block = torch.randint(N_TOKEN, (size,), generator=generator)
        text.copy_(block.repeat(N_POSITION // size + 1)[:N_POSITION])
    return texts


def new_weights(n_layer: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Small random weights; the projections of all heads stand in one matrix."""
    sizes = {
        "tokens": (N_TOKEN, D_MODEL, 0.1),
        "positions": (N_POSITION, D_MODEL, 0.1),
        "head": (N_TOKEN, D_MODEL, 0.02),
    }
    for layer in range(n_layer):
        sizes[f"{layer}.qkv"] = (3 * D_MODEL, D_MODEL, D_MODEL**-0.5)
        sizes[f"{layer}.out"] = (D_MODEL, D_MODEL, D_MODEL**-0.5 / (2 * n_layer) ** 0.5)
    made = {name: torch.randn(n, m, generator=generator) * std for name, (n, m, std) in sizes.items()}
    return {name: weight.requires_grad_() for name, weight in made.items()}


def attention_only(texts: Tensor, w: dict[str, Tensor], n_layer: int) -> tuple[Tensor, list[Tensor]]:
    """The logits, and the attention weights of each layer, (batch, head, query, key)."""
    n_text, n = texts.shape
    x, maps = w["tokens"][texts], []
    future = torch.ones(n, n, dtype=torch.bool).triu(1)
    for layer in range(n_layer):
        normed = F.rms_norm(x, (D_MODEL,))
        # queries and keys know where they are; what is copied, the value, does not
        located = normed + w["positions"][:n]
        wq, wk, wv = w[f"{layer}.qkv"].chunk(3)
        parts = F.linear(located, wq), F.linear(located, wk), F.linear(normed, wv)
        q, k, v = (part.view(n_text, n, N_HEAD, -1).transpose(1, 2) for part in parts)
        scores = (q @ k.mT / math.sqrt(D_MODEL // N_HEAD)).masked_fill(future, -math.inf)
        maps.append(scores.softmax(dim=-1))
        x = x + F.linear((maps[-1] @ v).transpose(1, 2).flatten(2), w[f"{layer}.out"])
    return F.linear(F.rms_norm(x, (D_MODEL,)), w["head"]), maps


def token_losses(texts: Tensor, w: dict[str, Tensor], n_layer: int) -> Tensor:
    logits, _ = attention_only(texts[:, :-1], w, n_layer)
    return F.cross_entropy(logits.mT, texts[:, 1:], reduction="none")  # (text, position)


def trained(n_layer: int) -> dict:
    """Train a model; return its weights and the loss along the way."""
    generator = torch.Generator().manual_seed(0)
    w, curve = new_weights(n_layer, generator), []
    optimizer = torch.optim.AdamW(w.values(), lr=3e-3, betas=(0.9, 0.98))
    for step in range(n_step):
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 50)
        loss = token_losses(repeated_blocks(32, generator), w, n_layer).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
        if step % 100 == 99:
            clear_output(wait=True)
            print(
                f"{n_layer} layer{'s' * (n_layer > 1)}: step {step + 1} of {n_step}, loss {sum(curve[-100:]) / 100:.2f} nats"
            )
    return {"weights": {name: weight.detach() for name, weight in w.items()}, "curve": curve}


if saved.exists() and not quick:
    models = torch.load(saved, weights_only=True)
    print("read from", saved)
else:
    models = {n_layer: trained(n_layer) for n_layer in (1, 2)}
    if not quick:
        saved.parent.mkdir(exist_ok=True)
        torch.save(models, saved)

probe = torch.randint(N_TOKEN, (16,), generator=torch.Generator().manual_seed(4)).repeat(2)
scores = {}
for n_layer, model in models.items():
    _, maps = attention_only(probe[None], model["weights"], n_layer)
    scores[n_layer] = [induction_score(weights[0], probe) for weights in maps]
    for layer, found in enumerate(scores[n_layer]):
        print(
            f"{n_layer} layer{'s' * (n_layer > 1)}, layer {layer}: induction scores of the heads {[round(s, 2) for s in found.tolist()]}"
        )
if not quick:
    assert scores[2][1].max() > 0.5 > 0.25 > scores[1][0].max()

# %% [markdown]
# The best head of each model, on a block of 16 tokens that comes twice. An induction head shows a line that lies
# 15 positions below the diagonal: in the second half, each token looks at the token after its first occurrence.

# %% what_they_look_at
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for axis, (n_layer, layer, title) in zip(
    axes,
    ((1, 0, "one layer, best head"), (2, 0, "two layers, first layer"), (2, 1, "two layers, second layer")),
    strict=True,
):
    _, maps = attention_only(probe[None], models[n_layer]["weights"], n_layer)
    head = scores[n_layer][layer].argmax()
    axis.imshow(maps[layer][0, head].detach(), cmap="Blues", vmin=0, vmax=1)
    axis.set(title=f"{title}: {scores[n_layer][layer][head]:.2f}", xlabel="key", ylabel="query")
plt.show()

# %% [markdown]
# And what it is worth: the loss at each position, on texts that neither model has seen. Early tokens are random,
# and nobody can do better than $\ln 32 = 3.47$ nats. Later, the two-layer model knows what comes.

# %% early_and_late
fresh = repeated_blocks(400, torch.Generator().manual_seed(99))
with torch.no_grad():
    along = {n_layer: token_losses(fresh, model["weights"], n_layer) for n_layer, model in models.items()}
gains = {n_layer: float(in_context_gain(losses, early=5, late=45)) for n_layer, losses in along.items()}
figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
for n_layer, losses in along.items():
    label = f"{n_layer} layer{'s' * (n_layer > 1)}: gain {gains[n_layer]:.2f} nats from token 5 to 45"
    axis.plot(range(1, N_POSITION), losses.mean(0), label=label)
axis.axhline(math.log(N_TOKEN), color="gray", linestyle=":", label="a uniform guess")
axis.set(xlabel="token", ylabel="loss (nats)", ylim=(0, None))
axis.legend()
plt.show()
print("gain:", {n_layer: round(gain, 2) for n_layer, gain in gains.items()})
if not quick:
    assert gains[2] > gains[1] + 1
