"""How right parts of a training step are told from wrong ones: by exact values, and by autograd's gradients."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect_close, expect_reference, in_float64
from gptdojo.implementation import Implementation
from gptdojo.strategies import Values, values
from reference import training as reference
from reference.mask import causal_mask
from reference.model import gpt_forward
from tests.strategies.small_gpt import random_params

# --- param_groups -----------------------------------------------------------------------------------------------------


def expect_groups(impl: Implementation, params: Mapping[str, Tensor]) -> None:
    """Compare both groups, each in any order."""
    expected = reference.param_groups(params)
    got = impl(params)
    inputs = {f"shape of {name}": tuple(parameter.shape) for name, parameter in params.items()}
    if not (_is_list(got) and len(got) == 2 and all(map(_is_list, got))):
        expect_close(impl, got, expected, inputs=inputs, what="(decayed, spared)")
    for ours, theirs, what in zip(got, expected, ("with", "without"), strict=True):
        expect_close(impl, _ordered(ours), sorted(theirs), inputs=inputs, what=f"the list of names {what} decay")


def _is_list(value: object) -> bool:
    return isinstance(value, tuple | list)


def _ordered(names: list | tuple) -> list:
    return sorted(names) if all(isinstance(name, str) for name in names) else list(names)


@claim("param_groups", rung=1, examples=6)
@given(n_layer=st.integers(1, 2), d_model=st.integers(2, 4), v=values())
def test_param_groups_of_a_gpt(impl, n_layer, d_model, v):
    """In a GPT the matrices decay, embeddings included; biases and the gains of the layer norms do not."""
    expect_groups(impl, random_params(v, n_layer, d_model, 3, 5))


@claim("param_groups", rung=2, examples=10)
@given(order=st.permutations(range(5)), v=values())
def test_param_groups_whatever_the_names(impl, order, v):
    """In other models, where matrices and vectors have other names, the shape decides."""
    model = {
        "token.table": v.normal(5, 2),
        "blocks.0.norm.scale": v.normal(2),
        "blocks.0.bias_free.W": v.normal(2, 2),
        "blocks.0.mixer.weight": v.normal(2),
        "blocks.0.mixer.b": v.normal(3),
    }
    names = list(model)
    expect_groups(impl, {names[i]: model[names[i]] for i in order})


@claim("param_groups", rung=3, examples=10)
@given(n_expert=st.integers(1, 3), v=values())
def test_param_groups_more_or_fewer_dimensions(impl, n_expert, v):
    """Three dimensions decay like two, a matrix with one row or column is a matrix, and a single number is spared."""
    params = {
        "experts.weight": v.normal(n_expert, 2, 3),
        "gate.weight": v.normal(1, 3),
        "value.weight": v.normal(3, 1),
        "gate.bias": v.normal(1),
        "logit_scale": v.normal(),
    }
    expect_groups(impl, params)


# --- adamw_step -------------------------------------------------------------------------------------------------------

SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)
BETAS = st.sampled_from([(0.9, 0.95), (0.9, 0.999), (0.8, 0.4), (0.5, 0.9)])
LR = st.sampled_from([0.1, 0.25, 0.5, 1.0])
PAIR = "(the parameter, (mean, square))"


def away_from_zero(v: Values, shape: tuple[int, ...]) -> Tensor:
    """Numbers of both signs of size 1/4 and more, so that eps is nothing beside them."""
    return torch.where(v.booleans(*shape), 1.0, -1.0) * (0.25 + v.normal(*shape).abs())


def fresh(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The state before the first step."""
    return torch.zeros(shape), torch.zeros(shape)


