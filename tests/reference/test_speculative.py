import itertools

import pytest
import torch
from hypothesis import given, settings, strategies as st

from reference.config import GPTConfig
from reference.generation import greedy
from reference.paged_cache import PagedCache
from reference.smaller_cache import Cache
from reference.speculative import (
    CachedModel,
    accept_or_resample,
    one_hot_argmax,
    speculative_generate,
    speculative_step,
)

TARGET = GPTConfig(n_layer=2, n_head=2, d_model=8, n_ctx=12, vocab_size=3)
DRAFT = GPTConfig(n_layer=1, n_head=1, d_model=4, n_ctx=12, vocab_size=3)
seeds = st.integers(0, 10**6)


def cached(model, kind=Cache):
    config = model.config
    shape = (1, config.n_head, config.n_ctx, config.d_head)
    return CachedModel(model, [kind(*shape, torch.float64) for _ in range(config.n_layer)])


class Branch:
    """Randomness as a tree: replays `path` and then takes first branches, noting what else was possible."""

    def __init__(self, path, accept_probability=None):
        self.path, self.taken, self.options, self.weight = path, [], [], 1.0

    def pick(self, weights):
        possible = [i for i, weight in enumerate(weights) if weight > 0]
        step = len(self.taken)
        chosen = self.path[step] if step < len(self.path) else possible[0]
        self.taken.append(chosen)
        self.options.append(possible)
        self.weight *= weights[chosen]
        return chosen


def every_outcome(run):
    """The exact distribution of run(branch) over all random choices."""
    outcome, stack = {}, [[]]
    while stack:
        branch = Branch(stack.pop())
        result = run(branch)
        outcome[result] = outcome.get(result, 0.0) + branch.weight
        for step in range(len(branch.path), len(branch.taken)):
            stack += [[*branch.taken[:step], other] for other in branch.options[step] if other != branch.taken[step]]
    return outcome


class Uniform:
    """A uniform number that is compared once: `u * q < p` is true with probability min(1, p/q)."""

    def __init__(self, branch):
        self.branch = branch

    def __mul__(self, q):
        return Compared(self.branch, q.item())


class Compared:
    def __init__(self, branch, q):
        self.branch, self.q = branch, q

    def __lt__(self, p):
        accept = min(1.0, p.item() / self.q)
        return self.branch.pick([1 - accept, accept]) == 1


def draws(branch):
    return lambda probs: branch.pick(probs.tolist())


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(2, 5), st.floats(0.2, 5))
def test_a_token_kept_or_replaced_is_distributed_as_the_target(draw, seed, vocab, scale):
    p, q = (scale * draw(seed, 2, vocab)).softmax(-1)

    def run(branch):
        return accept_or_resample(p, q, draws(branch)(q), Uniform(branch), draws(branch))[1]

    outcome = every_outcome(run)
    for token in range(vocab):
        assert outcome.get(token, 0) == pytest.approx(p[token].item(), abs=1e-12)


def test_a_token_that_the_target_never_says_is_never_kept():
    p, q = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    assert accept_or_resample(p, q, 0, 0.0, lambda probs: int(probs.argmax())) == (False, 1)
    assert accept_or_resample(p, p, 1, 0.999, lambda probs: -1) == (True, 1)


@pytest.mark.parametrize(("seed", "gamma"), [(0, 1), (1, 2), (2, 3)])
def test_generated_text_is_distributed_as_the_targets(random_gpt, seed, gamma):
    target, draft, n_new = random_gpt(TARGET, seed), random_gpt(DRAFT, seed), 3

    def run(branch):
        models = cached(target), cached(draft)
        return tuple(speculative_generate(*models, [1, 0], n_new, gamma, lambda: Uniform(branch), draws(branch))[2:])

    outcome = every_outcome(run)
    assert sum(outcome.values()) == pytest.approx(1, abs=1e-9)
    for continuation in itertools.product(range(3), repeat=n_new):
        tokens = torch.tensor([[1, 0, *continuation]])
        probs = target(tokens)[0].softmax(-1)
        expected = torch.stack([probs[i + 1, token] for i, token in enumerate(continuation)]).prod().item()
        assert outcome[continuation] == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(0, 5), st.integers(1, 5), st.integers(0, 7), st.sampled_from([Cache, PagedCache]))
def test_greedy_speculation_is_greedy_decoding_to_the_end_of_the_context(
    random_gpt, draw_tokens, seed, gamma, n_prompt, n_new, kind
):
    target, draft = random_gpt(TARGET, seed), random_gpt(DRAFT, seed)
    prompt = draw_tokens(seed, 3, 1, n_prompt)
    n_new = 12 - n_prompt + 1 if n_new == 7 else n_new
    got = speculative_generate(
        cached(target, kind), cached(draft, kind), prompt[0].tolist(), n_new, gamma,
        lambda: 0.5, lambda probs: int(probs.argmax()), one_hot_argmax,
    )  # fmt: skip
    assert got == greedy(target, prompt, n_new)[0].tolist()


@pytest.mark.parametrize("same", [True, False])
def test_a_pass_gives_1_to_gamma_plus_1_tokens_and_refused_ones_leave_the_caches(random_gpt, same):
    target = random_gpt(TARGET, 0)
    draft = cached(target if same else random_gpt(DRAFT, 5))
    checked = cached(target)
    calls = []
    forward = checked.forward
    checked.forward = lambda tokens: calls.append(tokens.tolist()) or forward(tokens)
    generator = torch.Generator().manual_seed(0)
    tokens, made = [1, 2], []
    while len(tokens) < 8:
        made.append(
            speculative_step(
                checked, draft, tokens, 3,
                lambda: torch.rand(1, generator=generator).item(),
                lambda probs: int(torch.multinomial(probs, 1, generator=generator)),
            )
        )  # fmt: skip
        tokens += made[-1]
        assert 1 <= len(made[-1]) <= 4
        assert len(checked) == len(tokens) - 1
        assert len(draft) <= len(tokens) - 1
        last = forward(torch.tensor([tokens[-1:]]))
        torch.testing.assert_close(last[0, -1], target(torch.tensor([tokens]))[0, -1], rtol=1e-9, atol=1e-9)
        checked.crop(len(tokens) - 1)
    assert len(calls) == len(made)  # one pass of the target a step
    if same:
        assert all(len(tokens) == 4 for tokens in made)
    else:
        assert min(map(len, made)) < 4
