"""Wrong on purpose: what people believe about splitting layers and batches over processes."""

import torch
import torch.nn.functional as F

from gptdojo import fingerprint, misconception

# --- column_parallel_linear -------------------------------------------------------------------------------------------


@misconception(
    "column_parallel_linear",
    believes="the weight stands as in the paper, which writes x times A",
    truth="weights here are (outputs, inputs), as in F.linear, so it is transposed: x @ weight.T",
)
def not_transposed(x, weight, bias):
    return x @ weight.reshape(weight.shape[1], weight.shape[0]) + bias


@misconception(
    "column_parallel_linear",
    believes="the bias is added after the parts have been put together",
    truth="nobody does that: each process has the entries of its own outputs, and adds them",
)
def bias_left_out(x, weight, bias):
    return F.linear(x, weight)


@misconception(
    "column_parallel_linear",
    believes="the bias has to be shared between the processes, half of it each",
    truth="an output is computed by one process alone, with its whole entry of the bias; only a sum over processes would "
    "count it more often",
)
def half_of_the_bias(x, weight, bias):
    return F.linear(x, weight, bias / 2)


@misconception(
    "column_parallel_linear",
    believes="the outputs of one process carry the sum of its bias",
    truth="each output has an entry of its own",
)
def bias_summed(x, weight, bias):
    return F.linear(x, weight) + bias.sum()


@misconception(
    "column_parallel_linear",
    believes="what is given is the whole layer, of which the first half is to be computed",
    truth="the rows that are given are this process's part already",
)
def splits_once_more(x, weight, bias):
    half = max(1, len(weight) // 2)
    return F.linear(x, weight[:half], bias[:half])


@misconception(
    "column_parallel_linear",
    believes="each process sees a part of the input",
    truth="every output depends on all inputs, and all processes have the whole of x",
)
def half_of_the_input(x, weight, bias):
    half = (x.shape[-1] + 1) // 2
    return F.linear(x[..., :half], weight[:, :half], bias)


@misconception(
    "column_parallel_linear",
    believes="GELU belongs to this layer",
    truth="it follows in the MLP; this is the linear layer alone",
)
def gelu_at_once(x, weight, bias):
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


@misconception(
    "column_parallel_linear",
    believes="inputs are rows of a matrix",
    truth="there may be any number of axes before the last: batch and position, or none at all",
)
def matrices_only(x, weight, bias):
    return torch.addmm(bias, x, weight.T)


@fingerprint("column_parallel_linear")
def column_parallel_linear_probes(impl):
    x, weight, bias = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 1.0], [0.5, 2.0]]), torch.tensor([1.0, 5.0])
    return [lambda: impl(x, weight, torch.zeros(2)), lambda: impl(x, weight, bias), lambda: impl(x[0], weight, bias)]


# --- row_parallel_linear ----------------------------------------------------------------------------------------------


@misconception(
    "row_parallel_linear",
    believes="it is an ordinary linear layer, and then the sum",
    truth="each process would add the whole bias before the sum, so that it is in the result once for each process",
)
def bias_from_every_process(x, weight, bias, all_reduce):
    return all_reduce(F.linear(x, weight, bias))


@misconception(
    "row_parallel_linear",
    believes="all_reduce changes the tensor that it is given",
    truth="torch.distributed's does; this one returns the sum, and what is given to it stays a summand",
)
def sum_thrown_away(x, weight, bias, all_reduce):
    summand = F.linear(x, weight)
    all_reduce(summand)
    return summand + bias


@misconception(
    "row_parallel_linear",
    believes="each process can finish its outputs by itself",
    truth="it has only some of the inputs, so what it computes is a summand of every output",
)
def no_sum(x, weight, bias, all_reduce):
    return F.linear(x, weight, bias)


@misconception(
    "row_parallel_linear",
    believes="the bias is not needed, as it was added by the layer before",
    truth="that was another layer's; this one's is added once, after the sum",
)
def bias_left_out_of_rows(x, weight, bias, all_reduce):
    return all_reduce(F.linear(x, weight))


