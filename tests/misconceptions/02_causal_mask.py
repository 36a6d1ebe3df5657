"""Wrong on purpose: what people believe about masks, each mistake alone in its function."""

from collections.abc import Callable
from typing import Any

import torch

from gptdojo import fingerprint, misconception

Probe = Callable[[], Any]


# --- causal_mask ------------------------------------------------------------------------------------------------------


@misconception(
    "causal_mask",
    believes="the diagonal starts in the top left corner, whatever the number of keys",
    truth="the queries are the newest tokens: with 1 query and 5 keys it sees all 5, so the diagonal ends at the "
    "bottom right",
)
def top_left(n_query, n_key):
    return torch.ones(n_query, n_key, dtype=torch.bool).tril()


@misconception(
    "causal_mask",
    believes="a position must not see itself, since it would see the answer",
    truth="the answer at position t is token t + 1: token t is an input and is seen; without it the first row is empty",
)
def excludes_itself(n_query, n_key):
    return torch.ones(n_query, n_key, dtype=torch.bool).tril(diagonal=n_key - n_query - 1)


@misconception(
    "causal_mask",
    believes="the diagonal is one step further to the right",
    truth="token t + 1 is what position t has to predict: a mask that shows it gives the answer away",
)
def sees_next_token(n_query, n_key):
    return torch.ones(n_query, n_key, dtype=torch.bool).tril(diagonal=n_key - n_query + 1)


@misconception(
    "causal_mask",
    believes="True marks what is hidden, as in nn.MultiheadAttention",
    truth="in scaled_dot_product_attention, and here, True marks what may be seen",
)
def true_means_hidden(n_query, n_key):
    return torch.ones(n_query, n_key, dtype=torch.bool).triu(diagonal=n_key - n_query + 1)


@misconception(
    "causal_mask",
    believes="the upper triangle is the past",
    truth="rows are queries and columns are keys, so what lies right of the diagonal comes later in the text",
)
def upper_triangle(n_query, n_key):
    return torch.ones(n_query, n_key, dtype=torch.bool).triu(diagonal=n_key - n_query)


@misconception(
    "causal_mask",
    believes="keys beyond the queries come from a cache, hence from the past, and need no mask",
    truth="in a chunk of several tokens the later ones are still the future of the earlier: only the last query sees every key",
)
def open_when_cached(n_query, n_key):
    mask = torch.ones(n_query, n_key, dtype=torch.bool)
    return mask.tril() if n_query == n_key else mask


@misconception(
    "causal_mask",
    believes="decoding feeds one token at a time, so only one query needs special care",
    truth="a chunk of several queries over a longer cache is common (chunked prefill, speculative decoding), and its "
    "diagonal ends at the bottom right as well",
)
def open_for_one_query(n_query, n_key):
    mask = torch.ones(n_query, n_key, dtype=torch.bool)
    return mask if n_query == 1 else mask.tril()


@misconception(
    "causal_mask",
    believes="the diagonal is moved by n_query - n_key",
    truth="the first query sits after n_key - n_query older keys, so the diagonal moves to the right, by n_key - n_query",
)
def offset_negated(n_query, n_key):
    return torch.ones(n_query, n_key, dtype=torch.bool).tril(diagonal=n_query - n_key)


@misconception(
    "causal_mask",
    believes="a causal mask is square",
    truth="it has one row a query and one column a key, and with a cache there are fewer queries than keys",
)
def always_square(n_query, n_key):
    return torch.ones(n_key, n_key, dtype=torch.bool).tril()


@misconception(
    "causal_mask",
    believes="rows are keys and columns are queries",
    truth="the scores are q @ k.transpose(-2, -1): one row a query, one column a key",
)
def keys_as_rows(n_query, n_key):
    return torch.ones(n_query, n_key, dtype=torch.bool).tril(diagonal=n_key - n_query).T


@misconception(
    "causal_mask",
    believes="a mask is what gets added to the scores: 0 where allowed and minus infinity elsewhere",
    truth="that is the additive form; this function returns the boolean one, True where attention is allowed",
)
def additive(n_query, n_key):
    return torch.full((n_query, n_key), float("-inf")).triu(diagonal=n_key - n_query + 1)


