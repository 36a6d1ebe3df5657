# %% [markdown]
# # 2. The causal mask
#
# A language model predicts token $t+1$ from the tokens up to $t$. In training it does so at every position of a text
# at once, and the text is all there: without a mask, position $t$ would simply look at token $t+1$ and copy it. The
# causal mask is what makes one pass over $T$ tokens into $T$ honest predictions.
#
# Attention compares each **query** with each **key**. The result is a matrix of scores with one row a query and one
# column a key, and a mask is a matrix of the same shape which says who may see whom. Two conventions hold throughout
# this course:
#
# - **True means allowed**, as in `torch.nn.functional.scaled_dot_product_attention`. (`torch.nn.MultiheadAttention`
#   has it the other way round.)
# - **The queries are the newest tokens.** While generating, the keys of older tokens come from a cache, and there are
#   fewer queries than keys. With 2 queries and 5 keys, the queries are the positions 3 and 4.
#
# In this chapter you write the three masks that a GPT needs, and the softmax that obeys them.

# %%
import torch
from jaxtyping import Bool, Float
from torch import Tensor

# %% [markdown]
# ## Who sees whom
#
# Query $i$ of $T_q$ has the position $p_i = T_k - T_q + i$ among the $T_k$ keys, and key $j$ has the position $j$.
# Then
#
# $$M_{ij} = [\, j \le p_i \,].$$
#
# For $T_q = T_k$ this is the lower triangle. For $T_q = 1$ it is a row of True: the newest token sees everything. In
# between, the diagonal ends in the **bottom right** corner:
#
#             key 0  1  2  3  4
#     query 0     1  1  1  1  0      (position 3)
#     query 1     1  1  1  1  1      (position 4)


# %% causal_mask
def causal_mask(n_query: int, n_key: int) -> Bool[Tensor, "n_query n_key"]:
    """Let each query see itself and what came before, and nothing after.

    The queries are the last `n_query` of the `n_key` positions: 1 <= n_query <= n_key. True means
    that attention is allowed.

    Source: Vaswani et al. 2017, "Attention Is All You Need" (1706.03762), section 3.2.3.

    >>> causal_mask(3, 3).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    >>> causal_mask(2, 5).int().tolist()
    [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    """
    ### BEGIN SOLUTION
    query_position = torch.arange(n_key - n_query, n_key)
    key_position = torch.arange(n_key)
    return key_position <= query_position[:, None]  # (n_query, n_key)
    ### END SOLUTION


# %% [markdown]
# ## Texts of different lengths
#
# A batch is a rectangle, and texts are not equally long: the shorter ones are filled up with pads. A pad is no token,
# so no query may see it. With $r_{bj}$ true where key $j$ of batch row $b$ is a real token,
#
# $$M_{b1ij} = r_{bj} \wedge [\, j \le p_i \,].$$
#
# The axis of size 1 stands for the heads, so that the mask broadcasts against scores of shape (batch, head, query,
# key).
#
# For generation the pads stand on the left, so that every text ends in the last column; in training they usually
# stand on the right; in a batch of conversations they can stand in the middle. The rule asks each key, so it covers
# all three.
#
# The rows of pad queries follow the same rule as all others. Their results are thrown away, so there is no need to
# treat them, but note what can happen: a pad on the very left sees no key at all. Its row is empty, and the softmax
# below has to cope with that.