def running(v: Values, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """A state as it may be after some steps."""
    return v.normal(*shape), 0.25 + v.normal(*shape).square()


@claim("adamw_step", rung=1, examples=10)
@given(shape=SHAPES, lr=LR, betas=BETAS, v=values())
def test_adamw_step_first(impl, shape, lr, betas, v):
    """The first step moves every number by the learning rate, against the sign of its gradient."""
    args = (v.normal(*shape), away_from_zero(v, shape), fresh(shape), 1, lr, betas, 1e-8, 0.0)
    expect_reference(impl, reference.adamw_step, *args, at=lambda result: result[0], what="the parameter")


@claim("adamw_step", rung=2, examples=8)
@given(shape=SHAPES, lr=LR, betas=BETAS, v=values())
def test_adamw_step_state(impl, shape, lr, betas, v):
    """The state after the first step: (1 - beta1) gradient and (1 - beta2) gradient^2, not divided by anything yet."""
    args = (v.normal(*shape), 2 * v.scattered(away_from_zero(v, shape)), fresh(shape), 1, lr, betas, 1e-8, 0.0)
    expect_reference(impl, reference.adamw_step, *args, what=PAIR)


@claim("adamw_step", rung=3, examples=12)
@given(shape=SHAPES, step=st.integers(2, 12) | st.just(100_000), lr=LR, betas=BETAS, v=values())
def test_adamw_step_later(impl, shape, step, lr, betas, v):
    """In later steps both means go on from where they were, and their start at 0 is corrected by 1 - beta^step."""
    args = (v.normal(*shape), v.normal(*shape), running(v, shape), step, lr, betas, 1e-8, 0.0)
    expect_reference(impl, reference.adamw_step, *args, what=PAIR)


@claim("adamw_step", rung=4, examples=6)
@given(shape=SHAPES, step=st.integers(1, 12), lr=LR, betas=BETAS, decay=st.sampled_from([0.1, 0.25, 0.5]), v=values())
def test_adamw_step_decay_alone(impl, shape, step, lr, betas, decay, v):
    """Where gradient and means are 0, the parameter shrinks by the factor 1 - lr * weight_decay, and the state stays."""
    args = (v.normal(*shape), torch.zeros(shape), fresh(shape), step, lr, betas, 1e-8, decay)
    expect_reference(impl, reference.adamw_step, *args, what=PAIR)


@claim("adamw_step", rung=5, examples=10)
@given(shape=SHAPES, step=st.integers(2, 12), lr=LR, betas=BETAS, decay=st.sampled_from([0.1, 0.25, 0.5]), v=values())
def test_adamw_step_decay_beside_the_gradient(impl, shape, step, lr, betas, decay, v):
    """The decay is taken from the parameter as it came in, and added to the step; it never passes through the means."""
    args = (v.normal(*shape), v.normal(*shape), running(v, shape), step, lr, betas, 1e-8, decay)
    expect_reference(impl, reference.adamw_step, *args, what=PAIR)


@claim("adamw_step", rung=6, examples=12)
@given(shape=SHAPES, step=st.integers(1, 12), betas=BETAS, size=st.sampled_from([1e-3, 1e-6, 1e-8]), v=values())
def test_adamw_step_eps(impl, shape, step, betas, size, v):
    """eps is added to the root of the corrected square: it counts where the gradients are as small as eps."""
    gradient, (mean, square) = size * away_from_zero(v, shape), running(v, shape)
    state = (size * mean, size**2 * square)
    args = (v.normal(*shape), gradient, state, step, 0.5, betas, size, 0.0)
    expect_reference(impl, reference.adamw_step, *args, at=lambda result: result[0], what="the parameter")


@claim("adamw_step", rung=7, examples=6)
@given(shape=SHAPES, step=st.integers(2, 12), small=st.booleans(), v=values())
def test_adamw_step_defaults(impl, shape, step, small, v):
    """What is left out is as GPT-3 was trained: betas 0.9 and 0.95, eps 1e-8, weight decay 0.1."""
    gradient, (mean, square) = away_from_zero(v, shape), running(v, shape)
    if small:
        gradient, mean, square = 1e-8 * gradient, 1e-8 * mean, 1e-16 * square
    args = (v.normal(*shape), gradient, (mean, square), step, 0.5)
    expect_reference(impl, reference.adamw_step, *args, what=PAIR)


# --- warmup_cosine_lr -------------------------------------------------------------------------------------------------

MAX_LR = st.sampled_from([1.0, 1.5, 4.0])
MIN_SHARE = st.sampled_from([0.0, 0.1, 0.25])
N_WARMUP, N_COSINE = st.integers(2, 12), st.integers(3, 20)
RATE = "the learning rate"


def expect_rate(impl: Implementation, step: int, n_warmup: int, n_step: int, max_lr: float, share: float) -> None:
    expect_reference(impl, reference.warmup_cosine_lr, step, n_warmup, n_step, max_lr, share * max_lr, what=RATE)


@claim("warmup_cosine_lr", rung=1, examples=20)
@given(n_warmup=N_WARMUP, n_cosine=N_COSINE, max_lr=MAX_LR, share=MIN_SHARE, data=st.data())
def test_warmup_cosine_lr_warmup(impl, n_warmup, n_cosine, max_lr, share, data):
    """Warm-up: step 0 has max_lr / n_warmup, step 1 twice that, and step n_warmup - 1 has max_lr."""
    step = data.draw(st.sampled_from([0, 1, n_warmup - 1]) | st.integers(0, n_warmup - 1), label="step")
    expect_rate(impl, step, n_warmup, n_warmup + n_cosine, max_lr, share)


@claim("warmup_cosine_lr", rung=2, examples=8)
@given(n_warmup=N_WARMUP, n_cosine=N_COSINE, max_lr=MAX_LR, share=MIN_SHARE)
def test_warmup_cosine_lr_top(impl, n_warmup, n_cosine, max_lr, share):
    """The cosine begins at its top: step n_warmup has max_lr, too."""
    expect_rate(impl, n_warmup, n_warmup, n_warmup + n_cosine, max_lr, share)


@claim("warmup_cosine_lr", rung=3, examples=20)
@given(n_warmup=N_WARMUP, n_cosine=N_COSINE, max_lr=MAX_LR, share=MIN_SHARE, data=st.data())
def test_warmup_cosine_lr_cosine(impl, n_warmup, n_cosine, max_lr, share, data):
    """From n_warmup on it falls along half a cosine, from max_lr toward min_lr, which it would reach at n_step."""
    step = data.draw(st.integers(n_warmup + 1, n_warmup + n_cosine - 1), label="step")
    expect_rate(impl, step, n_warmup, n_warmup + n_cosine, max_lr, share)


@claim("warmup_cosine_lr", rung=4, examples=8)
@given(n_warmup=N_WARMUP, n_cosine=N_COSINE, max_lr=MAX_LR, share=MIN_SHARE)
def test_warmup_cosine_lr_end(impl, n_warmup, n_cosine, max_lr, share):
    """Step n_step has min_lr."""
    expect_rate(impl, n_warmup + n_cosine, n_warmup, n_warmup + n_cosine, max_lr, share)


@claim("warmup_cosine_lr", rung=5, examples=12)
@given(n_warmup=N_WARMUP, n_cosine=N_COSINE, past=st.integers(1, 100), max_lr=MAX_LR, share=MIN_SHARE)
def test_warmup_cosine_lr_past_the_end(impl, n_warmup, n_cosine, past, max_lr, share):
    """All steps after n_step have min_lr as well."""
    expect_rate(impl, n_warmup + n_cosine + past, n_warmup, n_warmup + n_cosine, max_lr, share)


@claim("warmup_cosine_lr", rung=6, examples=12)
@given(step=st.integers(0, 12), n_cosine=st.integers(1, 10), max_lr=MAX_LR, share=MIN_SHARE)
def test_warmup_cosine_lr_without_warmup(impl, step, n_cosine, max_lr, share):
    """Without warm-up, n_warmup = 0, the cosine begins at step 0."""
    expect_rate(impl, step, 0, n_cosine, max_lr, share)


# --- clip_grad_norm ---------------------------------------------------------------------------------------------------

MAX_NORM = st.sampled_from([0.5, 1.0, 2.0, 5.0])


def expect_clipped(impl: Implementation, gradients: dict[str, Tensor], max_norm: float) -> None:
    """Compare the clipped gradients and the norm before; the norm may be a tensor or a float."""
    clipped, norm = reference.clip_grad_norm(in_float64(gradients), max_norm)
    expected = (clipped, norm.item())
    inputs = {"gradients": gradients, "max_norm": max_norm}
    expect_close(impl, impl(gradients, max_norm), expected, inputs=inputs, what="(gradients, norm)")


def of_norm(gradients: dict[str, Tensor], norm: float) -> dict[str, Tensor]:
    """The gradients, scaled to have this norm together."""
    return {name: gradient * (norm / reference.clip_grad_norm(gradients, 1)[1]) for name, gradient in gradients.items()}


def several(v: Values, d_model: int) -> dict[str, Tensor]:
    """Gradients of different shapes and sizes."""
    w, b = v.scattered(away_from_zero(v, (d_model + 1, d_model))), 3 * away_from_zero(v, (d_model + 1,))
    return {"h.0.mlp.c_fc.weight": w, "h.0.mlp.c_fc.bias": b, "ln_f.weight": 0.5 * away_from_zero(v, (d_model,))}


@claim("clip_grad_norm", rung=1, examples=8)
@given(size=st.integers(2, 5), max_norm=MAX_NORM, ratio=st.sampled_from([1.5, 2.0, 5.0, 40.0]), v=values())
def test_clip_grad_norm_one_gradient(impl, size, max_norm, ratio, v):
    """A gradient that is too long is scaled to max_norm, and its norm before that is returned beside it."""
    gradients = of_norm({"weight": away_from_zero(v, (size,))}, ratio * max_norm)
    expect_clipped(impl, gradients, max_norm)


@claim("clip_grad_norm", rung=2, examples=10)
@given(d_model=st.integers(2, 4), max_norm=MAX_NORM, ratio=st.sampled_from([1.25, 2.0, 5.0]), v=values())
def test_clip_grad_norm_all_together(impl, d_model, max_norm, ratio, v):
    """The norm is that of all numbers of all gradients as one vector, and all are scaled by the same factor."""
    expect_clipped(impl, of_norm(several(v, d_model), ratio * max_norm), max_norm)


@claim("clip_grad_norm", rung=3, examples=8)
@given(d_model=st.integers(2, 4), max_norm=MAX_NORM, ratio=st.sampled_from([0.05, 0.5, 0.95]), v=values())
def test_clip_grad_norm_short(impl, d_model, max_norm, ratio, v):
    """Gradients whose norm is below max_norm stay as they are; they are never made longer."""
    expect_clipped(impl, of_norm(several(v, d_model), ratio * max_norm), max_norm)


@claim("clip_grad_norm", rung=4, examples=4)
@given(d_model=st.integers(1, 4), max_norm=MAX_NORM)
def test_clip_grad_norm_zero(impl, d_model, max_norm):
    """Gradients that are all 0 stay 0, with norm 0."""
    expect_clipped(impl, {"weight": torch.zeros(2, d_model), "bias": torch.zeros(d_model)}, max_norm)


# --- accumulate_gradients ---------------------------------------------------------------------------------------------


@claim("accumulate_gradients", rung=1, examples=8)
@given(n_micro=st.integers(2, 4), n_token=st.integers(1, 9), d_model=st.integers(1, 3), v=values())
def test_accumulate_gradients_equal_counts(impl, n_micro, n_token, d_model, v):
    """Micro-batches with equally many tokens: the average of their gradients."""
    micro = [{"w": v.scattered(v.normal(d_model, 2)), "b": v.normal(d_model)} for _ in range(n_micro)]
    expect_reference(impl, reference.accumulate_gradients, micro, [n_token] * n_micro, what="the gradients")


def gradient_of_the_mean(params: dict[str, Tensor], rows: list[Tensor]) -> dict[str, Tensor]:
    """By autograd: the gradient of the mean loss over all tokens of the rows, in one batch, in float64."""
    leaves = {name: parameter.double().requires_grad_() for name, parameter in params.items()}
    losses = [F.cross_entropy(gpt_forward(row[None, :-1], leaves, 2)[0], row[1:], reduction="sum") for row in rows]
    loss = torch.stack(losses).sum() / sum(len(row) - 1 for row in rows)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


@claim("accumulate_gradients", rung=2, examples=8)
@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=4), v=values())
def test_accumulate_gradients_of_a_gpt(impl, counts, v):
    """Micro-batches of a GPT with unequally many tokens give the gradient of one batch that holds them all."""
    simple = [{"w": v.normal(2)} for _ in counts]  # a failure on these is easier to read
    expect_reference(impl, reference.accumulate_gradients, simple, counts, what="the gradients")
    params = random_params(Values("normal", v.seed), 1, 4, 6, 5)
    rows = [v.integers(0, 4, (count + 1,)) for count in counts]
    expected = gradient_of_the_mean(params, rows)
    micro = [{n: g.float() for n, g in gradient_of_the_mean(params, [row]).items()} for row in rows]
    args = (micro, counts)
    got = impl(*args)
    inputs = {"n_tokens": counts, "ln_f.bias of each": [part["ln_f.bias"] for part in micro]}
    expect_close(impl, got, expected, inputs=inputs, what="the gradients", dtype=torch.float32)


