"""How right is told from wrong in chapter 1: from logits to probabilities, losses and perplexity."""

import itertools

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect, expect_close, expect_raises, expect_reference
from gptdojo.strategies import Values, values
from reference import next_token as reference

BATCH = st.integers(2, 4)
POSITIONS = st.integers(2, 6)
VOCAB = st.integers(2, 7)
ANY_SHAPE = st.sampled_from([1, 2, 3, 4]).flatmap(lambda n_axis: st.tuples(*[st.integers(1, 3) | st.just(4)] * n_axis))
SIZES = st.sampled_from([(1.0, 0.0), (1.0, 400.0), (1.0, -400.0), (1e4, 0.0), (1e30, 0.0)])
MINUS_INFINITY = float("-inf")


@st.composite
def logits_of_any_size(draw) -> tuple[Tensor, int]:
    """Logits far from 0, far from each other, or in rows that are far apart; and the axis to normalize along.

    Those that are far apart have no ties: how two of 1e30 compare would depend on how the rounding falls.
    """
    shape = (draw(BATCH), draw(st.integers(2, 6)))
    spread, shift = draw(SIZES)
    dim = draw(st.sampled_from([0, 1]))
    v = draw(values())
    logits = v.normal(*shape)
    if spread > 1:
        logits = logits.argsort(dim=dim).float() * spread
    rows = 300.0 * v.integers(-1, 1, tuple(1 if axis == dim else size for axis, size in enumerate(shape)))
    return logits + shift + (rows if spread == 1 else 0.0), dim


def with_some_ruled_out(v: Values, logits: Tensor) -> Tensor:
    """Logits of which some are -inf, but never the first of a row: a running maximum would have nothing to start from."""
    ruled_out = v.booleans(*logits.shape)
    ruled_out[..., 0] = False
    return logits.masked_fill(ruled_out, MINUS_INFINITY)


def far_apart(v: Values, shape: tuple[int, ...], vocab: int, size: float) -> Tensor:
    """Logits of shape (*shape, vocab), huge and at least `size` apart; near 1e6 no float could tell the share of two equal ones."""
    return v.normal(*shape, vocab).argsort(dim=-1).float() * size


# --- softmax ----------------------------------------------------------------------------------------------------------


@claim("softmax", rung=1, examples=10)
@given(n=st.integers(2, 6), v=values())
def test_softmax_one_vector(impl, n, v):
    """The probabilities of one vector of logits are in the ratios exp(logit) and sum to 1."""
    expect_reference(impl, reference.softmax, v.normal(n))


@claim("softmax", rung=2, examples=15)
@given(n_row=BATCH, n=st.integers(2, 6), v=values())
def test_softmax_every_row_by_itself(impl, n_row, n, v):
    """In a matrix, each row sums to 1 by itself: `dim` is the last axis unless it is given."""
    expect_reference(impl, reference.softmax, v.normal(n_row, n))


@claim("softmax", rung=3, examples=12)
@given(shape=ANY_SHAPE, v=values())
def test_softmax_every_dim(impl, shape, v):
    """It runs along any axis of any shape, counted from the front or from the end, contiguous or not."""
    logits = v.scattered(v.normal(*shape))
    for dim in range(-len(shape), len(shape)):
        expect_reference(impl, reference.softmax, logits, dim)


@claim("softmax", rung=4, examples=30)
@given(case=logits_of_any_size())
def test_softmax_logits_of_any_size(impl, case):
    """Logits may be huge, hugely negative, or far apart, also from one row to the next: only differences in a row count."""
    expect_reference(impl, reference.softmax, *case)


@claim("softmax", rung=5, examples=12)
@given(n_row=BATCH, n=st.integers(2, 6), v=values())
def test_softmax_minus_infinity(impl, n_row, n, v):
    """A logit of -inf gets probability 0, and the others share as if it were not there."""
    expect_reference(impl, reference.softmax, with_some_ruled_out(v, v.normal(n_row, n)))


# --- log_softmax ------------------------------------------------------------------------------------------------------


@claim("log_softmax", rung=1, examples=10)
@given(n=st.integers(2, 6), v=values())
def test_log_softmax_one_vector(impl, n, v):
    """Of one vector of logits, it is the natural logarithm of each probability."""
    expect_reference(impl, reference.log_softmax, v.normal(n))


