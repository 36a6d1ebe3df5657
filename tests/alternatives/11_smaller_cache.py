"""Right, and written differently: all of these must be accepted."""

import math
from collections import deque

import numpy as np
import torch

from gptdojo import alternative
from reference.attention import scaled_dot_product_attention

# --- repeat_kv --------------------------------------------------------------------------------------------------------


@alternative("repeat_kv")
def expanded_and_joined(x, n_repeat):
    batch, n_kv_head, n_position, d_head = x.shape
    copies = x[:, :, None].expand(batch, n_kv_head, n_repeat, n_position, d_head)
    return copies.reshape(batch, n_kv_head * n_repeat, n_position, d_head)


@alternative("repeat_kv")
def by_index(x, n_repeat):
    return x[:, torch.arange(x.shape[1] * n_repeat) // n_repeat]


@alternative("repeat_kv")
def head_by_head(x, n_repeat):
    heads = []
    for head in x.unbind(dim=1):
        heads += [head] * n_repeat
    return torch.stack(heads, dim=1)


@alternative("repeat_kv")
def tiled_and_reordered(x, n_repeat):
    tiled = x.repeat(1, n_repeat, 1, 1).unflatten(1, (n_repeat, x.size(1)))
    return tiled.transpose(1, 2).flatten(1, 2)


@alternative("repeat_kv")
def product_with_ones(x, n_repeat):
    return torch.einsum("bhtd,r->bhrtd", x, torch.ones(n_repeat, dtype=x.dtype)).flatten(1, 2)


@alternative("repeat_kv")
def filled_into_an_empty_tensor(x, n_repeat):
    result = torch.empty(x.shape[0], x.shape[1] * n_repeat, *x.shape[2:], dtype=x.dtype)
    for copy in range(n_repeat):
        result[:, copy::n_repeat] = x
    return result


@alternative("repeat_kv")
def by_numpy(x, n_repeat):
    return torch.from_numpy(np.repeat(x.numpy(), n_repeat, axis=1))


# --- grouped_query_attention ------------------------------------------------------------------------------------------


@alternative("grouped_query_attention")
def group_as_an_axis(q, k, v, mask):
    batch, n_head, n_query, d_head = q.shape
    n_kv_head, n_key = k.shape[1:3]
    q = q.reshape(batch, n_kv_head, n_head // n_kv_head, n_query, d_head)
    scores = q @ k[:, :, None].mT / math.sqrt(d_head)
    if mask is not None:
        mask = mask.broadcast_to(batch, n_head, n_query, n_key).reshape(scores.shape)
        scores = scores.masked_fill(~mask, -torch.inf)
    return (scores.softmax(dim=-1) @ v[:, :, None]).flatten(1, 2)


@alternative("grouped_query_attention")
def einsum_over_groups(q, k, v, mask):
    group = q.shape[1] // k.shape[1]
    q = q.unflatten(1, (k.shape[1], group))
    scores = torch.einsum("bhgqd,bhkd->bhgqk", q, k).flatten(1, 2) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = torch.where(mask, scores, -torch.inf)
    weights = scores.softmax(-1).unflatten(1, (k.shape[1], group))
    return torch.einsum("bhgqk,bhkv->bhgqv", weights, v).flatten(1, 2)


@alternative("grouped_query_attention")
def group_joined_with_the_queries(q, k, v, mask):
    batch, n_head, n_query, d_head = q.shape
    n_kv_head, n_key = k.shape[1], k.shape[2]
    rows = n_head // n_kv_head * n_query
    if mask is not None:
        mask = mask.expand(batch, n_head, n_query, n_key).reshape(batch, n_kv_head, rows, n_key)
    out = scaled_dot_product_attention(q.reshape(batch, n_kv_head, rows, d_head), k, v, mask)
    return out.reshape(batch, n_head, n_query, v.shape[-1])


@alternative("grouped_query_attention")
def one_query_head_at_a_time(q, k, v, mask):
    outputs = []
    for head in range(q.shape[1]):
        shared = head * k.shape[1] // q.shape[1]
        scores = q[:, head] @ k[:, shared].transpose(1, 2) / q.shape[3] ** 0.5
        if mask is not None:
            allowed = mask.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])[:, head]
            scores[~allowed] = -1e30
        weights = (scores - scores.logsumexp(-1, keepdim=True)).exp()
        outputs.append(weights @ v[:, shared])
    return torch.stack(outputs, dim=1)


