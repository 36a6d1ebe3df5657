"""How right is told from wrong in chapter 2: masks, and a softmax that obeys them."""

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect, expect_reference
from gptdojo.strategies import values
from reference import mask as reference

# Past buffers of 1024 and 2048 positions; the last two positions of such a text are one number in float16.
LONG = st.integers(512, 560).map(lambda n: 4 * n + 2)
LATEST = 2
FEW = st.integers(1, 6)
FEW_OR_MANY = st.integers(1, 8) | st.integers(9, 70)
HALF_DTYPES = st.sampled_from([torch.float16, torch.bfloat16])
STEP, LOWEST = 512.0, -59904.0  # of scores near the end of float16's range, all of them exact in both dtypes
EXTREMES = torch.tensor([1e4, -1e4, 1e30, -1e30, float("inf"), float("-inf"), float("nan")])
SPAN = "[first key seen, last key seen, number of keys seen] of each query"


@st.composite
def fewer_queries(draw) -> tuple[int, int]:
    """More keys than queries, and more than one query: a chunk of new tokens after a cache."""
    n_key = draw(st.integers(3, 9) | st.integers(10, 40))
    return draw(st.integers(2, n_key - 1)), n_key


@st.composite
def scores_and_mask(
    draw, batch: tuple[int, ...] = (), *, shared=False, extreme=False, empty=False
) -> tuple[Tensor, Tensor]:
    """Scores of shape (*batch, query, key) and a mask of the same shape, or of one that broadcasts to it (`shared`).

    `extreme`: what is hidden may be huge, infinite or NaN. `empty`: some queries see nothing; otherwise each sees a key.
    """
    shape = (*batch, draw(FEW), draw(FEW_OR_MANY))
    kept = draw(st.integers(0, 2 ** len(shape) - 1)) if shared else -1  # one bit an axis
    start = draw(st.integers(0, len(batch))) if shared else 0
    v = draw(values())
    scores = v.normal(*shape)
    mask = v.booleans(*[size if kept >> axis & 1 else 1 for axis, size in enumerate(shape)][start:])
    one_each = torch.arange(mask.shape[-2])[:, None] % mask.shape[-1] == torch.arange(mask.shape[-1])
    mask = mask & v.booleans(*mask.shape[:-1], 1) if empty else mask | one_each
    if extreme:
        scores = torch.where(mask, scores, EXTREMES[v.integers(0, len(EXTREMES) - 1, shape)])
    return (v.scattered(scores), mask) if shared else (scores, mask)


def untied(scores: Tensor) -> Tensor:
    """Numbers 0, 1, 2... in some order for each query: the weights of tied huge scores depend on how the rounding falls."""
    return scores.argsort(dim=-1).float()


def spans(mask: Tensor) -> Tensor:
    """First key seen, last key seen and number of keys seen, (..., query, 3): all there is to say of an unbroken row."""
    seen = mask.int()
    last = mask.shape[-1] - 1 - seen.flip(-1).argmax(-1)
    return torch.stack([seen.argmax(-1), last, seen.sum(-1)], dim=-1)


# --- causal_mask ------------------------------------------------------------------------------------------------------


@claim("causal_mask", rung=1, examples=8)
@given(n=st.integers(1, 8))
def test_causal_mask_square(impl, n):
    """With as many queries as keys, each position sees itself and what came before."""
    expect_reference(impl, reference.causal_mask, n, n)


@claim("causal_mask", rung=2, examples=8)
@given(n_key=st.integers(2, 9))
def test_causal_mask_one_new_token(impl, n_key):
    """One query over a cache is the newest token: it sees every key."""
    expect_reference(impl, reference.causal_mask, 1, n_key)


@claim("causal_mask", rung=3)
@given(lengths=fewer_queries())
def test_causal_mask_chunk_after_a_cache(impl, lengths):
    """Several queries over a cache are the newest tokens: the diagonal ends at the bottom right."""
    expect_reference(impl, reference.causal_mask, *lengths)


@claim("causal_mask", rung=4, examples=2)
@given(n_key=LONG)
def test_causal_mask_long_text(impl, n_key):
    """A text may be thousands of tokens long."""
    expect_reference(impl, reference.causal_mask, LATEST, n_key, at=spans, what=SPAN)


