"""What people believe about attention, each belief as a function that runs."""

import math

import torch

from gptdojo import fingerprint, misconception
from reference.mask import causal_mask, masked_softmax


@misconception(
    "scaled_dot_product_attention",
    believes="the dot products can go into the softmax as they are",
    truth="a dot product of d_head unit-variance terms has variance d_head, so it is divided by sqrt(d_head) first",
)
def scores_unscaled(q, k, v, mask):
    scores = q @ k.transpose(-2, -1)
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the scores are divided by d_head",
    truth=(
        "the variance of a dot product is d_head and its standard deviation sqrt(d_head): the root is what to divide by"
    ),
)
def scores_divided_by_d_head(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / q.shape[-1]
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the scores are multiplied by sqrt(d_head)",
    truth=(
        "multiplying spreads the scores further; they are divided by sqrt(d_head), that is multiplied by d_head ** -0.5"
    ),
)
def scores_multiplied_by_root(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** 0.5
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the scale comes from the width of the model, n_head * d_head",
    truth=(
        "each score is a sum over the d_head channels of one head, so sqrt(d_head) is its scale, however many "
        "heads there are"
    ),
)
def scores_divided_by_root_of_d_model(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[1] * q.shape[-1])
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the scale is the root of the width of the values",
    truth=(
        "queries and keys are multiplied, so their width counts; values may be wider or narrower and are "
        "never in a score"
    ),
)
def scores_divided_by_root_of_d_value(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(v.shape[-1])
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the scale is the root of the number of keys",
    truth=(
        "a score sums over the channels of a head and not over the keys: d_head sets its size, the sequence "
        "length does not"
    ),
)
def scores_divided_by_root_of_n_key(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(k.shape[-2])
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="sqrt(d_head) is 8",
    truth="8 is the root of GPT-2's d_head of 64; the scale follows the width of the queries that come in",
)
def scores_divided_by_eight(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / 8
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the division by sqrt(d_head) may come after the softmax",
    truth=(
        "after the softmax it only shrinks the weights, so that they no longer sum to 1; before it, it keeps "
        "the softmax soft"
    ),
)
def weights_scaled(q, k, v, mask):
    scores = q @ k.transpose(-2, -1)
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    weights = masked_softmax(scores, mask) / math.sqrt(q.shape[-1])
    return weights @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the softmax runs over the queries",
    truth="each query shares out a weight of 1 among the keys, so the softmax runs over the key axis, the last one",
)
def softmax_over_queries(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = torch.softmax(scores, dim=-2).nan_to_num(0.0)
    return weights @ v


@misconception(
    "scaled_dot_product_attention",
    believes="dim=1 is the axis for the softmax, as it is for two-dimensional logits",
    truth="axis 1 of (batch, head, query, key) holds the heads, which do not compete; the keys are the last axis",
)
def softmax_over_heads(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = torch.softmax(scores, dim=1).nan_to_num(0.0)
    return weights @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the scores themselves are the weights",
    truth="scores may be negative and sum to anything; the softmax makes positive weights of them that sum to 1",
)
def softmax_left_out(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, 0.0)
    return scores @ v


@misconception(
    "scaled_dot_product_attention",
    believes="dividing the scores by their sum normalizes them",
    truth=(
        "scores have both signs, so their sum may be 0 or near it; they are exponentiated before they are divided by the sum"
    ),
)
def scores_divided_by_their_sum(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, 0.0)
    weights = (scores / scores.sum(dim=-1, keepdim=True)).nan_to_num(0.0)
    return weights @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the scores are distances, so the smallest should weigh most",
    truth=(
        "a dot product measures how well query and key match: the larger, the more weight, and no sign is to be changed"
    ),
)
def scores_negated(q, k, v, mask):
    scores = -(q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="each query fetches the value of its best key",
    truth=(
        "attention is a soft lookup: every allowed key contributes, and that is what lets gradients reach all of them"
    ),
)
def best_key_only(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = torch.nn.functional.one_hot(scores.argmax(dim=-1), k.shape[-2]).to(v.dtype)
    if mask is not None:
        weights = weights * mask
    return weights @ v


@misconception(
    "scaled_dot_product_attention",
    believes="attention averages the values of the allowed keys",
    truth=(
        "that is what it does only while all scores are equal; the average is weighted by how well query and key match"
    ),
)
def plain_average(q, k, v, mask):
    scores = torch.zeros_like(q @ k.transpose(-2, -1))
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the keys are the rows of the score matrix",
    truth="the queries are its rows: scores = q @ k.T has shape (query, key), and each row makes one row of the output",
)
def keys_ask_queries(q, k, v, mask):
    scores = k @ q.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="queries are compared with the values",
    truth="the key says what a position offers to be found by, the value what it hands over: scores are q @ k.T",
)
def values_as_keys(q, k, v, mask):
    width = min(q.shape[-1], v.shape[-1])
    scores = q[..., :width] @ v[..., :width].transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="True in the mask means: leave this key out",
    truth=(
        "True means that attention is allowed here, as in torch's scaled_dot_product_attention; "
        "nn.MultiheadAttention is the one that reads it the other way"
    ),
)
def mask_inverted(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        mask = torch.zeros_like(scores, dtype=torch.bool)
    return masked_softmax(scores, ~mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the mask does not concern this function",
    truth="without it every query reads every key, the ones to be predicted included",
)
def mask_ignored(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return torch.softmax(scores, dim=-1) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="GPT's attention is causal, so the function builds the triangle itself",
    truth=(
        "who may attend to whom arrives as the mask: a padded batch, a window and a bidirectional model use "
        "the same function"
    ),
)
def mask_always_causal(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    n_query, n_key = scores.shape[-2:]
    triangle = torch.ones(n_query, n_key, dtype=torch.bool).tril(n_key - n_query)
    return masked_softmax(scores, triangle) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="no mask means the causal mask",
    truth="None means that every query may attend to every key",
)
def none_means_causal(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="multiplying the weights by the mask after the softmax hides the keys",
    truth=(
        "the softmax has then already spent weight on the hidden keys: the rest sums to less than 1 and still "
        "depends on them"
    ),
)
def mask_after_softmax(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights * mask
    return weights @ v


@misconception(
    "scaled_dot_product_attention",
    believes="a score of 0 hides a key",
    truth="exp(0) is 1, a perfectly good weight; a hidden key needs a score of minus infinity",
)
def mask_multiplies_scores(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores * mask
    return torch.softmax(scores, dim=-1) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the boolean mask can be added to the scores",
    truth=(
        "True adds 1 and False adds 0, which hides nothing; an additive mask holds 0 where allowed and minus "
        "infinity where not"
    ),
)
def mask_added_as_is(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + mask
    return torch.softmax(scores, dim=-1) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the mask has shape (batch, query, key) and always needs a head axis",
    truth="it may have any shape that broadcasts to (batch, head, query, key), a plain (query, key) matrix included",
)
def mask_given_a_head_axis(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        mask = torch.ones(q.shape[0], *scores.shape[-2:], dtype=torch.bool)
    return masked_softmax(scores, mask.unsqueeze(1)) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="all entries of a batch share one mask",
    truth="in a padded batch every entry hides other keys, so a mask with a batch axis is applied entry by entry",
)
def mask_of_first_entry(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    if mask.ndim == 4:
        mask = mask[:1]
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="all heads share one mask",
    truth="a mask with a head axis is applied head by head: some models give heads windows of different length",
)
def mask_of_first_head(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    if mask.ndim >= 3:
        mask = mask[..., :1, :, :]
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="a score of -5 is low enough to hide a key",
    truth=(
        "exp(-5) is 0.7 % of the weight of a key with score 0, and more beside a lower score; only minus "
        "infinity is exactly no weight"
    ),
)
def filled_with_minus_five(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -5.0)
    return torch.softmax(scores, dim=-1) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="-10000 is as good as minus infinity",
    truth=(
        "a fill hides a key only while every real score lies far above it; the fill is minus infinity, or the "
        "least number of the dtype"
    ),
)
def filled_with_minus_ten_thousand(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e4)
    return torch.softmax(scores, dim=-1) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the exponential of a score is a number like any other",
    truth=(
        "exp overflows float32 above 88; subtracting the row's maximum first changes no weight and keeps "
        "every exponent at 0 or below"
    ),
)
def maximum_not_subtracted(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = torch.exp(scores)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    total = weights.sum(dim=-1, keepdim=True)
    return weights / torch.where(total > 0, total, 1) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="one maximum, that of all scores, can be subtracted everywhere",
    truth="a row far below that maximum underflows to zeros; each row needs its own",
)
def one_maximum_for_all_rows(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = torch.exp(scores - scores.max())
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    total = weights.sum(dim=-1, keepdim=True)
    return weights / torch.where(total > 0, total, 1) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the row's maximum may be taken before the mask is applied",
    truth="a hidden key with a huge score then sets the maximum, and every visible weight underflows to 0",
)
def maximum_over_hidden_keys(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    total = weights.sum(dim=-1, keepdim=True)
    return weights / torch.where(total > 0, total, 1) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="clamping the scores to a safe range is a harmless guard against overflow",
    truth="two scores beyond the bound become equal and share the weight; subtracting the maximum is safe and exact",
)
def scores_clamped(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    scores = scores.clamp(-50.0, 50.0)
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask) @ v


