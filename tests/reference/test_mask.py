import pytest
import torch
from hypothesis import given, settings, strategies as st

from reference.mask import causal_mask, masked_softmax, padding_causal_mask, sliding_window_mask

sizes = st.integers(1, 7).flatmap(lambda n_key: st.tuples(st.integers(1, n_key), st.just(n_key)))
dtypes = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])


@given(sizes)
def test_causal_mask_is_the_bottom_right_of_the_square_one(size):
    n_query, n_key = size
    square = torch.ones(n_key, n_key, dtype=torch.bool).tril()
    assert causal_mask(n_query, n_key).equal(square[n_key - n_query :])


@given(sizes, st.integers(1, 9))
def test_sliding_window_keeps_the_last_keys_up_to_oneself(size, window):
    n_query, n_key = size
    mask = sliding_window_mask(n_query, n_key, window)
    for row, position in enumerate(range(n_key - n_query, n_key)):
        assert mask[row].nonzero().flatten().tolist() == list(range(max(0, position - window + 1), position + 1))


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=3), st.integers(1, 4))
def test_padding_mask_allows_real_tokens_that_are_not_in_the_future(rows, n_query):
    mask = padding_causal_mask(torch.tensor(rows), n_query)
    assert mask.shape == (len(rows), 1, n_query, 4)
    assert mask.dtype == torch.bool
    for row, is_token in enumerate(rows):
        for query in range(n_query):
            expected = [is_token[key] and key <= 4 - n_query + query for key in range(4)]
            assert mask[row, 0, query].tolist() == expected


@pytest.mark.parametrize(
    "call",
    [
        lambda: causal_mask(3, 2),
        lambda: causal_mask(0, 2),
        lambda: sliding_window_mask(3, 2, 1),
        lambda: sliding_window_mask(2, 2, 0),
        lambda: padding_causal_mask(torch.ones(1, 2, dtype=torch.bool), 3),
    ],
)
def test_impossible_sizes_are_errors(call):
    with pytest.raises(ValueError, match="expected"):
        call()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))
def test_masked_softmax_is_the_softmax_of_what_is_left(draw, seed, batch, n_query, n_key):
    scores = draw(seed, batch, n_query, n_key) * 5
    mask = draw(seed + 1, n_query, n_key) > 0  # the same for the whole batch
    weights = masked_softmax(scores, mask)
    assert weights.shape == scores.shape
    assert weights.dtype == scores.dtype
    for row in range(batch):
        for query in range(n_query):
            kept = mask[query]
            assert (weights[row, query, ~kept] == 0).all()
            torch.testing.assert_close(
                weights[row, query, kept], scores[row, query, kept].softmax(dim=-1), rtol=0, atol=1e-15
            )


@dtypes
@pytest.mark.parametrize("poison", [float("inf"), float("-inf"), float("nan"), 6e4, -6e4])
def test_masked_scores_never_leak(dtype, poison):
    scores = torch.tensor([[0.5, poison, -0.5], [poison, poison, poison]], dtype=dtype)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    weights = masked_softmax(scores, mask)
    clean = scores.masked_fill(~mask, 0)
    assert weights.dtype == dtype
    assert weights.equal(masked_softmax(clean, mask))
    assert weights[1].tolist() == [0, 0, 0]


@dtypes
def test_visible_scores_at_the_end_of_the_range_are_exact(dtype):
    limit = torch.finfo(dtype).max
    scores = torch.tensor([[-limit, -limit, limit], [limit, limit, limit]], dtype=dtype)
    mask = torch.tensor([[True, True, False], [True, True, False]])
    assert masked_softmax(scores, mask).tolist() == [[0.5, 0.5, 0], [0.5, 0.5, 0]]


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_masked_scores_get_no_gradient_and_an_empty_row_is_not_nan():
    scores = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, False, True], [False] * 4, [True] * 4])
    with torch.autograd.detect_anomaly(check_nan=True):
        masked_softmax(scores, mask).square().sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert (scores.grad[~mask] == 0).all()
    assert (scores.grad[0, mask[0]] != 0).all()


@pytest.mark.parametrize("shape", [(5,), (4, 5), (4, 1), (3, 1, 1, 5), (1, 2, 4, 5), (3, 2, 4, 5)])
def test_masked_softmax_broadcasts_its_mask(draw, shape):
    scores = draw(0, 3, 2, 4, 5)
    mask = draw(1, *shape) > 0
    assert masked_softmax(scores, mask).equal(masked_softmax(scores, mask.expand(scores.shape)))
