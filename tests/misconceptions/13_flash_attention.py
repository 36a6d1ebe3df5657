"""Wrong on purpose: what people believe about a softmax in blocks and attention in tiles.

Every function is whole, because each is handed out by itself.
"""

import math

import torch

from gptdojo import fingerprint, misconception
from gptdojo.strategies import Values

# --- online_softmax --------------------------------------------------------------------------------------------------


@misconception(
    "online_softmax",
    believes="the softmax of a row is made of the softmaxes of its blocks",
    truth="then every block sums to 1, and the row to the number of blocks: all exponentials of a row share "
    "one denominator",
)
def each_block_on_its_own(scores, block_size):
    pieces = []
    for block in scores.split(block_size, dim=-1):
        top = block.amax(dim=-1, keepdim=True)
        weights = (block - top.masked_fill(top == -math.inf, 0.0)).exp()
        total = weights.sum(dim=-1, keepdim=True)
        pieces.append(weights / total.masked_fill(total == 0, 1.0))
    return torch.cat(pieces, dim=-1)


@misconception(
    "online_softmax",
    believes="the softmax runs over the axis before the last",
    truth="it runs over the keys, the last axis: each row of the result sums to 1",
)
def normalized_over_rows(scores, block_size):
    flipped = scores.transpose(-2, -1) if scores.dim() > 1 else scores
    top = flipped.new_full((*flipped.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in flipped.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (flipped - top.masked_fill(top == -math.inf, 0.0)).exp()
    weights = weights / total.masked_fill(total == 0, 1.0)
    return weights.transpose(-2, -1) if scores.dim() > 1 else weights


@misconception(
    "online_softmax",
    believes="subtracting the largest score is the normalization",
    truth="that keeps exponentials from overflowing; the weights sum to 1 only after they are divided by their sum",
)
def never_normalized(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    return (scores - top.masked_fill(top == -math.inf, 0.0)).exp()


@misconception(
    "online_softmax",
    believes="the sum runs over everything",
    truth="each row has a denominator of its own: sum over the last axis only",
)
def one_denominator_for_all_rows(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.sum().clamp(min=1e-30)


@misconception(
    "online_softmax",
    believes="sums of blocks can be added as they are",
    truth="each was taken relative to the largest score known then; when a larger one comes, what was summed "
    "has to be multiplied by exp(old maximum - new maximum)",
)
def sum_not_corrected(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="the factor is exp(new maximum - old maximum)",
    truth="it is exp(old - new), at most 1: what was summed becomes smaller beside a larger score",
)
def corrected_the_wrong_way(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        factor = (base - top).exp().nan_to_num(posinf=0.0)
        total = total * factor + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="the factor applies to the new block as well",
    truth="the new block's exponentials are relative to the new maximum already; only what was summed before "
    "is corrected",
)
def block_corrected_too(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = (total + (block - base).exp().sum(dim=-1, keepdim=True)) * (top - base).exp().masked_fill(
            top == -math.inf, 1.0
        )
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="the exponentials of a block can be kept as they are when it comes",
    truth="they are relative to the maximum known then; compute them again at the end, or correct them when a "
    "larger score comes",
)
def weights_of_the_moment(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    pieces = []
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
        pieces.append((block - base).exp())
    weights = torch.cat(pieces, dim=-1)
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="each block is divided by the sum so far",
    truth="later blocks belong to the denominator of the first one too",
)
def divided_by_the_sum_so_far(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    pieces = []
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
        pieces.append((block - base).exp() / total.masked_fill(total == 0, 1.0))
    return torch.cat(pieces, dim=-1)


@misconception(
    "online_softmax",
    believes="there are n // block_size blocks",
    truth="there is one more where block_size does not divide n: its scores count as well",
)
def last_block_dropped(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    size = min(block_size, scores.shape[-1])
    for block in scores[..., : scores.shape[-1] // size * size].split(size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="the last block can be filled up with zeros",
    truth="a score of 0 has a weight of e^0; fill up with -inf, or take a shorter block",
)
def last_block_filled_with_zeros(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    padding = -scores.shape[-1] % min(block_size, scores.shape[-1])
    for block in torch.nn.functional.pad(scores, (0, padding)).split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="the largest score of the first block is subtracted everywhere",
    truth="a later score may be larger by hundreds, and its exponential overflows",
)
def maximum_of_the_first_block(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        first = top == -math.inf
        highest = torch.where(first, block.amax(dim=-1, keepdim=True), top)
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="the maximum is that of the latest block",
    truth="it must never fall: where the latest block is the smallest, the factor exp(old - new) overflows",
)
def maximum_of_the_latest_block(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        highest = block.amax(dim=-1, keepdim=True)
        highest = torch.where(highest == -math.inf, top, highest)
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="exponentials can be summed as they are",
    truth="e^89 overflows float32; subtract the largest score so far, and correct when it changes",
)
def no_maximum(scores, block_size):
    total = 0.0
    for block in scores.split(block_size, dim=-1):
        total = total + block.exp().sum(dim=-1, keepdim=True)
    return scores.exp() / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="the largest score so far starts at 0",
    truth="then it stays 0 where all scores are below, and far below 0 all exponentials vanish: start at -inf",
)
def maximum_starts_at_zero(scores, block_size):
    top = scores.new_zeros((*scores.shape[:-1], 1))
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="no score is below -100",
    truth="scores may be anywhere, only their differences count: start at -inf",
)
def maximum_starts_at_minus_100(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -100.0)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="-inf minus -inf is 0",
    truth="it is NaN: where no finite score was seen yet, subtract 0 in place of the maximum",
)
def nothing_minus_nothing(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="every row has something to sum",
    truth="a row of nothing but -inf has the sum 0, and 0/0 is NaN: it gets zeros",
)
def row_of_nothing_divided(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total


@misconception(
    "online_softmax",
    believes="a row of nothing but -inf has equal weights",
    truth="no key may be seen, so no key gets any weight",
)
def row_of_nothing_shared_out(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return torch.where(total == 0, 1.0 / scores.shape[-1], weights / total)


@misconception(
    "online_softmax",
    believes="scores have a batch and a row, or a batch, rows and keys",
    truth="there may be any number of axes before the last, also none: use dim=-1 and `...`",
)
def two_axes_expected(scores, block_size):
    if scores.dim() not in (2, 3):
        raise ValueError("expected two or three axes")
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights / total.masked_fill(total == 0, 1.0)


@misconception(
    "online_softmax",
    believes="contiguous memory can be taken for granted",
    truth="a transposed tensor is a right argument too; view fails on it, reshape copies where it must",
)
def rows_flattened(scores, block_size):
    top = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(top)
    rows = scores.view(scores.numel() // scores.shape[-1], scores.shape[-1])
    for block in scores.split(block_size, dim=-1):
        highest = torch.maximum(top, block.amax(dim=-1, keepdim=True))
        base = highest.masked_fill(highest == -math.inf, 0.0)
        total = total * (top - base).exp() + (block - base).exp().sum(dim=-1, keepdim=True)
        top = highest
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    return weights.view(*rows.shape).view(scores.shape) / total.masked_fill(total == 0, 1.0)


@fingerprint("online_softmax")
def online_softmax_probes(impl):
    draws = Values("normal", 3)
    plain = draws.normal(2, 3, 5, scale=2.0)
    hidden = plain.clone()
    hidden[..., :2] = -math.inf
    nothing = plain.clone()
    nothing[:, 1] = -math.inf
    rising = torch.arange(5.0)[None] * 60
    return [
        lambda: impl(plain, 5),
        lambda: impl(plain, 2),
        lambda: impl(plain[..., :4], 2),
        lambda: impl(rising, 2),
        lambda: impl(rising.flip(-1), 2),
        lambda: impl(plain - 130, 2),
        lambda: impl(plain - 1000, 2),
        lambda: impl(hidden, 2),
        lambda: impl(nothing, 2),
        lambda: impl(plain[0, 0], 2),
        lambda: impl(plain.transpose(1, 2), 2),
    ]


# --- flash_attention -------------------------------------------------------------------------------------------------


@misconception(
    "flash_attention",
    believes="the scores are plain products of queries and keys",
    truth="they are divided by the root of d_head",
)
def scores_not_scaled(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :]
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the scores are divided by d_head",
    truth="by its root: a sum of d_head products has that standard deviation",
)
def divided_by_the_width(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / q.shape[-1]
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the weights sum to 1 as they are",
    truth="they are relative to the largest score; the output is divided by their sum, once, at the end",
)
def never_divided(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output)
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the output is the mean of the outputs of the blocks of keys",
    truth="blocks weigh differently: each counts by the sum of its exponentials",
)
def mean_of_the_blocks(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = scores.amax(dim=-1, keepdim=True)
            base = highest.masked_fill(highest == -math.inf, 0.0)
            weights = (scores - base).exp()
            total = weights.sum(dim=-1, keepdim=True)
            output = output + weights @ v[..., keys, :] / total.masked_fill(total == 0, 1.0)
            top = highest
        outputs.append(output / -(-n_key // block_key))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the sum of exponentials has to be corrected, the output does not",
    truth="both were summed relative to the former maximum, and both need the factor",
)
def output_not_corrected(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the output has to be corrected, the sum of exponentials does not",
    truth="both were summed relative to the former maximum, and both need the factor",
)
def sum_not_corrected_with_the_output(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="what is summed stays summed",
    truth="when a larger score comes, sum and output have to be multiplied by exp(old maximum - new maximum). "
    "With equal values the mistake cannot be seen: the weights still sum to 1",
)
def nothing_corrected(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            weights = (scores - base).exp()
            total = total + weights.sum(dim=-1, keepdim=True)
            output = output + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the factor is exp(new maximum - old maximum)",
    truth="it is exp(old - new), at most 1",
)
def factor_upside_down(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (base - top).exp().nan_to_num(posinf=0.0), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the output is divided by the sum so far after each block",
    truth="divided at once, it has to be multiplied by the former sum when the next block comes; dividing once"
    " at the end is simpler",
)
def divided_in_every_block(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = (output * correction + weights @ v[..., keys, :]) / total.masked_fill(total == 0, 1.0)
            top = highest
        outputs.append(output)
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the last block of keys has the result",
    truth="all blocks add to it",
)
def last_block_of_keys_only(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="a block of queries meets the block of keys of the same number",
    truth="every query meets every key: the inner loop runs over all blocks of keys",
)
def diagonal_tiles_only(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(first_query // block_query * block_key % n_key, n_key, n_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the sums are made once, before the loops",
    truth="each block of queries starts afresh: its queries have met no key yet",
)
def state_carried_over(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs, top = [], q.new_zeros(0, 1)
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        if top.shape[-2] != q_block.shape[-2]:
            top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
            total = torch.zeros_like(top)
            output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the order of the blocks does not matter",
    truth="it matters where they are joined: the first block holds the first queries",
)
def blocks_of_queries_in_reverse(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs[::-1], dim=-2)


@misconception(
    "flash_attention",
    believes="there are n_key // block_key blocks of keys",
    truth="there is one more where block_key does not divide n_key",
)
def keys_cut_at_whole_blocks(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], max(block_key, k.shape[-2] // block_key * block_key)
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, k.shape[-2])
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the last block of keys can be filled up with zeros",
    truth="a key of zeros has the score 0 and takes a share; mask what was filled up",
)
def keys_filled_with_zeros(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    padding = -n_key % min(block_key, n_key)
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            if first_key + block_key > n_key and padding:
                total = total + padding * (0.0 - base).exp()
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="there are n_query // block_query blocks of queries",
    truth="there is one more where block_query does not divide n_query; its rows stay zero otherwise",
)
def queries_cut_at_whole_blocks(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    size = min(block_query, n_query)
    done = (torch.arange(n_query) < n_query // size * size)[:, None]
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2) * done


@misconception(
    "flash_attention",
    believes="the largest score of the first block is subtracted everywhere",
    truth="a later score may be larger by hundreds, and its exponential overflows",
)
def first_blocks_maximum(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.where(top == -math.inf, scores.amax(dim=-1, keepdim=True), top)
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the maximum is that of the latest block",
    truth="it must never fall: where the latest block is the smallest, the factor exp(old - new) overflows",
)
def latest_blocks_maximum(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = scores.amax(dim=-1, keepdim=True)
            highest = torch.where(highest == -math.inf, top, highest)
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="scores are small enough for exp",
    truth="e^89 overflows float32; subtract the largest score so far",
)
def exponentials_as_they_are(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = torch.zeros_like(highest)
            correction, weights = torch.ones_like(base), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the output has the shape of q",
    truth="it has the width of v, which may differ",
)
def output_shaped_like_queries(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = torch.zeros_like(q_block)
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="d_head is the last size of v",
    truth="of q and k, whose products the scores are; v may be wider",
)
def scaled_by_the_width_of_values(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(v.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the mask is for the causal form",
    truth="it is an argument here too: hidden keys have no influence",
)
def mask_not_used(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="True means hidden, as in nn.MultiheadAttention",
    truth="True means allowed, here and in scaled_dot_product_attention",
)
def mask_the_other_way_round(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the rows of the mask are those of the block",
    truth="the mask has a row for each query of the call: cut it by the block's queries",
)
def mask_of_the_first_queries(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., : q_block.shape[-2], keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the columns of the mask are those of the block",
    truth="the mask has a column for each key of the call: cut it by the block's keys",
)
def mask_of_the_first_keys(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, : scores.shape[-1]], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="a mask has a row for each query and a column for each key",
    truth="an axis of size 1 stands for all; slicing it leaves nothing for the later blocks: expand it first",
)
def mask_with_full_axes(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="a hidden score is set to 0",
    truth="the score 0 has a weight like any other; set it to -inf",
)
def masked_by_zero(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], 0.0)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="hidden keys are taken out of the weights before the values are added",
    truth="they are in the sum of exponentials by then: hide the scores first",
)
def masked_after_the_sum(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                hidden = ~mask[..., queries, keys]
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            if mask is not None:
                weights = weights.masked_fill(hidden, 0.0)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="-inf minus -inf is 0",
    truth="it is NaN: where a query has seen nothing yet, subtract 0 in place of the maximum",
)
def empty_tile_is_nan(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="a query that sees nothing in the first block sees nothing at all",
    truth="with left padding the first blocks are empty, and what can be seen comes later",
)
def empty_first_tile_ends_the_row(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
            if first_key == 0:
                blind = top == -math.inf
        outputs.append((output / total.masked_fill(total == 0, 1.0)).masked_fill(blind, 0.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="-10000 is far enough below all scores",
    truth="a row that sees nothing then has equal weights, and scores below -10000 exist too: use -inf",
)
def finite_score_for_hidden(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -10000.0)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="every query sees something",
    truth="a query that sees nothing has the sum 0, and 0/0 is NaN: it gets zeros",
)
def nothing_divided_by_nothing(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total)
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="the blocks are a matter of speed, so all scores may be made at once",
    truth="the point is memory: with T positions the matrix has T * T numbers. One tile at a time, or a row of tiles",
)
def whole_matrix_at_once(q, k, v, block_query, block_key, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    top = scores.amax(dim=-1, keepdim=True)
    weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
    total = weights.sum(dim=-1, keepdim=True)
    return weights @ v / total.masked_fill(total == 0, 1.0)


@misconception(
    "flash_attention",
    believes="tiles of queries are enough: each block of them can meet all keys at once, with a plain softmax",
    truth="then what is held grows with the number of keys for each query of the block, and a long context "
    "does not fit into fast memory: blocks of keys come in one by one, and the softmax is corrected",
)
def all_keys_for_a_block_of_queries(q, k, v, block_query, block_key, mask=None):
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], q.shape[-2], k.shape[-2])
    outputs = []
    for first_query in range(0, q.shape[-2], block_query):
        queries = slice(first_query, first_query + block_query)
        scores = q[..., queries, :] @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask[..., queries, :], -math.inf)
        top = scores.amax(dim=-1, keepdim=True)
        weights = (scores - top.masked_fill(top == -math.inf, 0.0)).exp()
        total = weights.sum(dim=-1, keepdim=True)
        outputs.append(weights @ v / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention",
    believes="without a mask, one of all True can stand in",
    truth="it has a number for every pair of positions, a byte each: that is the matrix again. Leave the "
    "masking out instead",
)
def mask_of_all_pairs(q, k, v, block_query, block_key, mask=None):
    n_query, n_key = q.shape[-2], k.shape[-2]
    mask = torch.ones(n_query, n_key, dtype=torch.bool) if mask is None else mask
    mask = mask.expand(*mask.shape[:-2], n_query, n_key)
    outputs = []
    for first_query in range(0, n_query, block_query):
        queries = slice(first_query, first_query + block_query)
        q_block = q[..., queries, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            keys = slice(first_key, first_key + block_key)
            scores = q_block @ k[..., keys, :].transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask[..., queries, keys], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v[..., keys, :]
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@fingerprint("flash_attention")
def flash_attention_probes(impl):
    draws = Values("normal", 5)
    q, k, v = draws.normal(2, 3, 5, 4), draws.normal(2, 3, 7, 4), draws.normal(2, 3, 7, 4)
    mask = draws.booleans(2, 3, 5, 7)
    mask[..., 0] = True
    padded = (torch.arange(7) >= 4).expand(2, 1, 5, 7)
    blind = torch.ones(2, 1, 5, 7, dtype=torch.bool)
    blind[:, :, 1] = False
    steep = k.clone()
    steep[..., 0] = torch.arange(7) * 100.0
    long = draws.normal(1, 2, 64, 2)
    return [
        lambda: impl(q, k, v, 8, 8),
        lambda: impl(q, k[:, :, :6], v[:, :, :6], 5, 2),
        lambda: impl(q[:, :, :4], k[:, :, :6], v[:, :, :6], 2, 3),
        lambda: impl(q, k, v, 2, 3),
        lambda: impl(q.abs(), steep, v, 2, 3),
        lambda: impl(-q.abs(), steep, v, 2, 3),
        lambda: impl(q, k, torch.cat([v, v[..., :2]], dim=-1), 2, 3),
        lambda: impl(q, k, v, 2, 3, mask),
        lambda: impl(q, k, v, 2, 3, mask[:, :, :1]),
        lambda: impl(q, k, v, 2, 3, padded),
        lambda: impl(q, k, v, 2, 3, blind),
        lambda: impl.measured(long, long, long, 4, 4)[1],
    ]


# --- flash_attention_causal ------------------------------------------------------------------------------------------


@misconception(
    "flash_attention_causal",
    believes="tiles make attention causal",
    truth="tiles are only an order of work: in a tile on the diagonal, compare positions",
)
def no_mask_at_all(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            scores = q_block @ k_block.transpose(-2, -1)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="a query sees what came before it",
    truth="and itself: hidden is what has a larger position",
)
def not_even_itself(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position >= position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="a query sees up to the next position",
    truth="up to its own: the next token is what it shall predict",
)
def one_too_many(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > 1 + position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="hidden is what has a smaller position",
    truth="hidden is what has a larger one: the future",
)
def future_instead_of_past(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position < position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="the scores are plain products of queries and keys",
    truth="they are divided by the root of d_head",
)
def causal_scores_not_scaled(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :]
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="a hidden score is set to 0",
    truth="the score 0 has a weight like any other; set it to -inf",
)
def hidden_scores_of_zero(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], 0.0)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="a query sees its own tile up to itself",
    truth="and all tiles before it: the whole past",
)
def own_tile_only(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(max(0, n_key - n_query + first_query) // block_key * block_key, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="every tile is masked by a triangle",
    truth="only those on the diagonal, and where it passes: compare positions in the text, not in the tile",
)
def triangle_in_every_tile(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2])
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="keys of a tile are counted from 0",
    truth="they are counted from the tile's first key",
)
def earlier_tiles_masked_out(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2])
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="queries of a tile are counted from 0",
    truth="they are counted from the tile's first query",
)
def queries_of_a_tile_from_zero(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="what is summed stays summed",
    truth="when a larger score comes, sum and output have to be multiplied by exp(old maximum - new maximum)",
)
def sums_not_corrected(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            weights = (scores - base).exp()
            total = total + weights.sum(dim=-1, keepdim=True)
            output = output + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="the sum of exponentials has to be corrected, the output does not",
    truth="both were summed relative to the former maximum, and both need the factor",
)
def correction_of_the_sum_only(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="tiles that begin at the last query are future",
    truth="a key at the last query's own position is seen by it: skip tiles that begin after it",
)
def tile_of_the_diagonal_skipped(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, max(1, n_key - n_query + first_query + q_block.shape[-2] - 1), block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="a block of queries meets the keys up to its first query",
    truth="its later queries see more: loop up to the last one, and mask",
)
def stops_at_the_first_query(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, max(1, n_key - n_query + first_query + 1), block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="a block of queries meets as many blocks of keys as its own number",
    truth="that holds for square tiles on a whole text; in general, count positions",
)
def counts_blocks_of_equal_size(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(
            0, min(n_key, (first_query // block_query + 1) * block_key + n_key - n_query), block_key
        ):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="only tiles with equal numbers of query and key block lie on the diagonal",
    truth="where tiles are not square, the diagonal passes through others: compare positions in all that can hold both",
)
def mask_on_equal_block_numbers_only(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            later = first_key >= first_query + n_key - n_query + block_query
            on_diagonal = later or first_key // block_key == first_query // block_query
            scores = scores.masked_fill(on_diagonal & (key_position > position[:, None]), -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="there are n_key // block_key blocks of keys",
    truth="there is one more where block_key does not divide n_key",
)
def keys_cut_at_whole_blocks_again(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, max(block_key, n_key // block_key * block_key), block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="query i stands at position i",
    truth="the queries are the newest positions: query i stands at n_key - n_query + i",
)
def corner_at_the_top_left(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="the past is n_key positions long",
    truth="n_key counts the new ones too: the past has n_key - n_query",
)
def past_counted_twice(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + (n_key if n_key > n_query else 0) + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="the new tokens see each other",
    truth="and the whole past: keys before the first query are seen by all",
)
def past_not_visible(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(
                (key_position > position[:, None]) | (key_position < n_key - n_query), -math.inf
            )
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="the largest score of the first block is subtracted everywhere",
    truth="a later score may be larger by hundreds, and its exponential overflows",
)
def causal_first_maximum(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.where(top == -math.inf, scores.amax(dim=-1, keepdim=True), top)
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="scores are small enough for exp",
    truth="e^89 overflows float32; subtract the largest score so far",
)
def causal_without_maximum(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = torch.zeros_like(highest)
            correction, weights = torch.ones_like(base), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="-100 is far enough below all scores",
    truth="scores of hundreds exist, and then the future has weight: use -inf",
)
def hidden_by_minus_100(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -100.0)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="the output has the shape of q",
    truth="it has the width of v, which may differ",
)
def causal_output_like_queries(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = torch.zeros_like(q_block)
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="d_head is the last size of v",
    truth="of q and k, whose products the scores are",
)
def causal_scale_of_values(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(v.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            key_position = torch.arange(k_block.shape[-2]) + first_key
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(key_position > position[:, None], -math.inf)
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="the mask is made once, and cut for each tile",
    truth="it has a number for every pair of positions, the matrix that is to be avoided: make it for each "
    "tile, from positions",
)
def mask_made_once_for_all(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    hidden = ~torch.ones(n_query, n_key, dtype=torch.bool).tril(diagonal=n_key - n_query)
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        top = q_block.new_full((*q_block.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(top)
        output = q_block.new_zeros(*q_block.shape[:-1], v.shape[-1])
        for first_key in range(0, n_key, block_key):
            k_block, v_block = (
                k[..., first_key : first_key + block_key, :],
                v[..., first_key : first_key + block_key, :],
            )
            scores = q_block @ k_block.transpose(-2, -1)
            scores = scores.masked_fill(
                hidden[first_query : first_query + block_query, first_key : first_key + block_key], -math.inf
            )
            highest = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            base = highest.masked_fill(highest == -math.inf, 0.0)
            correction, weights = (top - base).exp(), (scores - base).exp()
            total = total * correction + weights.sum(dim=-1, keepdim=True)
            output = output * correction + weights @ v_block
            top = highest
        outputs.append(output / total.masked_fill(total == 0, 1.0))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="a block of queries can meet all keys that it sees at once, with a plain softmax",
    truth="then what is held grows with the past: blocks of keys come in one by one, and the softmax is corrected",
)
def all_visible_keys_at_once(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    outputs = []
    for first_query in range(0, n_query, block_query):
        q_block = q[..., first_query : first_query + block_query, :] / math.sqrt(q.shape[-1])
        position = torch.arange(q_block.shape[-2]) + n_key - n_query + first_query
        n_visible = n_key - n_query + first_query + q_block.shape[-2]
        scores = q_block @ k[..., :n_visible, :].transpose(-2, -1)
        scores = scores.masked_fill(torch.arange(n_visible) > position[:, None], -math.inf)
        weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
        outputs.append(weights @ v[..., :n_visible, :] / weights.sum(dim=-1, keepdim=True))
    return torch.cat(outputs, dim=-2)


@misconception(
    "flash_attention_causal",
    believes="the blocks are a matter of speed, so all scores may be made at once",
    truth="the point is memory: with T positions the matrix has T * T numbers",
)
def whole_causal_matrix(q, k, v, block_query, block_key):
    n_query, n_key = q.shape[-2], k.shape[-2]
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    hidden = torch.arange(n_key) > torch.arange(n_key - n_query, n_key)[:, None]
    scores = scores.masked_fill(hidden, -math.inf)
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    return weights @ v / weights.sum(dim=-1, keepdim=True)


@fingerprint("flash_attention_causal")
def flash_attention_causal_probes(impl):
    draws = Values("normal", 6)
    q, k, v = (draws.normal(2, 3, 7, 4) for _ in range(3))
    steep = k.clone()
    steep[..., 0] = torch.arange(7) * 100.0
    long = draws.normal(1, 2, 64, 2)
    return [
        lambda: impl(q, k, v, 8, 8),
        lambda: impl(q[:, :, :6], k[:, :, :6], v[:, :, :6], 2, 2),
        lambda: impl(q, k, v, 2, 3),
        lambda: impl(q, k, v, 3, 2),
        lambda: impl(q[:, :, :3], k, v, 2, 3),
        lambda: impl(q[:, :, :3], k, v, 2, 2),
        lambda: impl(q[:, :, :3], k, v, 3, 2),
        lambda: impl(q.abs(), steep, v, 2, 3),
        lambda: impl(-q.abs(), steep, v, 2, 3),
        lambda: impl(q.abs(), steep - 900, v, 2, 3),
        lambda: impl(q, k, torch.cat([v, v[..., :2]], dim=-1), 2, 3),
        lambda: impl.measured(long, long, long, 4, 4)[1],
    ]
