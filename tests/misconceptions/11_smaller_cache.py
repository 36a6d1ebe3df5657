"""Wrong on purpose: what people believe about shared heads, rolling caches and quantized ones, each mistake alone in its code.

Every class is whole, because each is handed out by itself.
"""

import math

import torch

from gptdojo import fingerprint, misconception
from gptdojo.faults import LearnerError
from reference.attention import scaled_dot_product_attention

# --- repeat_kv --------------------------------------------------------------------------------------------------------


@misconception(
    "repeat_kv",
    believes="repeat and repeat_interleave differ in name only",
    truth=(
        "repeat lays the whole row of heads down again, 0 1 0 1; the copies have to stand side by side, 0 0 1 1, so that "
        "query head h finds head h // n_repeat"
    ),
)
def tiled(x, n_repeat):
    return x.repeat(1, n_repeat, 1, 1)


@misconception(
    "repeat_kv",
    believes="dimension 2 holds the heads",
    truth="the shape is (batch, kv_head, position, d_head): the heads are dimension 1, and dimension 2 is the text",
)
def positions_repeated(x, n_repeat):
    return x.repeat_interleave(n_repeat, dim=2)


@misconception(
    "repeat_kv",
    believes="each number of a vector is repeated",
    truth="whole heads are repeated: d_head stays, and dimension 1 grows",
)
def channels_repeated(x, n_repeat):
    return x.repeat_interleave(n_repeat, dim=-1)


@misconception(
    "repeat_kv",
    believes="the extra copies are further rows of the batch",
    truth="each row of the batch keeps its own keys and values; it is the heads, dimension 1, that are repeated",
)
def rows_repeated(x, n_repeat):
    return x.repeat_interleave(n_repeat, dim=0)


@misconception(
    "repeat_kv",
    believes="without dim, repeat_interleave repeats along the right dimension",
    truth="without dim it flattens the tensor first; the heads are dim=1",
)
def flattened(x, n_repeat):
    batch, n_kv_head, n_position, d_head = x.shape
    return x.repeat_interleave(n_repeat).reshape(batch, n_kv_head * n_repeat, n_position, d_head)


@misconception(
    "repeat_kv",
    believes="an axis of copies may be put in anywhere, since reshape sorts it out",
    truth=(
        "reshape keeps the order of the numbers in memory: the axis of copies has to stand right behind that of the heads "
        "before the two are joined"
    ),
)
def axis_behind_positions(x, n_repeat):
    batch, n_kv_head, n_position, d_head = x.shape
    copies = x[:, :, :, None].expand(batch, n_kv_head, n_position, n_repeat, d_head)
    return copies.reshape(batch, n_kv_head * n_repeat, n_position, d_head)


@misconception(
    "repeat_kv",
    believes="broadcasting does the rest once there is an axis for the copies",
    truth="the result has four axes like the queries: the axes of heads and of copies are joined into one",
)
def axis_left_open(x, n_repeat):
    return x[:, :, None].expand(-1, -1, n_repeat, -1, -1)


