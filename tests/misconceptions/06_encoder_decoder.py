"""What people believe about encoders, prefixes and masked language models, each belief as a function that runs."""

import math
from functools import cache

import torch
import torch.nn.functional as F

from gptdojo import fingerprint, misconception
from reference.attention import merge_heads, scaled_dot_product_attention, split_heads
from reference.mask import causal_mask, masked_softmax


@misconception(
    "bidirectional_attention",
    believes="attention in a transformer is always causal",
    truth="only a decoder hides what comes later; an encoder reads a finished text, and every position sees all of it",
)
def causal_as_in_gpt(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    n = x.shape[1]
    mask = causal_mask(n, n)
    if is_token is not None:
        mask = mask & is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="the mask of the pads takes the place of the causal mask, and without pads the causal one stays",
    truth="an encoder has no causal mask at all: without pads there is nothing to hide",
)
def causal_unless_padded(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    n = x.shape[1]
    mask = causal_mask(n, n) if is_token is None else is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="a position of an encoder must not see itself, or it could copy its own token",
    truth="it sees itself too; what keeps it from copying is that the token was replaced by the mask token in the input",
)
def never_sees_itself(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    n = x.shape[1]
    mask = ~torch.eye(n, dtype=torch.bool) | (n == 1)
    if is_token is not None:
        mask = mask & is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="bidirectional means reading from right to left",
    truth="it means both at once: every position sees what comes before, itself, and what comes after, in one softmax",
)
def backward_only(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    n = x.shape[1]
    mask = causal_mask(n, n).T
    if is_token is not None:
        mask = mask & is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="bidirectional attention is the mean of a forward and a backward pass, as in a bidirectional LSTM",
    truth="there is one softmax over all keys: two passes never compare a key on the left with one on the right",
)
def two_directions_averaged(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    causal = causal_mask(x.shape[1], x.shape[1])
    real = torch.tensor(True) if is_token is None else is_token[:, None, None, :]
    forward = scaled_dot_product_attention(q, k, v, causal & real)
    backward = scaled_dot_product_attention(q, k, v, causal.T & real)
    return F.linear(merge_heads((forward + backward) / 2), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="an encoder sees one neighbor on either side",
    truth="it sees the whole text, from any position; a window of neighbors is a convolution's way",
)
def nearest_neighbors_only(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    distance = (torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])).abs()
    mask = distance <= 1
    if is_token is not None:
        mask = mask & is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="if all see all, attention is the mean of the values",
    truth="all are seen, and not all count alike: the weights are still a softmax of the scores",
)
def mean_of_the_values(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    _, _, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    real = torch.ones(x.shape[:2]) if is_token is None else is_token.float()
    weights = (real / real.sum(dim=1, keepdim=True))[:, None, None, :]
    heads = (weights @ v).expand_as(v)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="an encoder needs no mask, since everyone sees everyone",
    truth="everyone sees every real token; pads are there only to make the batch rectangular, and nobody sees them",
)
def pads_are_seen(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="is_token is True where a key is to be left out, as key_padding_mask of nn.MultiheadAttention is",
    truth="is_token is True at real tokens; nn.MultiheadAttention has it the other way around",
)
def true_means_pad(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None if is_token is None else ~is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="it is the rows of the pads that have to be masked",
    truth="a row is a query: what must not be seen is a key, so the mask goes along the last axis, is_token[:, None, None, :]",
)
def pad_queries_masked(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None if is_token is None else is_token[:, None, :, None]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="pads stand at the end of a text, so the number of real tokens says which keys to leave out",
    truth="pads can stand on the left or in the middle too: is_token says of each key whether it is real",
)
def pads_seen_if_not_last(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None
    if is_token is not None:
        n_real = is_token.sum(dim=1)
        mask = (torch.arange(x.shape[1]) < n_real[:, None])[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="the mask of the first text serves the whole batch",
    truth="each text has its own pads, so the mask keeps its batch axis",
)
def pads_of_the_first_text(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None if is_token is None else is_token[0]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="a key counts as a pad if its query is one, so the mask is symmetric and a text ends at its first pad",
    truth="each key is judged by itself; real tokens after a pad are real",
)
def pads_hidden_on_both_sides_of_a_token(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None
    if is_token is not None:
        before_first_pad = is_token.long().cumprod(dim=1).bool()
        visible = torch.where(is_token.all(dim=1, keepdim=True) | ~is_token[:, :1], is_token, before_first_pad)
        mask = visible[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="a pad that is a vector of zeros is out of the way",
    truth="its key is then the bias, its score is as good as any, and it takes a share of the softmax; only a mask leaves it out",
)
def pads_set_to_zero(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    if is_token is not None:
        x = x * is_token[..., None]
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="a score of 0 hides a key",
    truth="exp(0) is 1: the key gets as much as any with an ordinary score; what hides it is minus infinity",
)
def pad_scores_set_to_zero(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None if is_token is None else is_token[:, None, None, :]
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, 0.0)
    heads = scores.softmax(dim=-1) @ v
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="the weights of the pads are set to zero after the softmax",
    truth="then they are still in the denominator, and the weights of the real tokens sum to less than 1",
)
def pads_dropped_after_the_softmax(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None if is_token is None else is_token[:, None, None, :]
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)
    if mask is not None:
        weights = weights * mask
    return F.linear(merge_heads(weights @ v), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="adding -10,000 to a score hides its key, as in the first code of BERT",
    truth="it does as long as all scores are far smaller; minus infinity has no such limit",
)
def ten_thousand_is_infinite(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None if is_token is None else is_token[:, None, None, :]
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores - 10_000.0 * ~mask
    heads = scores.softmax(dim=-1) @ v
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="a softmax can be computed as it is written, exp divided by the sum of exp",
    truth="exp overflows beyond 88 in float32: subtract the largest score of the row first, or let torch do it",
)
def softmax_by_hand_without_shift(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None if is_token is None else is_token[:, None, None, :]
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
    return F.linear(merge_heads(weights @ v), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="with a symmetric mask it does not matter along which axis the softmax runs",
    truth="scores are not symmetric: each query shares out a weight of 1 among the keys, the last axis",
)
def softmax_over_queries(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None if is_token is None else is_token[:, None, None, :]
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(dim=-2).nan_to_num(0.0)
    return F.linear(merge_heads(weights @ v), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="without a causal mask the scores need no scale",
    truth="the scale belongs to the dot product, sqrt(d_head), whatever is masked",
)
def scores_unscaled(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None if is_token is None else is_token[:, None, None, :]
    scores = q @ k.mT
    heads = scores.softmax(dim=-1) @ v if mask is None else masked_softmax(scores, mask) @ v
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="the scores are divided by sqrt(d_model)",
    truth="a score is a sum over the channels of one head: sqrt(d_head)",
)
def scaled_by_d_model(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None if is_token is None else is_token[:, None, None, :]
    scores = q @ k.mT / math.sqrt(x.shape[-1])
    heads = scores.softmax(dim=-1) @ v if mask is None else masked_softmax(scores, mask) @ v
    return F.linear(merge_heads(heads), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="the merged heads are the result",
    truth="w_out and b_out mix what the heads have found; an encoder has this projection as a decoder has",
)
def output_projection_forgotten(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None if is_token is None else is_token[:, None, None, :]
    return merge_heads(scaled_dot_product_attention(q, k, v, mask))


@misconception(
    "bidirectional_attention",
    believes="one reshape joins the heads",
    truth="the head axis has to go back behind the positions first",
)
def heads_merged_by_reshape(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    mask = None if is_token is None else is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(heads.reshape(x.shape), w_out, b_out)


@misconception(
    "bidirectional_attention",
    believes="an encoder is only read from, so no gradient has to flow through it",
    truth="it is trained like any model; no_grad or detach cuts it off",
)
def encoder_frozen(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    with torch.no_grad():
        q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
        mask = None if is_token is None else is_token[:, None, None, :]
        heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), w_out, b_out)


@fingerprint("bidirectional_attention")
def bidirectional_attention_probes(impl):
    generator = torch.Generator().manual_seed(6)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    x, weights, cotangent = normal(2, 5, 8), (normal(24, 8), normal(24), normal(8, 8), normal(8)), normal(2, 5, 8)
    right = torch.tensor([[True, True, True, False, False], [True, True, True, True, False]])
    left = right.flip(1)
    middle = torch.tensor([[True, False, True, True, False], [False, True, False, True, True]])
    return [
        lambda: impl(x[:, :1], *weights, 2),
        lambda: impl(x, *weights, 2),
        lambda: impl(x, *weights, 4, torch.ones(2, 5, dtype=torch.bool)),
        *(lambda real=real: impl(x, *weights, 2, real)[real] for real in (right, left, middle)),
        lambda: impl(x, *weights, 2, right),
        lambda: impl(100 * x, *weights, 2, middle)[middle],
        lambda: impl.vjp((x, *weights, 2), cotangent, wrt=(0, 1)),
    ]


@misconception(
    "prefix_lm_mask",
    believes="a prefix LM is a causal LM that is given a prompt",
    truth="its prefix is read in both directions: its first position sees its last",
)
def causal_throughout(n_prefix, n_position):
    return torch.ones(n_position, n_position, dtype=torch.bool).tril()


@misconception(
    "prefix_lm_mask",
    believes="the prefix reaches up to and including position n_prefix",
    truth="positions are counted from 0, so the prefix is the positions 0 to n_prefix - 1",
)
def prefix_one_too_long(n_prefix, n_position):
    position = torch.arange(n_position)
    return (position <= position[:, None]) | (position <= n_prefix)


@misconception(
    "prefix_lm_mask",
    believes="the last position of the prefix belongs to the continuation",
    truth="the prefix is n_prefix positions, 0 to n_prefix - 1, and all of them see all of them",
)
def prefix_one_too_short(n_prefix, n_position):
    position = torch.arange(n_position)
    return (position <= position[:, None]) | (position < n_prefix - 1)


@misconception(
    "prefix_lm_mask",
    believes="the positions of the prefix see everything",
    truth="they see the prefix; what comes after it is what the model has to predict, and they would carry it there",
)
def prefix_sees_everything(n_prefix, n_position):
    position = torch.arange(n_position)
    return (position <= position[:, None]) | (position[:, None] < n_prefix)


@misconception(
    "prefix_lm_mask",
    believes="both conditions must hold: in the prefix, and not in the future",
    truth="one of them is enough: a key is seen if it is in the prefix or not in the future",
)
def prefix_and_causal(n_prefix, n_position):
    position = torch.arange(n_position)
    return (position <= position[:, None]) & ((position < n_prefix) | (n_prefix == 0))


@misconception(
    "prefix_lm_mask",
    believes="after the prefix too everyone sees everyone",
    truth="what comes after the prefix is generated token by token: it is causal",
)
def continuation_in_both_directions(n_prefix, n_position):
    position = torch.arange(n_position)
    mask = (position < n_prefix) | (position[:, None] >= n_prefix)
    return mask if n_prefix else mask.tril()


@misconception(
    "prefix_lm_mask",
    believes="prefix and continuation are two texts that do not see each other",
    truth="the continuation sees the whole prefix: that is what it continues",
)
def continuation_without_the_prefix(n_prefix, n_position):
    position = torch.arange(n_position)
    mask = (position <= position[:, None]) | (position < n_prefix)
    return mask & ((position < n_prefix) == (position[:, None] < n_prefix))


@misconception(
    "prefix_lm_mask",
    believes="a position after the prefix sees the prefix and itself",
    truth="it also sees what was generated before it, since the prefix",
)
def continuation_forgets_itself(n_prefix, n_position):
    position = torch.arange(n_position)
    mask = torch.eye(n_position, dtype=torch.bool) | (position < n_prefix)
    return mask if n_prefix else torch.ones_like(mask).tril()


@misconception(
    "prefix_lm_mask",
    believes="the token at a position is what is predicted there, so a position after the prefix does not see itself",
    truth="the token there is the input; the one after it is predicted, so a position sees itself",
)
def continuation_never_sees_itself(n_prefix, n_position):
    position = torch.arange(n_position)
    mask = (position < position[:, None]) | (position < n_prefix)
    return mask if n_prefix else torch.ones_like(mask).tril()


@misconception(
    "prefix_lm_mask",
    believes="the prefix is the last n_prefix positions",
    truth="a prefix stands in front: positions 0 to n_prefix - 1",
)
def prefix_at_the_end(n_prefix, n_position):
    position = torch.arange(n_position)
    return (position <= position[:, None]) | (position >= n_position - n_prefix)


@misconception(
    "prefix_lm_mask",
    believes="the mask says what comes later: True is hidden",
    truth="True means that attention is allowed, as everywhere in this course",
)
def prefix_in_the_future(n_prefix, n_position):
    position = torch.arange(n_position)
    return (position > position[:, None]) & (position >= n_prefix)


@misconception(
    "prefix_lm_mask",
    believes="row i of a mask says who sees position i",
    truth="rows are queries: row i says whom position i sees",
)
def keys_are_the_rows(n_prefix, n_position):
    position = torch.arange(n_position)
    return ((position <= position[:, None]) | (position < n_prefix)).T


@misconception(
    "prefix_lm_mask",
    believes="the continuation sees the prefix and no more",
    truth="it sees the prefix, and what came since, itself included",
)
def nothing_else_if_there_is_a_prefix(n_prefix, n_position):
    position = torch.arange(n_position)
    mask = (position < n_prefix).expand(n_position, n_position)
    return mask.clone() if n_prefix else torch.ones_like(mask).tril()


@misconception(
    "prefix_lm_mask",
    believes="the mask is only about what comes after the prefix",
    truth="it has a row for each position: the prefix is computed in the same pass",
)
def continuation_only(n_prefix, n_position):
    position = torch.arange(n_position)
    mask = (position <= position[:, None]) | (position < n_prefix)
    return mask[n_prefix:]


@misconception(
    "prefix_lm_mask",
    believes="a mask holds 0 where attention is allowed and minus infinity elsewhere",
    truth="masks are boolean here, and True where attention is allowed",
)
def additive(n_prefix, n_position):
    position = torch.arange(n_position)
    mask = (position <= position[:, None]) | (position < n_prefix)
    return torch.zeros(n_position, n_position).masked_fill(~mask, -math.inf)


@misconception(
    "prefix_lm_mask",
    believes="after the prefix there is always something to predict",
    truth="the prefix may be the whole text, for example while it is read before anything is generated",
)
def prefix_is_never_all(n_prefix, n_position):
    mask = torch.ones(n_position, n_position, dtype=torch.bool).tril()
    if n_prefix < n_position:
        mask[:n_prefix, :n_prefix] = True
    return mask


@fingerprint("prefix_lm_mask")
def prefix_lm_mask_probes(impl):
    return [lambda pair=pair: impl(*pair) for pair in ((0, 3), (1, 4), (3, 6), (4, 5), (4, 4), (1, 1))]


@misconception(
    "cross_attention",
    believes="a decoder is causal, so its cross-attention is too",
    truth="the source is complete before the first token is generated: every target position sees all of it",
)
def causal_over_the_source(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = torch.ones(x.shape[1], memory.shape[1], dtype=torch.bool).tril()
    if is_token is not None:
        mask = mask & is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="keys and queries come from the decoder, and the values from the encoder",
    truth="keys say by what a value can be found, so both come from the encoder's output; only the queries are the decoder's",
)
def keys_from_the_target(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    d_model = x.shape[-1]
    n = min(x.shape[1], memory.shape[1])
    k = F.linear(x, params["c_attn.weight"][:d_model], params["c_attn.bias"][:d_model])
    v = F.linear(memory, params["c_attn.weight"][d_model:], params["c_attn.bias"][d_model:])
    k, v = split_heads(k[:, :n], n_head), split_heads(v[:, :n], n_head)
    mask = None if is_token is None else is_token[:, None, None, :n]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="the encoder asks the decoder: queries from memory, keys and values from x",
    truth="the decoder asks: the result has a row for each target position",
)
def queries_from_the_source(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(memory, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head) for t in F.linear(x, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="cross-attention is the decoder's attention to itself, with parameters of its own",
    truth="its keys and values come from memory; without them the decoder never hears of the source",
)
def attends_to_itself(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head) for t in F.linear(x, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="source and target are read together: the keys are those of memory and of x",
    truth="the decoder reads its own tokens in its self-attention; here the keys are the source's alone",
)
def target_among_the_keys(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    both = torch.cat([memory, x], dim=1)
    k, v = (
        split_heads(t, n_head) for t in F.linear(both, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None
    if is_token is not None:
        mask = F.pad(is_token, (0, x.shape[1]), value=True)[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="the layer adds its result to x",
    truth="the residual sum belongs to the block; this layer returns what it has found",
)
def residual_inside(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return x + F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="the rows of c_attn are those of v, then k",
    truth="k comes first, then v, as in c_attn of self-attention after q",
)
def values_before_keys(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    v, k = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="the rows of c_attn hold k and v of head 0, then k and v of head 1, and so on",
    truth="they hold k of all heads, then v of all heads: split into k and v first, into heads after that",
)
def keys_and_values_dealt_by_head(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    both = F.linear(memory, params["c_attn.weight"], params["c_attn.bias"])
    k, v = both.reshape(*memory.shape[:2], n_head, 2, -1).permute(3, 0, 2, 1, 4)
    mask = None if is_token is None else is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="x @ weight applies a weight",
    truth="weights are (out, in) here, so it is x @ weight.T",
)
def weights_in_out(x, memory, params, n_head, is_token=None):
    q = split_heads(x @ params["q_attn.weight"] + params["q_attn.bias"], n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="x can be the queries as it is",
    truth="q_attn projects it: queries have to live where the keys live",
)
def query_not_projected(x, memory, params, n_head, is_token=None):
    q = split_heads(x, n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="a linear layer is its matrix",
    truth="each of the three has a bias, which is added",
)
def biases_forgotten(x, memory, params, n_head, is_token=None):
    q = split_heads(x @ params["q_attn.weight"].T, n_head)
    k, v = (split_heads(t, n_head) for t in (memory @ params["c_attn.weight"].T).chunk(2, dim=-1))
    mask = None if is_token is None else is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return merge_heads(heads) @ params["c_proj.weight"].T


@misconception(
    "cross_attention",
    believes="the merged heads are the result",
    truth="c_proj mixes what the heads have found",
)
def heads_of_the_source_as_result(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    return merge_heads(scaled_dot_product_attention(q, k, v, mask))


@misconception(
    "cross_attention",
    believes="one source serves the whole batch",
    truth="each target has its own source: memory keeps its batch axis",
)
def first_source_for_all(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    k, v = k[:1].expand_as(k), v[:1].expand_as(v)
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="the encoder hands over one vector, the mean of its outputs, as in the first sequence-to-sequence models",
    truth="it hands over all of them, and each target position weighs them anew: that is what attention was invented for",
)
def source_as_one_vector(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    real = torch.ones(memory.shape[:2]) if is_token is None else is_token.float()
    mean = (memory * real[..., None]).sum(dim=1, keepdim=True) / real.sum(dim=1)[:, None, None]
    k, v = (
        split_heads(t, n_head) for t in F.linear(mean, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="target position i reads source position i",
    truth="each target position reads all of the source; the two texts need not have one length or one order",
)
def position_by_position(x, memory, params, n_head, is_token=None):
    _, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    n, last = x.shape[1], memory.shape[1] - 1
    heads = v[:, :, torch.arange(n).clamp(max=last)]
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="each source token shares out its weight among the targets",
    truth="each query shares out a weight of 1 among the keys, the last axis",
)
def softmax_over_targets(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    heads = scores.softmax(dim=-2).nan_to_num(0.0) @ v
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="the scores need no scale, since queries and keys come from different texts",
    truth="they are dot products of d_head terms all the same: divide by sqrt(d_head)",
)
def cross_scores_unscaled(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    scores = q @ k.mT
    heads = scores.softmax(dim=-1) @ v if mask is None else masked_softmax(scores, mask) @ v
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="the last target position asks for all",
    truth="each target position has a query of its own; in training all of them are computed at once",
)
def all_targets_share_one_query(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q[:, :, -1:], k, v, mask).expand_as(q)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="the queries are summed up to the position that asks, since it has read that much",
    truth="what a position has read is already in its x, through self-attention; here it asks with its own vector",
)
def queries_mixed_causally(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    count = torch.arange(1, x.shape[1] + 1)[:, None]
    q = q.cumsum(dim=-2) / count
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="the source needs no mask",
    truth="its pads have to be masked: the sources of a batch have different lengths, and nobody sees a pad",
)
def pads_of_the_source_are_seen(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="is_token is True where memory is to be left out",
    truth="it is True at real tokens",
)
def true_means_pad_of_the_source(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else ~is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="is_token masks the rows",
    truth="it is about the source, and the source is the keys, the last axis: is_token[:, None, None, :]",
)
def mask_on_the_targets(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None
    if is_token is not None:
        n = min(x.shape[1], memory.shape[1])
        mask = F.pad(is_token[:, :n], (0, x.shape[1] - n), value=True)[:, None, :, None]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="the mask of the first source serves the whole batch",
    truth="each source has its own pads",
)
def pads_of_the_first_source(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[0]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="a pad that is a vector of zeros is out of the way",
    truth="its key is then the bias and its score as good as any; only a mask leaves it out",
)
def pads_of_the_source_set_to_zero(x, memory, params, n_head, is_token=None):
    if is_token is not None:
        memory = memory * is_token[..., None]
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="the weights of the pads are set to zero after the softmax",
    truth="then they are still in the denominator, and the other weights sum to less than 1",
)
def pads_of_the_source_dropped_after_the_softmax(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)
    heads = weights @ v if mask is None else (weights * mask) @ v
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="adding -10,000 to a score hides its key",
    truth="it does as long as all scores are far smaller; minus infinity has no such limit",
)
def ten_thousand_hides_the_source(x, memory, params, n_head, is_token=None):
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores - 10_000.0 * ~mask
    heads = scores.softmax(dim=-1) @ v
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@misconception(
    "cross_attention",
    believes="the encoder has done its work, so memory is detached",
    truth="encoder and decoder are trained together: the loss reaches the encoder through cross-attention alone",
)
def memory_detached(x, memory, params, n_head, is_token=None):
    memory = memory.detach()
    q = split_heads(F.linear(x, params["q_attn.weight"], params["q_attn.bias"]), n_head)
    k, v = (
        split_heads(t, n_head)
        for t in F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).chunk(2, dim=-1)
    )
    mask = None if is_token is None else is_token[:, None, None, :]
    heads = scaled_dot_product_attention(q, k, v, mask)
    return F.linear(merge_heads(heads), params["c_proj.weight"], params["c_proj.bias"])


@fingerprint("cross_attention")
def cross_attention_probes(impl):
    generator = torch.Generator().manual_seed(7)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    sizes = {"q_attn": 8, "c_attn": 16, "c_proj": 8}
    params = {f"{name}.weight": normal(size, 8) for name, size in sizes.items()}
    params |= {f"{name}.bias": normal(size) for name, size in sizes.items()}
    x, memory, cotangent = normal(2, 4, 8), normal(2, 5, 8), normal(2, 4, 8)
    right = torch.tensor([[True, True, True, False, False], [True, True, True, True, False]])
    middle = torch.tensor([[True, False, True, True, False], [False, True, False, True, True]])
    return [
        lambda: impl(x, memory[:, :1], params, 2),
        lambda: impl(x, memory, params, 2),
        lambda: impl(x[:, :2], memory[:, :2], params, 4, torch.ones(2, 2, dtype=torch.bool)),
        *(lambda real=real: impl(x, memory, params, 2, real) for real in (right, right.flip(1), middle)),
        lambda: impl(1000 * x, 1000 * memory, params, 2, middle),
        lambda: impl.vjp((x, memory, params, 2), cotangent, wrt=(0, 1)),
    ]


@misconception(
    "corrupt_for_mlm",
    believes="any position can be chosen",
    truth="only maskable ones can: nothing is learned from guessing a pad, [CLS] or [SEP]",
)
def pads_can_be_chosen(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = torch.rand(tokens.shape, generator=generator) < rate
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="maskable is True at the special tokens, which stay",
    truth="it is True at what may be chosen",
)
def true_means_special(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = ~maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="rate is the share that is left as it is",
    truth="rate is the share that is chosen, 0.15 in BERT",
)
def rate_is_what_stays(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) >= rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="15 % are chosen, whatever else is said",
    truth="15 % is BERT's choice and the default; the rate is an argument",
)
def always_fifteen_percent(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < 0.15)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="a position that keeps its token has not been chosen",
    truth="it has, and counts in the loss: that is what makes the model doubt tokens that look real",
)
def kept_are_not_chosen(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen & ((lot < 0.8) | (lot >= 0.9))


@misconception(
    "corrupt_for_mlm",
    believes="only the positions with the mask token are to be guessed",
    truth="all chosen ones are, those with a drawn token and with their own included",
)
def only_masked_are_chosen(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen & (lot < 0.8)


@misconception(
    "corrupt_for_mlm",
    believes="the chosen positions are those where the text has changed",
    truth="a tenth of the chosen ones keep their token, and some draw their own: nothing shows there",
)
def what_changed_was_chosen(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    corrupted = torch.where(chosen & (lot >= 0.9), drawn, corrupted)
    return corrupted, corrupted != tokens


@misconception(
    "corrupt_for_mlm",
    believes="the second result holds the original tokens, and -100 where nothing was chosen",
    truth="it says which positions were chosen, as booleans; the original tokens are known",
)
def labels_for_chosen(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), torch.where(chosen, tokens, -100)


@misconception(
    "corrupt_for_mlm",
    believes="the chosen positions come first",
    truth="the corrupted text comes first, then which positions were chosen",
)
def results_exchanged(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return chosen, torch.where(chosen & (lot >= 0.9), drawn, corrupted)


@misconception(
    "corrupt_for_mlm",
    believes="a tenth of all tokens are replaced by drawn ones",
    truth="a tenth of the chosen ones are; where nothing was chosen the text stays as it is",
)
def noise_everywhere(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(maskable & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="tokens are drawn for all positions with a high lot, pads too",
    truth="only chosen positions change",
)
def pads_can_be_drawn(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where((chosen | ~maskable) & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="tokens go from 0 to vocab_size",
    truth="they go from 0 to vocab_size - 1; torch.randint leaves its upper bound out",
)
def draws_one_past_the_end(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size + 1, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="torch.rand draws well enough without a generator",
    truth="then nobody can repeat the run: every draw takes the generator that was given",
)
def generator_left_aside(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape) < rate)
    lot = torch.rand(tokens.shape)
    drawn = torch.randint(vocab_size, tokens.shape)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="the generator decides what is chosen; the rest may be drawn anyhow",
    truth="then two runs with one seed still differ: every draw takes the generator",
)
def generator_for_the_choice_only(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape)
    drawn = torch.randint(vocab_size, tokens.shape)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="the function fixes its own seed, so that it can be repeated",
    truth="then every batch is corrupted at the same positions; the generator that is given goes on from batch to batch",
)
def seeded_inside(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    generator = torch.Generator().manual_seed(0)
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="the positions are chosen once and serve all texts of the batch",
    truth="each position of each text is chosen on its own",
)
def one_choice_for_the_batch(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape[1:], generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="of each text, rate times its length are chosen among the maskable ones",
    truth="each maskable position has the probability rate, so a text of pads and few tokens has few chosen",
)
def share_of_all_positions(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    order = torch.rand(tokens.shape, generator=generator).masked_fill(~maskable, 2.0).argsort(dim=1).argsort(dim=1)
    chosen = maskable & (order < round(rate * tokens.shape[1]))
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="of each text exactly the share rate is chosen",
    truth="each position is chosen on its own, so the number is left to chance",
)
def exact_share_of_each_text(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    order = torch.rand(tokens.shape, generator=generator).masked_fill(~maskable, 2.0).argsort(dim=1).argsort(dim=1)
    noise = torch.rand(len(tokens), 1, generator=generator)
    chosen = maskable & (order < (rate * maskable.sum(dim=1, keepdim=True) + noise).floor())
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="at least one position has to be chosen, or there is nothing to learn",
    truth="each position is chosen on its own, and in a small batch it can happen that none is; whoever trains then skips it",
)
def at_least_one_is_chosen(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    if rate > 0 and not chosen.any() and maskable.any():
        chosen = maskable & (maskable.flatten().cumsum(0).view(tokens.shape) == 1)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="neighbors are chosen together, since words are often two tokens",
    truth="that is whole-word masking, a later variant; here each position is chosen on its own",
)
def spans_of_two(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    pairs = torch.rand(tokens.shape, generator=generator)[:, : (tokens.shape[1] + 1) // 2].repeat_interleave(2, dim=1)
    chosen = maskable & (pairs[:, : tokens.shape[1]] < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="of each batch exactly the share rate is chosen",
    truth="each position is chosen on its own, so the number is left to chance",
)
def exact_share_of_the_batch(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    order = torch.rand(tokens.shape, generator=generator).masked_fill(~maskable, 2.0).flatten().argsort().argsort()
    n_chosen = rate * maskable.sum() + torch.rand((), generator=generator)
    chosen = maskable & (order.view(tokens.shape) < n_chosen.floor())
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="every chosen token becomes the mask token",
    truth="80 % do; the mask token never occurs when the model is used, so it must not be the only sign of a question",
)
def all_masked(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    return torch.where(chosen, mask_token, tokens), chosen


@misconception(
    "corrupt_for_mlm",
    believes="the chosen that do not become the mask token are all drawn",
    truth="half of them, 10 % of the chosen, keep their token",
)
def none_kept(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.8), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="the chosen that do not become the mask token all stay",
    truth="half of them, 10 % of the chosen, are replaced by a drawn token",
)
def none_drawn(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    return torch.where(chosen & (lot < 0.8), mask_token, tokens), chosen


@misconception(
    "corrupt_for_mlm",
    believes="after 80 % have been masked, 10 % of the rest are drawn",
    truth="10 % of all chosen are, which is half of the rest",
)
def a_tenth_of_the_rest(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    masked = chosen & (lot < 0.8)
    drawn_here = chosen & ~masked & (torch.rand(tokens.shape, generator=generator) < 0.1)
    return torch.where(drawn_here, drawn, torch.where(masked, mask_token, tokens)), chosen


@misconception(
    "corrupt_for_mlm",
    believes="10 % of the chosen are drawn, on top of the 80 % that are masked",
    truth="the three fates exclude each other, so one lot decides; a second one at random would unmask a part of the masked",
)
def drawn_after_masked(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    lot = torch.rand(tokens.shape, generator=generator)
    return torch.where(chosen & (lot < 0.1), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="the number that decided the choice can decide what becomes of it",
    truth="a chosen position has a number below rate, so it is always below 0.8: draw again, or divide by rate first",
)
def one_draw_for_both(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    lot = torch.rand(tokens.shape, generator=generator)
    chosen = maskable & (lot < rate)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="80 % stay, 10 % become the mask token and 10 % are drawn",
    truth="80 % become the mask token; most questions have to look like questions",
)
def mostly_kept(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.1), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="a drawn token differs from the original",
    truth="it is drawn from the whole vocabulary, and may be the original by chance",
)
def never_the_original(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(1, vocab_size, tokens.shape, generator=generator)
    drawn = (tokens + drawn) % vocab_size
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="a drawn token is an ordinary token, never the mask token",
    truth="it is drawn from the whole vocabulary, whatever its tokens are for",
)
def never_the_mask_token(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(1, vocab_size, tokens.shape, generator=generator)
    drawn = (mask_token + drawn) % vocab_size
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="the largest token is vocab_size - 1, so that is the bound for torch.randint",
    truth="randint leaves its upper bound out: the bound is vocab_size",
)
def never_the_last_token(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size - 1, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="a drawn token is one from elsewhere in the batch",
    truth="it is drawn from the vocabulary, all tokens equally likely",
)
def drawn_from_the_text(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = tokens.flatten()[torch.randperm(tokens.numel(), generator=generator)].view(tokens.shape)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="one token is drawn and put wherever one is needed",
    truth="each of these positions draws its own",
)
def one_token_for_all(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, (1,), generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="one token a column is drawn, for all texts of the batch",
    truth="each position of each text draws its own",
)
def one_token_for_all_texts(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape[1:], generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="a text is masked, drawn or kept as a whole",
    truth="each chosen position has its own lot",
)
def one_fate_for_a_text(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(len(tokens), 1, generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="neighbors share a lot, so that both tokens of a word are masked or none",
    truth="each chosen position has its own lot",
)
def one_fate_for_a_pair(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    pairs = torch.rand(tokens.shape, generator=generator)[:, : (tokens.shape[1] + 1) // 2].repeat_interleave(2, dim=1)
    lot = pairs[:, : tokens.shape[1]]
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@misconception(
    "corrupt_for_mlm",
    believes="one lot a column serves all texts of the batch",
    truth="each chosen position of each text has its own lot",
)
def one_fate_for_a_column(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = maskable & (torch.rand(tokens.shape, generator=generator) < rate)
    lot = torch.rand(tokens.shape[1:], generator=generator)
    drawn = torch.randint(vocab_size, tokens.shape, generator=generator)
    corrupted = torch.where(chosen & (lot < 0.8), mask_token, tokens)
    return torch.where(chosen & (lot >= 0.9), drawn, corrupted), chosen


@fingerprint("corrupt_for_mlm")
def corrupt_for_mlm_probes(impl):
    # Chance does not show in what the probes give: shares are rounded coarsely, and never where the rounding is close.
    # So a mistake is named in whatever order the numbers are drawn.
    def call(shape, token, mask, vocab, seed, *rate, maskable=None):
        tokens = torch.full(shape, token) if isinstance(token, int) else token
        maskable = torch.ones(shape, dtype=torch.bool) if maskable is None else maskable
        return tokens, *impl(tokens, maskable, mask, vocab, torch.Generator().manual_seed(seed), *rate)

    def share(events, step):
        return round(events.double().mean().item() / step)

    def kinds():
        _, corrupted, chosen = call((2, 3), 5, 0, 6, 1, 1.0)
        return corrupted.dtype, chosen.dtype

    def together(same, real, limit):
        # for neighbors in a text, for every second position, and for two texts
        pairs = [(slice(None), slice(0, None, 4), slice(None), slice(1, None, 4))]
        pairs += [(slice(None), slice(0, None, 4), slice(None), slice(2, None, 4))]
        pairs += [(slice(0, None, 2), slice(None), slice(1, None, 2), slice(None))]
        varied = 0.05 < same.double().mean().item() < 0.95 or same.dtype != torch.bool
        found = []
        for i, j, k, m in pairs:
            both = real[i, j] & real[k, m]
            equal = (same[i, j] == same[k, m])[both]
            found.append(varied and equal.numel() > 20 and equal.double().mean().item() > limit)
        return found

    @cache
    def dependence():
        _, _, chosen = call((400, 100), 7, 3, 500, 5, 0.5)
        tokens, corrupted, _ = call((400, 100), 7, 3, 500, 6, 1.0)
        everywhere = torch.ones(400, 100, dtype=torch.bool)
        others = (corrupted != 3) & (corrupted != tokens)
        return (
            together(chosen, everywhere, 0.9),
            together(corrupted == 3, everywhere, 0.9),
            together(corrupted, others, 0.5),
        )

    def if_independent(probe):
        # of numbers that are drawn together the shares are left to chance
        right_kinds = kinds() == (torch.int64, torch.bool)
        return probe() if right_kinds and not any(map(any, dependence())) else None

    def none():
        tokens, corrupted, chosen = call((400, 100), 7, 3, 500, 1, 0.0)
        return share(chosen, 0.12), share(corrupted != tokens, 0.07)

    def special():
        maskable = torch.arange(200).expand(400, 200) < 100
        tokens, corrupted, chosen = call((400, 200), 7, 3, 500, 1, 0.4, maskable=maskable)
        moved, unasked = corrupted != tokens, (corrupted != tokens) & ~chosen
        parts = ((chosen, 0.12), (moved, 0.1), (unasked, 0.05))
        return [(share(part[:, :100], step), share(part[:, 100:], step)) for part, step in parts]

    def texts_of_few_tokens():
        maskable = torch.arange(100).expand(400, 100) % 10 == 0
        return share(call((400, 100), 7, 3, 500, 1, 0.3, maskable=maskable)[2][:, ::10], 0.13)

    def fates():
        tokens, corrupted, chosen = call((800, 100), torch.arange(10, 110).repeat(800, 1), 3, 500, 2, 0.3)
        found = (corrupted == 3, corrupted == tokens, (corrupted != 3) & (corrupted != tokens))
        return [share(fate[chosen], 0.06) for fate in found], bool(found[2].any())

    def of_two(mask):
        _, corrupted, chosen = call((400, 100), 1 - mask, mask, 2, 3, 1.0)
        return share(corrupted == mask, 0.045), share(chosen, 0.045)

    def of_four():
        corrupted = call((400, 200), 1, 0, 4, 4, 1.0)[1]
        return [share(corrupted == token, 0.0121) for token in (2, 3, 4)]

    def repeated(rate):
        results = [call((10, 30), 7, 3, 20, seed, rate)[1:] for seed in (8, 8, 9)]
        return [[torch.equal(*pair) for pair in zip(results[0], other, strict=True)] for other in results[1:]]

    def small_batches():
        totals = [call((2, 3), 7, 3, 20, seed, 0.1)[2].sum().item() for seed in range(100)]
        larger = [call((2, 10), 7, 3, 20, seed, 0.5)[2].sum().item() for seed in range(50)]
        return 0 in totals, max(larger) - min(larger) > 3

    def spread():
        return round(call((400, 20), 7, 3, 20, 10, 0.5)[2].sum(dim=1).double().std().item() / 1.2)

    shares = [
        none,
        special,
        lambda: share(call((400, 100), 7, 3, 500, 1)[2], 0.07),
        texts_of_few_tokens,
        fates,
        lambda: share(call((400, 100), 7, 3, 500, 2, 0.3)[1] == 7, 0.05),
        lambda: of_two(0),
        lambda: of_two(1),
        of_four,
        small_batches,
        spread,
    ]
    return [
        kinds,
        lambda: dependence() if kinds() == (torch.int64, torch.bool) else None,
        *(lambda probe=probe: if_independent(probe) for probe in shares),
        lambda: if_independent(lambda: repeated(0.5)),
        lambda: if_independent(lambda: repeated(1.0)),
    ]


@misconception(
    "mlm_loss",
    believes="every position is predicted, so every position counts",
    truth="only the chosen ones count: at the others the answer stands in the input, and copying it teaches nothing",
)
def all_positions(logits, tokens, chosen):
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())


@misconception(
    "mlm_loss",
    believes="the sum over the chosen positions is divided by the number of positions",
    truth="it is divided by the number of chosen ones, or the loss would shrink with the rate",
)
def divided_by_all_positions(logits, tokens, chosen):
    losses = F.cross_entropy(logits.mT, tokens, reduction="none")
    return (losses * chosen).sum() / chosen.numel()


@misconception(
    "mlm_loss",
    believes="the loss is the sum over the chosen positions",
    truth="it is their mean: the size of a loss should not depend on how many were drawn",
)
def summed(logits, tokens, chosen):
    return F.cross_entropy(logits[chosen], tokens[chosen], reduction="sum")


@misconception(
    "mlm_loss",
    believes="position t predicts token t + 1, as in GPT",
    truth="here a position predicts its own token, which is hidden in the input: nothing is shifted",
)
def next_token(logits, tokens, chosen):
    logits, tokens, chosen = logits[:, :-1], tokens[:, 1:], chosen[:, 1:]
    return F.cross_entropy(logits[chosen], tokens[chosen])


@misconception(
    "mlm_loss",
    believes="the logits that predict a chosen position stand one before it, in a ring",
    truth="they stand at the position itself: an encoder sees both sides of it",
)
def previous_logits(logits, tokens, chosen):
    return F.cross_entropy(logits.roll(1, dims=1)[chosen], tokens[chosen])


@misconception(
    "mlm_loss",
    believes="the chosen positions are hidden, so the loss is over the others",
    truth="it is over the chosen ones: they are the questions",
)
def visible_positions(logits, tokens, chosen):
    kept = ~chosen if (~chosen).any() else chosen
    return F.cross_entropy(logits[kept], tokens[kept])


@misconception(
    "mlm_loss",
    believes="the mean over a batch is the mean of the texts' means",
    truth="all chosen positions count alike; a text with few of them counts less",
)
def mean_of_text_means(logits, tokens, chosen):
    losses = F.cross_entropy(logits.mT, tokens, reduction="none") * chosen
    means = losses.sum(dim=1) / chosen.sum(dim=1).clamp(min=1)
    return means[chosen.any(dim=1)].mean()


@misconception(
    "mlm_loss",
    believes="the sum is divided by the number of texts",
    truth="it is divided by the number of chosen positions",
)
def divided_by_texts(logits, tokens, chosen):
    return F.cross_entropy(logits[chosen], tokens[chosen], reduction="sum") / len(tokens)


@misconception(
    "mlm_loss",
    believes="a text in which nothing was chosen counts as a loss of 0",
    truth="it counts not at all, neither in the sum nor in the number that it is divided by",
)
def texts_without_questions_count(logits, tokens, chosen):
    losses = F.cross_entropy(logits.mT, tokens, reduction="none") * chosen
    return losses.sum() / chosen.sum(dim=1).clamp(min=1).sum()


@misconception(
    "mlm_loss",
    believes="targets of 0 mark what is not chosen",
    truth="0 is a token like any other, and may have been chosen; -100 is no token",
)
def zero_marks_what_is_left_out(logits, tokens, chosen):
    targets = tokens * chosen
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)


@misconception(
    "mlm_loss",
    believes="where nothing was chosen the logits are set to 0, so that it does not count",
    truth="logits of 0 are a uniform prediction with a loss of log(vocab): leave the positions out",
)
def logits_set_to_zero(logits, tokens, chosen):
    return F.cross_entropy((logits * chosen[..., None]).flatten(0, 1), tokens.flatten())


@misconception(
    "mlm_loss",
    believes="cross_entropy takes probabilities",
    truth="it takes logits, and does the softmax itself",
)
def softmax_twice(logits, tokens, chosen):
    return F.cross_entropy(logits[chosen].softmax(dim=-1), tokens[chosen])


@misconception(
    "mlm_loss",
    believes="the loss is 1 minus the probability of the right token",
    truth="it is the logarithm of that probability, negated: being sure and wrong must cost more than anything",
)
def probability_not_its_logarithm(logits, tokens, chosen):
    probabilities = logits.softmax(dim=-1).gather(-1, tokens[..., None]).squeeze(-1)
    return (1 - probabilities)[chosen].mean()


@misconception(
    "mlm_loss",
    believes="the loss is the mean log-probability",
    truth="it is the negative of that: training makes it small",
)
def sign_forgotten(logits, tokens, chosen):
    return -F.cross_entropy(logits[chosen], tokens[chosen])


@misconception(
    "mlm_loss",
    believes="the logarithm is that to base 2",
    truth="losses are in nats, with the natural logarithm",
)
def in_bits(logits, tokens, chosen):
    return F.cross_entropy(logits[chosen], tokens[chosen]) / math.log(2)


@misconception(
    "mlm_loss",
    believes="the softmax runs over the positions",
    truth="it runs over the vocabulary, the last axis",
)
def softmax_over_positions(logits, tokens, chosen):
    log_probs = logits.log_softmax(dim=1).gather(-1, tokens[..., None]).squeeze(-1)
    return -log_probs[chosen].mean()


@misconception(
    "mlm_loss",
    believes="the loss is the share of chosen positions that are guessed wrong",
    truth="that is an error rate, which has no gradient; the loss is -log P of the right token",
)
def share_of_wrong_guesses(logits, tokens, chosen):
    return (logits.argmax(dim=-1) != tokens)[chosen].float().mean()


@misconception(
    "mlm_loss",
    believes="taking the logarithm of a softmax is as good as log_softmax",
    truth="a small probability is rounded to 0, and its logarithm is minus infinity; log_softmax never forms it",
)
def logarithm_of_a_rounded_probability(logits, tokens, chosen):
    probabilities = logits[chosen].softmax(dim=-1).gather(-1, tokens[chosen][:, None])
    return -probabilities.log().mean()


@misconception(
    "mlm_loss",
    believes="adding 1e-9 to a probability makes its logarithm safe",
    truth="then no mistake can cost more than 20.7 nats; log_softmax is exact",
)
def probability_clamped(logits, tokens, chosen):
    probabilities = logits[chosen].softmax(dim=-1).gather(-1, tokens[chosen][:, None])
    return -(probabilities + 1e-9).log().mean()


@misconception(
    "mlm_loss",
    believes="log P can be computed as it is written, the logit minus the logarithm of the sum of exp",
    truth="exp overflows beyond 88 in float32: use logsumexp or log_softmax",
)
def exp_overflows(logits, tokens, chosen):
    picked = logits.gather(-1, tokens[..., None]).squeeze(-1)
    return (logits.exp().sum(dim=-1).log() - picked)[chosen].mean()


@misconception(
    "mlm_loss",
    believes="the loss is a number, made by item()",
    truth="a plain number has no gradient, and the model would not learn: return the tensor",
)
def loss_as_a_number(logits, tokens, chosen):
    return torch.tensor(F.cross_entropy(logits[chosen], tokens[chosen]).item())


@misconception(
    "mlm_loss",
    believes="the result has one loss for each chosen position",
    truth="it is their mean, a tensor without axes",
)
def one_loss_a_position(logits, tokens, chosen):
    return F.cross_entropy(logits[chosen], tokens[chosen], reduction="none")


@fingerprint("mlm_loss")
def mlm_loss_probes(impl):
    generator = torch.Generator().manual_seed(8)
    logits = torch.randn(3, 4, 5, generator=generator)
    tokens = torch.tensor([[0, 3, 1, 4], [2, 0, 4, 1], [3, 3, 0, 2]])
    chosen = torch.tensor([[True, False, True, True], [False, True, False, False], [False, False, False, False]])
    everything = torch.ones(3, 4, dtype=torch.bool)
    return [
        lambda: impl(logits, tokens, everything),
        lambda: impl(logits[:1], tokens[:1], chosen[:1]),
        lambda: impl(logits[:2], tokens[:2], chosen[:2]),
        lambda: impl(logits, tokens, chosen),
        lambda: impl(30 * logits, tokens, chosen),
        lambda: impl(100 * logits, tokens, chosen),
        lambda: impl(logits + 200, tokens, chosen),
        lambda: impl.vjp((logits, tokens, chosen), torch.tensor(1.0), wrt=(0,)),
    ]