@misconception(
    "causal_mask",
    believes="ones and zeros of any type make a mask",
    truth="scaled_dot_product_attention adds a float mask to the scores, and masked_fill and ~ need booleans: the dtype "
    "is torch.bool",
)
def ones_and_zeros(n_query, n_key):
    return torch.ones(n_query, n_key).tril(diagonal=n_key - n_query)


@misconception(
    "causal_mask",
    believes="the mask carries axes for batch and head",
    truth="it is the same for every batch row and head, so it has two axes and broadcasts",
)
def four_axes(n_query, n_key):
    return torch.ones(1, 1, n_query, n_key, dtype=torch.bool).tril(diagonal=n_key - n_query)


@misconception(
    "causal_mask",
    believes="a buffer of 1024 positions, made once and sliced, is enough",
    truth="slices past the end of a buffer are silently short: nothing here says how long the text may get",
)
def fixed_buffer(n_query, n_key):
    buffer = torch.ones(1024, 1024, dtype=torch.bool).tril()
    return buffer[n_key - n_query : n_key, :n_key]


@misconception(
    "causal_mask",
    believes="positions can be counted in the dtype of the model, such as bfloat16",
    truth="bfloat16 holds no integer between 256 and 258, and float16 none between 2048 and 2050: neighbors become equal "
    "and a query sees its future",
)
def positions_in_bfloat16(n_query, n_key):
    query = torch.arange(n_key - n_query, n_key).to(torch.bfloat16)
    key = torch.arange(n_key).to(torch.bfloat16)
    return key <= query[:, None]


@fingerprint("causal_mask")
def causal_mask_probes(impl) -> list[Probe]:
    return [
        lambda: impl(3, 3),
        lambda: impl(1, 4),
        lambda: impl(2, 5),
        lambda: impl(3, 5),
        lambda: impl(2, 300),
        lambda: impl(2, 1100),
    ]


# --- padding_causal_mask ----------------------------------------------------------------------------------------------


@misconception(
    "padding_causal_mask",
    believes="the causal mask alone hides the padding",
    truth="left padding comes first, so the causal mask shows it to every real token",
)
def ignores_padding(is_token, n_query):
    batch, n_key = is_token.shape
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    return causal.expand(batch, 1, n_query, n_key)


@misconception(
    "padding_causal_mask",
    believes="the padding mask takes the place of the causal mask",
    truth="both hold at once: a key is seen if it is real and not in the future",
)
def ignores_the_future(is_token, n_query):
    batch, n_key = is_token.shape
    return is_token[:, None, None, :].expand(batch, 1, n_query, n_key)


@misconception(
    "padding_causal_mask",
    believes="two masks are combined with or",
    truth="each mask says what is allowed, so what both allow is their and; or opens real tokens of the future, and pads "
    "of the past",
)
def joined_with_or(is_token, n_query):
    n_key = is_token.shape[1]
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    return is_token[:, None, None, :] | causal


@misconception(
    "padding_causal_mask",
    believes="True in is_token marks padding",
    truth="True marks a real token, as 1 does in a tokenizer's attention_mask; key_padding_mask of "
    "nn.MultiheadAttention is the other way round",
)
def true_means_padding(is_token, n_query):
    n_key = is_token.shape[1]
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    return ~is_token[:, None, None, :] & causal


@misconception(
    "padding_causal_mask",
    believes="padding is hidden by emptying the rows of the pad queries",
    truth="a row says what a query sees; pads leak as keys, so their columns are emptied",
)
def hides_pad_queries(is_token, n_query):
    n_key = is_token.shape[1]
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    return is_token[:, None, n_key - n_query :, None] & causal


@misconception(
    "padding_causal_mask",
    believes="both the rows and the columns of the pads are emptied",
    truth="what a pad query reads is thrown away, so its row follows the same rule as every other: the real keys that "
    "are not in its future",
)
def hides_pad_queries_too(is_token, n_query):
    n_key = is_token.shape[1]
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    return is_token[:, None, None, :] & is_token[:, None, n_key - n_query :, None] & causal


@misconception(
    "padding_causal_mask",
    believes="every query must at least see itself, or its row gives NaN",
    truth="an empty row is the business of the softmax, which returns zeros for it; a key that is a pad stays hidden",
)
def pads_see_themselves(is_token, n_query):
    n_key = is_token.shape[1]
    query = torch.arange(n_key - n_query, n_key)[:, None]
    key = torch.arange(n_key)
    return is_token[:, None, None, :] & (key <= query) | (key == query)