@misconception(
    "repeat_kv",
    believes="n_repeat is the number of heads that come out",
    truth="it is the number of copies of each head: kv_head * n_repeat heads come out",
)
def n_repeat_is_the_total(x, n_repeat):
    return x.repeat_interleave(max(1, n_repeat // x.shape[1]), dim=1)


@misconception(
    "repeat_kv",
    believes="the head stays, and n_repeat copies are added to it",
    truth="n_repeat counts the head itself: with n_repeat = 1 nothing changes",
)
def copies_beside_the_original(x, n_repeat):
    return x.repeat_interleave(n_repeat + 1, dim=1)


@misconception(
    "repeat_kv",
    believes="sharing means that there is one head of keys and values for all",
    truth="that is multi-query attention, kv_head = 1; with several, each one serves a group of its own",
)
def first_head_for_all(x, n_repeat):
    return x[:, :1].expand(-1, x.shape[1] * n_repeat, -1, -1)


@misconception(
    "repeat_kv",
    believes="copies have to be divided by their number, so that a head does not count n_repeat times",
    truth="each copy is read by another query head, in a softmax of its own: none is counted twice",
)
def divided_among_the_copies(x, n_repeat):
    return x.repeat_interleave(n_repeat, dim=1) / n_repeat


@misconception(
    "repeat_kv",
    believes="view works on every tensor that has the right number of elements",
    truth="heads come out of a transpose, and view refuses what is not contiguous: use reshape or repeat_interleave",
)
def only_contiguous(x, n_repeat):
    batch, n_kv_head, n_position, d_head = x.shape
    rows = x.view(batch * n_kv_head, n_position * d_head)
    return rows.repeat_interleave(n_repeat, dim=0).view(batch, n_kv_head * n_repeat, n_position, d_head)


# --- grouped_query_attention ------------------------------------------------------------------------------------------


@misconception(
    "grouped_query_attention",
    believes="query head h reads key-value head h % n_kv_head",
    truth="neighbors form a group: query head h reads head h // (n_head / n_kv_head), so 0 0 1 1 and not 0 1 0 1",
)
def heads_dealt_out(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    return scaled_dot_product_attention(q, k.repeat(1, n_repeat, 1, 1), v.repeat(1, n_repeat, 1, 1), mask)


@misconception(
    "grouped_query_attention",
    believes="values are laid out like the heads that read them, whichever way the keys are repeated",
    truth="keys and values of a head belong together: both are repeated the same way, copies side by side",
)
def values_dealt_out(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    return scaled_dot_product_attention(q, k.repeat_interleave(n_repeat, 1), v.repeat(1, n_repeat, 1, 1), mask)


@misconception(
    "grouped_query_attention",
    believes="keys are matched by their scores, so it does not matter in which order their heads are repeated",
    truth="the score of a query with the keys of another head is another number: query head h reads key head h // n_repeat",
)
def keys_dealt_out(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    return scaled_dot_product_attention(q, k.repeat(1, n_repeat, 1, 1), v.repeat_interleave(n_repeat, 1), mask)


@misconception(
    "grouped_query_attention",
    believes="grouped queries read one head of keys and values, the first",
    truth="that is multi-query attention, with a single head; here each group of query heads has a head of its own",
)
def first_head_for_all_queries(q, k, v, mask):
    return scaled_dot_product_attention(q, k[:, :1], v[:, :1], mask)


@misconception(
    "grouped_query_attention",
    believes="the queries of a group are averaged, since they share their keys",
    truth="each query head asks for itself: n_head different outputs come out, only keys and values are shared",
)
def queries_averaged(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    mean = q.unflatten(1, (k.shape[1], n_repeat)).mean(dim=2).repeat_interleave(n_repeat, dim=1)
    return scaled_dot_product_attention(mean, k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1), mask)


@misconception(
    "grouped_query_attention",
    believes="the outputs of a group are added up, as there is one head of values for them",
    truth="every query head has an output of its own, which the output projection weights; nothing is added before",
)
def outputs_averaged(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    out = scaled_dot_product_attention(q, k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1), mask)
    return out.unflatten(1, (k.shape[1], n_repeat)).mean(dim=2).repeat_interleave(n_repeat, dim=1)


@misconception(
    "grouped_query_attention",
    believes="with the group as an axis of its own, the outputs may be joined group first",
    truth="output head h belongs to query head h: the axes are joined in the order in which they were split, head then copy",
)
def outputs_in_another_order(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    out = scaled_dot_product_attention(q, k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1), mask)
    return out.unflatten(1, (k.shape[1], n_repeat)).transpose(1, 2).flatten(1, 2)


@misconception(
    "grouped_query_attention",
    believes="scores are dot products, and the softmax takes care of their size",
    truth="they are divided by sqrt(d_head), as in every head of attention: grouping changes nothing about it",
)
def no_scale(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1)
    return scaled_dot_product_attention(q * math.sqrt(q.shape[-1]), k, v, mask)


@misconception(
    "grouped_query_attention",
    believes="a head of keys that serves a group is as wide as the group",
    truth="each dot product runs over d_head numbers whoever shares the keys, so the scale is 1/sqrt(d_head)",
)
def scaled_by_the_group(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1)
    return scaled_dot_product_attention(q / math.sqrt(n_repeat), k, v, mask)


@misconception(
    "grouped_query_attention",
    believes="the query heads of a group attend to all the keys of all heads in one softmax",
    truth="each query head sees the keys of one head only; the softmax runs over positions",
)
def one_softmax_over_all_heads(q, k, v, mask):
    k_all, v_all = k.flatten(1, 2)[:, None], v.flatten(1, 2)[:, None]
    if mask is not None:
        mask = mask.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2]).repeat(1, 1, 1, k.shape[1])
    return scaled_dot_product_attention(q, k_all, v_all, mask)


@misconception(
    "grouped_query_attention",
    believes="sharing heads takes the place of masking",
    truth="the two have nothing to do with each other: a hidden key stays hidden from every query head of the group",
)
def mask_not_passed_on(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    return scaled_dot_product_attention(q, k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1), None)


@misconception(
    "grouped_query_attention",
    believes="True in a mask means hidden",
    truth="in this course, as in scaled_dot_product_attention, True means that attention is allowed",
)
def true_means_hidden(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1)
    return scaled_dot_product_attention(q, k, v, None if mask is None else ~mask)


@misconception(
    "grouped_query_attention",
    believes="there is always a mask",
    truth="a mask of None means that everything is allowed, which is what one new token over its cache needs",
)
def none_not_expected(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1)
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(mask.logical_not(), float("-inf"))
    return scores.softmax(-1) @ v


@misconception(
    "grouped_query_attention",
    believes="weights that are multiplied by the mask need no further care",
    truth="the scores of the hidden keys are still in the denominator then, and the weights sum to less than 1",
)
def masked_after_the_softmax(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1)
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
    return (weights if mask is None else weights * mask) @ v


@misconception(
    "grouped_query_attention",
    believes="when the queries of a group are laid behind each other, each row of the mask is repeated in place",
    truth="the rows go query 0, 1, 2, then 0, 1, 2 of the next head: the whole mask is repeated, not each row",
)
def mask_rows_repeated_in_place(q, k, v, mask):
    batch, n_head, n_query, d_head = q.shape
    n_kv_head, n_key = k.shape[1], k.shape[2]
    n_repeat = n_head // n_kv_head
    if mask is not None:
        per_head = mask.expand(batch, n_head, n_query, n_key)[:, ::n_repeat]
        mask = per_head.repeat_interleave(n_repeat, dim=2)
    joined = q.reshape(batch, n_kv_head, n_repeat * n_query, d_head)
    return scaled_dot_product_attention(joined, k, v, mask).reshape(batch, n_head, n_query, v.shape[-1])


@misconception(
    "grouped_query_attention",
    believes="a mask is the same for all heads, so that of the first will do",
    truth="a mask may differ from head to head: it broadcasts to (batch, head, query, key), with all n_head query heads",
)
def mask_of_the_first_head(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1)
    return scaled_dot_product_attention(q, k, v, mask if mask is None or mask.dim() < 4 else mask[:, :1])


@misconception(
    "grouped_query_attention",
    believes="all query heads of a group have one mask, as they share their keys",
    truth="keys are shared, masks are not: row h of the mask belongs to query head h",
)
def one_mask_a_group(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1)
    if mask is not None and mask.dim() == 4 and mask.shape[1] > 1:
        mask = mask[:, ::n_repeat].repeat_interleave(n_repeat, dim=1)
    return scaled_dot_product_attention(q, k, v, mask)


@misconception(
    "grouped_query_attention",
    believes="all rows of the batch have the mask of the first one",
    truth="rows may be padded differently: where the mask has a batch axis, each row has its own",
)
def mask_of_the_first_row(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1)
    return scaled_dot_product_attention(q, k, v, mask if mask is None or mask.dim() < 4 else mask[:1])


@misconception(
    "grouped_query_attention",
    believes="what comes out has the shape of the queries",
    truth="it has the width of the values, d_value, which need not be that of queries and keys",
)
def shaped_like_the_queries(q, k, v, mask):
    n_repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n_repeat, 1), v.repeat_interleave(n_repeat, 1)
    return scaled_dot_product_attention(q, k, v, mask).reshape(q.shape)


# --- RollingCache -----------------------------------------------------------------------------------------------------


@misconception(
    "RollingCache",
    believes="view gives the values first, because they are what attention returns",
    truth="the order is (k, v) everywhere: in append, in view and in every attention function",
)
class ValuesBeforeKeys:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.values[:, :, slots], self.keys[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="one line with two equal signs makes two buffers",
    truth="a = b = torch.zeros(...) makes one tensor with two names, so the values overwrite the keys",
)
class OneBufferForBoth:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="view returns all slots, and the mask leaves out those that are empty",
    truth=(
        "before the ring is full only the filled slots count: an empty slot has a key of zeros, whose score "
        "is 0 and not minus infinity"
    ),
)
class ViewsTheWholeRing:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.first + self.window) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="each append moves the position on by one",
    truth="a chunk of n tokens moves it on by n: the size of dimension 2, not the number of calls",
)
class CountsTheCalls:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position += 1
        self.first = max(self.first, self.position - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="the window counts the token that is about to come, so the cache holds one less",
    truth=(
        "after an append all `window` positions are held, the newest included: its own query sees itself "
        "through the cache"
    ),
)
class LeavesRoomForTheNewToken:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k], dim=2)[:, :, max(0, self.keys.shape[2] + k.shape[2] - self.window + 1) :]
        self.values = torch.cat([self.values, v], dim=2)[:, :, -self.keys.shape[2] :]
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="a chunk is written to the first slots of the buffer",
    truth="position p has the slot p % window: a chunk goes on where the one before it ended",
)
class WritesAtTheFront:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(kept)
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="each append replaces what was held before",
    truth="what was held stays until its slot is needed, and the new positions come after it",
)
class KeepsTheLastChunk:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = k[:, :, -self.window :]
        self.values = v[:, :, -self.window :]
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes=(
        "the order of the positions does not matter, because a softmax does not care about the order of the keys"
    ),
    truth=(
        "it matters as soon as several queries share the keys: the mask says by place who may see whom, so "
        "view gives the oldest first"
    ),
)
class NewestFirst:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position).flip(0) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="a cache of `window` slots is full after `window` positions, and more is an error",
    truth=("a rolling cache has no end: when all slots are taken, the newest position takes that of the oldest"),
)
class RefusesWhenFull:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        if end > self.window:
            raise ValueError(f"{end} positions do not fit into {self.window}")
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="once the cache is full it stays as it is",
    truth="it is the oldest position that nobody sees any more: the window moves on with the newest token",
)
class KeepsTheOldest:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k], dim=2)[:, :, : self.window]
        self.values = torch.cat([self.values, v], dim=2)[:, :, : self.window]
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="slot order is time order",
    truth=(
        "only until the ring has gone round once; after that the oldest position stands at the slot that is "
        "written next"
    ),
)
class ViewsInSlotOrder:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        held = self.position - self.first
        return self.keys[:, :, :held], self.values[:, :, :held]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="len is the number of positions held, as for any container",
    truth=(
        "it is the position of the next token: once old positions are gone, the number held no longer says "
        "where the text stands"
    ),
)
class LengthIsWhatIsHeld:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position - self.first


