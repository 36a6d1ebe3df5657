"""How right shared heads, rolling caches and quantized ones are told from wrong ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect, expect_close, expect_raised, expect_reference
from gptdojo.implementation import Implementation
from gptdojo.strategies import Values, values
from reference import smaller_cache as reference
from reference.mask import causal_mask

# --- repeat_kv --------------------------------------------------------------------------------------------------------


@claim("repeat_kv", rung=1, examples=8)
@given(batch=st.integers(2, 3), n_repeat=st.integers(2, 4), d_head=st.integers(2, 3), v=values())
def test_repeat_kv_one_head(impl, batch, n_repeat, d_head, v):
    """A single head becomes n_repeat equal ones, beside each other in dimension 1, in each row of the batch by itself."""
    expect_reference(impl, reference.repeat_kv, v.normal(batch, 1, 1, d_head), n_repeat)


@claim("repeat_kv", rung=2, examples=10)
@given(n_kv_head=st.integers(2, 4), n_repeat=st.integers(2, 3), v=values())
def test_repeat_kv_several_heads(impl, n_kv_head, n_repeat, v):
    """Of several heads, the copies of each stand side by side: 0 0 1 1 and not 0 1 0 1."""
    expect_reference(impl, reference.repeat_kv, v.normal(2, n_kv_head, 1, 2), n_repeat)


@claim("repeat_kv", rung=3, examples=10)
@given(n_kv_head=st.integers(1, 3), n_repeat=st.integers(1, 3), n_position=st.integers(2, 5), v=values())
def test_repeat_kv_several_positions(impl, n_kv_head, n_repeat, n_position, v):
    """Positions stay in their order within each copy, and with n_repeat = 1 nothing changes."""
    expect_reference(impl, reference.repeat_kv, v.normal(2, n_kv_head, n_position, 3), n_repeat)


@claim("repeat_kv", rung=4, examples=8)
@given(
    n_kv_head=st.integers(2, 3),
    n_repeat=st.integers(2, 3),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16]),
    v=values(),
)
def test_repeat_kv_any_memory_layout(impl, n_kv_head, n_repeat, dtype, v):
    """It makes no difference how the numbers lie in memory, as heads come out of a transpose, nor what dtype they have."""
    x = v.normal(2, 4, n_kv_head, 3).transpose(1, 2).to(dtype)
    expect_reference(impl, reference.repeat_kv, x, n_repeat)


# --- grouped_query_attention ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grouped:
    """The sizes of a grouped attention, and where its numbers come from."""

    batch: int
    n_kv_head: int
    group: int
    n_query: int
    n_key: int
    d_head: int
    v: Values

    def tensors(self, d_value: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v, which lie in memory as they come out of a projection."""
        heads, width = self.n_kv_head * self.group, d_value or self.d_head
        shapes = ((self.n_query, heads, self.d_head), (self.n_key, self.n_kv_head, self.d_head))
        q, k, v = (self.v.normal(self.batch, *s).transpose(1, 2) for s in (*shapes, (*shapes[1][:2], width)))
        return q, k, v

    def mask(self, *kept: bool) -> Tensor:
        """A mask in which each query sees a key; the axes that are not kept have size 1."""
        sizes = (self.batch, self.n_kv_head * self.group, self.n_query, self.n_key)
        mask = self.v.booleans(*[size if keep else 1 for size, keep in zip(sizes, kept, strict=True)])
        return mask | (torch.arange(mask.shape[-2])[:, None] % self.n_key == torch.arange(self.n_key))


def grouped(
    n_kv_head: st.SearchStrategy[int], group: st.SearchStrategy[int], n_key: st.SearchStrategy[int]
) -> st.SearchStrategy[Grouped]:
    """Sizes that differ from each other."""
    return st.builds(
        Grouped, st.integers(1, 3), n_kv_head, group, st.integers(1, 3), n_key, st.integers(3, 4), values()
    )


