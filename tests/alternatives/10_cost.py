"""Right, and written differently: counts of operations and bytes that the graders must accept."""

import math
from fractions import Fraction

import numpy as np
import torch
from torch.utils.flop_counter import flop_registry

from gptdojo import alternative

# --- attention_flops --------------------------------------------------------------------------------------------------


@alternative("attention_flops")
def one_line(n_query, n_key, d_model):
    return 4 * n_query * n_key * d_model


@alternative("attention_flops")
def multiplications_and_additions(n_query, n_key, d_model):
    multiplications = n_query * d_model * n_key
    additions = multiplications
    return sum([multiplications, additions] * 2)


@alternative("attention_flops")
def query_by_query(n_query, n_key, d_model):
    total = 0
    for _ in range(n_query):
        total += 2 * d_model * n_key
        total += 2 * n_key * d_model
    return total


@alternative("attention_flops")
def asked_of_torchs_table(n_query, n_key, d_model):
    count = flop_registry[torch.ops.aten.bmm]
    q, k = (torch.empty(1, n, d_model, device="meta") for n in (n_query, n_key))
    scores = torch.bmm(q, k.mT)
    return count(q, k.mT, out_val=scores) + count(scores, k, out_val=q)


@alternative("attention_flops")
def product_of_all(n_query, n_key, d_model):
    return math.prod((2, 2, n_query, n_key, d_model))


# --- forward_flops ----------------------------------------------------------------------------------------------------


@alternative("forward_flops")
def by_parameters(n_layer, d_model, vocab_size, n_query, n_key):
    matrices = 12 * n_layer * d_model**2 + vocab_size * d_model
    return 2 * matrices * n_query + n_layer * 2 * (n_query * n_key * d_model) * 2


@alternative("forward_flops")
def matrix_by_matrix(n_layer, d_model, vocab_size, n_query, n_key):
    def matmul(a, b, c):
        return 2 * a * b * c

    total = 0
    for _ in range(n_layer):
        total += matmul(n_query, d_model, 3 * d_model)
        total += matmul(n_query, d_model, n_key)
        total += matmul(n_query, n_key, d_model)
        total += matmul(n_query, d_model, d_model)
        total += matmul(n_query, d_model, 4 * d_model)
        total += matmul(n_query, 4 * d_model, d_model)
    return total + matmul(n_query, d_model, vocab_size)


@alternative("forward_flops")
def as_an_int64_tensor(n_layer, d_model, vocab_size, n_query, n_key):
    widths = torch.tensor([3 * d_model, d_model, 4 * d_model, 4 * d_model, 2 * n_key])
    return 2 * n_query * d_model * (n_layer * widths.sum() + vocab_size)


@alternative("forward_flops")
def token_by_token(n_layer, d_model, vocab_size, n_query, n_key):
    of_a_token = n_layer * (8 * d_model**2 + 16 * d_model**2 + 4 * d_model * n_key) + 2 * vocab_size * d_model
    return sum(of_a_token for _ in range(n_query))


# --- decode_flops -----------------------------------------------------------------------------------------------------