@claim("log_softmax", rung=2, examples=15)
@given(n_row=BATCH, n=st.integers(2, 6), v=values())
def test_log_softmax_every_row_by_itself(impl, n_row, n, v):
    """In a matrix, each row is normalized by itself: `dim` is the last axis unless it is given."""
    expect_reference(impl, reference.log_softmax, v.normal(n_row, n))


@claim("log_softmax", rung=3, examples=12)
@given(shape=ANY_SHAPE, v=values())
def test_log_softmax_every_dim(impl, shape, v):
    """It runs along any axis of any shape, counted from the front or from the end, contiguous or not."""
    logits = v.scattered(v.normal(*shape))
    for dim in range(-len(shape), len(shape)):
        expect_reference(impl, reference.log_softmax, logits, dim)


@claim("log_softmax", rung=4, examples=30)
@given(case=logits_of_any_size())
def test_log_softmax_logits_of_any_size(impl, case):
    """Finite logits give finite results, however large they are and however far apart, also from one row to the next."""
    expect_reference(impl, reference.log_softmax, *case)


@claim("log_softmax", rung=5, examples=12)
@given(n_row=BATCH, n=st.integers(2, 6), v=values())
def test_log_softmax_minus_infinity(impl, n_row, n, v):
    """A logit of -inf stays -inf, and the others share the probability as if it were not there."""
    expect_reference(impl, reference.log_softmax, with_some_ruled_out(v, v.normal(n_row, n)))


# --- shift_targets ----------------------------------------------------------------------------------------------------


def is_shaped_alike(one: object, other: object) -> bool:
    """Say whether these are two int64 tensors of the same shape, whatever that is."""
    tensors = isinstance(one, Tensor) and isinstance(other, Tensor) and one.shape == other.shape
    return tensors and one.dtype == other.dtype == torch.int64


def distance(steps: list[int]) -> str:
    """Say how far the targets are from their inputs, in texts that count up by one and lie 10 apart."""
    if not steps:
        return "there is no target"
    if abs(steps[0]) > 6:
        return "each target is in another text than its input"
    if steps[0] == 0:
        return "each target is its input"
    number = abs(steps[0])
    return f"each target is {number} step{'s' * (number > 1)} {'before' if steps[0] < 0 else 'after'} its input"


@claim("shift_targets", rung=1, examples=10)
@given(batch=BATCH, n_position=st.integers(3, 7), v=values())
def test_shift_targets_one_step_ahead(impl, batch, n_position, v):
    """Each target is the token one step after its input: not the same one, not two steps after, in no other text."""
    tokens = 10 * (v.permutation(batch)[:, None] + 1) + torch.arange(n_position)  # counts up, one a step
    got = impl(tokens)
    inputs = {"tokens": tokens}
    expected = reference.shift_targets(tokens)
    if isinstance(got, tuple | list) and len(got) == 2 and is_shaped_alike(*got):
        steps = (got[1] - got[0]).unique().tolist()
        one_step = len(steps) != 1 or steps == [1]
        expect(one_step, f"{distance(steps)}, expected 1 step after it", inputs=inputs, expected=expected, got=got)
    expect_close(impl, got, expected, inputs=inputs)


@claim("shift_targets", rung=2, examples=20)
@given(batch=st.integers(1, 3), n_position=POSITIONS, v=values())
def test_shift_targets_any_batch(impl, batch, n_position, v):
    """A batch may hold a single text, and a text may be as short as two tokens; tokens may repeat."""
    expect_reference(impl, reference.shift_targets, v.integers(0, 9, (batch, n_position)))


# --- cross_entropy ----------------------------------------------------------------------------------------------------


def logits_and_targets(v: Values, shape: tuple[int, ...], vocab: int) -> tuple[Tensor, Tensor]:
    """Logits of shape (*shape, vocab), not contiguous where that is possible, and targets."""
    return v.scattered(v.normal(*shape, vocab)), v.integers(0, vocab - 1, shape)


def some_ignored(v: Values, targets: Tensor, ignore_index: int) -> Tensor:
    """Targets of which some are `ignore_index`, anywhere, and one or more are not."""
    if (targets == ignore_index).all():
        targets = targets + (1 if ignore_index == 0 else -1)
    ignored = v.booleans(*targets.shape)
    ignored[tuple((targets != ignore_index).nonzero()[0])] = False
    return targets.masked_fill(ignored, ignore_index)


