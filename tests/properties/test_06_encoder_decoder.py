"""Encoders, prefix models and decoders that read an encoder: who sees whom, and what is predicted."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import Grid, expect, expect_close, expect_gradients, expect_kind, expect_reference
from gptdojo.implementation import Implementation
from gptdojo.strategies import Values, values
from reference import encoder_decoder as reference
from tests.strategies.influence import expect_influence, influence

BATCH = st.integers(2, 3)
ANY_BATCH = st.integers(1, 3)
HEADS = st.integers(1, 4)
LENGTH = st.integers(1, 6)
LONGER = st.integers(2, 6)
WIDTH = st.integers(1, 5)
SEEDS = st.integers(0, 2**32 - 1)


def matrix(v: Values, rows: int, columns: int) -> Tensor:
    """A weight (out, in) that keeps what goes through it at O(1)."""
    return v.normal(rows, columns, scale=0.5 ** round(math.log2(columns) / 2))  # about columns ** -0.5, and readable


def some_real(v: Values, batch: int, n: int) -> Tensor:
    """Which positions hold a token: pads stand anywhere, and every row has a token or more."""
    return (torch.rand(batch, n, generator=v.generator).argsort(dim=-1) == 0) | v.booleans(batch, n)


# --- bidirectional_attention ------------------------------------------------------------------------------------------


def parameters(v: Values, d_model: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """w_qkv, b_qkv, w_out, b_out, with biases that are plain to see."""
    return matrix(v, 3 * d_model, d_model), v.normal(3 * d_model), matrix(v, d_model, d_model), v.normal(d_model)


@claim("bidirectional_attention", rung=1, examples=8)
@given(BATCH, HEADS, WIDTH, values())
def test_bidirectional_attention_one_position(impl, batch, n_head, d_head, v):
    """A text of one token attends to itself: its value, projected out."""
    d_model = n_head * d_head
    x = v.normal(batch, 1, d_model)
    expect_reference(impl, reference.bidirectional_attention, x, *parameters(v, d_model), n_head)


@claim("bidirectional_attention", rung=2, examples=8)
@given(BATCH, st.integers(2, 5), HEADS, WIDTH, values())
def test_bidirectional_attention_who_sees_whom(impl, batch, n_position, n_head, d_head, v):
    """Changing any token changes the result at every position: at its own, at later and at earlier ones."""
    d_model = n_head * d_head
    x, other = v.normal(batch, n_position, d_model), v.normal(batch, n_position, d_model)
    weights = parameters(v, d_model)
    weights64 = [weight.double() for weight in weights]

    def oracle(tokens: Tensor) -> Tensor:
        return reference.bidirectional_attention(tokens.double(), *weights64, n_head)

    def learner(tokens: Tensor) -> Tensor:
        return expect_kind(impl, exact, tokens, *weights, n_head)

    exact = oracle(x)
    change, expected = influence(learner, x, other), influence(oracle, x, other)
    inputs = impl.label(impl.name, (x, *weights, n_head))
    expect_influence(
        change, expected, torch.ones_like(change, dtype=torch.bool), inputs, rows="position", columns="token"
    )


@claim("bidirectional_attention", rung=3, examples=15)
@given(ANY_BATCH, LENGTH, HEADS, WIDTH, st.booleans(), values())
def test_bidirectional_attention_without_pads(impl, batch, n_position, n_head, d_head, dense, v):
    """All positions, any number of heads, no pads: scores, scale, softmax over all keys, heads and both projections."""
    d_model = n_head * d_head
    x, weights = v.normal(batch, n_position, d_model), parameters(v, d_model)
    if not dense:
        x, weights = v.scattered(x), tuple(v.scattered(weight) for weight in weights)
    expect_reference(impl, reference.bidirectional_attention, x, *weights, n_head, None)


@claim("bidirectional_attention", rung=4, examples=25)
@given(BATCH, LONGER, HEADS, WIDTH, values())
def test_bidirectional_attention_with_pads(impl, batch, n_position, n_head, d_head, v):
    """Nobody sees a pad, wherever in a text it stands, and each text has its own pads."""
    d_model = n_head * d_head
    x, weights, is_token = v.normal(batch, n_position, d_model), parameters(v, d_model), some_real(v, batch, n_position)
    what = "the result at the real tokens, a row for each,"
    args = (x, *weights, n_head, is_token)
    expect_reference(impl, reference.bidirectional_attention, *args, at=lambda out: out[is_token], what=what)


@claim("bidirectional_attention", rung=5, examples=8)
@given(BATCH, st.integers(2, 5), st.integers(1, 2), values())
def test_bidirectional_attention_huge_scores(impl, batch, n_position, n_head, v):
    """With scores in the millions the best real token takes all the weight; nothing overflows, no pad gets any."""
    # Channel 0 holds another multiple of 1/2 at each position, and queries and keys are multiples of it: with d_head 16
    # all scores are exact in float32, and no two of a row are equal unless its query is 0.
    d_head = 16
    d_model = n_head * d_head
    x, is_token = v.normal(batch, n_position, d_model), some_real(v, batch, n_position)
    x[..., 0] = torch.rand(batch, n_position, generator=v.generator).argsort(dim=-1) - n_position / 2 + 0.5
    w_qkv, b_qkv, w_out, b_out = parameters(v, d_model)
    w_qkv[: 2 * d_model] = 0
    b_qkv[: 2 * d_model] = 0
    w_qkv[:d_model, 0] = -500
    w_qkv[d_model : 2 * d_model, 0] = 500
    what = "the result at the real tokens, a row for each,"
    args = (x, w_qkv, b_qkv, w_out, b_out, n_head, is_token)
    expect_reference(impl, reference.bidirectional_attention, *args, at=lambda out: out[is_token], what=what)


@claim("bidirectional_attention", rung=6, examples=6)
@given(BATCH, LENGTH, HEADS, WIDTH, values())
def test_bidirectional_attention_gradients(impl, batch, n_position, n_head, d_head, v):
    """The gradients of the input and of every weight and bias are right."""
    d_model = n_head * d_head
    args = (v.normal(batch, n_position, d_model), *parameters(v, d_model), n_head)
    names = ["x", "w_qkv", "b_qkv", "w_out", "b_out"]
    cotangent = v.normal(batch, n_position, d_model)
    expect_gradients(impl, reference.bidirectional_attention, args, cotangent, names)


# --- prefix_lm_mask ---------------------------------------------------------------------------------------------------


@claim("prefix_lm_mask", rung=1, examples=8)
@given(n_position=st.integers(2, 8))
def test_prefix_lm_mask_no_prefix(impl, n_position):
    """Without a prefix it is the causal mask."""
    expect_reference(impl, reference.prefix_lm_mask, 0, n_position)


@claim("prefix_lm_mask", rung=2, examples=20)
@given(n_prefix=LENGTH, n_more=LENGTH)
def test_prefix_lm_mask_after_the_prefix(impl, n_prefix, n_more):
    """After the prefix, a position sees the whole prefix, what came since, and itself, and nothing later."""
    args = (n_prefix, n_prefix + n_more)
    exact, got, inputs = reference.prefix_lm_mask(*args), impl(*args), impl.label(impl.name, args)
    expect_close(impl, got, exact, inputs=inputs, tolerance=math.inf)  # of the right kind
    grid = Grid(exact[n_prefix:], got[n_prefix:], rows="query after the prefix")
    for row, key in (grid.got != grid.expected).nonzero().tolist()[:1]:
        sees = "sees" if grid.got[row, key] else "does not see"
        message = f"position {n_prefix + row}, which is number {row} after the prefix, {sees} position {key}"
        expect(False, message, inputs=inputs, expected=grid.expected, got=grid.got, grid=grid)


@claim("prefix_lm_mask", rung=3, examples=20)
@given(n_prefix=LENGTH, n_more=LENGTH)
def test_prefix_lm_mask_in_the_prefix(impl, n_prefix, n_more):
    """In the prefix everyone sees all of it, and nothing after it."""
    expect_reference(impl, reference.prefix_lm_mask, n_prefix, n_prefix + n_more)


@claim("prefix_lm_mask", rung=4, examples=8)
@given(n_position=st.integers(1, 8), long=st.booleans())
def test_prefix_lm_mask_nothing_but_prefix(impl, n_position, long):
    """If the prefix is all there is, everyone sees everything; texts may be long."""
    n_position += 60 * long
    expect_reference(impl, reference.prefix_lm_mask, n_position, n_position)


# --- cross_attention --------------------------------------------------------------------------------------------------


def cross_parameters(v: Values, d_model: int) -> dict[str, Tensor]:
    """The parameters of cross-attention, with biases that are plain to see."""
    params = {}
    for name, factor in (("q_attn", 1), ("c_attn", 2), ("c_proj", 1)):
        params[f"{name}.weight"] = matrix(v, factor * d_model, d_model)
        params[f"{name}.bias"] = v.normal(factor * d_model)
    return params


@claim("cross_attention", rung=1, examples=8)
@given(BATCH, LENGTH, HEADS, WIDTH, values())
def test_cross_attention_one_source_token(impl, batch, n_target, n_head, d_head, v):
    """If the source is one token, every target position gets its value, projected out."""
    d_model = n_head * d_head
    x, memory = v.normal(batch, n_target, d_model), v.normal(batch, 1, d_model)
    expect_reference(impl, reference.cross_attention, x, memory, cross_parameters(v, d_model), n_head)


@claim("cross_attention", rung=2, examples=8)
@given(BATCH, LENGTH, st.integers(2, 5), HEADS, WIDTH, values())
def test_cross_attention_every_source_token(impl, batch, n_target, n_source, n_head, d_head, v):
    """Every target position, the first one too, depends on every token of the source."""
    d_model = n_head * d_head
    x = v.normal(batch, n_target, d_model)
    memory, other = v.normal(batch, n_source, d_model), v.normal(batch, n_source, d_model)
    params = cross_parameters(v, d_model)
    params64 = {name: tensor.double() for name, tensor in params.items()}

    def oracle(source: Tensor) -> Tensor:
        return reference.cross_attention(x.double(), source.double(), params64, n_head)

    def learner(source: Tensor) -> Tensor:
        return expect_kind(impl, exact, x, source, params, n_head)

    exact = oracle(memory)
    change, expected = influence(learner, memory, other), influence(oracle, memory, other)
    inputs = impl.label(impl.name, (x, memory, params, n_head))
    expect_influence(
        change, expected, torch.ones_like(change, dtype=torch.bool), inputs, rows="target", columns="source"
    )


@claim("cross_attention", rung=3, examples=8)
@given(BATCH, st.integers(2, 5), st.integers(2, 5), HEADS, WIDTH, values())
def test_cross_attention_own_target_only(impl, batch, n_target, n_source, n_head, d_head, v):
    """A target position asks for itself: it does not depend on any other target position."""
    d_model = n_head * d_head
    x, other = v.normal(batch, n_target, d_model), v.normal(batch, n_target, d_model)
    memory, params = v.normal(batch, n_source, d_model), cross_parameters(v, d_model)
    params64 = {name: tensor.double() for name, tensor in params.items()}

    def oracle(target: Tensor) -> Tensor:
        return reference.cross_attention(target.double(), memory.double(), params64, n_head)

    def learner(target: Tensor) -> Tensor:
        return expect_kind(impl, exact, target, memory, params, n_head)

    exact = oracle(x)
    change, expected = influence(learner, x, other), influence(oracle, x, other)
    allowed = torch.eye(n_target, dtype=torch.bool).expand_as(change)
    inputs = impl.label(impl.name, (x, memory, params, n_head))
    expect_influence(change, expected, allowed, inputs, rows="target", columns="target")


@claim("cross_attention", rung=4, examples=15)
@given(ANY_BATCH, LENGTH, LENGTH, HEADS, WIDTH, st.booleans(), values())
def test_cross_attention_without_pads(impl, batch, n_target, n_source, n_head, d_head, dense, v):
    """Target and source of any lengths, any number of heads: the whole layer."""
    d_model = n_head * d_head
    x, memory = v.normal(batch, n_target, d_model), v.normal(batch, n_source, d_model)
    params = cross_parameters(v, d_model)
    if not dense:
        x, memory = v.scattered(x), v.scattered(memory)
        params = {name: v.scattered(tensor) for name, tensor in params.items()}
    expect_reference(impl, reference.cross_attention, x, memory, params, n_head, None)


@claim("cross_attention", rung=5, examples=20)
@given(BATCH, LENGTH, LONGER, HEADS, WIDTH, values())
def test_cross_attention_with_pads(impl, batch, n_target, n_source, n_head, d_head, v):
    """No target position sees a pad of the source, wherever it stands, and each source has its own pads."""
    d_model = n_head * d_head
    x, memory = v.normal(batch, n_target, d_model), v.normal(batch, n_source, d_model)
    params, is_token = cross_parameters(v, d_model), some_real(v, batch, n_source)
    expect_reference(impl, reference.cross_attention, x, memory, params, n_head, is_token)


@claim("cross_attention", rung=6, examples=8)
@given(BATCH, LENGTH, st.integers(2, 5), st.integers(1, 2), values())
def test_cross_attention_huge_scores(impl, batch, n_target, n_source, n_head, v):
    """With scores in the millions the best real source token takes all the weight; nothing overflows, no pad gets any."""
    # All scores are exact in float32, with d_head 16, and no two of a row are equal.
    d_head = 16
    d_model = n_head * d_head
    x, memory = v.normal(batch, n_target, d_model), v.normal(batch, n_source, d_model)
    x[..., 0] = v.booleans(batch, n_target) * 2.0 - 1
    memory[..., 0] = torch.rand(batch, n_source, generator=v.generator).argsort(dim=-1) - n_source / 2 + 0.5
    params, is_token = cross_parameters(v, d_model), some_real(v, batch, n_source)
    params["q_attn.weight"][:] = 0
    params["q_attn.bias"][:] = 0
    params["c_attn.weight"][:d_model] = 0
    params["c_attn.bias"][:d_model] = 0
    params["q_attn.weight"][:, 0] = 500
    params["c_attn.weight"][:d_model, 0] = 500
    expect_reference(impl, reference.cross_attention, x, memory, params, n_head, is_token)


@claim("cross_attention", rung=7, examples=6)
@given(BATCH, LENGTH, LONGER, HEADS, WIDTH, values())
def test_cross_attention_gradients(impl, batch, n_target, n_source, n_head, d_head, v):
    """The decoder, the encoder and every weight and bias learn: their gradients are right."""
    d_model = n_head * d_head
    x, memory = v.normal(batch, n_target, d_model), v.normal(batch, n_source, d_model)
    params, is_token = cross_parameters(v, d_model), some_real(v, batch, n_source)
    names = ["x", "memory", *params]
    cotangent = v.normal(batch, n_target, d_model)
    expect_gradients(impl, reference.cross_attention, (x, memory, params, n_head, is_token), cotangent, names)


# --- corrupt_for_mlm --------------------------------------------------------------------------------------------------
#
# What is drawn is compared with what it should be by counting. A count of n independent events of probability p is as
# far from n * p as the one that was got, on the same side, with a probability of at most exp(-surprise) (Chernoff), so a
# right answer fails one table of counts with a probability below FALSE_ALARM, and the 16 tables of a grading together
# with one below 1e-10. That is a bound for any n and p, where the usual chi-square holds for large counts only.

FALSE_ALARM = 1e-12


class Words(str):
    """What is said to the learner about a value that cannot be shown; shown without quotes."""

    def __repr__(self) -> str:
        return str(self)


def surprise(count: int, n: int, p: float) -> float:
    """n times the Kullback-Leibler divergence of count / n from p, in nats."""
    total = 0.0
    for seen, probability in ((count, p), (n - count, 1 - p)):
        if seen:
            total += seen * math.log(seen / (n * probability)) if probability > 0 else math.inf
    return max(total, 0.0)


def first_surprise(counts: Mapping[str, int], probabilities: Mapping[str, float]) -> str | None:
    """The first name whose count cannot be chance, if there is one."""
    n = sum(counts.values())
    limit = math.log(2 * len(counts) / FALSE_ALARM)
    return next((name for name, count in counts.items() if surprise(count, n, probabilities[name]) > limit), None)


def expect_frequencies(
    counts: Mapping[str, int], probabilities: Mapping[str, float], of: str, inputs: Mapping[str, Any], are: str = "are"
) -> None:
    """Fail where a count is not what independent draws with these probabilities give; `are` is the verb of the message."""
    n, name = sum(counts.values()), first_surprise(counts, probabilities)
    if name is not None:
        message = f"of {n} {of}, {counts[name]} {are} {name}, expected about {n * probabilities[name]:.0f}"
        shown = [key for key, p in probabilities.items() if counts[key] or n * p >= 0.5]  # the others never came
        expected = {key: Words(f"about {n * probabilities[key]:.0f}") for key in shown}
        expect(False, message, inputs=inputs, expected=expected, got={key: counts[key] for key in shown})


def test_the_count_of_a_right_answer_is_hardly_ever_a_surprise():
    for n, p in ((60, 0.1), (2000, 0.5), (1800, 0.8), (1800, 0.1)):
        count = torch.arange(n + 1, dtype=torch.float64)
        orders = torch.lgamma(torch.tensor(n + 1.0, dtype=torch.float64))
        orders = orders - torch.lgamma(count + 1) - torch.lgamma(n - count + 1)
        probability = (orders + count * math.log(p) + (n - count) * math.log(1 - p)).exp()
        outside = torch.tensor([surprise(k, n, p) > math.log(2 / FALSE_ALARM) for k in range(n + 1)])
        assert probability.sum().item() - 1 < 1e-9
        assert probability[outside].sum().item() < FALSE_ALARM


def test_the_counts_of_a_wrong_answer_are_a_surprise():
    right = {"masked": 0.8, "drawn": 0.1, "kept": 0.1}
    assert first_surprise({"masked": 1440, "drawn": 180, "kept": 180}, right) is None
    assert first_surprise({"masked": 1440, "drawn": 36, "kept": 324}, right) == "drawn"  # a tenth of what is left
    assert first_surprise({"masked": 1800, "drawn": 0, "kept": 0}, right) == "masked"


RESULTS = ("the first result, the corrupted text,", "the second result, which positions were chosen,")


class Draw:
    """One call of the learner's function, and what it was given."""

    def __init__(self, impl: Implementation, tokens: Tensor, maskable: Tensor, mask: int, vocab: int, seed: int, *rate):
        self.tokens, self.maskable, self.mask = tokens, maskable, mask
        got = impl(tokens, maskable, mask, vocab, torch.Generator().manual_seed(seed), *rate)
        self.inputs = impl.label(
            impl.name, (tokens, maskable, mask, vocab, Words(f"torch.Generator().manual_seed({seed})"), *rate)
        )
        some = (tokens, maskable & (rate != (0,)))
        parts = zip(got, some, RESULTS, strict=True) if isinstance(got, tuple | list) and len(got) == 2 else ()
        for part, like, what in parts or [(got, some, "the result")]:  # of the right kind
            expect_close(impl, part, like, inputs=self.inputs, what=what, tolerance=math.inf)
        self.corrupted, self.chosen = got


