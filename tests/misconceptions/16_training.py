"""Wrong on purpose: what people believe about gradients, clipping, AdamW and the schedule."""

import math

import torch

from gptdojo import fingerprint, misconception

# --- param_groups -----------------------------------------------------------------------------------------------------


@misconception(
    "param_groups",
    believes="weight decay is for every parameter",
    truth=(
        "it is for matrices: a bias or a gain has no product to keep small, and pulling a layer norm's gain "
        "toward 0 works against the layer"
    ),
)
def everything_decays(params):
    return list(params), []


@misconception(
    "param_groups",
    believes="AdamW's own decay is enough, so that no parameter needs to be named",
    truth="the decay acts on those parameters that it is given, and matrices should be among them",
)
def nothing_decays(params):
    return [], list(params)


@misconception(
    "param_groups",
    believes="the names without decay come first",
    truth="the names with decay are first, then the others",
)
def groups_swapped(params):
    decayed = [name for name, parameter in params.items() if parameter.ndim >= 2]
    spared = [name for name in params if name not in decayed]
    return spared, decayed


@misconception(
    "param_groups",
    believes="only biases go without decay",
    truth=(
        "the gains of layer norms go without it too: they are vectors that scale channels, and their neutral "
        "value is 1, not 0"
    ),
)
def only_biases_are_spared(params):
    decayed = [name for name, parameter in params.items() if not name.endswith("bias")]
    spared = [name for name in params if name not in decayed]
    return decayed, spared


@misconception(
    "param_groups",
    believes="only the parameters of layer norms go without decay",
    truth="biases of linear layers do too: everything with fewer than two dimensions",
)
def only_norms_are_spared(params):
    decayed = [name for name, parameter in params.items() if "ln_" not in name]
    spared = [name for name in params if name not in decayed]
    return decayed, spared


@misconception(
    "param_groups",
    believes="embeddings are no matrices that anything is multiplied with, so they do not decay",
    truth=(
        "here they do, as in GPT's own recipe: all that is neither bias nor gain, and the token embedding is "
        "the output head as well"
    ),
)
def embeddings_are_spared(params):
    decayed = [
        name for name, parameter in params.items() if parameter.ndim >= 2 and not name.startswith(("wte", "wpe"))
    ]
    spared = [name for name in params if name not in decayed]
    return decayed, spared


@misconception(
    "param_groups",
    believes="biases and gains can be told by GPT-2's names for them",
    truth="names differ from model to model; what they have in common is fewer than two dimensions",
)
def by_the_names_of_gpt(params):
    decayed = [name for name, parameter in params.items() if not name.endswith("bias") and "ln_" not in name]
    spared = [name for name in params if name not in decayed]
    return decayed, spared


@misconception(
    "param_groups",
    believes="what is called weight decays, unless a layer norm has it, and what is called bias does not",
    truth=(
        "models call their parameters W, scale, table or kernel too: the shape decides, and no parameter may "
        "be left out"
    ),
)
def by_weight_in_the_name(params):
    decayed = [name for name in params if name.endswith("weight") and "ln_" not in name]
    return decayed, [name for name in params if name.endswith("bias") or "ln_" in name]


@misconception(
    "param_groups",
    believes="a weight matrix has exactly two dimensions",
    truth="stacked matrices have three, as the experts of one layer; two dimensions or more decay",
)
def exactly_two_dimensions(params):
    decayed = [name for name, parameter in params.items() if parameter.ndim == 2]
    spared = [name for name in params if name not in decayed]
    return decayed, spared


@misconception(
    "param_groups",
    believes="what has not exactly one dimension is a matrix",
    truth=("a single number, such as the scale of the logits, has no dimension at all, and is spared like a vector"),
)
def anything_but_vectors(params):
    decayed = [name for name, parameter in params.items() if parameter.ndim != 1]
    spared = [name for name in params if name not in decayed]
    return decayed, spared


@misconception(
    "param_groups",
    believes="a matrix with one row or one column is a vector",
    truth="its shape still has two dimensions, and its numbers are weights of a product: it decays",
)
def squeezed_first(params):
    decayed = [name for name, parameter in params.items() if parameter.squeeze().ndim >= 2]
    spared = [name for name in params if name not in decayed]
    return decayed, spared


@misconception(
    "param_groups",
    believes="the groups hold the parameters themselves",
    truth="they hold the names, by which gradients and states are found as well",
)
def tensors_for_names(params):
    decayed = [parameter for parameter in params.values() if parameter.ndim >= 2]
    return decayed, [parameter for parameter in params.values() if parameter.ndim < 2]


@fingerprint("param_groups")
def param_groups_probes(impl):
    matrix, vector = torch.ones(2, 2), torch.ones(2)
    gpt = {"wte.weight": matrix, "h.0.ln_1.weight": vector, "h.0.ln_1.bias": vector, "h.0.mlp.c_fc.weight": matrix}
    gpt |= {"h.0.mlp.c_fc.bias": vector}
    other = {"table": matrix, "norm.scale": vector, "mixer.weight": vector}
    shapes = {"experts": torch.ones(2, 2, 2), "gate": torch.ones(1, 2), "logit_scale": torch.tensor(1.0)}
    return [lambda: impl(gpt), lambda: impl(other), lambda: impl(shapes)]


# --- adamw_step -------------------------------------------------------------------------------------------------------