MANY, KEYS = st.integers(2, 3), st.integers(2, 5)
OUTPUT = "the output"


@claim("grouped_query_attention", rung=1, examples=10)
@given(case=st.one_of(grouped(MANY, st.just(1), KEYS), grouped(st.just(1), MANY, KEYS)))
def test_grouped_query_attention_no_groups_or_one(impl, case):
    """With a key-value head for each query head it is plain attention; with a single one, all query heads share it."""
    expect_reference(impl, reference.grouped_query_attention, *case.tensors(), None, what=OUTPUT)


@claim("grouped_query_attention", rung=2, examples=10)
@given(case=grouped(MANY, MANY, st.just(1)))
def test_grouped_query_attention_one_key(impl, case):
    """With one key, each query head returns the value of its own group's head: neighbors form a group."""
    expect_reference(impl, reference.grouped_query_attention, *case.tensors(), None, what=OUTPUT)


@claim("grouped_query_attention", rung=3, examples=10)
@given(case=grouped(MANY, MANY, KEYS))
def test_grouped_query_attention_several_keys(impl, case):
    """Each query head is compared with the keys of the same head whose values it reads."""
    expect_reference(impl, reference.grouped_query_attention, *case.tensors(), None, what=OUTPUT)


@claim("grouped_query_attention", rung=4, examples=10)
@given(case=grouped(MANY, MANY, KEYS), past=st.integers(0, 2))
def test_grouped_query_attention_causal(impl, case, past):
    """Under a causal mask, all query heads of a group see the same keys: those that the mask allows."""
    case = Grouped(case.batch, case.n_kv_head, case.group, case.n_key, case.n_key + past, case.d_head, case.v)
    mask = causal_mask(case.n_query, case.n_key)
    expect_reference(impl, reference.grouped_query_attention, *case.tensors(), mask, what=OUTPUT)


@claim("grouped_query_attention", rung=5, examples=12)
@given(case=grouped(MANY, MANY, KEYS), batch=st.booleans(), head=st.booleans())
def test_grouped_query_attention_any_mask(impl, case, batch, head):
    """A mask may differ from query head to query head and from row to row; a size of 1 holds for all."""
    mask = case.mask(batch, head, True, True)
    expect_reference(impl, reference.grouped_query_attention, *case.tensors(), mask, what=OUTPUT)


@claim("grouped_query_attention", rung=6, examples=8)
@given(case=grouped(MANY, MANY, KEYS), d_value=st.integers(1, 6))
def test_grouped_query_attention_width_of_the_values(impl, case, d_value):
    """The output is as wide as the values, whatever the width of queries and keys."""
    mask = case.mask(False, False, True, True)
    expect_reference(impl, reference.grouped_query_attention, *case.tensors(d_value), mask, what=OUTPUT)


# --- RollingCache -----------------------------------------------------------------------------------------------------

POOL = 60  # positions of keys and values to append from


@dataclass(frozen=True)
class RingSizes:
    """The sizes of a cache but for its window, and where its numbers come from."""

    batch: int
    n_head: int
    d_head: int
    v: Values


def ring_sizes() -> st.SearchStrategy[RingSizes]:
    """Mostly several rows and heads, which must not be mixed up."""
    several = st.sampled_from([1, 2, 3, 2, 3, 2, 3])
    return st.builds(RingSizes, several, several, st.integers(2, 4), values())


