"""Wrong on purpose: what people believe about rotary positions, ALiBi, RMSNorm, SwiGLU and Llama's block."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from gptdojo import fingerprint, misconception
from reference.attention import merge_heads, split_heads
from reference.mask import causal_mask
from reference.smaller_cache import grouped_query_attention

Probe = Callable[[], Any]

# --- rope_frequencies -------------------------------------------------------------------------------------------------


@misconception(
    "rope_frequencies",
    believes="pair i has the exponent -i / d_head",
    truth="it is -2i / d_head: i counts pairs, of which there are only d_head / 2, so the exponents run from 0 to almost -1",
)
def exponent_without_the_two(d_head, theta=10000.0):
    return theta ** (-torch.arange(d_head // 2, dtype=torch.float64) / d_head)


@misconception(
    "rope_frequencies",
    believes="the last pair turns by exactly 1 / theta",
    truth="the exponents are -2i / d_head and stop short of -1: for d_head 8 the last is -0.75",
)
def down_to_one_over_theta(d_head, theta=10000.0):
    return theta ** -torch.linspace(0, 1, d_head // 2, dtype=torch.float64)


@misconception(
    "rope_frequencies",
    believes="theta ** (2i / d_head) is the frequency",
    truth="that is how slow a pair is, its period up to 2 pi; the frequency is one over it, so the exponent is negative",
)
def periods_for_frequencies(d_head, theta=10000.0):
    return theta ** (torch.arange(0, d_head, 2, dtype=torch.float64) / d_head)


@misconception(
    "rope_frequencies",
    believes="every channel has a frequency of its own",
    truth="a turn needs two channels, so there is one frequency for each pair, d_head / 2 of them",
)
def one_for_each_channel(d_head, theta=10000.0):
    pairs = theta ** (-torch.arange(0, d_head, 2, dtype=torch.float64) / d_head)
    return torch.cat([pairs, pairs])


@misconception(
    "rope_frequencies",
    believes="pairs are counted from 1",
    truth="they are counted from 0: the first exponent is 0, so the first pair turns by 1 radian a position",
)
def counted_from_one(d_head, theta=10000.0):
    return theta ** (-torch.arange(2, d_head + 2, 2, dtype=torch.float64) / d_head)


@misconception(
    "rope_frequencies",
    believes="the first pair is the slowest",
    truth="the first turns by 1 radian and each next one more slowly",
)
def slowest_first(d_head, theta=10000.0):
    return theta ** (-torch.arange(d_head - 2, -2, -2, dtype=torch.float64) / d_head)


@misconception(
    "rope_frequencies",
    believes="the frequencies fall in equal steps from 1 to 0",
    truth="they fall by equal factors: each is theta ** (-2 / d_head) times the one before",
)
def equal_steps(d_head, theta=10000.0):
    return 1 - torch.arange(0, d_head, 2, dtype=torch.float64) / d_head


@misconception(
    "rope_frequencies",
    believes="2i // d_head is the exponent",
    truth="an integer division makes every exponent 0 and every frequency 1: use /",
)
def integer_division(d_head, theta=10000.0):
    return theta ** (-(torch.arange(0, d_head, 2) // d_head).double())


@misconception(
    "rope_frequencies",
    believes="theta is a constant of RoPE, 10000",
    truth="10000 is the default of an argument: Llama 3 has 500,000, and other models pass other values",
)
def theta_ignored(d_head, theta=10000.0):
    return 10000.0 ** (-torch.arange(0, d_head, 2, dtype=torch.float64) / d_head)


@misconception(
    "rope_frequencies",
    believes="frequencies may be computed in the model's bfloat16, like all else",
    truth="bfloat16 has 8 significant bits; an error of 0.2 % is multiplied by the position, and thousands of tokens into a "
    "text the angle is off by radians",
)
def computed_in_bfloat16(d_head, theta=10000.0):
    exponents = torch.arange(0, d_head, 2, dtype=torch.float64) / d_head
    return (theta**-exponents).bfloat16().float()


@fingerprint("rope_frequencies")
def rope_frequencies_probes(impl) -> list[Probe]:
    return [lambda: impl(6), lambda: impl(16), lambda: impl(8, 500000.0)]


# --- apply_rope -------------------------------------------------------------------------------------------------------


def angles_of(x, positions, frequencies):
    """cos and sin of all angles, with an axis for the heads where there is one for the batch."""
    angles = positions[..., None].double() * frequencies.double()
    angles = angles if positions.ndim == 1 else angles[:, None]
    return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


def rotated(x, cos, sin):
    """Pairs of halves, turned."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


@misconception(
    "apply_rope",
    believes="neighbors are pairs: channel 2i and channel 2i + 1",
    truth="that is the interleaved convention (the RoFormer paper, GPT-J); here the pairs are halves, i and i + d_head/2. "
    "Only weights can tell the two apart, and these weights are Llama's as Hugging Face has them",
)
def interleaved(x, positions, frequencies):
    cos, sin = angles_of(x, positions, frequencies)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


@misconception(
    "apply_rope",
    believes="each frequency is repeated for two neighbors, and rotate_half does the rest",
    truth="that mixes two conventions: rotate_half pairs channel i with i + d_head/2, so the frequencies have to be laid down "
    "twice in a row, f0 f1 f0 f1, and not f0 f0 f1 f1. As it is, the two channels of a pair turn by different angles",
)
def angles_of_the_other_convention(x, positions, frequencies):
    cos, sin = (part.repeat_interleave(2, dim=-1) for part in angles_of(x, positions, frequencies))
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


