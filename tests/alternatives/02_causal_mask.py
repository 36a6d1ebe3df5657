"""Right, and written differently: all of these must be accepted."""

import numpy as np
import torch
from torch.nn import functional

from gptdojo import alternative

# --- causal_mask ------------------------------------------------------------------------------------------------------


@alternative("causal_mask")
def compare_positions(n_query, n_key):
    query = torch.arange(n_key - n_query, n_key).unsqueeze(1)
    key = torch.arange(n_key).unsqueeze(0)
    return query >= key


@alternative("causal_mask")
def last_rows_of_the_square(n_query, n_key):
    return torch.ones(n_key, n_key).tril().bool()[-n_query:]


@alternative("causal_mask")
def not_the_future(n_query, n_key):
    return torch.ones(n_query, n_key).triu(n_key - n_query + 1) == 0


@alternative("causal_mask")
def row_by_row(n_query, n_key):
    mask = torch.zeros((n_query, n_key), dtype=torch.bool)
    for i in range(n_query):
        mask[i, : n_key - n_query + i + 1] = True
    return mask


@alternative("causal_mask")
def nested_lists(n_query, n_key):
    return torch.tensor([[key <= n_key - n_query + query for key in range(n_key)] for query in range(n_query)])


@alternative("causal_mask")
def counted_from_the_corner(n_query, n_key):
    lower_right = torch.ones(n_query, n_key, dtype=torch.uint8).flip(0, 1).triu().flip(0, 1)
    return lower_right.to(torch.bool)


@alternative("causal_mask")
def transposed_view(n_query, n_key):
    return torch.ones(n_key, n_query, dtype=torch.bool).triu(n_query - n_key).T


@alternative("causal_mask")
def cumulative_sum_of_the_diagonal(n_query, n_key):
    on_the_diagonal = torch.diag_embed(torch.ones(n_query), offset=0)
    diagonal = functional.pad(on_the_diagonal, (n_key - n_query, 0))
    return diagonal.flip(1).cumsum(1).flip(1) > 0.5


# --- padding_causal_mask ----------------------------------------------------------------------------------------------


@alternative("padding_causal_mask")
def both_by_broadcasting(is_token, n_query):
    n_key = is_token.shape[1]
    query = torch.arange(n_key - n_query, n_key).view(1, 1, n_query, 1)
    key = torch.arange(n_key).view(1, 1, 1, n_key)
    return torch.logical_and(key <= query, is_token.view(-1, 1, 1, n_key))


@alternative("padding_causal_mask")
def product_of_numbers(is_token, n_query):
    batch, n_key = is_token.shape
    causal = torch.tril(torch.ones(n_key, n_key))[n_key - n_query :]
    return torch.einsum("bk,qk->bqk", is_token.float(), causal).bool().reshape(batch, 1, n_query, n_key)


@alternative("padding_causal_mask")
def padding_loops(is_token, n_query):
    batch, n_key = is_token.shape
    mask = torch.full((batch, 1, n_query, n_key), False)
    for b in range(batch):
        for i in range(n_query):
            for j in range(n_key - n_query + i + 1):
                mask[b, 0, i, j] = bool(is_token[b, j])
    return mask


@alternative("padding_causal_mask")
def tril_of_the_expanded_rows(is_token, n_query):
    n_key = is_token.shape[1]
    rows = is_token[:, None, None].expand(-1, -1, n_query, -1)
    return rows.tril(n_key - n_query)


@alternative("padding_causal_mask")
def from_additive_masks(is_token, n_query):
    n_key = is_token.shape[1]
    padding = torch.zeros(is_token.shape).masked_fill(~is_token, float("-inf"))
    causal = torch.full((n_query, n_key), float("-inf")).triu(n_key - n_query + 1)
    return (padding[:, None, None, :] + causal) == 0