@misconception(
    "row_parallel_linear",
    believes="the inputs have to be summed before the product",
    truth="different processes hold different inputs, which belong to different columns: their sum means nothing",
)
def inputs_summed(x, weight, bias, all_reduce):
    return F.linear(all_reduce(x.sum(dim=-1, keepdim=True)).expand_as(x), weight, bias)


@misconception(
    "row_parallel_linear",
    believes="the processes' results are averaged",
    truth="they are summands of one sum over the inputs, not estimates of the same thing",
)
def averaged(x, weight, bias, all_reduce):
    return all_reduce(F.linear(x, weight)) / 2 + bias


@misconception(
    "row_parallel_linear",
    believes="the sum has to be made for the bias too",
    truth="the bias is whole on every process, and its sum is it as many times as there are processes",
)
def bias_summed_apart(x, weight, bias, all_reduce):
    return all_reduce(F.linear(x, weight)) + all_reduce(bias)


@misconception(
    "row_parallel_linear",
    believes="half of the bias from each of the two processes makes one",
    truth="there may be any number of processes, and nobody says how many: the bias is added after the sum",
)
def half_of_the_bias_each(x, weight, bias, all_reduce):
    return all_reduce(F.linear(x, weight, bias / 2))


@misconception(
    "row_parallel_linear",
    believes="inputs are rows of a matrix, and there is more than one process",
    truth="there may be any number of axes before the last, and of processes",
)
def rows_of_a_matrix(x, weight, bias, all_reduce):
    return all_reduce(torch.mm(x, weight.T)) + bias


@misconception(
    "row_parallel_linear",
    believes="the rows can be summed one after the other",
    truth="the result is right, but each call of all_reduce waits for the network: one call takes them all",
)
def a_message_for_each_row(x, weight, bias, all_reduce):
    summands = F.linear(x, weight)
    rows = summands.reshape(-1, summands.shape[-1])
    return torch.stack([all_reduce(row) for row in rows]).reshape(summands.shape) + bias


@misconception(
    "row_parallel_linear",
    believes="every product of a weight and an input is to be summed over the processes",
    truth="the result is right, but sums over the inputs that are here come first: what is sent is as small as the output",
)
def products_sent(x, weight, bias, all_reduce):
    spread = all_reduce(F.pad(x[..., None, :] * weight, (0, 8 - x.shape[-1])))
    return spread.sum(dim=-1) + bias


@fingerprint("row_parallel_linear")
def row_parallel_linear_probes(impl):
    x, weight, bias = torch.tensor([[1.0, -2.0], [4.0, 0.5]]), torch.tensor([[3.0, 1.0]]), torch.tensor([5.0])

    def sizes(*args):
        given = []

        def all_reduce(tensor):
            given.append(tuple(tensor.shape))
            return 3 * tensor

        impl(*args, all_reduce)
        return given

    return [
        lambda: impl(x, weight, bias, lambda tensor: 3 * tensor),
        lambda: impl(x, weight, bias, lambda tensor: 2 * tensor),
        lambda: impl(x[0], weight, bias, lambda tensor: tensor),
        lambda: sizes(x, weight, bias),
    ]


# --- tensor_parallel_mlp ----------------------------------------------------------------------------------------------


def gelu(x):
    """GPT-2's."""
    return F.gelu(x, approximate="tanh")


def channels(x, params):
    """The inner channels that are here."""
    return gelu(F.linear(x, params["c_fc.weight"], params["c_fc.bias"]))


@misconception(
    "tensor_parallel_mlp",
    believes="every layer is followed by an all-reduce",
    truth="different processes hold different inner channels, which are not summands of anything: only what c_proj makes of "
    "them is",
)
def channels_summed(x, params, all_reduce):
    inner = all_reduce(channels(x, params))
    return all_reduce(F.linear(inner, params["c_proj.weight"])) + params["c_proj.bias"]


@misconception(
    "tensor_parallel_mlp",
    believes="each process's MLP, with its biases, is a summand",
    truth="the bias of the output would be in the sum once for each process: it is added after the sum",
)
def output_bias_from_every_process(x, params, all_reduce):
    return all_reduce(F.linear(channels(x, params), params["c_proj.weight"], params["c_proj.bias"]))