@alternative("decode_flops")
def in_closed_form(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    if n_new == 0:
        return 0
    first, last = n_prompt, n_prompt + n_new - 1
    lengths = (first + last) * n_new // 2
    squares = sum(n * n for n in range(first, last + 1))
    fed, pairs = (first + n_new - 1, first * first + lengths - first) if use_cache else (lengths, squares)
    weights = 24 * n_layer * d_model**2 + 2 * vocab_size * d_model
    return weights * fed + 4 * n_layer * d_model * pairs


@alternative("decode_flops")
def a_loop_that_feeds(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total, held, unseen = 0, 0, n_prompt
    for _ in range(n_new):
        if not use_cache:
            unseen, held = held + unseen, 0
        held += unseen
        block = 24 * d_model * d_model * unseen + 4 * d_model * unseen * held
        total += n_layer * block + 2 * d_model * vocab_size * unseen
        unseen = 1
    return total


@alternative("decode_flops")
def prefill_and_steps(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    def of_pass(fed, seen):
        return (n_layer * (24 * d_model + 4 * seen) + 2 * vocab_size) * d_model * fed

    passes = [(n_prompt + i, n_prompt + i) for i in range(n_new)]
    if use_cache:
        passes = passes[:1] + [(1, seen) for _, seen in passes[1:]]
    return sum(of_pass(*each) for each in passes)


@alternative("decode_flops")
def with_arrays(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    seen = np.arange(n_prompt, n_prompt + n_new, dtype=np.int64).astype(object)
    fed = np.ones(n_new, dtype=np.int64).astype(object)
    fed[:1] = n_prompt
    if not use_cache:
        fed = seen
    weights = n_layer * 24 * d_model**2 + 2 * vocab_size * d_model
    return int((weights * fed + n_layer * 4 * d_model * fed * seen).sum())


# --- kv_cache_bytes ---------------------------------------------------------------------------------------------------


@alternative("kv_cache_bytes")
def keys_plus_values(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    keys = batch * n_kv_head * n_position * d_head * bytes_per_number
    values = keys
    return n_layer * (keys + values)


@alternative("kv_cache_bytes")
def bits_first(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    bits = int(8 * bytes_per_number)
    return 2 * n_layer * batch * n_kv_head * n_position * d_head * bits / 8


@alternative("kv_cache_bytes")
def a_float_tensor(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    sizes = [2, n_layer, n_kv_head, d_head, n_position, batch, bytes_per_number]
    return torch.tensor(sizes, dtype=torch.float64).prod()


@alternative("kv_cache_bytes")
def layer_after_layer(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    total = 0
    for _ in range(n_layer):
        for _ in ("k", "v"):
            total += torch.empty(batch, n_kv_head, n_position, d_head, device="meta").numel() * bytes_per_number
    return float(total)


# --- arithmetic_intensity ---------------------------------------------------------------------------------------------


@alternative("arithmetic_intensity")
def per_weight(n_token, d_in, d_out, bytes_per_number=2):
    return 2 * n_token / (1 + n_token / d_in + n_token / d_out) / bytes_per_number


@alternative("arithmetic_intensity")
def inverse_sum(n_token, d_in, d_out, bytes_per_number=2):
    return 2 / bytes_per_number / (1 / n_token + 1 / d_in + 1 / d_out)


@alternative("arithmetic_intensity")
def as_a_fraction(n_token, d_in, d_out, bytes_per_number=2):
    moved = Fraction(bytes_per_number) * (d_in * d_out + n_token * d_in + n_token * d_out)
    return float(Fraction(2 * n_token * d_in * d_out) / moved)


@alternative("arithmetic_intensity")
def in_float32(n_token, d_in, d_out, bytes_per_number=2):
    n, a, b = torch.tensor([n_token, d_in, d_out], dtype=torch.float32)
    return 2 * n * a * b / ((a * b + n * (a + b)) * bytes_per_number)


@alternative("arithmetic_intensity")
def of_tensors_without_memory(n_token, d_in, d_out, bytes_per_number=2):
    x, weight = torch.empty(n_token, d_in, device="meta"), torch.empty(d_in, d_out, device="meta")
    y = x @ weight
    return 2 * y.numel() * d_in / (bytes_per_number * sum(map(torch.numel, (x, weight, y))))


# --- max_batch_size ---------------------------------------------------------------------------------------------------


@alternative("max_batch_size")
def floor_of_the_quotient(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return max(math.floor((memory_bytes - weight_bytes) / cache_bytes_per_sequence), 0)


@alternative("max_batch_size")
def early_return(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    if weight_bytes >= memory_bytes:
        return 0
    return int((memory_bytes - weight_bytes) / cache_bytes_per_sequence)


@alternative("max_batch_size")
def exact_fractions(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    room = Fraction(memory_bytes) - Fraction(weight_bytes)
    return max(0, room // Fraction(cache_bytes_per_sequence))


@alternative("max_batch_size")
def an_integer_tensor(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    room = torch.tensor(float(memory_bytes), dtype=torch.float64) - weight_bytes
    return torch.div(room, cache_bytes_per_sequence, rounding_mode="floor").clamp(min=0).long()


@alternative("max_batch_size")
def by_divmod(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    whole, _ = divmod(max(memory_bytes - weight_bytes, 0), cache_bytes_per_sequence)
    return int(whole)
