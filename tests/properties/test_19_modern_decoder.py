"""How right is told from wrong in chapter 19: rotary positions, ALiBi, RMSNorm, SwiGLU, and a Llama block made of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect, expect_close, expect_reference
from gptdojo.implementation import Implementation
from gptdojo.strategies import Values, values
from reference import modern_decoder as reference
from reference.mask import causal_mask
from reference.smaller_cache import grouped_query_attention

BATCH = st.integers(2, 3)
AXES_IN_FRONT = st.lists(st.integers(2, 4), max_size=3).map(tuple)


def expect_in_dtype(impl: Implementation, oracle: Callable, *args: Any, within: float) -> None:
    """Compare with a dtype of 16 bits: the result has it, and is within `within`, which is far more than rounding explains."""
    expected = oracle(*[arg.double() if isinstance(arg, Tensor) and arg.is_floating_point() else arg for arg in args])
    got, dtype, inputs = impl(*args), args[0].dtype, impl.label(impl.name, args)
    kind = f"a tensor of dtype {dtype} and shape {tuple(expected.shape)}"
    described = f"{got.dtype}, {tuple(got.shape)}" if isinstance(got, Tensor) else type(got).__name__
    right = isinstance(got, Tensor) and got.dtype == dtype and got.shape == expected.shape
    expect(right, f"the result is {described}, expected {kind}", inputs=inputs, expected=expected.to(dtype), got=got)
    worst = (got.double() - expected).abs().max().item() / max(1.0, expected.abs().max().item())
    message = f"the result is off by {worst:.2g} of its largest number, more than rounding to {dtype} can explain"
    expect(worst <= within, message, inputs=inputs, expected=expected.to(dtype), got=got)


# --- rope_frequencies -------------------------------------------------------------------------------------------------

COARSE = 3e-3
"""Looser than frequencies computed in bfloat16 are off."""


def expect_frequencies(impl: Implementation, *sizes: float, tolerance: float | None = None) -> None:
    """Compare with the formula; the result may be float32 or float64."""
    expected, inputs = reference.rope_frequencies(*sizes), impl.label(impl.name, sizes)
    expect_close(impl, impl(*sizes), expected, inputs=inputs, tolerance=tolerance)


@claim("rope_frequencies", rung=1, examples=10)
@given(n_pair=st.integers(3, 9))
def test_rope_frequencies_each_pair_slower(impl, n_pair):
    """Pair i turns by 10000 ** (-2i / d_head) radians a position: pair 0 by 1, the others ever more slowly."""
    expect_frequencies(impl, 2 * n_pair, tolerance=COARSE)


@claim("rope_frequencies", rung=2, examples=10)
@given(n_pair=st.integers(3, 9), theta=st.sampled_from([100.0, 500000.0, 1000000.0]))
def test_rope_frequencies_other_theta(impl, n_pair, theta):
    """The caller may pass another theta than 10000."""
    expect_frequencies(impl, 2 * n_pair, theta, tolerance=COARSE)


@claim("rope_frequencies", rung=3, examples=12)
@given(n_pair=st.sampled_from([32, 48, 64, 5, 3]), theta=st.sampled_from([(), (10000.0,), (500000.0,)]))
def test_rope_frequencies_exact(impl, n_pair, theta):
    """They are exact in float32 at least: thousands of positions multiply an error by thousands."""
    expect_frequencies(impl, 2 * n_pair, *theta)


# --- apply_rope -------------------------------------------------------------------------------------------------------

THETA = st.sampled_from([100.0, 10000.0])
PAIRS = st.integers(2, 4)


def frequencies(d_head: int, theta: float) -> Tensor:
    """The usual frequencies, in float32."""
    return reference.rope_frequencies(d_head, theta).float()


@claim("apply_rope", rung=1, examples=10)
@given(n_query=st.integers(2, 4), v=values())
def test_apply_rope_one_pair(impl, n_query, v):
    """With d_head 2, the vector (a, b) at position p turns by p radians, from a towards b."""
    x = v.normal(1, 1, n_query, 2)
    expect_reference(impl, reference.apply_rope, x, torch.arange(n_query), frequencies(2, 10000.0))


@claim("apply_rope", rung=2, examples=12)
@given(n_query=st.integers(2, 4), n_pair=PAIRS, theta=THETA, v=values())
def test_apply_rope_pairs_of_halves(impl, n_query, n_pair, theta, v):
    """Channel i of the first half pairs with channel i of the second, and they turn by frequency i a position."""
    x = v.normal(1, 1, n_query, 2 * n_pair)
    expect_reference(impl, reference.apply_rope, x, torch.arange(n_query), frequencies(2 * n_pair, theta))


@claim("apply_rope", rung=3, examples=12)
@given(batch=BATCH, n_head=st.integers(2, 4), n_query=st.integers(1, 5), n_pair=PAIRS, v=values())
def test_apply_rope_batch_and_heads(impl, batch, n_head, n_query, n_pair, v):
    """All heads of all rows turn alike, by the position of their token, however x lies in memory."""
    x = v.scattered(v.normal(batch, n_head, n_query, 2 * n_pair))
    expect_reference(impl, reference.apply_rope, x, torch.arange(n_query), frequencies(2 * n_pair, 10000.0))


@claim("apply_rope", rung=4, examples=15)
@given(first=st.integers(0, 40), n_query=st.integers(1, 5), n_pair=PAIRS, theta=THETA, v=values())
def test_apply_rope_any_positions(impl, first, n_query, n_pair, theta, v):
    """Positions are those that are passed: after a cache they begin where it ends, and they need not be neighbors."""
    x, positions = v.normal(2, 3, n_query, 2 * n_pair), first + v.integers(0, 9, (n_query,))
    expect_reference(impl, reference.apply_rope, x, positions, frequencies(2 * n_pair, theta))


@claim("apply_rope", rung=5, examples=12)
@given(batch=BATCH, n_head=st.integers(1, 4), n_query=st.integers(1, 4), n_pair=PAIRS, v=values())
def test_apply_rope_positions_of_each_row(impl, batch, n_head, n_query, n_pair, v):
    """Positions of shape (batch, query) are each row's own, as in a batch of texts of different lengths."""
    x, positions = v.normal(batch, n_head, n_query, 2 * n_pair), v.integers(0, 40, (batch, n_query))
    expect_reference(impl, reference.apply_rope, x, positions, frequencies(2 * n_pair, 10000.0))


