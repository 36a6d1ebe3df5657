"""How right is told from wrong in chapter 14: every random choice is played through, so that distributions are compared exactly."""

import itertools
import math

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect, expect_close
from gptdojo.strategies import Values, values
from tests.strategies.chance import expect_draws
from tests.strategies.speculation import (
    CERTAIN,
    EIGHTHS,
    QUARTERS,
    TARGET_QUARTERS,
    TWO_QUARTERS,
    VOCAB,
    Branch,
    RememberingModel,
    checked,
    every_outcome,
)

Table = tuple[tuple[int, ...], ...]


class Chance:
    """Real random numbers of a case."""

    def __init__(self, v: Values) -> None:
        self.generator = v.generator

    def uniform(self) -> float:
        """One number from [0, 1)."""
        return torch.rand(1, generator=self.generator).item()

    def draw(self, probs: Tensor) -> int:
        """A token from probabilities."""
        return int(torch.multinomial(checked(probs), 1, generator=self.generator))


# --- accept_or_resample -----------------------------------------------------------------------------------------------


def plain(impl, result: object, inputs: dict) -> tuple[bool, int]:
    """The pair that came back, as a bool and an int; tensors of one number are taken for their number."""
    pair = isinstance(result, tuple | list) and len(result) == 2
    expect(pair, "expected a pair: whether the token was kept, and the token", inputs=inputs, got=result)
    kept, token = (part.item() if isinstance(part, Tensor) and part.numel() == 1 else part for part in result)
    kinds = isinstance(kept, bool) and isinstance(token, int) and not isinstance(token, bool)
    expect(kinds, "expected (True or False, a token), in this order", inputs=inputs, got=result)
    return kept, token


class Drawing:
    """A `draw` that says a fixed token and keeps what it was given."""

    def __init__(self, says: int) -> None:
        self.says = says
        self.given: list[Tensor] = []

    def draw(self, probs: Tensor) -> int:
        """The fixed token."""
        self.given.append(probs)
        return self.says


def two_distributions(v: Values, vocab: int) -> tuple[Tensor, Tensor]:
    """p and q in float32, clearly different: some tokens are likelier in one, some in the other."""
    p, q = ((1.5 * torch.randn(vocab, generator=v.generator)).softmax(dim=-1) for _ in range(2))
    return (p, q) if (p - q).abs().max() > 0.1 else (p, q.roll(1) * 0.5 + 0.5 * torch.eye(vocab)[int(p.argmin())])


def excess(p: Tensor, q: Tensor) -> Tensor:
    """What a refused token is replaced from."""
    more = (p.double() - q.double()).clamp(min=0)
    return more / more.sum()


def judge(impl, p: Tensor, q: Tensor, token: int, uniform: float) -> tuple[bool, int, Drawing]:
    """Ask once; return what came back, and what was drawn."""
    drawing = Drawing(says=int(excess(p, q).argmax()) if not torch.equal(p, q) else 0)
    inputs = {"p": p, "q": q, "token": token, "uniform": uniform}
    kept, said = plain(impl, impl(p, q, token, uniform, drawing.draw), inputs)
    expect(not kept or not drawing.given, "draw was called though the token is kept", inputs=inputs)
    return kept, said, drawing


@claim("accept_or_resample", rung=1, examples=15)
@given(vocab=st.integers(3, 6), uniform=st.sampled_from([0.0, 0.25, 0.5, 0.999]), same=st.booleans(), v=values())
def test_accept_or_resample_the_target_says_it_more_often(impl, vocab, uniform, same, v):
    """A token that the target says as often as the draft, or more often, is kept, whatever the number is."""
    p, q = two_distributions(v, vocab)
    q = p if same else q
    token = int((p - q).argmax()) if not same else int(v.integers(1, vocab - 1, (1,)))
    kept, said, _ = judge(impl, p, q, token, uniform)
    inputs = {"p": p, "q": q, "token": token, "uniform": uniform}
    expect(
        (kept, said) == (True, token), "the token was not kept", inputs=inputs, expected=(True, token), got=(kept, said)
    )


