"""One model on several processes: split the matrices, or split the batch (chapter 20).
`all_reduce` takes a tensor, returns the sum over all processes. Source: Shoeybi et al. 2019 (1909.08053), section 3."""

from collections.abc import Callable

import torch.nn.functional as F

from reference.block import gelu
from reference.shapes import Float, Params, Tensor

AllReduce = Callable[[Tensor], Tensor]


def column_parallel_linear(
    x: Float[Tensor, "*batch d_in"], weight: Float[Tensor, "d_out_here d_in"], bias: Float[Tensor, " d_out_here"]
) -> Float[Tensor, "*batch d_out_here"]:
    """This process's part of the outputs, from its rows of the weight and the bias; nothing is communicated."""
    return F.linear(x, weight, bias)


def row_parallel_linear(
    x: Float[Tensor, "*batch d_in_here"],
    weight: Float[Tensor, "d_out d_in_here"],
    bias: Float[Tensor, " d_out"],
    all_reduce: AllReduce,
) -> Float[Tensor, "*batch d_out"]:
    """All outputs, from this process's part of the inputs; the whole bias is added once, after the sum."""
    return all_reduce(F.linear(x, weight)) + bias


def tensor_parallel_mlp(
    x: Float[Tensor, "*batch d_model"], params: Params, all_reduce: AllReduce
) -> Float[Tensor, "*batch d_model"]:
    """GPT-2's MLP with its inner channels spread over the processes, and a single all-reduce. `params` has this one's
    c_fc.weight (d_ff_here, d_model), c_fc.bias, c_proj.weight (d_model, d_ff_here), and the whole c_proj.bias."""
    inner = gelu(column_parallel_linear(x, params["c_fc.weight"], params["c_fc.bias"]))
    return row_parallel_linear(inner, params["c_proj.weight"], params["c_proj.bias"], all_reduce)


def average_gradients(
    gradients: Params, n_token: Float[Tensor, ""], all_reduce: AllReduce
) -> dict[str, Float[Tensor, "..."]]:
    """The gradient of the mean loss over the tokens of all processes, which need not have equally many: `gradients`
    are those of the mean over this process's `n_token` tokens."""
    total = all_reduce(n_token)
    return {name: all_reduce(gradient * n_token) / total for name, gradient in gradients.items()}