@misconception(
    "RollingCache",
    believes="when the ring is full, it starts again from nothing",
    truth="only the oldest position makes room; the other window - 1 are still seen by the next token",
)
class ClearsWhenFull:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        if self.keys.shape[2] + k.shape[2] > self.window:
            self.keys = self.values = self.empty
        self.keys = torch.cat([self.keys, k], dim=2)[:, :, -self.window :]
        self.values = torch.cat([self.values, v], dim=2)[:, :, -self.window :]
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="a window of W means W earlier positions beside the token itself",
    truth="the window counts the token itself, so W positions are held in all",
)
class HoldsOneTooMany:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k], dim=2)[:, :, -self.window - 1 :]
        self.values = torch.cat([self.values, v], dim=2)[:, :, -self.window - 1 :]
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="cutting to the window before new positions are added keeps the cache within it",
    truth="the cut has to come after: else the cache holds the window and the new chunk",
)
class EvictsBeforeAppending:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys[:, :, -self.window :], k], dim=2)
        self.values = torch.cat([self.values[:, :, -self.window :], v], dim=2)
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="each append to a full cache drops one position",
    truth="a chunk of n positions pushes out as many as it needs room for, not one",
)
class DropsOneACall:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys[:, :, int(len(self) >= self.window) :], k], dim=2)
        self.values = torch.cat([self.values[:, :, int(len(self) >= self.window) :], v], dim=2)
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="a chunk that does not fit behind the last slot starts at slot 0",
    truth="a chunk may wrap in its middle: each of its positions has the slot p % window",
)
class WrapsBetweenChunksOnly:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        start = (end - kept) % self.window
        start = start if start + kept <= self.window else 0
        slots = torch.arange(start, start + kept)
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="keys[:, :, -room:] keeps the newest `room` positions, whatever room is",
    truth="when the new chunk takes all of the window, room is 0, and a slice from -0 keeps everything",
)
class NegativeSliceOfNothing:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        k_new, v_new = k[:, :, -self.window :], v[:, :, -self.window :]
        room = self.window - k_new.shape[2]
        self.keys = torch.cat([self.keys[:, :, -room:], k_new], dim=2)
        self.values = torch.cat([self.values[:, :, -room:], v_new], dim=2)
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="of a prompt longer than the window, what fits is kept",
    truth="its last positions are kept: they are what the next token sees",
)
class KeepsTheStartOfThePrompt:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k[:, :, : self.window]], dim=2)[:, :, -self.window :]
        self.values = torch.cat([self.values, v[:, :, : self.window]], dim=2)[:, :, -self.window :]
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="a chunk longer than the window cannot be appended",
    truth=("a prompt may be longer than the window: its last `window` positions are kept, and the rest only counts"),
)
class PromptMustFit:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        if new > self.window:
            raise ValueError(f"{new} positions do not fit into a window of {self.window}")
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="the end of a long prompt is laid into the slots from 0 on",
    truth=(
        "position p has the slot p % window for a long prompt too; else the next token overwrites one that "
        "is still seen"
    ),
)
class LongPromptFromSlotZero:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        if new > self.window:
            slots = torch.arange(self.window)
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="a prompt longer than the window moves the position on by the window",
    truth="every token counts, kept or not: the position of the next token is the number of all before it",
)
class LongPromptCountsWhatItKeeps:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k], dim=2)[:, :, -self.window :]
        self.values = torch.cat([self.values, v], dim=2)[:, :, -self.window :]
        self.position += min(k.shape[2], self.window)

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="buffers kept on the class belong to each cache by itself",
    truth=(
        "what is set on the class is shared by all its instances: the caches of two layers then overwrite each other"
    ),
)
class OneRingForAllCaches:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        type(self).keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        type(self).values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="a cache is empty when its numbers are zero",
    truth=(
        "it is empty when no position is held: a position of zeros is still attended to, and the next "
        "sequence would not start at 0"
    ),
)
class ResetZeroesTheNumbers:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.keys.zero_()
        self.values.zero_()

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="reset throws away what is held, and the position goes on",
    truth="the next sequence is another text: it starts at position 0",
)
class ResetKeepsThePosition:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k], dim=2)[:, :, -self.window :]
        self.values = torch.cat([self.values, v], dim=2)[:, :, -self.window :]
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="crop(length) keeps the first `length` of those that view shows",
    truth=(
        "its argument is a position in the text: once old positions are gone, place i of the view is position first + i"
    ),
)
class CropsByPlace:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k], dim=2)[:, :, -self.window :]
        self.values = torch.cat([self.values, v], dim=2)[:, :, -self.window :]
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, :length]
        self.values = self.values[:, :, :length]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="crop(n) takes n positions back",
    truth="its argument is the length that remains",
)
class CropRemovesSoMany:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k], dim=2)[:, :, -self.window :]
        self.values = torch.cat([self.values, v], dim=2)[:, :, -self.window :]
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        length = self.position - length
        first = self.position - self.keys.shape[2]
        if first and length < first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="after a crop the cache holds the last `window` positions of what remains",
    truth=(
        "what was overwritten stays lost: after going back by one, the ring holds window - 1 positions and a "
        "slot with a number that is stale"
    ),
)
class OldOnesComeBack:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length
        self.first = max(0, length - self.window)

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="once a position was overwritten, a ring can no longer go back",
    truth=("it can by one: the next token then sees window - 1 earlier positions, and just these are still held"),
)
class NeverBackOnceRolled:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.position:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="whatever is still in the ring can be gone on from",
    truth=(
        "the next token has to see window - 1 positions before it; where one of them was overwritten, the "
        "result would be wrong without a word"
    ),
)
class CropNeverFails:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k], dim=2)[:, :, -self.window :]
        self.values = torch.cat([self.values, v], dim=2)[:, :, -self.window :]
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        self.keys = self.keys[:, :, : max(0, length - first)]
        self.values = self.values[:, :, : max(0, length - first)]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="crop is possible to every position that is still held",
    truth=(
        "that the last position is held is not enough: the next token sees window - 1 positions before it, "
        "and all of them must be there"
    ),
)
class CropAsFarAsHeld:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k], dim=2)[:, :, -self.window :]
        self.values = torch.cat([self.values, v], dim=2)[:, :, -self.window :]
        self.position += k.shape[2]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if length < first:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="an error ends the program anyway, so it does not matter when it is raised",
    truth="whoever catches it goes on with the cache: check first, then change",
)
class CropsBeforeItChecks:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        self.position = length
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="numbers are float32 in a neural network",
    truth="a cache is made in the dtype of the model: half of the memory for float16 and bfloat16",
)
class AlwaysFloat32:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, window, d_head)
        self.values = torch.zeros(batch, n_head, window, d_head)
        self.window = window
        self.first = self.position = 0

    def append(self, k, v):
        new, end = k.shape[2], self.position + k.shape[2]
        kept = min(new, self.window)
        slots = torch.arange(end - kept, end) % self.window
        self.keys[:, :, slots] = k[:, :, new - kept :]
        self.values[:, :, slots] = v[:, :, new - kept :]
        self.position = end
        self.first = max(self.first, end - self.window)

    def view(self):
        slots = torch.arange(self.first, self.position) % self.window
        return self.keys[:, :, slots], self.values[:, :, slots]

    def crop(self, length):
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.position = length

    def reset(self):
        self.first = self.position = 0

    def __len__(self):
        return self.position