@claim("accumulate_gradients", rung=3, examples=6)
@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=3), data=st.data())
def test_accumulate_gradients_nothing_counted(impl, counts, data):
    """A micro-batch without a token that counts, all padding, has zeros for gradients and changes nothing."""
    place, v = data.draw(st.integers(0, len(counts)), label="place"), data.draw(values())
    micro = [{"w": v.normal(2, 3), "b": v.normal(3)} for _ in counts]
    micro.insert(place, {"w": torch.zeros(2, 3), "b": torch.zeros(3)})
    n_tokens = [*counts[:place], 0, *counts[place:]]
    expect_reference(impl, reference.accumulate_gradients, micro, n_tokens, what="the gradients")


# --- cross_entropy_backward -------------------------------------------------------------------------------------------

GRADIENT = "the gradient for the logits"


def expect_loss_gradient(impl: Implementation, logits: Tensor, targets: Tensor) -> None:
    """Compare with autograd's gradient of torch's own loss, in float64."""
    exact = logits.double().requires_grad_()
    (expected,) = torch.autograd.grad(F.cross_entropy(exact, targets), exact)
    inputs = impl.label(impl.name, (logits, targets))
    expect_close(impl, impl(logits, targets), expected, inputs=inputs, what=GRADIENT, dtype=torch.float32)


