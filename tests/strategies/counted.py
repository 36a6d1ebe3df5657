"""What the reference really does and really holds: operations counted while it runs, bytes of the storage behind its caches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from reference.config import GPTConfig
from reference.generation import greedy
from reference.kv_cache import KVCache, allocate_caches, forward_with_cache
from reference.model import GPT


class _Flops(TorchDispatchMode):
    """Adds up what torch.utils.flop_counter says of each operator; its own mode would load torch's compiler first."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def flops(function: Callable, *args: Any) -> int:
    """The operations of one call, as torch.utils.flop_counter counts them."""
    with torch.no_grad(), _Flops() as counter:
        function(*args)
    return counter.total


def flops_of_a_pass(n_layer: int, d_model: int, vocab_size: int, n_query: int, n_key: int) -> int:
    """The operations of the reference GPT on `n_query` tokens behind a cache of the others."""
    model = _gpt(n_layer, d_model, vocab_size, n_key)
    caches = allocate_caches(model.config, 1)
    if n_key > n_query:
        forward_with_cache(_tokens(n_key - n_query), model.params, model.config.n_head, caches)
    return flops(forward_with_cache, _tokens(n_query), model.params, model.config.n_head, caches)


def flops_of_generating(n_layer: int, d_model: int, vocab_size: int, n_prompt: int, n_new: int, use_cache: bool) -> int:
    """The operations of the reference's greedy generation."""
    model = _gpt(n_layer, d_model, vocab_size, n_prompt + n_new)
    return flops(greedy, model, _tokens(n_prompt), n_new, use_cache)


def bytes_of_caches(n_layer: int, n_kv_head: int, d_head: int, n_position: int, batch: int, dtype: torch.dtype) -> int:
    """The storage behind the reference's caches, one a layer, with room for exactly these positions."""
    caches = [KVCache(batch, n_kv_head, n_position, d_head, dtype=dtype) for _ in range(n_layer)]
    buffers = [value for cache in caches for value in vars(cache).values() if isinstance(value, Tensor)]
    return sum(buffer.untyped_storage().nbytes() for buffer in buffers)


def _gpt(n_layer: int, d_model: int, vocab_size: int, n_ctx: int) -> GPT:
    n_head = 2 if d_model % 2 == 0 else 1
    return GPT(GPTConfig(n_layer, n_head, d_model, n_ctx, vocab_size))


def _tokens(count: int) -> Tensor:
    return torch.zeros(1, count, dtype=torch.long)