@misconception(
    "tensor_parallel_mlp",
    believes="the process's own channels are enough",
    truth="each output takes all inner channels: the summands of all processes belong together",
)
def own_channels_only(x, params, all_reduce):
    return F.linear(channels(x, params), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "tensor_parallel_mlp",
    believes="all_reduce changes the tensor that it is given",
    truth="this one returns the sum, and what is given to it stays a summand",
)
def returned_sum_ignored(x, params, all_reduce):
    summand = F.linear(channels(x, params), params["c_proj.weight"])
    all_reduce(summand)
    return summand + params["c_proj.bias"]


@misconception(
    "tensor_parallel_mlp",
    believes="GELU can be applied at the end, after the sum",
    truth="it belongs between the two layers: without it there they are one linear layer",
)
def gelu_after_the_sum(x, params, all_reduce):
    inner = F.linear(x, params["c_fc.weight"], params["c_fc.bias"])
    return gelu(all_reduce(F.linear(inner, params["c_proj.weight"])) + params["c_proj.bias"])


@misconception(
    "tensor_parallel_mlp",
    believes="any GELU will do",
    truth="GPT-2's is the tanh approximation; the exact one differs by up to 5e-4 in every channel",
)
def exact_gelu(x, params, all_reduce):
    inner = F.gelu(F.linear(x, params["c_fc.weight"], params["c_fc.bias"]))
    return all_reduce(F.linear(inner, params["c_proj.weight"])) + params["c_proj.bias"]


@misconception(
    "tensor_parallel_mlp",
    believes="the residual is part of the MLP",
    truth="the block adds it; and before the sum it would be added once for each process",
)
def residual_added(x, params, all_reduce):
    return x + all_reduce(F.linear(channels(x, params), params["c_proj.weight"])) + params["c_proj.bias"]


@misconception(
    "tensor_parallel_mlp",
    believes="the results of the processes are averaged",
    truth="they are summands of the sum over the inner channels",
)
def mean_of_processes(x, params, all_reduce):
    return all_reduce(F.linear(channels(x, params), params["c_proj.weight"])) / 2 + params["c_proj.bias"]


@misconception(
    "tensor_parallel_mlp",
    believes="biases come after the sum, both of them",
    truth="c_fc's belongs before GELU, to the channels that are here; only c_proj's is added after the sum",
)
def inner_bias_left_out(x, params, all_reduce):
    inner = gelu(F.linear(x, params["c_fc.weight"]))
    return all_reduce(F.linear(inner, params["c_proj.weight"])) + params["c_proj.bias"]


@misconception(
    "tensor_parallel_mlp",
    believes="half of the output's bias from each of the two processes makes one",
    truth="there may be any number of processes: the bias is added after the sum",
)
def half_of_the_output_bias(x, params, all_reduce):
    return all_reduce(F.linear(channels(x, params), params["c_proj.weight"], params["c_proj.bias"] / 2))


@misconception(
    "tensor_parallel_mlp",
    believes="the positions can be summed one after the other",
    truth="the result is right, but each call of all_reduce waits for the network: one call takes them all",
)
def a_message_for_each_position(x, params, all_reduce):
    summands = F.linear(channels(x, params), params["c_proj.weight"])
    rows = summands.reshape(-1, summands.shape[-1])
    return torch.stack([all_reduce(row) for row in rows]).reshape(summands.shape) + params["c_proj.bias"]


@fingerprint("tensor_parallel_mlp")
def tensor_parallel_mlp_probes(impl):
    params = {
        "c_fc.weight": torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.0, 1.0]]),
        "c_fc.bias": torch.tensor([0.5, -1.0, 2.0]),
        "c_proj.weight": torch.tensor([[1.0, 2.0, -1.0], [0.5, -3.0, 4.0]]),
        "c_proj.bias": torch.tensor([3.0, -4.0]),
    }
    x = torch.tensor([[1.0, 0.5], [-0.7, 0.2]])

    def calls():
        given = []

        def all_reduce(tensor):
            given.append(tuple(tensor.shape))
            return 3 * tensor

        impl(x, params, all_reduce)
        return given

    return [
        lambda: impl(x, params, lambda tensor: 3 * tensor),
        lambda: impl(x, params, lambda tensor: 2 * tensor),
        calls,
    ]