# --- padding_causal_mask ----------------------------------------------------------------------------------------------


@claim("padding_causal_mask", rung=1, examples=10)
@given(batch=st.integers(2, 3), n=st.integers(1, 6))
def test_padding_causal_mask_no_padding(impl, batch, n):
    """Without padding it is the causal mask, once a batch row, with an axis of size 1 for the heads."""
    expect_reference(impl, reference.padding_causal_mask, torch.ones(batch, n, dtype=torch.bool), n)


@claim("padding_causal_mask", rung=2, examples=15)
@given(batch=st.integers(2, 3), n=st.integers(2, 7), v=values())
def test_padding_causal_mask_left_padding(impl, batch, n, v):
    """Padding on the left, of another length in each batch row, is seen by no one."""
    n_pad = v.integers(0, n - 1, (batch, 1))
    expect_reference(impl, reference.padding_causal_mask, torch.arange(n) >= n_pad, n)


@claim("padding_causal_mask", rung=3, examples=20)
@given(batch=st.integers(2, 3), n=st.integers(2, 7), v=values())
def test_padding_causal_mask_pads_anywhere(impl, batch, n, v):
    """Wherever a pad stands, it is hidden as a key, and its own row follows the same rule as every other."""
    expect_reference(impl, reference.padding_causal_mask, v.booleans(batch, n, true=0.6), n)


@claim("padding_causal_mask", rung=4, examples=15)
@given(batch=st.integers(1, 3), n_key=st.integers(1, 8), v=values())
def test_padding_causal_mask_one_new_token(impl, batch, n_key, v):
    """One query over a cache is the newest token: it sees every key but the pads."""
    expect_reference(impl, reference.padding_causal_mask, v.booleans(batch, n_key, true=0.6), 1)


@claim("padding_causal_mask", rung=5, examples=15)
@given(batch=st.integers(2, 3), lengths=fewer_queries(), v=values())
def test_padding_causal_mask_chunk_after_a_cache(impl, batch, lengths, v):
    """With fewer queries than keys the queries are the newest tokens, and pads in the cache stay hidden."""
    n_query, n_key = lengths
    expect_reference(impl, reference.padding_causal_mask, v.booleans(batch, n_key, true=0.6), n_query)


@claim("padding_causal_mask", rung=6, examples=2)
@given(n_key=LONG, n_pad=st.integers(0, 2000))
def test_padding_causal_mask_long_text(impl, n_key, n_pad):
    """A text may be thousands of tokens long."""
    is_token = torch.arange(n_key)[None, :] >= n_pad
    expect_reference(impl, reference.padding_causal_mask, is_token, LATEST, at=spans, what=SPAN)


# --- sliding_window_mask ----------------------------------------------------------------------------------------------


@claim("sliding_window_mask", rung=1)
@given(data=st.data())
def test_sliding_window_mask_square(impl, data):
    """With as many queries as keys, each position sees itself and the window - 1 keys before it."""
    n = data.draw(st.integers(3, 10))
    window = data.draw(st.integers(2, n - 1))
    expect_reference(impl, reference.sliding_window_mask, n, n, window)


@claim("sliding_window_mask", rung=2, examples=15)
@given(n=st.integers(1, 7), data=st.data())
def test_sliding_window_mask_edges(impl, n, data):
    """The window may be 1 (oneself), just shorter than the text, as long, just longer, or far longer."""
    window = data.draw(st.sampled_from([1, max(1, n - 1), n, n + 1, 50 * n]))
    expect_reference(impl, reference.sliding_window_mask, n, n, window)


@claim("sliding_window_mask", rung=3, examples=15)
@given(n_key=st.integers(1, 12), window=st.integers(1, 13))
def test_sliding_window_mask_one_new_token(impl, n_key, window):
    """One query over a cache is the newest token: it sees the last `window` keys."""
    expect_reference(impl, reference.sliding_window_mask, 1, n_key, window)