@misconception(
    "padding_causal_mask",
    believes="a row without any allowed key is opened to all keys, so that softmax has something to work on",
    truth="then the pads are read after all, and the future with them; the row stays empty",
)
def opens_empty_rows(is_token, n_query):
    n_key = is_token.shape[1]
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    mask = is_token[:, None, None, :] & causal
    return mask | ~mask.any(dim=-1, keepdim=True)


@misconception(
    "padding_causal_mask",
    believes="padding always stands on the left, so counting it is enough",
    truth="training batches are padded on the right, and conversations have pads in the middle: each key has its own flag",
)
def counts_pads_on_the_left(is_token, n_query):
    n_key = is_token.shape[1]
    query = torch.arange(n_key - n_query, n_key)[:, None]
    key = torch.arange(n_key)
    n_pad = (~is_token).sum(dim=1)[:, None, None, None]
    return (key >= n_pad) & (key <= query)


@misconception(
    "padding_causal_mask",
    believes="padding always stands on the right, so the length of each text is enough",
    truth="batches for generation are padded on the left: each key has its own flag",
)
def counts_tokens_from_the_left(is_token, n_query):
    n_key = is_token.shape[1]
    query = torch.arange(n_key - n_query, n_key)[:, None]
    key = torch.arange(n_key)
    length = is_token.sum(dim=1)[:, None, None, None]
    return (key < length) & (key <= query)


@misconception(
    "padding_causal_mask",
    believes="the real tokens form one unbroken span",
    truth="a batch of conversations, each turn padded, has pads between real tokens: each key has its own flag",
)
def one_unbroken_span(is_token, n_query):
    n_key = is_token.shape[1]
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    started = is_token.cumsum(dim=1) > 0
    goes_on = is_token.flip(1).cumsum(dim=1).flip(1) > 0
    return (started & goes_on)[:, None, None, :] & causal


@misconception(
    "padding_causal_mask",
    believes="the causal rule compares position ids, which count real tokens only",
    truth="the ids of pads are fillers that equal those of real tokens, so their rows see the future: the causal rule "
    "compares places in the row",
)
def compares_position_ids(is_token, n_query):
    n_key = is_token.shape[1]
    position = (is_token.cumsum(dim=1) - 1).clamp(min=0)
    causal = position[:, None, None, :] <= position[:, None, n_key - n_query :, None]
    return is_token[:, None, None, :] & causal


@misconception(
    "padding_causal_mask",
    believes="the diagonal starts in the top left corner, whatever the number of keys",
    truth="the queries are the newest tokens, so the diagonal ends at the bottom right",
)
def padding_top_left(is_token, n_query):
    n_key = is_token.shape[1]
    return is_token[:, None, None, :] & torch.ones(n_query, n_key, dtype=torch.bool).tril()


@misconception(
    "padding_causal_mask",
    believes="what is already in the cache was checked before and holds no padding",
    truth="the pads of a left-padded prompt stay in the cache, and every later query must be kept from them",
)
def trusts_the_cache(is_token, n_query):
    n_key = is_token.shape[1]
    cached = torch.arange(n_key) < n_key - n_query
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    return (is_token | cached)[:, None, None, :] & causal


@misconception(
    "padding_causal_mask",
    believes="one padding mask serves the whole batch",
    truth="each text has its own length, so each batch row has its own mask",
)
def first_row_for_all(is_token, n_query):
    batch, n_key = is_token.shape
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    return (is_token[0] & causal).expand(batch, 1, n_query, n_key)


@misconception(
    "padding_causal_mask",
    believes="(batch, query, key) broadcasts against scores of shape (batch, head, query, key)",
    truth="broadcasting lines shapes up from the right, so the batch would meet the heads: the head axis has to be there, "
    "with size 1",
)
def no_head_axis(is_token, n_query):
    n_key = is_token.shape[1]
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    return is_token[:, None, :] & causal


