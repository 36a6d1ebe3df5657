"""Right, and written differently: all of these must be accepted."""

import math

import torch
import torch.nn.functional as F
from torch.nn.attention.bias import causal_lower_right

from gptdojo import alternative
from reference.attention import merge_heads, scaled_dot_product_attention, split_heads
from reference.block import BLOCK_KEYS, layer_norm, transformer_block
from reference.embedding import embed_tokens
from reference.mask import causal_mask
from reference.model import gpt_forward

# --- KVCache ----------------------------------------------------------------------------------------------------------


@alternative("KVCache")
class Concatenated:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx = n_ctx
        self.k = torch.empty(batch, n_head, 0, d_head, dtype=dtype)
        self.v = self.k

    def append(self, k, v):
        if len(self) + k.shape[-2] > self.n_ctx:
            raise ValueError("full")
        self.k, self.v = torch.cat((self.k, k), -2), torch.cat((self.v, v), -2)

    def view(self):
        return self.k, self.v

    def crop(self, length):
        if length < 0 or length > len(self):
            raise ValueError("not held")
        self.k, self.v = self.k[..., :length, :], self.v[..., :length, :]

    def reset(self):
        self.crop(0)

    def __len__(self):
        return self.k.size(-2)


@alternative("KVCache")
class ListOfPositions:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.n_ctx = n_ctx
        self.positions = []

    def append(self, k, v):
        pairs = [(k[:, :, i].clone(), v[:, :, i].clone()) for i in range(k.size(2))]
        if len(pairs) > self.n_ctx - len(self.positions):
            raise ValueError(f"room for {self.n_ctx - len(self.positions)} positions")
        self.positions += pairs

    def view(self):
        if not self.positions:
            return self.empty, self.empty
        k, v = zip(*self.positions, strict=True)
        return torch.stack(k, dim=2), torch.stack(v, dim=2)

    def crop(self, length):
        if length not in range(len(self) + 1):
            raise ValueError(length)
        self.positions = self.positions[:length]

    def reset(self):
        self.positions = []

    def __len__(self):
        return len(self.positions)


@alternative("KVCache")
class GrownByDoubling:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx, self.held = n_ctx, 0
        self.buffer = torch.zeros(2, batch, n_head, 1, d_head, dtype=dtype)

    def append(self, k, v):
        both = torch.stack([k, v])
        needed = self.held + both.size(3)
        if needed > self.n_ctx:
            raise ValueError("past the context")
        while self.buffer.size(3) < needed:
            self.buffer = torch.cat([self.buffer, torch.zeros_like(self.buffer)], dim=3)
        self.buffer[:, :, :, self.held : needed] = both
        self.held = needed

    def view(self):
        k, v = self.buffer[..., : self.held, :].unbind(0)
        return k, v

    def crop(self, length):
        if not (0 <= length <= self.held):
            raise ValueError("past what is held")
        self.held = length

    def reset(self):
        self.buffer = self.buffer[:, :, :, :1]
        self.held = 0

    def __len__(self):
        return self.held


@alternative("KVCache")
class PositionsBeforeHeads:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.full((batch, n_ctx, n_head, d_head), torch.nan, dtype=dtype)
        self.values = torch.full_like(self.keys, torch.nan)
        self.filled = 0

    def append(self, k, v):
        n_new, room = k.shape[2], self.keys.shape[1] - self.filled
        if n_new > room:
            raise ValueError(f"{n_new} positions, room for {room}")
        self.keys.narrow(1, self.filled, n_new).copy_(k.transpose(1, 2))
        self.values.narrow(1, self.filled, n_new).copy_(v.transpose(1, 2))
        self.filled += n_new

    def view(self):
        return [buffer[:, : self.filled].transpose(1, 2).clone() for buffer in (self.keys, self.values)]

    def crop(self, length):
        if length < 0:
            raise ValueError("a negative length")
        if length > self.filled:
            raise ValueError("more than is held")
        self.keys[:, length:] = torch.nan
        self.filled = length

    def reset(self):
        self.crop(0)

    def __len__(self):
        return self.filled


