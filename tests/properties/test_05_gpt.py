"""How right is told from wrong in chapter 5: positions, embeddings, the forward pass, initialization and size."""

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.comparing import compare_kind
from gptdojo.expect import (
    expect_close,
    expect_gradients,
    expect_raises,
    expect_reference,
)
from gptdojo.implementation import Implementation
from gptdojo.strategies import Values, values
from reference import embedding, model
from reference.config import GPT2, GPT3, GPTConfig, count_parameters as count_of_config
from tests.strategies.small_gpt import Params, random_params

BATCH = st.integers(2, 3)
N_POSITION = st.integers(2, 5)
HALF_DTYPES = st.sampled_from([torch.float16, torch.bfloat16])


# --- sinusoidal_positions ---------------------------------------------------------------------------------------------


def expect_sinusoids(impl: Implementation, *sizes: int) -> None:
    """Compare with the formula; the result may be float32 or float64."""
    expected = embedding.sinusoidal_positions(*sizes)
    expect_close(impl, impl(*sizes), expected, inputs=impl.label(impl.name, sizes))


@claim("sinusoidal_positions", rung=1, examples=8)
@given(n_position=st.integers(1, 9))
def test_sinusoidal_positions_one_hand(impl, n_position):
    """With d_model 2, position p is (sin p, cos p), from position 0 on."""
    expect_sinusoids(impl, n_position, 2)


@claim("sinusoidal_positions", rung=2, examples=15)
@given(n_position=st.integers(3, 9), n_pair=st.integers(2, 9))
def test_sinusoidal_positions_each_pair_slower(impl, n_position, n_pair):
    """The channels 2i and 2i + 1 are sin and cos of the position times 10000 ** (-2i / d_model)."""
    expect_sinusoids(impl, n_position, 2 * n_pair)


@claim("sinusoidal_positions", rung=3, examples=15)
@given(n_position=st.integers(1, 6), n_pair=st.integers(1, 5), first_position=st.integers(1, 40))
def test_sinusoidal_positions_with_an_offset(impl, n_position, n_pair, first_position):
    """The rows are those of the positions first_position, first_position + 1, and so on, n_position of them."""
    expect_sinusoids(impl, n_position, 2 * n_pair, first_position)


@claim("sinusoidal_positions", rung=4, examples=10)
@given(past=st.sampled_from([2048, 6000]), odd=st.integers(1, 20).map(lambda n: 2 * n + 1), n_pair=st.integers(1, 5))
def test_sinusoidal_positions_long_text(impl, past, odd, n_pair):
    """A text may be thousands of tokens long, and each of its positions still has a row of its own."""
    expect_sinusoids(impl, 3, 2 * n_pair, past + odd)


# --- embed_tokens -----------------------------------------------------------------------------------------------------


def tables(v: Values, vocab_size: int, n_ctx: int, d_model: int) -> tuple[Tensor, Tensor]:
    """wte and wpe; those of equal numbers become small integers, or all rows would be one."""
    v = Values("integers", v.seed) if v.style == "ones" else v
    return v.normal(vocab_size, d_model), v.normal(n_ctx, d_model)


VOCAB, WIDTH = st.integers(5, 9), st.integers(3, 6)


@claim("embed_tokens", rung=1, examples=10)
@given(n_ctx=st.integers(3, 6), vocab_size=VOCAB, d_model=WIDTH, v=values())
def test_embed_tokens_one_token(impl, n_ctx, vocab_size, d_model, v):
    """The first token of a text is its row of wte plus row 0 of wpe."""
    tokens = v.integers(0, vocab_size - 1, (1, 1))
    expect_reference(impl, embedding.embed_tokens, tokens, *tables(v, vocab_size, n_ctx, d_model))


@claim("embed_tokens", rung=2, examples=15)
@given(n_position=N_POSITION, room=st.integers(2, 4), vocab_size=VOCAB, d_model=WIDTH, v=values())
def test_embed_tokens_one_text(impl, n_position, room, vocab_size, d_model, v):
    """Each token of a text gets the row of wpe that belongs to its own position."""
    tokens = v.integers(0, vocab_size - 1, (1, n_position))
    expect_reference(impl, embedding.embed_tokens, tokens, *tables(v, vocab_size, n_position + room, d_model))