def seed_from(v: Values) -> int:
    """A seed for the learner's generator: the numbers that it gives have nothing to do with those that `v` gives."""
    return int(v.integers(0, 2**32 - 1, ()))


def text(v: Values, batch: int, n_position: int, vocab: int) -> tuple[Tensor, Tensor]:
    """Tokens, and which of them may be chosen: anywhere, one a row or more."""
    return v.scattered(v.integers(0, vocab - 1, (batch, n_position))), v.scattered(some_real(v, batch, n_position))


def uniform_text(batch: int, n_position: int, token: int) -> tuple[Tensor, Tensor]:
    """Nothing but one token, which may be chosen everywhere."""
    return torch.full((batch, n_position), token), torch.ones(batch, n_position, dtype=torch.bool)


@claim("corrupt_for_mlm", rung=1, examples=15)
@given(BATCH, st.integers(1, 20), st.integers(2, 9), st.sampled_from([0.0, 1.0]), values())
def test_corrupt_for_mlm_none_or_all(impl, batch, n_position, vocab, rate, v):
    """With a rate of 0 no position is chosen; with a rate of 1 every maskable one is, also if its token stays."""
    tokens, maskable = text(v, batch, n_position, vocab)
    drawn = Draw(impl, tokens, maskable, vocab - 1, vocab, seed_from(v), rate)
    wanted = maskable & (rate > 0)
    for row, position in (drawn.chosen != wanted).nonzero().tolist()[:1]:
        maskable_here = "maskable" if maskable[row, position] else "not maskable"
        was = "was chosen" if drawn.chosen[row, position] else "was not chosen"
        message = f"position {position} of text {row} {was}: it is {maskable_here}, and the rate is {rate:g}"
        expect(False, message, inputs=drawn.inputs, expected=wanted, got=drawn.chosen)