class RingBesideTruth:
    """A learner's cache, beside the keys and values that it should hold and a story of what was done."""

    def __init__(self, impl: Implementation, sizes: RingSizes, window: int, dtype: torch.dtype = torch.float32) -> None:
        # (batch, position, head, d_head) in memory, as keys lie that come out of one projection
        shape = (sizes.batch, POOL, sizes.n_head, sizes.d_head)
        numbers = [sizes.v.normal(*shape).transpose(1, 2) for _ in range(2)]
        self.pool = [(piece.double() / 3).to(dtype) for piece in numbers] if dtype != torch.float32 else numbers
        self.fed = self.position = 0
        self.held = [piece[:, :, :0] for piece in self.pool]
        self.impl, self.window, self.dtype = impl, window, dtype
        arguments = (sizes.batch, sizes.n_head, window, sizes.d_head)
        self.cache = impl(*arguments) if dtype == torch.float32 else impl(*arguments, dtype)
        self.story = f"RollingCache{arguments}"

    @property
    def first(self) -> int:
        """The first position that is still held."""
        return self.position - self.held[0].shape[2]

    @property
    def least(self) -> int:
        """The least length above 0 to go back to: the token there has to see window - 1 positions, or all before it."""
        return self.first + self.window - 1 if self.first else 1

    def append(self, n_new: int) -> None:
        """Append n_new positions."""
        self.story += f", append {n_new}"
        k, v = (piece[:, :, self.fed : self.fed + n_new] for piece in self.pool)
        self.fed += n_new
        self.cache.append(k, v)
        self.held = [torch.cat(pair, dim=2)[:, :, -self.window :] for pair in zip(self.held, (k, v), strict=True)]
        self.position += n_new
        self.check()

    def crop(self, length: int) -> None:
        """Go back; where something that is needed was forgotten, this has to be an error that changes nothing."""
        self.story += f", crop({length})"
        if length < self.least:
            self.story += " (has to raise an error and change nothing)"
            because = f"the token at position {length} would see positions from {max(0, length - self.window + 1)} on, "
            because += f"and those before {self.first} are forgotten"
            inputs = {"what was done": self.story}
            expect_raised(Exception, lambda: self.cache.crop(length), inputs=inputs, because=because)
        else:
            self.cache.crop(length)
            first, self.position = self.first, length
            self.held = [old[:, :, : length - first] for old in self.held]
        self.check()

    def reset(self) -> None:
        """Empty the cache."""
        self.story += ", reset()"
        self.cache.reset()
        self.position, self.held = 0, [old[:, :, :0] for old in self.held]
        self.check()

    def check(self) -> None:
        """Compare the position and the view with what should be there."""
        held = f"{self.first} to {self.position - 1}" if self.position > self.first else "none"
        inputs = {"what was done": self.story, "positions that should be held": held}
        length = len(self.cache)
        message = f"len(cache) is {length}, but the next token stands at position {self.position}"
        expect(length == self.position, message, inputs=inputs, expected=self.position, got=length)
        view = self.cache.view()
        expect_close(self.impl, view, tuple(self.held), inputs=inputs, what="cache.view()", dtype=self.dtype)


@claim("RollingCache", rung=1, examples=6)
@given(sizes=ring_sizes(), room=st.integers(1, 4))
def test_RollingCache_one_position(impl, sizes, room):
    """After one position was appended, the length is 1 and view() returns exactly its key and value."""
    RingBesideTruth(impl, sizes, window=1 + room).append(1)


@claim("RollingCache", rung=2, examples=8)
@given(sizes=ring_sizes(), n_prompt=st.integers(2, 5), room=st.integers(0, 2))
def test_RollingCache_prompt_that_fits(impl, sizes, n_prompt, room):
    """A prompt shorter than the window, or just as long, is held as it is."""
    RingBesideTruth(impl, sizes, window=n_prompt + room).append(n_prompt)


@claim("RollingCache", rung=3, examples=8)
@given(sizes=ring_sizes(), pieces=st.lists(st.integers(1, 3), min_size=2, max_size=3), room=st.integers(0, 2))
def test_RollingCache_keeps_the_order(impl, sizes, pieces, room):
    """As long as the window is not full, chunks stand behind each other in the order in which they came."""
    truth = RingBesideTruth(impl, sizes, window=sum(pieces) + room)
    for n_new in pieces:
        truth.append(n_new)