@claim("embed_tokens", rung=3, examples=15)
@given(batch=BATCH, n_position=N_POSITION, room=st.integers(2, 4), vocab_size=VOCAB, d_model=WIDTH, v=values())
def test_embed_tokens_batch(impl, batch, n_position, room, vocab_size, d_model, v):
    """All texts of a batch have the same positions, and tensors may lie in memory in any way."""
    tokens = v.scattered(v.integers(0, vocab_size - 1, (batch, n_position)))
    wte, wpe = tables(v, vocab_size, n_position + room, d_model)
    expect_reference(impl, embedding.embed_tokens, tokens, v.scattered(wte), v.scattered(wpe))


@claim("embed_tokens", rung=4, examples=15)
@given(batch=BATCH, n_position=st.integers(1, 4), first_position=st.integers(1, 5), room=st.integers(1, 3), v=values())
def test_embed_tokens_with_an_offset(impl, batch, n_position, first_position, room, v):
    """Positions are counted from first_position."""
    tokens = v.integers(0, 6, (batch, n_position))
    wte, wpe = tables(v, 7, first_position + n_position + room, 4)
    expect_reference(impl, embedding.embed_tokens, tokens, wte, wpe, first_position)


@claim("embed_tokens", rung=5, examples=10)
@given(batch=BATCH, n_position=st.integers(1, 4), first_position=st.integers(0, 4), v=values())
def test_embed_tokens_fills_the_context(impl, batch, n_position, first_position, v):
    """The last token may stand at the last position that wpe has."""
    tokens = v.integers(0, 6, (batch, n_position))
    wte, wpe = tables(v, 7, first_position + n_position, 4)
    expect_reference(impl, embedding.embed_tokens, tokens, wte, wpe, first_position)


@claim("embed_tokens", rung=6, examples=8)
@given(batch=BATCH, first_position=st.integers(1, 5), n_position=N_POSITION, data=st.data())
def test_embed_tokens_past_the_context(impl, batch, first_position, n_position, data):
    """A position that wpe has no row for is an error, whether all tokens stand there or only the last."""
    some = data.draw(st.integers(0, n_position - 1), label="rows left")
    v = data.draw(values())
    tokens = v.integers(0, 6, (batch, n_position))
    for rows_left in (1, some):  # one row is the case in which a slice that is too short would broadcast
        n_ctx = first_position + rows_left
        because = f"the last token stands at position {first_position + n_position - 1} and wpe has {n_ctx} rows"
        expect_raises(impl, Exception, tokens, *tables(v, 7, n_ctx, 4), first_position, because=because)


@claim("embed_tokens", rung=7, examples=10)
@given(batch=BATCH, n_position=st.integers(1, 4), first_position=st.integers(0, 2), d_model=WIDTH, v=values())
def test_embed_tokens_gradients(impl, batch, n_position, first_position, d_model, v):
    """Both tables learn: the gradients of all places where a row was used add up in that row."""
    tokens = v.integers(0, 3, (batch, n_position))
    args = tokens, *tables(v, 5, first_position + n_position + 1, d_model), first_position
    cotangent = v.normal(batch, n_position, d_model)
    expect_gradients(impl, embedding.embed_tokens, args, cotangent, ["wte", "wpe"])


@claim("embed_tokens", rung=8, examples=8)
@given(batch=BATCH, n_position=st.integers(1, 4), dtype=HALF_DTYPES, d_model=WIDTH, v=values())
def test_embed_tokens_half_precision(impl, batch, n_position, dtype, d_model, v):
    """The result has the dtype of the tables, which may be float16 or bfloat16."""
    tokens = v.integers(0, 6, (batch, n_position))
    wte, wpe = (table.to(dtype) for table in tables(v, 7, n_position + 1, d_model))
    expect_reference(impl, embedding.embed_tokens, tokens, wte, wpe, tolerance=8 * torch.finfo(dtype).eps)


# --- gpt_forward ------------------------------------------------------------------------------------------------------


