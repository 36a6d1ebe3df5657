"""Right, and written differently: all of these must be accepted."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from gptdojo import alternative
from reference.attention import causal_self_attention, merge_heads, scaled_dot_product_attention, split_heads
from reference.next_token import cross_entropy

# --- bidirectional_attention ------------------------------------------------------------------------------------------


@alternative("bidirectional_attention")
def with_the_hook(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    mask = None if is_token is None else is_token[:, None, None, :]

    def attend(layer, q, k, v):
        return scaled_dot_product_attention(q, k, v, mask)

    return causal_self_attention(x, w_qkv, b_qkv, w_out, b_out, n_head, attend)


@alternative("bidirectional_attention")
def with_torch_attention(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    batch, n_position, d_model = x.shape
    qkv = F.linear(x, w_qkv, b_qkv).view(batch, n_position, 3, n_head, d_model // n_head)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    mask = is_token.view(batch, 1, 1, n_position) if is_token is not None else None
    heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return F.linear(heads.transpose(1, 2).flatten(2), w_out, b_out)


@alternative("bidirectional_attention")
def with_torch_multi_head(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    across = x.transpose(0, 1)
    out, _ = F.multi_head_attention_forward(
        across, across, across, x.shape[-1], n_head, w_qkv, b_qkv, None, None, False, 0.0, w_out, b_out,
        need_weights=False, key_padding_mask=None if is_token is None else ~is_token,
    )  # fmt: skip
    return out.transpose(0, 1)


@alternative("bidirectional_attention")
def with_einsum_in_float64(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    n_batch, n_position, d_model = x.shape
    qkv = torch.einsum("btd,ed->bte", x.double(), w_qkv.double()) + b_qkv
    q, k, v = qkv.view(n_batch, n_position, 3, n_head, -1).unbind(2)  # (batch, position, head, d_head)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(d_model // n_head)
    if is_token is not None:
        scores = scores + torch.zeros_like(scores).masked_fill(~is_token[:, None, None], -math.inf)
    heads = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).flatten(2)
    return (heads @ w_out.double().T + b_out).to(x.dtype)


@alternative("bidirectional_attention")
def one_text_at_a_time(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    w_q, w_k, w_v = w_qkv.chunk(3)
    b_q, b_k, b_v = b_qkv.chunk(3)
    d_head = x.shape[-1] // n_head
    rows = []
    for number, text in enumerate(x):
        seen = text if is_token is None else text[is_token[number]]
        q, k, v = text @ w_q.T + b_q, seen @ w_k.T + b_k, seen @ w_v.T + b_v
        heads = []
        for h in range(n_head):
            part = slice(h * d_head, (h + 1) * d_head)
            heads.append(torch.softmax(q[:, part] @ k[:, part].T * d_head**-0.5, dim=1) @ v[:, part])
        rows.append(torch.cat(heads, dim=1) @ w_out.T + b_out)
    return torch.stack(rows)


@alternative("bidirectional_attention")
def pads_see_nobody_either(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    if is_token is None:
        is_token = torch.ones(x.shape[:2], dtype=torch.bool)
    q, k, v = (split_heads(t, n_head) for t in (x @ w_qkv.T + b_qkv).split(x.shape[-1], dim=-1))
    both = is_token[:, :, None] & is_token[:, None, :]
    out = merge_heads(scaled_dot_product_attention(q, k, v, both[:, None])) @ w_out.T + b_out
    return out.masked_fill(~is_token[..., None], 0.0)


@alternative("bidirectional_attention")
def lowest_number_as_filler(x, w_qkv, b_qkv, w_out, b_out, n_head, is_token=None):
    q, k, v = (split_heads(t, n_head) for t in F.linear(x, w_qkv, b_qkv).chunk(3, dim=-1))
    scores = q @ k.mT / math.sqrt(k.shape[-1])
    if is_token is not None:
        scores = torch.where(is_token[:, None, None, :], scores, torch.finfo(scores.dtype).min)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    weights = weights / weights.sum(-1, keepdim=True)
    return torch.addmm(b_out, (weights @ v).transpose(1, 2).reshape(-1, x.shape[-1]), w_out.T).view(x.shape)


# --- prefix_lm_mask ---------------------------------------------------------------------------------------------------


@alternative("prefix_lm_mask")
def triangle_with_a_block(n_prefix, n_position):
    mask = torch.ones(n_position, n_position).tril().bool()
    mask[:, :n_prefix] = True
    return mask


@alternative("prefix_lm_mask")
def prefix_rows_then_causal_rows(n_prefix, n_position):
    seen = [max(n_prefix, query + 1) for query in range(n_position)]
    return torch.arange(n_position) < torch.tensor(seen)[:, None]


@alternative("prefix_lm_mask")
def pair_by_pair(n_prefix, n_position):
    return torch.tensor([[j < n_prefix or j <= i for j in range(n_position)] for i in range(n_position)])


@alternative("prefix_lm_mask")
def minus_what_is_hidden(n_prefix, n_position):
    hidden = torch.ones(n_position, n_position, dtype=torch.int32).triu(1)
    hidden[:n_prefix, :n_prefix] = 0
    return hidden.logical_not()


@alternative("prefix_lm_mask")
def columns_joined(n_prefix, n_position):
    causal = np.tri(n_position, dtype=bool)
    return torch.from_numpy(np.concatenate([np.ones((n_position, n_prefix), bool), causal[:, n_prefix:]], axis=1))


@alternative("prefix_lm_mask")
def transposed_storage(n_prefix, n_position):
    keys_first = torch.ones(n_position, n_position, dtype=torch.bool).triu()
    keys_first |= (torch.arange(n_position) < n_prefix).unsqueeze(1)
    return keys_first.T


# --- cross_attention --------------------------------------------------------------------------------------------------


@alternative("cross_attention")
def cross_with_torch_attention(x, memory, params, n_head, is_token=None):
    q = F.linear(x, params["q_attn.weight"], params["q_attn.bias"]).unflatten(-1, (n_head, -1)).transpose(1, 2)
    kv = F.linear(memory, params["c_attn.weight"], params["c_attn.bias"]).unflatten(-1, (2, n_head, -1))
    k, v = kv.permute(2, 0, 3, 1, 4)
    mask = None if is_token is None else is_token[:, None, None]
    heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return F.linear(heads.transpose(1, 2).flatten(2), params["c_proj.weight"], params["c_proj.bias"])


@alternative("cross_attention")
def cross_with_torch_multi_head(x, memory, params, n_head, is_token=None):
    source = memory.transpose(0, 1)
    out, _ = F.multi_head_attention_forward(
        x.transpose(0, 1), source, source, x.shape[-1], n_head,
        torch.cat([params["q_attn.weight"], params["c_attn.weight"]]),
        torch.cat([params["q_attn.bias"], params["c_attn.bias"]]),
        None, None, False, 0.0, params["c_proj.weight"], params["c_proj.bias"],
        key_padding_mask=None if is_token is None else is_token.logical_not(),
    )  # fmt: skip
    return out.transpose(0, 1)


@alternative("cross_attention")
def cross_with_einsum(x, memory, params, n_head, is_token=None):
    d_model = x.shape[-1]
    w_k, w_v = params["c_attn.weight"].view(2, n_head, d_model // n_head, d_model)
    b_k, b_v = params["c_attn.bias"].view(2, 1, n_head, d_model // n_head)
    w_q = params["q_attn.weight"].reshape(n_head, -1, d_model)
    q = torch.einsum("btd,hcd->bthc", x, w_q) + params["q_attn.bias"].view(n_head, -1)
    k, v = torch.einsum("bsd,hcd->bshc", memory, w_k) + b_k, torch.einsum("bsd,hcd->bshc", memory, w_v) + b_v
    scores = torch.einsum("bthc,bshc->bths", q * q.shape[-1] ** -0.5, k)
    if is_token is not None:
        scores = scores.masked_fill(~is_token[:, None, None, :], -torch.inf)
    heads = torch.einsum("bths,bshc->bthc", scores.softmax(dim=-1), v)
    return torch.einsum("bte,de->btd", heads.flatten(2), params["c_proj.weight"]) + params["c_proj.bias"]


@alternative("cross_attention")
def cross_one_target_at_a_time(x, memory, params, n_head, is_token=None):
    d_model = x.shape[-1]
    kv = memory @ params["c_attn.weight"].T + params["c_attn.bias"]
    k, v = split_heads(kv[..., :d_model], n_head), split_heads(kv[..., d_model:], n_head)
    mask = None if is_token is None else is_token[:, None, None, :]
    columns = []
    for t in range(x.shape[1]):
        q = split_heads(x[:, t : t + 1] @ params["q_attn.weight"].T + params["q_attn.bias"], n_head)
        columns.append(merge_heads(scaled_dot_product_attention(q, k, v, mask)))
    return torch.cat(columns, dim=1) @ params["c_proj.weight"].T + params["c_proj.bias"]


@alternative("cross_attention")
def cross_one_pair_at_a_time_in_float64(x, memory, params, n_head, is_token=None):
    params = {name: tensor.double() for name, tensor in params.items()}
    rows = []
    for number in range(len(x)):
        target, source = x[number].double(), memory[number].double()
        if is_token is not None:
            source = source[is_token[number]]
        q = target @ params["q_attn.weight"].mT + params["q_attn.bias"]
        k, v = (source @ params["c_attn.weight"].mT + params["c_attn.bias"]).tensor_split(2, dim=-1)
        d_head = x.shape[-1] // n_head
        parts = zip(q.split(d_head, -1), k.split(d_head, -1), v.split(d_head, -1), strict=True)
        heads = [(a @ b.mT / d_head**0.5).softmax(-1) @ c for a, b, c in parts]
        rows.append(torch.hstack(heads) @ params["c_proj.weight"].mT + params["c_proj.bias"])
    return torch.stack(rows).to(x.dtype)


# --- corrupt_for_mlm --------------------------------------------------------------------------------------------------


@alternative("corrupt_for_mlm")
def one_lot_for_everything(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    lot = torch.rand(tokens.shape, generator=generator, dtype=torch.float64)
    chosen = maskable & (lot < rate)
    corrupted = tokens.clone()
    corrupted[chosen & (lot < 0.8 * rate)] = mask_token
    other = chosen & (lot >= 0.9 * rate)
    corrupted[other] = torch.randint(0, vocab_size, (int(other.sum()),), generator=generator)
    return corrupted, chosen


@alternative("corrupt_for_mlm")
def bernoulli_after_bernoulli(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = torch.bernoulli(maskable * rate, generator=generator).bool()
    masked = torch.bernoulli(torch.full(tokens.shape, 0.8), generator=generator).bool() & chosen
    drawn = torch.bernoulli(torch.full(tokens.shape, 0.5), generator=generator).bool() & chosen & ~masked
    words = torch.randint(vocab_size, tokens.shape, generator=generator)
    return tokens.masked_fill(masked, mask_token).where(~drawn, words), chosen


@alternative("corrupt_for_mlm")
def only_at_the_chosen(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    chosen = torch.zeros_like(maskable)
    chosen[maskable] = torch.rand(int(maskable.sum()), generator=generator) < rate
    corrupted = tokens.clone(memory_format=torch.contiguous_format)
    n = int(chosen.sum())
    if n:
        fate = torch.multinomial(torch.tensor([0.8, 0.1, 0.1]), n, replacement=True, generator=generator)
        words = torch.randint(vocab_size, (n,), generator=generator)
        corrupted[chosen] = torch.stack([torch.full((n,), mask_token), words, tokens[chosen]])[fate, torch.arange(n)]
    return corrupted, chosen


@alternative("corrupt_for_mlm")
def token_by_token(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    corrupted, chosen = tokens.tolist(), [[False] * tokens.shape[1] for _ in tokens]
    allowed = maskable.tolist()
    for i, row in enumerate(corrupted):
        for j in range(len(row)):
            if allowed[i][j] and torch.rand((), generator=generator).item() < rate:
                chosen[i][j] = True
                lot = torch.rand((), generator=generator).item()
                if lot < 0.8:
                    row[j] = mask_token
                elif lot < 0.9:
                    row[j] = int(torch.randint(vocab_size, (), generator=generator))
    return torch.tensor(corrupted), torch.tensor(chosen)


@alternative("corrupt_for_mlm")
def with_numpy(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    dice = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    chosen = maskable.numpy() & (dice.random(tokens.shape) < rate)
    fate = dice.choice(3, size=tokens.shape, p=[0.1, 0.8, 0.1])
    words = dice.integers(0, vocab_size, size=tokens.shape)
    corrupted = np.where(chosen, np.choose(fate, [tokens.numpy(), mask_token, words]), tokens.numpy())
    return torch.from_numpy(corrupted), torch.from_numpy(chosen)


@alternative("corrupt_for_mlm")
def fates_dealt_beforehand(tokens, maskable, mask_token, vocab_size, generator, rate=0.15):
    outcomes = torch.tensor([mask_token] * 8 + [-1, -2]).to(tokens.dtype)
    plan = outcomes[torch.randint(10, tokens.shape, generator=generator)]
    words = torch.rand(tokens.shape, generator=generator, dtype=torch.float64).mul(vocab_size).to(tokens.dtype)
    plan = torch.where(plan == -1, words, torch.where(plan == -2, tokens, plan))
    chosen = torch.logical_and(torch.empty(tokens.shape).uniform_(generator=generator).lt(rate), maskable)
    return torch.where(chosen, plan, tokens), chosen


# --- mlm_loss ---------------------------------------------------------------------------------------------------------


@alternative("mlm_loss")
def chosen_rows(logits, tokens, chosen):
    return F.cross_entropy(logits[chosen], tokens[chosen])


@alternative("mlm_loss")
def labels_of_minus_100(logits, tokens, chosen):
    labels = tokens.masked_fill(~chosen, -100)
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))


@alternative("mlm_loss")
def weighted_sum(logits, tokens, chosen):
    losses = F.cross_entropy(logits.mT, tokens, reduction="none")
    return (losses * chosen).sum() / chosen.sum()


@alternative("mlm_loss")
def by_log_softmax_and_gather(logits, tokens, chosen):
    picked = logits.log_softmax(dim=-1).gather(2, tokens.unsqueeze(2)).squeeze(2)
    return -torch.where(chosen, picked, 0.0).sum().div(chosen.count_nonzero())


@alternative("mlm_loss")
def by_logsumexp_in_float64(logits, tokens, chosen):
    rows = logits.double()[chosen]
    right = rows[torch.arange(len(rows)), tokens[chosen]]
    return (rows.logsumexp(dim=1) - right).mean().to(logits.dtype)


@alternative("mlm_loss")
def one_question_at_a_time(logits, tokens, chosen):
    losses = []
    for b, t in chosen.nonzero().tolist():
        losses.append(-torch.log_softmax(logits[b, t], dim=0)[tokens[b, t]])
    return sum(losses) / len(losses)


@alternative("mlm_loss")
def with_the_reference(logits, tokens, chosen):
    return cross_entropy(logits, torch.where(chosen, tokens, -100))


@alternative("mlm_loss")
def with_one_hot(logits, tokens, chosen):
    wanted = F.one_hot(tokens, logits.shape[-1]).to(logits.dtype) * chosen[..., None]
    return -(wanted * logits.log_softmax(-1)).sum() / wanted.sum()