@misconception(
    "RollingCache",
    believes="reset need not touch the mark of what was forgotten",
    truth=(
        "the mark belongs to the old sequence: with it, the new one cannot go back although all of it is still held"
    ),
)
class ForgetsThatItWasReset:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.window = window
        self.keys = self.values = self.empty
        self.first = self.position = 0

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k], dim=2)[:, :, -self.window :]
        self.values = torch.cat([self.values, v], dim=2)[:, :, -self.window :]
        self.position += k.shape[2]
        self.first = max(self.first, self.position - self.window)

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        first = self.position - self.keys.shape[2]
        if self.first and length < self.first + self.window - 1:
            raise ValueError(f"position {length} would see what is forgotten")
        self.keys = self.keys[:, :, : length - first]
        self.values = self.values[:, :, : length - first]
        self.position = length

    def reset(self):
        self.keys = self.values = self.empty
        self.position = 0

    def __len__(self):
        return self.position


# --- quantize_kv ------------------------------------------------------------------------------------------------------


@misconception(
    "quantize_kv",
    believes="int8 has 256 values, so the largest number becomes 128",
    truth="int8 goes from -128 to 127: 128 wraps round to -128, and the largest number of each group changes its sign",
)
def divided_by_128(x, dim=-1):
    scale = x.abs().amax(dim=dim, keepdim=True) / 128
    steps = x / scale.masked_fill(scale == 0, 1.0)
    return steps.round().int().to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="a byte has 255 steps, so the scale is the largest size divided by 255",
    truth="the steps are shared between both signs: 127 on either side of 0",
)
def divided_by_255(x, dim=-1):
    scale = x.abs().amax(dim=dim, keepdim=True) / 255
    steps = x / scale.masked_fill(scale == 0, 1.0)
    return steps.round().clamp(-127, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="the largest number decides the scale",
    truth="the largest size does: a number of -5 needs a wider scale than one of 3, so take the maximum of x.abs()",
)
def largest_with_its_sign(x, dim=-1):
    scale = x.amax(dim=dim, keepdim=True).clamp(min=0) / 127
    steps = x / scale.masked_fill(scale == 0, 1.0)
    return steps.round().clamp(-127, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="converting to int8 rounds",
    truth="it cuts off what is behind the point, so errors grow to a whole step and all lean towards 0: round first",
)
def cut_off(x, dim=-1):
    scale = x.abs().amax(dim=dim, keepdim=True) / 127
    steps = x / scale.masked_fill(scale == 0, 1.0)
    return steps.clamp(-127, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="floor gives the step that a number belongs to",
    truth="the nearest step is at most half a scale away, that below up to a whole one: use round",
)
def rounded_down(x, dim=-1):
    scale = x.abs().amax(dim=dim, keepdim=True) / 127
    steps = x / scale.masked_fill(scale == 0, 1.0)
    return steps.floor().clamp(-127, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="a rounded number is an integer",
    truth="round returns floats, which take four bytes each: nothing is saved before .to(torch.int8)",
)
def rounded_floats(x, dim=-1):
    scale = x.abs().amax(dim=dim, keepdim=True) / 127
    steps = x / scale.masked_fill(scale == 0, 1.0)
    return steps.round().clamp(-127, 127), scale