@alternative("grouped_query_attention")
def one_group_at_a_time(q, k, v, mask):
    group = q.size(1) // k.size(1)
    full = None if mask is None else mask.expand(*q.shape[:3], k.shape[2])
    outputs = []
    for i, heads in enumerate(q.split(group, dim=1)):
        part = None if full is None else full[:, i * group : (i + 1) * group]
        outputs.append(scaled_dot_product_attention(heads, k[:, i : i + 1], v[:, i : i + 1], part))
    return torch.cat(outputs, dim=1)


@alternative("grouped_query_attention")
def repeated_in_float64(q, k, v, mask):
    index = torch.arange(q.shape[1]).div(q.shape[1] // k.shape[1], rounding_mode="floor")
    scores = q.double() @ k[:, index].double().transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -torch.inf)
    return (scores.softmax(-1) @ v[:, index].double()).to(q.dtype)


# --- RollingCache -----------------------------------------------------------------------------------------------------


@alternative("RollingCache")
class Concatenated:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.window = window
        self.k = torch.empty(batch, n_head, 0, d_head, dtype=dtype)
        self.v = self.k
        self.position = 0

    def append(self, k, v):
        self.k = torch.cat((self.k, k), 2)[:, :, -self.window :]
        self.v = torch.cat((self.v, v), 2)[:, :, -self.window :]
        self.position += k.shape[2]

    def view(self):
        return self.k, self.v

    def crop(self, length):
        keep = self.k.shape[2] - (self.position - length)
        if keep < min(length, self.window - 1):
            raise ValueError("forgotten")
        self.k, self.v, self.position = self.k[:, :, :keep], self.v[:, :, :keep], length

    def reset(self):
        self.k, self.v, self.position = self.k[:, :, :0], self.v[:, :, :0], 0

    def __len__(self):
        return self.position


@alternative("RollingCache")
class DequeOfPositions:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.held = deque(maxlen=window)
        self.nothing = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.next_position = 0

    def append(self, k, v):
        for pair in zip(k.clone().unbind(2), v.clone().unbind(2), strict=True):
            self.held.append(pair)
            self.next_position += 1

    def view(self):
        if not self.held:
            return self.nothing, self.nothing
        return tuple(torch.stack(part, dim=2) for part in zip(*self.held, strict=True))

    def crop(self, length):
        back = self.next_position - length
        needed = min(length, self.held.maxlen - 1)
        if len(self.held) - back < needed:
            raise IndexError("the window of the next token is not complete")
        for _ in range(back):
            self.held.pop()
        self.next_position = length

    def reset(self):
        self.held.clear()
        self.next_position = 0

    def __len__(self):
        return self.next_position


@alternative("RollingCache")
class RingWithPositions:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.buffer = torch.full((2, batch, n_head, window, d_head), torch.nan, dtype=dtype)
        self.positions = torch.full((window,), -1)
        self.count = 0

    def append(self, k, v):
        window = len(self.positions)
        for i in range(k.shape[2]):
            slot = self.count % window
            self.buffer[0, :, :, slot] = k[:, :, i]
            self.buffer[1, :, :, slot] = v[:, :, i]
            self.positions[slot] = self.count
            self.count += 1

    def view(self):
        filled = (self.positions >= 0).nonzero().flatten()
        slots = filled[self.positions[filled].argsort()]
        return self.buffer[0][:, :, slots], self.buffer[1][:, :, slots]

    def crop(self, length):
        needed = range(max(0, length - len(self.positions) + 1), length)
        if not set(needed) <= set(self.positions.tolist()):
            raise ValueError(f"positions {list(needed)} are needed")
        self.positions[self.positions >= length] = -1
        self.count = length

    def reset(self):
        self.positions.fill_(-1)
        self.count = 0

    def __len__(self):
        return self.count


