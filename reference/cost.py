"""What a GPT costs: operations, bytes, and which of the two it waits for (chapter 10).
An operation (FLOP) is a multiplication or an addition, so a multiply-add is two; only matrix products are counted, with
the whole rectangle of scores, as `torch.utils.flop_counter` does. Source: Pope et al. 2022 (2211.05102), section 2."""

from math import inf

from reference.shapes import expect


def attention_flops(n_query: int, n_key: int, d_model: int) -> int:
    """Operations of scores and weighted values, of all heads of one layer for one sequence: without projections.
    >>> attention_flops(1, 1024, 768)
    3145728"""
    return 2 * (2 * n_query * n_key * d_model)  # q k^T, and weights times v


def forward_flops(n_layer: int, d_model: int, vocab_size: int, n_query: int, n_key: int) -> int:
    """Operations of one pass over `n_query` tokens that see `n_key` positions, themselves included; one sequence.
    Raises ValueError unless 1 <= n_query <= n_key.
    >>> forward_flops(12, 768, 50257, n_query=1, n_key=1024)  # GPT-2 decodes the last token of its context
    284812800"""
    expect(1 <= n_query <= n_key, "1 <= n_query <= n_key", n_query, n_key)
    block = 2 * 12 * d_model**2 * n_query + attention_flops(n_query, n_key, d_model)
    return n_layer * block + 2 * d_model * vocab_size * n_query  # and the head


def decode_flops(n_layer: int, d_model: int, vocab_size: int, n_prompt: int, n_new: int, use_cache: bool) -> int:
    """Operations of generating `n_new` tokens after `n_prompt`; the last token is chosen, but never fed.
    With a cache each step feeds one token, else everything. Raises ValueError unless n_new >= 0 and n_prompt >= 1."""
    expect(n_new >= 0 and n_prompt >= 1, "n_prompt of at least 1 and n_new of at least 0", n_prompt, n_new)
    lengths = range(n_prompt, n_prompt + n_new)
    fed = [n if n == n_prompt or not use_cache else 1 for n in lengths]
    return sum(forward_flops(n_layer, d_model, vocab_size, *pair) for pair in zip(fed, lengths, strict=True))


def weight_bytes(n_parameters: int, bytes_per_number: float) -> float:
    """Bytes of the parameters; a number has 4 bytes in float32, 2 in bfloat16, 0.5 in int4."""
    return n_parameters * bytes_per_number


def kv_cache_bytes(
    n_layer: int, n_kv_head: int, d_head: int, n_position: int, batch: int = 1, bytes_per_number: float = 2
) -> float:
    """Bytes of all keys and values of a batch; heads are those of keys and values, which may be fewer than of queries.
    >>> kv_cache_bytes(12, 12, 64, n_position=1024) / 2**20  # GPT-2, float16, MiB
    36.0"""
    return 2 * n_layer * n_kv_head * d_head * n_position * batch * bytes_per_number


def arithmetic_intensity(n_token: int, d_in: int, d_out: int, bytes_per_number: float = 2) -> float:
    """Operations per byte moved by a linear layer on `n_token` tokens: weights, inputs and outputs move once.
    About n_token if that is far below d_in and d_out (2 bytes a number). Source: Williams et al. 2009 (Roofline)."""
    return 2 * n_token * d_in * d_out / ((d_in * d_out + n_token * (d_in + d_out)) * bytes_per_number)


def max_batch_size(memory_bytes: float, weight_bytes: float, cache_bytes_per_sequence: float) -> int:
    """How many sequences fit beside the weights; 0 if none does. Raises ValueError unless a sequence needs bytes."""
    expect(0 < cache_bytes_per_sequence < inf, "the cache of a sequence to take bytes", cache_bytes_per_sequence)
    return max(0, int((memory_bytes - weight_bytes) // cache_bytes_per_sequence))