@claim("apply_rope", rung=6, examples=12)
@given(past=st.sampled_from([2040, 3061, 5107, 6001]), n_query=st.integers(2, 4), n_pair=PAIRS, v=values())
def test_apply_rope_far_into_a_text(impl, past, n_query, n_pair, v):
    """Thousands of tokens in, scores still depend on the distance between query and key alone."""
    turns = frequencies(2 * n_pair, 10000.0)
    q, k = v.normal(1, 2, n_query, 2 * n_pair), v.normal(1, 2, n_query, 2 * n_pair)
    of_queries, of_keys = v.integers(8, 19, (n_query,)), v.integers(0, 19, (n_query,))
    expected = in_place(q, of_queries, turns) @ in_place(k, of_keys, turns).mT
    far_q = expect_reference(impl, reference.apply_rope, q, past + of_queries, turns)
    far_k = expect_reference(impl, reference.apply_rope, k, past + of_keys, turns)
    got = far_q.double() @ far_k.double().mT
    worst = (got - expected).abs().max().item() / max(1.0, expected.abs().max().item())
    inputs = {"q": q, "k": k, "positions of q": past + of_queries, "positions of k": past + of_keys}
    message = f"moved {past} positions on, q and k have other scores: they are off by {worst:.2g}"
    expect(worst <= 0.05, message, inputs=inputs | {"frequencies": turns}, expected=expected, got=got)


def in_place(x: Tensor, positions: Tensor, turns: Tensor) -> Tensor:
    """What the reference makes of x, in float64."""
    return reference.apply_rope(x.double(), positions, turns)


@claim("apply_rope", rung=7, examples=12)
@given(
    half=st.integers(128, 400), n_query=st.integers(1, 3), n_pair=PAIRS, dtype=st.sampled_from([0, 1, 1]), v=values()
)
def test_apply_rope_bfloat16(impl, half, n_query, n_pair, dtype, v):
    """Where x is bfloat16 the result is, too, but the angles are not: bfloat16 cannot tell 256 from 257."""
    x = v.normal(2, 2, n_query, 2 * n_pair).bfloat16()
    positions = 2 * half + 1 + 2 * v.integers(0, 9, (n_query,))
    turns = frequencies(2 * n_pair, 10000.0).to([torch.float64, torch.float32][dtype])
    expect_in_dtype(impl, reference.apply_rope, x, positions, turns, within=0.04)


# --- alibi_slopes -----------------------------------------------------------------------------------------------------


def expect_slopes(impl: Implementation, n_head: int) -> None:
    """Compare with the published ones; the result may be float32 or float64."""
    expected = reference.alibi_slopes(n_head)
    expect_close(impl, impl(n_head), expected, inputs={"n_head": n_head})