@claim("cross_entropy", rung=1, examples=10)
@given(n=st.integers(2, 6), vocab=VOCAB, v=values())
def test_cross_entropy_list_of_targets(impl, n, vocab, v):
    """It is the mean of -log P(target) over a list of targets."""
    expect_reference(impl, reference.cross_entropy, v.normal(n, vocab), v.integers(0, vocab - 1, (n,)))


@claim("cross_entropy", rung=2, examples=15)
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), vocab=VOCAB, v=values())
def test_cross_entropy_batches(impl, shape, vocab, v):
    """Targets may have any number of axes: the vocabulary is the last axis of the logits, which need not be contiguous."""
    expect_reference(impl, reference.cross_entropy, *logits_and_targets(v, shape, vocab))


@claim("cross_entropy", rung=3, examples=18)
@given(batch=BATCH, n_position=POSITIONS, vocab=VOCAB, v=values())
def test_cross_entropy_ignores_targets(impl, batch, n_position, vocab, v):
    """Targets of -100, wherever they stand, are in neither the sum nor the number that it is divided by."""
    logits, targets = logits_and_targets(v, (batch, n_position), vocab)
    expect_reference(impl, reference.cross_entropy, logits, some_ignored(v, targets, -100))


@claim("cross_entropy", rung=4, examples=18)
@given(batch=BATCH, n_position=POSITIONS, vocab=VOCAB, data=st.data())
def test_cross_entropy_any_ignore_index(impl, batch, n_position, vocab, data):
    """Any number may mark what is ignored, also the number of a token."""
    ignore_index = data.draw(st.sampled_from([0, vocab - 1, vocab, -1]))
    v = data.draw(values())
    logits, targets = logits_and_targets(v, (batch, n_position), vocab)
    expect_reference(impl, reference.cross_entropy, logits, some_ignored(v, targets, ignore_index), ignore_index)


@claim("cross_entropy", rung=5, examples=15)
@given(shape=st.tuples(BATCH, POSITIONS), vocab=VOCAB, size=st.sampled_from([30.0, 1e3, 1e6]), v=values())
def test_cross_entropy_huge_logits(impl, shape, vocab, size, v):
    """With huge logits the loss is as large as the mistake, and finite."""
    logits = v.scattered(far_apart(v, shape, vocab, size))
    expect_reference(impl, reference.cross_entropy, logits, v.integers(0, vocab - 1, shape))


@claim("cross_entropy", rung=6, examples=8)
@given(batch=BATCH, n_position=POSITIONS, vocab=VOCAB, ignore_index=st.sampled_from([-100, 1]), v=values())
def test_cross_entropy_refuses_nothing_to_count(impl, batch, n_position, vocab, ignore_index, v):
    """If every target is ignored, there is no mean: that is an error of any kind, neither NaN nor 0."""
    logits, targets = v.normal(batch, n_position, vocab), torch.full((batch, n_position), ignore_index)
    expect_raises(impl, Exception, logits, targets, ignore_index, because="no target counts")


# --- sequence_log_prob ------------------------------------------------------------------------------------------------


@claim("sequence_log_prob", rung=1, examples=12)
@given(batch=BATCH, vocab=VOCAB, v=values())
def test_sequence_log_prob_one_prediction(impl, batch, vocab, v):
    """Of two tokens, it is the log-probability of the second under the logits at the first."""
    expect_reference(impl, reference.sequence_log_prob, v.normal(batch, 2, vocab), v.integers(0, vocab - 1, (batch, 2)))


@claim("sequence_log_prob", rung=2, examples=12)
@given(vocab=st.integers(2, 3), n_position=st.integers(3, 4), v=values())
def test_sequence_log_prob_sums_to_one(impl, vocab, n_position, v):
    """The probabilities of all texts of one length that start with the same token sum to 1."""
    rest = list(itertools.product(range(vocab), repeat=n_position - 1))
    tokens = torch.cat([torch.zeros(len(rest), 1, dtype=torch.long), torch.tensor(rest)], dim=1)
    # a model that remembers: a row of logits for each text up to a position, the same for all that go on from there
    before = (tokens * vocab ** torch.arange(n_position)).cumsum(dim=1)
    tables = v.normal(n_position, vocab**n_position, vocab)
    logits = tables[torch.arange(n_position), before]
    expect_reference(
        impl,
        reference.sequence_log_prob,
        logits,
        tokens,
        at=lambda log_probs: log_probs.exp().sum(),
        what="the sum of the probabilities of all texts",
    )