@claim("corrupt_for_mlm", rung=2, examples=15)
@given(BATCH, st.integers(1, 40), st.integers(2, 5), st.sampled_from([0.0, 0.15, 0.5, 1.0]), values())
def test_corrupt_for_mlm_the_rest_stays(impl, batch, n_position, vocab, rate, v):
    """What was not chosen keeps its token, nothing is chosen that is not maskable, and all that comes out are tokens."""
    tokens, maskable = text(v, batch, n_position, vocab)
    drawn = Draw(impl, tokens, maskable, 0, vocab, seed_from(v), rate)
    expect(
        not bool((drawn.chosen & ~maskable).any()),
        "a position was chosen that is not maskable",
        inputs=drawn.inputs, expected=maskable, got=drawn.chosen,
    )  # fmt: skip
    what = "the corrupted text, where nothing was chosen,"
    stays = ~drawn.chosen
    expect_close(impl, drawn.corrupted[stays], tokens[stays], inputs=drawn.inputs, what=what)
    inside = (drawn.corrupted >= 0) & (drawn.corrupted < vocab)
    message = f"the corrupted text holds a number that is no token: they go from 0 to {vocab - 1}"
    expected = Words(f"numbers from 0 to {vocab - 1}")
    expect(bool(inside.all()), message, inputs=drawn.inputs, expected=expected, got=drawn.corrupted)


