"""Wrong on purpose: what people believe about operations, bytes, and what fits."""

import math

import torch

from gptdojo import fingerprint, misconception

# --- attention_flops --------------------------------------------------------------------------------------------------


@misconception(
    "attention_flops",
    believes="a multiply-add is one operation",
    truth="a FLOP is one multiplication or one addition, so it is two; counts in MACs are half as large, and "
    "mixing the two is the most common factor of 2",
)
def a_multiply_add_is_one(n_query, n_key, d_model):
    return 2 * n_query * n_key * d_model


@misconception(
    "attention_flops",
    believes="each of the two products has a factor of 2 for multiply and add, and another 2 for keys and values",
    truth="the two products are the two; there is one product with the keys and one with the values",
)
def multiply_add_counted_four_times(n_query, n_key, d_model):
    return 8 * n_query * n_key * d_model


@misconception(
    "attention_flops",
    believes="the exponentials, the sum and the division of the softmax count as well",
    truth="only matrix products are counted here, as torch counts them: beside d_model operations a pair, a "
    "few for the softmax are small",
)
def softmax_counted(n_query, n_key, d_model):
    return 4 * n_query * n_key * d_model + 3 * n_query * n_key


@misconception(
    "attention_flops",
    believes="each score is divided by the root of d_head, and that is an operation too",
    truth="only matrix products are counted; and the scale is one operation a score and head, beside 2 d_head "
    "for the score itself",
)
def scale_counted(n_query, n_key, d_model):
    return 4 * n_query * n_key * d_model + n_query * n_key


@misconception(
    "attention_flops",
    believes="attention includes making the queries, keys and values, and the output projection",
    truth="those are products of tokens with weights and belong to the 24 d_model**2 of a block; this exercise"
    " counts the part that involves pairs of positions",
)
def projections_counted(n_query, n_key, d_model):
    return 4 * n_query * n_key * d_model + 8 * n_query * d_model**2


@misconception(
    "attention_flops",
    believes="a sum of d_model products has d_model - 1 additions",
    truth="the convention is 2 for each multiply-add, so that a product of (a, b) and (b, c) counts 2abc; the "
    "exact number of additions matters to nobody",
)
def additions_counted_exactly(n_query, n_key, d_model):
    return n_query * n_key * (2 * d_model - 1) + n_query * d_model * (2 * n_key - 1)


@misconception(
    "attention_flops",
    believes="each pair of positions goes through a d_model by d_model matrix",
    truth="a score is a product of two vectors: it costs d_model multiply-adds, not d_model**2",
)
def d_model_squared(n_query, n_key, d_model):
    return 4 * n_query * n_key * d_model**2


@misconception(
    "attention_flops",
    believes="attention is quadratic, so it is n_key**2 even for one query",
    truth="it is queries times keys; a single query, as in a decode step with a cache, meets each key once",
)
def always_quadratic_in_keys(n_query, n_key, d_model):
    return 4 * n_key * n_key * d_model


@misconception(
    "attention_flops",
    believes="only the new tokens attend to each other",
    truth="the queries are the new tokens', and they meet the keys of all positions, those from the cache too",
)
def past_not_attended(n_query, n_key, d_model):
    return 4 * n_query * n_query * d_model


@misconception(
    "attention_flops",
    believes="the cost grows with n_query + n_key",
    truth="every query meets every key: the numbers are multiplied. For one query and one key, or two and two,"
    " both look alike",
)
def queries_and_keys_added(n_query, n_key, d_model):
    return 2 * (n_query + n_key) * d_model


@misconception(
    "attention_flops",
    believes="the mask hides half of the scores, so half is computed",
    truth="a plain implementation computes all scores and throws the upper half away, and torch counts what is"
    " computed; only kernels that skip hidden blocks save it",
)
def half_of_the_square(n_query, n_key, d_model):
    hidden = n_query * (n_query - 1) // 2
    return 4 * (n_query * n_key - hidden) * d_model


@misconception(
    "attention_flops",
    believes="all queries but one: the last token is not fed",
    truth="that is about generation, where the last chosen token is not fed; here n_query queries are computed",
)
def one_query_too_few(n_query, n_key, d_model):
    return 4 * max(n_query - 1, 1) * n_key * d_model


@misconception(
    "attention_flops",
    believes="several queries always come with as many keys: a pass is square",
    truth="a chunk behind a past has fewer queries than keys, and its rectangle is n_query by n_key",
)
def chunk_taken_for_a_whole_text(n_query, n_key, d_model):
    rows = 1 if n_query == 1 else n_key
    return 4 * rows * n_key * d_model