@claim("accept_or_resample", rung=2, examples=25)
@given(vocab=st.integers(3, 6), share=st.floats(0.02, 0.98), v=values())
def test_accept_or_resample_kept_by_the_ratio(impl, vocab, share, v):
    """A token that the target says less often is kept if uniform is below p/q, and only then."""
    p, q = two_distributions(v, vocab)
    token = int((q - p).argmax())
    ratio = (p[token] / q[token]).item()
    for uniform, expected in ((share * ratio, True), (ratio + share * (1 - ratio), False)):
        if abs(uniform - ratio) > 1e-4:
            kept, said, _ = judge(impl, p, q, token, uniform)
            message = (
                f"uniform is {uniform:.4f} and p/q is {ratio:.4f}, so the token is {'kept' if expected else 'refused'}"
            )
            inputs = {"p": p, "q": q, "token": token, "uniform": uniform}
            expect(kept == expected, message, inputs=inputs, expected=expected, got=kept)
            expect(
                not kept or said == token,
                "another token came back than the one kept",
                inputs=inputs,
                expected=token,
                got=said,
            )


@claim("accept_or_resample", rung=3, examples=15)
@given(vocab=st.integers(3, 6), v=values())
def test_accept_or_resample_replaced_from_the_excess(impl, vocab, v):
    """A refused token is replaced by one call of draw, from max(p - q, 0) scaled to sum to 1."""
    p, q = two_distributions(v, vocab)
    token = int((q - p).argmax())
    kept, said, drawing = judge(impl, p, q, token, 0.9999)
    inputs = {"p": p, "q": q, "token": token, "uniform": 0.9999}
    calls = len(drawing.given)
    expect(
        calls == 1, f"draw was called {calls} times on a refusal, expected once", inputs=inputs, expected=1, got=calls
    )
    given_to_draw = drawing.given[0]
    expect_close(impl, given_to_draw, excess(p, q), inputs=inputs, what="what draw was given")
    expected = (False, drawing.says)
    expect(
        (kept, said) == expected, "what draw said has to come back", inputs=inputs, expected=expected, got=(kept, said)
    )


@claim("accept_or_resample", rung=4, examples=15)
@given(vocab=st.integers(3, 6), uniform=st.sampled_from([0.0, 0.0, 1e-12]), v=values())
def test_accept_or_resample_never_said_by_the_target(impl, vocab, uniform, v):
    """A token that the target never says is never kept, even if uniform is 0."""
    p, q = two_distributions(v, vocab)
    token = int((q - p).argmax())
    p[token] = 0
    p = p / p.sum()
    kept, _, _ = judge(impl, p, q, token, uniform)
    expect(not kept, "a token with p = 0 was kept", inputs={"p": p, "q": q, "token": token, "uniform": uniform})


@claim("accept_or_resample", rung=5, examples=6)
@given(
    p_parts=st.sampled_from(EIGHTHS), q_parts=st.sampled_from(QUARTERS), order=st.permutations(range(VOCAB)), v=values()
)
def test_accept_or_resample_distributed_as_the_target(impl, p_parts, q_parts, order, v):
    """Over all tokens of the draft and all uniform numbers, what is said is distributed exactly as p; so are real draws."""
    p, q = torch.tensor(p_parts)[list(order)] / 8, torch.tensor(q_parts)[list(order)] / 4
    said = torch.zeros(VOCAB, dtype=torch.float64)
    for token in range(VOCAB):
        for i in range(4 if q[token] > 0 else 0):
            kept, chosen, drawing = judge(impl, p, q, token, (i + 0.5) / 4)
            said += q[token] / 4 * (torch.eye(VOCAB)[chosen] if kept else drawing.given[-1])
    inputs = {"p": p, "q": q}
    expect_close(impl, said, p.double(), inputs=inputs, what="the probability of what is said")

    chance = Chance(v)
    counts = torch.zeros(VOCAB, dtype=torch.long)
    for token in torch.multinomial(q, 200, replacement=True, generator=v.generator).tolist():
        counts[plain(impl, impl(p, q, token, chance.uniform(), chance.draw), inputs)[1]] += 1
    expect_draws(counts, p, what="token", inputs=inputs)


