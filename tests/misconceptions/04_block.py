"""Wrong on purpose: what people believe about layer norm, GELU, the MLP and the block, each mistake alone in its function."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from gptdojo import fingerprint, misconception
from reference.attention import causal_self_attention, merge_heads, scaled_dot_product_attention, split_heads

Probe = Callable[[], Any]

# --- layer_norm -------------------------------------------------------------------------------------------------------


@misconception(
    "layer_norm",
    believes="the variance is divided by d_model - 1, as torch.var and torch.std do when left alone",
    truth="that is the estimate for a sample; layer norm divides by d_model, since the channels are all there are: "
    "pass unbiased=False (or correction=0)",
)
def unbiased_variance(x, weight, bias, eps=1e-5):
    variance, mean = torch.var_mean(x, dim=-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="eps is added to the standard deviation",
    truth="it is added to the variance, inside the root: at a variance of 1e-6 the divisor is sqrt(1.1e-5) = 0.0033, "
    "not 0.00101",
)
def eps_outside_the_root(x, weight, bias, eps=1e-5):
    centered = x - x.mean(dim=-1, keepdim=True)
    deviation = centered.square().mean(dim=-1, keepdim=True).sqrt()
    return centered / (deviation + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="eps only avoids a division by zero, so any tiny number does",
    truth="it decides what happens to rows whose variance is no larger than eps, and it is part of the model: GPT-2 was "
    "trained with 1e-5, BERT with 1e-12",
)
def eps_of_another_model(x, weight, bias, eps=1e-12):
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return centered / torch.sqrt(variance + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="eps is 1e-6",
    truth="that is the default of other libraries and models; GPT-2 and torch have 1e-5, and a standard deviation of 0.001 "
    "comes out 2.3 times larger with 1e-6",
)
def eps_of_one_millionth(x, weight, bias, eps=1e-6):
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return centered / torch.sqrt(variance + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="eps stands on both sides of the root, to be safe",
    truth="once is enough: added to the variance, inside the root, it keeps the divisor at 0.003 or more",
)
def eps_inside_and_outside(x, weight, bias, eps=1e-5):
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return centered / (torch.sqrt(variance + eps) + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="real activations vary, so the division is safe without eps",
    truth="a row of equal channels has variance 0 and would become NaN; with eps it becomes the bias",
)
def no_eps(x, weight, bias, eps=1e-5):
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return centered / torch.sqrt(variance) * weight + bias


@misconception(
    "layer_norm",
    believes="eps is the least that the variance may be",
    truth="it is added to every variance; clamping leaves larger variances alone, and at a variance of eps the divisor is "
    "too small by a factor of sqrt(2)",
)
def variance_clamped(x, weight, bias, eps=1e-5):
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return centered / torch.sqrt(variance.clamp_min(eps)) * weight + bias


@misconception(
    "layer_norm",
    believes="eps is a constant of layer norm, 1e-5",
    truth="1e-5 is the default of an argument: a caller with another model passes another value",
)
def eps_argument_ignored(x, weight, bias, eps=1e-5):
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return centered / torch.sqrt(variance + 1e-5) * weight + bias


@misconception(
    "layer_norm",
    believes="the centered numbers are divided by the variance",
    truth="they are divided by its root, the standard deviation: only then is the result of variance 1, whatever the scale "
    "of x was",
)
def divided_by_the_variance(x, weight, bias, eps=1e-5):
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return centered / (variance + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="dividing by the size of the vector is what matters, so the mean need not be subtracted",
    truth="that is RMS norm, which other models use; layer norm subtracts the mean first",
)
def mean_kept(x, weight, bias, eps=1e-5):
    mean_square = x.square().mean(dim=-1, keepdim=True)
    return x / torch.sqrt(mean_square + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="the mean square of x is its variance",
    truth="the mean of x is subtracted before the squares are taken; the two agree only where that mean is 0",
)
def variance_about_zero(x, weight, bias, eps=1e-5):
    centered = x - x.mean(dim=-1, keepdim=True)
    mean_square = x.square().mean(dim=-1, keepdim=True)
    return centered / torch.sqrt(mean_square + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="the channels are divided by the length of the centered vector",
    truth="the length is the root of the sum of squares; the standard deviation is the root of their mean, smaller by the "
    "root of d_model",
)
def unit_length(x, weight, bias, eps=1e-5):
    centered = x - x.mean(dim=-1, keepdim=True)
    total = centered.square().sum(dim=-1, keepdim=True)
    return centered / torch.sqrt(total + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="a weight near 0 means no change, so the gain is 1 + weight",
    truth="some models store it like that (Gemma does); GPT-2's weight is the gain itself, and starts at 1",
)
def gain_of_one_plus_weight(x, weight, bias, eps=1e-5):
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return centered / torch.sqrt(variance + eps) * (1 + weight) + bias


@misconception(
    "layer_norm",
    believes="the shift belongs to the normalized numbers and is scaled with them",
    truth="the weight scales the normalized numbers alone, and the bias is added last, as it is: normalized * weight + bias",
)
def shifted_before_scaled(x, weight, bias, eps=1e-5):
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return (centered / torch.sqrt(variance + eps) + bias) * weight


@misconception(
    "layer_norm",
    believes="the linear layer that follows has a bias, so this one can go",
    truth="a model that was trained with it needs it; GPT-2's layer norms have a weight and a bias",
)
def bias_dropped(x, weight, bias, eps=1e-5):
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)
    return centered / torch.sqrt(variance + eps) * weight


@misconception(
    "layer_norm",
    believes="a layer is normalized as a whole",
    truth="each position has a mean and a variance of its own; otherwise positions of one batch change each other, and later "
    "ones change earlier ones",
)
def over_the_whole_tensor(x, weight, bias, eps=1e-5):
    centered = x - x.mean()
    variance = centered.square().mean()
    return centered / torch.sqrt(variance + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="each sequence is normalized over its positions and channels",
    truth="the statistics are those of one position; taken over a sequence they tell earlier positions about later ones",
)
def over_the_sequence(x, weight, bias, eps=1e-5):
    axes = (-2, -1) if x.dim() > 1 else -1
    centered = x - x.mean(dim=axes, keepdim=True)
    variance = centered.square().mean(dim=axes, keepdim=True)
    return centered / torch.sqrt(variance + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="each channel is normalized over the batch",
    truth="that is batch norm; layer norm never looks at another entry of the batch, so it works alike for a batch of one",
)
def over_the_batch(x, weight, bias, eps=1e-5):
    axes = tuple(range(x.dim() - 1)) if x.dim() > 1 else -1
    centered = x - x.mean(dim=axes, keepdim=True)
    variance = centered.square().mean(dim=axes, keepdim=True)
    return centered / torch.sqrt(variance + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="x is (batch, position, d_model), so the channels are axis 2",
    truth="they are the last axis, however many stand in front: -1 says that, 2 does not",
)
def channels_on_axis_two(x, weight, bias, eps=1e-5):
    axis = 2 if x.dim() > 3 else -1
    centered = x - x.mean(dim=axis, keepdim=True)
    variance = centered.square().mean(dim=axis, keepdim=True)
    return centered / torch.sqrt(variance + eps) * weight + bias


@misconception(
    "layer_norm",
    believes="positions can be put in one long row with view",
    truth="view needs its axes to be neighbors in memory, and x may come out of a transpose; nothing here needs to be "
    "reshaped, the last axis will do",
)
def rows_by_view(x, weight, bias, eps=1e-5):
    rows = x.view(-1, x.shape[-1])
    centered = rows - rows.mean(dim=1, keepdim=True)
    variance = centered.square().mean(dim=1, keepdim=True)
    return (centered / torch.sqrt(variance + eps) * weight + bias).view(x.shape)


@fingerprint("layer_norm")
def layer_norm_probes(impl) -> list[Probe]:
    generator = torch.Generator().manual_seed(4)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    x, weight, bias = normal(2, 3, 5), normal(5), normal(5)
    return [
        lambda: impl(x[0, 0], weight, bias),
        lambda: impl(x, weight, bias),
        lambda: impl(x[:, :, None] + normal(2, 3, 2, 5), weight, bias),
        lambda: impl(3e-3 * x, weight, bias),
        lambda: impl(torch.zeros(2, 5), weight, bias),
        lambda: impl(x, weight, bias, 0.5),
        lambda: impl(x.transpose(0, 1), weight, bias),
    ]


# --- gelu -------------------------------------------------------------------------------------------------------------


@misconception(
    "gelu",
    believes="an activation cuts off what is negative",
    truth="that is ReLU; GELU multiplies by a smooth gate, so a small negative number leaves a small negative result",
)
def relu(x):
    return x.clamp_min(0)


@misconception(
    "gelu",
    believes="the gate is the logistic function",
    truth="that is SiLU, or Swish; GELU's gate is the normal distribution function, which is steeper",
)
def silu(x):
    return x * torch.sigmoid(x)


@misconception(
    "gelu",
    believes="sigmoid(1.702 x) is GPT-2's way to write the gate",
    truth="the GELU paper offers both; GPT-2 uses the tanh form, and the sigmoid is off by up to 0.02",
)
def sigmoid_of_1702(x):
    return x * torch.sigmoid(1.702 * x)


@misconception(
    "gelu",
    believes="GELU is the one with erf, and the tanh is only a faster way to the same number",
    truth="the two differ by up to 0.0005, and GPT-2 was trained with the tanh: in 12 layers the difference adds up",
)
def with_erf(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


@misconception(
    "gelu",
    believes="the tanh itself is the gate",
    truth="the tanh runs from -1 to 1 and a gate from 0 to 1: half of 1 + tanh",
)
def tanh_as_gate(x):
    return x * torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


@misconception(
    "gelu",
    believes="the gate is 1 + tanh",
    truth="that runs from 0 to 2 and doubles large numbers; the factor 0.5 brings it to 1",
)
def half_forgotten(x):
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@misconception(
    "gelu",
    believes="the cubic term is too small to matter",
    truth="at x = 2 it is 15 % of the sum, and without it the result is off by up to 0.03",
)
def cube_forgotten(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * x))


@misconception(
    "gelu",
    believes="the correction is 0.044715 x squared",
    truth="it is the cube, which keeps the sign of x: the gates of x and -x have to sum to 1",
)
def square_for_cube(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**2)))


@misconception(
    "gelu",
    believes="the factor sqrt(2 / pi) belongs to x alone",
    truth="it multiplies the whole sum x + 0.044715 x**3",
)
def factor_on_x_alone(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * x + 0.044715 * x**3))


@misconception(
    "gelu",
    believes="the factor is 2 / pi",
    truth="it is its root, 0.7979: then the slope of the gate at 0 is that of the normal distribution function, "
    "1 / sqrt(2 pi)",
)
def root_forgotten(x):
    return 0.5 * x * (1 + torch.tanh(2 / math.pi * (x + 0.044715 * x**3)))


@misconception(
    "gelu",
    believes="sqrt(2 / pi) may be rounded to 0.8",
    truth="that is off by up to 0.0007, more than erf is from tanh: write math.sqrt(2 / math.pi)",
)
def factor_rounded(x):
    return 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.044715 * x**3)))


@misconception(
    "gelu",
    believes="below -3 nothing is left",
    truth="GELU(-3) is -0.0036, and small numbers times large weights are not small",
)
def zero_below_minus_three(x):
    smooth = 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return smooth.masked_fill(x < -3, 0.0)


@misconception(
    "gelu",
    believes="the normal distribution is the one of the numbers in x",
    truth="it is the standard normal distribution, whatever x holds: GELU of a number does not depend on its neighbors",
)
def distribution_of_the_data(x):
    scaled = (x - x.mean()) / (x.std(correction=0) + 1e-5)
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (scaled + 0.044715 * scaled**3)))


@misconception(
    "gelu",
    believes="tanh is best written out with exponentials",
    truth="exp(2u) is infinite for u above 44, and infinity divided by infinity is NaN; x = 11 is enough for that: use torch.tanh",
)
def tanh_by_exponentials(x):
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    grown = torch.exp(2 * inner)
    return 0.5 * x * (1 + (grown - 1) / (grown + 1))


@misconception(
    "gelu",
    believes="an elementwise function may go over x.view(-1)",
    truth="view needs a tensor that is contiguous in memory; arithmetic on tensors is elementwise without it",
)
def flat_by_view(x):
    flat = x.view(-1)
    return (0.5 * flat * (1 + torch.tanh(math.sqrt(2 / math.pi) * (flat + 0.044715 * flat**3)))).view(x.shape)


@misconception(
    "gelu",
    believes="an activation may be applied in place",
    truth="x belongs to the caller, who may need it again, as autograd does",
)
def overwrites_x(x):
    return x.mul_(0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


@fingerprint("gelu")
def gelu_probes(impl) -> list[Probe]:
    x = torch.tensor([[-3.2, -2.7, -1.0, -0.3], [0.0, 0.5, 1.5, 2.7]])
    return [
        lambda: impl(x),
        lambda: impl(torch.tensor([-30.0, 30.0])),
        lambda: impl(x.T),
    ]


# --- mlp --------------------------------------------------------------------------------------------------------------


@misconception(
    "mlp",
    believes="widening and narrowing again is what the MLP is for",
    truth="two linear layers in a row are one linear layer: without an activation between them the width buys nothing",
)
def no_activation(x, w_fc, b_fc, w_proj, b_proj):
    return F.linear(F.linear(x, w_fc, b_fc), w_proj, b_proj)


@misconception(
    "mlp",
    believes="the activation is ReLU, as in the first transformer",
    truth="GPT-2 uses GELU, in its tanh form",
)
def relu_between(x, w_fc, b_fc, w_proj, b_proj):
    return F.linear(F.relu(F.linear(x, w_fc, b_fc)), w_proj, b_proj)


@misconception(
    "mlp",
    believes="SiLU and GELU are the same activation",
    truth="SiLU's gate is sigmoid(x), flatter than GELU's; models with SwiGLU use it, GPT-2 does not",
)
def silu_between(x, w_fc, b_fc, w_proj, b_proj):
    return F.linear(F.silu(F.linear(x, w_fc, b_fc)), w_proj, b_proj)


@misconception(
    "mlp",
    believes="F.gelu with its defaults is GPT-2's activation",
    truth="the default is the erf form; GPT-2 needs approximate='tanh'",
)
def erf_between(x, w_fc, b_fc, w_proj, b_proj):
    return F.linear(F.gelu(F.linear(x, w_fc, b_fc)), w_proj, b_proj)


@misconception(
    "mlp",
    believes="each linear layer is followed by its activation",
    truth="only the first is: the second writes to the residual stream, which needs negative numbers as much as positive "
    "ones",
)
def activation_after_both(x, w_fc, b_fc, w_proj, b_proj):
    hidden = F.gelu(F.linear(x, w_fc, b_fc), approximate="tanh")
    return F.gelu(F.linear(hidden, w_proj, b_proj), approximate="tanh")


@misconception(
    "mlp",
    believes="the activation comes at the end",
    truth="it stands between the two layers; at the end it leaves one linear layer and a result without negative numbers",
)
def activation_at_the_end(x, w_fc, b_fc, w_proj, b_proj):
    return F.gelu(F.linear(F.linear(x, w_fc, b_fc), w_proj, b_proj), approximate="tanh")


@misconception(
    "mlp",
    believes="the activation is applied to x, before the first layer",
    truth="it is applied to the widened vector, between the layers: that is where the d_ff detectors are",
)
def activation_first(x, w_fc, b_fc, w_proj, b_proj):
    return F.linear(F.linear(F.gelu(x, approximate="tanh"), w_fc, b_fc), w_proj, b_proj)


@misconception(
    "mlp",
    believes="the first layer needs no bias",
    truth="GPT-2's has one: it sets the threshold of each hidden channel",
)
def first_bias_dropped(x, w_fc, b_fc, w_proj, b_proj):
    return F.linear(F.gelu(F.linear(x, w_fc), approximate="tanh"), w_proj, b_proj)


@misconception(
    "mlp",
    believes="the second layer needs no bias, since a layer norm follows",
    truth="the result is added to the residual stream, and its bias with it; GPT-2 has one",
)
def second_bias_dropped(x, w_fc, b_fc, w_proj, b_proj):
    return F.linear(F.gelu(F.linear(x, w_fc, b_fc), approximate="tanh"), w_proj)


@misconception(
    "mlp",
    believes="the bias of the first layer is added behind the activation",
    truth="it is part of the linear layer, hence inside: it moves the point at which a hidden channel opens",
)
def first_bias_after_activation(x, w_fc, b_fc, w_proj, b_proj):
    return F.linear(F.gelu(F.linear(x, w_fc), approximate="tanh") + b_fc, w_proj, b_proj)


@misconception(
    "mlp",
    believes="weights are (in, out), so x is multiplied from the left",
    truth="here they are (out, in), as in F.linear: x @ w.T; GPT-2's own checkpoints store the transpose",
)
def weights_not_transposed(x, w_fc, b_fc, w_proj, b_proj):
    return F.gelu(x @ w_fc + b_fc, approximate="tanh") @ w_proj + b_proj


@misconception(
    "mlp",
    believes="the hidden width is always 4 d_model",
    truth="it is what the weights say: 4 d_model is GPT's choice, and other models have another",
)
def width_of_four(x, w_fc, b_fc, w_proj, b_proj):
    d_ff = 4 * x.shape[-1]
    w_fc, b_fc = w_fc.reshape(d_ff, x.shape[-1]), b_fc.reshape(d_ff)
    return F.linear(F.gelu(F.linear(x, w_fc, b_fc), approximate="tanh"), w_proj, b_proj)


@misconception(
    "mlp",
    believes="the MLP adds its input to its result",
    truth="the block does that; if both do it, the input counts twice",
)
def residual_inside(x, w_fc, b_fc, w_proj, b_proj):
    return x + F.linear(F.gelu(F.linear(x, w_fc, b_fc), approximate="tanh"), w_proj, b_proj)


@misconception(
    "mlp",
    believes="the MLP normalizes its input",
    truth="the block does that, with a weight and a bias that the MLP does not have",
)
def norm_inside(x, w_fc, b_fc, w_proj, b_proj):
    x = F.layer_norm(x, x.shape[-1:])
    return F.linear(F.gelu(F.linear(x, w_fc, b_fc), approximate="tanh"), w_proj, b_proj)


@misconception(
    "mlp",
    believes="positions are joined before the wide layer, as in a network for images",
    truth="each position goes through the same two layers alone; only attention mixes positions",
)
def mean_over_positions(x, w_fc, b_fc, w_proj, b_proj):
    hidden = F.gelu(F.linear(x, w_fc, b_fc), approximate="tanh")
    if x.dim() > 1:
        hidden = hidden.mean(dim=-2, keepdim=True).expand_as(hidden)
    return F.linear(hidden, w_proj, b_proj)


@misconception(
    "mlp",
    believes="x has exactly the axes batch, position and d_model",
    truth="a linear layer acts on the last axis, whatever stands in front: one vector, or a batch of beams, is fine",
)
def three_axes_only(x, w_fc, b_fc, w_proj, b_proj):
    batch, position, d_model = x.shape
    hidden = F.gelu(F.linear(x.reshape(batch * position, d_model), w_fc, b_fc), approximate="tanh")
    return F.linear(hidden, w_proj, b_proj).reshape(batch, position, d_model)


@misconception(
    "mlp",
    believes="all positions can be put in one long row with view",
    truth="view needs its axes to be neighbors in memory, and x may come out of a transpose; F.linear takes x as it is",
)
def positions_by_view(x, w_fc, b_fc, w_proj, b_proj):
    hidden = F.gelu(F.linear(x.view(-1, x.shape[-1]), w_fc, b_fc), approximate="tanh")
    return F.linear(hidden, w_proj, b_proj).view(x.shape)


@fingerprint("mlp")
def mlp_probes(impl) -> list[Probe]:
    generator = torch.Generator().manual_seed(5)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    x, weights = normal(2, 3, 4), (normal(16, 4), normal(16), normal(4, 16), normal(4))
    narrow = normal(6, 4), normal(6), normal(4, 6), normal(4)
    # all hidden channels near -2.7, where the two forms of GELU differ most
    low = (0.1 * narrow[0], torch.full((6,), -2.7), narrow[2].abs(), narrow[3])
    return [
        lambda: impl(x, *weights),
        lambda: impl(x[0, 0], *weights),
        lambda: impl(x, *narrow),
        lambda: impl(x, *low),
        lambda: impl(x.transpose(0, 1), *weights),
    ]


# --- transformer_block ------------------------------------------------------------------------------------------------


@misconception(
    "transformer_block",
    believes="each part is followed by its norm, as in the first transformer and in GPT-1",
    truth="from GPT-2 on, the norm stands in front of each part, and nothing stands between the residual stream of one "
    "block and that of the next",
)
def post_norm(x, params, n_head):
    p = params
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(x, *qkv, *out, n_head)
    x = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    hidden = F.gelu(F.linear(x, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    x = x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])
    return F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])


@misconception(
    "transformer_block",
    believes="the sum starts from what the layer norm returned",
    truth="the residual stream itself is never normalized: keep x, normalize a copy for the part, and add the result to"
    " x",
)
def residual_of_the_normed(x, params, n_head):
    p = params
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    x = x + causal_self_attention(x, *qkv, *out, n_head)
    x = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(x, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="the norm goes on what a part returns, before it is added",
    truth="it goes on what a part reads; what it writes is added as it is",
)
def norm_behind_the_part(x, params, n_head):
    p = params
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    written = causal_self_attention(x, *qkv, *out, n_head)
    x = x + F.layer_norm(written, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    hidden = F.gelu(F.linear(x, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    written = F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])
    return x + F.layer_norm(written, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])


@misconception(
    "transformer_block",
    believes="attention returns the new x",
    truth="it returns what is to be added to x; without the sum, a position forgets what it was",
)
def attention_without_residual(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="the MLP returns the new x",
    truth="it returns what is to be added to x; without the sum, what was there is lost, unless the MLP copies it",
)
def mlp_without_residual(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="one sum around the whole block is enough",
    truth="each part has a sum of its own: the MLP reads x plus what attention wrote, and adds to that",
)
def one_residual_around_both(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    written = causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(written, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="both parts are added to the block's input",
    truth="the second sum starts from the result of the first, or what attention wrote is lost",
)
def residual_from_the_input(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    middle = x + causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(middle, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="attention and the MLP both read the block's input, and their results are summed",
    truth="GPT-J does that; in GPT-2 the MLP reads what attention has already written to",
)
def parts_in_parallel(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    middle = x + causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return middle + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="a position thinks first and then asks the others",
    truth="attention comes first, then the MLP, which works on what attention brought",
)
def mlp_first(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    x = x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    return x + causal_self_attention(normed, *qkv, *out, n_head)


@misconception(
    "transformer_block",
    believes="a block has one layer norm",
    truth="it has two, with weights of their own: ln_1 in front of attention, ln_2 in front of the MLP",
)
def first_norm_used_twice(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="ln_1 belongs to the MLP and ln_2 to attention",
    truth="they are numbered in the order in which they are used: ln_1 in front of attention, ln_2 in front of the MLP",
)
def norms_swapped(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="attention reads x itself",
    truth="it reads the layer norm of x; the residual stream grows with depth, and the scores would grow with its "
    "square",
)
def first_norm_forgotten(x, params, n_head):
    p = params
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(x, *qkv, *out, n_head)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="the MLP reads x itself, since it has been normalized already",
    truth="what was normalized is a copy, for attention; the MLP reads the layer norm of x and what attention added",
)
def second_norm_forgotten(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(normed, *qkv, *out, n_head)
    hidden = F.gelu(F.linear(x, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="the MLP reads the numbers that attention read",
    truth="x has changed since: the second layer norm is taken of the sum",
)
def norm_not_taken_again(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(normed, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="a block hands on normalized numbers",
    truth="it hands on the residual stream; one last norm follows after all blocks, not after each",
)
def norm_at_the_end(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    x = x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])
    return F.layer_norm(x, x.shape[-1:])


@misconception(
    "transformer_block",
    believes="the mean of x and what is added keeps the numbers from growing",
    truth="it is a plain sum: halving in each block would leave nothing of the first ones, and the norms take care of "
    "the size",
)
def halved_sum(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = (x + causal_self_attention(normed, *qkv, *out, n_head)) / 2
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="the mask is the business of the model, not of the block",
    truth="the block of a decoder is causal: no position may read a later one",
)
def without_a_mask(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    q, k, v = (split_heads(part, n_head) for part in F.linear(normed, *qkv).chunk(3, dim=-1))
    x = x + F.linear(merge_heads(scaled_dot_product_attention(q, k, v, None)), *out)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="the number of heads is a matter of speed",
    truth="each head has a softmax of its own: other heads, another function",
)
def one_head(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(normed, *qkv, *out, 1)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="n_head is the width of a head",
    truth="it is their number; their width is d_model // n_head",
)
def heads_as_width(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(normed, *qkv, *out, x.shape[-1] // n_head)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="F.gelu with its defaults is GPT-2's activation",
    truth="the default is the erf form; GPT-2 needs approximate='tanh'",
)
def erf_in_the_block(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]))
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="the activation is ReLU, as in the first transformer",
    truth="GPT-2 uses GELU, in its tanh form",
)
def relu_in_the_block(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.relu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]))
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="eps only avoids a division by zero, so any tiny number does",
    truth="it decides what happens to rows whose variance is no larger than eps: GPT-2 was trained with 1e-5, BERT with"
    " 1e-12",
)
def eps_of_bert(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"], 1e-12)
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x = x + causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"], 1e-12)
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="x += saves a tensor and is the same sum",
    truth="it also changes the x of the caller, who may still need it: the first sum has to make a tensor of its own",
)
def adds_in_place(x, params, n_head):
    p = params
    normed = F.layer_norm(x, x.shape[-1:], p["ln_1.weight"], p["ln_1.bias"])
    qkv, out = (p["attn.c_attn.weight"], p["attn.c_attn.bias"]), (p["attn.c_proj.weight"], p["attn.c_proj.bias"])
    x += causal_self_attention(normed, *qkv, *out, n_head)
    normed = F.layer_norm(x, x.shape[-1:], p["ln_2.weight"], p["ln_2.bias"])
    hidden = F.gelu(F.linear(normed, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]), approximate="tanh")
    return x + F.linear(hidden, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@misconception(
    "transformer_block",
    believes="the parameters come in the order in which they are listed",
    truth="a dict is read by its names: a checkpoint may list them in any order",
)
def params_by_their_order(x, params, n_head):
    weights = list(params.values())
    normed = F.layer_norm(x, x.shape[-1:], *weights[:2])
    x = x + causal_self_attention(normed, *weights[2:6], n_head)
    normed = F.layer_norm(x, x.shape[-1:], *weights[6:8])
    return x + F.linear(F.gelu(F.linear(normed, *weights[8:10]), approximate="tanh"), *weights[10:12])


@fingerprint("transformer_block")
def transformer_block_probes(impl) -> list[Probe]:
    generator = torch.Generator().manual_seed(6)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    x = normal(2, 3, 8)
    params = {
        "ln_1.weight": normal(8), "ln_1.bias": normal(8),
        "attn.c_attn.weight": 0.5 * normal(24, 8), "attn.c_attn.bias": normal(24),
        "attn.c_proj.weight": 0.5 * normal(8, 8), "attn.c_proj.bias": normal(8),
        "ln_2.weight": normal(8), "ln_2.bias": normal(8),
        "mlp.c_fc.weight": 0.5 * normal(32, 8), "mlp.c_fc.bias": normal(32),
        "mlp.c_proj.weight": 0.5 * normal(8, 32), "mlp.c_proj.bias": normal(8),
    }  # fmt: skip
    # all hidden channels near -2.7, where the two forms of GELU differ most
    low = {"mlp.c_fc.weight": 0.1 * params["mlp.c_fc.weight"], "mlp.c_fc.bias": torch.full((32,), -2.7)}
    low |= {"mlp.c_proj.weight": params["mlp.c_proj.weight"].abs()}
    return [
        lambda: impl(x, params, 2),
        lambda: impl(x, params | low, 2),
        lambda: impl(1e-3 * x, params, 2),
        lambda: impl(x, dict(sorted(params.items())), 2),
    ]