@claim("alibi_slopes", rung=1, examples=1)
@given(n_head=st.just(8))
def test_alibi_slopes_eight_heads(impl, n_head):
    """Eight heads have the slopes 1/2, 1/4, ..., 1/256."""
    expect_slopes(impl, n_head)


@claim("alibi_slopes", rung=2, examples=8)
@given(n_head=st.sampled_from([1, 2, 4, 16, 32, 64]))
def test_alibi_slopes_powers_of_two(impl, n_head):
    """For n heads, n a power of two, the first slope and the ratio are both 2 ** (-8 / n), so the last is 1/256."""
    expect_slopes(impl, n_head)


@claim("alibi_slopes", rung=3, examples=12)
@given(n_head=st.sampled_from([12, 3, 5, 6, 7, 9, 20, 25, 40]))
def test_alibi_slopes_other_numbers(impl, n_head):
    """Other numbers take the slopes of the power of two below, and then every second one of twice that power."""
    expect_slopes(impl, n_head)


# --- rms_norm ---------------------------------------------------------------------------------------------------------

CHANNELS = st.integers(3, 8)
ANY_EPS = 1e-3
"""Looser than what another eps changes in numbers of ordinary size: which eps it is has a rung of its own."""


@claim("rms_norm", rung=1, examples=12)
@given(d_model=CHANNELS, v=values())
def test_rms_norm_one_position(impl, d_model, v):
    """With weight 1, the channels of a position are divided by the root of their mean square, and nothing is subtracted."""
    expect_reference(impl, reference.rms_norm, v.normal(1, 1, d_model), torch.ones(d_model), tolerance=ANY_EPS)


@claim("rms_norm", rung=2, examples=10)
@given(d_model=CHANNELS, v=values())
def test_rms_norm_weight(impl, d_model, v):
    """Each normalized channel is multiplied by its weight."""
    expect_reference(impl, reference.rms_norm, v.normal(1, 1, d_model), v.normal(d_model), tolerance=ANY_EPS)


@claim("rms_norm", rung=3, examples=12)
@given(axes=AXES_IN_FRONT, d_model=CHANNELS, v=values())
def test_rms_norm_each_position_alone(impl, axes, d_model, v):
    """Each position is normalized by itself, over its channels, however many axes stand in front of them."""
    expect_reference(
        impl, reference.rms_norm, v.scattered(v.normal(*axes, d_model)), v.normal(d_model), tolerance=ANY_EPS
    )


@claim("rms_norm", rung=4, examples=15)
@given(batch=BATCH, d_model=CHANNELS, scale=st.sampled_from([0.0, 1e-4, 3e-4, 1e-3, 3e-3]), v=values())
def test_rms_norm_tiny_numbers(impl, batch, d_model, scale, v):
    """Where the mean square is as small as eps, or 0, eps counts: 1e-6, added to the mean square inside the root."""
    expect_reference(impl, reference.rms_norm, scale * v.normal(batch, 3, d_model), v.normal(d_model))


@claim("rms_norm", rung=5, examples=10)
@given(batch=BATCH, d_model=CHANNELS, eps=st.sampled_from([1e-5, 1e-3, 0.1, 1.0]), v=values())
def test_rms_norm_other_eps(impl, batch, d_model, eps, v):
    """The caller may pass another eps than 1e-6."""
    expect_reference(impl, reference.rms_norm, eps**0.5 * v.normal(batch, 3, d_model), v.normal(d_model), eps)


@claim("rms_norm", rung=6, examples=12)
@given(
    batch=BATCH,
    d_model=CHANNELS,
    kind=st.sampled_from([(torch.float16, 1000.0), (torch.float16, 1.0), (torch.bfloat16, 1.0)]),
    v=values(),
)
def test_rms_norm_half_precision(impl, batch, d_model, kind, v):
    """In 16 bits the result has the dtype of x, but squares do not: 300 squared is more than float16 can hold."""
    dtype, scale = kind
    x, weight = (scale * v.normal(batch, 3, d_model)).to(dtype), v.normal(d_model).to(dtype)
    expect_in_dtype(impl, reference.rms_norm, x, weight, within=0.05)


# --- swiglu -----------------------------------------------------------------------------------------------------------


