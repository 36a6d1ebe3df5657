# %% [markdown]
# # 20. Parallelism
#
# Everything so far ran in one process. GPT-3's weights alone take 350 GB in float16, and no device holds that; and where
# a model fits, one device would train it for years. So a model is run by many processes, each with a device, that
# exchange tensors. How they share the work has few basic forms, and two of them fit into a handful of lines:
#
# - **tensor parallelism**: every process sees the same tokens, and each has a part of every weight matrix;
# - **data parallelism**: every process has all the weights, and each sees a part of the batch.
#
# Both need one operation from the network, the **all-reduce**: each process gives a tensor, all of the same shape, and
# each receives the sum. Here it is a function `all_reduce` that takes a tensor and returns the sum. Two rules follow
# from what it is. Every process has to call it equally often and in the same order, or all wait forever. And what is
# added before it is added once for each process.
#
# Your functions are run as several processes are: each gets its own part and the same `all_reduce`, and nobody tells it
# how many others there are. They have to do together what one process does alone.

# %%
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# %% [markdown]
# ## Split by outputs
#
# In $y = Wx + b$ an output is a row of $W$ times $x$, plus an entry of $b$. So the rows can be dealt out to the
# processes, with their entries of the bias:
#
# $$W = \begin{pmatrix} W_1 \\ W_2 \end{pmatrix}, \qquad y_1 = W_1 x + b_1, \quad y_2 = W_2 x + b_2 .$$
#
# Each process needs all of $x$, and has its outputs without asking anybody. The name comes from the paper, which writes
# $xA$ with $A = W^\top$: there it is the columns that are split.


# %% column_parallel_linear
def column_parallel_linear(
    x: Float[Tensor, "*batch d_in"],
    weight: Float[Tensor, "d_out_here d_in"],
    bias: Float[Tensor, " d_out_here"],
) -> Float[Tensor, "*batch d_out_here"]:
    """Return this process's outputs of a linear layer, whose rows are dealt out to the processes.

    `x` is the whole input, with any number of axes before the last; `weight` and `bias` are the rows that are here. The
    results of all processes, side by side, are the layer's output.

    Source: Shoeybi et al. 2019, "Megatron-LM" (1909.08053), section 3.

    >>> x, weight = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    >>> [column_parallel_linear(x, part, torch.ones(2)).tolist() for part in weight.chunk(2)]
    [[[2.0, 3.0]], [[4.0, 0.0]]]
    """
    ### BEGIN SOLUTION
    return F.linear(x, weight, bias)
    ### END SOLUTION


# %% [markdown]
# ## Split by inputs
#
# Now deal out the inputs, and with them the columns of $W$:
#
# $$y = \begin{pmatrix} W_1 & W_2 \end{pmatrix} \begin{pmatrix} x_1 \\ x_2 \end{pmatrix} + b
# = W_1 x_1 + W_2 x_2 + b .$$
#
# Each process has a summand of every output, so an all-reduce is needed. The bias is not split: all processes have the
# whole of it, and it belongs into the result once.


# %% row_parallel_linear
def row_parallel_linear(
    x: Float[Tensor, "*batch d_in_here"],
    weight: Float[Tensor, "d_out d_in_here"],
    bias: Float[Tensor, " d_out"],
    all_reduce: Callable[[Tensor], Tensor],
) -> Float[Tensor, "*batch d_out"]:
    """Return all outputs of a linear layer, whose inputs are dealt out to the processes.

    `x` has the inputs that are here, with any number of axes before the last, and `weight` the columns that belong to
    them; `bias` is whole, on every process. `all_reduce` returns the sum of what all processes give it; it is called
    once. There may be any number of processes, also one, and all return the same.

    Source: Shoeybi et al. 2019, "Megatron-LM" (1909.08053), section 3.

    >>> def all_reduce(here):  # with one other process, whose summand is 10
    ...     return here + 10
    >>> x, weight = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]])
    >>> row_parallel_linear(x, weight, torch.tensor([0.5]), all_reduce).tolist()
    [[13.5]]
    """
    ### BEGIN SOLUTION
    summand = F.linear(x, weight)
    return all_reduce(summand) + bias
    ### END SOLUTION


