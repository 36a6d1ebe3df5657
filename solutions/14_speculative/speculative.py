# %% [markdown]
# # 14. Speculative decoding
#
# Decoding one token reads every weight of the model and the whole cache, for one row of arithmetic: the machine waits for
# its memory. Reading the same weights for five tokens takes hardly longer than for one. A prompt profits from that, since
# all its tokens are known. The tokens that are still to be written are not known, but they can be **guessed**.
#
# A small model, the **draft**, writes $\gamma$ tokens ahead, one after the other, cheaply. The large one, the **target**,
# looks at all of them in a single pass, and keeps the beginning that it would have said itself. What makes this more than
# a heuristic is the rule by which it keeps them: with it, the text is distributed **exactly** as if the target had written
# every token alone. Not approximately, and whatever the draft is: a bad draft costs time and never quality.
#
# The words of this chapter: $q$ is the draft's distribution of the next token, $p$ the target's, both after temperature
# and filters. All randomness comes in through two functions, so that a test can play every case:
#
# - `uniform()` gives a number from $[0, 1)$;
# - `draw(probs)` gives a token drawn from probabilities of shape (vocab,), which must sum to 1.

# %%
from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reference.next_token import softmax

# %% [markdown]
# ## Keep it, or say another
#
# A token $x$ was drawn from $q$. Keep it with probability $\min(1, p_x / q_x)$. It is then said with probability
# $q_x \min(1, p_x/q_x) = \min(p_x, q_x)$, which is never too often, but may be too rarely: $p_x - \min(p_x, q_x) =
# \max(p_x - q_x, 0)$ is missing. That is what a refusal has to make up for, so the replacement is drawn from
#
# $$r_x = \frac{\max(p_x - q_x, 0)}{\sum_v \max(p_v - q_v, 0)}.$$
#
# A refusal happens with probability $1 - \sum_v \min(p_v, q_v) = \sum_v \max(p_v - q_v, 0)$, exactly the denominator, so
# both parts add up to
#
# $$\min(p_x, q_x) + \max(p_x - q_x, 0) = p_x .$$
#
# In numbers, for $p = (0.5, 0.3, 0.2)$ and $q = (0.2, 0.6, 0.2)$:
#
#     token             0      1      2
#     kept, min(p, q)   0.2    0.3    0.2      together 0.7
#     missing, p - q    0.3    -      -        together 0.3, all of it token 0
#
# Drawing the replacement from $p$ itself would say token 0 too rarely, and token 1, the refused one, too often.


# %% accept_or_resample
def accept_or_resample(
    p: Float[Tensor, " vocab"],
    q: Float[Tensor, " vocab"],
    token: int,
    uniform: float,
    draw: Callable[[Float[Tensor, " vocab"]], int],
) -> tuple[bool, int]:
    """Keep a `token` that was drawn from q, or replace it, so that it is distributed as p.

    p and q are probabilities that sum to 1; q[token] is above 0. The token is kept if `uniform`, a
    number from [0, 1), is below p[token] / q[token]; so if the target never says it (p[token] is
    0), it is never kept, even if `uniform` is 0. What is refused is replaced by
    draw(max(p - q, 0) / its sum); `draw` needs probabilities that sum to 1, and is called on a
    refusal only.

    Returns whether the token was kept, and the token to say.

    Source: Leviathan et al. 2022 (2211.17192), section 2.3; Chen et al. 2023 (2302.01318).

    >>> p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.6, 0.2])
    >>> likeliest = lambda probs: int(probs.argmax())
    >>> accept_or_resample(p, q, 1, 0.49, likeliest)  # kept with probability 0.3 / 0.6
    (True, 1)
    >>> accept_or_resample(p, q, 1, 0.51, likeliest)
    (False, 0)
    """
    ### BEGIN SOLUTION
    if uniform * q[token] < p[token]:
        return True, token
    excess = (p - q).clamp(min=0)
    return False, draw(excess / excess.sum())
    ### END SOLUTION