def swiglu_weights(v: Values, d_model: int, d_ff: int) -> tuple[Tensor, Tensor, Tensor]:
    """w_gate, w_up and w_down of a size that leaves everything at O(1)."""
    w_gate, w_up = (v.normal(d_ff, d_model, scale=2 * d_model**-0.5) for _ in range(2))
    return w_gate, w_up, v.normal(d_model, d_ff, scale=d_ff**-0.5)


@claim("swiglu", rung=1, examples=15)
@given(d_model=st.integers(2, 6), d_ff=st.integers(1, 12), v=values())
def test_swiglu_one_position(impl, d_model, d_ff, v):
    """The hidden channels are silu(x w_gate^T) times x w_up^T; w_down brings them back to d_model."""
    expect_reference(impl, reference.swiglu, v.normal(1, 1, d_model), *swiglu_weights(v, d_model, d_ff))


@claim("swiglu", rung=2, examples=12)
@given(axes=AXES_IN_FRONT, d_model=st.integers(2, 6), d_ff=st.integers(1, 12), v=values())
def test_swiglu_each_position_alone(impl, axes, d_model, d_ff, v):
    """Each position goes through alone, however many axes stand in front of the channels, and however tensors lie in memory."""
    x, weights = v.scattered(v.normal(*axes, d_model)), swiglu_weights(v, d_model, d_ff)
    expect_reference(impl, reference.swiglu, x, *(v.scattered(weight) for weight in weights))


@claim("swiglu", rung=3, examples=10)
@given(batch=BATCH, d_model=st.integers(2, 6), size=st.sampled_from([30.0, 300.0, 3000.0]), v=values())
def test_swiglu_large_numbers(impl, batch, d_model, size, v):
    """A wide open gate lets its number through as it is, a closed one gives 0, and no size of it gives NaN."""
    x, (w_gate, w_up, w_down) = v.normal(batch, 3, d_model), swiglu_weights(v, d_model, 5)
    expect_reference(impl, reference.swiglu, x, size * w_gate, w_up, w_down)