# %% padding_causal_mask
def padding_causal_mask(
    is_token: Bool[Tensor, "batch n_key"],
    n_query: int,
) -> Bool[Tensor, "batch 1 n_query n_key"]:
    """Let each query see the keys that are real tokens and not in its future.

    `is_token` is False where a key is a pad; pads may stand anywhere. The queries are the last
    `n_query` of the `n_key` positions, 1 <= n_query <= n_key, and all their rows follow the one
    rule: a query that is itself a pad is treated like any other, and the row of a query that sees
    no real token is entirely False. True means that attention is allowed.

    The result has one matrix a batch row, shared by all heads.

    >>> is_token = torch.tensor([[False, True, True], [True, True, False]])
    >>> padding_causal_mask(is_token, 3)[:, 0].int().tolist()
    [[[0, 0, 0], [0, 1, 0], [0, 1, 1]], [[1, 0, 0], [1, 1, 0], [1, 1, 0]]]
    """
    ### BEGIN SOLUTION
    n_key = is_token.shape[1]
    query_position = torch.arange(n_key - n_query, n_key, device=is_token.device)
    key_position = torch.arange(n_key, device=is_token.device)
    not_future = key_position <= query_position[:, None]  # (n_query, n_key)
    return is_token[:, None, None, :] & not_future  # (batch, 1, n_query, n_key)
    ### END SOLUTION


# %% [markdown]
# ## A window that slides
#
# A cache that keeps every key grows with the text. With a **sliding window** of $W$, each query sees only the last
# $W$ keys, itself included:
#
# $$M_{ij} = [\, 0 \le p_i - j < W \,].$$
#
# With $W = 1$ a token sees only itself, and with $W \ge T_k$ the window is the causal mask. Older tokens are not lost
# altogether: what a key holds in layer 2 was computed from a window of layer 1, so $L$ layers reach $L (W - 1)$
# tokens back.
#
# Whether a window counts the token itself is a convention. Here it does. FlashAttention's `window_size=(left, right)`
# counts the neighbors, so there `left` is $W - 1$.


# %% sliding_window_mask
def sliding_window_mask(n_query: int, n_key: int, window: int) -> Bool[Tensor, "n_query n_key"]:
    """Let each query see the last `window` keys, up to and including itself.

    The queries are the last `n_query` of the `n_key` positions: 1 <= n_query <= n_key. The window
    is at least 1, and may be longer than the text: it is then the causal mask. True means that
    attention is allowed.

    Source: Beltagy et al. 2020, "Longformer" (2004.05150), section 3.1; of its window, the causal
    half.

    >>> sliding_window_mask(4, 4, 2).int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    >>> sliding_window_mask(1, 5, 3).int().tolist()
    [[0, 0, 1, 1, 1]]
    """
    ### BEGIN SOLUTION
    query_position = torch.arange(n_key - n_query, n_key)
    distance = query_position[:, None] - torch.arange(n_key)  # (n_query, n_key); negative: future
    return (distance >= 0) & (distance < window)
    ### END SOLUTION


# %% [markdown]
# ## A softmax that obeys
#
# The weights of query $i$ are a softmax over the keys that it may see, and exactly 0 for all others:
#
# $$w_{ij} = \frac{M_{ij}\, e^{s_{ij}}}{\sum_k M_{ik}\, e^{s_{ik}}}.$$
#
# Nothing of a hidden score may get into the result, neither through the numerator nor through the denominator, and
# this is harder than it looks:
#
# - multiplying the weights by the mask **after** the softmax leaves the hidden scores in the denominator;
# - a hidden score set to 0 still counts $e^0 = 1$, and one set to $-100$ counts as soon as the others are near
#   $-100$;
# - adding $-\infty$ to a hidden score that is NaN or infinite gives NaN;
# - a row in which nothing is allowed is $0/0$. No weight is the right answer there: a row of zeros;
# - in float16 the number $-10^9$ does not exist.
#
# Training adds one more reason to replace the hidden scores before anything is computed from them. A hidden score of
# $\infty$ that is thrown away only after its exponential gives the right weights and wrong gradients: autograd
# multiplies the 0 that comes back by $e^{\infty}$, and that is NaN. Replaced before the softmax, it gets a gradient of
# exactly 0.