@misconception(
    "quantize_kv",
    believes="bytes are unsigned",
    truth="keys and values have both signs: torch.uint8 makes 255 of a -1, int8 keeps it",
)
def unsigned(x, dim=-1):
    scale = x.abs().amax(dim=dim, keepdim=True) / 127
    steps = x / scale.masked_fill(scale == 0, 1.0)
    return steps.round().clamp(-127, 127).int().to(torch.uint8), scale


@misconception(
    "quantize_kv",
    believes="the smallest number becomes -128 and the largest 127",
    truth="that is the asymmetric kind, which has to keep an offset beside the scale; here 0 stays 0 and the scale is enough",
)
def with_an_offset(x, dim=-1):
    low, high = x.amin(dim=dim, keepdim=True), x.amax(dim=dim, keepdim=True)
    scale = (high - low) / 255
    steps = (x - low) / scale.masked_fill(scale == 0, 1.0) - 128
    return steps.round().clamp(-128, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="the scale is what the numbers are multiplied by, 127 divided by the largest size",
    truth="it is the size of one step: numbers times scale gives back x",
)
def scale_upside_down(x, dim=-1):
    scale = 127 / x.abs().amax(dim=dim, keepdim=True).clamp(min=1e-12)
    return (x * scale).round().clamp(-127, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="the scale is the largest size itself, and whoever reads the numbers divides by 127",
    truth="the scale is the size of one step, the largest size / 127: numbers times scale gives back x",
)
def scale_not_divided(x, dim=-1):
    scale = x.abs().amax(dim=dim, keepdim=True)
    steps = x / scale.masked_fill(scale == 0, 1.0) * 127
    return steps.round().clamp(-127, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="a reduced dimension is gone",
    truth="keep it with size 1 (keepdim=True): numbers * scale has to broadcast again, whichever dimension it is",
)
def dimension_dropped(x, dim=-1):
    scale = x.abs().amax(dim=dim, keepdim=True) / 127
    steps = x / scale.masked_fill(scale == 0, 1.0)
    return steps.round().clamp(-127, 127).to(torch.int8), scale.squeeze(dim)