@claim("corrupt_for_mlm", rung=3, examples=3)
@given(st.sampled_from([0.5, 1.0]), SEEDS)
def test_corrupt_for_mlm_generator_decides(impl, rate, seed):
    """The generator is the only source of chance: one seed gives one result, and another seed another."""
    tokens, maskable = uniform_text(10, 30, 7)
    first, again, other = (Draw(impl, tokens, maskable, 3, 20, s, rate) for s in (seed, seed, seed + 1))
    for name, what in (("chosen", "what was chosen"), ("corrupted", "the corrupted text")):
        one, two = getattr(first, name), getattr(again, name)
        for row, position in (one != two).nonzero().tolist()[:1]:
            values_there = (
                f"{two[row, position].item()} at [{row}, {position}], and the first gave {one[row, position].item()}"
            )
            message = f"for {what} a second call with the same seed gives {values_there}"
            inputs = first.inputs | {"shown below": Words(f"row {row} of the first call, then of the second")}
            expect(False, message, inputs=inputs, expected=one[row], got=two[row])
    left_to_chance = bool(
        (first.corrupted != first.corrupted[0, 0]).any()
    )  # else what is wrong is another rung's matter
    same = left_to_chance and torch.equal(first.corrupted, other.corrupted)
    message = f"a generator seeded with {seed + 1} gives the same result"
    expect(not same, message, inputs=first.inputs, expected=Words("another result"), got=first.corrupted)