@claim("sequence_log_prob", rung=3)
@given(batch=st.integers(1, 3), n_position=POSITIONS, vocab=VOCAB, v=values())
def test_sequence_log_prob_every_text(impl, batch, n_position, vocab, v):
    """Each text of a batch has the sum of the log-probabilities of its own tokens; logits need not be contiguous."""
    logits = v.scattered(v.normal(batch, n_position, vocab))
    expect_reference(impl, reference.sequence_log_prob, logits, v.integers(0, vocab - 1, (batch, n_position)))


@claim("sequence_log_prob", rung=4, examples=5)
@given(batch=BATCH, n_position=st.integers(150, 200), vocab=st.integers(5, 7), v=values())
def test_sequence_log_prob_long_texts(impl, batch, n_position, vocab, v):
    """A text may be so long that its probability is too small for a float: its logarithm is not."""
    logits = 2 * v.normal(batch, n_position, vocab)
    expect_reference(impl, reference.sequence_log_prob, logits, v.integers(0, vocab - 1, (batch, n_position)))


@claim("sequence_log_prob", rung=5, examples=15)
@given(batch=BATCH, n_position=POSITIONS, vocab=VOCAB, size=st.sampled_from([30.0, 1e3, 1e6]), v=values())
def test_sequence_log_prob_huge_logits(impl, batch, n_position, vocab, size, v):
    """With huge logits a token may be as good as impossible: its log-probability is very negative, and finite."""
    logits = far_apart(v, (batch, n_position), vocab, size)
    expect_reference(impl, reference.sequence_log_prob, logits, v.integers(0, vocab - 1, (batch, n_position)))


# --- perplexity -------------------------------------------------------------------------------------------------------


def texts(v: Values, n_tokens: Tensor) -> Tensor:
    """Log-probabilities of texts that have these numbers of tokens, each text about as hard as it likes."""
    return -n_tokens * (0.3 + v.normal(len(n_tokens)).abs())


@claim("perplexity", rung=1, examples=25)
@given(n=st.integers(1, 12), v=values())
def test_perplexity_one_text(impl, n, v):
    """Of one text it is exp of its loss a token: a model that chooses evenly among k tokens has perplexity k."""
    n_tokens = torch.tensor([n])
    expect_reference(impl, reference.perplexity, texts(v, n_tokens), n_tokens)


@claim("perplexity", rung=2, examples=20)
@given(n_text=st.integers(2, 5), v=values())
def test_perplexity_every_token_weighs_the_same(impl, n_text, v):
    """Of several texts it is exp of the loss a token, so that longer texts weigh more."""
    n_tokens = v.integers(1, 12, (n_text,))
    expect_reference(impl, reference.perplexity, texts(v, n_tokens), n_tokens)


@claim("perplexity", rung=3, examples=10)
@given(n_text=st.integers(1, 4), v=values())
def test_perplexity_long_texts(impl, n_text, v):
    """Texts may be thousands of tokens long, and their probabilities too small for a float."""
    n_tokens = v.integers(1000, 5000, (n_text,))
    expect_reference(impl, reference.perplexity, texts(v, n_tokens), n_tokens)


@claim("perplexity", rung=4, examples=15)
@given(n_text=st.integers(2, 5), v=values())
def test_perplexity_empty_texts(impl, n_text, v):
    """A text without tokens changes nothing."""
    n_tokens = v.integers(1, 6, (n_text,)) * v.booleans(n_text)
    n_tokens[v.integers(0, n_text - 1, ())] = 3
    n_tokens = torch.cat([n_tokens, torch.zeros(1, dtype=torch.long)])
    expect_reference(impl, reference.perplexity, texts(v, n_tokens), n_tokens)


@claim("perplexity", rung=5, examples=4)
@given(n_text=st.integers(1, 3))
def test_perplexity_refuses_nothing_to_count(impl, n_text):
    """If there is no token in any text, there is no mean: that is an error of any kind, neither NaN nor 1."""
    n_tokens = torch.zeros(n_text, dtype=torch.long)
    expect_raises(impl, Exception, torch.zeros(n_text), n_tokens, because="there is no token to count")