@misconception(
    "padding_causal_mask",
    believes="a mask is what gets added to the scores: 0 where allowed and minus infinity elsewhere",
    truth="that is the additive form; this function returns the boolean one, True where attention is allowed",
)
def padding_additive(is_token, n_query):
    n_key = is_token.shape[1]
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    allowed = is_token[:, None, None, :] & causal
    return torch.zeros(allowed.shape).masked_fill(~allowed, float("-inf"))


@misconception(
    "padding_causal_mask",
    believes="a causal buffer of 1024 positions, made once and sliced, is enough",
    truth="slices past the end of a buffer are silently short: nothing here says how long the text may get",
)
def padding_fixed_buffer(is_token, n_query):
    n_key = is_token.shape[1]
    buffer = torch.ones(1024, 1024, dtype=torch.bool).tril()
    return is_token[:, None, None, :] & buffer[n_key - n_query : n_key, :n_key]


@misconception(
    "padding_causal_mask",
    believes="one new token needs no mask, since nothing comes after it",
    truth="it needs no causal mask, but the pads of a left-padded prompt are still in the cache and stay hidden",
)
def no_mask_for_one_query(is_token, n_query):
    batch, n_key = is_token.shape
    if n_query == 1:
        return torch.ones(batch, 1, 1, n_key, dtype=torch.bool)
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    return is_token[:, None, None, :] & causal


@misconception(
    "padding_causal_mask",
    believes="keys beyond the queries come from a cache, hence from the past, and then only the pads need hiding",
    truth="in a chunk of several tokens the later ones are still the future of the earlier: only the last query sees every token",
)
def only_pads_when_cached(is_token, n_query):
    n_key = is_token.shape[1]
    if n_query < n_key:
        return is_token[:, None, None, :].repeat(1, 1, n_query, 1)
    causal = torch.ones(n_query, n_key, dtype=torch.bool).tril()
    return is_token[:, None, None, :] & causal


@fingerprint("padding_causal_mask")
def padding_causal_mask_probes(impl) -> list[Probe]:
    full = torch.ones(2, 3, dtype=torch.bool)
    left_and_right = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]], dtype=torch.bool)
    holes = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 1, 0]], dtype=torch.bool)
    return [
        lambda: impl(full, 3),
        lambda: impl(left_and_right, 4),
        lambda: impl(left_and_right, 2),
        lambda: impl(holes, 5),
        lambda: impl(holes, 3),
        lambda: impl(holes, 1),
        lambda: impl(torch.ones(2, 1100, dtype=torch.bool), 2),
    ]


# --- sliding_window_mask ----------------------------------------------------------------------------------------------


@misconception(
    "sliding_window_mask",
    believes="the window counts the keys before oneself",
    truth="it counts oneself too: a window of 1 sees itself only. FlashAttention's window_size=(left, 0) counts the others, "
    "so left = window - 1",
)
def window_plus_itself(n_query, n_key, window):
    query = torch.arange(n_key - n_query, n_key)[:, None]
    key = torch.arange(n_key)
    return (key <= query) & (key >= query - window)


@misconception(
    "sliding_window_mask",
    believes="the oldest key in the window is just outside",
    truth="query i keeps the keys i - window + 1 to i, both included: `window` of them",
)
def window_one_short(n_query, n_key, window):
    query = torch.arange(n_key - n_query, n_key)[:, None]
    key = torch.arange(n_key)
    return (key <= query) & (key > query - window + 1)


@misconception(
    "sliding_window_mask",
    believes="the window holds the keys before oneself and not oneself",
    truth="a position always sees itself: the window ends there",
)
def window_without_itself(n_query, n_key, window):
    query = torch.arange(n_key - n_query, n_key)[:, None]
    key = torch.arange(n_key)
    return (key < query) & (key >= query - window)


@misconception(
    "sliding_window_mask",
    believes="the causal mask is enough, and the window is a setting of the cache",
    truth="without the lower bound query i still sees the keys up to i - window, which a windowed model never did in training",
)
def ignores_the_window(n_query, n_key, window):
    return torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)


@misconception(
    "sliding_window_mask",
    believes="a window reaches as far to the right as to the left",
    truth="that is an encoder's window; in a decoder the keys to the right are the future",
)
def window_on_both_sides(n_query, n_key, window):
    query = torch.arange(n_key - n_query, n_key)[:, None]
    key = torch.arange(n_key)
    return (key - query).abs() < window


