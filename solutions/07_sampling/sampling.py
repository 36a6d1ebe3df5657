# %% [markdown]
# # 7. Sampling
#
# The chapters so far end where a GPT ends: with a **logit** $z_w$ for each word $w$ of the vocabulary, and the
# probabilities
#
# $$p_w = \frac{e^{z_w}}{\sum_v e^{z_v}}$$
#
# of its being the next token. They left one question open: which token comes next? Taking the likeliest every time is
# **greedy** decoding. It repeats itself and says the expected. Drawing from $p$ is honest, but the tail of a vocabulary
# of 50,000 holds many tokens that are each nearly impossible and together are not: drawn every few words, one of them
# derails the text.
#
# What is used lies in between. A chain of small steps changes the logits, and a draw ends it:
#
#     logits -> penalty -> temperature -> top-k -> top-p -> min-p -> draw -> token
#
# Three rules hold for every step of this chapter:
#
# - **What is ruled out has the logit -inf**, and only that. Its probability is then exactly 0. Kept logits stay as they
#   are; the softmax of the next step scales what is left to sum to 1.
# - **Rows are independent.** Each row of a batch is a distribution of its own.
# - **Ties stay together.** Two tokens with the same logit are either both kept or both ruled out. So nothing depends on
#   the order of the vocabulary, and a filter may keep a few more tokens than its name says.
#
# You write each step, then the chain, then the draw. The exercises do not depend on each other.

# %%
import torch
from jaxtyping import Float, Int
from torch import Tensor

# %% [markdown]
# ## Temperature
#
# Dividing all logits by a temperature $T$ raises the ratio of any two probabilities to the power $1/T$:
#
# $$\frac{p_a}{p_b} = e^{z_a - z_b} \quad\longrightarrow\quad e^{(z_a - z_b)/T} = \left(\frac{p_a}{p_b}\right)^{1/T}.$$
#
# Below 1 the distribution gets sharper, above 1 flatter. With $T \to \infty$ it becomes uniform, and with $T \to 0$ only
# the likeliest token is left: that limit is what a temperature of 0 asks for, and it cannot be had by dividing.


# %% apply_temperature
def apply_temperature(
    logits: Float[Tensor, "batch vocab"],
    temperature: float,
) -> Float[Tensor, "batch vocab"]:
    """Return the logits divided by the temperature, which is at least 0.

    With a temperature of exactly 0, the likeliest token of each row keeps its logit and all others
    become -inf; tokens that tie for the likeliest all stay. Logits of -inf, ruled out before, stay
    -inf; each row has at least one finite logit. The result has the dtype of `logits`.

    Source: Ackley et al. 1985, "A learning algorithm for Boltzmann machines", section 2.

    >>> apply_temperature(torch.tensor([[1.0, 3.0, 2.0]]), 0.5)
    tensor([[2., 6., 4.]])
    >>> apply_temperature(torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0]]), 0)
    tensor([[-inf, 3., -inf],
            [5., 5., -inf]])
    """
    ### BEGIN SOLUTION
    if temperature == 0:
        likeliest = logits.amax(dim=-1, keepdim=True)  # (batch, 1)
        return logits.masked_fill(logits < likeliest, float("-inf"))
    return logits / temperature
    ### END SOLUTION


# %% [markdown]
# ## Top-k
#
# The simplest way to cut off the tail: keep the $k$ likeliest tokens. The border is the $k$-th largest logit of the row,
# and what ties with it is kept too. For $k = 2$:
#
#     logits    1.0   2.0   0.5   3.0   2.0
#     kept       -    2.0    -    3.0   2.0      (a tie at the border: three are left)
#
# The weakness of top-k is that $k$ is the same everywhere. After "the capital of France is" two tokens are plenty; after
# "she was" two hundred are fine.


