"""Wrong on purpose: what people believe about positions, embeddings, the forward pass, initialization and size."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from gptdojo import fingerprint, misconception
from reference.attention import causal_self_attention, scaled_dot_product_attention
from reference.block import BLOCK_KEYS, layer_norm, transformer_block

Probe = Callable[[], Any]

# --- sinusoidal_positions ---------------------------------------------------------------------------------------------


@misconception(
    "sinusoidal_positions",
    believes="the first half of the channels are sines and the second half cosines",
    truth="that is how tensor2tensor and others lay them out; in the paper, and here, sin and cos of one angle are "
    "neighbors, in the channels 2i and 2i + 1",
)
def halves_side_by_side(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


@misconception(
    "sinusoidal_positions",
    believes="the cosine stands in the even channels and the sine in the odd ones",
    truth="the sine comes first: the row of position 0 reads 0, 1, 0, 1 and so on",
)
def cosine_first(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return torch.stack([angle.cos(), angle.sin()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="all channels are sines, each with a frequency of its own pair",
    truth="of a sine alone nobody can tell 0 from half a turn, nor compute the position k steps on: each pair holds "
    "both coordinates of one hand, sin and cos",
)
def sines_only(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return angle.sin().repeat_interleave(2, dim=1)


@misconception(
    "sinusoidal_positions",
    believes="positions are counted from 1",
    truth="the first token has position 0, whose row is sin 0 and cos 0 in turn: it reads 0, 1, 0, 1 and so on",
)
def counts_from_one(n_position, d_model, first_position=0):
    position = torch.arange(first_position + 1, first_position + n_position + 1, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="each position makes whole turns: the angle has a factor of 2 pi",
    truth="the angle is the position times the frequency, in radians; the fastest hand turns once in 2 pi positions, "
    "not once in each, where every position would look the same to it",
)
def whole_turns(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return torch.stack([(2 * math.pi * angle).sin(), (2 * math.pi * angle).cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="each channel has the frequency that its own number c gives, 10000 ** (-c / d_model)",
    truth="the channels 2i and 2i + 1 share the frequency 10000 ** (-2i / d_model): only sin and cos of one angle are a "
    "hand that turns",
)
def a_frequency_for_each_channel(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (-torch.arange(d_model, dtype=torch.float64) / d_model)
    return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="a loop over range(0, d_model, 2) gives the i of 2i / d_model",
    truth="it gives 2i already: doubled once more, the exponents are twice as large, and in a wide model the slowest hand "
    "turns once in 600 million positions",
)
def doubled_twice(n_position, d_model, first_position=0):
    table = torch.zeros(n_position, d_model, dtype=torch.float64)
    for row in range(n_position):
        for i in range(0, d_model, 2):
            angle = (first_position + row) / 10000 ** (2 * i / d_model)
            table[row, i], table[row, i + 1] = math.sin(angle), math.cos(angle)
    return table


@misconception(
    "sinusoidal_positions",
    believes="pair i has the exponent i / d_model",
    truth="the exponent is 2i / d_model, so that it runs to nearly 1 over the d_model / 2 pairs, and the wavelengths to "
    "nearly 10000 times the first",
)
def never_doubled(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (-torch.arange(d_model // 2, dtype=torch.float64) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="the slowest hand has exactly the frequency 1/10000, so i is divided by d_model / 2 - 1",
    truth="that is tensor2tensor's code; the paper's formula divides 2i by d_model, and the slowest hand stays "
    "faster than 1/10000, with d_model 4 a hundred times",
)
def ends_at_exactly_the_base(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position, dtype=torch.float64)
    exponent = torch.arange(d_model // 2, dtype=torch.float64) / max(d_model // 2 - 1, 1)
    angle = position[:, None] * 10000.0**-exponent
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="the position is multiplied by 10000 ** (2i / d_model)",
    truth="it is divided by it: hands get slower from pair to pair, or neighboring positions would be unrelated",
)
def faster_and_faster(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="the exponent can be computed with //",
    truth="2i // d_model is 0 for every pair: all hands then turn equally fast, and after 2 pi positions all repeat",
)
def integer_exponent(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** -(torch.arange(0, d_model, 2) // d_model).double()
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="the rows always start at position 0",
    truth="row 0 is first_position: a token that comes after 700 others stands at 700",
)
def offset_ignored(n_position, d_model, first_position=0):
    position = torch.arange(n_position, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="n_position is where the positions end",
    truth="it is how many there are: they run from first_position to first_position + n_position - 1",
)
def count_taken_for_the_end(n_position, d_model, first_position=0):
    position = torch.arange(first_position, max(n_position, first_position), dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="the offset can be added to the angle",
    truth="it belongs to the position, which each pair multiplies by its own frequency: added to the angle, it turns "
    "the slow hands as far as the fast ones",
)
def offset_added_to_the_angle(n_position, d_model, first_position=0):
    position = torch.arange(n_position, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angle = angle + first_position
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="positions are small numbers, so bfloat16 holds them",
    truth="bfloat16 has no number between 256 and 258: from there on, neighboring positions become one. Compute the "
    "angles in float32 or better, and convert the result",
)
def positions_in_bfloat16(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position).bfloat16().double()
    angle = position[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="positions are integers below 65,504, so float16 holds them",
    truth="float16 has every integer only up to 2,048; 2,049 becomes 2,048. Compute the angles in float32 or better, "
    "and convert the result",
)
def positions_in_float16(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position).half().double()
    angle = position[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="a table for 512 positions is enough, and longer texts start again at its beginning",
    truth="there is no end: the formula gives every position its row, and two that share one would be the same place",
)
def repeats_after_512(n_position, d_model, first_position=0):
    position = torch.arange(first_position, first_position + n_position, dtype=torch.float64) % 512
    angle = position[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


@misconception(
    "sinusoidal_positions",
    believes="a table of 5000 rows, made once, is long enough for any text",
    truth="past its last row a slice has no rows left, and nobody is told; the formula has no end",
)
def table_of_5000_rows(n_position, d_model, first_position=0):
    position = torch.arange(5000, dtype=torch.float64)
    angle = position[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[first_position : first_position + n_position]


@fingerprint("sinusoidal_positions")
def sinusoidal_positions_probes(impl) -> list[Probe]:
    return [
        lambda: impl(4, 2),
        lambda: impl(4, 6),
        lambda: impl(3, 6, 5),
        lambda: impl(2, 4, 300),
        lambda: impl(3, 4, 600),
        lambda: impl(2, 4, 2049),
        lambda: impl(2, 4, 6001),
    ]


# --- embed_tokens -----------------------------------------------------------------------------------------------------


def refuse(end, n_ctx):
    if end > n_ctx:
        raise ValueError(f"{end} positions do not fit into a context of {n_ctx}")


@misconception(
    "embed_tokens",
    believes="the order of the tokens is known from their place in the tensor",
    truth="attention treats keys as a set: without a vector for its position, a token does not know where it stands",
)
def no_positions(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    return wte[tokens]


@misconception(
    "embed_tokens",
    believes="token vectors are multiplied by the root of d_model first",
    truth="the first transformer did that; GPT-2 adds the two vectors as they are",
)
def scaled_by_the_root_of_the_width(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    return wte[tokens] * wte.shape[1] ** 0.5 + wpe[first_position : first_position + tokens.shape[1]]


@misconception(
    "embed_tokens",
    believes="the position scales the token vector",
    truth="the two are added: the blocks can then read either one from the sum",
)
def multiplied_instead_of_added(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    return wte[tokens] * wpe[first_position : first_position + tokens.shape[1]]


@misconception(
    "embed_tokens",
    believes="a layer norm brings the sum to size, as in BERT",
    truth="GPT-2 has none here: each block normalizes its own copy, and the residual stream starts as the plain sum",
)
def normalized_as_in_bert(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    x = wte[tokens] + wpe[first_position : first_position + tokens.shape[1]]
    return F.layer_norm(x, x.shape[-1:])


@misconception(
    "embed_tokens",
    believes="the first token has position 1",
    truth="positions are counted from 0, or the first row of wpe is never used and the last token has none",
)
def positions_from_one(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    rows = (torch.arange(tokens.shape[1]) + first_position + 1).clamp(max=wpe.shape[0] - 1)
    return wte[tokens] + wpe[rows]


@misconception(
    "embed_tokens",
    believes="the newest token stands at the end of the context",
    truth="positions are counted from the start of the text: the first token is at first_position, however much room "
    "is left behind the last",
)
def aligned_with_the_end(tokens, wte, wpe, first_position=0):
    n_ctx, end = wpe.shape[0], first_position + tokens.shape[1]
    refuse(end, n_ctx)
    return wte[tokens] + wpe[n_ctx - tokens.shape[1] :]


@misconception(
    "embed_tokens",
    believes="wpe is looked up by the token, like wte",
    truth="wpe has a row for each position: token 7 gets another vector at position 2 than at position 5",
)
def looked_up_by_the_token(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    return wte[tokens] + wpe[tokens % wpe.shape[0]]


@misconception(
    "embed_tokens",
    believes="all tokens of one call get the vector of first_position",
    truth="that is only where the first of them stands; the one after it stands at first_position + 1",
)
def one_position_for_all(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    return wte[tokens] + wpe[first_position]


@misconception(
    "embed_tokens",
    believes="wpe has a vector for each text of the batch",
    truth="it has one for each position, and all texts of a batch share them: axis 1 of tokens counts, not axis 0",
)
def position_of_the_batch_row(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    return wte[tokens] + wpe[torch.arange(tokens.shape[0]) % wpe.shape[0] + first_position, None]


@misconception(
    "embed_tokens",
    believes="positions go on from one text of the batch to the next",
    truth="each row of the batch is a text of its own and starts at first_position again",
)
def counted_through_the_batch(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    rows = torch.arange(tokens.numel()).view(tokens.shape) + first_position
    return wte[tokens] + wpe[rows % wpe.shape[0]]


@misconception(
    "embed_tokens",
    believes="every call starts at position 0",
    truth="while generating with a cache, a call holds only the newest tokens; the first of them stands at "
    "first_position",
)
def offset_ignored_by_embedding(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    return wte[tokens] + wpe[: tokens.shape[1]]


@misconception(
    "embed_tokens",
    believes="the slice ends at the number of tokens",
    truth="it ends at first_position plus that number: wpe[first_position : first_position + n]",
)
def slice_without_the_offset_in_its_end(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    return wte[tokens] + wpe[first_position : tokens.shape[1]]


@misconception(
    "embed_tokens",
    believes="tokens that come later are in reversed order, the newest at first_position",
    truth="the oldest of the tokens stands at first_position, and the newest has the highest position",
)
def newest_at_first_position(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    return wte[tokens] + wpe[first_position : first_position + tokens.shape[1]].flip(0)


@misconception(
    "embed_tokens",
    believes="a text that fills the context is already too long",
    truth="n_ctx positions are numbered 0 to n_ctx - 1, and all of them can be used",
)
def last_position_refused(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1] + 1, wpe.shape[0])
    return wte[tokens] + wpe[first_position : first_position + tokens.shape[1]]


@misconception(
    "embed_tokens",
    believes="a slice past the end of wpe raises an error by itself",
    truth="Python's slices stop at the end: if one row is left, it is broadcast to all tokens, and nobody notices. "
    "Check the length, or index with a tensor of positions",
)
def slice_that_runs_short(tokens, wte, wpe, first_position=0):
    return wte[tokens] + wpe[first_position : first_position + tokens.shape[1]]


@misconception(
    "embed_tokens",
    believes="tokens past the context may share the last position",
    truth="two tokens at one position cannot be told apart in order, and no text like that was seen in training: it is "
    "an error that the caller has to know of",
)
def clamped_to_the_last_position(tokens, wte, wpe, first_position=0):
    rows = torch.arange(first_position, first_position + tokens.shape[1]).clamp(max=wpe.shape[0] - 1)
    return wte[tokens] + wpe[rows]


@misconception(
    "embed_tokens",
    believes="past the context the positions start again at 0",
    truth="the model would take the newest tokens for the oldest; learned positions end at n_ctx, and going past them "
    "is an error",
)
def wrapped_around(tokens, wte, wpe, first_position=0):
    rows = torch.arange(first_position, first_position + tokens.shape[1]) % wpe.shape[0]
    return wte[tokens] + wpe[rows]


@misconception(
    "embed_tokens",
    believes="what does not fit into the context is cut off silently",
    truth="the caller would get fewer vectors than tokens, and not know which are missing: it is an error",
)
def cut_off_silently(tokens, wte, wpe, first_position=0):
    rows = wpe[first_position : first_position + tokens.shape[1]]
    return wte[tokens[:, : len(rows)]] + rows


@misconception(
    "embed_tokens",
    believes="looking something up is not differentiable, so the tables are detached",
    truth="a lookup is a product with a one-hot vector: the gradient of a vector flows to the row that it came from, "
    "and that is how embeddings learn",
)
def tables_detached(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    return wte.detach()[tokens] + wpe[first_position : first_position + tokens.shape[1]]


@misconception(
    "embed_tokens",
    believes="token 0 is padding, as padding_idx=0 says",
    truth="GPT-2 has no padding token; 0 is the exclamation mark, and padding_idx=0 keeps its vector from learning",
)
def token_0_never_learns(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    rows = wpe[first_position : first_position + tokens.shape[1]]
    return F.embedding(tokens, wte, padding_idx=0) + rows


@misconception(
    "embed_tokens",
    believes="the sum can be collected in torch.zeros, whatever the dtype of the tables",
    truth="torch.zeros is float32: the blocks of a float16 model would then be given float32, and torch refuses to mix",
)
def collected_in_float32(tokens, wte, wpe, first_position=0):
    refuse(first_position + tokens.shape[1], wpe.shape[0])
    x = torch.zeros(*tokens.shape, wte.shape[1])
    x += wte[tokens]
    return x + wpe[first_position : first_position + tokens.shape[1]]


@fingerprint("embed_tokens")
def embed_tokens_probes(impl) -> list[Probe]:
    generator = torch.Generator().manual_seed(5)
    wte, wpe = torch.randn(8, 4, generator=generator), torch.randn(7, 4, generator=generator)
    tokens = torch.tensor([[5, 0, 2], [1, 4, 5]])

    return [
        lambda: impl(tokens, wte, wpe),
        lambda: impl(tokens[:1, :1], wte, wpe),
        lambda: impl(tokens, wte, wpe, 2),
        lambda: impl(tokens[:, :2], wte, wpe, 3),
        lambda: impl(tokens, wte, wpe, 4),
        lambda: impl(tokens, wte, wpe, 5),
        lambda: impl(tokens, wte, wpe, 6),
        lambda: str(getattr(impl(tokens, wte.half(), wpe.half()), "dtype", None)),
        lambda: impl.vjp((tokens, wte, wpe), torch.ones(2, 3, 4), wrt=(1, 2)),
    ]


# --- gpt_forward ------------------------------------------------------------------------------------------------------


def embedded(tokens, params):
    return params["wte.weight"][tokens] + params["wpe.weight"][: tokens.shape[1]]


def depth(params):
    return sum(name.endswith(".ln_1.weight") for name in params)


def own(params, layer):
    return {key: params[f"h.{layer}.{key}"] for key in BLOCK_KEYS}


def through_the_blocks(x, params, n_head):
    for layer in range(depth(params)):
        x = transformer_block(x, own(params, layer), n_head)
    return x


def final_norm(x, params):
    return layer_norm(x, params["ln_f.weight"], params["ln_f.bias"])


@misconception(
    "gpt_forward",
    believes="the last block has layer norms, so another one after it is not needed",
    truth="those norms make copies for the block to read; the stream itself has grown with every block, and ln_f brings "
    "it to the size that the head expects",
)
def no_final_norm(tokens, params, n_head):
    return through_the_blocks(embedded(tokens, params), params, n_head) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="ln_f stands in front of the blocks",
    truth="each block normalizes what it reads by itself; ln_f is for what comes out of the last one",
)
def final_norm_first(tokens, params, n_head):
    x = final_norm(embedded(tokens, params), params)
    return through_the_blocks(x, params, n_head) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="ln_f comes after every block",
    truth="it comes once, after the last block; a norm between blocks would cut the residual stream",
)
def final_norm_after_each_block(tokens, params, n_head):
    x = embedded(tokens, params)
    for layer in range(depth(params)):
        x = final_norm(transformer_block(x, own(params, layer), n_head), params)
    return x @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="the final norm only standardizes",
    truth="it has a gain and a shift for each channel, ln_f.weight and ln_f.bias, like all the others",
)
def final_norm_without_weights(tokens, params, n_head):
    x = through_the_blocks(embedded(tokens, params), params, n_head)
    return F.layer_norm(x, x.shape[-1:]) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="ln_f has a weight and no bias",
    truth="the layer norms of GPT-2 have both; leaving the bias out is what some later models do",
)
def final_norm_without_bias(tokens, params, n_head):
    x = through_the_blocks(embedded(tokens, params), params, n_head)
    return F.layer_norm(x, x.shape[-1:], params["ln_f.weight"]) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="the final norm has an eps of its own, 1e-12, as in BERT",
    truth="all layer norms of GPT-2 have 1e-5; it decides what becomes of a position whose channels are nearly equal",
)
def final_norm_with_another_eps(tokens, params, n_head):
    x = through_the_blocks(embedded(tokens, params), params, n_head)
    return layer_norm(x, params["ln_f.weight"], params["ln_f.bias"], 1e-12) @ params["wte.weight"].T


def block_written_out(x, p, n_head, eps=1e-5, approximate="tanh"):
    def norm(x, name):
        return layer_norm(x, p[f"{name}.weight"], p[f"{name}.bias"], eps)

    attention = [p[f"attn.{name}.{kind}"] for name in ("c_attn", "c_proj") for kind in ("weight", "bias")]
    x = x + causal_self_attention(norm(x, "ln_1"), *attention, n_head)
    hidden = F.linear(norm(x, "ln_2"), p["mlp.c_fc.weight"], p["mlp.c_fc.bias"])
    return x + F.linear(F.gelu(hidden, approximate=approximate), p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "gpt_forward",
    believes="the blocks' layer norms have eps 1e-6, as in later models",
    truth="all layer norms of GPT-2 have 1e-5: transformer_block has it right",
)
def blocks_with_another_eps(tokens, params, n_head):
    x = embedded(tokens, params)
    for layer in range(depth(params)):
        x = block_written_out(x, own(params, layer), n_head, eps=1e-6)
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="F.gelu is GPT-2's activation as it stands",
    truth="without approximate='tanh' it is the exact form; GPT-2 was trained with the other: transformer_block has it "
    "right",
)
def blocks_with_the_exact_gelu(tokens, params, n_head):
    x = embedded(tokens, params)
    for layer in range(depth(params)):
        x = block_written_out(x, own(params, layer), n_head, approximate="none")
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="the blocks find out about the order by themselves",
    truth="attention compares vectors and does not know where they stand: wpe has to be added before the first block",
)
def tokens_without_positions(tokens, params, n_head):
    x = params["wte.weight"][tokens]
    return final_norm(through_the_blocks(x, params, n_head), params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="positions are added in front of every block",
    truth="they are added once, to the embedding; the residual stream carries them on to every block",
)
def positions_added_in_every_block(tokens, params, n_head):
    x = params["wte.weight"][tokens]
    for layer in range(depth(params)):
        x = transformer_block(x + params["wpe.weight"][: tokens.shape[1]], own(params, layer), n_head)
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="the head has a weight of its own, lm_head.weight",
    truth="the head of GPT-2 is tied: it is wte.weight once more, and there is no other key in params",
)
def head_of_its_own(tokens, params, n_head):
    x = final_norm(through_the_blocks(embedded(tokens, params), params, n_head), params)
    return x @ params["lm_head.weight"].T


@misconception(
    "gpt_forward",
    believes="wte.weight is multiplied from the right as it is",
    truth="it is (vocab, d_model), so its rows are the vectors of the words: the logits are x @ wte.T, one product with "
    "each row",
)
def head_not_transposed(tokens, params, n_head):
    x = final_norm(through_the_blocks(embedded(tokens, params), params, n_head), params)
    return x @ params["wte.weight"]


@misconception(
    "gpt_forward",
    believes="with a tied head the logits are divided by the root of d_model",
    truth="T5 does that; GPT-2 takes the products with the rows of wte as they are",
)
def logits_scaled_down(tokens, params, n_head):
    x = final_norm(through_the_blocks(embedded(tokens, params), params, n_head), params)
    return x @ params["wte.weight"].T / x.shape[-1] ** 0.5


@misconception(
    "gpt_forward",
    believes="a language model returns probabilities",
    truth="it returns logits: the loss takes their log-softmax in one stable step, and sampling needs them unnormalized",
)
def softmax_at_the_end(tokens, params, n_head):
    x = final_norm(through_the_blocks(embedded(tokens, params), params, n_head), params)
    return torch.softmax(x @ params["wte.weight"].T, dim=-1)


@misconception(
    "gpt_forward",
    believes="a language model returns log-probabilities",
    truth="it returns logits, before any normalization: a constant added to all of them would not matter to a softmax, "
    "but here they are what the product gives",
)
def log_softmax_at_the_end(tokens, params, n_head):
    x = final_norm(through_the_blocks(embedded(tokens, params), params, n_head), params)
    return torch.log_softmax(x @ params["wte.weight"].T, dim=-1)


@misconception(
    "gpt_forward",
    believes="only the last position predicts anything",
    truth="every position predicts the token after it, and training uses all of these predictions: logits are (batch, "
    "position, vocab)",
)
def last_position_only(tokens, params, n_head):
    x = final_norm(through_the_blocks(embedded(tokens, params), params, n_head), params)
    return x[:, -1:] @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="all blocks share the weights of the first",
    truth="each layer has its own, h.0 to h.{n_layer - 1}: in the loop, the prefix has to change",
)
def first_block_over_and_over(tokens, params, n_head):
    x = embedded(tokens, params)
    for _ in range(depth(params)):
        x = transformer_block(x, own(params, 0), n_head)
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="one block is all there is",
    truth="params holds n_layer of them, and the output of each is the input of the next",
)
def first_block_only(tokens, params, n_head):
    x = transformer_block(embedded(tokens, params), own(params, 0), n_head)
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="the last block is the output layer and is not run",
    truth="layers are numbered from 0 to n_layer - 1, and all of them are run: range(n_layer) has already left out its end",
)
def last_block_left_out(tokens, params, n_head):
    x = embedded(tokens, params)
    for layer in range(max(depth(params) - 1, 1)):
        x = transformer_block(x, own(params, layer), n_head)
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="h.0 is the block next to the output",
    truth="h.0 reads the embeddings, and the block with the highest number is the last",
)
def blocks_from_the_last(tokens, params, n_head):
    x = embedded(tokens, params)
    for layer in reversed(range(depth(params))):
        x = transformer_block(x, own(params, layer), n_head)
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="every block reads the embeddings, and their results are added up",
    truth="each block reads what the one before it has left: x = transformer_block(x, ...)",
)
def every_block_reads_the_embeddings(tokens, params, n_head):
    start = embedded(tokens, params)
    x = start + sum(transformer_block(start, own(params, layer), n_head) - start for layer in range(depth(params)))
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="there is one more residual sum, around all the blocks",
    truth="each block has added to the stream already, so the embeddings are still in it: they would count twice",
)
def embeddings_added_once_more(tokens, params, n_head):
    x = embedded(tokens, params)
    x = x + through_the_blocks(x, params, n_head)
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="each position may look at the whole text, as in an encoder",
    truth="GPT is causal: transformer_block sees to it, and without its mask each position is shown the token that it "
    "has to predict",
)
def sees_the_future(tokens, params, n_head):
    def everyone(layer, q, k, v):
        return scaled_dot_product_attention(q, k, v, None)

    x = embedded(tokens, params)
    for layer in range(depth(params)):
        x = transformer_block(x, own(params, layer), n_head, everyone)
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="the number of heads makes no difference to the result",
    truth="it makes none to the number of parameters; but each head has a softmax of its own, over scores of its own "
    "channels",
)
def always_one_head(tokens, params, n_head):
    return final_norm(through_the_blocks(embedded(tokens, params), params, 1), params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="sorting the names puts the layers in order",
    truth="as texts, h.10 comes before h.2: turn the layer into an int before you sort, or count up and look each one up",
)
def layers_in_the_order_of_the_alphabet(tokens, params, n_head):
    x = embedded(tokens, params)
    for number in sorted({name.split(".")[1] for name in params if name.startswith("h.")}):
        x = transformer_block(x, own(params, number), n_head)
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="the number of a layer is one character, the one behind the first dot of its name",
    truth="it may have two digits: h.10 is not h.1. Split the name at its dots",
)
def layer_number_of_one_digit(tokens, params, n_head):
    n_layer = 1 + max(int(name[2]) for name in params if name.startswith("h."))
    x = embedded(tokens, params)
    for layer in range(n_layer):
        x = transformer_block(x, own(params, layer), n_head)
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="the parameters come in the order of the model, so the blocks can be read off one after the other",
    truth="a dict is known by its names; a file may hold them in any order, and safetensors sorts them: h.10 before h.2",
)
def order_of_the_dict_trusted(tokens, params, n_head):
    x = embedded(tokens, params)
    numbers = dict.fromkeys(name.split(".")[1] for name in params if name.startswith("h."))
    for number in numbers:
        x = transformer_block(x, own(params, number), n_head)
    return final_norm(x, params) @ params["wte.weight"].T


@misconception(
    "gpt_forward",
    believes="the head is a copy of the embedding, made with detach",
    truth="tied means that it is the same parameter: wte learns as an embedding and as a head, and its gradient is the "
    "sum of both",
)
def head_detached(tokens, params, n_head):
    x = final_norm(through_the_blocks(embedded(tokens, params), params, n_head), params)
    return x @ params["wte.weight"].detach().T


@misconception(
    "gpt_forward",
    believes="the embedding learns through the head alone, so the lookup is detached",
    truth="the gradient of wte has two parts, one from the lookup and one from the head, and they add up",
)
def lookup_detached(tokens, params, n_head):
    x = params["wte.weight"].detach()[tokens] + params["wpe.weight"][: tokens.shape[1]]
    return final_norm(through_the_blocks(x, params, n_head), params) @ params["wte.weight"].T


@fingerprint("gpt_forward")
def gpt_forward_probes(impl) -> list[Probe]:
    def params(n_layer, d_model, n_ctx, vocab):
        generator = torch.Generator().manual_seed(n_layer)
        blocks = {
            "ln_1.weight": (d_model,), "ln_1.bias": (d_model,),
            "attn.c_attn.weight": (3 * d_model, d_model), "attn.c_attn.bias": (3 * d_model,),
            "attn.c_proj.weight": (d_model, d_model), "attn.c_proj.bias": (d_model,),
            "ln_2.weight": (d_model,), "ln_2.bias": (d_model,),
            "mlp.c_fc.weight": (4 * d_model, d_model), "mlp.c_fc.bias": (4 * d_model,),
            "mlp.c_proj.weight": (d_model, 4 * d_model), "mlp.c_proj.bias": (d_model,),
        }  # fmt: skip
        shapes = {"wte.weight": (vocab, d_model), "wpe.weight": (n_ctx, d_model)}
        shapes |= {f"h.{layer}.{name}": shape for layer in range(n_layer) for name, shape in blocks.items()}
        shapes |= {"ln_f.weight": (d_model,), "ln_f.bias": (d_model,)}
        return {name: 0.5 * torch.randn(*shape, generator=generator) for name, shape in shapes.items()}

    tokens = torch.tensor([[3, 0, 4], [1, 4, 2]])
    three, deep = params(3, 8, 5, 6), params(11, 4, 3, 5)
    turned = dict(reversed(three.items()))
    tiny = three | {name: 1e-3 * tensor for name, tensor in three.items() if name in ("wte.weight", "wpe.weight")}
    tiny["ln_f.bias"] = torch.zeros(8)
    low = three | {f"h.{layer}.mlp.c_fc.bias": torch.full((32,), -2.7) for layer in range(3)}
    low |= {f"h.{layer}.mlp.c_fc.weight": torch.zeros(32, 8) for layer in range(3)}
    low |= {f"h.{layer}.mlp.c_proj.weight": torch.ones(8, 32) * torch.arange(8)[:, None] for layer in range(3)}
    silent = {name: torch.zeros_like(tensor) if "c_proj" in name else tensor for name, tensor in three.items()}
    level = silent | {"wpe.weight": 1e-3 * three["wpe.weight"] - three["wte.weight"][3]}
    return [
        lambda: impl(tokens, three, 2),
        lambda: impl(tokens[:1, :1], three, 2),
        lambda: impl(tokens, turned, 2),
        lambda: impl(tokens, params(1, 8, 5, 6), 2),
        lambda: impl(tokens, params(2, 6, 5, 6), 2),
        lambda: impl(tokens, deep, 2),
        lambda: impl(tokens, low, 2),
        lambda: impl(tokens, tiny, 2),
        lambda: impl(torch.tensor([[3, 3]]), level, 2),
        lambda: impl.vjp((tokens, three, 2), torch.arange(36.0).cos().view(2, 3, 6), wrt=(1, 2)),
    ]


# --- initial_std ------------------------------------------------------------------------------------------------------


@misconception(
    "initial_std",
    believes="all weights are drawn with 0.02",
    truth="those that write to the residual stream, attn.c_proj and mlp.c_proj, are smaller, or the stream grows with "
    "the depth of the model",
)
def the_same_for_all(name, n_layer):
    return 0.02


@misconception(
    "initial_std",
    believes="there are n_layer residual layers",
    truth="each block adds to the stream twice, once after attention and once after the MLP: there are 2 n_layer",
)
def one_sum_a_block(name, n_layer):
    return 0.02 / math.sqrt(n_layer) if name.endswith("c_proj.weight") else 0.02


@misconception(
    "initial_std",
    believes="the standard deviation is divided by the number of residual layers",
    truth="the variances of independent terms add up, so the variance is divided by it, and the standard deviation by "
    "its root",
)
def divided_without_the_root(name, n_layer):
    return 0.02 / (2 * n_layer) if name.endswith("c_proj.weight") else 0.02


@misconception(
    "initial_std",
    believes="the embedding is a term of the sum too, so there are 2 n_layer + 1 of them",
    truth="the stream does start with the embedding, but GPT-2 counts the residual layers: two a block",
)
def embedding_counted_as_a_layer(name, n_layer):
    return 0.02 / math.sqrt(2 * n_layer + 1) if name.endswith("c_proj.weight") else 0.02


@misconception(
    "initial_std",
    believes="deeper models need larger weights, so the root is multiplied",
    truth="deeper models add up more terms, and each has to be smaller: the root divides",
)
def larger_with_depth(name, n_layer):
    return 0.02 * math.sqrt(2 * n_layer) if name.endswith("c_proj.weight") else 0.02


@misconception(
    "initial_std",
    believes="1/sqrt(2 n_layer) is the standard deviation",
    truth="it is a factor on the ordinary 0.02",
)
def factor_without_the_base(name, n_layer):
    return 1 / math.sqrt(2 * n_layer) if name.endswith("c_proj.weight") else 0.02


@misconception(
    "initial_std",
    believes="0.02 is the variance",
    truth="0.02 is the standard deviation, and that is what is asked for; the variance is 0.0004",
)
def variance_for_deviation(name, n_layer):
    return 0.02**2 / (2 * n_layer) if name.endswith("c_proj.weight") else 0.02**2


@misconception(
    "initial_std",
    believes="only attention writes to the residual stream",
    truth="the MLP adds its result to it as well: mlp.c_proj is scaled too",
)
def attention_projection_only(name, n_layer):
    return 0.02 / math.sqrt(2 * n_layer) if name.endswith("attn.c_proj.weight") else 0.02


@misconception(
    "initial_std",
    believes="only the MLP's projection is scaled",
    truth="attention adds its result to the residual stream as well: attn.c_proj is scaled too",
)
def mlp_projection_only(name, n_layer):
    return 0.02 / math.sqrt(2 * n_layer) if name.endswith("mlp.c_proj.weight") else 0.02


@misconception(
    "initial_std",
    believes="the scale belongs to the layer: block i has 0.02 / sqrt(2 (i + 1))",
    truth="all blocks have the same, from the number of all residual layers; scaling by the layer's own depth is what "
    "some other models do",
)
def by_the_depth_of_the_layer(name, n_layer):
    if not name.endswith("c_proj.weight"):
        return 0.02
    return 0.02 / math.sqrt(2 * (int(name.split(".")[1]) + 1))


@misconception(
    "initial_std",
    believes="the last block is the one that needs care",
    truth="every block adds to the stream, so the projections of all of them are scaled",
)
def last_block_scaled_only(name, n_layer):
    last = name.startswith(f"h.{n_layer - 1}.")
    return 0.02 / math.sqrt(2 * n_layer) if last and name.endswith("c_proj.weight") else 0.02


@misconception(
    "initial_std",
    believes="every matrix of a block is scaled",
    truth="only the two that write to the residual stream, both named c_proj; c_attn and c_fc read a normalized copy",
)
def all_of_the_block(name, n_layer):
    return 0.02 / math.sqrt(2 * n_layer) if name.startswith("h.") else 0.02


@misconception(
    "initial_std",
    believes="everything in the attention layer and the projection of the MLP is scaled",
    truth="c_attn makes queries, keys and values and adds nothing to the stream: of attention, only c_proj is scaled",
)
def everything_in_attention(name, n_layer):
    scaled = ".attn." in name or name.endswith("mlp.c_proj.weight")
    return 0.02 / math.sqrt(2 * n_layer) if scaled else 0.02


@misconception(
    "initial_std",
    believes="both layers of the MLP and the projection of attention are scaled",
    truth="c_fc makes the hidden channels and adds nothing to the stream: of the MLP, only c_proj is scaled",
)
def everything_in_the_mlp(name, n_layer):
    scaled = ".mlp." in name or name.endswith("attn.c_proj.weight")
    return 0.02 / math.sqrt(2 * n_layer) if scaled else 0.02


@misconception(
    "initial_std",
    believes="the embeddings start the residual stream, so they are scaled as well",
    truth="they are looked up, not summed over layers, and keep 0.02",
)
def embeddings_scaled_too(name, n_layer):
    scaled = name.endswith("c_proj.weight") or name in ("wte.weight", "wpe.weight")
    return 0.02 / math.sqrt(2 * n_layer) if scaled else 0.02


@misconception(
    "initial_std",
    believes="positions are drawn with 0.01",
    truth="OpenAI's code does that; here, as in transformers and nanoGPT, wpe is drawn with 0.02 like the rest",
)
def positions_with_half(name, n_layer):
    if name == "wpe.weight":
        return 0.01
    return 0.02 / math.sqrt(2 * n_layer) if name.endswith("c_proj.weight") else 0.02


@misconception(
    "initial_std",
    believes="embeddings are drawn with a standard deviation of 1, as torch.nn.Embedding does",
    truth="GPT-2 draws them with 0.02; the head is tied to them, and with 1 the first logits would be in the tens",
)
def embeddings_with_one(name, n_layer):
    if name in ("wte.weight", "wpe.weight"):
        return 1.0
    return 0.02 / math.sqrt(2 * n_layer) if name.endswith("c_proj.weight") else 0.02


@fingerprint("initial_std")
def initial_std_probes(impl) -> list[Probe]:
    names = ["h.0.attn.c_proj.weight", "h.0.mlp.c_proj.weight", "h.2.attn.c_proj.weight", "h.2.mlp.c_proj.weight"]
    names += ["h.1.attn.c_attn.weight", "h.1.mlp.c_fc.weight", "wte.weight", "wpe.weight"]

    def hundreds(name, n_layer):  # so that a difference stands out
        return lambda: 100 * float(impl(name, n_layer))

    return [hundreds(name, n_layer) for name in names for n_layer in (3, 8)]


# --- count_parameters -------------------------------------------------------------------------------------------------


@misconception(
    "count_parameters",
    believes="a block has 12 d_model**2 parameters, and its biases and norms are not worth counting",
    truth="they are 13 d_model more in each block: 119,808 of the 124,439,808 of GPT-2 small",
)
def matrices_only(n_layer, d_model, n_ctx, vocab_size):
    return (vocab_size + n_ctx) * d_model + n_layer * 12 * d_model**2


@misconception(
    "count_parameters",
    believes="linear layers have no biases",
    truth="GPT-2's all have: 3 d_model, d_model, 4 d_model and d_model in each block; leaving them out is what later "
    "models do",
)
def no_biases(n_layer, d_model, n_ctx, vocab_size):
    return (vocab_size + n_ctx) * d_model + n_layer * (12 * d_model**2 + 4 * d_model) + 2 * d_model


@misconception(
    "count_parameters",
    believes="queries, keys and values have no biases",
    truth="c_attn.bias has 3 d_model numbers",
)
def no_bias_for_queries_keys_values(n_layer, d_model, n_ctx, vocab_size):
    return (vocab_size + n_ctx) * d_model + n_layer * (12 * d_model**2 + 10 * d_model) + 2 * d_model


@misconception(
    "count_parameters",
    believes="each linear layer has a bias of d_model",
    truth="a bias is as long as the output of its layer: 3 d_model in c_attn, 4 d_model in c_fc",
)
def biases_of_one_width(n_layer, d_model, n_ctx, vocab_size):
    return (vocab_size + n_ctx) * d_model + n_layer * (12 * d_model**2 + 8 * d_model) + 2 * d_model


@misconception(
    "count_parameters",
    believes="layer norms have no parameters",
    truth="each has a weight and a bias for every channel: 4 d_model in a block, and 2 d_model in the final one",
)
def norms_without_parameters(n_layer, d_model, n_ctx, vocab_size):
    return (vocab_size + n_ctx) * d_model + n_layer * (12 * d_model**2 + 9 * d_model)


@misconception(
    "count_parameters",
    believes="a layer norm has a weight and no bias",
    truth="GPT-2's have both: 2 d_model each",
)
def norms_without_biases(n_layer, d_model, n_ctx, vocab_size):
    return (vocab_size + n_ctx) * d_model + n_layer * (12 * d_model**2 + 11 * d_model) + d_model


@misconception(
    "count_parameters",
    believes="a block has one layer norm",
    truth="it has two, one before attention and one before the MLP",
)
def one_norm_a_block(n_layer, d_model, n_ctx, vocab_size):
    return (vocab_size + n_ctx) * d_model + n_layer * (12 * d_model**2 + 11 * d_model) + 2 * d_model


@misconception(
    "count_parameters",
    believes="attention has three matrices: queries, keys and values",
    truth="there is a fourth, c_proj, which mixes what the heads have found",
)
def no_output_projection(n_layer, d_model, n_ctx, vocab_size):
    return (vocab_size + n_ctx) * d_model + n_layer * (11 * d_model**2 + 12 * d_model) + 2 * d_model


@misconception(
    "count_parameters",
    believes="the MLP is one matrix of 4 d_model**2",
    truth="it is two: c_fc widens, c_proj narrows again",
)
def half_of_the_mlp(n_layer, d_model, n_ctx, vocab_size):
    return (vocab_size + n_ctx) * d_model + n_layer * (8 * d_model**2 + 12 * d_model) + 2 * d_model


@misconception(
    "count_parameters",
    believes="the causal mask of each layer counts",
    truth="old checkpoints hold it, but it is a buffer: nothing in it is learned",
)
def masks_counted(n_layer, d_model, n_ctx, vocab_size):
    block = 12 * d_model**2 + 13 * d_model + n_ctx**2
    return (vocab_size + n_ctx) * d_model + n_layer * block + 2 * d_model


@misconception(
    "count_parameters",
    believes="the head is a matrix of its own",
    truth="it is tied to the token embedding, and the same numbers count once: otherwise GPT-2 small has 163,037,184",
)
def head_counted_again(n_layer, d_model, n_ctx, vocab_size):
    return (2 * vocab_size + n_ctx) * d_model + n_layer * (12 * d_model**2 + 13 * d_model) + 2 * d_model


@misconception(
    "count_parameters",
    believes="the head has a bias for each word",
    truth="GPT-2's head is the token embedding and nothing else",
)
def head_with_a_bias(n_layer, d_model, n_ctx, vocab_size):
    return (vocab_size + n_ctx) * d_model + n_layer * (12 * d_model**2 + 13 * d_model) + 2 * d_model + vocab_size


@misconception(
    "count_parameters",
    believes="positions are computed and have no parameters",
    truth="GPT-2's are learned: wpe has n_ctx rows, which only some reports leave out (nanoGPT prints 123,653,376 for GPT-2 small)",
)
def positions_not_counted(n_layer, d_model, n_ctx, vocab_size):
    return vocab_size * d_model + n_layer * (12 * d_model**2 + 13 * d_model) + 2 * d_model


@misconception(
    "count_parameters",
    believes="a model's size is counted without its embeddings",
    truth="papers on scaling count so, and say so; GPT-2's 124,439,808 includes them",
)
def without_embeddings(n_layer, d_model, n_ctx, vocab_size):
    return n_layer * (12 * d_model**2 + 13 * d_model) + 2 * d_model


@misconception(
    "count_parameters",
    believes="the vocabulary and the context are always GPT-2's",
    truth="they are arguments: GPT-3's context is twice as long, and the models in tests are smaller in both",
)
def vocabulary_and_context_of_gpt2(n_layer, d_model, n_ctx, vocab_size):
    return (50257 + 1024) * d_model + n_layer * (12 * d_model**2 + 13 * d_model) + 2 * d_model


@misconception(
    "count_parameters",
    believes="there is no layer norm after the last block",
    truth="there is, ln_f, with 2 d_model numbers; GPT-1, whose blocks end with a norm, is the one without",
)
def no_final_norm_counted(n_layer, d_model, n_ctx, vocab_size):
    return (vocab_size + n_ctx) * d_model + n_layer * (12 * d_model**2 + 13 * d_model)


@misconception(
    "count_parameters",
    believes="the embeddings go through a layer norm of their own",
    truth="BERT has one there; in GPT-2 the sum goes into the first block as it is",
)
def embedding_norm_counted(n_layer, d_model, n_ctx, vocab_size):
    return (vocab_size + n_ctx) * d_model + n_layer * (12 * d_model**2 + 13 * d_model) + 4 * d_model


@misconception(
    "count_parameters",
    believes="sums of integers may be taken in float32",
    truth="float32 holds every integer only up to 16,777,216, then every second one, then every fourth and so on: the count "
    "of GPT-2 XL comes out wrong. Python's integers have no end",
)
def summed_in_float32(n_layer, d_model, n_ctx, vocab_size):
    block = 12 * d_model**2 + 13 * d_model
    parts = torch.tensor([vocab_size * d_model, n_ctx * d_model, 2 * d_model] + [block] * n_layer)
    return int(parts.to(torch.float32).sum())


@misconception(
    "count_parameters",
    believes="a count fits into 32 bits",
    truth="a signed 32-bit integer ends at 2,147,483,647, and every model from 2.7B up has more. Python's integers have "
    "no end",
)
def summed_in_32_bits(n_layer, d_model, n_ctx, vocab_size):
    parts = torch.tensor([(vocab_size + n_ctx) * d_model, 2 * d_model] + [12 * d_model**2 + 13 * d_model] * n_layer)
    return int(parts.to(torch.int32).sum(dtype=torch.int32))


@fingerprint("count_parameters")
def count_parameters_probes(impl) -> list[Probe]:
    return [
        lambda: impl(1, 4, 3, 7),
        lambda: impl(2, 6, 5, 11),
        lambda: impl(3, 10, 6, 13),
        lambda: impl(48, 1600, 1024, 50257),
        lambda: impl(32, 2560, 2048, 50257),
    ]