# %% [markdown]
# ## One pass of the target
#
# Both models remember what they were fed, as a model with a cache does. `model.forward(new)` takes the tokens that come
# next, of shape (1, new), and returns the logits after each of them, (1, new, vocab); `len(model)` is how many tokens it
# remembers, and `model.crop(length)` makes it forget all but the first `length`.
#
# A step after the tokens $w_1, \dots, w_n$:
#
# 1. The draft writes $x_1, \dots, x_\gamma$, each drawn from its distribution $q_i$ after $w_1 \dots w_n x_1 \dots x_{i-1}$.
# 2. The target is fed what it does not know of $w_1 \dots w_n x_1 \dots x_\gamma$, **in one call**. It usually does not know
#    $w_n$, the token that the last step ended with. The last $\gamma + 1$ rows of its logits are its distributions
#    $p_1, \dots, p_{\gamma+1}$: $p_i$ judges $x_i$, and $p_{\gamma+1}$ comes after all of them.
# 3. The tokens are judged from left to right. At the first refusal the token is replaced and the step ends: what the
#    draft wrote behind it continues a text that does not exist. If none is refused, one more token is drawn from
#    $p_{\gamma+1}$, for free. So a pass gives 1 to $\gamma + 1$ tokens.
# 4. Refused tokens must leave the memories of both models. What stays valid is all that is said but the last token, which
#    nobody was fed.
#
#         tokens   w w w | x1 x2 x3 x4       gamma = 4
#         judged         | ok ok no          x3 is replaced by y
#         said           | x1 x2 y
#         remembered w w w x1 x2             x3 and x4 are forgotten, y was never fed
#
# The probabilities are those that the tokens are really drawn from: `to_probs` makes them of logits, with temperature and
# filters if there are any, for the draft **and** the target.


# %%
class Model(Protocol):
    """A model that remembers what it was fed."""

    def forward(self, new: Int[Tensor, "1 new"]) -> Float[Tensor, "1 new vocab"]:
        """Remember the tokens and return the logits after each of them."""

    def crop(self, length: int) -> None:
        """Forget all but the first `length` tokens."""

    def __len__(self) -> int:
        """How many tokens it remembers."""


# %% speculative_step
def speculative_step(
    target: Model,
    draft: Model,
    tokens: list[int],
    gamma: int,
    uniform: Callable[[], float],
    draw: Callable[[Float[Tensor, " vocab"]], int],
    to_probs: Callable[[Tensor], Tensor] = softmax,
) -> list[int]:
    """Return the next 1 to gamma + 1 tokens after `tokens`, at the cost of one pass of the target.

    Each model remembers a beginning of `tokens`, possibly nothing and never all of it; each token
    is to be fed to it once. The draft proposes `gamma` tokens (0 or more), each drawn with `draw`.
    The target judges all of them with a single call of `forward`; each is kept or replaced by the
    rule of `accept_or_resample` with a new number `uniform()`. The first replaced token ends the
    step; if none is, one more is drawn from the target.

    Afterwards the target remembers `tokens` and the returned tokens except the last. The draft
    remembers a beginning of that, shorter by one token at most. `to_probs` makes probabilities
    (..., vocab) of logits (..., vocab), for both models. With one-hot probabilities this is greedy
    decoding.

    Source: Leviathan et al. 2022 (2211.17192), algorithm 1.

    >>> class Counting:  # says that each token is followed by the next larger one, up to `last`
    ...     def __init__(self, last):
    ...         self.last, self.memory = last, []
    ...     def forward(self, new):
    ...         self.memory += new[0].tolist()
    ...         return torch.nn.functional.one_hot((new + 1).clamp(max=self.last), 10).float().log()
    ...     def crop(self, length):
    ...         self.memory = self.memory[:length]
    ...     def __len__(self):
    ...         return len(self.memory)
    >>> likeliest = lambda probs: int(probs.argmax())
    >>> target, draft = Counting(9), Counting(4)
    >>> speculative_step(target, draft, [1, 2], 4, lambda: 0.5, likeliest)  # drafted: 3, 4, 4, 4
    [3, 4, 5]
    >>> target.memory, draft.memory
    ([1, 2, 3, 4], [1, 2, 3, 4])
    """
    ### BEGIN SOLUTION
    drafted: list[int] = []
    proposed: list[Tensor] = []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))

    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])  # (gamma + 1, vocab)

    said: list[int] = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))

    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said
    ### END SOLUTION


# %% [markdown]
# ## The loop
#
# Steps follow each other until enough tokens are there. A step may give more than are missing, and its drafted tokens
# may go past the context; both are avoided by drafting fewer near the end: with $m$ tokens missing, at most $m - 1$, since
# a step gives one more than it drafts.
#
# You may call your `speculative_step`. The worked solution writes it out, since no exercise needs another.


