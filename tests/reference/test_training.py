import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from reference.config import GPTConfig
from reference.mask import causal_mask
from reference.model import GPT
from reference.training import (
    accumulate_gradients,
    adamw_step,
    attention_backward,
    clip_grad_norm,
    cross_entropy_backward,
    param_groups,
    warmup_cosine_lr,
)

EXACT = {"rtol": 1e-9, "atol": 1e-12}
seeds = st.integers(0, 10**6)
drawn = settings(max_examples=25, deadline=None)


def test_matrices_decay_and_biases_and_gains_do_not():
    model = GPT(GPTConfig(2, 2, 8, 4, 5))
    decayed, spared = param_groups(model.params)
    assert sorted(decayed + spared) == sorted(model.params)
    assert {"wte.weight", "wpe.weight", "h.1.mlp.c_fc.weight"} <= set(decayed)
    assert all("ln_" in name or name.endswith("bias") for name in spared)


@drawn
@given(seeds, st.floats(1e-4, 1), st.floats(0, 0.5), st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)))
def test_adamw_is_torchs_step_after_step(draw, seed, lr, decay, betas):
    parameter = draw(seed, 3, 4)
    twin = torch.nn.Parameter(parameter.clone())
    optimizer = torch.optim.AdamW([twin], lr=lr, betas=betas, eps=1e-8, weight_decay=decay)
    state = (torch.zeros_like(parameter), torch.zeros_like(parameter))
    for step in range(1, 5):
        gradient = 10.0 ** (step - 2) * draw(seed + step, 3, 4)
        twin.grad = gradient.clone()
        optimizer.step()
        parameter, state = adamw_step(parameter, gradient, state, step, lr, betas, 1e-8, decay)
        torch.testing.assert_close(parameter, twin.data, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="steps counted from 1, got 0"):
        adamw_step(parameter, gradient, state, 0, lr)


def test_the_schedule_at_its_corners():
    def rate(step):
        return warmup_cosine_lr(step, n_warmup=10, n_step=110, max_lr=1.0, min_lr=0.1)

    assert rate(0) == 0.1
    assert rate(9) == rate(10) == 1.0
    assert rate(60) == pytest.approx(0.55)
    assert rate(110) == pytest.approx(0.1)
    assert rate(10**6) == pytest.approx(0.1)
    rates = [rate(step) for step in range(10, 111)]
    assert rates == sorted(rates, reverse=True)
    assert warmup_cosine_lr(0, 0, 10, 1.0, 0.0) == 1.0
    for args in ((0, 10, 10), (0, -1, 10), (-1, 0, 10)):
        with pytest.raises(ValueError, match="expected 0 <= n_warmup < n_step"):
            warmup_cosine_lr(*args, 1.0, 0.0)


@drawn
@given(seeds, st.floats(0.01, 100))
def test_clipping_is_torchs_over_all_gradients_together(draw, seed, max_norm):
    gradients = {"a": draw(seed, 3, 4), "b": 5 * draw(seed + 1, 7)}
    twins = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients.values()]
    for twin, gradient in zip(twins, gradients.values(), strict=True):
        twin.grad = gradient.clone()
    expected_norm = torch.nn.utils.clip_grad_norm_(twins, max_norm)
    clipped, norm = clip_grad_norm(gradients, max_norm)
    torch.testing.assert_close(norm, expected_norm)
    for twin, got in zip(twins, clipped.values(), strict=True):
        torch.testing.assert_close(got, twin.grad, rtol=1e-5, atol=1e-9)  # torch adds 1e-6 to the norm


def test_gradients_of_zero_stay_and_those_that_are_not_finite_are_an_error():
    clipped, norm = clip_grad_norm({"a": torch.zeros(3)}, 1.0)
    assert clipped["a"].tolist() == [0, 0, 0]
    assert norm == 0
    with pytest.raises(ValueError, match="the loss has diverged"):
        clip_grad_norm({"a": torch.tensor([1.0, math.nan])}, 1.0)


@drawn
@given(seeds, st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_micro_batches_of_unequal_sizes_give_the_gradient_of_the_whole(random_gpt, draw_tokens, seed, sizes):
    model = random_gpt(GPTConfig(1, 2, 6, 6, 5), seed)

    def gradient(rows):
        losses = [F.cross_entropy(model(row[None, :-1])[0], row[1:], reduction="sum") for row in rows]
        loss = sum(losses) / sum(len(row) - 1 for row in rows)
        return dict(zip(model.params, torch.autograd.grad(loss, list(model.params.values())), strict=True))

    rows = [draw_tokens(seed + i, 5, size + 1) for i, size in enumerate(sizes)]
    got = accumulate_gradients([gradient([row]) for row in rows], sizes)
    for name, expected in gradient(rows).items():
        torch.testing.assert_close(got[name], expected, rtol=1e-9, atol=1e-11)
    for counts in ([], [0] * len(sizes)):
        with pytest.raises(ValueError, match="count of tokens"):
            accumulate_gradients([{}] * len(sizes), counts)


@drawn
@given(seeds, st.integers(1, 5), st.integers(2, 6), st.sampled_from([1.0, 100.0]))
def test_cross_entropy_backward_is_autograds(draw, draw_tokens, seed, n, vocab, scale):
    logits, targets = (scale * draw(seed, n, vocab)).requires_grad_(), draw_tokens(seed, vocab, n)
    (expected,) = torch.autograd.grad(F.cross_entropy(logits, targets), logits)
    torch.testing.assert_close(cross_entropy_backward(logits.detach(), targets), expected, **EXACT)


@drawn
@given(seeds, st.integers(1, 4), st.integers(0, 3), st.floats(0.5, 10))
def test_attention_backward_is_autograds(draw, seed, n_query, past, scale):
    q = (scale * draw(seed, 2, 3, n_query, 4)).requires_grad_()
    k, v = (draw(seed + i, 2, 3, n_query + past, d).requires_grad_() for i, d in ((1, 4), (2, 5)))
    mask = causal_mask(n_query, n_query + past)
    grad_output = draw(seed + 3, 2, 3, n_query, 5)
    expected = torch.autograd.grad(F.scaled_dot_product_attention(q, k, v, mask), (q, k, v), grad_output)
    got = attention_backward(q.detach(), k.detach(), v.detach(), mask, grad_output)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)