@misconception(
    "apply_rope",
    believes="the pairs are mirrored: the first channel goes with the last",
    truth="channel i goes with i + d_head/2: the second half has the order of the first",
)
def mirrored_pairs(x, positions, frequencies):
    cos, sin = angles_of(x, positions, frequencies)
    first, second = x.chunk(2, dim=-1)
    second = second.flip(-1)
    return torch.cat([first * cos - second * sin, (second * cos + first * sin).flip(-1)], dim=-1)


@misconception(
    "apply_rope",
    believes="rotate_half is (second, -first)",
    truth="it is (-second, first): the first channel turns towards the second, a' = a cos - b sin. The other sign turns the "
    "other way, which scores cannot show but a cache of keys from right code can",
)
def turns_backwards(x, positions, frequencies):
    cos, sin = angles_of(x, positions, frequencies)
    return rotated(x, cos, -sin)


@misconception(
    "apply_rope",
    believes="both halves get the other one times sin, added",
    truth="one of the two is subtracted, a cos - b sin and b cos + a sin: with two plus signs it is no rotation, and lengths "
    "change",
)
def no_minus_sign(x, positions, frequencies):
    cos, sin = angles_of(x, positions, frequencies)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos + second * sin, second * cos + first * sin], dim=-1)


@misconception(
    "apply_rope",
    believes="the first half can be replaced before the second is computed",
    truth="both lines need the old first half: a' = a cos - b sin, b' = b cos + a sin, with a and not a'",
)
def first_half_replaced_too_early(x, positions, frequencies):
    cos, sin = angles_of(x, positions, frequencies)
    first, second = x.chunk(2, dim=-1)
    first = first * cos - second * sin
    second = second * cos + first * sin
    return torch.cat([first, second], dim=-1)


@misconception(
    "apply_rope",
    believes="positions are added, as sin and cos",
    truth="that is the sinusoidal embedding of chapter 5; a rotary one multiplies, so that lengths stay and scores depend on "
    "distances alone",
)
def sinusoids_added(x, positions, frequencies):
    cos, sin = angles_of(x, positions, frequencies)
    return x + torch.cat([sin, cos], dim=-1)


@misconception(
    "apply_rope",
    believes="positions are counted from 1",
    truth="they are used as they are passed; position 0 does not turn. For scores a common shift makes no difference, for "
    "keys that lie in a cache it does",
)
def one_position_on(x, positions, frequencies):
    return rotated(x, *angles_of(x, positions + 1, frequencies))


@misconception(
    "apply_rope",
    believes="the tokens of a call stand at 0, 1, 2, and so on",
    truth="they stand where `positions` says: with a cache, the next token comes after all that it holds",
)
def positions_from_zero(x, positions, frequencies):
    return rotated(x, *angles_of(x, torch.arange(x.shape[2]).expand(positions.shape), frequencies))


@misconception(
    "apply_rope",
    believes="since only distances count, positions may start anew with each call",
    truth="distances count between all queries and keys, also those of earlier calls, which lie in the cache turned by their "
    "own positions: the first of a call is 0 only if it is the first of the text",
)
def relative_to_the_call(x, positions, frequencies):
    return rotated(x, *angles_of(x, positions - positions[..., :1], frequencies))


@misconception(
    "apply_rope",
    believes="the first position is enough, the others follow it",
    truth="positions need not be neighbors: after padding, packing or a tree of drafts they have gaps and repetitions",
)
def neighbors_of_the_first(x, positions, frequencies):
    return rotated(x, *angles_of(x, positions[..., :1] + torch.arange(x.shape[2]), frequencies))


@misconception(
    "apply_rope",
    believes="all rows of a batch have the positions of the first",
    truth="where positions have an axis for the batch, each row has its own: rows that are padded on the left start later",
)
def positions_of_the_first_row(x, positions, frequencies):
    return rotated(x, *angles_of(x, positions if positions.ndim == 1 else positions[0], frequencies))


@misconception(
    "apply_rope",
    believes="angles of shape (batch, query, d_head/2) broadcast to x",
    truth="x has an axis for the heads between batch and query: without an axis of size 1 there, the batch meets the heads",
)
def no_axis_for_the_heads(x, positions, frequencies):
    angles = positions[..., None] * frequencies
    return rotated(x, angles.cos().to(x.dtype), angles.sin().to(x.dtype))


@misconception(
    "apply_rope",
    believes="x is (batch, position, head, d_head)",
    truth="here it is (batch, head, position, d_head): with the axes taken the other way, heads turn and positions do not",
)
def heads_turn(x, positions, frequencies):
    angles = (positions[..., None].double() * frequencies.double())[..., None, :]
    return rotated(x, angles.cos().to(x.dtype), angles.sin().to(x.dtype))


@misconception(
    "apply_rope",
    believes="with batch, heads and positions in one row, each position comes n times in succession",
    truth="the positions are the inner axis: 0 1 2 0 1 2 and not 0 0 1 1 2 2, so they are repeated as a whole; broadcasting "
    "from the last axes does that by itself",
)
def rows_by_position(x, positions, frequencies):
    rows, copies = x.reshape(1, 1, -1, x.shape[-1]), x.shape[0] * x.shape[1]
    each_row = positions if positions.ndim == 1 else positions[:, None].expand(x.shape[:3])
    places = each_row.repeat_interleave(copies) if positions.ndim == 1 else each_row.flatten()
    return rotated(rows, *angles_of(x, places, frequencies)).reshape(x.shape)


@misconception(
    "apply_rope",
    believes="batch and heads can be put in one axis with view",
    truth="view needs its axes to be neighbors in memory, and heads mostly come out of a transpose; broadcasting needs no "
    "reshape at all",
)
def flat_by_view(x, positions, frequencies):
    cos, sin = angles_of(x, positions, frequencies)
    shape = (*x.shape[:3], -1)
    cos, sin = (part.expand(shape).reshape(-1, *x.shape[2:3], part.shape[-1]) for part in (cos, sin))
    return rotated(x.view(-1, *x.shape[2:]), cos, sin).view(x.shape)