@claim("corrupt_for_mlm", rung=4, examples=2)
@given(st.sampled_from([None, 0.1, 0.4, 0.7]), SEEDS)
def test_corrupt_for_mlm_rate(impl, rate, seed):
    """Of the maskable positions the share `rate` is chosen, 0.15 if nothing is said, in long and in short texts."""
    v, given_rate, share = Values("normal", seed), () if rate is None else (rate,), 0.15 if rate is None else rate
    for batch, n_position in ((40, 40), (400, 4)):
        tokens, maskable = v.integers(0, 19, (batch, n_position)), v.booleans(batch, n_position)
        drawn = Draw(impl, tokens, maskable, 3, 20, seed_from(v), *given_rate)
        n = int(drawn.chosen[maskable].sum())
        counts = {"chosen": n, "not chosen": int(maskable.sum()) - n}
        expect_frequencies(counts, {"chosen": share, "not chosen": 1 - share}, "maskable positions", drawn.inputs)


def pairs_of(states: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """The states of neighbors, in one text and in two texts, no position twice."""
    return {
        "pairs of neighbors in one text": (states[:, ::2], states[:, 1::2]),
        "pairs of positions, one above the other in two texts": (states[::2], states[1::2]),
    }


def expect_independent(states: Tensor, probabilities: Mapping[str, float], inputs: Mapping[str, Any]) -> None:
    """Fail where the states of neighbors, numbers into `probabilities`, are not drawn each for itself."""
    names = list(probabilities)
    for of, (one, other) in pairs_of(states).items():
        counts = torch.bincount((len(names) * one + other).flatten(), minlength=len(names) ** 2).tolist()
        table = {f"{a}, then {b}": probabilities[a] * probabilities[b] for a in names for b in names}
        expect_frequencies(dict(zip(table, counts, strict=True)), table, of, inputs)


def expect_binomial(totals: list[int], n: int, p: float, of: str, inputs: Mapping[str, Any]) -> None:
    """Fail where numbers of chosen positions are not those of n positions, each chosen on its own with probability p."""
    counts = {f"{k} chosen": totals.count(k) for k in range(n + 1)}
    exact = {f"{k} chosen": math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)}
    expect_frequencies(counts, exact, of, inputs, are="have")