@misconception(
    "sliding_window_mask",
    believes="the text is cut into blocks of `window` tokens, and each token sees its own block",
    truth="that is chunked (block-local) attention; a window slides along with every query",
)
def blocks_instead_of_window(n_query, n_key, window):
    query = torch.arange(n_key - n_query, n_key)[:, None]
    key = torch.arange(n_key)
    return (key <= query) & (key // window == query // window)


@misconception(
    "sliding_window_mask",
    believes="the last `window` keys of the cache are the window of every query",
    truth="each query has a window of its own, which ends at itself; only the last query's is the end of the cache",
)
def one_window_for_all(n_query, n_key, window):
    query = torch.arange(n_key - n_query, n_key)[:, None]
    key = torch.arange(n_key)
    return (key <= query) & (key >= n_key - window)


@misconception(
    "sliding_window_mask",
    believes="the first token stays visible to all, as an attention sink",
    truth="attention sinks are an addition (StreamingLLM): a plain window forgets the first token like any other",
)
def keeps_the_first_token(n_query, n_key, window):
    query = torch.arange(n_key - n_query, n_key)[:, None]
    key = torch.arange(n_key)
    return (key <= query) & ((key > query - window) | (key == 0))


@misconception(
    "sliding_window_mask",
    believes="a slice that starts before the first key starts at the first key",
    truth="a negative start counts from the end in Python, so the early rows come out empty: clamp it at 0",
)
def negative_start(n_query, n_key, window):
    mask = torch.zeros(n_query, n_key, dtype=torch.bool)
    for row, query in enumerate(range(n_key - n_query, n_key)):
        mask[row, query - window + 1 : query + 1] = True
    return mask


@misconception(
    "sliding_window_mask",
    believes="a window longer than the text is a mistake of the caller",
    truth="every text starts out shorter than the window, and then the mask is the causal one",
)
def refuses_long_windows(n_query, n_key, window):
    if window > n_key:
        raise ValueError(f"expected window <= n_key, got {window} and {n_key}")
    query = torch.arange(n_key - n_query, n_key)[:, None]
    key = torch.arange(n_key)
    return (key <= query) & (key > query - window)


@misconception(
    "sliding_window_mask",
    believes="the diagonals are counted from the top left corner",
    truth="the queries are the newest tokens: both edges of the band move right by n_key - n_query",
)
def window_top_left(n_query, n_key, window):
    return torch.ones(n_query, n_key, dtype=torch.bool).tril().triu(diagonal=1 - window)


@misconception(
    "sliding_window_mask",
    believes="a cache moves the causal edge of the band only",
    truth="the older edge moves with it, or a query at the end of a long cache sees far more than `window` keys",
)
def moves_one_edge(n_query, n_key, window):
    return torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query).triu(diagonal=1 - window)


@misconception(
    "sliding_window_mask",
    believes="decoding feeds one token at a time, so only one query needs special care",
    truth="a chunk of several queries over a longer cache has its band at the bottom right as well",
)
def window_moved_for_one_query(n_query, n_key, window):
    if n_query == 1:
        return torch.arange(n_key)[None, :] >= n_key - window
    return torch.ones(n_query, n_key, dtype=torch.bool).tril().triu(diagonal=1 - window)


@misconception(
    "sliding_window_mask",
    believes="True marks what is hidden, as in nn.MultiheadAttention",
    truth="in scaled_dot_product_attention, and here, True marks what may be seen",
)
def window_true_means_hidden(n_query, n_key, window):
    query = torch.arange(n_key - n_query, n_key)[:, None]
    key = torch.arange(n_key)
    return (key > query) | (key <= query - window)


@misconception(
    "sliding_window_mask",
    believes="positions can be counted in the dtype of the model, such as bfloat16",
    truth="bfloat16 holds no integer between 256 and 258, so both edges of the window are wrong in a long text",
)
def window_in_bfloat16(n_query, n_key, window):
    query = torch.arange(n_key - n_query, n_key).to(torch.bfloat16)[:, None]
    key = torch.arange(n_key).to(torch.bfloat16)
    return (key <= query) & (key > query - window)