@misconception(
    "attention_flops",
    believes="numbers of operations may be computed in float32, as everything in deep learning",
    truth="float32 has 24 bits and counts exactly up to 16,777,216; Python's integers have no limit",
)
def counted_in_float32(n_query, n_key, d_model):
    sizes = torch.tensor([4, n_query, n_key, d_model], dtype=torch.float32)
    return int(sizes.prod())


@fingerprint("attention_flops")
def attention_flops_probes(impl):
    return [
        lambda: impl(1, 1, 3),
        lambda: impl(1, 4, 3),
        lambda: impl(4, 4, 3),
        lambda: impl(2, 5, 6),
        lambda: impl(131071, 131071, 1600),
    ]


# --- forward_flops ----------------------------------------------------------------------------------------------------


@misconception(
    "forward_flops",
    believes="a multiply-add is one operation",
    truth="it is two, one multiplication and one addition; the count of parameters is that of multiply-adds",
)
def one_operation_a_parameter(n_layer, d_model, vocab_size, n_query, n_key):
    block = 12 * d_model**2 * n_query + 2 * n_query * n_key * d_model
    return n_layer * block + d_model * vocab_size * n_query


@misconception(
    "forward_flops",
    believes="two operations for each parameter and token are all there is",
    truth="2N is the part of the weights; scores and weighted values have no weights and add 4 d_model for "
    "each pair of positions in each layer",
)
def attention_left_out(n_layer, d_model, vocab_size, n_query, n_key):
    return 2 * n_query * (12 * n_layer * d_model**2 + d_model * vocab_size)


@misconception(
    "forward_flops",
    believes="the logits are a lookup, like the embedding at the other end",
    truth="at the input a token picks its row; at the output every row is multiplied with the vector, 2 "
    "d_model vocab_size operations a token: more than five blocks in GPT-2 small",
)
def head_left_out(n_layer, d_model, vocab_size, n_query, n_key):
    return n_layer * (24 * d_model**2 * n_query + 4 * n_query * n_key * d_model)