# %% [markdown]
# ## The MLP of a block
#
# Put one behind the other. `c_fc` split by outputs gives each process some of the inner channels, complete with their
# bias; GELU takes each channel by itself; and `c_proj` split by inputs takes just those channels. Between the two
# nothing is exchanged, and behind them there is a single all-reduce:
#
# $$\operatorname{MLP}(x) = \sum_{r} W^{proj}_r \operatorname{gelu}(W^{fc}_r x + b^{fc}_r) + b^{proj}.$$
#
# The other order would not do: $\operatorname{gelu}(a_1 + a_2)$ is not $\operatorname{gelu}(a_1) +
# \operatorname{gelu}(a_2)$, so the sum would have to come before GELU. Attention is split in the same way, with heads
# in the place of channels.


# %% tensor_parallel_mlp
def tensor_parallel_mlp(
    x: Float[Tensor, "*batch d_model"],
    params: Mapping[str, Tensor],
    all_reduce: Callable[[Tensor], Tensor],
) -> Float[Tensor, "*batch d_model"]:
    """Return GPT-2's MLP (with the tanh GELU, without the residual), its inner channels dealt out to the processes.

    `x` is whole, with any number of axes before the last. `params` has this process's part: c_fc.weight
    (d_ff_here, d_model), c_fc.bias (d_ff_here), c_proj.weight (d_model, d_ff_here), and c_proj.bias (d_model), which is
    whole on every process. `all_reduce` returns the sum of what all processes give it; it is called once. There may be
    any number of processes, and all return the same.

    Source: Shoeybi et al. 2019, "Megatron-LM" (1909.08053), section 3.

    >>> params = {"c_fc.weight": torch.tensor([[1.0]]), "c_fc.bias": torch.tensor([99.0])}
    >>> params |= {"c_proj.weight": torch.tensor([[1.0]]), "c_proj.bias": torch.tensor([0.5])}
    >>> def all_reduce(here):  # with one other process that has the same part
    ...     return here + here
    >>> tensor_parallel_mlp(torch.tensor([[1.0]]), params, all_reduce).tolist()
    [[200.5]]
    """
    ### BEGIN SOLUTION
    inner = F.gelu(F.linear(x, params["c_fc.weight"], params["c_fc.bias"]), approximate="tanh")
    summand = F.linear(inner, params["c_proj.weight"])
    return all_reduce(summand) + params["c_proj.bias"]
    ### END SOLUTION


# %% [markdown]
# ## The same update everywhere
#
# With data parallelism each process has all weights and computes the gradient of the mean loss over its own tokens. All
# take the same step only if all have the same gradient, that of the mean over the tokens of **all** processes. Those
# need not have equally many: texts have different lengths, pads do not count, and the last batch is short. It is the
# question of micro-batches from chapter 16, with a network in between: with gradients $g_r$ of the means over $n_r$
# tokens,
#
# $$g = \frac{\sum_r n_r\, g_r}{\sum_r n_r}.$$


# %% average_gradients
def average_gradients(
    gradients: Mapping[str, Float[Tensor, "..."]],
    n_token: Float[Tensor, ""],
    all_reduce: Callable[[Tensor], Tensor],
) -> dict[str, Float[Tensor, "..."]]:
    """Return the gradients of the mean loss over the tokens of all processes, by name.

    `gradients` are those of the mean loss over this process's `n_token` tokens, at least 1; other processes may have
    other numbers of tokens. All have the same names and shapes. `all_reduce` takes a tensor and returns the sum of what
    all processes give it; it may be called as often as you like, in the same order on every process. There may be any
    number of processes. The gradients that are given stay as they are.

    Source: Li et al. 2020, "PyTorch Distributed" (2006.15704), section 3.1, for equally many tokens.

    >>> def all_reduce(here):  # with one other process: a gradient of 8.0 over 1 token, so 8.0 * 1 or 1
    ...     return here + (1.0 if here.ndim == 0 else 8.0)
    >>> average_gradients({"w": torch.tensor([4.0])}, torch.tensor(3.0), all_reduce)["w"].tolist()  # (3 * 4 + 8) / 4
    [5.0]
    """
    ### BEGIN SOLUTION
    total = all_reduce(n_token)
    return {name: all_reduce(gradient * n_token) / total for name, gradient in gradients.items()}
    ### END SOLUTION


# %% [markdown]
# ## Two processes
#
# Here your functions run in two real processes, with `torch.distributed` and its backend for CPUs, gloo, over the
# loopback interface of this machine. The cell writes your code and a few lines around it into a script, starts it twice,
# and shows what the first process found. `dist.all_reduce` works in place; the wrapper makes it a function.
#
# Each of them holds half of the inner channels of an MLP, 96 of 192, and the two must agree with the whole MLP, which
# the script computes for comparison. Then each has a different number of tokens, 3 and 11, and the average of the
# gradients must be the gradient over all 14.