@fingerprint("sliding_window_mask")
def sliding_window_mask_probes(impl) -> list[Probe]:
    return [
        lambda: impl(5, 5, 2),
        lambda: impl(4, 4, 3),
        lambda: impl(3, 3, 4),
        lambda: impl(1, 6, 2),
        lambda: impl(2, 6, 3),
        lambda: impl(2, 300, 3),
    ]


# --- masked_softmax ---------------------------------------------------------------------------------------------------


@misconception(
    "masked_softmax",
    believes="the mask is applied to the weights, after the softmax",
    truth="the hidden scores are still in the denominator: rows sum to less than 1, and the future leaks through it",
)
def masks_the_weights(scores, mask):
    return torch.softmax(scores, dim=-1) * mask


@misconception(
    "masked_softmax",
    believes="multiplying a score by 0 removes it",
    truth="a score of 0 is an ordinary score, worth exp(0) = 1 before normalization: only minus infinity is worth nothing",
)
def masks_with_zero(scores, mask):
    return torch.softmax(scores.masked_fill(~mask, 0.0), dim=-1) * mask.any(dim=-1, keepdim=True)


@misconception(
    "masked_softmax",
    believes="-100 is as good as minus infinity",
    truth="softmax only sees differences: when the allowed scores are near -100 or below, the hidden keys get weight",
)
def fills_with_minus_hundred(scores, mask):
    weights = torch.softmax(scores.masked_fill(~mask, -100.0), dim=-1)
    return weights * mask.any(dim=-1, keepdim=True)


@misconception(
    "masked_softmax",
    believes="-1e9 is as good as minus infinity",
    truth="-1e9 does not exist in float16, whose lowest value is -65504, and it is no bound for scores in float32",
)
def fills_with_minus_billion(scores, mask):
    weights = torch.softmax(scores.masked_fill(~mask, -1e9), dim=-1)
    return weights * mask.any(dim=-1, keepdim=True)


@misconception(
    "masked_softmax",
    believes="the lowest float32 is a filler for every dtype",
    truth="it overflows in float16: take torch.finfo(scores.dtype).min, or minus infinity, which every float dtype has",
)
def fills_with_lowest_float32(scores, mask):
    weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(torch.float32).min), dim=-1)
    return weights * mask.any(dim=-1, keepdim=True)


@misconception(
    "masked_softmax",
    believes="in half precision -10000 is low enough",
    truth="float16 reaches down to -65504, and softmax only sees differences: once the allowed scores lie below -10000, the "
    "hidden keys get their weight. torch.finfo(scores.dtype).min, or minus infinity, has no such limit",
)
def fills_with_minus_ten_thousand_in_half(scores, mask):
    lowest = torch.finfo(torch.float32).min if scores.dtype == torch.float32 else -1e4
    return torch.softmax(scores.masked_fill(~mask, lowest), dim=-1).masked_fill(~mask, 0.0)


@misconception(
    "masked_softmax",
    believes="with the lowest finite number as a filler, empty rows take care of themselves",
    truth="an empty row is then constant, and its softmax is uniform over all keys, hidden ones included",
)
def uniform_in_empty_rows(scores, mask):
    return torch.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=-1)


@misconception(
    "masked_softmax",
    believes="filling with minus infinity is all there is to it",
    truth="a row of minus infinities is 0/0 in softmax: NaN, which spreads to everything downstream",
)
def nan_in_empty_rows(scores, mask):
    return torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)


@misconception(
    "masked_softmax",
    believes="either the whole mask is empty or no row is",
    truth="in a left-padded batch only the rows of the pads are empty: each row has to be looked at",
)
def zeros_if_all_is_empty(scores, mask):
    if not mask.any():
        return torch.zeros_like(scores)
    return torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)


@misconception(
    "masked_softmax",
    believes="multiplying by 0 erases whatever an empty row holds",
    truth="0 * NaN is NaN: an empty row with a NaN or an infinity in it has to be replaced, not multiplied",
)
def multiplies_empty_rows_away(scores, mask):
    some = mask.any(dim=-1, keepdim=True)
    return torch.softmax(scores.masked_fill(some & ~mask, float("-inf")), dim=-1) * some


@misconception(
    "masked_softmax",
    believes="mask.any(dim=-1) broadcasts against the weights by itself",
    truth="broadcasting lines shapes up from the right, so it would meet the keys: keepdim=True leaves the axis in place",
)
def forgets_keepdim(scores, mask):
    weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=-1)
    return weights * mask.any(dim=-1)