# --- speculative_step -------------------------------------------------------------------------------------------------


def salts(v: Values) -> tuple[int, int]:
    """What makes the probabilities of the target and of the draft."""
    first, second = torch.randint(2**31, (2,), generator=v.generator).tolist()
    return first, second


def likeliest(probs: Tensor) -> int:
    """A draw from a distribution that leaves no choice."""
    return int(checked(probs).argmax())


def facts(target: RememberingModel, draft: RememberingModel, tokens: list[int], gamma: int) -> dict:
    """What a failing step is shown with; made before the call."""
    return {
        "tokens": list(tokens),
        "gamma": gamma,
        "the target remembers": list(target.memory),
        "the draft remembers": list(draft.memory),
    }


def listed(result: object, inputs: dict) -> list[int]:
    """The tokens that came back as a list of ints; a tensor with one axis is taken for its list."""
    result = result.tolist() if isinstance(result, Tensor) and result.dim() == 1 else result
    if isinstance(result, list | tuple):
        result = [part.item() if isinstance(part, Tensor) and part.numel() == 1 else part for part in result]
    good = isinstance(result, list) and all(type(token) is int for token in result)
    expect(good, "expected a list of tokens", inputs=inputs, got=result)
    return result


def certain_step(
    impl, target: RememberingModel, draft: RememberingModel, tokens: list[int], gamma: int, number: float = 0.5
) -> list[int]:
    """One step without a choice, compared with greedy decoding by the target."""
    expected, drafted = target.greedy(tokens, gamma + 1), draft.greedy(tokens, gamma)
    agreed = next((i for i in range(gamma) if drafted[i] != expected[i]), gamma)
    inputs = facts(target, draft, tokens, gamma) | {"drafted": drafted, "what the target would say": expected}
    inputs |= {"uniform gives": number}
    got = listed(impl(target, draft, list(tokens), gamma, lambda: number, likeliest), inputs)
    expect(got == expected[: agreed + 1], f"it says {got}", inputs=inputs, expected=expected[: agreed + 1], got=got)
    return got


NUMBERS = st.sampled_from([0.5, 0.0, 0.999])  # where all probabilities are 0 or 1 none of them decides anything
PROMPTS = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=4)


@claim("speculative_step", rung=1, examples=10)
@given(tokens=PROMPTS, gamma=st.integers(1, 4), v=values())
def test_speculative_step_in_agreement(impl, tokens, gamma, v):
    """If the draft says what the target says, all gamma drafted tokens come back, and one more."""
    salt, _ = salts(v)
    certain_step(impl, RememberingModel(salt, CERTAIN), RememberingModel(salt, CERTAIN), tokens, gamma)


@claim("speculative_step", rung=2, examples=15)
@given(tokens=PROMPTS, gamma=st.integers(1, 4), number=NUMBERS, v=values())
def test_speculative_step_in_disagreement(impl, tokens, gamma, number, v):
    """At the first disagreement the target's token comes back in place of the drafted one, and nothing after it."""
    mine, other = salts(v)
    certain_step(impl, RememberingModel(mine, CERTAIN), RememberingModel(other, CERTAIN), tokens, gamma, number)