def silent(params: Params, *parts: str) -> Params:
    """The same parameters, but these parts of each block ("attn", "mlp") write nothing to the residual stream."""
    writes = tuple(f"{part}.c_proj." for part in parts)
    return {
        name: torch.zeros_like(tensor) if any(part in name for part in writes) else tensor
        for name, tensor in params.items()
    }


def deep(params: Params, n_layer: int) -> Params:
    """The same parameters, the projections smaller as in GPT-2, so that the stream does not grow with the depth."""
    scale = (2 * n_layer) ** -0.5
    return {name: tensor * scale if ".c_proj." in name else tensor for name, tensor in params.items()}


ERF_OR_TANH = 4e-3
"""Looser than what the erf form of GELU in place of the tanh form does to one block, tighter than a wrong wiring."""

N_HEAD, D_HEAD = st.integers(2, 3), st.integers(3, 4)


@claim("gpt_forward", rung=1, examples=10)
@given(n_head=N_HEAD, d_head=D_HEAD, n_ctx=st.integers(2, 5), vocab_size=VOCAB, v=values())
def test_gpt_forward_embedding_norm_head(impl, n_head, d_head, n_ctx, vocab_size, v):
    """With blocks that write nothing, one token is embedded, goes through the final norm and meets each row of wte."""
    params = silent(random_params(v, 2, n_head * d_head, n_ctx, vocab_size), "attn", "mlp")
    tokens = v.integers(0, vocab_size - 1, (1, 1))
    expect_reference(impl, model.gpt_forward, tokens, params, n_head)


@claim("gpt_forward", rung=2, examples=10)
@given(batch=BATCH, n_position=N_POSITION, room=st.integers(0, 3), n_head=N_HEAD, d_head=D_HEAD, v=values())
def test_gpt_forward_every_position(impl, batch, n_position, room, n_head, d_head, v):
    """With blocks that write nothing, every position of every text has its logits."""
    params = silent(random_params(v, 2, n_head * d_head, n_position + room, 7), "attn", "mlp")
    tokens = v.integers(0, 6, (batch, n_position))
    expect_reference(impl, model.gpt_forward, tokens, params, n_head)


@claim("gpt_forward", rung=3, examples=10)
@given(batch=BATCH, n_position=N_POSITION, room=st.integers(0, 3), n_head=N_HEAD, d_head=D_HEAD, v=values())
def test_gpt_forward_one_block(impl, batch, n_position, room, n_head, d_head, v):
    """A model of one block: embed, run the block, normalize, multiply with the head."""
    params = random_params(v, 1, n_head * d_head, n_position + room, 7)
    tokens = v.integers(0, 6, (batch, n_position))
    expect_reference(impl, model.gpt_forward, tokens, params, n_head, tolerance=ERF_OR_TANH)


@claim("gpt_forward", rung=4, examples=6)
@given(batch=BATCH, n_position=N_POSITION, n_head=N_HEAD, d_head=D_HEAD, v=values())
def test_gpt_forward_tanh_form(impl, batch, n_position, n_head, d_head, v):
    """The MLPs of the blocks have GPT-2's GELU, in its tanh form."""
    d_model = n_head * d_head
    params = silent(random_params(v, 1, d_model, n_position, 7), "attn")
    # All hidden channels near -2.7, where erf and tanh differ most; half of the channels add that up, half subtract it.
    side = 1 - 2 * (torch.arange(d_model) % 2)[:, None]
    params |= {
        "h.0.mlp.c_fc.weight": 0.1 * params["h.0.mlp.c_fc.weight"],
        "h.0.mlp.c_fc.bias": 0.1 * params["h.0.mlp.c_fc.bias"] - 2.7,
        "h.0.mlp.c_proj.weight": side * (params["h.0.mlp.c_proj.weight"].abs() + 0.5),
    }
    tokens = v.integers(0, 6, (batch, n_position))
    expect_reference(impl, model.gpt_forward, tokens, params, n_head)


