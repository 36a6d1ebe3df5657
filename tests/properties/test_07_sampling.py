"""How right is told from wrong in chapter 7: filters on their exact results first, then draws by counting."""

import itertools
import math
from collections.abc import Callable

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.comparing import compare_kind
from gptdojo.expect import expect, expect_close, expect_reference
from gptdojo.strategies import Values, values
from reference import sampling as reference
from tests.strategies.chance import expect_draws

INF = math.inf
WHAT = "the tensor of logits"
TEMPERATURES = st.sampled_from([0.1, 0.25, 0.5, 0.7, 0.9, 1.5, 2.0, 3.0, 10.0])
PENALTIES = st.sampled_from([1.1, 1.5, 2.0, 3.0])
ROWS = st.integers(2, 3)
CLEAR = 1e-3  # how far a border stays away from every number that is compared with it: float32 is right either way then


def untied(v: Values, batch: int, vocab: int) -> Tensor:
    """Logits of both signs, unsorted, that lie at least a quarter apart in each row."""
    climbing = (v.normal(batch, vocab).abs() + 0.25).cumsum(dim=-1)
    climbing = climbing - climbing[:, vocab // 2 - 1 : vocab // 2] - 0.125
    order = torch.stack([v.permutation(vocab) for _ in range(batch)])
    return climbing.gather(-1, order)


def tied(v: Values, batch: int, vocab: int) -> Tensor:
    """Logits of few different values, so that many tie."""
    return v.integers(-2, 1, (batch, vocab)).float() + 0.5


def partly_ruled_out(v: Values, logits: Tensor) -> Tensor:
    """The same with -inf in places, in the first row everywhere but once; some logit of each row stays."""
    out = v.booleans(*logits.shape)
    out[0] = True
    return logits.masked_fill(out.scatter(-1, logits.argsort(dim=-1)[:, 1:2], False), -INF)


def clear_choices(borders: Tensor) -> list[float]:
    """Numbers from 0 to 1 with four decimals, one in each gap between the borders that is wide enough."""
    edges = sorted({0.0, 1.0, *borders.double().flatten().tolist()})
    gaps = [(low, high) for low, high in itertools.pairwise(edges) if high - low > 4 * CLEAR]
    return [round((low + high) / 2, 4) for low, high in gaps]


def one_of(choices: list[float], pick: int) -> float:
    """A choice; 0.5 where all gaps are too narrow to choose one safely."""
    return choices[pick % len(choices)] if choices else 0.5


def sums(logits: Tensor) -> Tensor:
    """What the likeliest tokens of each row have together: the borders of top-p."""
    return logits.double().softmax(dim=-1).sort(dim=-1, descending=True).values.cumsum(dim=-1)


def ratios(logits: Tensor) -> Tensor:
    """The probability of each token relative to the likeliest: the borders of min-p."""
    return (logits.double() - logits.double().amax(dim=-1, keepdim=True)).exp()


PICKS = st.integers(0, 1000)


# --- apply_temperature ------------------------------------------------------------------------------------------------


@claim("apply_temperature", rung=1, examples=15)
@given(batch=ROWS, vocab=st.integers(2, 7), temperature=TEMPERATURES, v=values())
def test_apply_temperature_divides(impl, batch, vocab, temperature, v):
    """All logits are divided by the temperature."""
    logits = v.scattered(untied(v, batch, vocab))
    expect_reference(impl, reference.apply_temperature, logits, temperature, what=WHAT)


@claim("apply_temperature", rung=2, examples=10)
@given(batch=ROWS, vocab=st.integers(2, 7), zero=st.sampled_from([0, 0.0]), v=values())
def test_apply_temperature_zero(impl, batch, vocab, zero, v):
    """With a temperature of 0 the likeliest token of each row keeps its logit, and all others become -inf."""
    expect_reference(impl, reference.apply_temperature, untied(v, batch, vocab), zero, what=WHAT)


@claim("apply_temperature", rung=3, examples=10)
@given(batch=ROWS, vocab=st.integers(3, 7), v=values())
def test_apply_temperature_zero_with_ties(impl, batch, vocab, v):
    """With a temperature of 0, tokens that tie for the likeliest all stay."""
    expect_reference(impl, reference.apply_temperature, tied(v, batch, vocab), 0, what=WHAT)


@claim("apply_temperature", rung=4, examples=10)
@given(batch=ROWS, vocab=st.integers(2, 7), temperature=TEMPERATURES | st.just(0), v=values())
def test_apply_temperature_ruled_out(impl, batch, vocab, temperature, v):
    """A token that was ruled out before stays so at every temperature."""
    logits = partly_ruled_out(v, untied(v, batch, vocab))
    expect_reference(impl, reference.apply_temperature, logits, temperature, what=WHAT)


# --- top_k_filter -----------------------------------------------------------------------------------------------------


@claim("top_k_filter", rung=1, examples=10)
@given(vocab=st.integers(2, 7), v=values())
def test_top_k_filter_the_likeliest(impl, vocab, v):
    """With k = 1 the likeliest token keeps its logit, and all others become -inf."""
    expect_reference(impl, reference.top_k_filter, untied(v, 1, vocab), 1, what=WHAT)


@claim("top_k_filter", rung=2, examples=20)
@given(batch=ROWS, vocab=st.integers(3, 8), data=st.data())
def test_top_k_filter_any_k(impl, batch, vocab, data):
    """Each row keeps its k likeliest tokens, wherever they stand."""
    k, v = data.draw(st.integers(1, vocab - 1), label="k"), data.draw(values())
    expect_reference(impl, reference.top_k_filter, v.scattered(untied(v, batch, vocab)), k, what=WHAT)


@claim("top_k_filter", rung=3, examples=10)
@given(batch=ROWS, vocab=st.integers(2, 6), more=st.sampled_from([0, 1, 2, 50]), v=values())
def test_top_k_filter_more_than_there_are(impl, batch, vocab, more, v):
    """With a k as large as the vocabulary, or larger, everything is kept."""
    expect_reference(impl, reference.top_k_filter, untied(v, batch, vocab), vocab + more, what=WHAT)


@claim("top_k_filter", rung=4, examples=15)
@given(batch=ROWS, vocab=st.integers(3, 8), data=st.data())
def test_top_k_filter_ties(impl, batch, vocab, data):
    """Tokens that tie with the k-th likeliest are kept as well."""
    k, v = data.draw(st.integers(1, vocab - 1), label="k"), data.draw(values())
    expect_reference(impl, reference.top_k_filter, tied(v, batch, vocab), k, what=WHAT)


@claim("top_k_filter", rung=5, examples=15)
@given(batch=ROWS, vocab=st.integers(4, 8), k=st.integers(1, 8), v=values())
def test_top_k_filter_ruled_out(impl, batch, vocab, k, v):
    """Tokens that were ruled out before stay so, and come after all others; a row may have fewer than k left."""
    logits = partly_ruled_out(v, untied(v, batch, vocab))
    expect_reference(impl, reference.top_k_filter, logits, k, what=WHAT)


# --- top_p_filter -----------------------------------------------------------------------------------------------------


def nucleus(impl, logits: Tensor, pick: int) -> None:
    """Compare for a p that is no border of any row."""
    expect_reference(impl, reference.top_p_filter, logits, one_of(clear_choices(sums(logits)), pick), what=WHAT)


@claim("top_p_filter", rung=1, examples=20)
@given(vocab=st.integers(2, 7), pick=PICKS, v=values())
def test_top_p_filter_sorted(impl, vocab, pick, v):
    """Of tokens in falling order, the first ones that have p together are kept, the one that crosses p included."""
    nucleus(impl, untied(v, 1, vocab).sort(dim=-1, descending=True).values, pick)


@claim("top_p_filter", rung=2, examples=20)
@given(vocab=st.integers(3, 8), pick=PICKS, v=values())
def test_top_p_filter_any_order(impl, vocab, pick, v):
    """The order of the vocabulary does not matter."""
    nucleus(impl, untied(v, 1, vocab), pick)


@claim("top_p_filter", rung=3, examples=20)
@given(batch=ROWS, vocab=st.integers(3, 8), pick=PICKS, v=values())
def test_top_p_filter_rows(impl, batch, vocab, pick, v):
    """Each row has a nucleus of its own: few tokens where it is sharp, many where it is flat."""
    logits = untied(v, batch, vocab) * torch.tensor([[0.4], [2.0], [1.0]])[:batch]
    nucleus(impl, v.scattered(logits), pick)


@claim("top_p_filter", rung=4, examples=10)
@given(batch=ROWS, vocab=st.integers(2, 7), p=st.sampled_from([0, 0.0, 1e-9]), v=values())
def test_top_p_filter_next_to_nothing(impl, batch, vocab, p, v):
    """As p goes to 0, and with p = 0, the likeliest token is left."""
    expect_reference(impl, reference.top_p_filter, untied(v, batch, vocab), p, what=WHAT)


@claim("top_p_filter", rung=5, examples=10)
@given(
    batch=ROWS, vocab=st.integers(2, 7), p=st.sampled_from([1, 1.0]), spread=st.sampled_from([1.0, 20.0]), v=values()
)
def test_top_p_filter_everything(impl, batch, vocab, p, spread, v):
    """With p = 1 every token is kept, however small its probability."""
    expect_reference(impl, reference.top_p_filter, spread * untied(v, batch, vocab), p, what=WHAT)


@claim("top_p_filter", rung=6, examples=20)
@given(batch=ROWS, vocab=st.integers(3, 8), pick=PICKS, v=values())
def test_top_p_filter_ties(impl, batch, vocab, pick, v):
    """Tokens that tie with the one that crosses p are kept as well."""
    nucleus(impl, tied(v, batch, vocab), pick)


@claim("top_p_filter", rung=7, examples=20)
@given(batch=ROWS, vocab=st.integers(4, 8), pick=PICKS, everything=st.booleans(), v=values())
def test_top_p_filter_ruled_out(impl, batch, vocab, pick, everything, v):
    """Tokens that were ruled out before have no probability and stay so, with p = 1 as well."""
    logits = partly_ruled_out(v, untied(v, batch, vocab))
    if everything:
        expect_reference(impl, reference.top_p_filter, logits, 1.0, what=WHAT)
    else:
        nucleus(impl, logits, pick)


# --- min_p_filter -----------------------------------------------------------------------------------------------------


def fraction(impl, logits: Tensor, pick: int) -> None:
    """Compare for a min_p that is no border of any row."""
    expect_reference(impl, reference.min_p_filter, logits, one_of(clear_choices(ratios(logits)), pick), what=WHAT)


@claim("min_p_filter", rung=1, examples=20)
@given(vocab=st.integers(2, 7), pick=PICKS, v=values())
def test_min_p_filter_one_row(impl, vocab, pick, v):
    """Tokens with at least min_p times the probability of the likeliest keep their logits, the others become -inf."""
    fraction(impl, untied(v, 1, vocab), pick)


@claim("min_p_filter", rung=2, examples=20)
@given(batch=ROWS, vocab=st.integers(3, 8), pick=PICKS, v=values())
def test_min_p_filter_rows(impl, batch, vocab, pick, v):
    """Each row is measured by its own likeliest token; where a row is flat, more is kept."""
    logits = untied(v, batch, vocab) * torch.tensor([[0.4], [2.0], [1.0]])[:batch]
    fraction(impl, v.scattered(logits), pick)


@claim("min_p_filter", rung=3, examples=10)
@given(batch=ROWS, vocab=st.integers(2, 7), min_p=st.sampled_from([1, 1.0]), v=values())
def test_min_p_filter_one(impl, batch, vocab, min_p, v):
    """With min_p = 1 the likeliest token of each row is left."""
    expect_reference(impl, reference.min_p_filter, untied(v, batch, vocab), min_p, what=WHAT)


@claim("min_p_filter", rung=4, examples=15)
@given(batch=ROWS, vocab=st.integers(3, 8), pick=PICKS, one=st.booleans(), v=values())
def test_min_p_filter_ties(impl, batch, vocab, pick, one, v):
    """Tokens that tie are treated alike, with min_p = 1 too: all that tie for the likeliest are left."""
    logits = tied(v, batch, vocab)
    if one:
        expect_reference(impl, reference.min_p_filter, logits, 1.0, what=WHAT)
    else:
        fraction(impl, logits, pick)


@claim("min_p_filter", rung=5, examples=10)
@given(
    batch=ROWS, vocab=st.integers(2, 7), zero=st.sampled_from([0, 0.0]), spread=st.sampled_from([1.0, 10.0]), v=values()
)
def test_min_p_filter_zero(impl, batch, vocab, zero, spread, v):
    """With min_p = 0 every token is kept, however small its probability."""
    expect_reference(impl, reference.min_p_filter, spread * untied(v, batch, vocab), zero, what=WHAT)


@claim("min_p_filter", rung=6, examples=15)
@given(batch=ROWS, vocab=st.integers(2, 7), pick=PICKS, v=values())
def test_min_p_filter_large_logits(impl, batch, vocab, pick, v):
    """Only differences count: logits may be in the hundreds, on either side of 0."""
    side = torch.tensor([[300.0], [-300.0], [120.0]])[:batch]
    fraction(impl, (untied(v, batch, vocab) * 8).round() / 8 + side, pick)


@claim("min_p_filter", rung=7, examples=15)
@given(batch=ROWS, vocab=st.integers(4, 8), pick=PICKS, zero=st.booleans(), v=values())
def test_min_p_filter_ruled_out(impl, batch, vocab, pick, zero, v):
    """Tokens that were ruled out before stay so, with min_p = 0 as well."""
    logits = partly_ruled_out(v, untied(v, batch, vocab))
    if zero:
        expect_reference(impl, reference.min_p_filter, logits, 0.0, what=WHAT)
    else:
        fraction(impl, logits, pick)


# --- repetition_penalty -----------------------------------------------------------------------------------------------


@claim("repetition_penalty", rung=1, examples=15)
@given(vocab=st.integers(2, 7), penalty=PENALTIES, v=values())
def test_repetition_penalty_one_token(impl, vocab, penalty, v):
    """One token was seen: its logit is divided by the penalty if it is positive, else multiplied; no other changes."""
    tokens = v.integers(0, vocab - 1, (1, 1))
    expect_reference(impl, reference.repetition_penalty, untied(v, 1, vocab), tokens, penalty, what=WHAT)


@claim("repetition_penalty", rung=2, examples=20)
@given(batch=ROWS, vocab=st.integers(4, 8), seen=st.integers(2, 3), penalty=PENALTIES, v=values())
def test_repetition_penalty_several_tokens(impl, batch, vocab, seen, penalty, v):
    """Every token that a row has seen is penalized in that row, and in no other."""
    tokens = torch.stack([v.permutation(vocab)[:seen] for _ in range(batch)])
    logits = v.scattered(untied(v, batch, vocab))
    expect_reference(impl, reference.repetition_penalty, logits, tokens, penalty, what=WHAT)


@claim("repetition_penalty", rung=3, examples=15)
@given(batch=ROWS, vocab=st.integers(2, 5), seen=st.integers(3, 9), penalty=PENALTIES, v=values())
def test_repetition_penalty_once(impl, batch, vocab, seen, penalty, v):
    """A token is penalized once, however often it was seen."""
    tokens = v.integers(0, vocab - 1, (batch, seen))
    expect_reference(impl, reference.repetition_penalty, untied(v, batch, vocab), tokens, penalty, what=WHAT)


@claim("repetition_penalty", rung=4, examples=6)
@given(batch=ROWS, vocab=st.integers(2, 6), penalty=PENALTIES, v=values())
def test_repetition_penalty_nothing_seen(impl, batch, vocab, penalty, v):
    """Where nothing was seen yet, nothing changes."""
    tokens = torch.zeros(batch, 0, dtype=torch.long)
    expect_reference(impl, reference.repetition_penalty, untied(v, batch, vocab), tokens, penalty, what=WHAT)


@claim("repetition_penalty", rung=5, examples=10)
@given(batch=ROWS, vocab=st.integers(3, 7), reward=st.sampled_from([0.25, 0.5, 0.8]), v=values())
def test_repetition_penalty_reward(impl, batch, vocab, reward, v):
    """A penalty below 1 rewards what was seen, by the same rule."""
    tokens = v.integers(0, vocab - 1, (batch, 3))
    expect_reference(impl, reference.repetition_penalty, untied(v, batch, vocab), tokens, reward, what=WHAT)


@claim("repetition_penalty", rung=6, examples=10)
@given(batch=ROWS, vocab=st.integers(3, 7), penalty=PENALTIES, v=values())
def test_repetition_penalty_ruled_out(impl, batch, vocab, penalty, v):
    """A token that was ruled out before stays so, seen or not."""
    logits = partly_ruled_out(v, untied(v, batch, vocab))
    tokens = v.integers(0, vocab - 1, (batch, 4))
    expect_reference(impl, reference.repetition_penalty, logits, tokens, penalty, what=WHAT)


# --- process_logits ---------------------------------------------------------------------------------------------------


EDGES = {
    "temperature 0": (1.0, 0.0),
    "top_p 0": (1.0, 2.0, None, 0.0),
    "top_p 1": (1.0, 2.0, None, 1.0),
    "min_p 0": (1.0, 2.0, None, None, 0.0),
    "min_p 1": (1.0, 2.0, None, None, 1.0),
}


def a_case(v: Values, batch: int, vocab: int, seen: int = 3) -> tuple[Tensor, Tensor]:
    """Logits, and tokens seen by each row."""
    return untied(v, batch, vocab) * torch.tensor([[0.6], [1.2], [1.0]])[:batch], v.integers(
        0, vocab - 1, (batch, seen)
    )


def telling(borders: Tensor, right: Callable[[float], Tensor], other: Callable[[float], Tensor], pick: int) -> float:
    """A setting clear of all borders, if possible one for which the right order and another one differ."""
    choices = clear_choices(borders)
    return one_of([choice for choice in choices if not torch.equal(right(choice), other(choice))] or choices, pick)


def chain(impl, logits: Tensor, tokens: Tensor, *settings) -> None:
    """Compare the whole chain."""
    expect_reference(impl, reference.process_logits, logits, tokens, *settings, what=WHAT)


@claim("process_logits", rung=1, examples=10)
@given(batch=ROWS, vocab=st.integers(3, 7), temperature=TEMPERATURES, v=values())
def test_process_logits_temperature(impl, batch, vocab, temperature, v):
    """With nothing but a temperature, the logits are divided by it."""
    chain(impl, *a_case(v, batch, vocab), 1.0, temperature)


@claim("process_logits", rung=2, examples=20)
@given(
    batch=ROWS,
    vocab=st.integers(3, 7),
    step=st.sampled_from(["penalty", "top_k", "top_p", "min_p"]),
    pick=PICKS,
    v=values(),
)
def test_process_logits_one_step(impl, batch, vocab, step, pick, v):
    """Each other step does its work when it is the only one, with a top_k beyond the vocabulary too."""
    logits, tokens = a_case(v, batch, vocab)
    if step == "penalty":
        chain(impl, logits, tokens, [0.5, 1.5, 2.0][pick % 3])
    elif step == "top_k":
        chain(impl, logits, tokens, 1.0, 1.0, 1 + pick % (vocab + 2))
    elif step == "top_p":
        chain(impl, logits, tokens, 1.0, 1.0, None, one_of(clear_choices(sums(logits)), pick))
    else:
        chain(impl, logits, tokens, 1.0, 1.0, None, None, one_of(clear_choices(ratios(logits)), pick))


@claim("process_logits", rung=3, examples=20)
@given(batch=ROWS, vocab=st.integers(3, 7), edge=st.sampled_from(sorted(EDGES)), v=values())
def test_process_logits_edge_values(impl, batch, vocab, edge, v):
    """A temperature or top_p of 0 and a min_p of 1 leave the likeliest; a top_p of 1 and a min_p of 0 leave all: None differs."""
    logits, tokens = a_case(v, batch, vocab)
    chain(impl, 20 * logits if edge in ("top_p 1", "min_p 0") else logits, tokens, *EDGES[edge])


@claim("process_logits", rung=4, examples=15)
@given(batch=ROWS, vocab=st.integers(3, 7), temperature=TEMPERATURES, use_min_p=st.booleans(), pick=PICKS, v=values())
def test_process_logits_temperature_before_the_filters(impl, batch, vocab, temperature, use_min_p, pick, v):
    """The temperature changes what top-p and min-p keep."""
    logits, tokens = a_case(v, batch, vocab)
    scaled = logits / temperature
    keep, borders = (reference.min_p_filter, ratios) if use_min_p else (reference.top_p_filter, sums)
    found = telling(borders(scaled), lambda p: keep(scaled, p).isinf(), lambda p: keep(logits, p).isinf(), pick)
    chain(impl, logits, tokens, 1.0, temperature, None, *((None, found) if use_min_p else (found,)))


@claim("process_logits", rung=5, examples=15)
@given(batch=ROWS, vocab=st.integers(4, 8), top_k=st.integers(2, 3), pick=PICKS, v=values())
def test_process_logits_top_k_before_top_p(impl, batch, vocab, top_k, pick, v):
    """top-p judges what top-k has left, scaled to sum to 1."""
    logits, tokens = a_case(v, batch, vocab)
    left = reference.top_k_filter(logits, top_k)

    def other(p: float) -> Tensor:
        return reference.top_k_filter(reference.top_p_filter(logits, p), top_k)

    p = telling(sums(left), lambda p: reference.top_p_filter(left, p), other, pick)
    chain(impl, logits, tokens, 1.0, 1.0, top_k, p)


@claim("process_logits", rung=6, examples=15)
@given(batch=ROWS, vocab=st.integers(4, 8), pick=PICKS, v=values())
def test_process_logits_top_p_before_min_p(impl, batch, vocab, pick, v):
    """top-p comes before min-p: what min-p would remove still counts in its sum."""
    logits, tokens = a_case(v, batch, vocab)
    min_p = one_of(clear_choices(ratios(logits)), pick)
    fewer = reference.min_p_filter(logits, min_p)

    def right(p: float) -> Tensor:
        return reference.min_p_filter(reference.top_p_filter(logits, p), min_p)

    p = telling(sums(logits), right, lambda p: reference.top_p_filter(fewer, p), pick // 7)
    chain(impl, logits, tokens, 1.0, 1.0, None, p, min_p)


@claim("process_logits", rung=7, examples=10)
@given(batch=ROWS, vocab=st.integers(3, 7), top_k=st.none() | st.integers(1, 2), v=values())
def test_process_logits_penalty_first(impl, batch, vocab, top_k, v):
    """The penalty comes first, before a temperature of 0 or a filter chooses: the likeliest may change."""
    logits, tokens = a_case(v, batch, vocab)
    logits = logits.abs() + 0.5
    tokens = torch.cat([tokens[:, :1], logits.argmax(dim=-1, keepdim=True)], dim=1)
    chain(impl, logits, tokens, 5.0, 0.0 if top_k is None else 1.0, top_k)


@claim("process_logits", rung=8, examples=20)
@given(
    batch=ROWS, vocab=st.integers(5, 9), penalty=st.sampled_from([0.8, 1.0, 1.5]), temperature=TEMPERATURES,
    top_k=st.none() | st.integers(2, 10), picks=st.tuples(PICKS, PICKS), v=values(),
)  # fmt: skip
def test_process_logits_everything(impl, batch, vocab, penalty, temperature, top_k, picks, v):
    """All steps together, for any settings."""
    logits, tokens = a_case(v, batch, vocab)
    left = reference.process_logits(logits.double(), tokens, penalty, temperature, top_k)
    top_p = one_of([*clear_choices(sums(left)), 1.0], picks[0])
    min_p = one_of([*clear_choices(ratios(reference.top_p_filter(left, top_p))), 0.0], picks[1])
    chain(impl, logits, tokens, penalty, temperature, top_k, top_p, min_p)


# --- sample -----------------------------------------------------------------------------------------------------------

TOKENS = "the tensor of tokens"
MANY = 16_384


def new_seed(v: Values) -> int:
    """A seed of the case, another one in every call, whatever its numbers look like."""
    return int(torch.randint(2**40, (1,), generator=v.generator))


def seeded(v: Values) -> torch.Generator:
    """A generator with a seed of the case."""
    return torch.Generator().manual_seed(new_seed(v))


def drawn(impl, logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """What the learner's code draws, after it was found to be one token of the vocabulary a row."""
    tokens = impl(logits, generator) if generator is not None else impl(logits)
    inputs = {"logits": logits if len(logits) < 20 else f"{len(logits)} rows, the first is {logits[0].tolist()}"}
    vocab = logits.shape[-1]
    compare_kind(tokens, torch.zeros(len(logits), dtype=torch.long), TOKENS, inputs, None)
    inside = bool(((tokens >= 0) & (tokens < vocab)).all())
    expect(inside, f"a token is not from 0 to {vocab - 1}", inputs=inputs, got=tokens)
    return tokens.long()


@claim("sample", rung=1, examples=15)
@given(batch=ROWS, vocab=st.integers(2, 6), v=values())
def test_sample_certain(impl, batch, vocab, v):
    """Where one token has practically all the probability, each row draws its own."""
    certain = v.integers(0, vocab - 1, (batch, 1))
    logits = (untied(v, batch, vocab).clamp(-3, 3)).scatter(-1, certain, 60.0)
    tokens = drawn(impl, logits, seeded(v))
    expect_close(impl, tokens, certain[:, 0], inputs={"logits": logits}, what=TOKENS)


@claim("sample", rung=2, examples=8)
@given(vocab=st.integers(3, 6), shift=st.sampled_from([0.0, -30.0, 30.0]), v=values())
def test_sample_ruled_out(impl, vocab, shift, v):
    """A token with the logit -inf is never drawn, whatever the others are."""
    logits = untied(v, 100, vocab) + shift
    logits = logits.masked_fill(torch.arange(vocab) == v.integers(0, vocab - 1, (100, 1)), -INF)
    tokens = drawn(impl, logits, seeded(v))
    impossible = logits.gather(-1, tokens[:, None])[:, 0] == -INF
    row = int(impossible.int().argmax())
    inputs = {"a row of the logits": logits[row]}
    message = f"token {int(tokens[row])} was drawn, whose logit is -inf"
    expect(not impossible.any(), message, inputs=inputs)


@claim("sample", rung=3, examples=10)
@given(batch=ROWS, vocab=st.integers(2, 6), side=st.sampled_from([700.0, -700.0]), v=values())
def test_sample_large_logits(impl, batch, vocab, side, v):
    """Logits may be in the hundreds on either side of 0; only their differences count."""
    order = torch.stack([v.permutation(vocab) for _ in range(batch)])
    logits = 100.0 * order + side
    tokens = drawn(impl, logits, seeded(v))
    expect_close(impl, tokens, order.argmax(dim=-1), inputs={"logits": logits}, what=TOKENS)


@claim("sample", rung=4, examples=3)
@given(vocab=st.integers(2, 5), v=values())
def test_sample_repeats_with_the_seed(impl, vocab, v):
    """Generators with one seed give the same tokens; all randomness comes from the one that was passed."""
    logits, seed = untied(v, 200, vocab) / 4, new_seed(v)
    first, again = (drawn(impl, logits, torch.Generator().manual_seed(seed)) for _ in range(2))
    inputs = {"logits": f"{len(logits)} rows, the first is {logits[0].tolist()}", "seed of the generator": seed}
    differ = int((first != again).sum())
    expect(differ == 0, f"with equal generators, {differ} of {len(first)} tokens differ", inputs=inputs)


@claim("sample", rung=5, examples=2)
@given(v=values())
def test_sample_one_row_over_many_seeds(impl, v):
    """Over many seeds, one row draws each token as often as the softmax of its logits says."""
    logits = untied(v, 1, 3) / 2
    tokens = torch.cat([drawn(impl, logits, seeded(v)) for _ in range(250)])
    inputs = {"logits": logits, "generators": "250, of different seeds"}
    expect_draws(torch.bincount(tokens, minlength=3), logits[0].double().softmax(-1), what="token", inputs=inputs)


@claim("sample", rung=6, examples=2)
@given(vocab=st.integers(3, 6), v=values())
def test_sample_many_rows(impl, vocab, v):
    """Over many equal rows of one call, each token comes as often as the softmax says, to within the scatter of counts."""
    row = torch.linspace(-1.5, 1.5, vocab)[v.permutation(vocab)]  # uneven, so that a wrong temperature shows
    tokens = drawn(impl, row.expand(MANY, vocab), seeded(v))
    inputs = {"logits": f"{MANY} rows of {[round(x, 4) for x in row.tolist()]}"}
    expect_draws(torch.bincount(tokens, minlength=vocab), row.double().softmax(-1), what="token", inputs=inputs)


@claim("sample", rung=7, examples=2)
@given(gap=st.sampled_from([1, 2, 4, MANY // 2]), v=values())
def test_sample_rows_are_independent(impl, gap, v):
    """Rows know nothing of each other: each pair of tokens comes as often as the product of their probabilities says."""
    row = torch.tensor([0.0, 0.4])
    tokens = drawn(impl, row.expand(MANY, 2), seeded(v)).view(-1, 2, gap)
    pairs = (tokens[:, 0] * 2 + tokens[:, 1]).flatten()
    probs = row.double().softmax(-1)
    inputs = {"logits": f"{MANY} rows of [0.0, 0.4]", "pairs": f"2 * token of row i + token of row i + {gap}"}
    expect_draws(torch.bincount(pairs, minlength=4), torch.outer(probs, probs), what="pair", inputs=inputs)

    logits = torch.tensor([[0.0, 0.6], [0.3, 0.0]])
    tokens = torch.stack([drawn(impl, logits, seeded(v)) for _ in range(150)])
    probs = torch.outer(*logits.double().softmax(dim=-1))
    inputs = {"logits": logits, "generators": "150, of different seeds", "pairs": "2 * token of row 0 + token of row 1"}
    expect_draws(torch.bincount(tokens @ torch.tensor([2, 1]), minlength=4), probs, what="pair", inputs=inputs)


@claim("sample", rung=8, examples=2)
@given(vocab=st.integers(3, 5))
def test_sample_without_a_generator(impl, vocab):
    """Without a generator, calls go on drawing from torch's own: they do not repeat each other."""
    logits = torch.zeros(200, vocab)
    first, second = drawn(impl, logits, None), drawn(impl, logits, None)
    inputs = {"logits": f"200 rows of {vocab} zeros", "generator": None}
    expect(not first.equal(second), "two calls in a row drew the same 200 tokens", inputs=inputs)