@claim("sliding_window_mask", rung=4)
@given(lengths=fewer_queries(), window=st.integers(1, 13))
def test_sliding_window_mask_chunk_after_a_cache(impl, lengths, window):
    """Several queries over a cache are the newest tokens: both edges of the band sit bottom right."""
    expect_reference(impl, reference.sliding_window_mask, *lengths, window)


@claim("sliding_window_mask", rung=5, examples=2)
@given(n_key=LONG, narrow=st.integers(1, 600), wide=st.integers(1100, 2049))
def test_sliding_window_mask_long_text(impl, n_key, narrow, wide):
    """A text, and a window, may be thousands of tokens long."""
    for window in narrow, wide:
        expect_reference(impl, reference.sliding_window_mask, LATEST, n_key, window, at=spans, what=SPAN)


# --- masked_softmax ---------------------------------------------------------------------------------------------------


@claim("masked_softmax", rung=1, examples=6)
@given(case=scores_and_mask())
def test_masked_softmax_everything_allowed(impl, case):
    """Where everything is allowed, each row is the softmax of its scores over the keys."""
    scores, mask = case
    expect_reference(impl, reference.masked_softmax, scores, torch.ones_like(mask))


@claim("masked_softmax", rung=2, examples=10)
@given(case=scores_and_mask())
def test_masked_softmax_hides_keys(impl, case):
    """The allowed keys share a weight of 1 as if the hidden ones were not there."""
    expect_reference(impl, reference.masked_softmax, *case)


@claim("masked_softmax", rung=3, examples=25)
@given(case=st.lists(st.integers(2, 3), max_size=3).flatmap(lambda batch: scores_and_mask(tuple(batch), shared=True)))
def test_masked_softmax_broadcasts(impl, case):
    """Scores may have axes for batch and head, and be non-contiguous; the mask is shared along every axis where its size is 1."""
    expect_reference(impl, reference.masked_softmax, *case)


@claim("masked_softmax", rung=4, examples=10)
@given(case=scores_and_mask((2,), extreme=True))
def test_masked_softmax_hidden_scores_never_leak(impl, case):
    """A hidden score changes nothing, be it huge, infinite or NaN."""
    expect_reference(impl, reference.masked_softmax, *case)


@claim("masked_softmax", rung=5, examples=15)
@given(
    case=scores_and_mask((2,)),
    spread_and_shift=st.sampled_from([(1.0, -200.0), (1.0, 150.0), (1e8, 0.0), (1e30, 0.0), (1e30, -1e32)]),
)
def test_masked_softmax_allowed_scores_of_any_size(impl, case, spread_and_shift):
    """Allowed scores may be huge, or hugely negative: only their differences count, and hidden keys get exactly 0."""
    scores, mask = case
    spread, shift = spread_and_shift
    side = 1 - 2 * (torch.arange(scores.shape[-2]) % 2)[:, None]  # every second query lies on the other side of 0
    scores = untied(scores) * spread + side * shift
    hidden = expect_reference(impl, reference.masked_softmax, scores, mask).masked_fill(mask, 0.0)
    inputs = {"scores": scores, "mask": mask}
    expect(not hidden.any(), "a hidden key has a weight that is not 0", inputs=inputs, expected=0.0, got=hidden)


@claim("masked_softmax", rung=6, examples=15)
@given(case=scores_and_mask((2,), shared=True, extreme=True, empty=True))
def test_masked_softmax_empty_rows(impl, case):
    """A query that sees no key gets a row of zeros, whatever its hidden scores are; the other rows are as before."""
    expect_reference(impl, reference.masked_softmax, *case)


@claim("masked_softmax", rung=7, examples=10)
@given(case=scores_and_mask((2,), extreme=True, empty=True), dtype=HALF_DTYPES)
def test_masked_softmax_half_precision(impl, case, dtype):
    """In float16 and bfloat16 all of this holds as well, and the result has the dtype that came in."""
    scores, mask = case
    ten_roundings = 10 * torch.finfo(dtype).eps
    for allowed in scores, untied(scores) * STEP + LOWEST:
        halves = torch.where(mask, allowed, scores).to(dtype)
        expect_reference(impl, reference.masked_softmax, halves, mask, tolerance=ten_roundings)