# %% top_k_filter
def top_k_filter(logits: Float[Tensor, "batch vocab"], k: int) -> Float[Tensor, "batch vocab"]:
    """Keep the k likeliest tokens of each row; rule out the others with -inf.

    k is at least 1 and may be larger than the vocabulary: then all tokens are kept. Tokens that tie
    with the k-th likeliest are kept as well. Kept logits are unchanged. Logits may be -inf, ruled
    out before, and stay so; they come last in each row.

    Source: Fan et al. 2018, "Hierarchical Neural Story Generation" (1805.04833), section 5.4.

    >>> top_k_filter(torch.tensor([[1.0, 4.0, 0.5, 3.0], [2.0, 2.0, 2.0, 5.0]]), 2)
    tensor([[-inf, 4., -inf, 3.],
            [2., 2., 2., 5.]])
    """
    ### BEGIN SOLUTION
    k = min(k, logits.shape[-1])
    least = logits.topk(k).values[:, -1:]  # (batch, 1): the k-th likeliest
    return logits.masked_fill(logits < least, float("-inf"))
    ### END SOLUTION


# %% [markdown]
# ## Top-p, the nucleus
#
# Instead of a number of tokens, fix how much probability they must have together. The **nucleus** is the smallest set of
# likeliest tokens that has at least $p$. Going from the likeliest downward, a token is needed as long as those before
# it have less than $p$. For $p = 0.9$:
#
#     probability       0.5    0.35   0.1    0.05
#     sum before it     0      0.5    0.85   0.95
#     kept              yes    yes    yes    no
#
# The third token **crosses** $p$, and it is kept: without it there would be 0.85, less than $p$. GPT-2's own code got
# this wrong and dropped it.
#
# Put without any sorting: a token is kept if the tokens that are strictly likelier have together less than $p$. This is
# how ties stay together. The ends of the range are special. With $p = 0$ nothing would be needed, but one token has to be
# left, so the likeliest (and its ties) are kept. With $p = 1$ everything is kept, however unlikely; do not leave that to a
# sum of floats, which reaches 1 before the last token does.


# %% top_p_filter
def top_p_filter(logits: Float[Tensor, "batch vocab"], p: float) -> Float[Tensor, "batch vocab"]:
    """Keep the fewest likeliest tokens that have probability p or more together; rule out the rest.

    0 <= p <= 1. The token that crosses p is kept, and so are tokens that tie with it: a token is
    kept if the strictly likelier ones of its row have together less than p. The likeliest is always
    kept, with p = 0 too. With p = 1 every token is kept, however small its probability. Kept logits
    are unchanged, the others become -inf. Logits may be -inf, ruled out before: they have
    probability 0 and stay -inf.

    Source: Holtzman et al. 2019, "The Curious Case of Neural Text Degeneration" (1904.09751),
    section 3.1.

    >>> logits = torch.tensor([[0.5, 0.05, 0.1, 0.35]]).log()
    >>> top_p_filter(logits, 0.9).softmax(dim=-1)
    tensor([[0.5263, 0.0000, 0.1053, 0.3684]])
    """
    ### BEGIN SOLUTION
    if p == 1:
        return logits
    ordered = logits.sort(dim=-1, descending=True).values
    probs = torch.softmax(ordered, dim=-1)
    before = probs.cumsum(dim=-1) - probs  # what the likelier ones have together
    n_kept = (before < p).sum(dim=-1, keepdim=True).clamp(min=1)
    least = ordered.gather(-1, n_kept - 1)  # (batch, 1): the one that crosses p
    return logits.masked_fill(logits < least, float("-inf"))
    ### END SOLUTION


# %% [markdown]
# ## Min-p
#
# A third way to draw the border: a token stays if it has at least the fraction $m$ of the **largest** probability of its
# row,
#
# $$p_w \ge m \cdot \max_v p_v.$$
#
# Where the model is sure, the border is high and little stays; where it is not, the border falls and many stay. No sum
# and no sorting is needed. With $m = 1$ the likeliest is left with its ties, with $m = 0$ everything stays.