@misconception(
    "adamw_step",
    believes="the parameter is moved along the gradient",
    truth="the gradient points to where the loss grows: the step is subtracted",
)
def uphill(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) + lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the step is the learning rate times the gradient",
    truth=(
        "Adam divides a running mean of the gradient by the root of a running mean of its square, so that the "
        "first step is lr in size whatever the gradient's is"
    ),
)
def plain_descent(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    parameter = parameter * (1 - lr * weight_decay) - lr * gradient
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the running means can be used as they are",
    truth=(
        "they start at 0 and are too small at first: the mean by the factor 1 - beta1^step, the square by 1 - "
        "beta2^step"
    ),
)
def no_bias_correction(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean
    scale = (square).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="only the mean of the gradient has to be corrected for its start at 0",
    truth=("the mean of the square starts at 0 as well; without its correction the first steps are too long"),
)
def only_the_mean_corrected(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="only the mean of the square has to be corrected for its start at 0",
    truth=("the mean of the gradient starts at 0 as well; without its correction the first steps are too short"),
)
def only_the_square_corrected(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the correction divides by 1 - beta",
    truth=(
        "that is right in step 1 only: after t steps the share of the start is beta^t, so the correction "
        "divides by 1 - beta^t"
    ),
)
def corrected_as_in_the_first_step(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0])
    scale = (square / (1 - betas[1])).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the exponent of beta is the number of steps before this one, plus 1",
    truth="step is already counted from 1: the exponent is step itself",
)
def steps_from_zero(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** (step + 1))
    scale = (square / (1 - betas[1] ** (step + 1))).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the gradient is divided by the mean of its square",
    truth=("by the root of that mean: else a gradient ten times as large would make the step ten times as small"),
)
def no_root(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)) + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the square is kept as its root, and the roots are averaged",
    truth="the squares are averaged; the root is taken of their mean, at the end",
)
def root_of_each_part(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient.abs()
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)) + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the second mean is that of the square of the running mean",
    truth="it is that of the square of each gradient: noise that averages out must still count in it",
)
def square_of_the_mean(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * mean**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the square is averaged over all numbers of the tensor",
    truth=("every number has a running mean of its own; that each gets a step of its own size is the point of Adam"),
)
def one_scale_for_all(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * (gradient**2).mean()
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the first beta belongs to the square",
    truth="the first belongs to the mean of the gradient, the second to the mean of its square",
)
def betas_swapped(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[1] * state[0] + (1 - betas[1]) * gradient
    square = betas[0] * state[1] + (1 - betas[0]) * gradient**2
    unbiased = mean / (1 - betas[1] ** step)
    scale = (square / (1 - betas[0] ** step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the corrected means are the state for the next step",
    truth=(
        "the state goes on uncorrected: else what was divided by 1 - beta^step once would be divided again in "
        "every step"
    ),
)
def corrected_means_are_kept(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (unbiased, square / (1 - betas[1] ** step))


@misconception(
    "adamw_step",
    believes="beta is the share of the gradient in the mean",
    truth="1 - beta is: the mean of 0.9 remembers about ten gradients",
)
def weights_of_the_mean_swapped(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = (1 - betas[0]) * state[0] + betas[0] * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - (1 - betas[0]) ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="beta times the old mean plus the gradient, as in momentum",
    truth=("the gradient enters with 1 - beta, so that this is a mean and no sum, and its correction is 1 - beta^step"),
)
def sums_for_means(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the square never shrinks: the largest so far counts",
    truth="that is AMSGrad; in AdamW the mean of the square goes down again when gradients get smaller",
)
def largest_square_so_far(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    fading = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    square = torch.maximum(state[1], fading)
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the state is updated in place",
    truth="here the arguments stay as they are, and the state is returned as new tensors",
)
def state_is_written_into(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = state[0].mul_(betas[0]).add_((1 - betas[0]) * gradient)
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="weight decay adds weight_decay times the parameter to the gradient",
    truth=(
        "that is L2 regularization, and Adam would divide it by the root of the squares like any gradient; "
        "AdamW takes lr * weight_decay * parameter from the parameter itself, past both means"
    ),
)
def decay_in_the_gradient(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    gradient = gradient + weight_decay * parameter
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the decay is added to the corrected mean, behind the running means",
    truth="there it is still divided by the root of the squares: it belongs outside the fraction",
)
def decay_in_the_step(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter - lr * (unbiased + weight_decay * parameter) / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the decay shrinks the parameter by weight_decay in each step",
    truth="it is multiplied by the learning rate, so that it follows the schedule like the step itself",
)
def decay_without_lr(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 - weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the decay is the business of whoever makes the groups",
    truth="the groups only say which weight_decay a parameter gets; this step applies it",
)
def no_decay(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the updated parameter is what decays",
    truth="the decay is taken from the parameter as it came in; both terms are added up",
)
def decay_of_what_was_updated(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = (parameter - lr * unbiased / scale) * (1 - lr * weight_decay)
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="weight decay adds to the parameter",
    truth="it pulls the parameter toward 0: by the factor 1 - lr * weight_decay",
)
def decay_grows(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 + lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="eps is added to the square before the root is taken",
    truth="it is added to the root: inside, 1e-8 would act like 1e-4",
)
def eps_inside_the_root(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step) + eps).sqrt()
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="eps is added to the root of the uncorrected square",
    truth=(
        "it is added after the correction; added before, it is divided by the root of 1 - beta2^step as well, "
        "and larger in the first steps"
    ),
)
def eps_before_the_correction(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square.sqrt() + eps) / (1 - betas[1] ** step) ** 0.5
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="eps only guards against a division by 0",
    truth="it is added to every denominator: gradients as small as eps make smaller steps",
)
def no_eps(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt().clamp(min=1e-30)
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the root is replaced by eps where it is smaller",
    truth="eps is added to the root, not compared with it",
)
def eps_as_a_floor(parameter, gradient, state, step, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt().clamp(min=eps)
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@misconception(
    "adamw_step",
    believes="the defaults are those of torch.optim.AdamW: betas 0.9 and 0.999, weight decay 0.01",
    truth=(
        "here they are those of GPT-3: betas 0.9 and 0.95, weight decay 0.1; with 0.999 the squares are "
        "remembered for a thousand steps, long after they were true"
    ),
)
def defaults_of_torch(parameter, gradient, state, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    mean = betas[0] * state[0] + (1 - betas[0]) * gradient
    square = betas[1] * state[1] + (1 - betas[1]) * gradient**2
    unbiased = mean / (1 - betas[0] ** step)
    scale = (square / (1 - betas[1] ** step)).sqrt() + eps
    parameter = parameter * (1 - lr * weight_decay) - lr * unbiased / scale
    return parameter, (mean, square)


@fingerprint("adamw_step")
def adamw_step_probes(impl):
    x, gradient = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 3.0, -1.0])
    zeros, running = torch.zeros(3), (torch.tensor([0.3, -1.0, 0.2]), torch.tensor([4.0, 2.0, 0.5]))
    tiny = 1e-4 * gradient
    return [
        lambda: impl(x, gradient, (zeros, zeros), 1, 0.5, (0.9, 0.95), 1e-8, 0.0),
        lambda: impl(x, gradient, running, 3, 0.5, (0.9, 0.95), 1e-8, 0.0),
        lambda: impl(x, gradient, running, 3, 0.5, (0.9, 0.95), 1e-8, 0.5),
        lambda: impl(x, tiny, (zeros, zeros), 2, 0.5, (0.9, 0.95), 1e-4, 0.0),
        lambda: impl(x, gradient, running, 3, 0.5),
    ]