@claim("RollingCache", rung=4, examples=8)
@given(sizes=ring_sizes(), window=st.integers(1, 4), more=st.integers(1, 5))
def test_RollingCache_single_tokens_past_the_window(impl, sizes, window, more):
    """When the window is full, each new token takes the place of the oldest; view() shows the oldest first, len counts on."""
    truth = RingBesideTruth(impl, sizes, window)
    for _ in range(window + more):
        truth.append(1)


@claim("RollingCache", rung=5, examples=10)
@given(sizes=ring_sizes(), window=st.integers(2, 5), data=st.data())
def test_RollingCache_chunks_past_the_window(impl, sizes, window, data):
    """A chunk of several pushes out as many as it needs room for, also where it wraps round in its middle."""
    truth = RingBesideTruth(impl, sizes, window)
    for n_new in data.draw(st.lists(st.integers(1, window), min_size=3, max_size=5), label="chunks"):
        truth.append(n_new)


@claim("RollingCache", rung=6, examples=8)
@given(sizes=ring_sizes(), window=st.integers(1, 4), before=st.integers(0, 2), excess=st.integers(1, 6))
def test_RollingCache_prompt_longer_than_the_window(impl, sizes, window, before, excess):
    """Of a prompt longer than the window its end is held, all of it counts, and the next tokens go on from there."""
    truth = RingBesideTruth(impl, sizes, window)
    for n_new in (*[1] * before, window + excess, 1, 1):
        truth.append(n_new)


@claim("RollingCache", rung=7, examples=6)
@given(sizes=ring_sizes(), window=st.integers(2, 4), pieces=st.lists(st.integers(1, 3), min_size=2, max_size=3))
def test_RollingCache_shares_nothing(impl, sizes, window, pieces):
    """Two caches, as two layers have them, share neither their numbers nor their position."""
    truths = [RingBesideTruth(impl, sizes, window) for _ in range(2)]
    for n_new in pieces:
        truths[0].append(n_new)
        truths[1].check()
    truths[1].append(2)
    truths[0].check()


@claim("RollingCache", rung=8, examples=6)
@given(sizes=ring_sizes(), window=st.integers(2, 4), before=st.integers(1, 6), after=st.integers(1, 5))
def test_RollingCache_reset_and_reuse(impl, sizes, window, before, after):
    """After reset() nothing is held, and the next sequence starts at position 0 without a trace of the one before."""
    truth = RingBesideTruth(impl, sizes, window)
    truth.check()
    truth.append(before)
    truth.reset()
    truth.append(after)


@claim("RollingCache", rung=9, examples=10)
@given(
    sizes=ring_sizes(), window=st.integers(2, 5), fed=st.integers(2, 9), pieces=st.lists(st.integers(1, 3), max_size=2)
)
def test_RollingCache_crop_and_go_on(impl, sizes, window, fed, pieces):
    """crop goes back as if the later positions had never come: by any number before one was forgotten, by one after that."""
    truth = RingBesideTruth(impl, sizes, window)
    truth.append(fed)
    truth.crop(fed)
    truth.crop(truth.least)
    for n_new in pieces:
        truth.append(n_new)


@claim("RollingCache", rung=10, examples=10)
@given(sizes=ring_sizes(), window=st.integers(2, 5), excess=st.integers(1, 4), data=st.data())
def test_RollingCache_crop_to_what_is_forgotten(impl, sizes, window, excess, data):
    """crop is an error and changes nothing if the next token would see a position that is forgotten."""
    truth = RingBesideTruth(impl, sizes, window)
    truth.append(window + excess)
    truth.crop(truth.least - 1)
    truth.crop(data.draw(st.integers(1, truth.least - 1), label="length"))
    truth.append(1)


@claim("RollingCache", rung=11, examples=6)
@given(
    sizes=ring_sizes(), window=st.integers(2, 4), dtype=st.sampled_from([torch.float64, torch.float16, torch.bfloat16])
)
def test_RollingCache_holds_its_dtype(impl, sizes, window, dtype):
    """A cache made with a dtype holds that dtype, without a detour through another."""
    truth = RingBesideTruth(impl, sizes, window, dtype)
    for n_new in (1, window, 1):
        truth.append(n_new)
    truth.reset()