# %% min_p_filter
def min_p_filter(
    logits: Float[Tensor, "batch vocab"],
    min_p: float,
) -> Float[Tensor, "batch vocab"]:
    """Keep the tokens with at least min_p times the probability of the likeliest of their row.

    0 <= min_p <= 1. With 1 the likeliest and what ties with it are kept, with 0 every token is.
    Kept logits are unchanged, the others become -inf. Logits may be in the hundreds. They may be
    -inf, ruled out before, and then stay so.

    Source: Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling" (2407.01082), section 3.

    >>> logits = torch.tensor([[0.6, 0.05, 0.15, 0.2], [0.2, 0.2, 0.3, 0.3]]).log()
    >>> (min_p_filter(logits, 0.3) > float("-inf")).int()
    tensor([[1, 0, 0, 1],
            [1, 1, 1, 1]], dtype=torch.int32)
    """
    ### BEGIN SOLUTION
    probs = torch.softmax(logits, dim=-1)
    least = min_p * probs.amax(dim=-1, keepdim=True)  # (batch, 1)
    return logits.masked_fill(probs < least, float("-inf"))
    ### END SOLUTION


# %% [markdown]
# ## A penalty for what was said
#
# Models repeat themselves: each repetition makes the next one likelier. The repetition penalty of CTRL makes every token
# that was already seen less likely, by a factor $\theta > 1$ on its **logit**:
#
# $$z_w \to \begin{cases} z_w / \theta & z_w > 0 \\ z_w \cdot \theta & z_w \le 0 \end{cases} \qquad \text{for each } w \text{ seen.}$$
#
# The two cases are the point. Dividing $-1$ by $1.5$ gives $-0.67$, which is *more*: whoever divides all logits rewards
# the unlikely tokens for having been said. (The rule is not pretty: it depends on where the zero of the logits lies,
# which the softmax does not care about.)


# %% repetition_penalty
def repetition_penalty(
    logits: Float[Tensor, "batch vocab"],
    tokens: Int[Tensor, "batch seen"],
    penalty: float,
) -> Float[Tensor, "batch vocab"]:
    """Make the tokens that a row has seen less likely: divide positive logits, multiply the others.

    `tokens` holds what each row has seen, in any order; `seen` may be 0. A token is penalized once,
    however often it was seen. The penalty is above 0; below 1 it is a reward, and the same rule
    holds. Logits of tokens not seen are unchanged, and -inf stays -inf.

    Source: Keskar et al. 2019, "CTRL" (1909.05858), section 4.1.

    >>> repetition_penalty(torch.tensor([[-1.0, 3.0, 0.5]]), torch.tensor([[1, 0, 1]]), 1.5)
    tensor([[-1.5000, 2.0000, 0.5000]])
    """
    ### BEGIN SOLUTION
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)  # (batch, vocab)
    penalized = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, penalized, logits)
    ### END SOLUTION


# %% [markdown]
# ## The chain
#
# Now all of them, one after the other: penalty, temperature, top-k, top-p, min-p. Each works on what the one before has
# left. The order is a convention, and it matters:
#
# - **temperature before top-p**: a low temperature moves probability to the top, so fewer tokens reach $p$. (Hugging Face
#   and GPT-2's code do it so; llama.cpp has the temperature last by default.)
# - **top-k before top-p**: the sum of top-p runs over what top-k has left, scaled to sum to 1.
# - **penalty before a temperature of 0**: else the choice is made before the penalty is known.
#
# You may call your functions from above. The worked solution writes every step out, since no exercise needs another.


