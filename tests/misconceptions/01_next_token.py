"""Wrong on purpose: what people believe about logits, losses and shifts, each mistake alone in its function."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gptdojo import fingerprint, misconception
from gptdojo.faults import LearnerError

Probe = Callable[[], Any]
INFINITY = float("inf")


def once_right(impl: Any, args: tuple, right: Any, probes: list[Probe]) -> list[Probe]:
    """Probes of a finer point, put only to who is right on `args`: a mistake is named with and without the finer point."""

    def is_right() -> bool:
        got = impl(*args)
        pairs = list(zip(got, right, strict=True)) if isinstance(got, tuple | list) else [(got, right)]
        return all(
            isinstance(ours, Tensor) and ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-4)
            for ours, theirs in pairs
        )

    return [lambda probe=probe: probe() if is_right() else None for probe in probes]


def or_refusal(probe: Probe) -> Any:
    """What a probe gives, or that it raised, whatever it raised: any error says that there is nothing to count."""
    try:
        return probe()
    except LearnerError:
        return "refused"


# --- softmax ----------------------------------------------------------------------------------------------------------


@misconception(
    "softmax",
    believes="exponentials are probabilities as they are",
    truth="they are positive and nothing more: divide by their sum along `dim`, and they sum to 1",
)
def not_normalized(logits, dim=-1):
    return (logits - logits.amax(dim=dim, keepdim=True)).exp()


@misconception(
    "softmax",
    believes="a probability is a logit's share of the sum of the logits",
    truth="logits may be negative and their sum may be 0: the exponential makes them positive before the shares are taken",
)
def shares_of_the_logits(logits, dim=-1):
    return logits / logits.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="a sigmoid of every logit gives the probabilities",
    truth="a sigmoid looks at one logit alone, so nothing makes the results sum to 1; softmax lets the logits compete",
)
def sigmoid_of_each(logits, dim=-1):
    return torch.sigmoid(logits)


@misconception(
    "softmax",
    believes="softmax marks the largest logit",
    truth="that is argmax as a one-hot vector; softmax is its soft version, in which every logit gets a share",
)
def one_hot_of_the_largest(logits, dim=-1):
    return (logits == logits.amax(dim=dim, keepdim=True)).to(logits.dtype)


@misconception(
    "softmax",
    believes="the base of the power does not matter",
    truth="2 ** x is e ** (0.69 x), so in base 2 all probabilities come out flatter: the base of softmax is e",
)
def powers_of_two(logits, dim=-1):
    weights = torch.exp2(logits - logits.amax(dim=dim, keepdim=True))
    return weights / weights.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="the logits have to be divided by the root of their number",
    truth="that root belongs to attention scores, which are scaled before their softmax; the softmax itself scales nothing",
)
def divided_by_the_root(logits, dim=-1):
    scaled = logits / logits.shape[dim] ** 0.5
    weights = (scaled - scaled.amax(dim=dim, keepdim=True)).exp()
    return weights / weights.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="the whole tensor is one distribution",
    truth="there is one distribution for each row along `dim`, and each of them sums to 1: the sum needs dim=dim",
)
def normalized_over_everything(logits, dim=-1):
    weights = (logits - logits.max()).exp()
    return weights / weights.sum()


@misconception(
    "softmax",
    believes="sum(dim=dim) broadcasts against the weights by itself",
    truth="broadcasting lines shapes up from the right, so the sums of the rows meet the columns: keepdim=True leaves the axis "
    "in place",
)
def sum_without_keepdim(logits, dim=-1):
    weights = (logits - logits.amax(dim=dim, keepdim=True)).exp()
    return weights / weights.sum(dim=dim)


@misconception(
    "softmax",
    believes="unsqueeze(-1) puts back the axis that the sum took away",
    truth="it puts an axis at the end, which is right for the last axis only: keepdim=True leaves it where it was",
)
def axis_put_back_at_the_end(logits, dim=-1):
    weights = (logits - logits.amax(dim=dim, keepdim=True)).exp()
    return weights / weights.sum(dim=dim).unsqueeze(-1)


@misconception(
    "softmax",
    believes="a softmax always runs along the last axis",
    truth="it runs along `dim`, which may be any axis: the logits of a convolution, for one, have theirs in axis 1",
)
def always_the_last_axis(logits, dim=-1):
    weights = (logits - logits.amax(dim=-1, keepdim=True)).exp()
    return weights / weights.sum(dim=-1, keepdim=True)


@misconception(
    "softmax",
    believes="axis 0 holds the vocabulary",
    truth="it does in one vector; in a batch the first axis counts the rows, and the default of `dim` is -1, the last",
)
def default_is_the_first_axis(logits, dim=0):
    weights = (logits - logits.amax(dim=dim, keepdim=True)).exp()
    return weights / weights.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="once the axis is moved to the end, the work is done there",
    truth="the result has to have the shape of the logits: move the axis back where it came from",
)
def axis_not_moved_back(logits, dim=-1):
    moved = logits.transpose(dim, -1)
    weights = (moved - moved.amax(dim=-1, keepdim=True)).exp()
    return weights / weights.sum(dim=-1, keepdim=True)


@misconception(
    "softmax",
    believes="reshape(-1, n) brings any axis of length n to the end",
    truth="reshape moves no axis: it cuts the memory's order into new rows, and along an inner axis these mix what does not "
    "belong together; transpose or movedim moves an axis",
)
def reshaped_instead_of_moved(logits, dim=-1):
    rows = logits.reshape(-1, logits.shape[dim])
    weights = (rows - rows.amax(dim=-1, keepdim=True)).exp()
    return (weights / weights.sum(dim=-1, keepdim=True)).reshape(logits.shape)


@misconception(
    "softmax",
    believes="any negative `dim` means the last axis",
    truth="it counts from the end: -1 is the last axis, -2 the one before it, and dim % logits.ndim is the same axis counted "
    "from the front",
)
def negative_axes_all_mean_the_last(logits, dim=-1):
    rows = logits.movedim(dim, -1) if dim >= 0 else logits
    weights = (rows - rows.amax(dim=-1, keepdim=True)).exp()
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return weights.movedim(-1, dim) if dim >= 0 else weights


@misconception(
    "softmax",
    believes="logits come contiguous in memory, so view can flatten them",
    truth="a transposed or sliced tensor has no such view; reshape copies where it must, and softmax needs no flattening",
)
def flattened_with_view(logits, dim=-1):
    moved = logits.movedim(dim, -1)
    moved = moved.contiguous() if dim not in (-1, logits.ndim - 1) else moved
    rows = moved.view(-1, moved.shape[-1])
    weights = (rows - rows.amax(dim=-1, keepdim=True)).exp()
    return (weights / weights.sum(dim=-1, keepdim=True)).view(moved.shape).movedim(-1, dim)


@misconception(
    "softmax",
    believes="exp can be taken of the logits as they are",
    truth="in float32 exp is infinite above 88 and 0 below -104, and inf / inf is NaN as 0 / 0 is: take the maximum away "
    "first, which cancels",
)
def maximum_not_taken_away(logits, dim=-1):
    weights = logits.exp()
    return weights / weights.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="a small number in the denominator makes the division safe",
    truth="it hides the 0 / 0 of very negative logits and returns zeros, which do not sum to 1; with the maximum taken away "
    "the sum is at least 1 and needs no help",
)
def epsilon_in_the_denominator(logits, dim=-1):
    weights = logits.exp()
    return weights / (weights.sum(dim=dim, keepdim=True) + 1e-9)


@misconception(
    "softmax",
    believes="clamping the logits keeps exp from overflowing and changes nothing else",
    truth="it makes all logits beyond the clamp equal; taking the maximum away loses nothing",
)
def clamped_logits(logits, dim=-1):
    weights = logits.clamp(-80.0, 80.0).exp()
    return weights / weights.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="any maximum will do, also that of the whole tensor",
    truth="a row that lies far below it underflows to zeros, and 0 / 0 is NaN: each row along `dim` needs its own maximum",
)
def maximum_of_the_whole_tensor(logits, dim=-1):
    weights = (logits - logits.max()).exp()
    return weights / weights.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="taking the mean away keeps exp in range as well",
    truth="the mean may lie far below the largest logit, and exp of their difference overflows: only the maximum bounds all of "
    "them",
)
def mean_taken_away(logits, dim=-1):
    weights = (logits - logits.mean(dim=dim, keepdim=True)).exp()
    return weights / weights.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="what has to be taken away is the largest absolute value",
    truth="if the logits are all near -500, this makes them -1000 and every exponential 0: take the largest value, sign "
    "included",
)
def largest_absolute_value(logits, dim=-1):
    weights = (logits - logits.abs().amax(dim=dim, keepdim=True)).exp()
    return weights / weights.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="dividing by the maximum tames large logits as well as taking it away",
    truth="only differences survive in a softmax: a quotient of logits changes the result, and the sign if the maximum is "
    "negative",
)
def divided_by_the_maximum(logits, dim=-1):
    highest = logits.amax(dim=dim, keepdim=True)
    weights = torch.where(highest.abs() > 80, logits / highest, logits).exp()
    return weights / weights.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="a logit of minus infinity is an error in the caller's program",
    truth="it is how a token is ruled out: its exponential is exactly 0, and the others share the probability",
)
def refuses_minus_infinity(logits, dim=-1):
    if not logits.isfinite().all():
        raise ValueError("expected finite logits")
    weights = (logits - logits.amax(dim=dim, keepdim=True)).exp()
    return weights / weights.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="infinities have to be replaced by 0 before they do harm",
    truth="a logit of 0 is an ordinary one, worth e ** 0 = 1 before normalization, while e ** -inf is exactly 0 and does no harm",
)
def minus_infinity_becomes_zero(logits, dim=-1):
    finite = logits.masked_fill(logits.isinf(), 0.0)
    weights = (finite - finite.amax(dim=dim, keepdim=True)).exp()
    return weights / weights.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="the logits are a scratch tensor that may be overwritten",
    truth="they belong to the caller, who may still need them: `-=` changes them, `logits - ...` does not",
)
def overwrites_the_logits(logits, dim=-1):
    logits -= logits.amax(dim=dim, keepdim=True)
    weights = logits.exp()
    return weights / weights.sum(dim=dim, keepdim=True)


@fingerprint("softmax")
def softmax_probes(impl) -> list[Probe]:
    vector = torch.tensor([1.0, -0.5, 2.0])
    matrix = torch.tensor([[1.0, -0.5, 2.0], [0.5, 0.0, -1.0]])
    square = torch.tensor([[1.0, -0.5, 2.0], [0.5, 0.0, -1.0], [0.0, 3.0, 1.5]])
    box = torch.stack([matrix, matrix.flip(0) * 2, matrix.flip(1) - 1, -matrix])
    along_axis_1 = (box, 1)
    right = torch.softmax(box, 1)
    rows_apart = matrix + torch.tensor([[0.0], [-400.0]])
    ruled_out = torch.tensor([[1.0, -INFINITY, 2.0], [0.5, 0.0, -INFINITY]])
    return [
        lambda: impl(vector),
        lambda: impl(matrix),
        lambda: impl(square),
        lambda: impl(square, 0),
        lambda: impl(box, 0),
        lambda: impl(box, 1),
        lambda: impl(box, -2),
        lambda: impl(box.mT.contiguous().mT, -1),
        *once_right(
            impl,
            along_axis_1,
            right,
            [
                lambda: impl(matrix + 300),
                lambda: impl(matrix - 300),
                lambda: impl(rows_apart),
                lambda: impl(matrix * 1e4),
                lambda: impl(ruled_out),
            ],
        ),
    ]


# --- log_softmax ------------------------------------------------------------------------------------------------------


@misconception(
    "log_softmax",
    believes="the logarithm of the softmax is taken of the softmax",
    truth="a probability below 1e-45 is 0 in float32, and its logarithm -inf: write the logarithm out, and the exponential of "
    "the numerator disappears",
)
def logarithm_of_the_probability(logits, dim=-1):
    weights = (logits - logits.amax(dim=dim, keepdim=True)).exp()
    return (weights / weights.sum(dim=dim, keepdim=True)).log()


@misconception(
    "log_softmax",
    believes="a small number inside the logarithm keeps it finite, and nothing is lost",
    truth="log(p + 1e-9) is never below -20.7, and beyond that the loss has no gradient just where the model is most wrong",
)
def epsilon_inside_the_logarithm(logits, dim=-1):
    weights = (logits - logits.amax(dim=dim, keepdim=True)).exp()
    return (weights / weights.sum(dim=dim, keepdim=True) + 1e-9).log()


@misconception(
    "log_softmax",
    believes="the sum of the exponentials can be taken of the logits as they are",
    truth="exp is infinite above 88 in float32, and all exponentials are 0 below -104: take the maximum away before, and it "
    "cancels",
)
def log_sum_exp_unprotected(logits, dim=-1):
    return logits - logits.exp().sum(dim=dim, keepdim=True).log()


@misconception(
    "log_softmax",
    believes="the maximum is taken away inside the exponential, and that is the end of it",
    truth="log sum exp(x - m) is smaller than log sum exp(x) by m: take m away from the logit as well, or add it back",
)
def maximum_not_given_back(logits, dim=-1):
    highest = logits.amax(dim=dim, keepdim=True)
    return logits - (logits - highest).exp().sum(dim=dim, keepdim=True).log()


@misconception(
    "log_softmax",
    believes="the logarithm of the sum of exponentials is the maximum",
    truth="it is the maximum plus up to log(n): without that part the probabilities sum to more than 1",
)
def maximum_for_log_sum_exp(logits, dim=-1):
    return logits - logits.amax(dim=dim, keepdim=True)


@misconception(
    "log_softmax",
    believes="the logits are centered by the mean of the exponentials",
    truth="it is their sum: with the mean every probability is n times too large",
)
def mean_for_sum(logits, dim=-1):
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return shifted - shifted.exp().mean(dim=dim, keepdim=True).log()


@misconception(
    "log_softmax",
    believes="the logarithm of the sum of exponentials is the sum of the logits",
    truth="the logarithm of a product is the sum of the logarithms; that of a sum cannot be taken apart: sum, then log",
)
def sum_of_the_logits(logits, dim=-1):
    return logits - logits.sum(dim=dim, keepdim=True)


@misconception(
    "log_softmax",
    believes="log-probabilities are measured in bits",
    truth="that is the logarithm to base 2; torch, and this course, use the natural one: 1 nat is 1.443 bits",
)
def in_bits(logits, dim=-1):
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return (shifted - shifted.exp().sum(dim=dim, keepdim=True).log()) / math.log(2)


@misconception(
    "log_softmax",
    believes="log-probabilities are positive, like a loss",
    truth="a probability is at most 1, so its logarithm is at most 0; the minus sign comes with the loss",
)
def negated(logits, dim=-1):
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return shifted.exp().sum(dim=dim, keepdim=True).log() - shifted


@misconception(
    "log_softmax",
    believes="the logarithm of the sigmoid does the same",
    truth="a sigmoid looks at one logit alone; the probabilities of a vocabulary compete and have to sum to 1",
)
def logarithm_of_the_sigmoid(logits, dim=-1):
    return functional.logsigmoid(logits)


@misconception(
    "log_softmax",
    believes="the whole tensor is one distribution",
    truth="there is one distribution for each row along `dim`: the sum needs dim=dim",
)
def log_normalized_over_everything(logits, dim=-1):
    shifted = logits - logits.max()
    return shifted - shifted.exp().sum().log()


@misconception(
    "log_softmax",
    believes="sum(dim=dim) broadcasts against the logits by itself",
    truth="broadcasting lines shapes up from the right, so the sums of the rows meet the columns: keepdim=True leaves the axis "
    "in place",
)
def log_sum_without_keepdim(logits, dim=-1):
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return shifted - shifted.exp().sum(dim=dim).log()


@misconception(
    "log_softmax",
    believes="unsqueeze(-1) puts back the axis that the sum took away",
    truth="it puts an axis at the end, which is right for the last axis only: keepdim=True leaves it where it was",
)
def log_axis_put_back_at_the_end(logits, dim=-1):
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return shifted - shifted.exp().sum(dim=dim).log().unsqueeze(-1)


@misconception(
    "log_softmax",
    believes="it always runs along the last axis",
    truth="it runs along `dim`, which may be any axis, counted from the front or from the end",
)
def log_always_the_last_axis(logits, dim=-1):
    shifted = logits - logits.amax(dim=-1, keepdim=True)
    return shifted - shifted.exp().sum(dim=-1, keepdim=True).log()


@misconception(
    "log_softmax",
    believes="axis 0 holds the vocabulary",
    truth="it does in one vector; in a batch the first axis counts the rows, and the default of `dim` is -1, the last",
)
def log_default_is_the_first_axis(logits, dim=0):
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return shifted - shifted.exp().sum(dim=dim, keepdim=True).log()


@misconception(
    "log_softmax",
    believes="reshape(-1, n) brings any axis of length n to the end",
    truth="reshape moves no axis: along an inner axis its rows mix what does not belong together; transpose or movedim moves "
    "an axis",
)
def log_reshaped_instead_of_moved(logits, dim=-1):
    rows = logits.reshape(-1, logits.shape[dim])
    shifted = rows - rows.amax(dim=-1, keepdim=True)
    return (shifted - shifted.exp().sum(dim=-1, keepdim=True).log()).reshape(logits.shape)


@misconception(
    "log_softmax",
    believes="any maximum will do, also that of the whole tensor",
    truth="all exponentials of a row far below it are 0, and the logarithm of their sum is -inf: each row along `dim` needs its "
    "own maximum",
)
def log_maximum_of_the_whole_tensor(logits, dim=-1):
    shifted = logits - logits.max()
    return shifted - shifted.exp().sum(dim=dim, keepdim=True).log()


@misconception(
    "log_softmax",
    believes="clamping the logits keeps exp from overflowing and changes nothing else",
    truth="it makes all logits beyond the clamp equal; taking the maximum away loses nothing",
)
def log_clamped_logits(logits, dim=-1):
    clamped = logits.clamp(-80.0, 80.0)
    return clamped - clamped.exp().sum(dim=dim, keepdim=True).log()


@misconception(
    "log_softmax",
    believes="nothing is less likely than e ** -100, so a log-probability may be clamped there",
    truth="that is what binary_cross_entropy does to stay finite; here finite logits give finite results without it, and a "
    "clamp has no gradient",
)
def clamped_at_minus_hundred(logits, dim=-1):
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return (shifted - shifted.exp().sum(dim=dim, keepdim=True).log()).clamp(min=-100.0)


@misconception(
    "log_softmax",
    believes="nan_to_num repairs whatever the logarithm of 0 leaves behind",
    truth="it puts the lowest float, -3.4e38, in the place of -inf, where the right answer is an ordinary number such as -200: "
    "that was lost when the probability became 0",
)
def repairs_the_logarithm_of_zero(logits, dim=-1):
    weights = (logits - logits.amax(dim=dim, keepdim=True)).exp()
    return (weights / weights.sum(dim=dim, keepdim=True)).log().nan_to_num()


@misconception(
    "log_softmax",
    believes="a log-probability must be finite, whatever the logits are",
    truth="a logit of -inf rules its token out: its probability is 0 and its logarithm -inf, which a lowest float is not",
)
def minus_infinity_becomes_lowest(logits, dim=-1):
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return (shifted - shifted.exp().sum(dim=dim, keepdim=True).log()).clamp(min=torch.finfo(logits.dtype).min)


@misconception(
    "log_softmax",
    believes="a logit of minus infinity is an error in the caller's program",
    truth="it is how a token is ruled out: its log-probability is -inf, and the others share the probability",
)
def log_refuses_minus_infinity(logits, dim=-1):
    if not logits.isfinite().all():
        raise ValueError("expected finite logits")
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return shifted - shifted.exp().sum(dim=dim, keepdim=True).log()


@misconception(
    "log_softmax",
    believes="the logits are a scratch tensor that may be overwritten",
    truth="they belong to the caller, who may still need them: `-=` changes them, `logits - ...` does not",
)
def log_overwrites_the_logits(logits, dim=-1):
    logits -= logits.amax(dim=dim, keepdim=True)
    return logits - logits.exp().sum(dim=dim, keepdim=True).log()


@fingerprint("log_softmax")
def log_softmax_probes(impl) -> list[Probe]:
    vector = torch.tensor([1.0, -0.5, 2.0])
    matrix = torch.tensor([[1.0, -0.5, 2.0], [0.5, 0.0, -1.0]])
    square = torch.tensor([[1.0, -0.5, 2.0], [0.5, 0.0, -1.0], [0.0, 3.0, 1.5]])
    box = torch.stack([matrix, matrix.flip(0) * 2, matrix.flip(1) - 1, -matrix])
    rows_apart = matrix + torch.tensor([[0.0], [-400.0]])
    ruled_out = torch.tensor([[1.0, -INFINITY, 2.0], [0.5, 0.0, -INFINITY]])
    return [
        lambda: impl(vector),
        lambda: impl(matrix),
        lambda: impl(square),
        lambda: impl(square, 0),
        lambda: impl(box, 0),
        lambda: impl(box, 1),
        lambda: impl(box, -2),
        *once_right(
            impl,
            (box, 1),
            torch.log_softmax(box, 1),
            [
                lambda: impl(matrix + 300),
                lambda: impl(matrix - 300),
                lambda: impl(rows_apart),
                lambda: impl(torch.tensor([30.0, 0.0, 1.0])),
                lambda: impl(torch.tensor([101.5, 0.0, 1.0])),
                lambda: impl(torch.tensor([1e4, 0.0, 1.0])),
                lambda: impl(ruled_out),
            ],
        ),
    ]


# --- shift_targets ----------------------------------------------------------------------------------------------------


@misconception(
    "shift_targets",
    believes="the targets are the tokens",
    truth="then every answer is the token just fed: a model learns to copy its input, and its loss of 0 means nothing",
)
def not_shifted(tokens):
    return tokens, tokens


@misconception(
    "shift_targets",
    believes="both inputs and targets lose their last token",
    truth="then they are equal, and the answer is the token just fed: the targets lose the first token, not the last",
)
def both_lose_the_last(tokens):
    return tokens[:, :-1], tokens[:, :-1]


@misconception(
    "shift_targets",
    believes="inputs and targets are shifted apart, one to the left and one to the right",
    truth="that makes two steps: the model learns which token comes after the next. One shift, of one of them, is all",
)
def shifted_twice(tokens):
    return tokens[:, :-2], tokens[:, 2:]


@misconception(
    "shift_targets",
    believes="the targets come before the inputs",
    truth="then the model predicts the token before, from the one after: what is fed loses its last token, and what is "
    "predicted its first",
)
def exchanged(tokens):
    return tokens[:, 1:], tokens[:, :-1]


@misconception(
    "shift_targets",
    believes="roll shifts the targets and keeps the shape, which is convenient",
    truth="it wraps around: the last position is asked for the first token of the text. Cut the last position off instead",
)
def rolled(tokens):
    return tokens, tokens.roll(-1, dims=1)


@misconception(
    "shift_targets",
    believes="a batch is one long text, row after row",
    truth="its rows are texts of their own: the last token of one is not followed by the first of the next",
)
def runs_on_into_the_next_row(tokens):
    return tokens, tokens.flatten().roll(-1).reshape(tokens.shape)


@misconception(
    "shift_targets",
    believes="the last target is filled up with -100, so that inputs and targets are as long as the text",
    truth="libraries that shift inside the model do this; here both are cut to the positions that have an answer",
)
def filled_up_with_ignored(tokens):
    return tokens, torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], -100)], dim=1)


@misconception(
    "shift_targets",
    believes="only the targets are cut",
    truth="the last token has nothing to predict, so it is not fed: inputs and targets are equally long",
)
def inputs_not_cut(tokens):
    return tokens, tokens[:, 1:]


@misconception(
    "shift_targets",
    believes="the first axis is the text",
    truth="it counts the texts of the batch: positions are the second axis, so this pairs each text with the next one",
)
def shifted_along_the_batch(tokens):
    return tokens[:-1], tokens[1:]


@misconception(
    "shift_targets",
    believes="a text has one answer, its last token",
    truth="every position but the last has one: a text of T tokens makes T - 1 predictions, all in one pass",
)
def only_the_last_is_predicted(tokens):
    return tokens[:, :-1], tokens[:, -1]


@misconception(
    "shift_targets",
    believes="a text is cut into pairs of a token and its answer",
    truth="a token is both, the answer to the one before and the input for the one after: pairs overlap",
)
def pairs_that_do_not_overlap(tokens):
    n_pair = tokens.shape[1] // 2
    return tokens[:, : 2 * n_pair : 2], tokens[:, 1 : 2 * n_pair : 2]


@misconception(
    "shift_targets",
    believes="to predict backwards from the end is the same",
    truth="the order of the tokens is what the model learns: both slices keep it",
)
def reversed_texts(tokens):
    backwards = tokens.flip(1)
    return backwards[:, :-1], backwards[:, 1:]


@misconception(
    "shift_targets",
    believes="the tokens may be moved one step in place",
    truth="they belong to the caller, who may still need them: two slices of them, which nobody writes into, are all it takes",
)
def moved_in_place(tokens):
    inputs = tokens[:, :-1].clone()
    tokens[:, :-1] = tokens[:, 1:].clone()
    return inputs, tokens[:, :-1]


@misconception(
    "shift_targets",
    believes="an axis of length 1 carries nothing and can be squeezed away",
    truth="a batch of one text is still a batch, and whatever comes next counts on its axis",
)
def squeezed(tokens):
    return tokens[:, :-1].squeeze(0), tokens[:, 1:].squeeze(0)


@misconception(
    "shift_targets",
    believes="two tokens are too short a text",
    truth="they make one prediction: the second from the first",
)
def refuses_two_tokens(tokens):
    if tokens.shape[1] < 3:
        raise ValueError(f"expected at least three positions, got tokens of shape {tuple(tokens.shape)}")
    return tokens[:, :-1], tokens[:, 1:]


@fingerprint("shift_targets")
def shift_targets_probes(impl) -> list[Probe]:
    tokens = torch.tensor([[5, 6, 7, 9], [1, 2, 4, 3], [8, 8, 0, 1]])
    right = (tokens[:, :-1], tokens[:, 1:])
    finer: list[Probe] = [
        lambda: impl(tokens[:1]),
        lambda: impl(tokens[:, :2]),
    ]
    return [lambda: impl(tokens), *once_right(impl, (tokens,), right, finer)]


# --- cross_entropy ----------------------------------------------------------------------------------------------------


def needs_a_target(targets: Tensor, ignore_index: int) -> Tensor:
    """Raise where the solution does; return which targets count."""
    counted = targets != ignore_index
    if not counted.any():
        raise ValueError("expected at least one target that counts")
    return counted


@misconception(
    "cross_entropy",
    believes="the loss is the mean log-probability",
    truth="that grows as the model gets better, and training makes the loss smaller: the sign is minus",
)
def sign_forgotten(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    log_probs = logits[counted].log_softmax(dim=-1)
    return log_probs.gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="the loss is the sum over the targets",
    truth="it is their mean, so that it does not depend on the size of the batch",
)
def sum_for_mean(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    log_probs = logits[counted].log_softmax(dim=-1)
    return -log_probs.gather(-1, targets[counted][:, None]).sum()


@misconception(
    "cross_entropy",
    believes="the probabilities go into the loss, so a softmax comes first",
    truth="the loss takes its own softmax: one more flattens the probabilities until the loss can hardly fall",
)
def softmax_taken_twice(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    log_probs = logits[counted].softmax(dim=-1).log_softmax(dim=-1)
    return -log_probs.gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="logits can be used as log-probabilities",
    truth="they are not normalized: a model could lower this loss forever by raising all of them",
)
def logits_not_normalized(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    return -logits[counted].gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="the loss is 1 minus the probability of the target",
    truth="that is hardly worse for a probability of e ** -10 than for e ** -5, so it teaches nothing where the model is most "
    "wrong; the loss is minus the logarithm",
)
def one_minus_the_probability(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    probs = logits[counted].softmax(dim=-1)
    return 1 - probs.gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="the logarithm can be taken of the mean probability",
    truth="the probabilities of tokens multiply, so their logarithms are averaged: log first, then the mean",
)
def logarithm_of_the_mean(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    probs = logits[counted].softmax(dim=-1)
    return -probs.gather(-1, targets[counted][:, None]).mean().log()


@misconception(
    "cross_entropy",
    believes="the loss is the squared distance to the one-hot target",
    truth="that is the Brier score: it is bounded, and flat where the model is wrong and sure of it",
)
def squared_distance(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    probs = logits[counted].softmax(dim=-1)
    return (probs - functional.one_hot(targets[counted], logits.shape[-1])).square().sum(dim=-1).mean()


@misconception(
    "cross_entropy",
    believes="each token of the vocabulary is a yes-or-no question",
    truth="that is binary cross-entropy, for labels that may hold together; of the next tokens exactly one comes",
)
def yes_or_no_questions(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    signs = 2 * functional.one_hot(targets[counted], logits.shape[-1]) - 1
    return -functional.logsigmoid(logits[counted] * signs).sum(dim=-1).mean()


@misconception(
    "cross_entropy",
    believes="the mean runs over all entries of the one-hot product",
    truth="only one entry of each row is not 0: the mean over rows and vocabulary is smaller by the size of the vocabulary",
)
def mean_over_the_vocabulary(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    log_probs = logits[counted].log_softmax(dim=-1)
    return -(log_probs * functional.one_hot(targets[counted], logits.shape[-1])).mean()


@misconception(
    "cross_entropy",
    believes="a loss is measured in bits",
    truth="that is the logarithm to base 2; torch, papers and this course use the natural one: 1 nat is 1.443 bits",
)
def loss_in_bits(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    log_probs = logits[counted].log_softmax(dim=-1) / math.log(2)
    return -log_probs.gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="the loss is the perplexity",
    truth="perplexity is the exponential of the loss; training follows the loss itself",
)
def perplexity_for_loss(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    log_probs = logits[counted].log_softmax(dim=-1)
    return (-log_probs.gather(-1, targets[counted][:, None]).mean()).exp()


@misconception(
    "cross_entropy",
    believes="the loss is one number for each target",
    truth="here it is their mean, a tensor without axes: that is what backward() starts from",
)
def one_loss_for_each_target(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    log_probs = logits[counted].log_softmax(dim=-1)
    return -log_probs.gather(-1, targets[counted][:, None]).squeeze(-1)


@misconception(
    "cross_entropy",
    believes="the loss shifts the targets itself",
    truth="here the logits and targets of one place belong together: who has shifted already would be shifted twice, and learn "
    "the token after the next",
)
def shifts_once_more(logits, targets, ignore_index=-100):
    needs_a_target(targets, ignore_index)
    if targets.shape[-1] > 1:
        logits, targets = logits[..., :-1, :], targets[..., 1:]
    counted = targets != ignore_index
    log_probs = logits[counted].log_softmax(dim=-1)
    return -log_probs.gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="axis 1 holds the vocabulary",
    truth="it does for a flat list of targets, and in torch's own cross_entropy; a GPT's logits are (batch, position, "
    "vocabulary), so it is the last axis",
)
def softmax_along_axis_one(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    log_probs = logits.log_softmax(dim=min(1, logits.ndim - 1))[counted]
    return -log_probs.gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="logits come contiguous in memory, so view can flatten them",
    truth="slices and transposed tensors are not contiguous, and logits[:, :-1] is a slice: use reshape, or index with what "
    "counts",
)
def flattens_with_view(logits, targets, ignore_index=-100):
    needs_a_target(targets, ignore_index)
    rows, wanted = logits.view(-1, logits.shape[-1]), targets.reshape(-1)
    counted = wanted != ignore_index
    return -rows[counted].log_softmax(dim=-1).gather(-1, wanted[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="the mean of each text's mean is the mean",
    truth="texts in which few targets count would weigh as much as full ones: add up all targets that count, and divide once",
)
def mean_of_means(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    log_probs = logits.log_softmax(dim=-1).gather(-1, targets.masked_fill(~counted, 0)[..., None]).squeeze(-1)
    log_probs = log_probs.masked_fill(~counted, 0.0)
    numbers = counted.sum(dim=-1)
    return -(log_probs.sum(dim=-1)[numbers > 0] / numbers[numbers > 0]).mean()


@misconception(
    "cross_entropy",
    believes="an ignored target adds 0 to the sum, and that is all",
    truth="it must be missing from the count as well, or padding makes the loss look better than it is",
)
def divides_by_all_targets(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    log_probs = logits.log_softmax(dim=-1).gather(-1, targets.masked_fill(~counted, 0)[..., None]).squeeze(-1)
    return -log_probs.masked_fill(~counted, 0.0).mean()


@misconception(
    "cross_entropy",
    believes="an ignored target can stand for token 0",
    truth="then the model is taught that token 0 follows every pad: what is ignored is in neither the sum nor the count",
)
def ignored_become_token_zero(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    return -logits.log_softmax(dim=-1).gather(-1, targets.masked_fill(~counted, 0)[..., None]).mean()


@misconception(
    "cross_entropy",
    believes="what comes after the first ignored target is padding",
    truth="targets may be ignored anywhere, at the front (a prompt) and in the middle (another speaker) too: look at each",
)
def stops_at_the_first_ignored(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    counted = counted.long().cumprod(dim=-1).bool()
    log_probs = logits[counted].log_softmax(dim=-1)
    return -log_probs.gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="a text with an ignored target is left out",
    truth="only that target is: the others of the text still count",
)
def drops_the_whole_text(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    counted = counted.all(dim=-1, keepdim=True).expand(targets.shape) if targets.ndim > 1 else counted
    log_probs = logits[counted].log_softmax(dim=-1)
    return -log_probs.gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="what is ignored is always marked by -100",
    truth="-100 is the default: who pads with a token of the vocabulary says so by `ignore_index`",
)
def ignores_minus_hundred_only(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, -100)
    log_probs = logits[counted].log_softmax(dim=-1)
    return -log_probs.gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="what is ignored is marked by a negative number",
    truth="`ignore_index` may be the number of a token, such as that of the pad: compare with it, not with 0",
)
def ignores_negative_numbers(logits, targets, ignore_index=-100):
    counted = targets >= 0
    if not counted.any():
        raise ValueError("expected at least one target that counts")
    return -logits[counted].log_softmax(dim=-1).gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="to ignore a token is to forbid it: its logit is taken out",
    truth="it is the target that is left out, not the token: the probabilities of the others stay what they are",
)
def takes_the_token_out(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    rows = logits[counted]
    if 0 <= ignore_index < logits.shape[-1]:
        rows = rows.masked_fill(torch.arange(logits.shape[-1]) == ignore_index, float("-inf"))
    return -rows.log_softmax(dim=-1).gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="the logarithm is taken of the softmax",
    truth="a probability below 1e-45 is 0 in float32, and the loss infinite: take log_softmax, which never makes the "
    "probability",
)
def logarithm_of_the_softmax(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    probs = logits[counted].softmax(dim=-1)
    return -probs.gather(-1, targets[counted][:, None]).log().mean()


@misconception(
    "cross_entropy",
    believes="a small number inside the logarithm keeps the loss finite, and nothing is lost",
    truth="the loss then stops at 20.7 with no gradient, just where the model is most wrong",
)
def epsilon_keeps_it_finite(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    probs = logits[counted].softmax(dim=-1)
    return -(probs.gather(-1, targets[counted][:, None]) + 1e-9).log().mean()


@misconception(
    "cross_entropy",
    believes="a loss is a number",
    truth="item() makes it one, and cuts it off from the model: training starts at this tensor and goes back through it",
)
def python_number(logits, targets, ignore_index=-100):
    counted = needs_a_target(targets, ignore_index)
    log_probs = logits[counted].log_softmax(dim=-1)
    return -log_probs.gather(-1, targets[counted][:, None]).mean().item()


@misconception(
    "cross_entropy",
    believes="the mean over no target at all is what torch says it is, NaN",
    truth="one step later every weight of the model is NaN as well: it has to be an error, where it can be understood",
)
def nan_if_nothing_counts(logits, targets, ignore_index=-100):
    counted = targets != ignore_index
    log_probs = logits[counted].log_softmax(dim=-1)
    return -log_probs.gather(-1, targets[counted][:, None]).mean()


@misconception(
    "cross_entropy",
    believes="if nothing counts, the loss is 0",
    truth="0 is the loss of a perfect model: a batch without targets would go unnoticed, and pull down every average",
)
def zero_if_nothing_counts(logits, targets, ignore_index=-100):
    counted = targets != ignore_index
    log_probs = logits[counted].log_softmax(dim=-1).gather(-1, targets[counted][:, None])
    return -log_probs.sum() / counted.sum().clamp(min=1)


@fingerprint("cross_entropy")
def cross_entropy_probes(impl) -> list[Probe]:
    rows = torch.tensor([[1.0, -0.5, 2.0], [0.5, 0.0, -1.0], [0.0, 1.5, 1.0], [2.0, 0.3, -0.4]])
    box = torch.stack([rows, rows.flip(0) - 1, rows * rows.flip(1)])
    flat, full = torch.tensor([2, 0, 1, 1]), torch.tensor([[2, 0, 1, 1], [0, 0, 2, 1], [1, 2, 2, 0]])
    gaps = torch.tensor([[2, 0, -100, -100], [-100, 0, 2, 1], [1, 2, -100, 0]])
    one_whole = torch.tensor([[2, 0, 1, 0], [-100, 0, 2, 1], [1, 2, -100, 0]])
    right = functional.cross_entropy(box.mT, one_whole)
    return [
        lambda: impl(rows, flat),
        lambda: impl(box, full),
        lambda: impl(box, gaps),
        lambda: impl(box, one_whole),
        *once_right(
            impl,
            (box, one_whole),
            right,
            [
                lambda: impl(box.transpose(0, 2).contiguous().transpose(0, 2), full),
                lambda: impl(box, full, 0),
                lambda: impl(rows, torch.tensor([2, 0, -1, 1]), -1),
                lambda: impl(box * torch.tensor([[1.0]] * 3 + [[-30.0]]), full),
                lambda: impl(box * 1000, full),
                lambda: or_refusal(lambda: impl(rows, torch.full((4,), -100))),
            ],
        ),
    ]


# --- sequence_log_prob ------------------------------------------------------------------------------------------------


def picked(log_probs: Tensor, tokens: Tensor) -> Tensor:
    """The log-probability of each token, (batch, position)."""
    return log_probs.gather(-1, tokens[..., None]).squeeze(-1)


@misconception(
    "sequence_log_prob",
    believes="the logits at a position are about the token at that position",
    truth="they were computed from that token, and are about the next one: leave out the last logits and the first token",
)
def logits_of_the_token_itself(logits, tokens):
    return picked(logits.log_softmax(dim=-1), tokens).sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="the first token is left out, and its logits with it",
    truth="the first logits are about the second token, so they are needed; the ones that are about nothing here are the last",
)
def first_of_both_left_out(logits, tokens):
    return picked(logits[:, 1:].log_softmax(dim=-1), tokens[:, 1:]).sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="both logits and tokens lose their last position",
    truth="then the logits at a position are asked about the token they were computed from: the tokens lose their first",
)
def last_of_both_left_out(logits, tokens):
    return picked(logits[:, :-1].log_softmax(dim=-1), tokens[:, :-1]).sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="logits and tokens are shifted apart, one to the left and one to the right",
    truth="that makes two steps: the logits at a position are about the very next token",
)
def two_steps_apart(logits, tokens):
    return picked(logits[:, :-2].log_softmax(dim=-1), tokens[:, 2:]).sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="the logits are about the token before",
    truth="a language model goes forward: the logits at a position are about the token after it",
)
def logits_of_the_token_before(logits, tokens):
    return picked(logits[:, 1:].log_softmax(dim=-1), tokens[:, :-1]).sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="roll lines the tokens up with the logits, and every position counts",
    truth="it wraps around: the last logits would be asked about the first token, which they are not about",
)
def tokens_rolled(logits, tokens):
    return picked(logits.log_softmax(dim=-1), tokens.roll(-1, dims=1)).sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="the first token counts too, with a probability of 1 / V",
    truth="it is given: P(w_2, ..., w_T | w_1) says nothing of how likely w_1 is",
)
def first_token_is_uniform(logits, tokens):
    return picked(logits[:, :-1].log_softmax(dim=-1), tokens[:, 1:]).sum(dim=-1) - math.log(logits.shape[-1])


@misconception(
    "sequence_log_prob",
    believes="the probability of a text is that of its last token",
    truth="it is the product over all of its tokens, so their logarithms are added",
)
def last_token_only(logits, tokens):
    return picked(logits[:, -2:-1].log_softmax(dim=-1), tokens[:, -1:]).squeeze(-1)


@misconception(
    "sequence_log_prob",
    believes="the logarithms of the tokens are averaged",
    truth="that is minus the loss, a number a token; the probability of the text is a product, so its logarithm is the sum",
)
def mean_of_the_tokens(logits, tokens):
    return picked(logits[:, :-1].log_softmax(dim=-1), tokens[:, 1:]).sum(dim=-1) / (tokens.shape[1] - 1)


@misconception(
    "sequence_log_prob",
    believes="the result is a loss, so it is positive",
    truth="it is the logarithm of a probability, which is at most 0",
)
def positive_like_a_loss(logits, tokens):
    return -picked(logits[:, :-1].log_softmax(dim=-1), tokens[:, 1:]).sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="the result is the probability",
    truth="it is the logarithm: the probability of any longer text is 0 in float32",
)
def probability_itself(logits, tokens):
    return picked(logits[:, :-1].log_softmax(dim=-1), tokens[:, 1:]).sum(dim=-1).exp()


@misconception(
    "sequence_log_prob",
    believes="the batch is one text",
    truth="each of its rows is a text with a probability of its own: the sum runs over positions only",
)
def one_number_for_the_batch(logits, tokens):
    return picked(logits[:, :-1].log_softmax(dim=-1), tokens[:, 1:]).sum()


@misconception(
    "sequence_log_prob",
    believes="the result is one number for each token",
    truth="the tokens of a text are added up: one number for each text",
)
def one_number_for_each_token(logits, tokens):
    return picked(logits[:, :-1].log_softmax(dim=-1), tokens[:, 1:])


@misconception(
    "sequence_log_prob",
    believes="logits can be added up as they are",
    truth="they are not log-probabilities until they are normalized over the vocabulary",
)
def logits_added_up(logits, tokens):
    return picked(logits[:, :-1], tokens[:, 1:]).sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="axis 1 holds the vocabulary",
    truth="the logits are (batch, position, vocabulary): the softmax runs along the last axis",
)
def softmax_over_positions(logits, tokens):
    return picked(logits[:, :-1].log_softmax(dim=1), tokens[:, 1:]).sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="the probability of a text is that of the likeliest tokens",
    truth="it is that of the tokens that are there, whether the model would have chosen them or not",
)
def likeliest_tokens(logits, tokens):
    return logits[:, :-1].log_softmax(dim=-1).amax(dim=-1).sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="the whole text is predicted from its first token",
    truth="each token is predicted from all before it, so each position has logits of its own",
)
def all_from_the_first_position(logits, tokens):
    log_probs = logits[:, :1].log_softmax(dim=-1).expand(-1, tokens.shape[1] - 1, -1)
    return picked(log_probs, tokens[:, 1:]).sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="the probabilities can be multiplied first, and the logarithm taken of the product",
    truth="60 tokens of probability 0.01 make 1e-120, which is 0 in float32, and its logarithm -inf: add logarithms",
)
def logarithm_of_the_product(logits, tokens):
    return picked(logits[:, :-1].softmax(dim=-1), tokens[:, 1:]).prod(dim=-1).log()


@misconception(
    "sequence_log_prob",
    believes="the logarithm is taken of the softmax",
    truth="a probability below 1e-45 is 0 in float32, and its logarithm -inf: take log_softmax, which never makes the "
    "probability",
)
def sum_of_logarithms_of_the_softmax(logits, tokens):
    return picked(logits[:, :-1].softmax(dim=-1).log(), tokens[:, 1:]).sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="a small number inside the logarithm keeps the sum finite, and nothing is lost",
    truth="it makes every impossible token equally likely, with e ** -20.7: texts that the model finds absurd come out much too "
    "likely",
)
def epsilon_for_the_impossible(logits, tokens):
    return (picked(logits[:, :-1].softmax(dim=-1), tokens[:, 1:]) + 1e-9).log().sum(dim=-1)


@misconception(
    "sequence_log_prob",
    believes="logits come contiguous in memory, so view can flatten them",
    truth="a transposed or sliced tensor has no such view: use reshape, or gather along the last axis, which needs no flattening",
)
def logits_flattened_with_view(logits, tokens):
    log_probs = logits.view(-1, logits.shape[-1]).log_softmax(dim=-1).view(logits.shape)
    return picked(log_probs[:, :-1], tokens[:, 1:]).sum(dim=-1)


@fingerprint("sequence_log_prob")
def sequence_log_prob_probes(impl) -> list[Probe]:
    rows = torch.tensor([[1.0, -0.5, 2.0], [0.5, 0.0, -1.0], [0.0, 1.5, 1.0], [2.0, 0.3, -0.4]])
    box = torch.stack([rows, rows.flip(0) - 1])
    tokens = torch.tensor([[2, 0, 1, 1], [0, 0, 2, 1]])
    right = functional.log_softmax(box[:, :-1], -1).gather(-1, tokens[:, 1:, None]).sum(dim=(1, 2))
    return [
        lambda: impl(box, tokens),
        *once_right(
            impl,
            (box, tokens),
            right,
            [
                lambda: impl(box * 10, tokens),
                lambda: impl(box * 1000, tokens),
                lambda: impl((box * 20).repeat(1, 10, 1), tokens.repeat(1, 10)),
                lambda: impl(box.transpose(0, 1).contiguous().transpose(0, 1), tokens),
            ],
        ),
    ]


# --- perplexity -------------------------------------------------------------------------------------------------------


def needs_a_token(n_tokens: Tensor) -> None:
    if n_tokens.sum() < 1:
        raise ValueError(f"expected at least one token, got {n_tokens.tolist()}")


@misconception(
    "perplexity",
    believes="the sign cancels",
    truth="log-probabilities are negative: without the minus the result is below 1, and gets smaller as the model gets worse",
)
def minus_forgotten(log_probs, n_tokens):
    needs_a_token(n_tokens)
    return (log_probs.sum() / n_tokens.sum()).exp()


@misconception(
    "perplexity",
    believes="perplexity is the loss",
    truth="it is the exponential of the loss: how many equally likely tokens there would be to choose from",
)
def loss_for_perplexity(log_probs, n_tokens):
    needs_a_token(n_tokens)
    return -log_probs.sum() / n_tokens.sum()


@misconception(
    "perplexity",
    believes="perplexity is a power of two",
    truth="2 goes with logarithms to base 2; these are natural ones, so the base is e",
)
def power_of_two(log_probs, n_tokens):
    needs_a_token(n_tokens)
    return torch.exp2(-log_probs.sum() / n_tokens.sum())


@misconception(
    "perplexity",
    believes="the perplexities of the texts are averaged",
    truth="then a text of one token weighs as much as one of a thousand, and a single hard one is all one sees: add up the "
    "logarithms of all tokens first",
)
def mean_of_perplexities(log_probs, n_tokens):
    needs_a_token(n_tokens)
    some = n_tokens > 0
    return (-log_probs[some] / n_tokens[some]).exp().mean()


@misconception(
    "perplexity",
    believes="the losses of the texts are averaged",
    truth="then the tokens of short texts weigh more than those of long ones: divide the sum of all by the number of all",
)
def mean_of_the_losses(log_probs, n_tokens):
    needs_a_token(n_tokens)
    some = n_tokens > 0
    return (-log_probs[some] / n_tokens[some]).mean().exp()


@misconception(
    "perplexity",
    believes="the perplexities of the texts are averaged, weighted by their tokens",
    truth="the weights are right, but what is averaged is the logarithm: the exponential comes last, and once",
)
def weighted_mean_of_perplexities(log_probs, n_tokens):
    needs_a_token(n_tokens)
    each = (-log_probs / n_tokens.clamp(min=1)).exp()
    return (each * n_tokens).sum() / n_tokens.sum()


@misconception(
    "perplexity",
    believes="the median text stands for all",
    truth="perplexity is an average over all tokens, those of the hardest text included",
)
def perplexity_of_the_median(log_probs, n_tokens):
    needs_a_token(n_tokens)
    some = n_tokens > 0
    return (-log_probs[some] / n_tokens[some]).median().exp()


@misconception(
    "perplexity",
    believes="the sum is divided by the number of texts",
    truth="it is a number a token: texts of twice the length are not twice as perplexing",
)
def divided_by_the_texts(log_probs, n_tokens):
    needs_a_token(n_tokens)
    return (-log_probs.sum() / len(log_probs)).exp()


@misconception(
    "perplexity",
    believes="perplexity is one over the probability of the text",
    truth="it is the geometric mean over the tokens: the T-th root of that, so that long texts can be compared with short ones",
)
def not_divided_at_all(log_probs, n_tokens):
    needs_a_token(n_tokens)
    return (-log_probs.sum()).exp()


@misconception(
    "perplexity",
    believes="the result is one perplexity for each text",
    truth="it is one number for all of them, in which each token has the same weight",
)
def one_for_each_text(log_probs, n_tokens):
    needs_a_token(n_tokens)
    return (-log_probs / n_tokens).exp()


@misconception(
    "perplexity",
    believes="the first token of each text was not predicted and has to be taken off",
    truth="n_tokens counts predicted tokens, so this has been done already: taken off twice, it makes every model look worse",
)
def one_token_taken_off(log_probs, n_tokens):
    needs_a_token(n_tokens)
    return (-log_probs.sum() / (n_tokens - 1).clamp(min=0).sum()).exp()


@misconception(
    "perplexity",
    believes="each text has one token more, its end",
    truth="n_tokens counts the tokens whose log-probabilities were added up, no more and no less",
)
def one_token_added(log_probs, n_tokens):
    needs_a_token(n_tokens)
    return (-log_probs.sum() / (n_tokens + (n_tokens > 0)).sum()).exp()


@misconception(
    "perplexity",
    believes="a division of counts is a division of integers",
    truth="// throws the fraction of the loss away, which is most of what one compares: use /",
)
def loss_rounded_down(log_probs, n_tokens):
    needs_a_token(n_tokens)
    return (-log_probs.sum() // n_tokens.sum()).exp()


@misconception(
    "perplexity",
    believes="the root of the product of the probabilities is the same",
    truth="on paper it is; in float32 the probability of a text of 100 tokens is 0, and 0 to any negative power is infinite: "
    "stay with logarithms until the end",
)
def root_of_the_probability(log_probs, n_tokens):
    needs_a_token(n_tokens)
    return log_probs.exp().prod() ** (-1.0 / n_tokens.sum())


@misconception(
    "perplexity",
    believes="a text of no token is an error",
    truth="it adds nothing to either sum, and the others can be averaged without it: only if no text has a token is there "
    "nothing to average",
)
def refuses_empty_texts(log_probs, n_tokens):
    if (n_tokens < 1).any():
        raise ValueError("expected at least one token in each text")
    return (-log_probs.sum() / n_tokens.sum()).exp()


@misconception(
    "perplexity",
    believes="a text of no token counts as one of one token",
    truth="clamping the counts of empty texts at 1 makes the divisor too large, and the model look better than it is",
)
def empty_texts_count_one(log_probs, n_tokens):
    needs_a_token(n_tokens)
    return (-log_probs.sum() / n_tokens.clamp(min=1).sum()).exp()


@misconception(
    "perplexity",
    believes="the mean of nothing is what torch says it is, NaN",
    truth="it would be averaged, plotted and compared (and NaN < best is False): that there is nothing to count has to be an "
    "error",
)
def nan_of_nothing(log_probs, n_tokens):
    return (-log_probs.sum() / n_tokens.sum()).exp()


@misconception(
    "perplexity",
    believes="a model that predicted nothing has a perplexity of 1",
    truth="1 is the perplexity of a perfect model: an empty test set would win every comparison, so it has to be an error",
)
def perfect_on_nothing(log_probs, n_tokens):
    return (-log_probs.sum() / n_tokens.sum().clamp(min=1)).exp()


@misconception(
    "perplexity",
    believes="if there is nothing to count, the model is infinitely perplexed",
    truth="infinity is the perplexity of a model that ruled out what came: an empty test set is another matter, an error",
)
def infinite_on_nothing(log_probs, n_tokens):
    if n_tokens.sum() < 1:
        return log_probs.new_tensor(float("inf"))
    return (-log_probs.sum() / n_tokens.sum()).exp()


@fingerprint("perplexity")
def perplexity_probes(impl) -> list[Probe]:
    log_probs, n_tokens = torch.tensor([-2.25, -9.5, -3.0]), torch.tensor([2, 4, 1])
    right = torch.exp(torch.tensor(14.75 / 7))
    return [
        lambda: impl(log_probs[:1], n_tokens[:1]),
        lambda: impl(log_probs, n_tokens),
        *once_right(
            impl,
            (log_probs, n_tokens),
            right,
            [
                lambda: impl(log_probs * 100, n_tokens * 100),
                lambda: impl(torch.tensor([-2.5, 0.0]), torch.tensor([2, 0])),
                lambda: or_refusal(lambda: impl(torch.zeros(2), torch.zeros(2, dtype=torch.long))),
            ],
        ),
    ]
