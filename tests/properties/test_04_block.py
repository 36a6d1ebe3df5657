"""How right is told from wrong in chapter 4: layer norm, GELU, the MLP, and the block made of them."""

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect_reference
from gptdojo.strategies import Values, values
from reference import block as reference
from tests.strategies.small_gpt import Params, random_params

BATCH = st.integers(2, 3)
AXES_IN_FRONT = st.lists(st.integers(2, 4), max_size=3).map(tuple)
SEVERAL = st.integers(4, 8)  # so many channels are hardly ever nearly equal
BOTH_SIDES = torch.tensor([-3.2, -2.7, -0.7, 1.4, 3.2])
"""Where forms and stand-ins of GELU are far from each other: erf and tanh at -2.7."""
ERF_OR_TANH = 8e-4
"""Looser than what the erf form of GELU in place of the tanh form mostly does here, tighter than another activation."""


def uneven(v: Values, *shape: int) -> Tensor:
    """Numbers of which no row is constant on purpose: what is all zeros or all ones becomes small integers.

    A constant row is a question of eps, which has a property of its own; and where it is not exactly constant, layer norm
    divides errors of rounding by the root of eps, which makes them 300 times larger.
    """
    return (Values("integers", v.seed) if v.style in ("zeros", "ones") else v).normal(*shape)


# --- layer_norm -------------------------------------------------------------------------------------------------------


@claim("layer_norm", rung=1, examples=15)
@given(d_model=SEVERAL, v=values())
def test_layer_norm_one_position(impl, d_model, v):
    """With weight 1 and bias 0, the channels of a position lose their mean and are divided by their standard deviation."""
    x = uneven(v, 1, 1, d_model)
    expect_reference(impl, reference.layer_norm, x, torch.ones(d_model), torch.zeros(d_model))


@claim("layer_norm", rung=2, examples=12)
@given(d_model=SEVERAL, v=values())
def test_layer_norm_weight_and_bias(impl, d_model, v):
    """Each normalized channel is multiplied by its weight, and then its bias is added."""
    x, weight, bias = uneven(v, 1, 1, d_model), v.normal(d_model), v.normal(d_model)
    expect_reference(impl, reference.layer_norm, x, weight, bias)


@claim("layer_norm", rung=3, examples=15)
@given(axes=AXES_IN_FRONT, d_model=SEVERAL, v=values())
def test_layer_norm_each_position_alone(impl, axes, d_model, v):
    """Each position is normalized by itself, over its channels, however many axes stand in front of them."""
    x, weight, bias = uneven(v, *axes, d_model), v.normal(d_model), v.normal(d_model)
    expect_reference(impl, reference.layer_norm, x, weight, bias)


@claim("layer_norm", rung=4, examples=15)
@given(batch=BATCH, d_model=st.integers(2, 8), scale=st.sampled_from([0.0, 3e-4, 1e-3, 3e-3]), v=values())
def test_layer_norm_tiny_variance(impl, batch, d_model, scale, v):
    """Where the variance is as small as eps, or 0, eps counts: 1e-5, added to the variance inside the root."""
    x, weight, bias = scale * uneven(v, batch, 3, d_model), v.normal(d_model), v.normal(d_model)
    expect_reference(impl, reference.layer_norm, x, weight, bias)


@claim("layer_norm", rung=5, examples=10)
@given(batch=BATCH, d_model=st.integers(2, 8), eps=st.sampled_from([1e-6, 1e-3, 0.1, 1.0]), v=values())
def test_layer_norm_other_eps(impl, batch, d_model, eps, v):
    """The caller may pass another eps than 1e-5."""
    x, weight, bias = eps**0.5 * uneven(v, batch, 3, d_model), v.normal(d_model), v.normal(d_model)
    expect_reference(impl, reference.layer_norm, x, weight, bias, eps)


@claim("layer_norm", rung=6, examples=8)
@given(batch=BATCH, position=st.integers(2, 4), d_model=SEVERAL, v=values())
def test_layer_norm_any_layout(impl, batch, position, d_model, v):
    """How x lies in memory does not matter: it may come out of a transpose."""
    x, weight, bias = v.scattered(uneven(v, batch, position, d_model)), v.normal(d_model), v.normal(d_model)
    expect_reference(impl, reference.layer_norm, x, weight, bias)


# --- gelu -------------------------------------------------------------------------------------------------------------


@claim("gelu", rung=1, examples=15)
@given(n=st.integers(0, 6), v=values())
def test_gelu_tanh_form(impl, n, v):
    """Each number is multiplied by its gate, in GPT-2's form: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3)))."""
    expect_reference(impl, reference.gelu, torch.cat([v.normal(n, scale=2.0), BOTH_SIDES]))