@claim("corrupt_for_mlm", rung=5, examples=1)
@given(SEEDS)
def test_corrupt_for_mlm_each_chosen_on_its_own(impl, seed):
    """Whether one position is chosen says nothing of another, and how many are chosen is left to chance, 0 included."""
    tokens, maskable = uniform_text(40, 50, 7)
    drawn = Draw(impl, tokens, maskable, 3, 20, seed, 0.5)
    expect_independent(drawn.chosen.long(), {"not chosen": 0.5, "chosen": 0.5}, drawn.inputs)

    totals = drawn.chosen.sum(dim=1).tolist()
    expect_binomial(totals, tokens.shape[1], 0.5, "texts of 50 tokens, at a rate of 0.5", drawn.inputs)

    v = Values("normal", seed)
    for n_call, shape, rate in ((30, (2, 10), 0.5), (60, (2, 3), 0.1)):
        tokens, maskable = uniform_text(*shape, 7)
        calls = [Draw(impl, tokens, maskable, 3, 20, seed_from(v), rate) for _ in range(n_call)]
        of = f"batches of {tokens.numel()} tokens, at a rate of {rate}"
        expect_binomial([int(call.chosen.sum()) for call in calls], tokens.numel(), rate, of, calls[0].inputs)


MASKED, KEPT, DRAWN = 0, 1, 2