# %% speculative_generate
def speculative_generate(
    target: Model,
    draft: Model,
    prompt: list[int],
    n_new: int,
    gamma: int,
    uniform: Callable[[], float],
    draw: Callable[[Float[Tensor, " vocab"]], int],
    to_probs: Callable[[Tensor], Tensor] = softmax,
) -> list[int]:
    """Return the prompt and exactly `n_new` tokens, distributed as if the target had drawn each.

    It goes by speculative steps: see `speculative_step` for what the models, `uniform`, `draw` and
    `to_probs` are. Both models are fresh and remember nothing; the prompt has at least one token,
    and gamma is 0 or more. A step drafts gamma tokens, or as many as are missing minus 1 if that is
    fewer: so no model ever remembers more than len(prompt) + n_new - 1 tokens, and n_new tokens
    take ceil(n_new / (gamma + 1)) calls of target.forward if nothing is refused. With n_new = 0
    nothing is fed.

    Source: Leviathan et al. 2022 (2211.17192), section 2.

    >>> class Counting:  # says that each token is followed by the next larger one, up to `last`
    ...     def __init__(self, last):
    ...         self.last, self.memory, self.calls = last, [], 0
    ...     def forward(self, new):
    ...         self.memory, self.calls = self.memory + new[0].tolist(), self.calls + 1
    ...         return torch.nn.functional.one_hot((new + 1).clamp(max=self.last), 10).float().log()
    ...     def crop(self, length):
    ...         self.memory = self.memory[:length]
    ...     def __len__(self):
    ...         return len(self.memory)
    >>> target, likeliest = Counting(9), lambda probs: int(probs.argmax())
    >>> speculative_generate(target, Counting(9), [1, 2], 6, 2, lambda: 0.5, likeliest)
    [1, 2, 3, 4, 5, 6, 7, 8]
    >>> target.calls
    2
    """
    ### BEGIN SOLUTION
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted: list[int] = []
        proposed: list[Tensor] = []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))

        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])

        for i, token in enumerate(drafted):
            p, q = wanted[i], proposed[i]
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))

        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens
    ### END SOLUTION


# %% [markdown]
# ## Accepted and rejected
#
# Two models of letters, counted from Python's own documentation: the target looks at the last five letters, the draft at
# the last three. Each row is one pass of the target. Where the draft is sure and right (the end of a word that has begun),
# a pass gives many letters; where the words themselves are chosen, few.

# %% accepted_and_rejected
from collections import Counter, defaultdict

from IPython.display import display
from pydoc_data.topics import topics

from gptdojo.pictures import sequence

prose = " ".join(" ".join(topics[name] for name in sorted(topics)).split())[:300_000]
alphabet = sorted(set(prose))
place = {letter: i for i, letter in enumerate(alphabet)}


counts: dict[int, dict[str, Counter]] = {}


class LetterModel:
    """Counts which letter follows the last `order` ones; backs off to shorter contexts."""

    def __init__(self, order: int) -> None:
        self.order, self.memory, self.calls = order, [], 0
        for n in range(order + 1):
            if n not in counts:
                counts[n] = defaultdict(Counter)
                for i in range(n, len(prose)):
                    counts[n][prose[i - n : i]][prose[i]] += 1

    def forward(self, new: Tensor) -> Tensor:
        self.calls += 1
        rows = []
        for token in new[0].tolist():
            self.memory.append(token)
            rows.append(self.probabilities().log())
        return torch.stack(rows)[None]

    def probabilities(self) -> Tensor:
        text = "".join(alphabet[token] for token in self.memory[-self.order :])
        probs = torch.full((len(alphabet),), 1 / len(alphabet))
        for n in range(min(self.order, len(text)) + 1):
            seen = counts[n].get(text[len(text) - n :], Counter())
            counted = torch.zeros(len(alphabet))
            for letter, count in seen.items():
                counted[place[letter]] = count
            probs = (counted + 2 * probs) / (seen.total() + 2)  # refines the shorter context
        return probs

    def crop(self, length: int) -> None:
        self.memory = self.memory[:length]

    def __len__(self) -> int:
        return len(self.memory)


generator = torch.Generator().manual_seed(14)


def uniform() -> float:
    return torch.rand(1, generator=generator).item()


def draw(probs: Tensor) -> int:
    return int(torch.multinomial(probs, 1, generator=generator))


def likely(logits: Tensor) -> Tensor:
    """Probabilities at temperature 0.7."""
    return softmax(logits / 0.7)