@misconception(
    "scaled_dot_product_attention",
    believes="the attention pattern is a constant of the forward pass",
    truth="queries and keys learn only through the weights; a detached pattern leaves them without gradient",
)
def weights_detached(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return masked_softmax(scores, mask).detach() @ v


@misconception(
    "scaled_dot_product_attention",
    believes="a batch of one needs no batch axis",
    truth=(
        "the number of axes never depends on their lengths: what calls this function with one prompt expects "
        "four axes too"
    ),
)
def batch_of_one_squeezed(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    return (masked_softmax(scores, mask) @ v).squeeze(0)


@fingerprint("scaled_dot_product_attention")
def scaled_dot_product_attention_probes(impl):
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    q, k, v = normal(2, 3, 4, 5), normal(2, 3, 6, 5), normal(2, 3, 6, 7)
    mask = torch.rand(2, 3, 4, 6, generator=generator) < 0.6
    mask[..., 0] = True
    square = normal(2, 3, 4, 5), normal(2, 3, 4, 5), normal(2, 3, 4, 5)
    huge_q = 100 * torch.randint(-4, 5, (2, 3, 4, 16), generator=generator).float()
    huge_k = 100 * torch.randint(-4, 5, (2, 3, 6, 16), generator=generator).float()
    cotangent = normal(2, 3, 4, 7)
    return [
        lambda: impl(q, k, v, mask),
        lambda: impl(q, k, v, None),
        lambda: impl(q[:1], k[:1], v[:1], None),
        lambda: impl(q[:, :1], k[:, :1], v[:, :1], None),
        lambda: impl(20 * torch.ones_like(q), 20 * torch.ones_like(k), v, None),
        lambda: impl(*square, causal_mask(4, 4)),
        lambda: impl(huge_q, huge_k, v, mask),
        lambda: impl.vjp((q, k, v, mask), cotangent, wrt=(0, 1, 2)),
    ]


@misconception(
    "split_heads",
    believes="one reshape to (batch, head, position, d_head) does it",
    truth=(
        "that cuts the positions apart instead of the channels: split the last axis first, then move the head "
        "axis forward"
    ),
)
def split_by_reshape_alone(x, n_head):
    batch, position, d_model = x.shape
    return x.reshape(batch, n_head, position, d_model // n_head)


@misconception(
    "split_heads",
    believes="neighboring channels go to different heads",
    truth=(
        "each head owns a run of d_head consecutive channels, so the head is the outer axis of the split and "
        "the channel the inner"
    ),
)
def channels_dealt_out(x, n_head):
    batch, position, d_model = x.shape
    return x.reshape(batch, position, d_model // n_head, n_head).permute(0, 3, 1, 2)


@misconception(
    "split_heads",
    believes="the head axis stays where the split made it, behind the positions",
    truth=(
        "matrix products work on the last two axes, so these must be (position, d_head), and the head stands "
        "before them"
    ),
)
def head_after_position(x, n_head):
    batch, position, d_model = x.shape
    return x.reshape(batch, position, n_head, d_model // n_head)


@misconception(
    "split_heads",
    believes="n_head is the width of a head",
    truth="n_head counts the heads; each is d_model // n_head wide",
)
def pieces_of_width_n_head(x, n_head):
    return torch.stack(x.split(n_head, dim=-1), dim=1)


@misconception(
    "split_heads",
    believes="the heads are the first axis",
    truth="the batch stays first: the shape is (batch, head, position, d_head)",
)
def head_before_batch(x, n_head):
    return torch.stack(x.chunk(n_head, dim=-1), dim=0)


@misconception(
    "split_heads",
    believes="the heads are folded into the batch axis",
    truth="some implementations do that for a batched product of three axes; here batch and head stay two axes",
)
def heads_folded_into_batch(x, n_head):
    batch, position, d_model = x.shape
    heads = x.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2)
    return heads.reshape(batch * n_head, position, d_model // n_head)


@misconception(
    "split_heads",
    believes="the positions come last, as the keys need it",
    truth=(
        "only the score product needs the keys turned, and it turns them itself; all three are split alike, "
        "with d_head last"
    ),
)
def position_last(x, n_head):
    batch, position, d_model = x.shape
    return x.reshape(batch, position, n_head, d_model // n_head).permute(0, 2, 3, 1)


@misconception(
    "split_heads",
    believes="the heads share out the positions",
    truth="every head sees every position; what is divided among the heads are the channels",
)
def positions_shared_out(x, n_head):
    batch, position, d_model = x.shape
    return x.reshape(batch, n_head, position // n_head, d_model)


@misconception(
    "split_heads",
    believes="all heads see the same channels",
    truth=(
        "head h gets the channels from h * d_head to (h + 1) * d_head; that is what lets heads look for "
        "different things"
    ),
)
def first_slice_for_every_head(x, n_head):
    d_model = x.shape[-1]
    return torch.stack([x[..., : d_model // n_head]] * n_head, dim=1)


@misconception(
    "split_heads",
    believes="every head gets the whole vector",
    truth="the heads split d_model among themselves, so that n_head narrow heads cost as much as one wide one",
)
def whole_vector_for_every_head(x, n_head):
    return torch.stack([x] * n_head, dim=1)


@misconception(
    "split_heads",
    believes="there is one sequence in a batch",
    truth="every entry of the batch is split, and none is dropped",
)
def first_entry_only(x, n_head):
    _, position, d_model = x.shape
    return x[0].reshape(position, n_head, d_model // n_head).transpose(0, 1).unsqueeze(0)


@misconception(
    "split_heads",
    believes="view works on every tensor",
    truth=(
        "a view that joins axes needs them adjacent in memory, and a transposed or sliced input is not; "
        "reshape copies when it must"
    ),
)
def view_of_joined_axes(x, n_head):
    batch, position, _ = x.shape
    return x.view(batch * position, n_head, -1).view(batch, position, n_head, -1).transpose(1, 2)


@misconception(
    "split_heads",
    believes="the strides follow from the shape",
    truth="a transposed or sliced tensor has the same shape and other strides; ask x.stride(), or let reshape do it",
)
def strides_assumed(x, n_head):
    batch, position, d_model = x.shape
    d_head = d_model // n_head
    return x.as_strided((batch, n_head, position, d_head), (position * d_model, d_head, d_model, 1))


@misconception(
    "split_heads",
    believes="rearranging numbers has nothing to do with gradients",
    truth="x.data and detach cut the graph, and the projections before the split would never learn",
)
def heads_detached(x, n_head):
    batch, position, d_model = x.shape
    return x.data.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2)


@misconception(
    "split_heads",
    believes="a batch of one needs no batch axis",
    truth="the number of axes never depends on their lengths: one prompt is a batch of one and keeps its axis",
)
def split_batch_of_one_squeezed(x, n_head):
    batch, position, d_model = x.shape
    heads = x.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2)
    return heads.squeeze(0)


@fingerprint("split_heads")
def split_heads_probes(impl):
    x = torch.arange(96.0).reshape(2, 4, 12)
    return [
        lambda: impl(x, 2),
        lambda: impl(x, 3),
        lambda: impl(x[:1].clone(), 3),
        lambda: impl(x.transpose(0, 1), 3),
        lambda: impl.vjp((x, 3), torch.arange(96.0).reshape(2, 3, 4, 4), wrt=(0,)),
    ]


@misconception(
    "merge_heads",
    believes="one reshape to (batch, position, d_model) joins the heads",
    truth=(
        "in memory the positions of one head lie together, so the head axis goes back behind the positions "
        "before the reshape"
    ),
)
def merge_by_reshape_alone(x):
    batch, n_head, position, d_head = x.shape
    return x.reshape(batch, position, n_head * d_head)


@misconception(
    "merge_heads",
    believes="the heads take turns, channel by channel",
    truth="the channels of head 0 come first, then all of head 1: the merge undoes the split",
)
def channels_interleaved(x):
    batch, n_head, position, d_head = x.shape
    return x.permute(0, 2, 3, 1).reshape(batch, position, d_head * n_head)


@misconception(
    "merge_heads",
    believes="view works after a transpose",
    truth=(
        "transpose leaves the numbers where they are, so the two axes cannot be joined without a copy: "
        "contiguous() or reshape"
    ),
)
def view_after_transpose(x):
    batch, n_head, position, d_head = x.shape
    return x.transpose(1, 2).view(batch, position, n_head * d_head)


@misconception(
    "merge_heads",
    believes="the heads are averaged",
    truth="they are laid side by side, each keeping its own channels; the output projection mixes them",
)
def heads_averaged(x):
    return x.mean(dim=1)


@misconception(
    "merge_heads",
    believes="the heads are added up",
    truth=(
        "they are laid side by side; a sum of heads appears only after each has passed its own block of the "
        "output projection"
    ),
)
def heads_summed(x):
    return x.sum(dim=1)


@misconception(
    "merge_heads",
    believes="the last head holds the result",
    truth="the heads work beside each other and not one after another, so all of them are part of it",
)
def last_head_only(x):
    return x[:, -1]


@misconception(
    "merge_heads",
    believes="the heads are joined along the positions",
    truth="the sequence stays as long as it was; the heads are joined along the channels",
)
def joined_along_positions(x):
    return torch.cat(x.unbind(dim=1), dim=1)


@misconception(
    "merge_heads",
    believes="iterating over the tensor gives its heads",
    truth="the first axis is the batch; the heads are axis 1",
)
def batch_joined_for_heads(x):
    return torch.cat(list(x), dim=-1)


@misconception(
    "merge_heads",
    believes="moving the head axis back is all there is to do",
    truth="the two last axes, head and channel, still have to become one of width d_model",
)
def axes_left_apart(x):
    return x.transpose(1, 2)


@misconception(
    "merge_heads",
    believes="the axis to exchange with the heads is the last one",
    truth="positions and heads trade places, and d_head stays last",
)
def last_axes_exchanged(x):
    batch, n_head, position, d_head = x.shape
    return x.transpose(2, 3).reshape(batch, position, n_head * d_head)


@misconception(
    "merge_heads",
    believes="the result is (position, batch, d_model)",
    truth=(
        "the batch comes first here; nn.MultiheadAttention is the one with the positions first unless told batch_first"
    ),
)
def position_before_batch(x):
    batch, n_head, position, d_head = x.shape
    return x.permute(2, 0, 1, 3).reshape(position, batch, n_head * d_head)


@misconception(
    "merge_heads",
    believes="all positions of the batch go into one axis",
    truth="batch and position stay two axes; a linear layer takes as many leading axes as there are",
)
def batch_and_position_joined(x):
    batch, n_head, position, d_head = x.shape
    return x.transpose(1, 2).reshape(batch * position, n_head * d_head)


@misconception(
    "merge_heads",
    believes="there is one sequence in a batch",
    truth="every entry of the batch is merged, and none is dropped",
)
def merged_first_entry_only(x):
    _, n_head, position, d_head = x.shape
    return x[0].transpose(0, 1).reshape(1, position, n_head * d_head)


@misconception(
    "merge_heads",
    believes="the heads arrive as split_heads left them in memory",
    truth=(
        "attention's product wrote fresh memory in between: only the shape and the strides that the tensor "
        "reports can be relied on"
    ),
)
def split_strides_assumed(x):
    batch, n_head, position, d_head = x.shape
    d_model = n_head * d_head
    return x.as_strided((batch, position, d_model), (position * d_model, d_model, 1))


@misconception(
    "merge_heads",
    believes="the heads arrive contiguous in memory",
    truth=(
        "straight from split_heads, or cut from a cache, they are not: only the shape and the strides that "
        "the tensor reports can be relied on"
    ),
)
def contiguous_heads_assumed(x):
    batch, n_head, position, d_head = x.shape
    flat = x.as_strided((x.numel(),), (1,))
    return flat.view(batch, n_head, position, d_head).transpose(1, 2).reshape(batch, position, n_head * d_head)


@misconception(
    "merge_heads",
    believes="rearranging numbers has nothing to do with gradients",
    truth="x.data and detach cut the graph, and nothing before the merge would ever learn",
)
def merged_detached(x):
    batch, n_head, position, d_head = x.shape
    return x.data.transpose(1, 2).reshape(batch, position, n_head * d_head)


@misconception(
    "merge_heads",
    believes="a batch of one needs no batch axis",
    truth="the number of axes never depends on their lengths: a batch of one keeps its axis",
)
def merged_batch_of_one_squeezed(x):
    return x.transpose(1, 2).flatten(2).squeeze(0)


@fingerprint("merge_heads")
def merge_heads_probes(impl):
    x = torch.arange(120.0).reshape(2, 3, 4, 5)
    return [
        lambda: impl(x),
        lambda: impl(x[:1].clone()),
        lambda: impl(x[:, :1].clone()),
        lambda: impl(x.reshape(2, 4, 3, 5).transpose(1, 2)),
        lambda: impl.vjp((x,), torch.arange(120.0).reshape(2, 4, 15), wrt=(0,)),
    ]


@misconception(
    "causal_self_attention",
    believes="the projections to q, k and v have no bias",
    truth="GPT-2's linear layers all have one: b_qkv is added before the heads are split",
)
def projection_bias_forgotten(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the output projection has no bias",
    truth="b_out is added after it",
)
def output_bias_forgotten(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T


@misconception(
    "causal_self_attention",
    believes="the merged heads are the result",
    truth="the output projection follows: it is what mixes the channels of different heads",
)
def output_projection_forgotten(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    return (weights @ v).transpose(1, 2).reshape(batch, position, d_model)


@misconception(
    "causal_self_attention",
    believes="x @ w applies a linear layer",
    truth=(
        "weights are (out, in), so it is x @ w.T + b; a square weight does not complain when the transpose is missing"
    ),
)
def output_weight_not_transposed(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out + b_out


@misconception(
    "causal_self_attention",
    believes="w_qkv can be reshaped to (d_model, 3 * d_model)",
    truth="a reshape is not a transpose: it cuts the rows of the weight apart, while w_qkv.T is (d_model, 3 * d_model)",
)
def weight_read_as_in_out(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.reshape(d_model, 3 * d_model) + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the rows of w_qkv are those of k, then q, then v",
    truth="they are ordered q, k, v",
)
def rows_ordered_key_query_value(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    k, q, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the rows of w_qkv are those of v, then q, then k",
    truth="they are ordered q, k, v",
)
def rows_ordered_value_first(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    v, q, k = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the rows of w_qkv are those of q, then v, then k",
    truth="they are ordered q, k, v",
)
def rows_ordered_query_value_key(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, v, k = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the rows of w_qkv are grouped by head, each with its own q, k and v",
    truth="some checkpoints (GPT-NeoX, BLOOM) are stored so; GPT-2's has all of q, then all of k, then all of v",
)
def rows_grouped_by_head(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    qkv = (x @ w_qkv.T + b_qkv).reshape(batch, position, n_head, 3, d_model // n_head)
    q, k, v = qkv.permute(3, 0, 2, 1, 4)
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="q, k and v take turns, row by row",
    truth="each of them is one block of d_model rows",
)
def rows_taken_by_threes(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    qkv = (x @ w_qkv.T + b_qkv).reshape(batch, position, d_model, 3)
    q, k, v = qkv.unbind(dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="what is averaged is x itself",
    truth="each head averages its own projection of x, the values",
)
def values_not_projected(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, _ = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    v = x
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="attention returns x plus its update",
    truth="the residual belongs to the block around it, which adds x once",
)
def residual_added(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return x + merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="every head adds b_out",
    truth="the heads' parts are summed and the bias is added once to the sum",
)
def output_bias_added_per_head(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    heads = weights @ v
    blocks = w_out.reshape(d_model, n_head, d_model // n_head)
    return sum(heads[:, h] @ blocks[:, h].T + b_out for h in range(n_head))


@misconception(
    "causal_self_attention",
    believes="self-attention sees the whole sequence",
    truth=(
        "in a decoder, position t is trained to predict token t + 1, so it must not see it: the causal mask "
        "hides what comes after"
    ),
)
def nothing_masked(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = torch.softmax(scores, dim=-1)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the upper triangle is what may be seen",
    truth="rows are queries and columns keys: the past of query i lies left of the diagonal, in the lower triangle",
)
def future_only(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    mask = torch.ones(position, position, dtype=torch.bool).triu()
    weights = masked_softmax(scores, mask)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="a position sees what came before and not itself",
    truth="its own token is known, only the next is not; without it, position 0 would see nothing",
)
def itself_hidden(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    mask = torch.ones(position, position, dtype=torch.bool).tril(-1)
    weights = masked_softmax(scores, mask)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="hiding a position from itself is right if the first row is repaired",
    truth="the empty first row is the sign that the whole diagonal is missing",
)
def itself_hidden_but_for_the_first(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    mask = torch.ones(position, position, dtype=torch.bool).tril(-1)
    mask[0, 0] = True
    weights = masked_softmax(scores, mask)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="triu(diagonal=2) is what to hide",
    truth=(
        "hidden is what lies above the diagonal, from diagonal=1 on; at 2 each position sees the token it "
        "should predict"
    ),
)
def one_token_of_future(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    hidden = torch.ones(position, position, dtype=torch.bool).triu(2)
    weights = masked_softmax(scores, ~hidden)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="each position attends to itself",
    truth="it attends to itself and to all before it; this way no token would ever reach another",
)
def itself_only(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, torch.eye(position, dtype=torch.bool))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the mask of row 0 is the mask of every row",
    truth="every row has its own: row i sees the keys 0 to i",
)
def first_position_only(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    mask = causal_mask(position, position)[:1]
    weights = masked_softmax(scores, mask)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="a position sees itself and the one before it",
    truth="that is a window of 2; GPT-2 looks back over its whole context",
)
def previous_and_itself(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    mask = torch.ones(position, position, dtype=torch.bool).tril().triu(-1)
    weights = masked_softmax(scores, mask)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="zeroing the future after the softmax hides it",
    truth=(
        "the future has then already taken its share of the weight: the rest sums to less than 1 and depends "
        "on what was hidden"
    ),
)
def mask_once_softmaxed(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = torch.softmax(scores, dim=-1).tril()
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="tril on the scores hides the future",
    truth="it sets the scores to 0, and exp(0) is 1; hidden scores are minus infinity",
)
def scores_of_future_zeroed(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = torch.softmax(scores.tril(), dim=-1)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="a score of -5 is low enough for the future",
    truth="a real score may be as low; only minus infinity gives exactly no weight",
)
def future_filled_with_minus_five(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    scores = scores.masked_fill(~causal_mask(position, position), -5.0)
    weights = torch.softmax(scores, dim=-1)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="-10000 is as good as minus infinity",
    truth="it hides the future only while all real scores lie far above it; minus infinity is below every score",
)
def future_filled_with_minus_ten_thousand(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    scores = scores.masked_fill(~causal_mask(position, position), -1e4)
    weights = torch.softmax(scores, dim=-1)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="masking one head is enough",
    truth="every head reads from the whole sequence unless it is masked; the mask broadcasts over batch and head",
)
def only_first_head_masked(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    mask = torch.ones_like(scores, dtype=torch.bool)
    mask[:, 0] = causal_mask(position, position)
    weights = masked_softmax(scores, mask)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="masking one entry of the batch is enough",
    truth="every entry needs the mask; it broadcasts over batch and head",
)
def only_first_entry_masked(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    mask = torch.ones_like(scores, dtype=torch.bool)
    mask[0] = causal_mask(position, position)
    weights = masked_softmax(scores, mask)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the dot products can go into the softmax as they are",
    truth="they have variance d_head for unit-variance queries and keys, so they are divided by sqrt(d_head)",
)
def projections_unscaled(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the scale is sqrt(d_model)",
    truth="each head sums over its own d_head = d_model / n_head channels, so sqrt(d_head) is the scale",
)
def scaled_by_d_model(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the scale is the root of the number of heads",
    truth="a score is a sum over the d_head channels of one head, so sqrt(d_head) is its scale, however many heads there are",
)
def scaled_by_n_head(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the scores are divided by d_head",
    truth="they are divided by its square root, the standard deviation of a dot product",
)
def scaled_without_root(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / (d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the softmax runs over the queries",
    truth="each query shares out a weight of 1 among its keys: the key axis, the last one",
)
def softmax_down_the_columns(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    scores = scores.masked_fill(~causal_mask(position, position), -math.inf)
    weights = torch.softmax(scores, dim=-2)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="dim=1 is the axis for the softmax",
    truth="axis 1 of (batch, head, query, key) holds the heads, which do not compete; the keys are the last axis",
)
def softmax_across_heads(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    scores = scores.masked_fill(~causal_mask(position, position), -math.inf)
    weights = torch.softmax(scores, dim=1).nan_to_num(0.0)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="in self-attention queries and keys are the same",
    truth=(
        "they come from the same x by different projections; a shared one would make who attends to whom "
        "symmetric before the mask"
    ),
)
def keys_used_as_queries(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = k @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the exponential of a score is a number like any other",
    truth="exp overflows float32 above 88; subtracting the row's maximum first changes no weight",
)
def exponentials_overflow(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = torch.exp(scores).tril()
    weights = weights / weights.sum(dim=-1, keepdim=True)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="n_head does not change the result",
    truth="each head has a softmax of its own; one head of width d_model has a single pattern for all channels",
)
def one_wide_head(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.unsqueeze(1) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="view(batch, head, position, d_head) splits the heads",
    truth="it cuts the positions apart instead of the channels: split the last axis, then exchange position and head",
)
def heads_cut_without_transpose(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, n_head, position, d_model // n_head) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="a reshape to (batch, position, d_model) joins the heads",
    truth="position and head trade places first, or the channels of different positions are mixed",
)
def heads_joined_without_transpose(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="two reshapes, there and back, split and merge the heads",
    truth="they undo each other, so all shapes are right, but in between a row of a head was not a position",
)
def never_transposed(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, n_head, position, d_model // n_head) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the heads may stay behind the positions",
    truth="the products then run over the heads of one position, and no position sees another",
)
def heads_attend_to_heads(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = torch.softmax(scores, dim=-1)
    merged = (weights @ v).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="n_head is the width of a head",
    truth="it is their number; each is d_model // n_head wide",
)
def n_head_taken_for_d_head(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, d_model // n_head, n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="neighboring channels belong to different heads",
    truth="each head owns d_head consecutive channels",
)
def channels_dealt_to_heads(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, d_model // n_head, n_head).permute(0, 3, 1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).permute(0, 2, 3, 1).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="all heads attend as the first one does",
    truth="each head has queries and keys of its own, and so a pattern of its own",
)
def heads_share_a_pattern(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q[:, :1] @ k[:, :1].transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the heads' patterns are averaged before the values are read",
    truth="each head reads its values with its own pattern; averaging makes one head of them",
)
def pattern_averaged_over_heads(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position)).mean(dim=1, keepdim=True)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the first axis of x is the position, as in nn.MultiheadAttention",
    truth="here the batch comes first; this way the entries of the batch read each other",
)
def batch_taken_for_position(x, w_qkv, b_qkv, w_out, b_out, n_head):
    x = x.transpose(0, 1)
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return (merged @ w_out.T + b_out).transpose(0, 1)


@misconception(
    "causal_self_attention",
    believes="a batch can be treated as one long sequence",
    truth="later entries would then read the earlier ones; each entry is a sequence by itself",
)
def batch_in_one_row(x, w_qkv, b_qkv, w_out, b_out, n_head):
    entries = x.shape[0]
    x = x.flatten(0, 1).unsqueeze(0)
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return (merged @ w_out.T + b_out).reshape(entries, -1, d_model)


@misconception(
    "causal_self_attention",
    believes="a batch of one needs no batch axis",
    truth="the number of axes never depends on their lengths: one prompt is a batch of one and keeps its axis",
)
def one_sequence_squeezed(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return (merged @ w_out.T + b_out).squeeze(0)


@misconception(
    "causal_self_attention",
    believes="the attention pattern of the first entry serves the whole batch",
    truth="the pattern is computed from the tokens, so every entry has its own",
)
def first_entry_for_all(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q[:1] @ k[:1].transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the attention pattern is a constant of the forward pass",
    truth="w_qkv's rows for q and k learn only through it",
)
def pattern_detached(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights.detach() @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="the past is fixed, so no gradient flows into its keys",
    truth="it is fixed when generating; in training, later losses teach earlier positions what to offer",
)
def keys_detached(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.detach().transpose(-2, -1) / math.sqrt(d_model // n_head)
    weights = masked_softmax(scores, causal_mask(position, position))
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="a mask made once, for 128 positions, serves every call",
    truth="x says how many positions there are, and the mask has to be as large: this one fails on the first longer text",
)
def mask_made_for_128_positions(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    mask = torch.ones(128, 128, dtype=torch.bool).tril()[:position, :position]
    weights = masked_softmax(scores, mask)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@misconception(
    "causal_self_attention",
    believes="what lies more than 128 positions back can be left out",
    truth="a window is another kind of layer, as in half of GPT-3's; in GPT-2's a position sees all that came before",
)
def window_of_128_positions(x, w_qkv, b_qkv, w_out, b_out, n_head):
    batch, position, d_model = x.shape
    q, k, v = (x @ w_qkv.T + b_qkv).chunk(3, dim=-1)
    q, k, v = (t.reshape(batch, position, n_head, d_model // n_head).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(d_model // n_head)
    mask = torch.ones(position, position, dtype=torch.bool).tril().triu(-127)
    weights = masked_softmax(scores, mask)
    merged = (weights @ v).transpose(1, 2).reshape(batch, position, d_model)
    return merged @ w_out.T + b_out


@fingerprint("causal_self_attention")
def causal_self_attention_probes(impl):
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    weights = normal(24, 8), normal(24), normal(8, 8), normal(8)
    x = normal(3, 5, 8)
    cotangent = normal(3, 5, 8)
    narrow = normal(6, 2), normal(6), normal(2, 2), normal(2)
    longer = normal(1, 133, 2)
    return [
        lambda: impl(x, *weights, 2),
        lambda: impl(x[:1], *weights, 4),
        lambda: impl(100 * x, *weights, 2),
        lambda: impl(longer, *narrow, 1),
        lambda: impl.vjp((x, *weights, 2), cotangent, wrt=(0, 1)),
    ]