# --- warmup_cosine_lr -------------------------------------------------------------------------------------------------


@misconception(
    "warmup_cosine_lr",
    believes="the first step has a learning rate of 0",
    truth="a step with rate 0 changes nothing and is wasted: step 0 has max_lr / n_warmup",
)
def starts_at_zero(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * step / n_warmup
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="the warm-up reaches max_lr after n_warmup + 1 steps",
    truth="n_warmup steps, counted from 0: the last of them, n_warmup - 1, has max_lr",
)
def warmup_one_step_longer(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / (n_warmup + 1)
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="the warm-up begins at min_lr",
    truth=("it is a line through 0, whose first step has max_lr / n_warmup; min_lr is where the cosine ends"),
)
def warmup_from_the_minimum(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return min_lr + (max_lr - min_lr) * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="the learning rate is never below min_lr",
    truth="in the warm-up it is: min_lr is where the cosine ends, no bound for all steps",
)
def never_below_the_minimum(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max(min_lr, max_lr * (step + 1) / n_warmup)
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="the cosine begins at step 0",
    truth="n_warmup steps of warm-up come before it",
)
def no_warmup(step, n_warmup, n_step, max_lr, min_lr):
    progress = min(1.0, step / n_step)
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="the cosine is a function of the step out of all steps",
    truth="it begins where the warm-up ends: progress is 0 at n_warmup and 1 at n_step",
)
def cosine_from_step_zero(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, step / n_step)
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="step n_warmup is already the first step down",
    truth="it is the top of the cosine: its progress is 0",
)
def cosine_one_step_ahead(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, (step + 1 - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="the cosine takes n_step steps from where the warm-up ends",
    truth=("n_step counts all steps, those of the warm-up included: the cosine has n_step - n_warmup of them"),
)
def cosine_lasts_all_steps(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / n_step)
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="the last step, n_step - 1, has min_lr",
    truth="n_step has: progress divides by n_step - n_warmup, not by one less",
)
def ends_a_step_early(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / (n_step - 1 - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="the learning rate falls along a line",
    truth="it falls along half a cosine: slowly at first and at last, fast between",
)
def a_line_down(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 - progress)


@misconception(
    "warmup_cosine_lr",
    believes="the cosine of an angle that goes from 0 to pi / 2",
    truth="of an angle that goes from 0 to pi, lifted: (1 + cos) / 2 is flat at both ends",
)
def a_quarter_of_a_cosine(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * math.cos(math.pi / 2 * progress)


@misconception(
    "warmup_cosine_lr",
    believes="the cosine goes through a whole period",
    truth="through half of one: the angle ends at pi, where the cosine is lowest",
)
def down_and_up_again(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(2 * math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="the cosine ends at 0, and min_lr is only for the steps after it",
    truth="it falls from max_lr to min_lr and has min_lr at its end",
)
def down_to_zero(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    if step >= n_step:
        return min_lr
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return max_lr * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="the cosine falls toward 0 and is cut off at min_lr",
    truth="it is scaled so that min_lr is its lowest point, which it reaches at n_step only",
)
def cut_off_at_the_minimum(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return max(min_lr, max_lr * (1 + math.cos(math.pi * progress)) / 2)


@misconception(
    "warmup_cosine_lr",
    believes="min_lr is added to a cosine of height max_lr",
    truth="then it would begin at max_lr + min_lr: the height is max_lr - min_lr",
)
def minimum_on_top(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + max_lr * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="1 + cos goes from 1 to 0",
    truth="it goes from 2 to 0, and is halved",
)
def not_halved(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress))


@misconception(
    "warmup_cosine_lr",
    believes="with step n_step the training is over, and the learning rate 0",
    truth="step n_step and all later ones have min_lr, so that training can go on",
)
def nothing_left_at_the_end(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    if step >= n_step:
        return 0.0
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="outside of the cosine the learning rate is max_lr",
    truth="after it the learning rate stays where the cosine ended, at min_lr",
)
def maximum_at_the_end(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    if step >= n_step:
        return max_lr
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="the formula of the cosine holds for all steps",
    truth="past n_step the cosine would rise again: progress stops at 1",
)
def rises_again(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = (step - n_warmup) / (n_step - n_warmup)
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="after step n_step there is nothing left to learn with",
    truth="training may go on past the plan, with min_lr",
)
def nothing_past_the_end(step, n_warmup, n_step, max_lr, min_lr):
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    if step > n_step:
        return 0.0
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="there is always a warm-up to divide by",
    truth="n_warmup = 0 is a plan without one: the division must not happen then",
)
def always_divides_by_the_warmup(step, n_warmup, n_step, max_lr, min_lr):
    warm = max_lr * (step + 1) / n_warmup
    if step < n_warmup:
        return warm
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@misconception(
    "warmup_cosine_lr",
    believes="the warm-up has at least one step",
    truth="with n_warmup = 0 there is none, and the cosine begins at step 0",
)
def at_least_one_step_of_warmup(step, n_warmup, n_step, max_lr, min_lr):
    n_warmup = max(1, n_warmup)
    if step < n_warmup:
        return max_lr * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / (n_step - n_warmup))
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


@fingerprint("warmup_cosine_lr")
def warmup_cosine_lr_probes(impl):
    steps = (0, 1, 3, 4, 6, 7, 8, 9, 13, 20)
    probes = [lambda step=step: impl(step, 4, 8, 2.0, 0.75) for step in steps]
    return [*probes, lambda: impl(0, 0, 4, 2.0, 0.5), lambda: impl(2, 0, 4, 2.0, 0.5)]


# --- clip_grad_norm ---------------------------------------------------------------------------------------------------


@misconception(
    "clip_grad_norm",
    believes="the norm is only to be watched",
    truth="gradients that are too long are scaled so that their norm is max_norm",
)
def not_clipped(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    return dict(gradients), norm


@misconception(
    "clip_grad_norm",
    believes="every number is cut off at max_norm",
    truth="that changes the direction; all numbers are multiplied by one factor",
)
def by_value(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    return {name: gradient.clamp(-max_norm, max_norm) for name, gradient in gradients.items()}, norm


@misconception(
    "clip_grad_norm",
    believes="the norm that is returned is the one after clipping",
    truth=("that would be max_norm whenever something was clipped; the norm before it is what tells how training goes"),
)
def norm_after_clipping(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    scale = (max_norm / norm).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm * scale


@misconception(
    "clip_grad_norm",
    believes="the factor is what is returned beside the gradients",
    truth="the norm before clipping is",
)
def only_the_norm(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    scale = (max_norm / norm).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, scale


@misconception(
    "clip_grad_norm",
    believes="the norm is the sum of all squares",
    truth="the norm is the root of that sum",
)
def squared_norm(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm() ** 2
    scale = (max_norm / norm).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


@misconception(
    "clip_grad_norm",
    believes="the norm is the sum of absolute values",
    truth="it is the root of the sum of squares, the length of the vector",
)
def length_of_the_sum(gradients, max_norm):
    norm = torch.stack([gradient.norm(p=1) for gradient in gradients.values()]).norm(p=1)
    scale = (max_norm / norm).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


@misconception(
    "clip_grad_norm",
    believes="the norm is the largest absolute value",
    truth="it is the root of the sum of squares, to which all numbers add",
)
def largest_number(gradients, max_norm):
    norm = torch.stack([gradient.abs().max() for gradient in gradients.values()]).max()
    scale = (max_norm / norm).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


@misconception(
    "clip_grad_norm",
    believes="the norm is the root of the mean of the squares",
    truth="of their sum: the norm of twice as many numbers is larger",
)
def root_mean_square(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    norm = norm / sum(gradient.numel() for gradient in gradients.values()) ** 0.5
    scale = (max_norm / norm).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


@misconception(
    "clip_grad_norm",
    believes="a number added to the norm keeps the division safe",
    truth=(
        "it also changes the result: the norm after clipping has to be max_norm, so at most something like "
        "1e-6 may be added"
    ),
)
def one_is_added_to_the_norm(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    scale = (max_norm / (norm + 1)).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


@misconception(
    "clip_grad_norm",
    believes="every gradient is clipped to max_norm by its own norm",
    truth=(
        "then the direction of the step changes, since parameters with long gradients are held back and "
        "others are not: one norm of all, one factor for all"
    ),
)
def each_for_itself(gradients, max_norm):
    norms = {name: gradient.norm() for name, gradient in gradients.items()}
    clipped = {name: gradient * (max_norm / norms[name]).clamp(max=1.0) for name, gradient in gradients.items()}
    return clipped, torch.stack(list(norms.values())).norm()


@misconception(
    "clip_grad_norm",
    believes="the norms of the parameters are added up",
    truth="their squares are added up, and the root is taken of the sum",
)
def norms_added_up(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).sum()
    scale = (max_norm / norm).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


@misconception(
    "clip_grad_norm",
    believes="the parameter with the longest gradient decides",
    truth="all numbers of all gradients count, as one vector",
)
def longest_of_the_norms(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).max()
    scale = (max_norm / norm).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


@misconception(
    "clip_grad_norm",
    believes="the norm of all is the mean of the norms",
    truth="the more parameters, the longer the vector of all: squares are added up, and the root is taken",
)
def average_of_the_norms(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).mean()
    scale = (max_norm / norm).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


@misconception(
    "clip_grad_norm",
    believes="the norm of a matrix is its largest singular value",
    truth="for clipping, a matrix is a long row of numbers: the root of the sum of their squares",
)
def spectral_norms(gradients, max_norm):
    norm = torch.stack([torch.linalg.norm(gradient, 2) for gradient in gradients.values()]).norm()
    scale = (max_norm / norm).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


@misconception(
    "clip_grad_norm",
    believes="only the gradients of matrices are clipped",
    truth="biases and gains belong to the same vector; there is one factor for all",
)
def matrices_only(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    scale = (max_norm / norm).clamp(max=1.0)
    return {
        name: (gradient * scale if gradient.ndim > 1 or len(gradients) == 1 else gradient)
        for name, gradient in gradients.items()
    }, norm


@misconception(
    "clip_grad_norm",
    believes="gradients always get the norm max_norm",
    truth="only when they are longer: short ones stay as they are, or training would never come to rest",
)
def always_scaled(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    scale = torch.where(norm > 0, max_norm / norm, 1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


@misconception(
    "clip_grad_norm",
    believes="the factor is max_norm / norm or its inverse, whichever is below 1",
    truth="when the norm is below max_norm, the factor is 1",
)
def short_ones_scaled_down(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    scale = torch.ones_like(norm) if norm == 0 else torch.minimum(max_norm / norm, norm / max_norm)
    return {name: gradient * scale for name, gradient in gradients.items()}, norm


@misconception(
    "clip_grad_norm",
    believes="the norm is never 0",
    truth="when nothing has a gradient it is, and 0 times max_norm / 0 is NaN",
)
def zero_by_zero(gradients, max_norm):
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    scale = max_norm / norm
    return {
        name: gradient * scale if not norm < max_norm or norm == 0 else gradient for name, gradient in gradients.items()
    }, norm


@fingerprint("clip_grad_norm")
def clip_grad_norm_probes(impl):
    one = {"weight": torch.tensor([3.0, 4.0])}
    several = {"weight": torch.tensor([[1.0, 2.0], [2.0, -4.0]]), "bias": torch.tensor([8.0, 1.0])}
    zero = {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}
    return [lambda: impl(one, 1.0), lambda: impl(several, 2.0), lambda: impl(several, 20.0), lambda: impl(zero, 1.0)]


# --- accumulate_gradients ---------------------------------------------------------------------------------------------


@misconception(
    "accumulate_gradients",
    believes="the gradients of the micro-batches are added up",
    truth="each is that of a mean already: the sum of four means is four times too large",
)
def added_up(micro_gradients, n_tokens):
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients in micro_gradients:
        for name, gradient in gradients.items():
            total[name] += gradient
    return total


@misconception(
    "accumulate_gradients",
    believes="the last gradient is that of the whole batch",
    truth="every micro-batch has its share in it, in proportion to its tokens",
)
def last_one_counts(micro_gradients, n_tokens):
    return dict(micro_gradients[-1])


@misconception(
    "accumulate_gradients",
    believes="micro-batches of one batch have equal gradients",
    truth="they are of different tokens, and each has its share",
)
def first_one_counts(micro_gradients, n_tokens):
    return dict(micro_gradients[0])


@misconception(
    "accumulate_gradients",
    believes="the gradients are weighed by their numbers of tokens",
    truth="that makes sums of them; the gradient of the mean is their sum divided by all tokens",
)
def not_divided(micro_gradients, n_tokens):
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients, n in zip(micro_gradients, n_tokens, strict=True):
        for name, gradient in gradients.items():
            total[name] += gradient * n
    return total


@misconception(
    "accumulate_gradients",
    believes="the sum over tokens is divided by the tokens and by the number of micro-batches",
    truth="dividing by all tokens is enough: the shares then add up to 1",
)
def divided_by_the_number_of_micro_batches_too(micro_gradients, n_tokens):
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients, n in zip(micro_gradients, n_tokens, strict=True):
        for name, gradient in gradients.items():
            total[name] += gradient * n
    return {name: gradient / sum(n_tokens) / len(n_tokens) for name, gradient in total.items()}


@misconception(
    "accumulate_gradients",
    believes="each gradient is that of a sum over its tokens",
    truth="it is that of a mean: multiply by the number of its tokens first",
)
def gradients_of_sums(micro_gradients, n_tokens):
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients in micro_gradients:
        for name, gradient in gradients.items():
            total[name] += gradient
    return {name: gradient / sum(n_tokens) for name, gradient in total.items()}


@misconception(
    "accumulate_gradients",
    believes="each new gradient is averaged with what there was before",
    truth="then the last of k counts a half, and the first 1 / 2^(k-1)",
)
def halved_each_time(micro_gradients, n_tokens):
    mean = dict(micro_gradients[0])
    for gradients in micro_gradients[1:]:
        mean = {name: (mean[name] + gradient) / 2 for name, gradient in gradients.items()}
    return mean


@misconception(
    "accumulate_gradients",
    believes="the directions are averaged, each gradient with length 1",
    truth="the length of a gradient says how much the loss changes: gradients are averaged as they are",
)
def norms_averaged(micro_gradients, n_tokens):
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients, n in zip(micro_gradients, n_tokens, strict=True):
        for name, gradient in gradients.items():
            total[name] += gradient / gradient.norm().clamp(min=1e-30) * n
    return {name: gradient / sum(n_tokens) for name, gradient in total.items()}


@misconception(
    "accumulate_gradients",
    believes="the first micro-batch's gradients can hold the sum",
    truth="here the arguments stay as they are: begin with new tensors of zeros",
)
def added_into_the_first(micro_gradients, n_tokens):
    total = micro_gradients[0]
    for gradient in total.values():
        gradient *= n_tokens[0]
    for gradients, n in zip(micro_gradients[1:], n_tokens[1:], strict=True):
        for name, gradient in gradients.items():
            total[name] += gradient * n
    return {name: gradient / sum(n_tokens) for name, gradient in total.items()}


@misconception(
    "accumulate_gradients",
    believes="the gradient of the batch is the mean over the micro-batches",
    truth=(
        "only if all have equally many tokens; else each token of a short one would weigh more than one of a long one"
    ),
)
def mean_of_means(micro_gradients, n_tokens):
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients in micro_gradients:
        for name, gradient in gradients.items():
            total[name] += gradient
    return {name: gradient / len(n_tokens) for name, gradient in total.items()}


@misconception(
    "accumulate_gradients",
    believes="a micro-batch with fewer tokens counts more, to make up for it",
    truth="every token counts the same, so a micro-batch counts in proportion to its tokens",
)
def shorter_ones_count_more(micro_gradients, n_tokens):
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients, n in zip(micro_gradients, n_tokens, strict=True):
        for name, gradient in gradients.items():
            total[name] += gradient / max(n, 1)
    return {name: gradient / sum(1 / max(n, 1) for n in n_tokens) for name, gradient in total.items()}


@misconception(
    "accumulate_gradients",
    believes="sums are divided by the largest number of tokens and the number of micro-batches",
    truth="that treats padding as tokens: only those that count are counted",
)
def divided_by_the_longest(micro_gradients, n_tokens):
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients, n in zip(micro_gradients, n_tokens, strict=True):
        for name, gradient in gradients.items():
            total[name] += gradient * n
    return {name: gradient / (max(n_tokens) * len(n_tokens)) for name, gradient in total.items()}


@misconception(
    "accumulate_gradients",
    believes="every micro-batch has as many tokens as the first",
    truth="each comes with its own number of tokens",
)
def divided_by_the_first_count(micro_gradients, n_tokens):
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients, n in zip(micro_gradients, n_tokens, strict=True):
        for name, gradient in gradients.items():
            total[name] += gradient * n
    return {name: gradient / (n_tokens[0] * len(n_tokens)) for name, gradient in total.items()}


@misconception(
    "accumulate_gradients",
    believes="a micro-batch counts by the root of its tokens, like its noise",
    truth="the noise falls with the root; the share in the mean is the number of tokens itself",
)
def roots_of_counts(micro_gradients, n_tokens):
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients, n in zip(micro_gradients, n_tokens, strict=True):
        for name, gradient in gradients.items():
            total[name] += gradient * n**0.5
    return {name: gradient / sum(n**0.5 for n in n_tokens) for name, gradient in total.items()}


@misconception(
    "accumulate_gradients",
    believes="a micro-batch has at least one token that counts",
    truth="one that is all padding has none, and its share is 0",
)
def at_least_one_token(micro_gradients, n_tokens):
    n_tokens = [max(1, n) for n in n_tokens]
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients, n in zip(micro_gradients, n_tokens, strict=True):
        for name, gradient in gradients.items():
            total[name] += gradient * n
    return {name: gradient / sum(n_tokens) for name, gradient in total.items()}


@misconception(
    "accumulate_gradients",
    believes="each gradient can be turned into a sum and the sum back into a mean",
    truth="with no token there is nothing to divide by, and 0 / 0 is an error or NaN",
)
def divided_by_every_count(micro_gradients, n_tokens):
    total = {name: torch.zeros_like(gradient) for name, gradient in micro_gradients[0].items()}
    for gradients, n in zip(micro_gradients, n_tokens, strict=True):
        for name, gradient in gradients.items():
            total[name] += gradient / (1 / n)
    return {name: gradient / sum(n_tokens) for name, gradient in total.items()}


@fingerprint("accumulate_gradients")
def accumulate_gradients_probes(impl):
    a, b, c = ({"w": torch.tensor([[x, 2.0]]), "b": torch.tensor([x * x])} for x in (1.0, -3.0, 5.0))
    none = {"w": torch.zeros(1, 2), "b": torch.zeros(1)}
    return [lambda: impl([a, b, c], [2, 2, 2]), lambda: impl([a, b, c], [1, 4, 2]), lambda: impl([a, none], [3, 0])]


# --- cross_entropy_backward -------------------------------------------------------------------------------------------


@misconception(
    "cross_entropy_backward",
    believes="the gradient is the one-hot target minus the probabilities",
    truth="that is the way down; the gradient points up: probabilities minus one-hot",
)
def sign_reversed(logits, targets):
    gradient = torch.softmax(logits, dim=-1)
    gradient[torch.arange(len(targets)), targets] -= 1
    return -gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="the gradient is the softmax",
    truth=(
        "that is the derivative of log-sum-exp; the loss also subtracts the target's logit, which takes 1 away there"
    ),
)
def probabilities_only(logits, targets):
    gradient = torch.softmax(logits, dim=-1)
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="the gradient is logits minus one-hot",
    truth="the logits have to become probabilities first: the derivative of log-sum-exp is the softmax",
)
def no_softmax(logits, targets):
    gradient = logits.clone()
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="the gradient is log-softmax minus one-hot",
    truth="the logarithm belongs to the loss; its derivative has the probabilities themselves",
)
def log_probabilities(logits, targets):
    gradient = torch.log_softmax(logits, dim=-1)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="each word is a yes-or-no question with a sigmoid",
    truth="the words share one distribution: a softmax over the vocabulary",
)
def sigmoids(logits, targets):
    gradient = torch.sigmoid(logits)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="only the target's logit gets a gradient",
    truth="all logits do: those of other words are pushed down, each by its probability",
)
def only_at_the_target(logits, targets):
    probabilities = torch.softmax(logits, dim=-1)
    rows = torch.arange(len(targets))
    gradient = torch.zeros_like(logits)
    gradient[rows, targets] = probabilities[rows, targets] - 1
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="the gradient is that of minus the target's probability",
    truth="the loss is minus its logarithm: that divides by the probability, and no p is left in front",
)
def through_the_probability(logits, targets):
    gradient = torch.softmax(logits, dim=-1)
    gradient[torch.arange(len(targets)), targets] -= 1
    rows = torch.arange(len(targets))
    chosen = torch.softmax(logits, dim=-1)[rows, targets]
    return chosen[:, None] * gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="the softmax's derivative, p (1 - p), is multiplied in once more",
    truth=(
        "softmax and logarithm together have the derivative probabilities minus one-hot; nothing else is multiplied"
    ),
)
def derivative_of_the_probability(logits, targets):
    gradient = torch.softmax(logits, dim=-1)
    gradient[torch.arange(len(targets)), targets] -= 1
    probabilities = torch.softmax(logits, dim=-1)
    return gradient * probabilities * (1 - probabilities) / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="the mean is over all numbers of the logits",
    truth="over the positions: each has one loss, however many words there are",
)
def divided_by_everything(logits, targets):
    gradient = torch.softmax(logits, dim=-1)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / logits.numel()


@misconception(
    "cross_entropy_backward",
    believes="the loss is in bits",
    truth="it is in nats: with the natural logarithm no further factor appears",
)
def base_two(logits, targets):
    gradient = torch.softmax(logits, dim=-1)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / len(targets) / math.log(2)


@misconception(
    "cross_entropy_backward",
    believes="the loss is summed over the positions",
    truth="it is their mean, so each position has 1 / positions of it",
)
def sum_over_positions(logits, targets):
    gradient = torch.softmax(logits, dim=-1)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient


@misconception(
    "cross_entropy_backward",
    believes="the softmax runs over the first axis",
    truth="the words of one position share a distribution: the last axis",
)
def softmax_over_positions(logits, targets):
    gradient = torch.softmax(logits, dim=0 if len(targets) > 1 else -1)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="indexing by [:, targets] pairs each position with its target",
    truth="it takes these columns in every row; rows and columns are paired by [torch.arange(n), targets]",
)
def one_everywhere_in_the_column(logits, targets):
    gradient = torch.softmax(logits, dim=-1)
    gradient[:, targets] -= 1
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="the target of a position is that of the one after it",
    truth="targets are aligned already: the shift was made when text became inputs and targets",
)
def shifted_once_more(logits, targets):
    gradient = torch.softmax(logits, dim=-1)
    gradient[torch.arange(len(targets)), targets.roll(-1)] -= 1
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="one target is enough for all positions",
    truth="each position has its own",
)
def first_target_for_all(logits, targets):
    gradient = torch.softmax(logits, dim=-1)
    gradient[torch.arange(len(targets)), targets[0]] -= 1
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="positions share a gradient",
    truth="each row of logits gets the gradient of its own loss",
)
def rows_added_up(logits, targets):
    gradient = torch.softmax(logits, dim=-1)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient.mean(dim=0, keepdim=True).expand_as(gradient).clone() / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="exp of a logit is always finite",
    truth=("in float32 exp(89) is infinite: subtract the row's largest logit first, which changes nothing else"),
)
def exp_overflows(logits, targets):
    gradient = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="large logits can be cut off before the softmax",
    truth=("then they would all look alike: only their differences count, so subtract the largest of the row"),
)
def clamped_logits(logits, targets):
    gradient = torch.softmax(logits.clamp(-50, 50), dim=-1)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="subtracting the largest logit of the tensor keeps exp from overflowing",
    truth=("in rows far below it every exp is then 0, and 0 / 0 is NaN: each row has a largest logit of its own"),
)
def largest_of_all_rows(logits, targets):
    gradient = (logits - logits.max()).exp()
    gradient = gradient / gradient.sum(dim=-1, keepdim=True)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="subtracting the mean of the tensor keeps exp from overflowing",
    truth="rows may lie hundreds above the mean of all: subtract the largest logit of each row",
)
def mean_subtracted(logits, targets):
    gradient = (logits - logits.mean()).exp()
    gradient = gradient / gradient.sum(dim=-1, keepdim=True)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / len(targets)