@claim("speculative_step", rung=3, examples=15)
@given(tokens=PROMPTS, gamma=st.integers(1, 4), agree=st.booleans(), v=values())
def test_speculative_step_one_pass(impl, tokens, gamma, agree, v):
    """The target is called once, for all drafted tokens together; the draft is fed every token of its own once."""
    mine, other = salts(v)
    target, draft = RememberingModel(mine, CERTAIN), RememberingModel(mine if agree else other, CERTAIN)
    inputs = facts(target, draft, tokens, gamma)
    drafted = draft.greedy(tokens, gamma)
    certain_step(impl, target, draft, tokens, gamma)
    calls = len(target.pieces)
    expect(calls == 1, f"target.forward was called {calls} times, expected once", inputs=inputs, expected=1, got=calls)
    fed = [token for piece in draft.pieces for token in piece]
    expected = [*tokens, *drafted]
    good = fed in (expected, expected[:-1])
    expect(good, "what the draft was fed, all calls together", inputs=inputs, expected=expected[:-1], got=fed)


@claim("speculative_step", rung=4, examples=20)
@given(tokens=PROMPTS, gamma=st.integers(1, 4), steps=st.integers(1, 3), agree=st.booleans(), v=values())
def test_speculative_step_forgets_what_was_refused(impl, tokens, gamma, steps, agree, v):
    """After a step the target remembers all that was said but the last token, and the draft a beginning of that."""
    mine, other = salts(v)
    target, draft = RememberingModel(mine, CERTAIN), RememberingModel(mine if agree else other, CERTAIN)
    for _ in range(steps):
        inputs = facts(target, draft, tokens, gamma)
        said = certain_step(impl, target, draft, tokens, gamma)
        tokens = [*tokens, *said]
        inputs |= {"it said": said}
        message = f"the target remembers {target.memory}"
        expect(target.memory == tokens[:-1], message, inputs=inputs, expected=tokens[:-1], got=target.memory)
        least = len(tokens) - 2
        good = len(draft.memory) >= least and draft.memory == tokens[: len(draft.memory)] != tokens
        expect(good, f"the draft remembers {draft.memory}", inputs=inputs, expected=tokens[:-1], got=draft.memory)


@claim("speculative_step", rung=5, examples=15)
@given(
    tokens=PROMPTS,
    gamma=st.integers(1, 3),
    held=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    agree=st.booleans(),
    v=values(),
)
def test_speculative_step_goes_on_from_what_is_remembered(impl, tokens, gamma, held, agree, v):
    """Each model is fed exactly what it does not remember yet, however much that is."""
    mine, other = salts(v)
    keep = [min(length, len(tokens) - 1) for length in held]
    target = RememberingModel(mine, CERTAIN, held=tuple(tokens[: keep[0]]))
    draft = RememberingModel(mine if agree else other, CERTAIN, held=tuple(tokens[: keep[1]]))
    inputs = facts(target, draft, tokens, gamma)
    drafted = draft.greedy(tokens, gamma)
    certain_step(impl, target, draft, tokens, gamma)
    expected = [*tokens[keep[0] :], *drafted]
    fed = [token for piece in target.pieces for token in piece]
    expect(fed == expected, f"the target was fed {fed}", inputs=inputs, expected=expected, got=fed)


@claim("speculative_step", rung=6, examples=6)
@given(tokens=PROMPTS, v=values())
def test_speculative_step_without_a_draft(impl, tokens, v):
    """With gamma = 0 the target draws one token by itself."""
    mine, other = salts(v)
    target, draft = RememberingModel(mine, CERTAIN), RememberingModel(other, CERTAIN)
    certain_step(impl, target, draft, tokens, 0)
    expect(target.memory == tokens, "the target has to remember the tokens", expected=tokens, got=target.memory)


def telling(v: Values, tokens: list[int], target: Table, draft: Table) -> tuple[int, int]:
    """Salts for which chance has much to decide: the draft is refused now and then, at first and later."""

    def kept(pair: tuple[int, int]) -> float:
        """How probable it is that two drafted tokens are kept, far from 0 and from 1."""
        models = RememberingModel(pair[0], target), RememberingModel(pair[1], draft)
        histories = [tokens, *([*tokens, token] for token in range(VOCAB))]
        both = [torch.minimum(*(model.probs(history) for model in models)).sum().item() for history in histories]
        return abs(both[0] - 0.5) + sum(abs(share - 0.5) for share in both[1:]) / VOCAB

    return min((salts(v) for _ in range(12)), key=kept)