@misconception(
    "apply_rope",
    believes="a pair turns with the frequencies of theta 10000",
    truth="they are an argument: models have other thetas, and scaled frequencies for long texts",
)
def frequencies_of_its_own(x, positions, frequencies):
    frequencies = 10000.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
    return rotated(x, *angles_of(x, positions, frequencies))


@misconception(
    "apply_rope",
    believes="float16 holds positions, they are whole numbers",
    truth="it holds whole numbers up to 2,048 only: 2,049 becomes 2,048, so neighbors turn alike",
)
def positions_in_float16(x, positions, frequencies):
    return rotated(x, *angles_of(x, positions.half(), frequencies))


@misconception(
    "apply_rope",
    believes="a table of 2,048 angles is enough, and the last row serves for what comes after",
    truth="positions go on as long as the text does; tokens that share a row of the table have no distance",
)
def table_of_2048(x, positions, frequencies):
    return rotated(x, *angles_of(x, positions.clamp(max=2047), frequencies))


@misconception(
    "apply_rope",
    believes="everything may be computed in the dtype of x",
    truth="bfloat16 cannot tell 256 from 257, so from there on neighbors turn alike; angles are computed in float32, only "
    "their cos and sin may be rounded",
)
def angles_in_the_dtype_of_x(x, positions, frequencies):
    angles = positions[..., None].to(x.dtype) * frequencies.to(x.dtype)
    angles = angles if positions.ndim == 1 else angles[:, None]
    return rotated(x, angles.cos(), angles.sin())


@misconception(
    "apply_rope",
    believes="the exact angle may be rounded to the dtype of x before its cos is taken",
    truth="an angle of 257 radians rounded to bfloat16 is off by up to 1 radian; take cos and sin first, then round",
)
def angles_rounded(x, positions, frequencies):
    angles = (positions[..., None] * frequencies).to(x.dtype)
    angles = angles if positions.ndim == 1 else angles[:, None]
    return rotated(x, angles.cos(), angles.sin())


@misconception(
    "apply_rope",
    believes="the result may have the dtype of the angles",
    truth="it has the dtype of x: a float32 query does not fit a bfloat16 key of the cache, and doubles the memory",
)
def dtype_of_the_angles(x, positions, frequencies):
    angles = positions[..., None] * frequencies.float()
    angles = angles if positions.ndim == 1 else angles[:, None]
    return rotated(x, angles.cos(), angles.sin())


@misconception(
    "apply_rope",
    believes="queries may be turned in place",
    truth="x belongs to the caller, who may need it again, as autograd does",
)
def overwrites_x(x, positions, frequencies):
    x.copy_(rotated(x, *angles_of(x, positions, frequencies)))
    return x


@fingerprint("apply_rope")
def apply_rope_probes(impl) -> list[Probe]:
    generator = torch.Generator().manual_seed(19)
    x = torch.randn(2, 3, 4, 6, generator=generator)
    frequencies = torch.tensor([1.0, 0.3, 0.02])
    rows = torch.tensor([[3, 9, 4, 4], [0, 1, 2, 3]])
    return [
        lambda: impl(x[:1, :1, :2, :2], torch.arange(2), frequencies[:1]),
        lambda: impl(x[:1, :1], torch.arange(4), frequencies),
        lambda: impl(x[..., 4:], torch.tensor([2, 3, 5, 9]), frequencies[:1]),
        lambda: impl(x, rows, frequencies),
        lambda: impl(x[:, :2], rows, frequencies),
        lambda: impl(x.transpose(0, 1), torch.arange(4), frequencies),
        lambda: impl(x[:1, :1, :2], torch.tensor([2049, 3333]), frequencies),
        lambda: impl(x[:1, :2, :2].bfloat16(), torch.tensor([257, 301]), frequencies),
    ]


# --- alibi_slopes -----------------------------------------------------------------------------------------------------


def slopes_of_a_power(n):
    return 2.0 ** (-8 * torch.arange(1, n + 1, dtype=torch.float64) / n)


@misconception(
    "alibi_slopes",
    believes="the formula 2 ** (-8 h / n) holds for every number of heads",
    truth="it is for powers of two; for other numbers the published models take the list of the power of two below, and fill "
    "up from that of twice the power",
)
def formula_for_every_number(n_head):
    return slopes_of_a_power(n_head)


@misconception(
    "alibi_slopes",
    believes="the first slope is 1",
    truth="heads are counted from 1: the first slope is 2 ** (-8 / n), for 8 heads 1/2, and the last is 1/256",
)
def heads_from_zero(n_head):
    power = 2 ** (n_head.bit_length() - 1)
    between = slopes_of_a_power(2 * power)[::2][: n_head - power]
    return torch.cat([slopes_of_a_power(power) * 2 ** (8 / power), between * 2 ** (4 / power)])


@misconception(
    "alibi_slopes",
    believes="each slope is half of the one before",
    truth="that is so for 8 heads; the ratio is 2 ** (-8 / n), so that the last slope is 1/256 for any power of two",
)
def always_halved(n_head):
    return 2.0 ** -torch.arange(1, n_head + 1, dtype=torch.float64)


@misconception(
    "alibi_slopes",
    believes="the first slope is always 1/2",
    truth="it equals the ratio, 2 ** (-8 / n): for 16 heads 0.7071, for 4 heads 1/4",
)
def always_from_one_half(n_head):
    power = 2 ** (n_head.bit_length() - 1)
    between = slopes_of_a_power(2 * power)[::2][: n_head - power]
    both = torch.cat([slopes_of_a_power(power), between])
    return both * (0.5 / both[0])