@misconception(
    "masked_softmax",
    believes="the softmax runs over the queries",
    truth="each query shares out its attention among the keys, so every row sums to 1 and the softmax runs over the last axis",
)
def over_the_queries(scores, mask):
    return torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-2).nan_to_num(0.0)


@misconception(
    "masked_softmax",
    believes="axis 1 holds the keys",
    truth="it does for one matrix of scores; with batch and head axes before it the keys are the last axis, -1",
)
def over_axis_one(scores, mask):
    return torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=1).nan_to_num(0.0)


@misconception(
    "masked_softmax",
    believes="True marks what is hidden, as in nn.MultiheadAttention",
    truth="in scaled_dot_product_attention, and here, True marks what may be seen",
)
def softmax_of_the_hidden(scores, mask):
    return torch.softmax(scores.masked_fill(mask, float("-inf")), dim=-1).nan_to_num(0.0)


@misconception(
    "masked_softmax",
    believes="adding minus infinity hides any score",
    truth="inf + -inf and NaN + -inf are NaN: a hidden score has to be replaced, not shifted",
)
def adds_minus_infinity(scores, mask):
    bias = torch.zeros(mask.shape, dtype=scores.dtype).masked_fill(~mask, float("-inf"))
    weights = torch.softmax(scores + bias, dim=-1)
    return weights.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


@misconception(
    "masked_softmax",
    believes="nan_to_num at the end repairs whatever went wrong before",
    truth="one hidden NaN or infinity turns the whole row into NaN, and then the allowed keys get zeros as well",
)
def repairs_at_the_end(scores, mask):
    bias = torch.zeros(mask.shape, dtype=scores.dtype).masked_fill(~mask, float("-inf"))
    return torch.softmax(scores + bias, dim=-1).nan_to_num(0.0)


@misconception(
    "masked_softmax",
    believes="the weights can be masked after the softmax if they are normalized again",
    truth="a large hidden score pushes all allowed weights down to nothing, and nothing is left to normalize",
)
def normalizes_again(scores, mask):
    weights = torch.softmax(scores, dim=-1) * mask
    return weights / (weights.sum(dim=-1, keepdim=True) + 1e-9)


@misconception(
    "masked_softmax",
    believes="the maximum that is subtracted may be taken over all scores",
    truth="if it is a hidden one, all allowed exponentials underflow to 0: it has to be the maximum of the allowed scores",
)
def maximum_of_all(scores, mask):
    highest = scores.max(dim=-1, keepdim=True).values
    weights = torch.exp(scores - highest).masked_fill(~mask, 0.0)
    total = weights.sum(dim=-1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "masked_softmax",
    believes="one maximum, of all allowed scores, can be subtracted from every row",
    truth="in a row whose scores lie some 100 below that maximum all exponentials underflow to 0: each row subtracts its own",
)
def maximum_of_all_rows(scores, mask):
    allowed = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.exp(allowed - allowed.max()).masked_fill(~mask, 0.0)
    total = weights.sum(dim=-1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "masked_softmax",
    believes="exp can be taken of the scores as they are",
    truth="in float32 exp is infinite above 88 and 0 below -104, and then no weights are left to normalize: subtract the row's "
    "maximum first, which cancels",
)
def no_maximum(scores, mask):
    weights = torch.exp(scores.masked_fill(~mask, float("-inf")))
    total = weights.sum(dim=-1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "masked_softmax",
    believes="adding 1e-9 to the denominator keeps an empty row from being 0/0",
    truth="in float16 the smallest number above 0 is 6e-8, so 1e-9 is 0 there and the row is NaN: put 1 in the place of an empty "
    "row's sum, or zeros in the place of its weights",
)
def tiny_number_in_the_denominator(scores, mask):
    highest = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).max(dim=-1, keepdim=True).values
    weights = torch.exp(scores - highest).masked_fill(~mask, 0.0)
    return weights / (weights.sum(dim=-1, keepdim=True) + 1e-9)


@misconception(
    "masked_softmax",
    believes="clamping the scores is a harmless way to keep exp from overflowing",
    truth="it changes the weights of every score beyond the clamp; subtracting the row's maximum does not",
)
def clamps_the_scores(scores, mask):
    clamped = scores.clamp(-50.0, 50.0).masked_fill(~mask, float("-inf"))
    return torch.softmax(clamped, dim=-1).masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