@claim("gpt_forward", rung=5, examples=6)
@given(n_position=N_POSITION, n_head=N_HEAD, d_head=D_HEAD, v=values())
def test_gpt_forward_eps(impl, n_position, n_head, d_head, v):
    """All layer norms have eps 1e-5, the final one too: it counts where the channels of a position are nearly equal."""
    d_model = n_head * d_head
    params = random_params(v, 1, d_model, n_position, 7)
    tokens = v.integers(0, 6, (1, n_position))
    wte = v.integers(-3, 3, (7, d_model)).float()
    wpe = 1e-3 * params["wpe.weight"] - wte[tokens[0]]  # what is left of the sum is about 1e-3
    params |= {"wte.weight": wte, "wpe.weight": wpe}
    for quiet in ("attn", "mlp"), ("attn",), ("mlp",):
        expect_reference(impl, model.gpt_forward, tokens, silent(params, *quiet), n_head)


@claim("gpt_forward", rung=6, examples=15)
@given(n_layer=st.integers(2, 4), batch=BATCH, n_position=st.integers(1, 4), n_head=N_HEAD, d_head=D_HEAD, v=values())
def test_gpt_forward_several_blocks(impl, n_layer, batch, n_position, n_head, d_head, v):
    """The blocks run one after the other, each with its own parameters, from h.0 to the last."""
    params = random_params(v, n_layer, n_head * d_head, n_position + 2, 7)
    tokens = v.integers(0, 6, (batch, n_position))
    expect_reference(impl, model.gpt_forward, tokens, params, n_head)


@claim("gpt_forward", rung=7, examples=6)
@given(n_layer=st.integers(11, 13), n_position=st.integers(1, 3), n_head=N_HEAD, d_head=D_HEAD, v=values())
def test_gpt_forward_more_than_ten_blocks(impl, n_layer, n_position, n_head, d_head, v):
    """A model may have more than ten blocks: h.10 comes after h.9."""
    params = deep(random_params(v, n_layer, n_head * d_head, n_position, 6), n_layer)
    tokens = v.integers(0, 5, (2, n_position))
    expect_reference(impl, model.gpt_forward, tokens, params, n_head)


@claim("gpt_forward", rung=8, examples=10)
@given(n_layer=st.integers(2, 3), n_position=st.integers(1, 4), n_head=N_HEAD, d_head=D_HEAD, v=values())
def test_gpt_forward_names_and_layout(impl, n_layer, n_position, n_head, d_head, v):
    """Parameters are known by their names, whatever their order in the dict, and tensors have any layout in memory."""
    params = random_params(v, n_layer, n_head * d_head, n_position + 1, 7)
    names = [list(params)[number] for number in v.permutation(len(params))]
    params = {name: v.scattered(params[name]) for name in names}
    tokens = v.scattered(v.integers(0, 6, (2, n_position)))
    expect_reference(impl, model.gpt_forward, tokens, params, n_head)


@claim("gpt_forward", rung=9, examples=6)
@given(n_layer=st.integers(1, 2), n_position=st.integers(1, 4), n_head=N_HEAD, d_head=D_HEAD, v=values())
def test_gpt_forward_gradients(impl, n_layer, n_position, n_head, d_head, v):
    """Every parameter learns. That of wte has two parts, from the embedding and from the head, which add up."""
    v = Values("normal", v.seed)  # rows far from constant: the gradient of a norm grows without bound near those
    params = random_params(v, n_layer, n_head * d_head, n_position + 1, 6)
    tokens = v.integers(0, 5, (2, n_position))
    cotangent = v.normal(2, n_position, 6)
    expect_gradients(impl, model.gpt_forward, (tokens, params, n_head), cotangent, list(params))


# --- initial_std ------------------------------------------------------------------------------------------------------

N_LAYER = st.integers(1, 12) | st.integers(13, 96)


@claim("initial_std", rung=1)
@given(n_layer=N_LAYER, data=st.data())
def test_initial_std_projection_of_attention(impl, n_layer, data):
    """The projection of attention writes to the residual stream: it has 0.02 / sqrt(2 n_layer), whichever block it is in."""
    layer = data.draw(st.integers(0, n_layer - 1), label="layer")
    expect_reference(impl, model.initial_std, f"h.{layer}.attn.c_proj.weight", n_layer)


@claim("initial_std", rung=2)
@given(n_layer=N_LAYER, data=st.data())
def test_initial_std_projection_of_the_mlp(impl, n_layer, data):
    """The projection of the MLP writes to the residual stream too, and has the same."""
    layer = data.draw(st.integers(0, n_layer - 1), label="layer")
    expect_reference(impl, model.initial_std, f"h.{layer}.mlp.c_proj.weight", n_layer)