@claim("gelu", rung=2, examples=12)
@given(axes=st.lists(st.integers(2, 4), min_size=1, max_size=4).map(tuple), v=values())
def test_gelu_any_shape(impl, axes, v):
    """x has any number of axes, and any layout in memory."""
    expect_reference(impl, reference.gelu, v.scattered(v.normal(*axes, scale=2.0)))


@claim("gelu", rung=3, examples=10)
@given(n=st.integers(1, 6), size=st.sampled_from([10.0, 100.0, 1e4, 1e6]), v=values())
def test_gelu_large_numbers(impl, n, size, v):
    """Large positive numbers come back as they are, large negative ones as 0, and none as NaN."""
    expect_reference(impl, reference.gelu, size * v.normal(n))


# --- mlp --------------------------------------------------------------------------------------------------------------


def mlp_weights(v: Values, d_model: int, d_ff: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """w_fc, b_fc, w_proj, b_proj of a size that leaves the hidden channels and the result at O(1)."""
    w_fc, w_proj = v.normal(d_ff, d_model, scale=d_model**-0.5), v.normal(d_model, d_ff, scale=d_ff**-0.5)
    return w_fc, v.normal(d_ff), w_proj, v.normal(d_model)


@claim("mlp", rung=1, examples=15)
@given(d_model=st.integers(1, 6), d_ff=st.integers(1, 12), v=values())
def test_mlp_one_position_without_biases(impl, d_model, d_ff, v):
    """With biases of 0: widen to d_ff, apply GELU, narrow to d_model."""
    x = v.normal(1, 1, d_model)
    w_fc, b_fc, w_proj, b_proj = mlp_weights(v, d_model, d_ff)
    args = (x, w_fc, torch.zeros_like(b_fc), w_proj, torch.zeros_like(b_proj))
    expect_reference(impl, reference.mlp, *args, tolerance=ERF_OR_TANH)


@claim("mlp", rung=2, examples=12)
@given(d_model=st.integers(1, 6), d_ff=st.integers(1, 12), v=values())
def test_mlp_biases(impl, d_model, d_ff, v):
    """Both linear layers add their bias, the first one in front of GELU."""
    x = v.normal(1, 1, d_model)
    expect_reference(impl, reference.mlp, x, *mlp_weights(v, d_model, d_ff), tolerance=ERF_OR_TANH)


@claim("mlp", rung=3, examples=15)
@given(axes=AXES_IN_FRONT, d_model=st.integers(1, 6), d_ff=st.integers(1, 12), dense=st.booleans(), v=values())
def test_mlp_each_position_alone(impl, axes, d_model, d_ff, dense, v):
    """Each position goes through alone, however many axes stand in front of the channels, and however x lies in memory."""
    x, weights = v.normal(*axes, d_model), mlp_weights(v, d_model, d_ff)
    if not dense:
        x, weights = v.scattered(x), tuple(v.scattered(weight) for weight in weights)
    expect_reference(impl, reference.mlp, x, *weights, tolerance=ERF_OR_TANH)


@claim("mlp", rung=4, examples=10)
@given(batch=BATCH, d_model=st.integers(1, 6), d_ff=st.integers(1, 12), v=values())
def test_mlp_tanh_form(impl, batch, d_model, d_ff, v):
    """The GELU between the layers is GPT-2's, in its tanh form; all else is exact too."""
    x, (w_fc, b_fc, w_proj, b_proj) = v.normal(batch, 3, d_model), mlp_weights(v, d_model, d_ff)
    # All hidden channels near -2.7, where erf and tanh differ most, and all differences of one sign.
    low = 0.1 * w_fc, 0.1 * b_fc - 2.7, w_proj.abs() + 1, torch.zeros(d_model)
    expect_reference(impl, reference.mlp, x, *low)
    expect_reference(impl, reference.mlp, x, w_fc, b_fc, w_proj, b_proj)


# --- transformer_block ------------------------------------------------------------------------------------------------


def block_params(v: Values, d_model: int) -> Params:
    """Parameters of one block under GPT-2's names: gains and biases of standard deviation 1, matrices of 0.5."""
    params = random_params(v, n_layer=1, d_model=d_model, n_ctx=1, vocab_size=1)
    return {name.removeprefix("h.0."): tensor for name, tensor in params.items() if name.startswith("h.0.")}


def silent(params: Params, part: str) -> Params:
    """The same parameters, but "attn" or "mlp" writes nothing to the residual stream."""
    projection = {name: torch.zeros_like(params[name]) for name in (f"{part}.c_proj.weight", f"{part}.c_proj.bias")}
    return params | projection


HEADS, D_HEAD = st.integers(1, 3), st.integers(4, 5)


@claim("transformer_block", rung=1, examples=10)
@given(n_head=HEADS, d_head=D_HEAD, v=values())
def test_transformer_block_attention_half(impl, n_head, d_head, v):
    """With an MLP that writes nothing, one position gets x plus the attention of its first layer norm."""
    d_model = n_head * d_head
    x, params = uneven(v, 1, 1, d_model), silent(block_params(v, d_model), "mlp")
    expect_reference(impl, reference.transformer_block, x, params, n_head, tolerance=ERF_OR_TANH)


@claim("transformer_block", rung=2, examples=10)
@given(n_head=HEADS, d_head=D_HEAD, v=values())
def test_transformer_block_mlp_half(impl, n_head, d_head, v):
    """With an attention that writes nothing, one position gets x plus the MLP of its second layer norm."""
    d_model = n_head * d_head
    x, params = uneven(v, 1, 1, d_model), silent(block_params(v, d_model), "attn")
    expect_reference(impl, reference.transformer_block, x, params, n_head, tolerance=ERF_OR_TANH)


@claim("transformer_block", rung=3, examples=10)
@given(n_head=HEADS, d_head=D_HEAD, v=values())
def test_transformer_block_one_after_the_other(impl, n_head, d_head, v):
    """The MLP reads what attention has written to, and both sums are kept."""
    d_model = n_head * d_head
    x, params = uneven(v, 1, 1, d_model), block_params(v, d_model)
    expect_reference(impl, reference.transformer_block, x, params, n_head, tolerance=ERF_OR_TANH)


@claim("transformer_block", rung=4, examples=15)
@given(batch=BATCH, position=st.integers(2, 5), n_head=HEADS, d_head=D_HEAD, v=values())
def test_transformer_block_every_position(impl, batch, position, n_head, d_head, v):
    """In a batch of texts, each position reads itself and what came before, with n_head heads."""
    d_model = n_head * d_head
    x, params = uneven(v, batch, position, d_model), block_params(v, d_model)
    expect_reference(impl, reference.transformer_block, x, params, n_head, tolerance=ERF_OR_TANH)


@claim("transformer_block", rung=5, examples=8)
@given(batch=BATCH, n_head=HEADS, d_head=D_HEAD, v=values())
def test_transformer_block_tiny_variance(impl, batch, n_head, d_head, v):
    """Both layer norms have eps 1e-5: it counts where the channels of a position are nearly equal."""
    d_model = n_head * d_head
    x, params = 1e-3 * uneven(v, batch, 3, d_model), block_params(v, d_model)
    for part in "mlp", "attn":  # whichever is silent, the norm of the other reads x itself
        expect_reference(impl, reference.transformer_block, x, silent(params, part), n_head, tolerance=ERF_OR_TANH)


@claim("transformer_block", rung=6, examples=8)
@given(batch=BATCH, n_head=HEADS, d_head=D_HEAD, v=values())
def test_transformer_block_tanh_form(impl, batch, n_head, d_head, v):
    """The GELU in the MLP is GPT-2's, in its tanh form; all else is exact too."""
    d_model = n_head * d_head
    x, params = uneven(v, batch, 3, d_model), block_params(v, d_model)
    low = silent(params, "attn") | {  # all hidden channels near -2.7, where erf and tanh differ most
        "mlp.c_fc.weight": 0.1 * params["mlp.c_fc.weight"],
        "mlp.c_fc.bias": 0.1 * params["mlp.c_fc.bias"] - 2.7,
        "mlp.c_proj.weight": params["mlp.c_proj.weight"].abs() + 0.5,
    }
    expect_reference(impl, reference.transformer_block, x, low, n_head)
    expect_reference(impl, reference.transformer_block, x, params, n_head)


@claim("transformer_block", rung=7, examples=8)
@given(batch=BATCH, position=st.integers(1, 4), n_head=HEADS, d_head=D_HEAD, v=values())
def test_transformer_block_names_and_layout(impl, batch, position, n_head, d_head, v):
    """Parameters are known by their names, whatever their order in the dict, and tensors have any layout in memory."""
    d_model = n_head * d_head
    x, params = v.scattered(uneven(v, batch, position, d_model)), block_params(v, d_model)
    names = [list(params)[number] for number in v.permutation(len(params))]
    params = {name: v.scattered(params[name]) for name in names}
    expect_reference(impl, reference.transformer_block, x, params, n_head)