@misconception(
    "quantize_kv",
    believes="one scale serves the whole tensor",
    truth="the numbers along `dim` share a scale, and no others: each vector has its own, or one large vector spoils them all",
)
def one_scale_for_all(x, dim=-1):
    shape = x.abs().amax(dim=dim, keepdim=True).shape
    scale = (x.abs().max() / 127).expand(shape).clone()
    steps = x / scale.masked_fill(scale == 0, 1.0)
    return steps.round().clamp(-127, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="a vector has one scale, and dim says nothing about that",
    truth="dim says along which dimension a scale is shared: for dim=2 all positions of a channel share one",
)
def always_a_vector(x, dim=-1):
    scale = x.abs().amax(dim=-1, keepdim=True) / 127
    steps = x / scale.masked_fill(scale == 0, 1.0)
    return steps.round().clamp(-127, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="dim is the dimension that keeps a scale for each of its places, as in per-channel",
    truth="dim is the dimension that is shared along, and gets size 1; all the others keep their places",
)
def along_all_but_dim(x, dim=-1):
    others = [d for d in range(x.dim()) if d != dim % x.dim()]
    sizes = x.abs()
    scale = (sizes.amax(dim=others, keepdim=True) if others else sizes) / 127
    steps = x / scale.masked_fill(scale == 0, 1.0)
    return steps.round().clamp(-127, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="outliers are cut off, so that they do not widen the scale of the others",
    truth="absmax quantization keeps the largest number exactly; what protects the others is a scale of their own",
)
def outliers_cut_off(x, dim=-1):
    scale = x.abs().amax(dim=dim, keepdim=True).clamp(max=10.0) / 127
    steps = x / scale.masked_fill(scale == 0, 1.0)
    return steps.round().clamp(-127, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="where all numbers are 0, an infinite scale keeps the division away from 0 / 0",
    truth="0 times infinity is NaN when the numbers are read again; any finite scale will do, the numbers are 0",
)
def infinite_scale(x, dim=-1):
    scale = x.abs().amax(dim=dim, keepdim=True) / 127
    scale = scale.masked_fill(scale == 0, float("inf"))
    return (x / scale).round().clamp(-127, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="there is always a number that is not 0",
    truth="slots that nothing was written to hold nothing but zeros, and are quantized with the rest: they become zeros",
)
def zeros_refused(x, dim=-1):
    scale = x.abs().amax(dim=dim, keepdim=True) / 127
    if (scale == 0).any():
        raise ZeroDivisionError("a scale is 0")
    return (x / scale).round().clamp(-127, 127).to(torch.int8), scale