# %% two_processes
import inspect
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROCESS = """
import sys
from collections.abc import Callable, Mapping

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

{functions}

rank, n_process, meeting_point = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{{meeting_point}}", rank=rank, world_size=n_process)


def all_reduce(tensor):
    total = tensor.clone()
    dist.all_reduce(total)
    return total


torch.manual_seed(20)  # the same numbers on all processes
x, fc, fc_bias = torch.randn(2, 5, 48), torch.randn(192, 48), torch.randn(192)
proj, proj_bias = torch.randn(48, 192), torch.randn(48)
here = {{
    "c_fc.weight": fc.chunk(n_process)[rank],
    "c_fc.bias": fc_bias.chunk(n_process)[rank],
    "c_proj.weight": proj.chunk(n_process, dim=1)[rank],
    "c_proj.bias": proj_bias,
}}
whole = F.linear(F.gelu(F.linear(x, fc, fc_bias), approximate="tanh"), proj, proj_bias)
error = (tensor_parallel_mlp(x, here, all_reduce) - whole).abs().max() / whole.abs().max()


def gradient(inputs, targets):
    weight = fc.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(inputs @ weight.T, targets), weight)[0]


inputs, targets, counts = torch.randn(14, 48), torch.randint(192, (14,)), [3, 11]
my_inputs, my_targets = inputs.split(counts)[rank], targets.split(counts)[rank]
mine = {{"weight": gradient(my_inputs, my_targets)}}
averaged = average_gradients(mine, torch.tensor(float(counts[rank])), all_reduce)["weight"]
expected = gradient(inputs, targets)
mean_of_means = all_reduce(mine["weight"]) / n_process
if rank == 0:
    print(f"{{n_process}} processes, each with {{len(here['c_fc.bias'])}} of {{len(fc_bias)}} inner channels")
    print(f"MLP, difference from one process:       {{error:.1e}}")
    for what, got in (("average over tokens", averaged), ("plain mean of both", mean_of_means)):
        print(f"gradient, {{what + ':':29}} {{(got - expected).abs().max() / expected.abs().max():.1e}}")
dist.destroy_process_group()
"""

functions = "\n\n".join(inspect.getsource(part) for part in (tensor_parallel_mlp, average_gradients))
with tempfile.TemporaryDirectory() as folder:
    script, meeting_point = Path(folder, "process.py"), Path(folder, "meeting_point")
    script.write_text(PROCESS.format(functions=functions))
    loopback = os.environ | {"GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0"}
    started = [
        subprocess.Popen(
            [sys.executable, script, str(rank), "2", meeting_point],
            env=loopback,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()  # one that waits for another which has failed
print(said[0][0])
if any(process.returncode for process in started):
    print(*(error[-1500:] for _, error in said), sep="\n")

# %% [markdown]
# ## What is sent
#
# Tensor parallelism sends activations, in every layer: an all-reduce behind attention and one behind the MLP, forward,
# and as many backward. Data parallelism sends gradients, once a step. A ring all-reduce among $p$ processes sends
# $2(p-1)/p$ times the tensor from each. The table is for training on 2,048 tokens a process group in a step, with 8
# processes and 2 bytes a number. The more tokens a step has, the more tensor parallelism sends, while data parallelism
# sends the same. And in tensor parallelism somebody waits for each of those messages before going on, which is why
# it stays within one machine, where links are fast.

# %% what_is_sent
from reference.config import GPT2, GPT3, count_parameters

n_process, n_tokens = 8, 2048
bytes_per_number = torch.float16.itemsize
ring = 2 * (n_process - 1) / n_process
print(f"{'':12} {'weights':>9}   {'tensor parallel':>28}   {'data parallel':>28}")
print(f"{'':12} {'':>9}   {'held':>9} {'messages':>8} {'sent':>9}   {'held':>9} {'messages':>8} {'sent':>9}")
for name in ("gpt2", "gpt2-xl", "gpt3-6.7b", "gpt3-175b"):
    config = (GPT2 | GPT3)[name]
    weights = bytes_per_number * count_parameters(config) / 1e9
    reduces = 4 * config.n_layer
    sent = reduces * ring * bytes_per_number * n_tokens * config.d_model / 1e9
    tensor = f"{weights / n_process:6.2f} GB {reduces:8} {sent:6.2f} GB"
    data = f"{weights:6.2f} GB {1:8} {ring * weights:6.2f} GB"
    print(f"{name:12} {weights:6.2f} GB   {tensor:>28}   {data:>28}")