# %% process_logits
def process_logits(
    logits: Float[Tensor, "batch vocab"],
    tokens: Int[Tensor, "batch seen"],
    penalty: float = 1.0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Float[Tensor, "batch vocab"]:
    """Apply, in this order: repetition penalty, temperature, top-k, top-p, min-p.

    Each step is that of the exercise above, with the same domain and the same rules for ties and
    edge values, and works on what the step before has left. `None` leaves a filter out; 0 does not.
    The result are logits, -inf for what is ruled out.

    >>> logits, seen = torch.tensor([[3.0, 2.0, 1.0, 0.0]]), torch.tensor([[3]])
    >>> process_logits(logits, seen, temperature=0.5, top_p=0.8)  # after the temperature one is enough
    tensor([[6., -inf, -inf, -inf]])
    >>> process_logits(logits, seen, top_k=3, min_p=0.2)
    tensor([[3., 2., -inf, -inf]])
    """
    ### BEGIN SOLUTION
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    penalized = torch.where(logits > 0, logits / penalty, logits * penalty)
    logits = torch.where(seen, penalized, logits)

    if temperature == 0:
        least = logits.amax(dim=-1, keepdim=True)
        logits = logits.masked_fill(logits < least, float("-inf"))
    else:
        logits = logits / temperature

    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))

    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = torch.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), float("-inf"))

    if min_p is not None:
        probs = torch.softmax(logits, dim=-1)
        least = min_p * probs.amax(dim=-1, keepdim=True)
        logits = logits.masked_fill(probs < least, float("-inf"))

    return logits
    ### END SOLUTION


# %% [markdown]
# ## The draw
#
# One uniform number $u$ from $[0, 1)$ is enough for a draw: lay the probabilities end to end from 0 to 1, and take the
# token whose piece holds $u$. `torch.multinomial` does that for each row. Another way is the **Gumbel trick**: add
# $-\log(-\log u_w)$, with a number $u_w$ of its own for each token, to each logit, and take the largest; that too draws
# exactly from the softmax.
#
# Randomness belongs to the caller. Whoever passes a `torch.Generator` with a seed gets the same tokens again; whoever
# passes none gets torch's own, and other tokens in every call. Never set a seed inside.


# %% sample
def sample(
    logits: Float[Tensor, "batch vocab"],
    generator: torch.Generator | None = None,
) -> Int[Tensor, " batch"]:
    """Draw a token for each row: token w with probability softmax(logits)[w].

    Rows are drawn independently. Only differences between logits count, and they may be in the
    hundreds. A token with the logit -inf is never drawn; each row has at least one finite logit. All
    randomness comes from `generator`, and from torch's default one if it is None: equal generators
    give equal tokens, and without one, calls go on drawing.

    >>> sample(torch.tensor([[0.0, float("-inf"), float("-inf")], [5.0, 900.0, 5.0]]))
    tensor([0, 1])
    >>> fair = torch.zeros(10_000, 2)
    >>> heads = sample(fair, torch.Generator().manual_seed(0)).sum()
    >>> 4_500 < heads < 5_500
    tensor(True)
    """
    ### BEGIN SOLUTION
    probs = torch.softmax(logits, dim=-1)
    return torch.multinomial(probs, 1, generator=generator).squeeze(-1)
    ### END SOLUTION


# %% [markdown]
# ## Before and after each filter
#
# One distribution, and what each step makes of it. Look at how the same settings act where the model is sure and where
# it is not.

# %% before_and_after
from IPython.display import display

from gptdojo.pictures import distributions

words = ["Paris", "Lyon", "a", "the", "located", "in", "not", "banana"]
sure = torch.tensor([[6.0, 2.0, 1.5, 1.0, 1.0, 0.5, 0.0, -3.0]])
unsure = torch.tensor([[1.2, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, -3.0]])
steps = {
    "softmax": lambda logits: logits,
    "T = 2": lambda logits: apply_temperature(logits, 2.0),
    "top-k 3": lambda logits: top_k_filter(logits, 3),
    "top-p 0.9": lambda logits: top_p_filter(logits, 0.9),
    "min-p 0.1": lambda logits: min_p_filter(logits, 0.1),
}
for title, row in {"where the model is sure": sure, "where it is not": unsure}.items():
    panels = {name: step(row).softmax(dim=-1)[0].tolist() for name, step in steps.items()}
    print(title)
    display(distributions(words, panels))

