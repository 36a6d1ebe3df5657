"""How right counts of operations and bytes are told from wrong ones: by what torch counts, and by what tensors take."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st

from gptdojo import claim
from gptdojo.expect import expect_close
from gptdojo.implementation import Implementation
from reference import cost
from reference.attention import scaled_dot_product_attention
from reference.config import GPT2, GPT3, GPTConfig
from tests.strategies.counted import bytes_of_caches, flops, flops_of_a_pass, flops_of_generating

COUNTED = "the number of operations"
STORED = "the number of bytes"


def expect_number(impl: Implementation, truth: Callable[..., float], *args: Any, what: str = "the result") -> None:
    """Compare `impl(*args)` with what `truth(*args)` finds out."""
    expected = truth(*args)
    got = impl(*args)
    expect_close(impl, got, expected, inputs=impl.label(impl.name, args), what=what)


# --- attention_flops --------------------------------------------------------------------------------------------------

COUNT, SEVERAL = st.integers(1, 9), st.integers(2, 9)
D_MODEL = st.integers(1, 8)


def counted_attention(n_query: int, n_key: int, d_model: int) -> int:
    """The operations of the reference's attention, in two heads where they divide the channels."""
    n_head = 2 if d_model % 2 == 0 else 1
    q, k = (torch.zeros(1, n_head, n, d_model // n_head) for n in (n_query, n_key))
    return flops(scaled_dot_product_attention, q, k, k, None)


@claim("attention_flops", rung=1, examples=10)
@given(d_model=D_MODEL)
def test_attention_flops_one_pair(impl, d_model):
    """One query and one key: a score and a weighted value, each of d_model multiplications and as many additions."""
    expect_number(impl, counted_attention, 1, 1, d_model, what=COUNTED)


@claim("attention_flops", rung=2, examples=10)
@given(n_key=SEVERAL, d_model=D_MODEL)
def test_attention_flops_one_query(impl, n_key, d_model):
    """One query, as in a decode step, meets each of its keys once."""
    expect_number(impl, counted_attention, 1, n_key, d_model, what=COUNTED)


@claim("attention_flops", rung=3, examples=10)
@given(count=SEVERAL, d_model=D_MODEL)
def test_attention_flops_square(impl, count, d_model):
    """In a whole text every query is multiplied with every key; what the mask hides is computed too."""
    expect_number(impl, counted_attention, count, count, d_model, what=COUNTED)


@claim("attention_flops", rung=4, examples=10)
@given(n_query=SEVERAL, past=SEVERAL, d_model=D_MODEL)
def test_attention_flops_chunk_behind_a_past(impl, n_query, past, d_model):
    """Several queries behind a past make a rectangle: as many rows as queries, as many columns as keys."""
    expect_number(impl, counted_attention, n_query, past + n_query, d_model, what=COUNTED)


@claim("attention_flops", rung=5, examples=8)
@given(n_query=st.integers(1, 10**6), past=st.integers(10**5, 10**6), d_model=st.sampled_from([1600, 12288]))
def test_attention_flops_long_contexts(impl, n_query, past, d_model):
    """Contexts of hundreds of thousands of positions are counted to the last operation."""
    expect_number(impl, cost.attention_flops, n_query, past + n_query, d_model)


# --- forward_flops ----------------------------------------------------------------------------------------------------

WIDTH, VOCAB = st.integers(1, 6), st.integers(2, 12)


@claim("forward_flops", rung=1, examples=6)
@given(d_model=WIDTH, vocab_size=VOCAB)
def test_forward_flops_one_token_one_layer(impl, d_model, vocab_size):
    """One token through one block and the head: 2 operations for each weight of a matrix, and one pair in attention."""
    expect_number(impl, flops_of_a_pass, 1, d_model, vocab_size, 1, 1, what=COUNTED)


@claim("forward_flops", rung=2, examples=5)
@given(n_layer=st.integers(2, 4), d_model=WIDTH, vocab_size=VOCAB)
def test_forward_flops_several_layers(impl, n_layer, d_model, vocab_size):
    """Each layer adds its block with its attention; the head comes once, after the last."""
    expect_number(impl, flops_of_a_pass, n_layer, d_model, vocab_size, 1, 1, what=COUNTED)


@claim("forward_flops", rung=3, examples=5)
@given(n_layer=st.integers(1, 3), d_model=WIDTH, vocab_size=VOCAB, count=SEVERAL)
def test_forward_flops_whole_text(impl, n_layer, d_model, vocab_size, count):
    """In a pass over a whole text each token goes through all weights and the head, and each pair through attention."""
    expect_number(impl, flops_of_a_pass, n_layer, d_model, vocab_size, count, count, what=COUNTED)


@claim("forward_flops", rung=4, examples=5)
@given(n_layer=st.integers(1, 3), d_model=WIDTH, vocab_size=VOCAB, past=SEVERAL)
def test_forward_flops_one_token_behind_a_past(impl, n_layer, d_model, vocab_size, past):
    """With a cache one token goes through the weights, and its query meets all keys, its own among them."""
    expect_number(impl, flops_of_a_pass, n_layer, d_model, vocab_size, 1, past + 1, what=COUNTED)


@claim("forward_flops", rung=5, examples=5)
@given(n_layer=st.integers(1, 3), d_model=WIDTH, vocab_size=VOCAB, n_query=SEVERAL, past=SEVERAL)
def test_forward_flops_chunk_behind_a_past(impl, n_layer, d_model, vocab_size, n_query, past):
    """A chunk of several tokens behind a past: the chunk goes through the weights, its queries meet all keys."""
    expect_number(impl, flops_of_a_pass, n_layer, d_model, vocab_size, n_query, past + n_query, what=COUNTED)


@claim("forward_flops", rung=6, examples=8)
@given(config=st.sampled_from([*GPT2.values(), *GPT3.values()]), n_query=st.integers(1, 512), past=st.integers(0, 512))
def test_forward_flops_of_published_models(impl, config, n_query, past):
    """The counts of GPT-2 and GPT-3, with and without a cache, are exact to the last operation."""
    expect_number(impl, cost.forward_flops, *_sizes(config), n_query, past + n_query)


def _sizes(config: GPTConfig) -> tuple[int, int, int]:
    return config.n_layer, config.d_model, config.vocab_size


# --- decode_flops -----------------------------------------------------------------------------------------------------

LAYERS = st.integers(1, 2)


@claim("decode_flops", rung=1, examples=5)
@given(n_layer=LAYERS, d_model=WIDTH, vocab_size=VOCAB, n_prompt=COUNT, use_cache=st.booleans())
def test_decode_flops_one_token(impl, n_layer, d_model, vocab_size, n_prompt, use_cache):
    """For one new token there is one pass, over the prompt: with or without a cache, it is chosen and never fed."""
    expect_number(impl, flops_of_generating, n_layer, d_model, vocab_size, n_prompt, 1, use_cache, what=COUNTED)


@claim("decode_flops", rung=2, examples=3)
@given(n_layer=LAYERS, d_model=WIDTH, vocab_size=VOCAB, n_prompt=st.integers(1, 5), n_new=st.integers(2, 4))
def test_decode_flops_without_a_cache(impl, n_layer, d_model, vocab_size, n_prompt, n_new):
    """Without a cache each new token needs a pass over all tokens so far, which is longer by one each time."""
    expect_number(impl, flops_of_generating, n_layer, d_model, vocab_size, n_prompt, n_new, False, what=COUNTED)


@claim("decode_flops", rung=3, examples=3)
@given(n_layer=LAYERS, d_model=WIDTH, vocab_size=VOCAB, n_prompt=st.integers(1, 5), n_new=st.integers(2, 5))
def test_decode_flops_with_a_cache(impl, n_layer, d_model, vocab_size, n_prompt, n_new):
    """With a cache the prompt is fed once, then one token a pass, whose query meets a key more each time."""
    expect_number(impl, flops_of_generating, n_layer, d_model, vocab_size, n_prompt, n_new, True, what=COUNTED)


@claim("decode_flops", rung=4, examples=5)
@given(n_layer=LAYERS, d_model=WIDTH, vocab_size=VOCAB, n_prompt=COUNT, use_cache=st.booleans())
def test_decode_flops_of_nothing(impl, n_layer, d_model, vocab_size, n_prompt, use_cache):
    """Where no token is asked for, no pass is made."""
    expect_number(impl, cost.decode_flops, n_layer, d_model, vocab_size, n_prompt, 0, use_cache)


@claim("decode_flops", rung=5, examples=8)
@given(
    config=st.sampled_from([*GPT2.values(), *GPT3.values()]),
    n_prompt=st.sampled_from([1, 256]),
    use_cache=st.booleans(),
)
def test_decode_flops_of_published_models(impl, config, n_prompt, use_cache):
    """Filling the context of GPT-2 and GPT-3 is counted to the last operation."""
    expect_number(impl, cost.decode_flops, *_sizes(config), n_prompt, config.n_ctx - n_prompt, use_cache)


# --- kv_cache_bytes ---------------------------------------------------------------------------------------------------

DTYPES = st.sampled_from([torch.float32, torch.float64, torch.int8, torch.bfloat16])


def stored(n_layer: int, n_kv_head: int, d_head: int, n_position: int, batch: int = 1, size: float = 2) -> float:
    """The bytes of the reference's caches, whose numbers have `size` bytes."""
    dtype = {1: torch.int8, 2: torch.float16, 4: torch.float32, 8: torch.float64}[size]
    return float(bytes_of_caches(n_layer, n_kv_head, d_head, n_position, batch, dtype))


@claim("kv_cache_bytes", rung=1, examples=10)
@given(n_kv_head=COUNT, d_head=COUNT)
def test_kv_cache_bytes_one_position(impl, n_kv_head, d_head):
    """One layer keeps a key and a value for one position in each head; a number has 2 bytes unless told otherwise."""
    expect_number(impl, stored, 1, n_kv_head, d_head, 1, what=STORED)


@claim("kv_cache_bytes", rung=2, examples=10)
@given(n_layer=SEVERAL, n_kv_head=COUNT, d_head=COUNT)
def test_kv_cache_bytes_several_layers(impl, n_layer, n_kv_head, d_head):
    """Every layer has a cache of its own."""
    expect_number(impl, stored, n_layer, n_kv_head, d_head, 1, what=STORED)


@claim("kv_cache_bytes", rung=3, examples=10)
@given(n_layer=st.integers(1, 3), n_kv_head=COUNT, d_head=COUNT, n_position=SEVERAL)
def test_kv_cache_bytes_several_positions(impl, n_layer, n_kv_head, d_head, n_position):
    """The cache grows linearly with the positions."""
    expect_number(impl, stored, n_layer, n_kv_head, d_head, n_position, what=STORED)


@claim("kv_cache_bytes", rung=4, examples=10)
@given(n_layer=st.integers(1, 3), n_kv_head=COUNT, d_head=COUNT, n_position=COUNT, batch=SEVERAL)
def test_kv_cache_bytes_batch(impl, n_layer, n_kv_head, d_head, n_position, batch):
    """Every sequence of a batch has a cache of its own: unlike the weights, it is not shared."""
    expect_number(impl, stored, n_layer, n_kv_head, d_head, n_position, batch, what=STORED)


@claim("kv_cache_bytes", rung=5, examples=10)
@given(n_layer=st.integers(1, 3), n_kv_head=COUNT, d_head=COUNT, batch=st.integers(1, 3), dtype=DTYPES)
def test_kv_cache_bytes_other_dtypes(impl, n_layer, n_kv_head, d_head, batch, dtype):
    """A number has 1 byte in int8, 2 in bfloat16, 4 in float32, 8 in float64."""
    expect_number(impl, stored, n_layer, n_kv_head, d_head, 3, batch, dtype.itemsize, what=STORED)


@claim("kv_cache_bytes", rung=6, examples=10)
@given(n_layer=st.integers(1, 3), n_kv_head=COUNT, d_head=COUNT, batch=st.integers(1, 3))
def test_kv_cache_bytes_half_a_byte(impl, n_layer, n_kv_head, d_head, batch):
    """In int4 a number has half a byte."""
    expect_number(impl, _cache_bytes, n_layer, n_kv_head, d_head, 3, batch, 0.5)


@claim("kv_cache_bytes", rung=7, examples=8)
@given(config=st.sampled_from([*GPT2.values(), *GPT3.values()]), batch=st.sampled_from([1, 8, 64]))
def test_kv_cache_bytes_of_published_models(impl, config, batch):
    """The caches of GPT-2 and GPT-3 at a full context, up to hundreds of gigabytes, are counted without overflow."""
    expect_number(impl, _cache_bytes, config.n_layer, config.n_head, config.d_head, config.n_ctx, batch, 2)


def _cache_bytes(*sizes: float) -> float:
    return float(cost.kv_cache_bytes(*sizes))  # type: ignore[arg-type]


# --- arithmetic_intensity ---------------------------------------------------------------------------------------------


def counted_intensity(n_token: int, d_in: int, d_out: int, bytes_per_number: float = 2) -> float:
    """What torch counts on a linear layer, for each byte of the tensors that it reads and writes."""
    dtype = {2: torch.float16, 4: torch.float32, 8: torch.float64}[bytes_per_number]
    x, weight = torch.zeros(n_token, d_in, dtype=dtype), torch.zeros(d_out, d_in, dtype=dtype)
    moved = sum(tensor.nbytes for tensor in (x, weight, F.linear(x, weight)))
    return flops(F.linear, x, weight) / moved


@claim("arithmetic_intensity", rung=1, examples=10)
@given(width=COUNT)
def test_arithmetic_intensity_one_token(impl, width):
    """One token: two operations for each weight, and weights, input and output are moved, 2 bytes a number."""
    expect_number(impl, counted_intensity, 1, width, width)


@claim("arithmetic_intensity", rung=2, examples=10)
@given(n_token=SEVERAL, width=COUNT)
def test_arithmetic_intensity_several_tokens(impl, n_token, width):
    """With several tokens the weights are read once for all, the inputs and outputs once for each."""
    expect_number(impl, counted_intensity, n_token, width, width)


@claim("arithmetic_intensity", rung=3, examples=10)
@given(n_token=COUNT, d_in=COUNT, d_out=COUNT)
def test_arithmetic_intensity_wide_and_narrow(impl, n_token, d_in, d_out):
    """Inputs are d_in wide and outputs d_out."""
    expect_number(impl, counted_intensity, n_token, d_in, d_out)


@claim("arithmetic_intensity", rung=4, examples=10)
@given(n_token=COUNT, d_in=COUNT, d_out=COUNT, size=st.sampled_from([4, 8, 2]))
def test_arithmetic_intensity_other_dtypes(impl, n_token, d_in, d_out, size):
    """The more bytes a number has, the fewer operations there are for each byte."""
    expect_number(impl, counted_intensity, n_token, d_in, d_out, size)


# --- max_batch_size ---------------------------------------------------------------------------------------------------

BYTES = st.integers(1, 50)
FITTING = st.integers(1, 12)


@claim("max_batch_size", rung=1, examples=10)
@given(cache=BYTES, weights=BYTES, fitting=FITTING)
def test_max_batch_size_exactly_full(impl, cache, weights, fitting):
    """The weights are there once, and caches may use up the rest to the last byte."""
    expect_number(impl, cost.max_batch_size, weights + fitting * cache, weights, cache)


@claim("max_batch_size", rung=2, examples=15)
@given(cache=st.integers(2, 50), weights=BYTES, fitting=FITTING, data=st.data())
def test_max_batch_size_some_left(impl, cache, weights, fitting, data):
    """What is left over is no sequence, even if nearly another would fit."""
    left = data.draw(st.sampled_from([cache - 1, 1, (cache + 1) // 2]), label="left over")
    expect_number(impl, cost.max_batch_size, weights + fitting * cache + left, weights, cache)


@claim("max_batch_size", rung=3, examples=10)
@given(cache=st.integers(2, 50), weights=BYTES, data=st.data())
def test_max_batch_size_none_fits(impl, cache, weights, data):
    """Where there is room for the weights and less than one cache, the answer is 0."""
    left = data.draw(st.integers(0, cache - 1), label="left over")
    expect_number(impl, cost.max_batch_size, weights + left, weights, cache)


@claim("max_batch_size", rung=4, examples=10)
@given(cache=BYTES, memory=BYTES, lacking=st.integers(1, 200))
def test_max_batch_size_weights_do_not_fit(impl, cache, memory, lacking):
    """Where not even the weights fit, the answer is 0 too."""
    expect_number(impl, cost.max_batch_size, memory, memory + lacking, cache)


@claim("max_batch_size", rung=5, examples=10)
@given(
    memory=st.sampled_from([24e9, 40e9, 80e9, 8 * 80e9]),
    config=st.sampled_from([*GPT2.values(), *GPT3.values()]),
    size=st.sampled_from([1.0, 2.0, 4.0]),
)
def test_max_batch_size_of_published_models(impl, memory, config, size):
    """With bytes given as floats the answer is an int too: how many full contexts of GPT-2 and GPT-3 a device holds."""
    weights = float(size * 12 * config.n_layer * config.d_model**2)
    cache = _cache_bytes(config.n_layer, config.n_head, config.d_head, config.n_ctx, 1, size)
    expect_number(impl, cost.max_batch_size, memory, weights, cache)