@alternative("padding_causal_mask")
def stacked_texts(is_token, n_query):
    n_key = is_token.shape[1]
    causal = torch.ones(n_query, n_key).tril(n_key - n_query) == 1
    return torch.stack([(causal & real)[None] for real in is_token])


@alternative("padding_causal_mask")
def transposed_storage(is_token, n_query):
    n_key = is_token.shape[1]
    keys_first = torch.ones(n_key, n_query, dtype=torch.bool).triu(n_query - n_key) & is_token[:, :, None]
    return keys_first.transpose(1, 2)[:, None]


# --- sliding_window_mask ----------------------------------------------------------------------------------------------


@alternative("sliding_window_mask")
def distance_between(n_query, n_key, window):
    distance = torch.arange(n_key - n_query, n_key)[:, None] - torch.arange(n_key)
    return (distance >= 0) & (distance < window)


@alternative("sliding_window_mask")
def two_triangles(n_query, n_key, window):
    older = n_key - n_query
    return torch.ones(n_query, n_key).tril(older).triu(older - window + 1).bool()


@alternative("sliding_window_mask")
def causal_minus_too_old(n_query, n_key, window):
    full = torch.ones(n_key, n_key, dtype=torch.bool)
    return (full.tril() ^ full.tril(-window))[n_key - n_query :]


@alternative("sliding_window_mask")
def clamped_slices(n_query, n_key, window):
    mask = torch.zeros(n_query, n_key, dtype=torch.bool)
    for i in range(n_query):
        end = n_key - n_query + i + 1
        mask[i, max(0, end - window) : end] = True
    return mask


@alternative("sliding_window_mask")
def shifted_rows(n_query, n_key, window):
    window = min(window, n_key)
    rows = []
    for newer in reversed(range(n_query)):
        row = [0] * (n_key + n_query)
        row[n_key - newer - 1 + n_query - window + 1 : n_key - newer + n_query] = [1] * window
        rows.append(row[n_query:] if n_key - newer >= window else [1] * (n_key - newer) + [0] * newer)
    return torch.tensor(rows) > 0


@alternative("sliding_window_mask")
def band_as_a_strided_view(n_query, n_key, window):
    left = n_key - 1
    line = torch.zeros(left + n_key, dtype=torch.bool)
    line[max(0, left - window + 1) : left + 1] = True
    starts = left - torch.arange(n_key - n_query, n_key)
    return line[starts[:, None] + torch.arange(n_key)]


@alternative("sliding_window_mask")
def distance_in_float64(n_query, n_key, window):
    query = torch.linspace(n_key - n_query, n_key - 1, n_query, dtype=torch.float64)
    key = torch.linspace(0, n_key - 1, n_key, dtype=torch.float64)
    distance = torch.round(query[:, None] - key)
    return torch.where(distance < 0, False, distance < window)


# --- masked_softmax ---------------------------------------------------------------------------------------------------


@alternative("masked_softmax")
def fill_softmax_repair(scores, mask):
    return torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1).nan_to_num(0.0)


@alternative("masked_softmax")
def lowest_number_then_zero(scores, mask):
    hidden = mask.logical_not()
    weights = functional.softmax(scores.masked_fill(hidden, torch.finfo(scores.dtype).min), dim=-1)
    return weights.masked_fill(hidden, 0)


@alternative("masked_softmax")
def by_hand(scores, mask):
    allowed = torch.where(mask, scores, float("-inf"))
    highest = allowed.amax(dim=-1, keepdim=True)
    highest = torch.where(highest.isinf(), 0.0, highest)
    weights = (allowed - highest).exp()
    return weights / weights.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)


@alternative("masked_softmax")
def safe_scores_then_where(scores, mask):
    safe = torch.where(mask, scores, 0.0)
    bias = torch.zeros_like(scores).masked_fill(~mask, float("-inf"))
    some = mask.any(dim=-1, keepdim=True)
    return torch.where(some, torch.softmax(safe + bias, dim=-1), 0.0)