@claim("cross_entropy_backward", rung=1, examples=8)
@given(vocab=st.integers(2, 6), v=values())
def test_cross_entropy_backward_one_position(impl, vocab, v):
    """One position: the probabilities, with 1 taken from that of the target."""
    expect_loss_gradient(impl, v.normal(1, vocab), v.integers(0, vocab - 1, (1,)))


@claim("cross_entropy_backward", rung=2, examples=12)
@given(n=st.integers(2, 5), vocab=st.integers(2, 6), v=values())
def test_cross_entropy_backward_several_positions(impl, n, vocab, v):
    """Several positions: each has its own target, and a share of 1 / positions in the mean."""
    expect_loss_gradient(impl, v.scattered(v.normal(n, vocab)), v.integers(0, vocab - 1, (n,)))


@claim("cross_entropy_backward", rung=3, examples=6)
@given(n=st.integers(1, 3), vocab=st.integers(2, 5), height=st.sampled_from([100.0, 1000.0, -1000.0]), v=values())
def test_cross_entropy_backward_large_logits(impl, n, vocab, height, v):
    """Logits in the hundreds and beyond, of either sign: only their differences count."""
    logits = (v.normal(n, vocab) * 2).round() + height
    expect_loss_gradient(impl, logits, v.integers(0, vocab - 1, (n,)))