@misconception(
    "masked_softmax",
    believes="scores[~mask] broadcasts the mask as masked_fill does",
    truth="boolean indexing needs a mask of the same shape: expand it first, or use masked_fill or torch.where",
)
def indexes_with_the_mask(scores, mask):
    hidden = scores.clone()
    hidden[~mask] = float("-inf")
    return torch.softmax(hidden, dim=-1).masked_fill(~mask, 0.0)


@misconception(
    "masked_softmax",
    believes="one mask serves the whole batch",
    truth="with padding each batch row has a mask of its own",
)
def first_mask_for_all(scores, mask):
    while mask.dim() > 2:
        mask = mask[0]
    weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)
    return weights.masked_fill(~mask, 0.0)


@misconception(
    "masked_softmax",
    believes="scores always come contiguous, so view can flatten them",
    truth="a transposed or sliced tensor has no such view: reshape copies where it must, and softmax needs no flattening",
)
def flattens_with_view(scores, mask):
    n_key = scores.shape[-1]
    rows = scores.view(-1, n_key)
    hidden = ~mask.expand(scores.shape).reshape(-1, n_key)
    weights = torch.softmax(rows.masked_fill(hidden, float("-inf")), dim=-1).masked_fill(hidden, 0.0)
    return weights.view(scores.shape)


@misconception(
    "masked_softmax",
    believes="weights in float32 are welcome, since they are more exact",
    truth="the next step multiplies them with values in the dtype of the scores, and torch refuses to mix: compute in float32 "
    "if you like, and return the dtype that came in",
)
def returns_float32(scores, mask):
    weights = torch.softmax(scores.float().masked_fill(~mask, float("-inf")), dim=-1)
    return weights.masked_fill(~mask, 0.0)


@misconception(
    "masked_softmax",
    believes="the scores are a scratch tensor that may be overwritten",
    truth="they belong to the caller, who may still need them: masked_fill without the underscore leaves them alone",
)
def overwrites_the_scores(scores, mask):
    scores.masked_fill_(~mask, float("-inf"))
    return torch.softmax(scores, dim=-1).masked_fill(~mask, 0.0)


@fingerprint("masked_softmax")
def masked_softmax_probes(impl) -> list[Probe]:
    inf, nan = float("inf"), float("nan")
    scores = torch.tensor([[1.0, -0.5, 2.0], [0.5, 0.0, -1.0]])
    mask = torch.tensor([[True, False, True], [True, True, False]])
    middle_hidden = torch.tensor([[True, False, True]])
    one_row_empty = torch.tensor([[True, False, True], [False, False, False]])
    extreme = torch.tensor([[1.0, inf, 2.0], [0.5, 0.0, nan]])
    pair, pair_mask = torch.stack([scores, scores.flip(0)]), torch.stack([mask, mask.flip(0)])
    square, square_mask = scores[[0, 1, 0]], torch.tensor([[True] * 3, [False] * 3, [True] * 3])

    return [
        lambda: impl(scores, torch.ones(2, 3, dtype=torch.bool)),
        lambda: impl(scores, mask),
        lambda: impl(scores, one_row_empty),
        lambda: impl(scores, torch.zeros(2, 3, dtype=torch.bool)),
        lambda: impl(square, square_mask),
        lambda: impl(extreme, mask),
        lambda: impl(extreme, one_row_empty),
        lambda: impl(torch.tensor([[0.0, 30.0, 1.0]]), middle_hidden),
        lambda: impl(torch.tensor([[0.0, 300.0, 1.0]]), middle_hidden),
        lambda: impl(scores * 100, mask),
        lambda: impl(scores - 120, mask),
        lambda: impl(scores * 1e10 - 3e10, mask),
        lambda: impl(pair, mask),
        lambda: impl(pair, pair_mask),
        lambda: impl(pair.mT.contiguous().mT, mask),
        lambda: getattr(impl(scores.half(), mask), "dtype", None),
        lambda: bool(impl(scores.half(), one_row_empty).isfinite().all()),
        lambda: impl(scores.half() * 100 - 20000, mask),
    ]