def compare_steps(impl, v: Values, tokens: list[int], gamma: int, temperature: float = 1.0) -> None:
    """Play one step through; what it says, continued by the target's own draws, must be distributed as the target's."""
    wanted, parts = (TARGET_QUARTERS, 2) if temperature == 1 else (EIGHTHS, 4)  # settings show in finer fractions
    mine, other = telling(v, tokens, wanted, QUARTERS)
    reference, draft = RememberingModel(mine, wanted), RememberingModel(other, QUARTERS)
    inputs = {"tokens": tokens, "gamma": gamma, "randomness": "every path through the uniform numbers and draws"}
    inputs |= {"to_probs": f"a softmax at temperature {temperature}"} if temperature != 1 else {}
    inputs |= {"p after the tokens": reference.probs(tokens), "q after the tokens": draft.probs(tokens)}

    def run(branch: Branch) -> tuple[int, ...]:
        settings = () if temperature == 1 else (lambda logits: (logits / temperature).softmax(dim=-1),)
        models = (
            RememberingModel(mine, wanted, temperature=temperature),
            RememberingModel(other, QUARTERS, temperature=temperature),
        )
        return tuple(listed(impl(*models, list(tokens), gamma, branch.uniform, branch.draw, *settings), inputs))

    outcomes = every_outcome(run, parts)
    lengths = {len(said) for said in outcomes}
    expect(
        lengths <= set(range(1, gamma + 2)), f"a step says 1 to {gamma + 1} tokens", inputs=inputs, got=sorted(lengths)
    )
    for length in range(1, gamma + 2):
        for text in itertools.product(range(VOCAB), repeat=length):
            got = 0.0
            for said, weight in outcomes.items():
                if said[:length] == text[: len(said)]:
                    got += weight * reference.chance([*tokens, *said], text[len(said) :])
            expected = reference.chance(tokens, text)
            message = f"the probability that {list(text)} follows is {got:.4f}, with the target alone {expected:.4f}"
            expect(abs(got - expected) < 1e-5, message, inputs=inputs, expected=expected, got=got)
    if gamma == 1:
        expected = 1 + torch.minimum(reference.probs(tokens), draft.probs(tokens)).sum().item()
        got = sum(weight * len(said) for said, weight in outcomes.items())
        message = f"a step says {got:.4f} tokens on average, expected 1 + sum of min(p, q) = {expected:.4f}"
        expect(abs(got - expected) < 1e-5, message, inputs=inputs, expected=expected, got=got)


@claim("speculative_step", rung=7, examples=2)
@given(tokens=PROMPTS, v=values())
def test_speculative_step_distributed_as_the_target(impl, tokens, v):
    """With gamma = 1, over all random choices, what follows is distributed exactly as the target's own draws."""
    compare_steps(impl, v, tokens, 1)


@claim("speculative_step", rung=8, examples=2)
@given(tokens=PROMPTS, v=values())
def test_speculative_step_probabilities_as_drawn(impl, tokens, v):
    """to_probs makes the probabilities of both models: they are what is drawn from, compared and replaced from."""
    compare_steps(impl, v, tokens, 1, temperature=0.5)


@claim("speculative_step", rung=9, examples=2)
@given(tokens=PROMPTS, v=values())
def test_speculative_step_distributed_as_the_target_longer(impl, tokens, v):
    """With gamma = 2 as well: each drafted token is judged after those before it, with a number of its own."""
    compare_steps(impl, v, tokens, 2)


# --- speculative_generate ---------------------------------------------------------------------------------------------