@claim("cross_entropy_backward", rung=4, examples=8)
@given(n=st.integers(2, 3), vocab=st.integers(2, 5), data=st.data())
def test_cross_entropy_backward_far_apart(impl, n, vocab, data):
    """Logits that lie hundreds apart, in a row or from row to row, do not disturb each other."""
    column, v = data.draw(st.integers(0, vocab - 1), label="column"), data.draw(values())
    logits = (v.normal(n, vocab) * 2).round() + torch.tensor([[0.0], [400.0], [-300.0]])[:n]
    logits[:, column] += 200
    expect_loss_gradient(impl, logits, v.integers(0, vocab - 1, (n,)))


# --- attention_backward -----------------------------------------------------------------------------------------------

PARTS = ("q", "k", "v")
Q, K, V = range(3)
LEADING = st.sampled_from([(), (2,), (2, 3)])
SIZES = {
    "leading": LEADING,
    "n_query": st.integers(1, 4),
    "n_key": st.integers(2, 5),
    "d_head": st.integers(1, 4),
    "v": values(),
}


def expect_attention_gradients(impl: Implementation, args: tuple[Tensor, ...], *parts: int) -> None:
    """Compare some of the three gradients with autograd's through torch's own attention, in float64."""
    q, k, v, mask, grad_output = in_float64(args)
    inputs = [q.requires_grad_(), k.requires_grad_(), v.requires_grad_()]
    output = F.scaled_dot_product_attention(q, k, v, mask)
    expected = torch.autograd.grad(output, inputs, grad_output)
    got = impl(*args)
    shown = impl.label(impl.name, args)
    if not isinstance(got, tuple | list) or len(got) != 3:
        expect_close(impl, got, expected, inputs=shown, what="(grad_q, grad_k, grad_v)")
    for part in parts:
        what = f"the gradient for {PARTS[part]}"
        expect_close(impl, got[part], expected[part], inputs=shown, what=what, dtype=torch.float32)