@alternative("masked_softmax")
def in_float64(scores, mask):
    weights = scores.double().masked_fill(~mask, float("-inf")).softmax(-1).nan_to_num()
    return weights.to(scores.dtype)


@alternative("masked_softmax")
def in_float32_with_logsumexp(scores, mask):
    allowed = scores.float().masked_fill(~mask, float("-inf"))
    log_total = torch.logsumexp(allowed, dim=-1, keepdim=True)
    log_total = log_total.masked_fill(log_total == float("-inf"), 0.0)
    return (allowed - log_total).exp().type_as(scores)


@alternative("masked_softmax")
def one_row_at_a_time(scores, mask):
    n_key = scores.shape[-1]
    rows = scores.reshape(-1, n_key)
    allowed = mask.broadcast_to(scores.shape).reshape(-1, n_key)
    weights = torch.zeros_like(rows)
    for i in range(len(rows)):
        keys = allowed[i].nonzero().flatten()
        if len(keys):
            weights[i, keys] = torch.softmax(rows[i, keys], dim=0)
    return weights.reshape(scores.shape)


@alternative("masked_softmax")
def a_row_of_empty_masks_opened_then_closed(scores, mask):
    empty = ~mask.any(-1, keepdim=True)
    open_mask = mask | empty
    finite = scores.nan_to_num(0.0, posinf=0.0, neginf=0.0)
    weights = torch.softmax(finite.masked_fill(~open_mask, -torch.inf), -1)
    return weights * (~empty).to(weights.dtype)


@alternative("masked_softmax")
def softmax_over_the_transposed(scores, mask):
    keys_first = scores.transpose(-1, -2).clone()
    mask = mask.expand_as(scores).transpose(-1, -2)
    keys_first[~mask] = -torch.inf
    weights = keys_first.softmax(dim=-2)
    weights = torch.where(mask, weights, torch.zeros((), dtype=scores.dtype))
    return weights.transpose(-1, -2)


@alternative("masked_softmax")
def log_softmax_then_exp(scores, mask):
    lowest = torch.finfo(scores.dtype).min
    log_weights = torch.log_softmax(torch.where(mask, scores, lowest), dim=-1)
    return torch.where(mask, log_weights, -torch.inf).exp()


@alternative("masked_softmax")
def repaired_in_place(scores, mask):
    weights = scores.clone()
    weights.masked_fill_(~mask, -torch.inf)
    weights = weights.softmax(dim=-1)
    weights.masked_fill_(~mask, 0.0)
    return weights


@alternative("masked_softmax")
def discarded_after_exp(scores, mask):
    highest = scores.masked_fill(~mask, -torch.inf).max(dim=-1, keepdim=True).values
    highest = highest.masked_fill(highest == -torch.inf, 0.0)
    weights = torch.where(mask, torch.exp(scores - highest), 0.0)
    total = weights.sum(dim=-1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1.0)


@alternative("masked_softmax")
def finite_scores_plus_bias(scores, mask):
    bias = torch.zeros(mask.shape, dtype=scores.dtype).masked_fill(~mask, -torch.inf)
    return torch.softmax(scores.nan_to_num() + bias, dim=-1).nan_to_num(0.0)


@alternative("masked_softmax")
def with_numpy(scores, mask):
    allowed = np.where(mask.numpy(), scores.float().numpy(), -np.inf)
    highest = allowed.max(axis=-1, keepdims=True)
    weights = np.exp(allowed - np.where(np.isinf(highest), 0.0, highest))
    total = weights.sum(axis=-1, keepdims=True)
    return torch.from_numpy(weights / np.where(total == 0.0, 1.0, total)).to(scores.dtype)


@alternative("masked_softmax")
def torch_masked(scores, mask):
    with torch.no_grad():
        return torch.masked.softmax(scores, dim=-1, mask=mask).masked_fill(~mask, 0.0)