def fates(drawn: Draw) -> Tensor:
    """What became of each position: the mask token, its own token, or another token."""
    states = torch.full_like(drawn.tokens, DRAWN)
    states[drawn.corrupted == drawn.tokens] = KEPT
    states[drawn.corrupted == drawn.mask] = MASKED
    return states


def fate_probabilities(vocab: int) -> dict[str, float]:
    """Of a chosen position whose token is not the mask token: a token that is drawn may be either."""
    return {
        "the mask token": 0.8 + 0.1 / vocab,
        "the original token": 0.1 + 0.1 / vocab,
        "another token": 0.1 * (vocab - 2) / vocab,
    }


@claim("corrupt_for_mlm", rung=6, examples=1)
@given(st.integers(500, 600), SEEDS)
def test_corrupt_for_mlm_80_10_10(impl, vocab, seed):
    """Of the chosen, 80 % become the mask token, 10 % a drawn token, and 10 % stay as they are."""
    v = Values("normal", seed)
    tokens, maskable = v.integers(1, vocab - 1, (50, 120)), v.booleans(50, 120, true=0.9)
    drawn = Draw(impl, tokens, maskable, 0, vocab, seed_from(v), 0.3)
    states = fates(drawn)[drawn.chosen]
    probabilities = fate_probabilities(vocab)
    counts = dict(zip(probabilities, torch.bincount(states, minlength=3).tolist(), strict=True))
    expect_frequencies(counts, probabilities, "chosen positions", drawn.inputs)


@claim("corrupt_for_mlm", rung=7, examples=1)
@given(st.integers(0, 1), SEEDS)
def test_corrupt_for_mlm_whole_vocabulary(impl, mask, seed):
    """A drawn token may be any of the vocabulary, all equally likely: the original and the mask token too."""
    for vocab, shape, token in ((2, (60, 200), 1 - mask), (6, (40, 50), 3)):
        tokens, maskable = uniform_text(*shape, token)
        drawn = Draw(impl, tokens, maskable, mask, vocab, seed, 1.0)
        counts = torch.bincount(drawn.corrupted.flatten(), minlength=vocab).tolist()
        names = [f"token {k}" + " (the original)" * (k == token) + " (the mask)" * (k == mask) for k in range(vocab)]
        exact = [0.1 / vocab + 0.1 * (k == token) + 0.8 * (k == mask) for k in range(vocab)]
        of = f"results of chosen positions with a vocabulary of {vocab}"
        tables = (dict(zip(names, column, strict=True)) for column in (counts, exact))
        expect_frequencies(*tables, of, drawn.inputs)