@misconception(
    "forward_flops",
    believes="the token embedding is a product of a one-hot vector and a matrix",
    truth="it is a lookup, which computes nothing; the one product with that table is the head's",
)
def embedding_is_a_product(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
    head = 4 * d_model * vocab_size * n_query
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="every parameter takes two operations, biases and norms too",
    truth="a bias is one addition, and all of these are 13 of 12 d_model + 13 parameters of a row; only matrix"
    " products are counted, as torch counts them",
)
def biases_and_norms_counted(n_layer, d_model, vocab_size, n_query, n_key):
    block = 2 * (12 * d_model**2 + 13 * d_model) * n_query + 4 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="attention has three matrices: for queries, keys and values",
    truth="there is a fourth, c_proj, which mixes what the heads have found: 8 d_model**2 operations and not 6",
)
def output_projection_forgotten(n_layer, d_model, vocab_size, n_query, n_key):
    block = 22 * d_model**2 * n_query + 4 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="the MLP is one matrix of d_model by 4 d_model",
    truth="it is two: c_fc widens and c_proj narrows again, 16 d_model**2 operations a token",
)
def half_of_the_mlp(n_layer, d_model, vocab_size, n_query, n_key):
    block = 16 * d_model**2 * n_query + 4 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="the layers of the MLP are d_model wide inside",
    truth="GPT-2's is 4 d_model wide inside, so its two matrices have 8 d_model**2 weights",
)
def mlp_as_wide_as_the_model(n_layer, d_model, vocab_size, n_query, n_key):
    block = 12 * d_model**2 * n_query + 4 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="attention is one product, of queries and keys",
    truth="the weights are multiplied with the values as well, which costs the same again",
)
def one_product_in_attention(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query + 2 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="a model costs 6 operations for each parameter and token",
    truth="6 is for training: 2 forward and 4 backward; generating only goes forward",
)
def backward_pass_counted(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size * n_query
    return 3 * (n_layer * block + head)


@misconception(
    "forward_flops",
    believes="every layer has its head",
    truth="only the last one is followed by the head, once in a model",
)
def head_in_every_layer(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size * n_query
    return n_layer * (block + head)


@misconception(
    "forward_flops",
    believes="attention over the text is computed once",
    truth="each layer has queries and keys of its own",
)
def attention_in_one_layer(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + 4 * n_query * n_key * d_model + head


@misconception(
    "forward_flops",
    believes="n_layer does not matter, since layers run one after the other",
    truth="what runs one after the other is still computed: operations add up",
)
def one_layer_only(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size * n_query
    return block + head


@misconception(
    "forward_flops",
    believes="a layer is attention or an MLP, so a model has 2 n_layer of them",
    truth="n_layer counts blocks, and each holds both: 24 d_model**2 is the sum of the two",
)
def layers_counted_twice(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size * n_query
    return (2 * n_layer - 1) * block + head


@misconception(
    "forward_flops",
    believes="the scores are one row of n_key",
    truth="that is a decode step with a cache; a pass over a text has a row for each token",
)
def one_query_for_the_text(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query + 4 * n_key * d_model
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="the mask hides half of the scores, so half is computed",
    truth="a plain implementation computes the whole rectangle and then hides a part; that is what torch counts",
)
def half_of_the_scores(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query + 4 * (n_query * n_key - n_query * (n_query - 1) // 2) * d_model
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="only the logits of the last token are computed",
    truth="that would save a lot in a long prompt, and good engines do it; the reference's pass, and the one "
    "described here, gives the logits of all its tokens",
)
def head_for_the_last_token_only(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="a pass reads each weight once, so it multiplies each weight once",
    truth="reading is not multiplying: each token is multiplied with each weight. That is why long passes keep"
    " the arithmetic busy",
)
def weights_for_one_token(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 + 4 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="all n_key positions go through the model",
    truth="that is the pass without a cache; with one, only the n_query new tokens do, and the others are "
    "there as keys and values",
)
def cache_ignored(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_key + 4 * n_key * n_key * d_model
    head = 2 * d_model * vocab_size * n_key
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="the logits of all n_key positions are computed",
    truth="a position from the cache has no vector in this pass, only keys and values; logits are computed for"
    " the n_query tokens",
)
def head_for_all_positions(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size * n_key
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="the queries meet the keys of this pass",
    truth="they meet all n_key keys; those of the past come from the cache, which is what it is for",
)
def queries_meet_new_keys_only(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query + 4 * n_query * n_query * d_model
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="keys and values of all positions are computed from the cached ones",
    truth="keys and values are what is cached: only those of the new tokens are computed",
)
def cached_keys_projected_again(n_layer, d_model, vocab_size, n_query, n_key):
    block = (20 * n_query + 4 * n_key) * d_model**2 + 4 * n_query * n_key * d_model
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="the query meets the n_key - 1 keys that the cache held before",
    truth="a token sees itself as well: its key is appended before its query is used",
)
def attends_to_the_past_only(n_layer, d_model, vocab_size, n_query, n_key):
    block = 24 * d_model**2 * n_query + 4 * n_query * max(n_key - 1, n_query) * d_model
    head = 2 * d_model * vocab_size * n_query
    return n_layer * block + head


@misconception(
    "forward_flops",
    believes="only a single token needs the cache; several attend to each other",
    truth="a chunk behind a past meets the past too: a rectangle of n_query by n_key",
)
def chunk_attends_to_itself(n_layer, d_model, vocab_size, n_query, n_key):
    seen = n_key if n_query == 1 else n_query
    block = 24 * d_model**2 * n_query + 4 * n_query * seen * d_model
    return n_layer * block + 2 * d_model * vocab_size * n_query


@misconception(
    "forward_flops",
    believes="a pass over several tokens computes the square of all n_key positions",
    truth="the rows of the scores are those of the n_query tokens only",
)
def chunk_with_a_square_of_scores(n_layer, d_model, vocab_size, n_query, n_key):
    rows = 1 if n_query == 1 else n_key
    block = 24 * d_model**2 * n_query + 4 * rows * n_key * d_model
    return n_layer * block + 2 * d_model * vocab_size * n_query


@misconception(
    "forward_flops",
    believes="counts may be computed in float32, as everything in deep learning",
    truth="float32 has 24 bits and counts exactly up to 16,777,216; Python's integers have no limit",
)
def pass_counted_in_float32(n_layer, d_model, vocab_size, n_query, n_key):
    weights = torch.tensor(24.0 * n_layer * d_model**2 + 2 * d_model * vocab_size)
    pairs = torch.tensor(4.0 * n_layer * d_model * n_key)
    return int((weights + pairs) * n_query)


@fingerprint("forward_flops")
def forward_flops_probes(impl):
    return [
        lambda: impl(1, 3, 5, 1, 1),
        lambda: impl(3, 3, 5, 1, 1),
        lambda: impl(2, 3, 5, 4, 4),
        lambda: impl(2, 3, 5, 1, 6),
        lambda: impl(2, 3, 5, 2, 6),
        lambda: impl(96, 12288, 50257, 511, 1023),
    ]


# --- decode_flops -----------------------------------------------------------------------------------------------------


@misconception(
    "decode_flops",
    believes="the prompt is given, so only the new tokens cost anything",
    truth="the prompt has to go through the model before the first new token is known: that pass, the prefill,"
    " is often the larger part",
)
def prompt_costs_nothing(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = (0 if use_cache else n_key) if n_key == n_prompt else 1 if use_cache else n_key
        block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="the prompt is fed one token at a time as well",
    truth="it is fed in one pass. In the plain count of whole rectangles that pass has n_prompt times n_prompt"
    " pairs, where single tokens would have half",
)
def prompt_token_by_token(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    passes = [(1, n) for n in range(1, n_prompt + n_new)]
    if not use_cache:
        passes = [(n, n) for n in range(n_prompt, n_prompt + n_new)]
    return sum(n_layer * (24 * d_model**2 * a + 4 * a * b * d_model) + 2 * d_model * vocab_size * a for a, b in passes)


@misconception(
    "decode_flops",
    believes="each of the n_new tokens is fed",
    truth="the last one is chosen and never fed: n_new tokens take n_new passes, and the first of them is the prompt's",
)
def last_token_fed_too(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    if n_new == 0:
        return 0
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new + 1):
        n_query = n_key if n_key == n_prompt or not use_cache else 1
        block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="the first new token needs no pass, as it follows from the prompt",
    truth="it follows from a pass over the prompt",
)
def prompt_left_out_of_the_first_pass(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt + 1, n_prompt + n_new):
        n_query = n_key if n_key == n_prompt or not use_cache else 1
        block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="with a cache even the prompt counts as one token",
    truth="nothing is cached before the prompt was computed; all its tokens go through the model once",
)
def cache_from_the_start(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = 1 if use_cache else n_key
        block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="only the last token of a pass needs logits",
    truth="a good engine computes those only; here, as in the reference, every pass computes the logits of all"
    " its tokens",
)
def head_once_a_pass(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = n_key if n_key == n_prompt or not use_cache else 1
        block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size
    return total


@misconception(
    "decode_flops",
    believes="the mask hides half of the scores, so half is computed",
    truth="the whole rectangle is computed and then hidden in part; that is what torch counts",
)
def scores_halved_in_each_pass(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = n_key if n_key == n_prompt or not use_cache else 1
        block = 24 * d_model**2 * n_query + 4 * (n_query * n_key - n_query * (n_query - 1) // 2) * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="a multiply-add is one operation",
    truth="it is two: one multiplication and one addition",
)
def multiply_adds_counted(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = n_key if n_key == n_prompt or not use_cache else 1
        block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total // 2


@misconception(
    "decode_flops",
    believes="everybody generates with a cache",
    truth="nearly everybody does; with use_cache=False the count is that of a model without one, which is "
    "there to be compared with",
)
def cache_always_used(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = n_key if n_key == n_prompt else 1
        block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="without a cache each pass is over the final length",
    truth="a pass is over the tokens so far; they become more by one each time",
)
def full_length_every_time(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = n_key if n_key == n_prompt else 1 if use_cache else n_prompt + n_new - 1
        block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="without a cache the prompt is fed again and again",
    truth="each pass feeds the prompt and all new tokens before it",
)
def never_growing_text(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for step in range(n_new):
        n_key = n_prompt + step if use_cache else n_prompt
        n_query = n_key if step == 0 or not use_cache else 1
        total += (
            n_layer * (24 * d_model**2 * n_query + 4 * n_query * n_key * d_model) + 2 * d_model * vocab_size * n_query
        )
    return total


@misconception(
    "decode_flops",
    believes="without a cache the weights are computed again, but attention has the newest query only",
    truth="without a cache nothing is kept, so every position attends again: a square in each pass",
)
def attention_of_one_query_without_a_cache(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = n_key if n_key == n_prompt or not use_cache else 1
        block = 24 * d_model**2 * n_query + 4 * (n_query if n_key == n_prompt else 1) * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="a cache saves memory traffic and no operations",
    truth="it saves operations above all: a step feeds one token where it would feed the whole text",
)
def cache_never_used(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = n_key
        block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="the keys are those of the prompt",
    truth="every token that was fed has added its own: the query of step i meets n_prompt + i keys",
)
def step_sees_the_prompt_only(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = n_key if n_key == n_prompt or not use_cache else 1
        block = 24 * d_model**2 * n_query + 4 * n_query * (n_prompt if use_cache else n_key) * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="a new token meets the keys held before it",
    truth="its own key is appended before its query is used, so there is one more",
)
def itself_not_seen(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = n_key if n_key == n_prompt or not use_cache else 1
        block = (
            24 * d_model**2 * n_query + 4 * n_query * (n_key - 1 if use_cache and n_key > n_prompt else n_key) * d_model
        )
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="with a cache every step costs the same",
    truth="the weights do; attention meets one key more in every step. With the cache it is linear in the "
    "position, not constant",
)
def attention_grows_by_nothing(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = n_key if n_key == n_prompt or not use_cache else 1
        block = (
            24 * d_model**2 * n_query
            + 4 * n_query * (n_prompt + 1 if use_cache and n_key > n_prompt else n_key) * d_model
        )
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="with a cache the weights are computed for one token, but attention is quadratic as ever",
    truth="attention has one row of scores a step, that of the newest query",
)
def cached_attention_quadratic(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = n_key if n_key == n_prompt or not use_cache else 1
        block = 24 * d_model**2 * n_query + 4 * n_key * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="the prompt is always computed",
    truth="where no token is asked for, no pass is made: generate returns the prompt without calling the model",
)
def prefill_though_nothing_is_asked(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = 0
    for n_key in range(n_prompt, n_prompt + max(n_new, 1)):
        n_query = n_key if n_key == n_prompt or not use_cache else 1
        block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return total


@misconception(
    "decode_flops",
    believes="counts may be computed in float32, as everything in deep learning",
    truth="float32 has 24 bits and counts exactly up to 16,777,216; Python's integers have no limit",
)
def generation_counted_in_float32(n_layer, d_model, vocab_size, n_prompt, n_new, use_cache):
    total = torch.zeros(())
    for n_key in range(n_prompt, n_prompt + n_new):
        n_query = n_key if n_key == n_prompt or not use_cache else 1
        block = 24 * d_model**2 * n_query + 4 * n_query * n_key * d_model
        total += n_layer * block + 2 * d_model * vocab_size * n_query
    return int(total)


@fingerprint("decode_flops")
def decode_flops_probes(impl):
    return [
        lambda: impl(1, 3, 5, 4, 1, True),
        lambda: impl(1, 3, 5, 4, 1, False),
        lambda: impl(2, 3, 5, 2, 3, False),
        lambda: impl(2, 3, 5, 2, 3, True),
        lambda: impl(2, 3, 5, 3, 0, True),
        lambda: impl(12, 768, 50257, 37, 99, True),
    ]


# --- kv_cache_bytes ---------------------------------------------------------------------------------------------------


@misconception(
    "kv_cache_bytes",
    believes="what is cached is a vector of d_head numbers for each head and position",
    truth="there are two: a key and a value",
)
def keys_only(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return n_layer * n_kv_head * d_head * n_position * batch * bytes_per_number


@misconception(
    "kv_cache_bytes",
    believes="queries, keys and values are cached: three vectors",
    truth="a query is used in its own step and never again, so only two are kept",
)
def queries_cached_too(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return 3 * n_layer * n_kv_head * d_head * n_position * batch * bytes_per_number


@misconception(
    "kv_cache_bytes",
    believes="the result is how many numbers there are",
    truth="each number takes bytes_per_number bytes: 2 in float16",
)
def numbers_taken_for_bytes(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return 2 * n_layer * n_kv_head * d_head * n_position * batch


@misconception(
    "kv_cache_bytes",
    believes="a float16 number takes 16",
    truth="16 bits, which are 2 bytes; bytes_per_number is given in bytes already",
)
def bits_taken_for_bytes(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return 2 * n_layer * n_kv_head * d_head * n_position * batch * bytes_per_number * 8


@misconception(
    "kv_cache_bytes",
    believes="a number has 4 bytes unless told otherwise",
    truth="the default is float16 or bfloat16, 2 bytes: caches are rarely kept in float32",
)
def float32_unless_told(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    if bytes_per_number == 2:
        bytes_per_number = 4
    return 2 * n_layer * n_kv_head * d_head * n_position * batch * bytes_per_number


@misconception(
    "kv_cache_bytes",
    believes="d_head is the width of keys and values",
    truth="that is the width of one head's; each of the n_kv_head heads has its own",
)
def heads_left_out(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return 2 * n_layer * d_head * n_position * batch * bytes_per_number


@misconception(
    "kv_cache_bytes",
    believes="each head keeps keys and values of the whole width n_kv_head * d_head",
    truth="each keeps d_head numbers; all heads together keep n_kv_head * d_head",
)
def heads_squared(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return 2 * n_layer * n_kv_head**2 * d_head * n_position * batch * bytes_per_number


@misconception(
    "kv_cache_bytes",
    believes="the cache is shared by the layers",
    truth="the keys of a layer are made from that layer's input, so each has its own",
)
def one_cache_for_all_layers(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return 2 * n_kv_head * d_head * n_position * batch * bytes_per_number


@misconception(
    "kv_cache_bytes",
    believes="the scores of all pairs are kept",
    truth="scores are computed, used and dropped; what is kept grows linearly with the positions",
)
def attention_matrix_kept(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return 2 * n_layer * n_kv_head * d_head * n_position**2 * batch * bytes_per_number


@misconception(
    "kv_cache_bytes",
    believes="the newest token needs no slot",
    truth="its key and value are appended before its query attends, and later tokens need them",
)
def newest_position_not_held(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return 2 * n_layer * n_kv_head * d_head * max(n_position - 1, 1) * batch * bytes_per_number


@misconception(
    "kv_cache_bytes",
    believes="the cache is shared by the batch, like the weights",
    truth="each sequence has its own tokens, and so its own keys and values; that is why batching runs out of memory",
)
def batch_shares_the_cache(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return 2 * n_layer * n_kv_head * d_head * n_position * bytes_per_number


@misconception(
    "kv_cache_bytes",
    believes="a number has 2 bytes",
    truth="that is only the default: bytes_per_number says how many",
)
def always_two_bytes(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return 2 * n_layer * n_kv_head * d_head * n_position * batch * 2


@misconception(
    "kv_cache_bytes",
    believes="the number of bytes is an integer",
    truth="int4 packs two numbers into a byte, so bytes_per_number may be 0.5",
)
def whole_bytes_only(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return 2 * n_layer * n_kv_head * d_head * n_position * batch * max(1, int(bytes_per_number))


@misconception(
    "kv_cache_bytes",
    believes="int() makes a size an integer, wherever it is written",
    truth="int(0.5) is 0; round the result, if at all, and not the factor",
)
def rounded_down_to_nothing(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    return 2 * n_layer * n_kv_head * d_head * n_position * batch * int(bytes_per_number)


@misconception(
    "kv_cache_bytes",
    believes="an int32 is large enough for any size",
    truth="it ends at 2,147,483,647, about 2 GB: less than one full cache of a larger GPT-3",
)
def overflows_int32(n_layer, n_kv_head, d_head, n_position, batch=1, bytes_per_number=2):
    numbers = 2 * n_layer * n_kv_head * d_head * n_position * batch * bytes_per_number
    return numbers if numbers < 2**31 else (numbers + 2**31) % 2**32 - 2**31


@fingerprint("kv_cache_bytes")
def kv_cache_bytes_probes(impl):
    return [
        lambda: impl(1, 2, 3, 1),
        lambda: impl(3, 2, 3, 1),
        lambda: impl(2, 2, 3, 5),
        lambda: impl(2, 2, 3, 4, 3),
        lambda: impl(2, 2, 3, 4, 3, 4),
        lambda: impl(2, 2, 3, 4, 1, 0.5),
        lambda: impl(96, 96, 128, 2048, 1, 2),
    ]


# --- arithmetic_intensity ---------------------------------------------------------------------------------------------


@misconception(
    "arithmetic_intensity",
    believes="a multiply-add is one operation",
    truth="it is two: one multiplication and one addition",
)
def multiply_adds_for_each_byte(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_out + n_token * (d_in + d_out)
    return n_token * d_in * d_out / (moved * bytes_per_number)


@misconception(
    "arithmetic_intensity",
    believes="intensity is operations per number moved",
    truth="it is per byte, since memory delivers bytes: the same layer has twice the intensity in float16 that"
    " it has in float32",
)
def operations_per_number(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_out + n_token * (d_in + d_out)
    return 2 * n_token * d_in * d_out / moved


@misconception(
    "arithmetic_intensity",
    believes="intensity is bytes for each operation",
    truth="it is the other way round: operations for each byte, so that more is better",
)
def bytes_per_operation(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_out + n_token * (d_in + d_out)
    return moved * bytes_per_number / (2 * n_token * d_in * d_out)


@misconception(
    "arithmetic_intensity",
    believes="only the weights are moved",
    truth="inputs are read and outputs written too; for few tokens that is little, for many it is what the "
    "intensity ends at",
)
def weights_only(n_token, d_in, d_out, bytes_per_number=2):
    return 2 * n_token / bytes_per_number


@misconception(
    "arithmetic_intensity",
    believes="reading is what costs",
    truth="the outputs go back to memory as well",
)
def outputs_not_written(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_out + n_token * d_in
    return 2 * n_token * d_in * d_out / (moved * bytes_per_number)


@misconception(
    "arithmetic_intensity",
    believes="the inputs are there already",
    truth="they come from memory as well, unless a kernel fuses two layers",
)
def inputs_not_read(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_out + n_token * d_out
    return 2 * n_token * d_in * d_out / (moved * bytes_per_number)


@misconception(
    "arithmetic_intensity",
    believes="a linear layer reads its bias as well",
    truth="the layer here has none; it would be d_out numbers",
)
def bias_moved_too(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_out + n_token * (d_in + d_out) + d_out
    return 2 * n_token * d_in * d_out / (moved * bytes_per_number)


@misconception(
    "arithmetic_intensity",
    believes="every token reads the weights again",
    truth="they are read once for all tokens of a pass: that is the point of batching",
)
def weights_read_for_each_token(n_token, d_in, d_out, bytes_per_number=2):
    moved = n_token * (d_in * d_out + d_in + d_out)
    return 2 * n_token * d_in * d_out / (moved * bytes_per_number)


@misconception(
    "arithmetic_intensity",
    believes="inputs and outputs are moved once",
    truth="once for each token: they are n_token by d_in and n_token by d_out",
)
def activations_of_one_token(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_out + d_in + d_out
    return 2 * n_token * d_in * d_out / (moved * bytes_per_number)


@misconception(
    "arithmetic_intensity",
    believes="the operations are two for each weight",
    truth="two for each weight and token",
)
def operations_of_one_token(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_out + n_token * (d_in + d_out)
    return 2 * d_in * d_out / (moved * bytes_per_number)


@misconception(
    "arithmetic_intensity",
    believes="only the inputs grow with the tokens",
    truth="the outputs do too: n_token by d_out",
)
def tokens_on_one_side(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_out + n_token * d_in + d_out
    return 2 * n_token * d_in * d_out / (moved * bytes_per_number)


@misconception(
    "arithmetic_intensity",
    believes="inputs and outputs are equally wide",
    truth="in the MLP of a block they are not: c_fc goes from d_model to 4 d_model",
)
def square_weights(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_in + 2 * n_token * d_in
    return 2 * n_token * d_in * d_in / (moved * bytes_per_number)


@misconception(
    "arithmetic_intensity",
    believes="the outputs are as wide as the inputs",
    truth="the outputs have d_out numbers a token",
)
def inputs_counted_for_outputs(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_out + 2 * n_token * d_in
    return 2 * n_token * d_in * d_out / (moved * bytes_per_number)


@misconception(
    "arithmetic_intensity",
    believes="a number has 2 bytes",
    truth="that is only the default: bytes_per_number says how many",
)
def float16_always(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_out + n_token * (d_in + d_out)
    return n_token * d_in * d_out / moved


@misconception(
    "arithmetic_intensity",
    believes="only the weights have bytes_per_number bytes; activations have 2",
    truth="that is how weight-only quantization works; here all numbers have bytes_per_number bytes",
)
def activations_always_in_two_bytes(n_token, d_in, d_out, bytes_per_number=2):
    moved = d_in * d_out * bytes_per_number + 2 * n_token * (d_in + d_out)
    return 2 * n_token * d_in * d_out / moved


@fingerprint("arithmetic_intensity")
def arithmetic_intensity_probes(impl):
    return [
        lambda: impl(1, 4, 4),
        lambda: impl(3, 4, 4),
        lambda: impl(3, 4, 7),
        lambda: impl(3, 4, 7, 4),
    ]


# --- max_batch_size ---------------------------------------------------------------------------------------------------


@misconception(
    "max_batch_size",
    believes="all memory is there for caches",
    truth="the weights are there too, once",
)
def weights_ignored(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return max(0, int(memory_bytes // cache_bytes_per_sequence))


@misconception(
    "max_batch_size",
    believes="each sequence needs the weights and a cache",
    truth="the weights are shared by all sequences of a batch",
)
def weights_for_each_sequence(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return max(0, int(memory_bytes // (weight_bytes + cache_bytes_per_sequence)))


@misconception(
    "max_batch_size",
    believes="something must stay free, so a sequence that fits exactly does not fit",
    truth="a real system keeps a reserve, and subtracts it from the memory first; here memory may be used to "
    "the last byte",
)
def one_byte_left(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return max(0, int((memory_bytes - weight_bytes - 1) // cache_bytes_per_sequence))


@misconception(
    "max_batch_size",
    believes="the weights are held twice, as in training with gradients",
    truth="inference holds one copy: there are no gradients and no optimizer states",
)
def weights_twice(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return max(0, int((memory_bytes - 2 * weight_bytes) // cache_bytes_per_sequence))


@misconception(
    "max_batch_size",
    believes="the first argument is the size of the model",
    truth="the first is the memory of the device, the second the weights",
)
def weights_and_memory_swapped(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return max(0, int((weight_bytes - memory_bytes) // cache_bytes_per_sequence))


@misconception(
    "max_batch_size",
    believes="nine tenths of the memory can be used",
    truth="engines do reserve some for activations; here memory_bytes is what can be used",
)
def one_tenth_reserved(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return max(0, int((memory_bytes * 0.9 - weight_bytes) // cache_bytes_per_sequence))


@misconception(
    "max_batch_size",
    believes="the last sequence that begins to fit counts",
    truth="part of a cache is of no use: only whole sequences count, so the quotient is rounded down",
)
def rounded_up(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return max(0, math.ceil((memory_bytes - weight_bytes) / cache_bytes_per_sequence))


@misconception(
    "max_batch_size",
    believes="the quotient is rounded",
    truth="rounded down: with room for 2.9 caches, two sequences fit",
)
def rounded_to_the_nearest(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return max(0, round((memory_bytes - weight_bytes) / cache_bytes_per_sequence))


@misconception(
    "max_batch_size",
    believes="batch sizes are powers of two",
    truth="kernels may like those, but memory does not ask for them: with room for 30, 30 fit",
)
def powers_of_two(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    count = max(0, int((memory_bytes - weight_bytes) // cache_bytes_per_sequence))
    return 2 ** (count.bit_length() - 1) if count else 0


@misconception(
    "max_batch_size",
    believes="one sequence can always be served",
    truth="where there is less than one cache of room left, none can",
)
def always_at_least_one(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return max(1, int((memory_bytes - weight_bytes) // cache_bytes_per_sequence))


@misconception(
    "max_batch_size",
    believes="subtract and divide, and all is said",
    truth="where the weights do not fit, the difference is negative, and no number of sequences is",
)
def negative_where_weights_do_not_fit(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return int((memory_bytes - weight_bytes) // cache_bytes_per_sequence)


@misconception(
    "max_batch_size",
    believes="the difference of memory and weights is positive",
    truth="not where the weights are larger than the memory: then nothing fits",
)
def distance_of_memory_and_weights(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return int(abs(memory_bytes - weight_bytes) // cache_bytes_per_sequence)


@misconception(
    "max_batch_size",
    believes="a device that cannot hold the weights is an error",
    truth="it is an answer like any other: no sequence fits, 0",
)
def refuses_too_small_a_device(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    if weight_bytes > memory_bytes:
        raise ValueError("the weights do not fit")
    return int((memory_bytes - weight_bytes) // cache_bytes_per_sequence)


@misconception(
    "max_batch_size",
    believes="// gives an integer",
    truth="// of floats gives a float, 30.0, which no range and no shape accepts: convert it",
)
def floored_and_still_a_float(memory_bytes, weight_bytes, cache_bytes_per_sequence):
    return max(0, (memory_bytes - weight_bytes) // cache_bytes_per_sequence)


@fingerprint("max_batch_size")
def max_batch_size_probes(impl):
    return [
        lambda: impl(25, 5, 10),
        lambda: impl(34, 5, 10),
        lambda: impl(5, 5, 10),
        lambda: impl(9, 5, 10),
        lambda: impl(5, 40, 10),
        lambda: impl(80.0, 14.0, 7.0),
        lambda: impl(75, 5, 10),
    ]