@alternative("KVCache")
class WrittenByIndex:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.shape = (batch, n_head, n_ctx, d_head)
        self.dtype = dtype
        self.reset()

    def append(self, k, v):
        slots = self.next_slot + torch.arange(k.shape[2])
        try:
            k_buffer = self.k_buffer.index_copy(2, slots, k)
            v_buffer = self.v_buffer.index_copy(2, slots, v)
        except (IndexError, RuntimeError) as error:
            raise ValueError("past the context") from error
        self.k_buffer, self.v_buffer, self.next_slot = k_buffer, v_buffer, self.next_slot + k.shape[2]

    def view(self):
        held = torch.arange(self.next_slot)
        return self.k_buffer.index_select(2, held), self.v_buffer.index_select(2, held)

    def crop(self, length):
        class LengthError(ValueError):
            pass

        if length != sorted((0, length, self.next_slot))[1]:
            raise LengthError(length)
        self.next_slot = length

    def reset(self):
        self.k_buffer = torch.zeros(self.shape, dtype=self.dtype)
        self.v_buffer = torch.zeros(self.shape, dtype=self.dtype)
        self.next_slot = 0

    def __len__(self):
        return self.next_slot


# --- attend_with_cache ------------------------------------------------------------------------------------------------


@alternative("attend_with_cache")
def fused_with_explicit_mask(q, k_buffer, v_buffer, length):
    mask = torch.ones(q.size(2), length, dtype=torch.bool).tril(length - q.size(2))
    return F.scaled_dot_product_attention(q, k_buffer[:, :, :length], v_buffer[:, :, :length], attn_mask=mask)


@alternative("attend_with_cache")
def fused_with_lower_right_bias(q, k_buffer, v_buffer, length):
    bias = causal_lower_right(q.size(2), length)
    return F.scaled_dot_product_attention(q, k_buffer[:, :, :length], v_buffer[:, :, :length], attn_mask=bias)


@alternative("attend_with_cache")
def one_query_at_a_time(q, k_buffer, v_buffer, length):
    outputs = []
    for i in range(q.shape[2]):
        seen = length - q.shape[2] + i + 1
        scores = (q[:, :, i : i + 1] * k_buffer[:, :, :seen]).sum(-1) / math.sqrt(q.shape[-1])
        outputs.append((scores.softmax(-1).unsqueeze(-1) * v_buffer[:, :, :seen]).sum(2))
    return torch.stack(outputs, dim=2)


@alternative("attend_with_cache")
def einsum_with_infinity(q, k_buffer, v_buffer, length):
    k, v = k_buffer.narrow(2, 0, length), v_buffer.narrow(2, 0, length)
    scores = torch.einsum("bhqd,bhkd->bhqk", q * q.shape[-1] ** -0.5, k)
    query = torch.arange(length - q.shape[2], length)
    scores = scores.masked_fill(torch.arange(length) > query[:, None], -torch.inf)
    return torch.einsum("bhqk,bhkd->bhqd", scores.softmax(dim=-1), v)


@alternative("attend_with_cache")
def in_float64(q, k_buffer, v_buffer, length):
    k, v = k_buffer[:, :, :length].double(), v_buffer[:, :, :length].double()
    scores = q.double() @ k.mT / math.sqrt(q.shape[-1])
    hidden = torch.ones_like(scores, dtype=torch.bool).triu(length - q.shape[2] + 1)
    scores[hidden] = -1e300
    return (scores.softmax(-1) @ v).to(q.dtype)


@alternative("attend_with_cache")
def whole_buffer_cleaned(q, k_buffer, v_buffer, length):
    n_ctx = k_buffer.shape[2]
    filled = (torch.arange(n_ctx) < length)[:, None]
    k, v = torch.where(filled, k_buffer, 0.0), torch.where(filled, v_buffer, 0.0)
    mask = torch.ones(q.shape[2], n_ctx, dtype=torch.bool).tril(length - q.shape[2])
    scores = torch.where(mask, q @ k.transpose(2, 3) / q.shape[3] ** 0.5, -torch.inf)
    weights = (scores - scores.logsumexp(-1, keepdim=True)).exp()
    return weights @ v


@alternative("attend_with_cache")
def merged_batches(q, k_buffer, v_buffer, length):
    n_query = q.shape[2]
    k, v = k_buffer[:, :, :length].flatten(0, 1), v_buffer[:, :, :length].flatten(0, 1)
    future = torch.full((n_query, length), -torch.inf).triu(length - n_query + 1)
    scores = torch.baddbmm(future, q.flatten(0, 1), k.transpose(1, 2), alpha=1 / math.sqrt(q.shape[3]))
    return torch.bmm(F.softmax(scores, dim=-1), v).unflatten(0, q.shape[:2])