@misconception(
    "quantize_kv",
    believes="a floor of 0.001 under the scale keeps the division safe and changes nothing else",
    truth="vectors whose largest size is below 0.127 lose their precision; guard exact zeros only, or far lower",
)
def floor_under_the_scale(x, dim=-1):
    scale = (x.abs().amax(dim=dim, keepdim=True) / 127).clamp(min=1e-3)
    return (x / scale).round().clamp(-127, 127).to(torch.int8), scale


# --- dequantize_kv ----------------------------------------------------------------------------------------------------


@misconception(
    "dequantize_kv",
    believes="quantizing multiplied by the scale, so dequantizing divides by it",
    truth="the scale is the size of one step: x is about numbers times scale",
)
def divided_by_the_scale(numbers, scale):
    return numbers.to(scale.dtype) / scale


@misconception(
    "dequantize_kv",
    believes="numbers have to be brought to the range from -1 to 1 before the scale is applied",
    truth="the 127 is in the scale already: a step of 1 stands for one scale",
)
def divided_by_127(numbers, scale):
    return numbers.to(scale.dtype) / 127 * scale


@misconception(
    "dequantize_kv",
    believes="the bytes go from 0 to 255",
    truth="they are signed: read as unsigned, -1 is 255",
)
def read_as_unsigned(numbers, scale):
    return numbers.view(torch.uint8).to(scale.dtype) * scale


@misconception(
    "dequantize_kv",
    believes="the smallest step, -128, stands for 0",
    truth="quantization is symmetric here: 0 stands for 0, and there is no offset",
)
def offset_added(numbers, scale):
    return (numbers.to(scale.dtype) + 128) * scale


@misconception(
    "dequantize_kv",
    believes="the scale is a size, so the sign is lost",
    truth="the sign is in the numbers: only the scale is never negative",
)
def sign_lost(numbers, scale):
    return numbers.to(scale.dtype).abs() * scale


@misconception(
    "dequantize_kv",
    believes="the product of bytes is a byte",
    truth="scales are far below 1 and become 0 in int8: bring the numbers to the scale's dtype, not the other way round",
)
def multiplied_in_bytes(numbers, scale):
    return (numbers * scale.to(torch.int8)).to(scale.dtype)


@misconception(
    "dequantize_kv",
    believes="int8 has less than three digits, so float16 is wide enough in between",
    truth="the scale is not: its rounding to float16 moves every result by up to 0.05 %",
)
def by_way_of_float16(numbers, scale):
    return (numbers.half() * scale.half()).to(scale.dtype)


@misconception(
    "dequantize_kv",
    believes="there is one scale",
    truth="there is one for each vector (or channel): the first one fits only the first",
)
def first_scale_for_all(numbers, scale):
    return numbers.to(scale.dtype) * scale.flatten()[0]


@misconception(
    "dequantize_kv",
    believes="the average scale is good enough",
    truth="each group of numbers was divided by its own scale, and only that one gives it back",
)
def average_scale(numbers, scale):
    return numbers.to(scale.dtype) * scale.mean()


@misconception(
    "dequantize_kv",
    believes="it is always the last dimension that shares a scale",
    truth="the dimension of size 1 does, and it may be any: let broadcasting pair them",
)
def last_dimension_only(numbers, scale):
    return numbers.to(scale.dtype) * scale[..., :1]


