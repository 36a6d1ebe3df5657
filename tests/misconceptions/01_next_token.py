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


def gradient(impl: Any, args: tuple, cotangent: Tensor) -> Any:
    """The gradient of the first argument, or what stands in its way."""
    try:
        _, (found,) = impl.vjp(args, cotangent, wrt=(0,))
    except LearnerError as error:
        return "overwritten" if "modified by an inplace operation" in error.said else "none"
    return found


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
    believes="axes count from the front, so `dim` is compared with 0, 1, ...",
    truth="a negative `dim` counts from the end: dim % logits.ndim is the same axis counted from the front",
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
    truth="exp is infinite above 88 in float32 and above 11 in float16, and inf / inf is NaN: take the maximum away first, "
    "which cancels",
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
    believes="the differences to the maximum may be clamped, since what lies far below it does not matter",
    truth="a clamp at -10 gives every hopeless token e ** -10 = 0.00005 of the largest weight, however hopeless it is, and a "
    "vocabulary has thousands of them",
)
def clamped_differences(logits, dim=-1):
    weights = (logits - logits.amax(dim=dim, keepdim=True)).clamp(min=-5.0).exp()
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
    believes="probabilities in float32 are welcome, since they are more exact",
    truth="the next step combines them with tensors in the dtype of the logits: compute in float32 if you like, and return the "
    "dtype that came in",
)
def returns_float32(logits, dim=-1):
    wide = logits.float()
    weights = (wide - wide.amax(dim=dim, keepdim=True)).exp()
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


@misconception(
    "softmax",
    believes="the weights may be divided in place, being one's own",
    truth="autograd keeps the output of exp for its backward pass, and refuses to run once that was changed: `/` makes a new "
    "tensor",
)
def divides_in_place(logits, dim=-1):
    weights = (logits - logits.amax(dim=dim, keepdim=True)).exp()
    weights /= weights.sum(dim=dim, keepdim=True)
    return weights


@misconception(
    "softmax",
    believes="only the values count, so the computation may leave autograd",
    truth="a model learns through its softmax: without a gradient nothing before it is trained, and nothing says so as long as "
    "the values are right",
)
def leaves_autograd(logits, dim=-1):
    weights = (logits.detach() - logits.detach().amax(dim=dim, keepdim=True)).exp()
    return weights / weights.sum(dim=dim, keepdim=True)


@misconception(
    "softmax",
    believes="the denominator is a constant, so it can be detached like the maximum",
    truth="the maximum cancels and its gradient with it; the denominator depends on every logit, and through it each one "
    "pushes the others down",
)
def denominator_detached(logits, dim=-1):
    weights = (logits - logits.amax(dim=dim, keepdim=True)).exp()
    return weights / weights.sum(dim=dim, keepdim=True).detach()


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
                lambda: impl(matrix * 4),
                lambda: impl(matrix * 1e4),
                lambda: impl(ruled_out),
                lambda: getattr(impl(matrix.half()), "dtype", None),
                lambda: gradient(impl, (matrix,), torch.eye(2, 3)),
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
    believes="a log-probability is the sum of the logits' logarithms",
    truth="the logarithm of a sum is not the sum of the logarithms: log(sum of exp(x)) cannot be taken apart into sum of x",
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
    truth="it puts the lowest float in the place of -inf, where the right answer may have been -104: the value was lost "
    "before",
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
    believes="log-probabilities in float32 are welcome, since they are more exact",
    truth="compute in float32 if you like, and return the dtype that came in",
)
def log_returns_float32(logits, dim=-1):
    wide = logits.float()
    shifted = wide - wide.amax(dim=dim, keepdim=True)
    return shifted - shifted.exp().sum(dim=dim, keepdim=True).log()


@misconception(
    "log_softmax",
    believes="the logits are a scratch tensor that may be overwritten",
    truth="they belong to the caller, who may still need them: `-=` changes them, `logits - ...` does not",
)
def log_overwrites_the_logits(logits, dim=-1):
    logits -= logits.amax(dim=dim, keepdim=True)
    return logits - logits.exp().sum(dim=dim, keepdim=True).log()


@misconception(
    "log_softmax",
    believes="only the values count, so the computation may leave autograd",
    truth="a model learns through this function: without a gradient nothing before it is trained",
)
def log_leaves_autograd(logits, dim=-1):
    shifted = logits.detach() - logits.detach().amax(dim=dim, keepdim=True)
    return shifted - shifted.exp().sum(dim=dim, keepdim=True).log()


@misconception(
    "log_softmax",
    believes="the normalizer is a constant, so it can be detached like the maximum",
    truth="the maximum cancels and its gradient with it; through the normalizer a token's gain is the others' loss, and "
    "without it all logits just grow",
)
def log_normalizer_detached(logits, dim=-1):
    shifted = logits - logits.amax(dim=dim, keepdim=True)
    return shifted - shifted.exp().sum(dim=dim, keepdim=True).log().detach()


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
                lambda: getattr(impl(matrix.half()), "dtype", None),
                lambda: gradient(impl, (matrix,), torch.eye(2, 3)),
            ],
        ),
    ]