@alternative("RollingCache")
class RolledIntoPlace:
    def __init__(self, batch, n_head, window, d_head, dtype=torch.float32):
        self.k = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.v = torch.zeros(batch, n_head, window, d_head, dtype=dtype)
        self.window, self.n_held, self.seen = window, 0, 0

    def append(self, k, v):
        n = min(k.shape[2], self.window)
        for buffer, new in ((self.k, k), (self.v, v)):
            buffer.copy_(buffer.roll(-n, dims=2))
            buffer[:, :, self.window - n :] = new[:, :, new.shape[2] - n :]
        self.n_held = min(self.n_held + k.shape[2], self.window)
        self.seen += k.shape[2]

    def view(self):
        start = self.window - self.n_held
        return self.k[:, :, start:].clone(), self.v[:, :, start:].clone()

    def crop(self, length):
        back = self.seen - length
        left = self.n_held - back
        forgotten = self.seen > self.n_held
        if forgotten and left < self.window - 1:
            raise RuntimeError("cannot go back so far")
        self.k, self.v = self.k.roll(back, dims=2), self.v.roll(back, dims=2)
        self.n_held, self.seen = left, length

    def reset(self):
        self.n_held = self.seen = 0

    def __len__(self):
        return self.seen


# --- quantize_kv ------------------------------------------------------------------------------------------------------


@alternative("quantize_kv")
def tiny_floor_under_the_largest(x, dim=-1):
    largest = x.abs().max(dim=dim, keepdim=True).values.clamp(min=1e-12)
    return torch.round(x * (127 / largest)).to(torch.int8), largest / 127


@alternative("quantize_kv")
def scale_of_one_for_zeros(x, dim=-1):
    largest = torch.maximum(x.amax(dim, keepdim=True), -x.amin(dim, keepdim=True))
    scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return (x / scale).round().clamp(-128, 127).char(), scale


@alternative("quantize_kv")
def in_float64(x, dim=-1):
    scale = x.double().abs().amax(dim=dim, keepdim=True) / 127
    steps = torch.nan_to_num(x.double() / scale, nan=0.0)
    return torch.floor(steps + 0.5).to(torch.int8), scale.to(x.dtype)


@alternative("quantize_kv")
def dimension_moved_to_the_end(x, dim=-1):
    moved = x.movedim(dim, -1)
    scale = torch.linalg.vector_norm(moved, ord=float("inf"), dim=-1, keepdim=True) / 127
    numbers = torch.zeros(moved.shape, dtype=torch.int8)
    filled = (scale > 0).expand_as(moved)
    numbers[filled] = (moved / scale)[filled].round().to(torch.int8)
    return numbers.movedim(-1, dim), scale.movedim(-1, dim)


@alternative("quantize_kv")
def rounded_by_sign(x, dim=-1):
    scale = x.abs().amax(dim=dim, keepdim=True).div(127)
    magnitude = (x.abs() / (scale + 1e-30) + 0.5).to(torch.int8)
    return magnitude.clamp(max=127) * x.sign().to(torch.int8), scale


# --- dequantize_kv ----------------------------------------------------------------------------------------------------


@alternative("dequantize_kv")
def by_promotion(numbers, scale):
    return numbers * scale


@alternative("dequantize_kv")
def in_float64_inside(numbers, scale):
    return (numbers.double() * scale.double()).to(scale.dtype)


@alternative("dequantize_kv")
def number_by_number(numbers, scale):
    wide = scale.expand(numbers.shape)
    products = [int(n) * s for n, s in zip(numbers.flatten().tolist(), wide.flatten().tolist(), strict=True)]
    return torch.tensor(products, dtype=scale.dtype).reshape(numbers.shape)


@alternative("dequantize_kv")
def into_an_own_tensor(numbers, scale):
    result = scale.expand(numbers.shape).clone()
    result *= numbers
    return result