@claim("corrupt_for_mlm", rung=8, examples=1)
@given(SEEDS)
def test_corrupt_for_mlm_each_fate_on_its_own(impl, seed):
    """What becomes of one chosen position says nothing of what becomes of another, nor does the token that is drawn."""
    vocab = 200
    tokens, maskable = uniform_text(80, 80, 7)
    drawn = Draw(impl, tokens, maskable, 3, vocab, seed, 1.0)
    states = fates(drawn)
    expect_independent(states, fate_probabilities(vocab), drawn.inputs)
    for of, (one, other) in pairs_of(torch.where(states == DRAWN, drawn.corrupted, -1)).items():
        equal = int(((one == other) & (one >= 0)).sum())
        p = 0.01 * (vocab - 2) / vocab**2  # both drawn, and both the same of the tokens that can be told
        counts = {"the same drawn token twice": equal, "anything else": one.numel() - equal}
        exact = {"the same drawn token twice": p, "anything else": 1 - p}
        expect_frequencies(counts, exact, of, drawn.inputs)


# --- mlm_loss ---------------------------------------------------------------------------------------------------------


def some_chosen(v: Values, batch: int, n_position: int) -> Tensor:
    """Which positions were chosen: different numbers a row, none in some rows, and one or more in all."""
    chosen = v.booleans(batch, n_position) & v.booleans(batch, 1)
    chosen[int(v.integers(0, batch - 1, ())), int(v.integers(0, n_position - 1, ()))] = True
    return chosen


@claim("mlm_loss", rung=1, examples=12)
@given(BATCH, LENGTH, st.integers(2, 9), values())
def test_mlm_loss_all_chosen(impl, batch, n_position, vocab, v):
    """If all were chosen, the loss is the mean of -log P of each token, predicted at the position where it stood."""
    logits, tokens = v.normal(batch, n_position, vocab), v.integers(0, vocab - 1, (batch, n_position))
    expect_reference(impl, reference.mlm_loss, logits, tokens, torch.ones(batch, n_position, dtype=torch.bool))


@claim("mlm_loss", rung=2, examples=12)
@given(LONGER, st.integers(2, 9), values())
def test_mlm_loss_some_chosen(impl, n_position, vocab, v):
    """In one text, only what was chosen counts, in the sum and in the number that it is divided by."""
    logits, tokens = v.normal(1, n_position, vocab), v.integers(0, vocab - 1, (1, n_position))
    expect_reference(impl, reference.mlm_loss, logits, tokens, some_chosen(v, 1, n_position))


@claim("mlm_loss", rung=3, examples=20)
@given(BATCH, LONGER, st.integers(2, 9), st.booleans(), values())
def test_mlm_loss_batches(impl, batch, n_position, vocab, dense, v):
    """All chosen positions of the batch count alike, however many of them a text has, and if it has none."""
    logits, tokens = v.normal(batch, n_position, vocab), v.integers(0, vocab - 1, (batch, n_position))
    chosen = some_chosen(v, batch, n_position)
    if not dense:
        logits, tokens, chosen = v.scattered(logits), v.scattered(tokens), v.scattered(chosen)
    expect_reference(impl, reference.mlm_loss, logits, tokens, chosen)


@claim("mlm_loss", rung=4, examples=12)
@given(BATCH, LONGER, st.integers(2, 9), st.sampled_from([30.0, 1e3, 1e5]), values())
def test_mlm_loss_huge_logits(impl, batch, n_position, vocab, size, v):
    """With huge logits the loss is as large as the mistake, and finite."""
    logits = size * (torch.rand(batch, n_position, vocab, generator=v.generator).argsort(dim=-1) - vocab / 2)
    tokens = v.integers(0, vocab - 1, (batch, n_position))
    expect_reference(impl, reference.mlm_loss, logits, tokens, some_chosen(v, batch, n_position))


@claim("mlm_loss", rung=5, examples=8)
@given(BATCH, LONGER, st.integers(2, 9), values())
def test_mlm_loss_gradients(impl, batch, n_position, vocab, v):
    """Gradients reach the logits of the chosen positions, and are 0 at all others."""
    logits, tokens = v.normal(batch, n_position, vocab), v.integers(0, vocab - 1, (batch, n_position))
    args = (logits, tokens, some_chosen(v, batch, n_position))
    expect_gradients(impl, reference.mlm_loss, args, torch.tensor(2.0), ["logits"])