def certain_text(
    impl, v: Values, prompt: list[int], n_new: int, gamma: int, agree: bool, spare: int = 1_000, number: float = 0.5
) -> tuple:
    """Generate without a choice, compared with greedy decoding; the models have room for `spare` positions too many."""
    mine, other = salts(v)
    n_ctx = max(len(prompt) + n_new - 1, 0) + spare
    target = RememberingModel(mine, CERTAIN, n_ctx)
    draft = RememberingModel(mine if agree else other, CERTAIN, n_ctx)
    expected = [*prompt, *target.greedy(prompt, n_new)]
    inputs = {
        "prompt": prompt,
        "n_new": n_new,
        "gamma": gamma,
        "the draft": "always agrees" if agree else "is another model",
    }
    got = listed(impl(target, draft, list(prompt), n_new, gamma, lambda: number, likeliest), inputs)
    expect(got == expected, f"it says {got}", inputs=inputs, expected=expected, got=got)
    return target, draft, inputs


@claim("speculative_generate", rung=1, examples=10)
@given(prompt=PROMPTS, n_new=st.integers(1, 6), v=values())
def test_speculative_generate_greedy_in_agreement(impl, prompt, n_new, v):
    """Exactly n_new tokens follow the prompt, also where a pass gives several."""
    certain_text(impl, v, prompt, n_new, gamma=1, agree=True)


@claim("speculative_generate", rung=2, examples=20)
@given(
    prompt=PROMPTS, n_new=st.integers(1, 7), gamma=st.integers(0, 4), agree=st.booleans(), number=NUMBERS, v=values()
)
def test_speculative_generate_equals_greedy(impl, prompt, n_new, gamma, agree, number, v):
    """Where nothing is left to chance it is the target's greedy decoding, token by token, whatever the draft says."""
    certain_text(impl, v, prompt, n_new, gamma, agree, number=number)


@claim("speculative_generate", rung=3, examples=15)
@given(prompt=PROMPTS, n_new=st.integers(1, 9), gamma=st.integers(1, 4), v=values())
def test_speculative_generate_passes(impl, prompt, n_new, gamma, v):
    """If nothing is refused, each pass of the target gives gamma + 1 tokens."""
    target, _, inputs = certain_text(impl, v, prompt, n_new, gamma, agree=True)
    calls, expected = len(target.pieces), math.ceil(n_new / (gamma + 1))
    message = f"target.forward was called {calls} times, expected {expected}"
    expect(calls == expected, message, inputs=inputs, expected=expected, got=calls)


@claim("speculative_generate", rung=4, examples=15)
@given(prompt=PROMPTS, n_new=st.integers(1, 6), gamma=st.integers(1, 4), agree=st.booleans(), v=values())
def test_speculative_generate_to_the_end_of_the_context(impl, prompt, n_new, gamma, agree, v):
    """Near the end fewer tokens are drafted: a context of len(prompt) + n_new - 1 positions is enough for both models."""
    certain_text(impl, v, prompt, n_new, gamma, agree, spare=0)


def refused(target: RememberingModel, draft: RememberingModel, prompt: list[int], n_new: int, gamma: int) -> int:
    """How many drafted tokens are thrown away where nothing is left to chance."""
    text, end, count = list(prompt), len(prompt) + n_new, 0
    while len(text) < end:
        n_draft = min(gamma, end - len(text) - 1)
        drafted, wanted = draft.greedy(text, n_draft), target.greedy(text, n_draft + 1)
        agreed = next((i for i in range(n_draft) if drafted[i] != wanted[i]), n_draft)
        text, count = text + wanted[: agreed + 1], count + n_draft - agreed
    return count