@misconception(
    "dequantize_kv",
    believes="scales come in the order of the vectors, so they can be counted off",
    truth="they have an axis for each axis of the numbers, with size 1 where they are shared; counting them off mixes them up",
)
def scales_counted_off(numbers, scale):
    flat = scale.flatten()
    rows = numbers.reshape(-1, max(1, numbers.numel() // max(1, flat.numel())))
    return (rows.to(scale.dtype) * flat[:, None]).reshape(numbers.shape)


@misconception(
    "dequantize_kv",
    believes="what comes out is float32",
    truth="it has the dtype of the scale, which is that of the model; float16 and float64 models would fail or lose digits",
)
def always_float32(numbers, scale):
    return numbers.float() * scale.float()


@misconception(
    "dequantize_kv",
    believes="numbers that stand for integers come out as integers",
    truth="x was any number: rounding again loses all that is below 1",
)
def rounded_again(numbers, scale):
    return (numbers.to(scale.dtype) * scale).round()


# --- fingerprints -----------------------------------------------------------------------------------------------------


def tell(call, *args):
    """The value of a call, or that it raised: which error it is says nothing about the mistake."""
    try:
        return call(*args)
    except LearnerError:
        return "raised"


@fingerprint("repeat_kv")
def repeat_probes(impl):
    x = torch.arange(2.0 * 3 * 4 * 2).reshape(2, 3, 4, 2)
    transposed = x.transpose(1, 2).contiguous().transpose(1, 2)
    return [lambda: impl(x, 2), lambda: impl(transposed, 3), lambda: impl(x[:, :2], 5), lambda: impl(x, 1)]


@fingerprint("grouped_query_attention")
def grouped_probes(impl):
    def probe(n_kv_head, n_key, mask=None, d_value=3, n_query=2):
        generator = torch.Generator().manual_seed(11)
        q = torch.randn(2, 6, n_query, 3, generator=generator)
        k = torch.randn(2, n_kv_head, n_key, 3, generator=generator)
        v = torch.randn(2, n_kv_head, n_key, d_value, generator=generator)
        return lambda: impl(q, k, v, mask)

    generator = torch.Generator().manual_seed(12)
    per_head = (torch.rand(2, 6, 2, 4, generator=generator) < 0.5) | (torch.arange(4) == 0)
    causal = torch.ones(2, 4, dtype=torch.bool).tril(2)
    return [
        probe(6, 4),
        probe(2, 4),
        probe(3, 1),
        probe(2, 4, causal),
        probe(3, 4, per_head),
        probe(2, 4, d_value=5),
        probe(1, 4),
    ]


def rolling_story(impl, shape, operations, dtype=torch.float32):
    """What a cache shows after each of its operations."""
    batch, n_head, _, d_head = shape
    numbers = torch.arange(batch * n_head * 30 * d_head, dtype=dtype).reshape(batch, n_head, 30, d_head) / 3
    cache = impl(*shape) if dtype == torch.float32 else impl(*shape, dtype)
    seen, fed = [], 0
    for name, number in operations:
        piece = numbers[:, :, fed : fed + number]
        arguments = {"append": (piece, -piece), "crop": (number,), "reset": ()}[name]
        fed += number if name == "append" else 0
        seen += [tell(getattr(cache, name), *arguments) == "raised", tell(len, cache), tell(cache.view)]
    return seen


def two_rings(impl):
    """What one cache shows after another was filled."""
    k = torch.arange(12.0).reshape(1, 2, 2, 3)
    first, second = impl(1, 2, 3, 3), impl(1, 2, 3, 3)
    first.append(k, -k)
    second.append(2 * k, 3 * k)
    return [first.view(), len(first), second.view()]


@fingerprint("RollingCache")
def rolling_probes(impl):
    def story(window, *operations):
        return lambda: rolling_story(impl, (2, 2, window, 3), operations)

    def one(*sizes):
        return [("append", size) for size in sizes]

    return [
        story(5, *one(1)),
        story(5, *one(2, 1)),
        story(4, *one(4, 1)),
        story(3, *one(1, 1, 1, 1, 1)),
        story(4, *one(3, 3, 2)),
        story(4, *one(1, 4, 1)),
        story(3, *one(5, 1)),
        story(5, *one(2), ("reset", 0), *one(2)),
        story(4, *one(3), ("crop", 2), *one(1)),
        story(4, *one(6), ("crop", 5), *one(2)),
        story(4, *one(6), ("crop", 4), *one(1)),
        story(4, *one(6), ("crop", 1), *one(1)),
        story(3, *one(5), ("reset", 0), *one(2), ("crop", 1)),
        lambda: two_rings(impl),
        lambda: rolling_story(impl, (2, 2, 3, 3), one(2), torch.float64),
    ]


@fingerprint("quantize_kv")
def quantize_probes(impl):
    generator = torch.Generator().manual_seed(13)
    x = torch.randn(2, 2, 3, 4, generator=generator)
    outlier = x.clone()
    outlier[..., 1] *= 40
    zeros = x.clone()
    zeros[0, 1] = 0.0
    return [
        lambda: impl(x[0, 0, 0]),
        lambda: impl(x),
        lambda: impl(x, 2),
        lambda: impl(outlier, 2),
        lambda: impl(zeros),
        lambda: impl(x * 1e-3),
        lambda: impl(-x.abs()),
    ]


@fingerprint("dequantize_kv")
def dequantize_probes(impl):
    numbers = torch.tensor([[[3, -127, 0], [64, 127, -5]], [[1, 2, -3], [-64, 99, 100]]], dtype=torch.int8)
    last, middle = (
        torch.tensor([[[0.03], [0.7]], [[1.9], [0.011]]]),
        torch.tensor([[[0.03, 0.5, 0.9]], [[0.2, 1.3, 0.07]]]),
    )
    return [
        lambda: impl(numbers[0, 0], last[0, 0]),
        lambda: impl(numbers, last),
        lambda: impl(numbers, middle),
        lambda: impl(numbers, last.double() / 3),
    ]
