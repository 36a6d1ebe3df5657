"""Right, and written differently: parallel layers and gradients that the graders must accept."""

import math

import torch
import torch.nn.functional as F

from gptdojo import alternative

# --- column_parallel_linear -------------------------------------------------------------------------------------------


@alternative("column_parallel_linear")
def by_matmul(x, weight, bias):
    return x @ weight.T + bias


@alternative("column_parallel_linear")
def by_einsum(x, weight, bias):
    return torch.einsum("...i,oi->...o", x, weight) + bias


@alternative("column_parallel_linear")
def output_by_output(x, weight, bias):
    return torch.stack([(x * row).sum(dim=-1) + entry for row, entry in zip(weight, bias, strict=True)], dim=-1)


@alternative("column_parallel_linear")
def bias_as_a_column(x, weight, bias):
    ones = torch.ones(*x.shape[:-1], 1, dtype=x.dtype)
    return torch.cat([x, ones], dim=-1).matmul(torch.cat([weight, bias[:, None]], dim=1).mT)


# --- row_parallel_linear ----------------------------------------------------------------------------------------------


@alternative("row_parallel_linear")
def matmul_then_bias(x, weight, bias, all_reduce):
    result = all_reduce(torch.matmul(x, weight.mT))
    result += bias
    return result


@alternative("row_parallel_linear")
def sent_flat(x, weight, bias, all_reduce):
    summand = torch.einsum("...i,oi->...o", x, weight)
    return all_reduce(summand.flatten()).reshape(summand.shape).add(bias)


@alternative("row_parallel_linear")
def sent_transposed(x, weight, bias, all_reduce):
    rows = x.reshape(-1, x.shape[-1])
    total = all_reduce(weight @ rows.T)
    return (total + bias[:, None]).T.reshape(*x.shape[:-1], len(bias))


@alternative("row_parallel_linear")
def in_float64_inside(x, weight, bias, all_reduce):
    total = all_reduce((x.double()[..., None, :] * weight.double()).sum(dim=-1))
    return (total + bias).to(x.dtype)


# --- tensor_parallel_mlp ----------------------------------------------------------------------------------------------


@alternative("tensor_parallel_mlp")
def gelu_by_hand(x, params, all_reduce):
    inner = x @ params["c_fc.weight"].T + params["c_fc.bias"]
    inner = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
    return all_reduce(inner @ params["c_proj.weight"].T) + params["c_proj.bias"]


@alternative("tensor_parallel_mlp")
def channel_by_channel(x, params, all_reduce):
    total = torch.zeros_like(x)
    rows = zip(params["c_fc.weight"], params["c_fc.bias"], params["c_proj.weight"].T, strict=True)
    for row, bias, column in rows:
        channel = F.gelu((x * row).sum(dim=-1, keepdim=True) + bias, approximate="tanh")
        total = total + channel * column
    return all_reduce(total) + params["c_proj.bias"]


@alternative("tensor_parallel_mlp")
def with_modules(x, params, all_reduce):
    weight, bias = params["c_fc.weight"], params["c_fc.bias"]
    first = torch.nn.Linear(weight.shape[1], weight.shape[0])
    first.load_state_dict({"weight": weight, "bias": bias})
    with torch.no_grad():
        inner = torch.nn.GELU(approximate="tanh")(first(x))
        return params["c_proj.bias"] + all_reduce(torch.einsum("...f,df->...d", inner, params["c_proj.weight"]))


@alternative("tensor_parallel_mlp")
def flat_and_in_float64(x, params, all_reduce):
    part = {name: tensor.double() for name, tensor in params.items()}
    rows = x.double().reshape(-1, x.shape[-1])
    inner = F.gelu(torch.addmm(part["c_fc.bias"], rows, part["c_fc.weight"].T), approximate="tanh")
    total = all_reduce(inner @ part["c_proj.weight"].T) + part["c_proj.bias"]
    return total.reshape(x.shape).to(x.dtype)


# --- average_gradients ------------------------------------------------------------------------------------------------


@alternative("average_gradients")
def weight_first(gradients, n_token, all_reduce):
    share = n_token / all_reduce(n_token)
    averaged = {}
    for name in gradients:
        averaged[name] = all_reduce(share * gradients[name])
    return averaged


@alternative("average_gradients")
def in_one_bucket(gradients, n_token, all_reduce):
    flat = torch.cat([gradient.flatten() for gradient in gradients.values()] + [torch.ones(1)])
    *sums, total = all_reduce(flat * n_token).split([gradient.numel() for gradient in gradients.values()] + [1])
    return {
        name: (part / total).reshape(gradient.shape)
        for part, (name, gradient) in zip(sums, gradients.items(), strict=True)
    }


@alternative("average_gradients")
def count_sent_last_and_sorted(gradients, n_token, all_reduce):
    sums = {name: all_reduce(gradients[name].mul(n_token.item())) for name in sorted(gradients)}
    total = all_reduce(torch.tensor([n_token.item()]))
    return {name: sums[name].div(total.item()) for name in gradients}


@alternative("average_gradients")
def by_process_means(gradients, n_token, all_reduce):
    n_process = all_reduce(torch.ones(()))
    mean_tokens = all_reduce(n_token) / n_process
    return {name: all_reduce(gradient * (n_token / mean_tokens)) / n_process for name, gradient in gradients.items()}