# %% masked_softmax
def masked_softmax(
    scores: Float[Tensor, "*batch query key"],
    mask: Bool[Tensor, "*#batch #query #key"],
) -> Float[Tensor, "*batch query key"]:
    """Return the softmax over the allowed keys (the last axis); hidden keys get exactly 0.

    `scores` has any number of axes before the last two, is float32, float16 or bfloat16, and need
    not be contiguous. `mask` is True where attention is allowed and broadcasts to the shape of
    `scores`. The result has the shape and the dtype of `scores`, which are left unchanged.

    Allowed scores are finite, and may be huge. Hidden scores may be anything, infinite and NaN
    included, and have no influence. A row in which nothing is allowed gives zeros.

    >>> scores = torch.tensor([[0.0, 0.0, 100.0], [1.0, 2.0, 3.0]])
    >>> mask = torch.tensor([[True, True, False], [False, False, False]])
    >>> masked_softmax(scores, mask).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    ### BEGIN SOLUTION
    weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)
    return weights.masked_fill(~mask, 0.0)  # an empty row is NaN until here
    ### END SOLUTION


# %% [markdown]
# ## The masks at work
#
# Each picture has one row a query and one column a key. The second is a chunk of 3 new tokens after a cache of 5, the
# third a text with 3 pads on its left (look at its first rows: they are empty), the fourth a window of 3.

# %% who_sees_whom
from gptdojo.pictures import who_sees_whom

left_padded = torch.arange(8)[None, :] >= 3
who_sees_whom(
    {
        "causal_mask(8, 8)": causal_mask(8, 8),
        "causal_mask(3, 8)": causal_mask(3, 8),
        "padding_causal_mask, 3 pads": padding_causal_mask(left_padded, 8)[0, 0],
        "sliding_window_mask(8, 8, 3)": sliding_window_mask(8, 8, 3),
    }
)

# %% [markdown]
# ## What a leak costs
#
# One key of 16 is hidden. How much of the attention does it get, for each way of hiding it? Taking the same number from
# all scores changes nothing in a softmax, so it must not change the answer either. Only one of these is a mask.

# %% what_a_leak_costs
generator = torch.Generator().manual_seed(2)
leak_scores = torch.randn(1000, 16, generator=generator)
leak_mask = torch.arange(16) < 15
ways = {
    "fill with 0": lambda scores: torch.softmax(scores.masked_fill(~leak_mask, 0.0), dim=-1),
    "fill with -5": lambda scores: torch.softmax(scores.masked_fill(~leak_mask, -5.0), dim=-1),
    "fill with -100": lambda scores: torch.softmax(scores.masked_fill(~leak_mask, -100.0), dim=-1),
    "masked_softmax": lambda scores: masked_softmax(scores, leak_mask[None, :]),
}
shifts = (0, 10, 100, 200)
print(f"{'mean weight of the hidden key':32}", *(f"{f'scores - {shift}':>14}" for shift in shifts))
for way, hide in ways.items():
    leaks = [hide(leak_scores - shift)[:, 15].mean().item() for shift in shifts]
    print(f"{way:32}", *(f"{leak:14.2e}" for leak in leaks))

# %% [markdown]
# ## Top left or bottom right
#
# PyTorch's `scaled_dot_product_attention(..., is_causal=True)` aligns its mask **top left**. In training nobody
# notices, since the matrix is square. While generating with a cache there is one query and many keys, and the newest
# token is shown the oldest one only. Here every value is its own position, so the output tells what was seen: the
# mean of the positions.

# %% corners_compared
from torch.nn.functional import scaled_dot_product_attention

n_key = 5
positions = torch.arange(float(n_key)).view(1, 1, n_key, 1)
query, keys = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, n_key, 1)
explicit = causal_mask(1, n_key)
top_left = scaled_dot_product_attention(query, keys, positions, is_causal=True).item()
bottom_right = scaled_dot_product_attention(query, keys, positions, attn_mask=explicit).item()
print(f"What the newest of {n_key} tokens sees has the mean position")
print(f"{top_left} with is_causal=True,")
print(f"{bottom_right} with attn_mask=causal_mask(1, {n_key})")