# %% [markdown]
# ## Why not simply the likeliest?
#
# A model of letters, counted from Python's own documentation: the next letter after the last four. Greedy decoding runs
# into a loop and never comes out of it, since the same four letters always have the same likeliest successor. A plain
# draw now and then takes a letter that was seen once, and from there on writes nonsense. The nucleus, or a lower
# temperature, lies between.

# %% why_not_the_likeliest
from collections import Counter, defaultdict

from pydoc_data.topics import topics

prose = " ".join(" ".join(topics[name] for name in sorted(topics)).split())[:300_000]
alphabet = sorted(set(prose))
after = defaultdict(Counter)
for i in range(len(prose) - 4):
    after[prose[i : i + 4]][prose[i + 4]] += 1


def next_letter_logits(text: str) -> Float[Tensor, "batch=1 vocab"]:
    """The logarithms of smoothed counts."""
    counts = after[text[-4:]]
    return torch.tensor([[counts[letter] + 0.003 for letter in alphabet]]).log()


def write(text: str, n_new: int, **settings: float) -> str:
    """Continue a text letter by letter."""
    generator = torch.Generator().manual_seed(7)
    nothing_seen = torch.zeros(1, 0, dtype=torch.long)
    for _ in range(n_new):
        logits = process_logits(next_letter_logits(text), nothing_seen, **settings)
        text += alphabet[sample(logits, generator).item()]
    return text


for name, settings in {
    "greedy": {"temperature": 0.0},
    "plain": {},
    "T = 0.6": {"temperature": 0.6},
    "top-p 0.8": {"top_p": 0.8},
}.items():
    print(f"{name:10}", write("The function ", 90, **settings))

# %% [markdown]
# ## The order of the steps
#
# Logits 3, 2, 1, temperature 0.5, top-p 0.8. With the temperature first, one token is left; with the temperature last, two.
# Both conventions are in use, so the same settings give different texts in different libraries.

# %% order_matters
three = torch.tensor([[3.0, 2.0, 1.0]])
temperature_first = top_p_filter(apply_temperature(three, 0.5), 0.8)
temperature_last = apply_temperature(top_p_filter(three, 0.8), 0.5)
for name, row in {"first": temperature_first, "last": temperature_last}.items():
    print(f"temperature {name:6} {[round(p, 3) for p in row.softmax(dim=-1)[0].tolist()]}")
assert [int(row.isfinite().sum()) for row in (temperature_first, temperature_last)] == [1, 2]

# %% [markdown]
# ## Does it draw what it should?
#
# A sampler is tested in two steps. What it draws *from* is compared exactly: the filtered logits. That it *draws* from it
# can only be judged by counting, and counts scatter. A measure of the surprise is the number of draws times the relative
# entropy between the shares and the probabilities,
#
# $$S = \sum_w n_w \log \frac{n_w}{N p_w},$$
#
# half of the likelihood-ratio chi-square. For right draws it exceeds $x$ with a probability of at most
# $e^{-x} (e x / (k-1))^{k-1}$ with $k$ tokens, however many draws there are (Agrawal 2020, 1904.02291). With $k = 4$ and
# $x = 38.4$ that is $10^{-12}$. A test must also be able to say no: a sampler at temperature 0.9 is turned down by the
# same limit.

# %% draws_counted
probabilities = torch.tensor([0.5, 0.25, 0.15, 0.1], dtype=torch.float64)
many = probabilities.log().float().expand(50_000, 4)
for name, rows in {"as it should be": many, "temperature 0.9": many / 0.9}.items():
    counts = torch.bincount(sample(rows, torch.Generator().manual_seed(0)), minlength=4).double()
    surprise = (counts * (counts / (counts.sum() * probabilities)).log()).sum().item()
    print(f"{name:16} {counts.int().tolist()}  surprise {surprise:6.1f}, the limit is 38.4")
    assert (surprise < 38.4) == (name == "as it should be")