# --- forward_with_cache -----------------------------------------------------------------------------------------------


@alternative("forward_with_cache")
def block_by_block(tokens, params, n_head, caches):
    past, n_new = len(caches[0]), tokens.shape[1]

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        k, v = caches[layer].view()
        return scaled_dot_product_attention(q, k, v, causal_mask(n_new, past + n_new))

    x = embed_tokens(tokens, params["wte.weight"], params["wpe.weight"], past)
    for layer in range(len(caches)):
        x = transformer_block(x, {key: params[f"h.{layer}.{key}"] for key in BLOCK_KEYS}, n_head, attend, layer)
    return layer_norm(x, params["ln_f.weight"], params["ln_f.bias"]) @ params["wte.weight"].T


@alternative("forward_with_cache")
def torch_functions_only(tokens, params, n_head, caches):
    (batch, n_new), past = tokens.shape, len(caches[0])
    n_ctx, d_model = params["wpe.weight"].shape
    if past + n_new > n_ctx:
        raise ValueError(f"{past + n_new} positions do not fit into {n_ctx}")
    x = params["wte.weight"][tokens] + params["wpe.weight"][past : past + n_new]
    for i, cache in enumerate(caches):

        def linear(x, name, prefix=f"h.{i}."):
            return F.linear(x, params[f"{prefix}{name}.weight"], params[f"{prefix}{name}.bias"])

        def norm(x, name, prefix=f"h.{i}."):
            return F.layer_norm(x, (d_model,), params[f"{prefix}{name}.weight"], params[f"{prefix}{name}.bias"])

        qkv = linear(norm(x, "ln_1"), "attn.c_attn").view(batch, n_new, 3, n_head, d_model // n_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        cache.append(k, v)
        bias = causal_lower_right(n_new, past + n_new)
        heads = F.scaled_dot_product_attention(q, *cache.view(), attn_mask=bias)
        x = x + linear(heads.transpose(1, 2).reshape(batch, n_new, d_model), "attn.c_proj")
        x = x + linear(F.gelu(linear(norm(x, "ln_2"), "mlp.c_fc"), approximate="tanh"), "mlp.c_proj")
    x = F.layer_norm(x, (d_model,), params["ln_f.weight"], params["ln_f.bias"])
    return F.linear(x, params["wte.weight"])


@alternative("forward_with_cache")
def one_token_at_a_time(tokens, params, n_head, caches):
    if len(caches[0]) + tokens.shape[1] > len(params["wpe.weight"]):
        raise ValueError("past the context")

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        return F.scaled_dot_product_attention(q, *caches[layer].view())

    steps = []
    for token in tokens.T:
        steps.append(gpt_forward(token[:, None], params, n_head, first_position=len(caches[0]), attend=attend))
    return torch.cat(steps, dim=1)


@alternative("forward_with_cache")
def undone_after_an_error(tokens, params, n_head, caches):
    before = [len(cache) for cache in caches]
    n_ctx, n_new = params["wpe.weight"].shape[0], tokens.shape[1]

    def attend(layer, q, k, v):
        held = len(caches[layer])
        caches[layer].append(k, v)
        if held + n_new > n_ctx:
            raise ValueError("past the context")
        k, v = caches[layer].view()
        query, key = torch.arange(held, held + n_new), torch.arange(held + n_new)
        return scaled_dot_product_attention(q, k, v, key[None, :] <= query[:, None])

    positions = torch.arange(before[0], before[0] + n_new).clamp(max=n_ctx - 1)
    placed = {**params, "wpe.weight": params["wpe.weight"][positions]}
    try:
        return gpt_forward(tokens, placed, n_head, attend=attend)
    except ValueError:
        for cache, length in zip(caches, before, strict=True):
            cache.crop(length)
        raise


@alternative("forward_with_cache")
def in_float64_inside(tokens, params, n_head, caches):
    dtype = params["wte.weight"].dtype

    def attend(layer, q, k, v):
        past_k, past_v = caches[layer].view()
        k_all, v_all = torch.cat([past_k.double(), k], dim=2), torch.cat([past_v.double(), v], dim=2)
        caches[layer].append(k.to(dtype), v.to(dtype))
        return scaled_dot_product_attention(q, k_all, v_all, causal_mask(q.shape[2], k_all.shape[2]))

    wide = {name: tensor.double() for name, tensor in params.items()}
    return gpt_forward(tokens, wide, n_head, first_position=len(caches[-1]), attend=attend).to(dtype)


@alternative("forward_with_cache")
def past_and_present_apart(tokens, params, n_head, caches):
    past, n_new = len(caches[0]), tokens.shape[1]
    x = embed_tokens(tokens, params["wte.weight"], params["wpe.weight"], past)
    for layer, cache in enumerate(caches):
        p = {key: params[f"h.{layer}.{key}"] for key in BLOCK_KEYS}
        qkv = layer_norm(x, p["ln_1.weight"], p["ln_1.bias"]) @ p["attn.c_attn.weight"].mT + p["attn.c_attn.bias"]
        q, k, v = (split_heads(part, n_head) for part in qkv.tensor_split(3, dim=-1))
        old_k, old_v = cache.view()
        old_scores = q @ old_k.mT
        new_scores = (q @ k.mT).masked_fill(~causal_mask(n_new, n_new), -torch.inf)
        weights = (torch.cat([old_scores, new_scores], dim=-1) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        heads = weights[..., :past] @ old_v + weights[..., past:] @ v
        cache.append(k, v)
        x = x + F.linear(merge_heads(heads), p["attn.c_proj.weight"], p["attn.c_proj.bias"])
        h = F.linear(layer_norm(x, p["ln_2.weight"], p["ln_2.bias"]), p["mlp.c_fc.weight"], p["mlp.c_fc.bias"])
        x = x + F.linear(F.gelu(h, approximate="tanh"), p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])
    return F.linear(layer_norm(x, params["ln_f.weight"], params["ln_f.bias"]), params["wte.weight"])


# --- generate ---------------------------------------------------------------------------------------------------------


@alternative("generate")
def prompt_token_by_token(forward, prompt, n_new):
    if n_new == 0:
        return prompt.clone()
    for token in prompt.split(1, dim=1):
        logits = forward(token)
    columns = [prompt]
    while True:
        columns.append(logits.argmax(dim=-1))
        if len(columns) > n_new:
            return torch.cat(columns, dim=1)
        logits = forward(columns[-1])


@alternative("generate")
def preallocated(forward, prompt, n_new):
    batch, n_prompt = prompt.shape
    sequence = torch.zeros(batch, n_prompt + n_new, dtype=prompt.dtype)
    sequence[:, :n_prompt] = prompt
    start = 0
    for end in range(n_prompt, n_prompt + n_new):
        sequence[:, end] = forward(sequence[:, start:end])[:, -1, :].max(dim=-1).indices
        start = end
    return sequence


@alternative("generate")
def prompt_in_two_pieces(forward, prompt, n_new):
    generated = []
    for i in range(n_new):
        if i == 0:
            middle = prompt.shape[1] // 2
            if middle:
                forward(prompt[:, :middle])
            logits = forward(prompt[:, middle:])
        else:
            logits = forward(generated[-1][:, None])
        generated.append(torch.softmax(logits[:, -1].double(), dim=-1).argmax(-1))
    return torch.stack([*prompt.unbind(1), *generated], dim=1)


@alternative("generate")
def recursive(forward, prompt, n_new):
    def continued(tokens, left):
        if left == 0:
            return tokens[:, :0]
        best = forward(tokens)[:, -1].topk(1).indices
        return torch.cat([best, continued(best, left - 1)], dim=1)

    return torch.cat([prompt, continued(prompt, n_new)], dim=1)


@alternative("generate")
def rows_of_python_integers(forward, prompt, n_new):
    rows = prompt.tolist()
    unseen = [list(row) for row in rows]
    for _ in range(n_new):
        last = forward(torch.tensor(unseen))[:, -1].tolist()
        unseen = [[max(range(len(logits)), key=logits.__getitem__)] for logits in last]
        for row, new in zip(rows, unseen, strict=True):
            row.extend(new)
    return torch.tensor(rows)