@claim("speculative_generate", rung=5, examples=15)
@given(prompt=PROMPTS, n_new=st.integers(2, 9), gamma=st.integers(1, 4), agree=st.booleans(), v=values())
def test_speculative_generate_feeds_once(impl, prompt, n_new, gamma, agree, v):
    """No token is fed twice to a model unless it was refused: what stays valid is remembered from pass to pass."""
    target, draft, inputs = certain_text(impl, v, prompt, n_new, gamma, agree)
    most = len(prompt) + n_new - 1 + refused(target, draft, prompt, n_new, gamma)
    for name, model in (("target", target), ("draft", draft)):
        fed = sum(map(len, model.pieces))
        message = f"the {name} was fed {fed} tokens in all, though there are {most} to feed, refused ones included"
        expect(fed <= most, message, inputs=inputs, expected=most, got=fed)


@claim("speculative_generate", rung=6, examples=4)
@given(prompt=PROMPTS, gamma=st.integers(0, 3), v=values())
def test_speculative_generate_nothing(impl, prompt, gamma, v):
    """With n_new = 0 the prompt comes back, and no model is called."""
    target, draft, inputs = certain_text(impl, v, prompt, 0, gamma, agree=False)
    calls = len(target.pieces) + len(draft.pieces)
    expect(calls == 0, "a model was called though no token was asked for", inputs=inputs, expected=0, got=calls)


def compare_texts(impl, v: Values, prompt: list[int], n_new: int, gamma: int, temperature: float = 1.0) -> None:
    """Play a generation through, and compare the probability of every text with the target's; then draw some."""
    wanted, drafted, parts = TARGET_QUARTERS, TWO_QUARTERS, 2
    if temperature != 1:  # settings show in finer fractions only, and not where probabilities are equal
        wanted, drafted, parts = EIGHTHS, QUARTERS, 4
    mine, other = telling(v, prompt, wanted, drafted)
    reference = RememberingModel(mine, wanted)
    inputs = {"prompt": prompt, "n_new": n_new, "gamma": gamma}
    inputs |= {"to_probs": f"a softmax at temperature {temperature}"} if temperature != 1 else {}

    def run(source: Branch | Chance) -> tuple[int, ...]:
        settings = () if temperature == 1 else (lambda logits: (logits / temperature).softmax(dim=-1),)
        models = (
            RememberingModel(mine, wanted, temperature=temperature),
            RememberingModel(other, drafted, temperature=temperature),
        )
        said = listed(impl(*models, list(prompt), n_new, gamma, source.uniform, source.draw, *settings), inputs)
        good = said[: len(prompt)] == prompt and len(said) == len(prompt) + n_new
        expect(good, f"expected the prompt and {n_new} tokens", inputs=inputs, got=said)
        return tuple(said[len(prompt) :])

    outcomes = every_outcome(run, parts)
    texts = list(itertools.product(range(VOCAB), repeat=n_new))
    played = inputs | {"randomness": "every path through the uniform numbers and draws"}
    for text in texts:
        got, expected = outcomes.get(text, 0.0), reference.chance(prompt, text)
        message = f"the probability that {list(text)} follows is {got:.4f}, with the target alone {expected:.4f}"
        expect(abs(got - expected) < 1e-5, message, inputs=played, expected=expected, got=got)
    if temperature != 1:
        return
    counts = torch.bincount(torch.tensor([texts.index(run(Chance(v))) for _ in range(25)]), minlength=len(texts))
    chances = torch.tensor([reference.chance(prompt, text) for text in texts])
    expect_draws(counts, chances, what="text number", inputs=inputs | {"randomness": "25 texts, really drawn"})


@claim("speculative_generate", rung=7, examples=2)
@given(prompt=PROMPTS, v=values())
def test_speculative_generate_probabilities_as_drawn(impl, prompt, v):
    """to_probs makes the probabilities of both models: they are what is drawn from, compared and replaced from."""
    compare_texts(impl, v, prompt, 2, 1, temperature=0.5)


@claim("speculative_generate", rung=8, examples=2)
@given(prompt=PROMPTS, v=values())
def test_speculative_generate_distributed_as_the_target(impl, prompt, v):
    """Over all random choices, every text has exactly the probability that it has with the target alone; so have real draws."""
    compare_texts(impl, v, prompt, n_new=3, gamma=2)