@claim("RollingCache", rung=12, examples=12)
@given(
    sizes=ring_sizes(),
    window=st.integers(2, 5),
    operations=st.lists(
        st.tuples(st.sampled_from(["append", "crop", "append", "crop", "reset"]), st.integers(1, 5)),
        min_size=5,
        max_size=9,
    ),
)
def test_RollingCache_any_sequence(impl, sizes, window, operations):
    """After any sequence of append, crop and reset, the cache holds what it should."""
    truth = RingBesideTruth(impl, sizes, window)
    truth.append(window + 1)
    for name, number in operations:
        if name == "append":
            truth.append(number)
        elif name == "reset":
            truth.reset()
            truth.append(2)
        elif truth.position:
            truth.crop(max(1, truth.position - number + 1))


# --- quantize_kv ------------------------------------------------------------------------------------------------------

ROUNDING = 1e-3  # of half a step: x / scale is up to 127 and rounded to float32


def quantized(impl: Implementation, x: Tensor, *dim: int) -> None:
    """Compare the scales, and bound the error of every number by half of its scale."""
    numbers, scale = reference.quantize_kv(x.double(), *dim)
    inputs = {"x": x, "dim": dim[0] if dim else "left out"}
    got = impl(x, *dim)
    shapes = (torch.zeros_like(numbers), torch.zeros_like(scale))
    expect_close(impl, got, shapes, inputs=inputs, what="the result", dtype=torch.float32, tolerance=float("inf"))
    zero = scale == 0  # where there are only zeros, any scale will do
    ours, theirs = got[1].masked_fill(zero, 0.0), scale
    expect_close(impl, ours, theirs, inputs=inputs, what="the scale, result[1],", dtype=torch.float32)
    restored = got[0].double() * got[1].double()
    excess = (restored - x.double()).abs() - (0.5 + ROUNDING) * scale
    worst = int(excess.argmax())
    n, s, number = (
        got[0].flatten()[worst].item(),
        float(scale.expand(x.shape).flatten()[worst]),
        x.flatten()[worst].item(),
    )
    message = f"{number:.4g} became {n}, which stands for {float(restored.flatten()[worst]):.4g}: "
    message += f"with a scale of {s:.4g} it may be off by {s / 2:.4g} at most"
    expect(bool((excess <= 0).all()), message, inputs=inputs, expected=numbers, got=got[0])


def away_from_zero(x: Tensor) -> Tensor:
    """The same numbers, but none of a size below 0.3: what becomes of zeros and small numbers has claims of its own."""
    return torch.where(x < 0, x - 0.3, x + 0.3)


@st.composite
def vectors(draw: Callable) -> tuple[Tensor, Values]:
    """Keys or values of shape (batch, head, position, d_head), all sizes different, and where their numbers came from."""
    shape = (2, draw(st.integers(2, 3)), draw(st.integers(4, 5)), draw(st.integers(6, 8)))
    v = draw(values())
    return away_from_zero(v.normal(*shape)), v


@claim("quantize_kv", rung=1, examples=12)
@given(d_head=st.integers(2, 8), v=values())
def test_quantize_kv_one_vector(impl, d_head, v):
    """The numbers of one vector become int8, each within half a scale of what it was, and the scale is the largest size / 127."""
    quantized(impl, away_from_zero(v.normal(d_head)))


@claim("quantize_kv", rung=2, examples=8)
@given(case=vectors())
def test_quantize_kv_a_scale_a_vector(impl, case):
    """Each vector along the last dimension has a scale of its own, which stands where the vector stood."""
    quantized(impl, case[0])


@claim("quantize_kv", rung=3, examples=10)
@given(case=vectors(), dim=st.integers(-4, 3))
def test_quantize_kv_any_dimension(impl, case, dim):
    """The numbers along `dim` share a scale, whichever dimension it is; along dim=2 each channel has its own."""
    x, v = case
    quantized(impl, v.scattered(x), dim)