@misconception(
    "alibi_slopes",
    believes="the slopes fall in equal steps",
    truth="they fall by equal factors, so that heads look back over very different distances",
)
def slopes_in_equal_steps(n_head):
    return torch.linspace(2 ** (-8 / n_head), 2**-8, n_head, dtype=torch.float64)


@misconception(
    "alibi_slopes",
    believes="slopes are negative, since they lower scores",
    truth="the slope is how much a score is lowered, a positive number; the sign stands where it is used: minus slope times "
    "distance",
)
def negative_slopes(n_head):
    power = 2 ** (n_head.bit_length() - 1)
    return -torch.cat([slopes_of_a_power(power), slopes_of_a_power(2 * power)[::2][: n_head - power]])


@misconception(
    "alibi_slopes",
    believes="for another number, take the first of the slopes of the next power of two",
    truth="the first heads keep the slopes of the power of two below, 1/2 to 1/256 for 12 heads; only the others come from "
    "the longer list, and from every second place of it",
)
def cut_from_the_next_power(n_head):
    return slopes_of_a_power(2 ** math.ceil(math.log2(n_head)))[:n_head]


@misconception(
    "alibi_slopes",
    believes="the heads beyond the power of two take the first slopes of the longer list one after the other",
    truth="they take every second one, the 1st, 3rd, 5th: those between are in the shorter list already",
)
def next_to_each_other(n_head):
    power = 2 ** (n_head.bit_length() - 1)
    return torch.cat([slopes_of_a_power(power), slopes_of_a_power(2 * power)[: n_head - power]])


@misconception(
    "alibi_slopes",
    believes="the other heads take the 2nd, 4th, 6th slope of the longer list",
    truth="those are the slopes of the shorter list once more, so two heads would be alike; it is the 1st, 3rd, 5th",
)
def the_even_places(n_head):
    power = 2 ** (n_head.bit_length() - 1)
    return torch.cat([slopes_of_a_power(power), slopes_of_a_power(2 * power)[1::2][: n_head - power]])


@misconception(
    "alibi_slopes",
    believes="the other heads take the last of the places between, with the small slopes",
    truth="they take the first of them, with the large slopes: for 12 heads 0.7071, 0.3536, 0.1768, 0.0884",
)
def the_last_between(n_head):
    power = 2 ** (n_head.bit_length() - 1)
    return torch.cat([slopes_of_a_power(power), slopes_of_a_power(2 * power)[::2][2 * power - n_head :]])


@misconception(
    "alibi_slopes",
    believes="slopes are sorted over the heads",
    truth="the heads beyond the power of two stand at the end, though their slopes are large: each head was trained with its "
    "own",
)
def sorted_slopes(n_head):
    power = 2 ** (n_head.bit_length() - 1)
    both = torch.cat([slopes_of_a_power(power), slopes_of_a_power(2 * power)[::2][: n_head - power]])
    return both.sort(descending=True).values


@fingerprint("alibi_slopes")
def alibi_slopes_probes(impl) -> list[Probe]:
    return [lambda n=n: impl(n) for n in (8, 4, 12, 7, 1)]


# --- rms_norm ---------------------------------------------------------------------------------------------------------