# --- average_gradients ------------------------------------------------------------------------------------------------


@misconception(
    "average_gradients",
    believes="the gradients of all processes are added",
    truth="the loss is a mean over all tokens, and so is its gradient: a sum makes the step larger with every process",
)
def added(gradients, n_token, all_reduce):
    return {name: all_reduce(gradient) for name, gradient in gradients.items()}


@misconception(
    "average_gradients",
    believes="each process keeps its own gradient, and the models stay together by themselves",
    truth="from the second step on they would be different models",
)
def kept_apart(gradients, n_token, all_reduce):
    all_reduce(n_token)
    return {name: gradient.clone() for name, gradient in gradients.items()}


@misconception(
    "average_gradients",
    believes="the sum over all tokens is what is wanted",
    truth="it is the mean: the sum is divided by the number of tokens of all processes",
)
def not_divided(gradients, n_token, all_reduce):
    return {name: all_reduce(gradient * n_token) for name, gradient in gradients.items()}


@misconception(
    "average_gradients",
    believes="what is given are sums over this process's tokens",
    truth="they are means: before they can be added up they are multiplied by how many tokens they are the mean of",
)
def means_taken_for_sums(gradients, n_token, all_reduce):
    total = all_reduce(n_token)
    return {name: all_reduce(gradient) / total for name, gradient in gradients.items()}


@misconception(
    "average_gradients",
    believes="the number of tokens here is the number of tokens",
    truth="each process has its own number, and the mean is over the sum of all",
)
def divided_by_its_own_tokens(gradients, n_token, all_reduce):
    return {name: all_reduce(gradient * n_token) / n_token for name, gradient in gradients.items()}


@misconception(
    "average_gradients",
    believes="all_reduce changes the tensor that it is given",
    truth="this one returns the sum, and what is given to it stays a summand",
)
def nothing_received(gradients, n_token, all_reduce):
    total = all_reduce(n_token)
    weighted = {name: gradient * n_token for name, gradient in gradients.items()}
    for gradient in weighted.values():
        all_reduce(gradient)
    return {name: gradient / total for name, gradient in weighted.items()}


@misconception(
    "average_gradients",
    believes="only matrices need to be averaged, since biases are small",
    truth="every parameter has to take the same step on all processes",
)
def matrices_averaged(gradients, n_token, all_reduce):
    total = all_reduce(n_token)
    return {
        name: all_reduce(gradient * n_token) / total if gradient.ndim >= 2 else gradient.clone()
        for name, gradient in gradients.items()
    }


@misconception(
    "average_gradients",
    believes="the gradient is the mean of the processes' gradients",
    truth="a process with few tokens would count as much as one with many: each has the weight of its tokens",
)
def mean_of_means(gradients, n_token, all_reduce):
    n_process = all_reduce(torch.ones_like(n_token))
    return {name: all_reduce(gradient) / n_process for name, gradient in gradients.items()}


@misconception(
    "average_gradients",
    believes="there are two processes",
    truth="there may be any number, and their shares differ: dividing by 2 is right for two equal ones",
)
def divided_by_two(gradients, n_token, all_reduce):
    return {name: all_reduce(gradient) / 2 for name, gradient in gradients.items()}


@misconception(
    "average_gradients",
    believes="who has few tokens has the noisier gradient, so the weights are the roots",
    truth="the mean over all tokens weights each process with its number of tokens itself",
)
def roots_for_weights(gradients, n_token, all_reduce):
    weight = n_token.sqrt()
    total = all_reduce(weight)
    return {name: all_reduce(gradient * weight) / total for name, gradient in gradients.items()}


@fingerprint("average_gradients")
def average_gradients_probes(impl):
    gradients = {"weight": torch.tensor([[1.0, -2.0]]), "bias": torch.tensor([3.0])}

    def with_another(tensor):
        return tensor + 5.0

    return [
        lambda: impl(gradients, torch.tensor(4.0), with_another),
        lambda: impl(gradients, torch.tensor(4.0), lambda tensor: 3 * tensor),
    ]