@claim("initial_std", rung=3, examples=15)
@given(n_layer=N_LAYER, kind=st.sampled_from(["attn.c_attn", "mlp.c_fc"]), data=st.data())
def test_initial_std_what_reads_the_stream(impl, n_layer, kind, data):
    """The matrices that read the residual stream, c_attn and c_fc, have 0.02 whatever the depth."""
    layer = data.draw(st.integers(0, n_layer - 1), label="layer")
    expect_reference(impl, model.initial_std, f"h.{layer}.{kind}.weight", n_layer)


@claim("initial_std", rung=4, examples=10)
@given(n_layer=N_LAYER, name=st.sampled_from(["wte.weight", "wpe.weight"]))
def test_initial_std_embeddings(impl, n_layer, name):
    """Both embeddings have 0.02 whatever the depth."""
    expect_reference(impl, model.initial_std, name, n_layer)


# --- count_parameters -------------------------------------------------------------------------------------------------

SIZES = st.tuples(st.integers(1, 5), st.integers(2, 12), st.integers(2, 9), st.integers(2, 20))
"""n_layer, d_model, n_ctx, vocab_size."""


def count(n_layer: int, d_model: int, n_ctx: int, vocab_size: int) -> int:
    """How many parameters a GPT of these sizes has."""
    return count_of_config(GPTConfig(n_layer, 1, d_model, n_ctx, vocab_size))


def expect_growth(impl: Implementation, smaller: tuple[int, ...], larger: tuple[int, ...], by: str) -> None:
    """Compare how many parameters the larger of two models has more."""
    counts = [impl(*smaller), impl(*larger)]
    for got, sizes in zip(counts, (smaller, larger), strict=True):
        compare_kind(got, count(*sizes), "the result", impl.label(impl.name, sizes), None)
    expected = count(*larger) - count(*smaller)
    inputs = impl.label(impl.name, smaller) | {f"and with one more {by}": larger}
    expect_close(impl, counts[1] - counts[0], expected, inputs=inputs, what=f"what one more {by} adds")


@claim("count_parameters", rung=1, examples=15)
@given(sizes=SIZES)
def test_count_parameters_one_more_block(impl, sizes):
    """One more block adds its four weight matrices, their four biases, and two layer norms."""
    n_layer, *others = sizes
    expect_growth(impl, sizes, (n_layer + 1, *others), "block")


@claim("count_parameters", rung=2, examples=15)
@given(sizes=SIZES)
def test_count_parameters_one_more_row(impl, sizes):
    """One more word, and one more position, adds a vector of d_model numbers, once."""
    n_layer, d_model, n_ctx, vocab_size = sizes
    expect_growth(impl, sizes, (n_layer, d_model, n_ctx + 1, vocab_size), "position")
    expect_growth(impl, sizes, (n_layer, d_model, n_ctx, vocab_size + 1), "word")


@claim("count_parameters", rung=3, examples=15)
@given(sizes=SIZES)
def test_count_parameters_small_models(impl, sizes):
    """The count of a small model is exact: the embeddings, the blocks, and what comes after the last block."""
    expect_reference(impl, count, *sizes)


def expect_preset(impl: Implementation, config: GPTConfig) -> None:
    """Compare the count of a published size."""
    expect_reference(impl, count, config.n_layer, config.d_model, config.n_ctx, config.vocab_size)


@claim("count_parameters", rung=4, examples=8)
@given(name=st.sampled_from(list(GPT2)))
def test_count_parameters_gpt2(impl, name):
    """The four sizes of GPT-2 have 124,439,808, 354,823,168, 774,030,080 and 1,557,611,200 parameters."""
    expect_preset(impl, GPT2[name])


@claim("count_parameters", rung=5, examples=16)
@given(name=st.sampled_from(list(GPT3)))
def test_count_parameters_gpt3(impl, name):
    """The eight sizes of GPT-3 have from 125,226,240 to 174,604,259,328 parameters, to the last one."""
    expect_preset(impl, GPT3[name])