def in_float32(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def scaled_by(wide, divisor, x, weight):
    return (wide / divisor).to(x.dtype) * weight


@misconception(
    "rms_norm",
    believes="the mean is subtracted first",
    truth="that is layer norm without its bias; RMS norm divides by the root mean square of x as it is",
)
def mean_subtracted(x, weight, eps=1e-6):
    wide = in_float32(x)
    wide = wide - wide.mean(dim=-1, keepdim=True)
    return scaled_by(wide, torch.sqrt(wide.square().mean(dim=-1, keepdim=True) + eps), x, weight)


@misconception(
    "rms_norm",
    believes="x is divided by its standard deviation, only without subtracting the mean",
    truth="the mean has no part in it at all: the divisor is the root of the mean of x squared, not of (x - mean) squared",
)
def standard_deviation(x, weight, eps=1e-6):
    wide = in_float32(x)
    return scaled_by(wide, torch.sqrt(wide.var(dim=-1, correction=0, keepdim=True) + eps), x, weight)


@misconception(
    "rms_norm",
    believes="x is divided by its length",
    truth="the length is the root of the sum of squares, larger by the root of d_model than the root of their mean; RMS norm "
    "leaves numbers of size 1",
)
def unit_length(x, weight, eps=1e-6):
    wide = in_float32(x)
    return scaled_by(wide, torch.sqrt(wide.square().sum(dim=-1, keepdim=True) + eps), x, weight)


@misconception(
    "rms_norm",
    believes="x is divided by its mean square",
    truth="it is divided by the root of it: only then does the scale of x not matter",
)
def root_forgotten(x, weight, eps=1e-6):
    wide = in_float32(x)
    return scaled_by(wide, wide.square().mean(dim=-1, keepdim=True) + eps, x, weight)


@misconception(
    "rms_norm",
    believes="the mean of the sizes |x| does as well",
    truth="that is smaller than the root of the mean square, unless all sizes are equal",
)
def mean_of_sizes(x, weight, eps=1e-6):
    wide = in_float32(x)
    return scaled_by(wide, torch.sqrt(wide.abs().mean(dim=-1, keepdim=True).square() + eps), x, weight)


@misconception(
    "rms_norm",
    believes="a weight near 0 means no change, so the gain is 1 + weight",
    truth="Gemma stores it like that; Llama's weight is the gain itself, and starts at 1",
)
def gain_of_one_plus_weight(x, weight, eps=1e-6):
    wide = in_float32(x)
    return scaled_by(wide, torch.sqrt(wide.square().mean(dim=-1, keepdim=True) + eps), x, 1 + weight)


@misconception(
    "rms_norm",
    believes="the weight belongs to x, and is applied before the norm is taken",
    truth="x is normalized first and scaled last, or the weights would change the divisor",
)
def weight_inside_the_norm(x, weight, eps=1e-6):
    wide = in_float32(x) * weight
    return (wide / torch.sqrt(wide.square().mean(dim=-1, keepdim=True) + eps)).to(x.dtype)


@misconception(
    "rms_norm",
    believes="a sequence is normalized as a whole",
    truth="each position has a root mean square of its own; otherwise later positions change earlier ones",
)
def over_the_sequence(x, weight, eps=1e-6):
    wide = in_float32(x)
    axes = (-2, -1) if x.ndim > 1 else -1
    return scaled_by(wide, torch.sqrt(wide.square().mean(dim=axes, keepdim=True) + eps), x, weight)


@misconception(
    "rms_norm",
    believes="x is (batch, position, d_model), so the channels are axis 2",
    truth="they are the last axis, however many stand in front: -1 says that, 2 does not",
)
def channels_on_axis_two(x, weight, eps=1e-6):
    wide, axis = in_float32(x), 2 if x.ndim > 3 else -1
    return scaled_by(wide, torch.sqrt(wide.square().mean(dim=axis, keepdim=True) + eps), x, weight)


@misconception(
    "rms_norm",
    believes="eps is added to the root",
    truth="it is added to the mean square, inside the root: for numbers of size 1e-3 the divisor is 0.0014, not 0.001001",
)
def eps_outside_the_root(x, weight, eps=1e-6):
    wide = in_float32(x)
    return scaled_by(wide, torch.sqrt(wide.square().mean(dim=-1, keepdim=True)) + eps, x, weight)


@misconception(
    "rms_norm",
    believes="the division is safe without eps",
    truth="a position of zeros would become NaN; with eps it stays 0",
)
def no_eps(x, weight, eps=1e-6):
    wide = in_float32(x)
    return scaled_by(wide, torch.sqrt(wide.square().mean(dim=-1, keepdim=True)), x, weight)


@misconception(
    "rms_norm",
    believes="eps is the least that the mean square may be",
    truth="it is added to every mean square; at a mean square of eps, clamping leaves the divisor too small by the root of 2",
)
def mean_square_clamped(x, weight, eps=1e-6):
    wide = in_float32(x)
    return scaled_by(wide, torch.sqrt(wide.square().mean(dim=-1, keepdim=True).clamp_min(eps)), x, weight)


@misconception(
    "rms_norm",
    believes="eps is 1e-5, as in layer norm",
    truth="the default here is 1e-6; which value a model has stands in its config (Llama 2: 1e-5), and is passed",
)
def eps_of_layer_norm(x, weight, eps=1e-5):
    wide = in_float32(x)
    return scaled_by(wide, torch.sqrt(wide.square().mean(dim=-1, keepdim=True) + eps), x, weight)


@misconception(
    "rms_norm",
    believes="eps is a constant of RMS norm, 1e-6",
    truth="1e-6 is the default of an argument: a caller with another model passes another value",
)
def eps_ignored(x, weight, eps=1e-6):
    wide = in_float32(x)
    return scaled_by(wide, torch.sqrt(wide.square().mean(dim=-1, keepdim=True) + 1e-6), x, weight)


@misconception(
    "rms_norm",
    believes="squares may be computed in the dtype of x",
    truth="float16 ends at 65,504, so the square of 300 is infinite and the whole position becomes 0: widen to float32 first",
)
def squares_in_the_dtype_of_x(x, weight, eps=1e-6):
    return x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight


@misconception(
    "rms_norm",
    believes="what was widened may stay wide",
    truth="the result has the dtype of x, or the matrix product that follows gets two dtypes",
)
def result_in_float32(x, weight, eps=1e-6):
    wide = in_float32(x)
    return wide / torch.sqrt(wide.square().mean(dim=-1, keepdim=True) + eps) * weight


@fingerprint("rms_norm")
def rms_norm_probes(impl) -> list[Probe]:
    generator = torch.Generator().manual_seed(19)
    x, weight = torch.randn(2, 3, 2, 5, generator=generator), torch.randn(5, generator=generator)
    return [
        lambda: impl(x[0, 0, :1], weight),
        lambda: impl(x, weight),
        lambda: impl(1e-3 * x[0], weight),
        lambda: impl(torch.zeros(2, 5), weight),
        lambda: impl(x[0], weight, 0.5),
        lambda: impl((1000 * x[0]).half(), weight.half()),
    ]


# --- swiglu -----------------------------------------------------------------------------------------------------------


@misconception(
    "swiglu",
    believes="the activation is applied to x w_up^T, and w_gate gives what it is multiplied with",
    truth="the gate is what goes through the activation: silu(x w_gate^T) times x w_up^T",
)
def gate_and_up_swapped(x, w_gate, w_up, w_down):
    return F.linear(F.linear(x, w_gate) * F.silu(F.linear(x, w_up)), w_down)


@misconception(
    "swiglu",
    believes="a gate is a sigmoid",
    truth="that is the plain GLU; in SwiGLU the gate is silu(z) = z * sigmoid(z), which is not bounded by 1",
)
def sigmoid_gate(x, w_gate, w_up, w_down):
    return F.linear(torch.sigmoid(F.linear(x, w_gate)) * F.linear(x, w_up), w_down)


@misconception(
    "swiglu",
    believes="the gate's activation is GELU, as in GPT-2",
    truth="that is GeGLU (Gemma has it); the Sw in SwiGLU is Swish, another name of SiLU",
)
def gelu_gate(x, w_gate, w_up, w_down):
    return F.linear(F.gelu(F.linear(x, w_gate)) * F.linear(x, w_up), w_down)


@misconception(
    "swiglu",
    believes="the gate's activation is GELU, in its tanh form",
    truth="that is GeGLU; the Sw in SwiGLU is Swish, another name of SiLU: z * sigmoid(z)",
)
def tanh_gelu_gate(x, w_gate, w_up, w_down):
    return F.linear(F.gelu(F.linear(x, w_gate), approximate="tanh") * F.linear(x, w_up), w_down)


@misconception(
    "swiglu",
    believes="SiLU is z * sigmoid(1.702 z)",
    truth="that is an approximation of GELU; SiLU, which is Swish with beta 1, has no factor",
)
def sigmoid_of_1702(x, w_gate, w_up, w_down):
    gate = F.linear(x, w_gate)
    return F.linear(gate * torch.sigmoid(1.702 * gate) * F.linear(x, w_up), w_down)


@misconception(
    "swiglu",
    believes="a gate cuts off what is negative",
    truth="that is ReGLU; SiLU is smooth, and lets a little of negative numbers through",
)
def relu_gate(x, w_gate, w_up, w_down):
    return F.linear(F.relu(F.linear(x, w_gate)) * F.linear(x, w_up), w_down)


@misconception(
    "swiglu",
    believes="the product goes through the activation",
    truth="only the gate does; what it multiplies stays linear",
)
def activation_of_the_product(x, w_gate, w_up, w_down):
    return F.linear(F.silu(F.linear(x, w_gate) * F.linear(x, w_up)), w_down)


@misconception(
    "swiglu",
    believes="both ways up go through the activation",
    truth="only the gate does; what it multiplies stays linear",
)
def activation_of_both(x, w_gate, w_up, w_down):
    return F.linear(F.silu(F.linear(x, w_gate)) * F.silu(F.linear(x, w_up)), w_down)


@misconception(
    "swiglu",
    believes="the gate and the other way are added",
    truth="a gate multiplies: where it is closed, nothing gets through",
)
def added(x, w_gate, w_up, w_down):
    return F.linear(F.silu(F.linear(x, w_gate)) + F.linear(x, w_up), w_down)


@misconception(
    "swiglu",
    believes="the gate multiplies x itself",
    truth="it multiplies the other projection, x w_up^T, which SiLU's own factor z must not be taken for",
)
def no_second_projection(x, w_gate, w_up, w_down):
    return F.linear(F.silu(F.linear(x, w_gate)), w_down)


@misconception(
    "swiglu",
    believes="x is (batch, position, d_model)",
    truth="it may have any number of axes; F.linear and @ work on the last one, whatever stands in front",
)
def three_axes(x, w_gate, w_up, w_down):
    hidden = F.silu(torch.einsum("bpd,fd->bpf", x, w_gate)) * torch.einsum("bpd,fd->bpf", x, w_up)
    return torch.einsum("bpf,df->bpd", hidden, w_down)


@misconception(
    "swiglu",
    believes="silu(z) is z e^z / (1 + e^z)",
    truth="so it is on paper, but e^z is infinite for z above 88, and infinity by infinity is NaN: use torch.sigmoid",
)
def silu_by_exponentials(x, w_gate, w_up, w_down):
    gate = F.linear(x, w_gate)
    grown = torch.exp(gate)
    return F.linear(gate * grown / (1 + grown) * F.linear(x, w_up), w_down)


@fingerprint("swiglu")
def swiglu_probes(impl) -> list[Probe]:
    generator = torch.Generator().manual_seed(19)
    x = torch.randn(2, 3, 4, generator=generator)
    w_gate, w_up = torch.randn(2, 5, 4, generator=generator)
    w_down = torch.randn(4, 5, generator=generator)
    return [
        lambda: impl(x, w_gate, w_up, w_down),
        lambda: impl(x[0], w_gate, w_up, w_down),
        lambda: impl(x, 300 * w_gate, w_up, w_down),
    ]


# --- llama_block ------------------------------------------------------------------------------------------------------


def linear(x, params, name):
    return F.linear(x, params[f"{name}.weight"])


def norm(x, params, name, eps=1e-6):
    return F.rms_norm(x, x.shape[-1:], params[f"{name}.weight"], eps)


def cos_and_sin(x, first_position, frequencies):
    angles = torch.arange(first_position, first_position + x.shape[1])[:, None] * frequencies
    return angles.cos(), angles.sin()


def attention(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    """q, k and v of x, which is normalized already; what the heads read goes through o_proj."""
    q = split_heads(linear(x, params, "self_attn.q_proj"), n_head)
    k, v = (split_heads(linear(x, params, f"self_attn.{name}_proj"), n_kv_head) for name in "kv")
    cos, sin = cos_and_sin(x, first_position, frequencies)
    heads = attend(rotated(q, cos, sin), rotated(k, cos, sin), v)
    return linear(merge_heads(heads), params, "self_attn.o_proj")


def gated(x, params):
    """The MLP of x, which is normalized already."""
    hidden = F.silu(linear(x, params, "mlp.gate_proj")) * linear(x, params, "mlp.up_proj")
    return linear(hidden, params, "mlp.down_proj")


@misconception(
    "llama_block",
    believes="the norm comes after the sum",
    truth="that is the order of the first transformer; since GPT-2 each part reads a norm of x, and the stream itself is never "
    "normalized",
)
def norm_after_the_sum(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    more = (n_head, n_kv_head, first_position, frequencies, attend)
    x = norm(x + attention(x, params, *more), params, "input_layernorm")
    return norm(x + gated(x, params), params, "post_attention_layernorm")


@misconception(
    "llama_block",
    believes="the norms are layer norms, as their names say",
    truth="the names are kept from older code; Llama's norms subtract no mean",
)
def layer_norms(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    def normed(x, name):
        return F.layer_norm(x, x.shape[-1:], params[f"{name}.weight"], eps=1e-6)

    more = (n_head, n_kv_head, first_position, frequencies, attend)
    x = x + attention(normed(x, "input_layernorm"), params, *more)
    return x + gated(normed(x, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="post_attention_layernorm normalizes what attention returns",
    truth="it normalizes the stream after attention was added to it, as what the MLP reads",
)
def norm_of_the_attention(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    more = (n_head, n_kv_head, first_position, frequencies, attend)
    attended = attention(norm(x, params, "input_layernorm"), params, *more)
    x = x + norm(attended, params, "post_attention_layernorm")
    return x + gated(x, params)


@misconception(
    "llama_block",
    believes="attention replaces x",
    truth="it is added to x: a block only ever adds to the residual stream",
)
def attention_replaces_x(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    more = (n_head, n_kv_head, first_position, frequencies, attend)
    x = attention(norm(x, params, "input_layernorm"), params, *more)
    return x + gated(norm(x, params, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="the MLP replaces x",
    truth="it is added to x, like attention before it",
)
def mlp_replaces_x(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    more = (n_head, n_kv_head, first_position, frequencies, attend)
    x = x + attention(norm(x, params, "input_layernorm"), params, *more)
    return gated(norm(x, params, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="attention and MLP read the same x, side by side",
    truth="GPT-J and PaLM do so; in Llama the MLP reads x with attention added to it",
)
def side_by_side(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    more = (n_head, n_kv_head, first_position, frequencies, attend)
    attended = attention(norm(x, params, "input_layernorm"), params, *more)
    return x + attended + gated(norm(x, params, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="gate_proj is what the activation's result is multiplied with",
    truth="the gate itself goes through SiLU: silu(gate_proj(x)) * up_proj(x)",
)
def gate_and_up_exchanged(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    more = (n_head, n_kv_head, first_position, frequencies, attend)
    x = x + attention(norm(x, params, "input_layernorm"), params, *more)
    normed = norm(x, params, "post_attention_layernorm")
    hidden = linear(normed, params, "mlp.gate_proj") * F.silu(linear(normed, params, "mlp.up_proj"))
    return x + linear(hidden, params, "mlp.down_proj")


@misconception(
    "llama_block",
    believes="the activation is GPT-2's GELU",
    truth="Llama's is SiLU, z * sigmoid(z)",
)
def gelu_for_silu(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    more = (n_head, n_kv_head, first_position, frequencies, attend)
    x = x + attention(norm(x, params, "input_layernorm"), params, *more)
    normed = norm(x, params, "post_attention_layernorm")
    hidden = F.gelu(linear(normed, params, "mlp.gate_proj")) * linear(normed, params, "mlp.up_proj")
    return x + linear(hidden, params, "mlp.down_proj")


@misconception(
    "llama_block",
    believes="queries, keys and values turn",
    truth="values do not: they are what is passed on, and a sum of values turned by different angles means nothing to o_proj. "
    "For the first token, at position 0, one does not see it",
)
def values_turn(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    def turning_values(q, k, v):
        return attend(q, k, rotated(v, *cos_and_sin(x, first_position, frequencies)))

    more = (n_head, n_kv_head, first_position, frequencies, turning_values)
    x = x + attention(norm(x, params, "input_layernorm"), params, *more)
    return x + gated(norm(x, params, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="only queries turn",
    truth="keys turn, too: the score then depends on the difference of the two positions; with queries alone it depends on "
    "the query's",
)
def only_queries_turn(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    def unturned_keys(q, k, v):
        cos, sin = cos_and_sin(x, first_position, frequencies)
        return attend(q, rotated(k, cos, -sin), v)

    more = (n_head, n_kv_head, first_position, frequencies, unturned_keys)
    x = x + attention(norm(x, params, "input_layernorm"), params, *more)
    return x + gated(norm(x, params, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="attend knows the positions",
    truth="it gets three tensors and no positions: queries and keys have to be turned before",
)
def nothing_turns(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    x = x + attention(norm(x, params, "input_layernorm"), params, n_head, n_kv_head, 0, 0 * frequencies, attend)
    return x + gated(norm(x, params, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="neighboring channels are a pair",
    truth="here the pairs are halves, channel i with i + d_head/2: weights that were trained with one are useless with the "
    "other",
)
def neighbors_are_pairs(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    def turn(part):
        cos, sin = cos_and_sin(x, first_position, frequencies)
        even, odd = part[..., 0::2], part[..., 1::2]
        return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)

    normed = norm(x, params, "input_layernorm")
    q = split_heads(linear(normed, params, "self_attn.q_proj"), n_head)
    k, v = (split_heads(linear(normed, params, f"self_attn.{name}_proj"), n_kv_head) for name in "kv")
    x = x + linear(merge_heads(attend(turn(q), turn(k), v)), params, "self_attn.o_proj")
    return x + gated(norm(x, params, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="heads are merged by a reshape",
    truth="positions and heads have to be exchanged first, as merge_heads does; otherwise the channels of one position are "
    "gathered from several",
)
def merged_without_transposing(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    normed = norm(x, params, "input_layernorm")
    q = split_heads(linear(normed, params, "self_attn.q_proj"), n_head)
    k, v = (split_heads(linear(normed, params, f"self_attn.{name}_proj"), n_kv_head) for name in "kv")
    cos, sin = cos_and_sin(x, first_position, frequencies)
    heads = attend(rotated(q, cos, sin), rotated(k, cos, sin), v)
    x = x + linear(heads.reshape(x.shape), params, "self_attn.o_proj")
    return x + gated(norm(x, params, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="keys and values are copied for all query heads before they are attended to",
    truth="attend wants n_kv_head of them and shares them itself; the cache holds no copies, that is what it is for",
)
def copies_for_all_heads(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    def copied(q, k, v):
        return attend(q, *(part.repeat_interleave(n_head // n_kv_head, dim=1) for part in (k, v)))

    more = (n_head, n_kv_head, first_position, frequencies, copied)
    x = x + attention(norm(x, params, "input_layernorm"), params, *more)
    return x + gated(norm(x, params, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="RoPE's frequencies are those of theta 10000",
    truth="they are an argument: Llama 3 has theta 500,000, and long contexts have scaled ones",
)
def frequencies_of_ten_thousand(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    pairs = frequencies.shape[0]
    frequencies = (10000.0 ** (-torch.arange(pairs) / pairs)).to(x.dtype)
    more = (n_head, n_kv_head, first_position, frequencies, attend)
    x = x + attention(norm(x, params, "input_layernorm"), params, *more)
    return x + gated(norm(x, params, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="positions start at 0 in every call",
    truth="they start at first_position: the keys in the cache have been turned by theirs, so the next token's distance to "
    "them would be wrong",
)
def positions_start_anew(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    more = (n_head, n_kv_head, 0, frequencies, attend)
    x = x + attention(norm(x, params, "input_layernorm"), params, *more)
    return x + gated(norm(x, params, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="all tokens of a call stand at first_position",
    truth="the first one does, and each next one a position further: with one token a call there is no difference, with a "
    "prompt there is",
)
def all_at_the_first_position(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    def turn(part):
        angles = first_position * frequencies
        return rotated(part, angles.cos(), angles.sin())

    normed = norm(x, params, "input_layernorm")
    q = split_heads(linear(normed, params, "self_attn.q_proj"), n_head)
    k, v = (split_heads(linear(normed, params, f"self_attn.{name}_proj"), n_kv_head) for name in "kv")
    x = x + linear(merge_heads(attend(turn(q), turn(k), v)), params, "self_attn.o_proj")
    return x + gated(norm(x, params, "post_attention_layernorm"), params)


@misconception(
    "llama_block",
    believes="the norms' eps is 1e-5",
    truth="it is 1e-6 here (Llama 1; Llama 2 has 1e-5, which then stands in its config): where x is as small as 0.001 it "
    "counts",
)
def eps_of_1e5(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    more = (n_head, n_kv_head, first_position, frequencies, attend)
    x = x + attention(norm(x, params, "input_layernorm", 1e-5), params, *more)
    return x + gated(norm(x, params, "post_attention_layernorm", 1e-5), params)


@misconception(
    "llama_block",
    believes="F.rms_norm knows the right eps",
    truth="its default is that of the dtype, 1.2e-7 for float32; a model has the one that it was trained with: pass it",
)
def eps_of_torch(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    more = (n_head, n_kv_head, first_position, frequencies, attend)
    x = x + attention(norm(x, params, "input_layernorm", None), params, *more)
    return x + gated(norm(x, params, "post_attention_layernorm", None), params)


@misconception(
    "llama_block",
    believes="the parameters come in a fixed order, norms first",
    truth="a dict is read by its keys: a checkpoint may have any order",
)
def parameters_in_order(x, params, n_head, n_kv_head, first_position, frequencies, attend):
    names = ["input_layernorm", "post_attention_layernorm", *(f"self_attn.{name}_proj" for name in "qkvo")]
    names += [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
    params = {f"{name}.weight": tensor for name, tensor in zip(names, params.values(), strict=True)}
    more = (n_head, n_kv_head, first_position, frequencies, attend)
    x = x + attention(norm(x, params, "input_layernorm"), params, *more)
    return x + gated(norm(x, params, "post_attention_layernorm"), params)


@fingerprint("llama_block")
def llama_block_probes(impl) -> list[Probe]:
    generator = torch.Generator().manual_seed(19)

    def normal(*shape, scale=1.0):
        return scale * torch.randn(*shape, generator=generator)

    matrices = {"self_attn.q_proj": (16, 16), "self_attn.k_proj": (8, 16), "self_attn.v_proj": (8, 16)}
    matrices |= {
        "self_attn.o_proj": (16, 16),
        "mlp.gate_proj": (6, 16),
        "mlp.up_proj": (6, 16),
        "mlp.down_proj": (16, 6),
    }
    params = {f"{name}_layernorm.weight": normal(16) for name in ("input", "post_attention")}
    params |= {f"{name}.weight": normal(*shape, scale=0.5) for name, shape in matrices.items()}
    backwards = dict(reversed(params.items()))
    x, frequencies = normal(2, 3, 16), torch.tensor([1.0, 0.01])
    held = normal(2, 2, 5, 4), normal(2, 2, 5, 4)

    def attend(q, k, v):
        return grouped_query_attention(q, k, v, causal_mask(q.shape[2], k.shape[2]))

    def attend_after_five(q, k, v):
        return attend(q, torch.cat([held[0], k], dim=2), torch.cat([held[1], v], dim=2))

    def attend_of_two_heads(q, k, v):
        assert k.shape[1] == 2
        return attend(q, k, v)

    return [
        lambda: impl(x[:1, :1], params, 4, 2, 0, frequencies, attend),
        lambda: impl(x, params, 4, 2, 0, frequencies, attend_of_two_heads),
        lambda: impl(x, params, 4, 2, 0, torch.tensor([0.7, 0.3]), attend),
        lambda: impl(x, params, 4, 2, 5, frequencies, attend_after_five),
        lambda: impl(1e-3 * x, params, 4, 2, 0, frequencies, attend),
        lambda: impl(x, backwards, 4, 2, 0, frequencies, attend),
    ]