letters_target, letters_draft = LetterModel(5), LetterModel(3)
text = [place[letter] for letter in "The function "]
rows = []
for _ in range(8):
    drawn: list[int] = []

    def draw_and_note(probs: Tensor, drawn=drawn) -> int:
        drawn.append(draw(probs))
        return drawn[-1]

    said = speculative_step(letters_target, letters_draft, text, 5, uniform, draw_and_note, likely)
    row = [(alphabet[token], "accepted") for token in said[:-1]]
    if len(said) <= 5:
        row.append((alphabet[drawn[len(said) - 1]], "rejected"))
        row += [(alphabet[token], "dropped") for token in drawn[len(said) : 5]]
        row.append((alphabet[said[-1]], "resampled"))
    else:
        row.append((alphabet[said[-1]], "free"))
    rows.append((f"pass {len(rows) + 1}", row))
    text += said
states = {
    "accepted": ("drafted and accepted", "green"),
    "rejected": ("drafted and rejected", "red"),
    "dropped": ("drafted behind a rejected one", "dim"),
    "resampled": ("said by the target in its place", "yellow"),
    "free": ("one more from the target", "blue"),
}
display(sequence(rows, states))
print("".join(alphabet[token] for token in text))

# %% [markdown]
# ## The distribution is the target's
#
# For one token it can be computed: the probability of each token being said is that of being drafted and kept, plus that
# of a refusal times the replacement. With your function, 1,000 evenly spaced numbers in the place of `uniform`, and each
# token weighed by the draft's probability. The two wrong replacements are what people write: the target's own distribution,
# and $|p - q|$.

# %% the_distribution_is_the_targets
from gptdojo.pictures import distributions

p = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
q = torch.tensor([0.2, 0.6, 0.1, 0.1], dtype=torch.float64)


def said_by(rule: Callable) -> list[float]:
    """The probability of each token after the rule."""
    said = torch.zeros(4, dtype=torch.float64)
    for token in range(4):
        for i in range(1000):
            replacement = torch.zeros(4, dtype=torch.float64)

            def note(probs: Tensor, replacement=replacement) -> int:
                replacement += probs
                return 0

            kept, _ = rule(p, q, token, (i + 0.5) / 1000, note)
            said += q[token] / 1000 * (torch.eye(4)[token] if kept else replacement)
    return said.tolist()


def with_replacement(wrong: Tensor) -> Callable:
    """The rule with another distribution in the place of the excess."""

    def rule(p, q, token, uniform, draw):
        kept, said = accept_or_resample(p, q, token, uniform, lambda probs: 0)
        return (kept, said) if kept else (False, draw(wrong / wrong.sum()))

    return rule


panels = {
    "target": p.tolist(),
    "accept_or_resample": said_by(accept_or_resample),
    "replaced from p": said_by(with_replacement(p)),
    "replaced from |p - q|": said_by(with_replacement((p - q).abs())),
}
display(distributions(["token 0", "token 1", "token 2", "token 3"], panels))
assert torch.allclose(torch.tensor(panels["accept_or_resample"], dtype=torch.float64), p, atol=1e-9)

# %% [markdown]
# ## Tokens per pass
#
# If each drafted token is kept with probability $\alpha$, independently, a pass gives on average
# $1 + \alpha + \dots + \alpha^\gamma = (1 - \alpha^{\gamma+1}) / (1 - \alpha)$ tokens. The letters keep roughly to that,
# though their acceptances are not independent. A longer draft gives more tokens a pass, with falling returns, and costs more
# passes of the draft; past some length it no longer pays.

# %% tokens_per_pass
n_letters = 300
print("gamma   tokens a pass   accepted   formula")
for gamma in (1, 2, 4, 8):
    target_model, draft_model, judged, kept_count, passes = LetterModel(5), LetterModel(3), 0, 0, 0
    text = [place[letter] for letter in "The function "]
    start = len(text)
    while len(text) < start + n_letters:
        said = speculative_step(target_model, draft_model, text, gamma, uniform, draw)
        passes, kept_count = passes + 1, kept_count + len(said) - 1
        judged += min(len(said), gamma)
        text += said
    alpha = kept_count / judged
    formula = (1 - alpha ** (gamma + 1)) / (1 - alpha)
    print(f"{gamma:5} {(len(text) - start) / passes:15.2f} {alpha:10.2f} {formula:9.2f}")
    assert passes == target_model.calls