@claim("quantize_kv", rung=4, examples=8)
@given(case=vectors(), channel=st.integers(0, 5), size=st.integers(20, 100), dim=st.sampled_from([2, -1]))
def test_quantize_kv_outlier_channel(impl, case, channel, size, dim):
    """A channel that is far larger than the others keeps its size, and costs only those who share its scale."""
    x, _ = case
    x[..., channel] *= size
    quantized(impl, x, dim)


@claim("quantize_kv", rung=5, examples=8)
@given(case=vectors(), dim=st.sampled_from([2, -1]))
def test_quantize_kv_zeros(impl, case, dim):
    """A vector of nothing but zeros becomes zeros, its scale is finite, and the other vectors do not notice."""
    x, _ = case
    x[0, 1] = 0.0
    x[:, :, :, 0] = 0.0
    quantized(impl, x, dim)


@claim("quantize_kv", rung=6, examples=8)
@given(case=vectors(), size=st.sampled_from([1e-3, 1e-2, 1e2, 1e3]))
def test_quantize_kv_any_size(impl, case, size):
    """Whether the numbers are a thousandth or a thousand, the error is bounded by half a scale."""
    x, _ = case
    quantized(impl, x * size)


# --- dequantize_kv ----------------------------------------------------------------------------------------------------


@st.composite
def bytes_and_scales(draw: Callable, dims: tuple[int, ...] = (3,)) -> tuple[Tensor, Tensor]:
    """int8 numbers (batch, head, position, d_head) and a scale for all those along one of the dimensions."""
    shape = (2, draw(st.integers(2, 3)), draw(st.integers(3, 4)), draw(st.integers(5, 6)))
    dim, v = draw(st.sampled_from(dims)), draw(values())
    return v.integers(-127, 127, shape).to(torch.int8), scales(v, *shape[:dim], 1, *shape[dim + 1 :])


def scales(v: Values, *shape: int) -> Tensor:
    """Positive numbers of different sizes, none of them a power of 2."""
    return 0.003 * (1 + v.normal(*shape).abs()) ** 3


def product(numbers: Tensor, scale: Tensor) -> Tensor:
    return numbers.double() * scale.double()


@claim("dequantize_kv", rung=1, examples=10)
@given(d_head=st.integers(2, 8), v=values())
def test_dequantize_kv_one_vector(impl, d_head, v):
    """Each number of a vector stands for so many times the scale, below zero as above."""
    numbers = v.integers(-127, 127, (d_head,)).to(torch.int8)
    expect_reference(impl, product, numbers, scales(v, 1))


@claim("dequantize_kv", rung=2, examples=8)
@given(case=bytes_and_scales())
def test_dequantize_kv_a_scale_a_vector(impl, case):
    """Each vector is read with its own scale."""
    expect_reference(impl, product, *case)


@claim("dequantize_kv", rung=3, examples=8)
@given(case=bytes_and_scales(dims=(0, 1, 2)))
def test_dequantize_kv_any_dimension(impl, case):
    """The dimension along which a scale is shared, the one where it has size 1, may be any."""
    expect_reference(impl, product, *case)


@claim("dequantize_kv", rung=4, examples=8)
@given(case=bytes_and_scales(dims=(2, 3)), dtype=st.sampled_from([torch.float64, torch.float16, torch.bfloat16]))
def test_dequantize_kv_dtype_of_the_scale(impl, case, dtype):
    """What comes out has the dtype of the scale, which is that of the model."""
    numbers, scale = case[0], case[1].double() / 3
    if dtype != torch.float64:
        scale = scale.log2().round().exp2().to(dtype)  # powers of 2, whose products with 7 bits are exact
    inputs: dict[str, Any] = {"numbers": numbers, "scale": scale}
    got = impl(numbers, scale)
    expect_close(impl, got, product(numbers, scale), inputs=inputs, dtype=dtype)