# --- llama_block ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """The sizes of a block, and where its numbers come from."""

    batch: int
    n_kv_head: int
    group: int
    d_head: int
    d_ff: int
    v: Values
    calls: list[int] = field(default_factory=list, repr=False)  # how many queries attend was given, call by call

    @property
    def n_head(self) -> int:
        return self.n_kv_head * self.group

    @property
    def d_model(self) -> int:
        return self.n_head * self.d_head

    def params(self, silent: str = "") -> dict[str, Tensor]:
        """Gains of standard deviation 1, matrices of 0.5; the matrix `silent` writes nothing."""
        v, d_model, d_kv = self.v, self.d_model, self.n_kv_head * self.d_head
        shapes = {"self_attn.q_proj": (d_model, d_model), "self_attn.k_proj": (d_kv, d_model)}
        shapes |= {"self_attn.v_proj": (d_kv, d_model), "self_attn.o_proj": (d_model, d_model)}
        shapes |= {"mlp.gate_proj": (self.d_ff, d_model), "mlp.up_proj": (self.d_ff, d_model)}
        shapes |= {"mlp.down_proj": (d_model, self.d_ff)}
        params = {"input_layernorm.weight": v.normal(d_model), "post_attention_layernorm.weight": v.normal(d_model)}
        params |= {f"{name}.weight": v.normal(*shape, scale=0.5) for name, shape in shapes.items()}
        return params | {name: torch.zeros_like(p) for name, p in params.items() if name == f"{silent}.weight"}

    def args(self, x: Tensor, params: dict[str, Tensor], past: int = 0, theta: float = 10000.0) -> tuple:
        """The arguments of a call that goes on after `past` positions."""
        held = [self.v.normal(self.batch, self.n_kv_head, past, self.d_head) for _ in range(2)]
        turns = frequencies(self.d_head, theta)
        return x, params, self.n_head, self.n_kv_head, past, turns, self.attention(held)

    def attention(self, held: Sequence[Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Causal attention with grouped heads, over a cache that holds some keys and values."""

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self.calls.append(q.shape[2])
            for name, tensor, heads in (("q", q, self.n_head), ("k", k, self.n_kv_head), ("v", v, self.n_kv_head)):
                wanted = f"({self.batch}, {heads}, position, {self.d_head})"
                fits = tensor.ndim == 4 and tensor.shape[:2] == (self.batch, heads) and tensor.shape[3] == self.d_head
                expect(fits, f"attend was given {name} of shape {tuple(tensor.shape)}, expected {wanted}")
            k, v = (torch.cat([old.to(new.dtype), new], dim=2) for old, new in zip(held, (k, v), strict=True))
            return grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2]))

        return attend


def oracle(x, params, n_head, n_kv_head, first_position, turns, attend):
    """The reference's block, whose way to attend is also told the layer."""
    ways = (first_position, turns, lambda layer, q, k, v: attend(q, k, v))
    return reference.llama_block(x, params, n_head, n_kv_head, *ways)


def blocks(batch: st.SearchStrategy[int] = BATCH) -> st.SearchStrategy[Block]:
    """Sizes that hide nothing: as a rule more query heads than key-value heads."""
    several = st.integers(1, 2)
    return st.builds(
        Block, batch, several, st.sampled_from([2, 3, 1]), st.sampled_from([4, 6]), st.integers(3, 9), values()
    )


ONE = st.just(1)


@claim("llama_block", rung=1, examples=10)
@given(case=blocks(ONE))
def test_llama_block_attention_half(impl, case):
    """With an MLP that writes nothing, one position gets x plus the attention of its first RMS norm."""
    x = case.v.normal(1, 1, case.d_model)
    expect_reference(impl, oracle, *case.args(x, case.params("mlp.down_proj")), tolerance=ANY_EPS)


@claim("llama_block", rung=2, examples=10)
@given(case=blocks(ONE))
def test_llama_block_mlp_half(impl, case):
    """With an attention that writes nothing, one position gets x plus the SwiGLU of its second RMS norm."""
    x = case.v.normal(1, 1, case.d_model)
    expect_reference(impl, oracle, *case.args(x, case.params("self_attn.o_proj")), tolerance=ANY_EPS)


@claim("llama_block", rung=3, examples=10)
@given(case=blocks(ONE))
def test_llama_block_one_after_the_other(impl, case):
    """The MLP reads what attention has written to, and both sums are kept."""
    x = case.v.normal(1, 1, case.d_model)
    expect_reference(impl, oracle, *case.args(x, case.params()), tolerance=ANY_EPS)


@claim("llama_block", rung=4, examples=15)
@given(n_position=st.integers(2, 5), case=blocks())
def test_llama_block_every_position(impl, n_position, case):
    """Queries and keys turn by their positions, head by head and pair of halves by pair of halves; values do not."""
    x = case.v.normal(case.batch, n_position, case.d_model)
    expect_reference(impl, oracle, *case.args(x, case.params()), tolerance=ANY_EPS)


@claim("llama_block", rung=5, examples=10)
@given(n_position=st.integers(2, 5), theta=st.sampled_from([20.0, 500000.0]), case=blocks())
def test_llama_block_frequencies(impl, n_position, theta, case):
    """The frequencies are those that are passed: Llama 3 has another theta than Llama 2."""
    x = case.v.normal(case.batch, n_position, case.d_model)
    expect_reference(impl, oracle, *case.args(x, case.params(), theta=theta), tolerance=ANY_EPS)


@claim("llama_block", rung=6, examples=12)
@given(past=st.integers(1, 20), n_position=st.integers(1, 3), case=blocks())
def test_llama_block_after_a_cache(impl, past, n_position, case):
    """Where attend has a cache of first_position keys and values, the positions of x go on behind them."""
    x = case.v.normal(case.batch, n_position, case.d_model)
    args = case.args(x, case.params(), past)
    expect_reference(impl, oracle, *args, tolerance=ANY_EPS)
    times, inputs = len(case.calls) - 1, impl.label(impl.name, args)  # the reference called it once
    expect(times == 1, f"attend was called {times} times; each call would add to the cache", inputs=inputs)


@claim("llama_block", rung=7, examples=10)
@given(scale=st.sampled_from([1e-3, 3e-4]), case=blocks())
def test_llama_block_tiny_numbers(impl, scale, case):
    """Both RMS norms have eps 1e-6: it counts where the numbers of a position are tiny."""
    x = scale * case.v.normal(case.batch, 3, case.d_model)
    for part in "mlp.down_proj", "self_attn.o_proj":  # whichever is silent, the norm of the other reads x itself
        expect_reference(impl, oracle, *case.args(x, case.params(part)))


@claim("llama_block", rung=8, examples=8)
@given(n_position=st.integers(2, 4), case=blocks())
def test_llama_block_names_and_layout(impl, n_position, case):
    """Parameters are known by their names, whatever their order in the dict, and tensors have any layout in memory."""
    v = case.v
    x, params = v.scattered(v.normal(case.batch, n_position, case.d_model)), case.params()
    names = [list(params)[number] for number in v.permutation(len(params))]
    expect_reference(impl, oracle, *case.args(x, {name: v.scattered(params[name]) for name in names}))