def drawn(v: Values, leading: tuple[int, ...], n_query: int, n_key: int, d_head: int) -> tuple[Tensor, ...]:
    """q, k, v, a mask that hides nothing, and the gradient of the output; d_value is d_head + 1."""
    q = v.scattered(v.normal(*leading, n_query, d_head))
    k, value = v.normal(*leading, n_key, d_head), v.scattered(v.normal(*leading, n_key, d_head + 1))
    return q, k, value, torch.ones(n_query, n_key, dtype=torch.bool), v.normal(*leading, n_query, d_head + 1)


@claim("attention_backward", rung=1, examples=6)
@given(**SIZES)
def test_attention_backward_values(impl, leading, n_query, n_key, d_head, v):
    """A value gets the gradient of each output in proportion to the weight that it had there."""
    expect_attention_gradients(impl, drawn(v, leading, n_query, n_key, d_head), V)


@claim("attention_backward", rung=2, examples=8)
@given(**SIZES)
def test_attention_backward_queries(impl, leading, n_query, n_key, d_head, v):
    """Through the softmax, where the weights of a row depend on each other, and the scale, back to the queries."""
    expect_attention_gradients(impl, drawn(v, leading, n_query, n_key, d_head), Q)


@claim("attention_backward", rung=3, examples=8)
@given(**SIZES)
def test_attention_backward_keys(impl, leading, n_query, n_key, d_head, v):
    """And to the keys, to each from all queries that it met."""
    expect_attention_gradients(impl, drawn(v, leading, n_query, n_key, d_head), K)


@claim("attention_backward", rung=4, examples=12)
@given(
    leading=LEADING,
    n_query=st.integers(1, 4),
    past=st.integers(0, 3),
    causal=st.booleans(),
    d_head=st.integers(2, 4),
    v=values(),
)
def test_attention_backward_mask(impl, leading, n_query, past, causal, d_head, v):
    """What the mask hides has no weight, and gets no gradient."""
    n_key = n_query + past
    q, k, value, _, grad_output = drawn(v, leading, n_query, n_key, d_head)
    hidden = v.booleans(n_query, n_key)
    hidden[torch.arange(n_query), v.integers(0, n_key - 1, (n_query,))] = False  # every query sees some key
    mask = causal_mask(n_query, n_key) if causal else ~hidden
    expect_attention_gradients(impl, (q, k, value, mask, grad_output), V, Q, K)


@claim("attention_backward", rung=5, examples=8)
@given(leading=LEADING, n_query=st.integers(2, 4), past=st.integers(0, 3), v=values())
def test_attention_backward_large_scores(impl, leading, n_query, past, v):
    """Scores in the hundreds, hidden ones too, stay finite and leak nothing."""
    n_key = n_query + past
    q, k, value, _, grad_output = drawn(v, leading, n_query, n_key, 4)
    q, k = 4 * (3 * q).round(), 4 * (3 * k).round()
    k[..., -1, :] = 4 * q[..., 0, :]  # the largest score of the first query, hidden from it
    expect_attention_gradients(impl, (q, k, value, causal_mask(n_query, n_key), grad_output), V, Q, K)