@misconception(
    "cross_entropy_backward",
    believes="subtracting the smallest logit of the row keeps exp in bounds",
    truth=(
        "then the others are positive, and where they lie far above it exp is infinite: subtract the largest, "
        "so that every exponent is at most 0"
    ),
)
def smallest_subtracted(logits, targets):
    gradient = (logits - logits.amin(dim=-1, keepdim=True)).exp()
    gradient = gradient / gradient.sum(dim=-1, keepdim=True)
    gradient[torch.arange(len(targets)), targets] -= 1
    return gradient / len(targets)


@fingerprint("cross_entropy_backward")
def cross_entropy_backward_probes(impl):
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]])
    targets = torch.tensor([2, 0])
    heights = torch.tensor([[0.0], [400.0]])
    return [
        lambda: impl(logits[:1], targets[:1]),
        lambda: impl(logits, targets),
        lambda: impl(logits + 100, targets),
        lambda: impl(logits - heights, targets),
        lambda: impl(logits + heights, targets),
        lambda: impl(200 * logits, targets),
    ]


# --- attention_backward -----------------------------------------------------------------------------------------------


@misconception(
    "attention_backward",
    believes="the gradient of the output passes to the values as it is",
    truth=("the output is weights @ v, so the values get weights^T @ grad_output: each in proportion to its weight"),
)
def values_get_the_output_gradient(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = torch.ones_like(weights).transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the values are weighed by the scores",
    truth="by the softmax of the scores",
)
def scores_for_weights(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = scores.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the scale can be left out when the weights are computed again",
    truth="the weights must be those of the forward pass, with 1 / sqrt(d_head) in the scores",
)
def no_scale_in_the_scores(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1)
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the softmax runs over the queries",
    truth="each query spreads its attention over the keys: the last axis",
)
def softmax_over_queries(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-2)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the gradient of the outputs is averaged over the queries first",
    truth=("each query has weights of its own: they are multiplied with its own output's gradient, then added up"),
)
def same_weight_for_all_queries(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.sum(dim=-2).unsqueeze(-1) * grad_output.mean(dim=-2, keepdim=True)
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="all three gradients carry the scale",
    truth=("the scale is in the scores, so queries and keys have it; the values do not pass through the scores"),
)
def scaled_values(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output * scale
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the gradient of the weights is that of the scores",
    truth="between them lies the softmax, whose derivative is weights * (gradient - average)",
)
def softmax_passed_through(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    grad_scores = grad_weights * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="a weight depends on its own score alone: its derivative is w (1 - w)",
    truth="that is the diagonal; since the weights of a row sum to 1, a score changes all of them",
)
def only_the_diagonal(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    grad_scores = weights * (1 - weights) * grad_weights * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the derivative of the softmax is the weight",
    truth=("that is one of two terms: from each weight's gradient the average of the row is subtracted first"),
)
def no_average(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    grad_scores = weights * grad_weights * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the plain mean of the row is subtracted",
    truth="the mean is weighed by the weights: sum(weights * grad_weights)",
)
def unweighted_average(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = grad_weights.mean(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the products of weights and gradients are averaged",
    truth="they are summed: the weights sum to 1 already",
)
def mean_of_the_products(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).mean(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the average runs over the queries",
    truth="the softmax is along the keys of one query, and so is the average",
)
def average_over_queries(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-2, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the average is added",
    truth="it is subtracted: a score that raises one weight lowers all others",
)
def average_added(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights + average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the scale only matters in the forward pass",
    truth="the scores were multiplied by it, so their gradients are, too",
)
def scale_forgotten_on_the_way_back(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average)
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="on the way back the scale is divided out",
    truth="the derivative of a product with the scale is a product with the scale",
)
def scale_divided_on_the_way_back(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) / scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the scale belongs to the queries, so the keys' gradient has none",
    truth="it multiplies the product of both, and is in the gradient of both",
)
def keys_without_scale(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q / scale, grad_v


@misconception(
    "attention_backward",
    believes=(
        "the scaled queries are what the keys' gradient is multiplied with, on top of the scale in the scores' gradient"
    ),
    truth="the scale appears once",
)
def keys_scaled_twice(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ (q * scale), grad_v


@misconception(
    "attention_backward",
    believes="queries and keys get different gradients of the scores: the keys those of the weights",
    truth="both come from the same gradient of the scores, behind the softmax",
)
def keys_before_the_softmax(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, (weights * grad_weights * scale).transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="what a query gains, a key loses",
    truth="queries and keys enter the score alike, so both gradients have the same sign",
)
def keys_reversed(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, -grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="a key gets the mean over the queries that met it",
    truth="their sum: each query adds its part",
)
def keys_averaged_over_queries(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q / q.shape[-2], grad_v


@misconception(
    "attention_backward",
    believes="the mask is needed in the forward pass only",
    truth="the weights are computed again here, and hidden keys must have the weight 0 in them",
)
def mask_forgotten(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores, dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="hidden weights are set to 0 after the softmax",
    truth="then the rest of the row no longer sums to 1: hidden scores must be -inf before the softmax",
)
def mask_after_the_softmax(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores, dim=-1) * mask
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="a hidden score is set to 0",
    truth="exp(0) is 1: a score of 0 still gets weight; -inf does not",
)
def hidden_scores_are_zero(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, 0.0), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the mask hides gradients, so it is applied to those of the scores",
    truth="the weights must not see hidden keys either: mask the scores before the softmax",
)
def masked_gradient_only(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores, dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale * mask
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="the mask is the causal one",
    truth="the mask that is given decides, and it may hide any keys",
)
def always_causal(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(
        scores.masked_fill(~(torch.ones_like(mask).tril(mask.shape[1] - mask.shape[0]) | mask.all()), -torch.inf),
        dim=-1,
    )
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="a score of -20 is as good as hidden",
    truth="beside other scores below it, it is not: use -inf",
)
def small_number_hides(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -20.0), dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="subtracting 100 hides a score",
    truth="a score of 200 is then still 100: hidden scores are replaced, by -inf",
)
def hidden_by_subtraction(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = torch.softmax(scores - 100 * ~mask, dim=-1)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@misconception(
    "attention_backward",
    believes="exp of a score is always finite",
    truth="in float32 exp(89) is infinite: subtract the largest score of the row, or use softmax",
)
def exp_of_scores(q, k, v, mask, grad_output):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-2, -1) * scale
    weights = scores.exp() * mask
    weights = weights / weights.sum(dim=-1, keepdim=True)
    grad_weights = grad_output @ v.transpose(-2, -1)
    average = (grad_weights * weights).sum(dim=-1, keepdim=True)
    grad_scores = weights * (grad_weights - average) * scale
    grad_v = weights.transpose(-2, -1) @ grad_output
    return grad_scores @ k, grad_scores.transpose(-2, -1) @ q, grad_v


@fingerprint("attention_backward")
def attention_backward_probes(impl):
    q = torch.tensor([[[1.0, -1.0, 0.5, 0.0], [0.5, 2.0, -1.0, 1.0], [0.0, 1.0, 1.0, -0.5]]])
    k = torch.tensor([[[1.0, 0.0, 1.0, 2.0], [-1.0, 1.0, 0.0, 1.0], [0.5, -2.0, 1.0, 1.0]]])
    v = torch.tensor([[[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]]])
    grad_output = torch.tensor([[[1.0, -1.0], [2.0, 0.5], [-1.0, 1.0]]])
    everything = torch.ones(3, 3, dtype=torch.bool)
    some = torch.tensor([[False, True, False], [True, False, True], [False, True, True]])
    return [
        lambda: impl(q, k, v, everything, grad_output),
        lambda: impl(q, k, v, some, grad_output),
        lambda: impl(q, 50 * k, v, some, grad_output),
        lambda: impl(q, 200 * k, v, some, grad_output),
    ]
