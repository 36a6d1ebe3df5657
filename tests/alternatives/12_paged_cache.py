"""Right, and written differently: all of these must be accepted."""

import math
from collections import Counter, deque

import torch
import torch.nn.functional as F

from gptdojo import alternative

# --- BlockAllocator ---------------------------------------------------------------------------------------------------


@alternative("BlockAllocator")
class CountsOnly:
    def __init__(self, n_block):
        self.users = torch.zeros(n_block, dtype=torch.long)

    def n_free(self):
        return int((self.users == 0).sum())

    def count(self, block):
        return self.users[block].item()

    def allocate(self):
        (free,) = torch.nonzero(self.users == 0, as_tuple=True)
        block = free[0].item()  # IndexError when none is free
        self.users[block] = 1
        return block

    def fork(self, block):
        self._check(block)
        self.users[block] += 1

    def free(self, block):
        self._check(block)
        self.users[block] -= 1

    def _check(self, block):
        if block < 0 or self.users[block] == 0:
            raise KeyError(block)


@alternative("BlockAllocator")
class OldestFirst:
    def __init__(self, n_block):
        self.queue = deque(range(n_block))
        self.in_use = {}

    def n_free(self):
        return len(self.queue)

    def count(self, block):
        return self.in_use.get(block, 0)

    def allocate(self):
        block = self.queue.popleft()
        self.in_use[block] = 1
        return block

    def fork(self, block):
        self.in_use[block] = self.in_use[block] + 1

    def free(self, block):
        left = self.in_use[block] - 1
        if left:
            self.in_use[block] = left
        else:
            del self.in_use[block]
            self.queue.append(block)


@alternative("BlockAllocator")
class OneEntryAUse:
    def __init__(self, n_block):
        self.everything = frozenset(range(n_block))
        self.uses = []

    def n_free(self):
        return len(self.everything.difference(self.uses))

    def count(self, block):
        return self.uses.count(block)

    def allocate(self):
        block = max(self.everything.difference(self.uses))
        self.uses.append(block)
        return block

    def fork(self, block):
        if block not in self.uses:
            raise RuntimeError(f"{block} is free")
        self.uses.append(block)

    def free(self, block):
        self.uses.remove(block)


@alternative("BlockAllocator")
class CounterAndSet:
    def __init__(self, n_block):
        self.unused, self.counts = set(range(n_block)), Counter()

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        block = self.unused.pop()
        self.counts.update([block])
        return block

    def fork(self, block):
        assert self.counts[block] > 0, "nobody uses it"
        self.counts.update([block])

    def free(self, block):
        assert self.counts[block] > 0, "nobody uses it"
        self.counts.subtract([block])
        if not self.counts[block]:
            self.unused.add(block)


# --- append_paged -----------------------------------------------------------------------------------------------------


@alternative("append_paged")
def blocks_first(pool, allocator, table, length, k, v):
    size = pool.block_size()
    n_new = k.shape[1]
    mine = table[:]
    if length % size and allocator.count(mine[-1]) != 1:
        shared = mine.pop()
        mine.append(allocator.allocate())
        pool.copy(shared, mine[-1])
        allocator.free(shared)
    while len(mine) * size < length + n_new:
        mine.append(allocator.allocate())
    for i, (key, value) in enumerate(zip(k.unbind(1), v.unbind(1), strict=True), start=length):
        pool.write(mine[i // size], i % size, key, value)
    return mine


@alternative("append_paged")
def block_by_block(pool, allocator, table, length, k, v):
    size, end, start = pool.block_size(), length + k.size(1), length
    blocks = tuple(table)
    while start < end:
        stop = min(end, (start // size + 1) * size)
        if start % size == 0:
            blocks = (*blocks, allocator.allocate())
        elif allocator.count(blocks[-1]) > 1:
            fresh = allocator.allocate()
            pool.copy(blocks[-1], fresh)
            allocator.free(blocks[-1])
            blocks = (*blocks[:-1], fresh)
        for position in range(start, stop):
            pool.write(blocks[-1], position - start // size * size, k[:, position - length], v[:, position - length])
        start = stop
    return list(blocks)


@alternative("append_paged")
def one_position_at_a_time(pool, allocator, table, length, k, v):
    if k.shape[1] == 0:
        return table
    size = pool.block_size()
    entry = length // size
    if entry == len(table):
        table = table + [allocator.allocate()]  # noqa: RUF005
    elif allocator.count(table[entry]) >= 2:
        old = table[entry]
        new = allocator.allocate()
        pool.copy(old, new)
        table = table[:entry] + [new]  # noqa: RUF005
        allocator.free(old)
    pool.write(table[entry], length - entry * size, k.select(1, 0).clone(), v.select(1, 0).contiguous())
    return one_position_at_a_time(pool, allocator, table, length + 1, k[:, 1:], v[:, 1:])


# --- paged_attention --------------------------------------------------------------------------------------------------


@alternative("paged_attention")
def slot_by_slot(q, k_pool, v_pool, tables, lengths):
    batch, n_head, n_query, d_head = q.shape
    size, group = k_pool.shape[2], n_head // k_pool.shape[1]
    out = torch.empty_like(q)
    for b in range(batch):
        places = [(tables[b][j // size], j % size) for j in range(lengths[b])]
        for h in range(n_head):
            for i in range(n_query):
                seen = places[: lengths[b] - n_query + i + 1]
                k = torch.stack([k_pool[block, h // group, slot] for block, slot in seen])
                v = torch.stack([v_pool[block, h // group, slot] for block, slot in seen])
                out[b, h, i] = torch.softmax(k @ q[b, h, i] / d_head**0.5, dim=0) @ v
    return out


@alternative("paged_attention")
def online_over_blocks(q, k_pool, v_pool, tables, lengths):
    n_query, size = q.shape[2], k_pool.shape[2]
    rows = []
    for queries, table, length in zip(q, tables, lengths, strict=True):
        grouped = queries.unflatten(0, (k_pool.shape[1], -1)) / math.sqrt(q.shape[-1])  # kv_head group query d_head
        highest = grouped.new_full((*grouped.shape[:-1], 1), -1e30)
        total, out = torch.zeros_like(highest), torch.zeros_like(grouped)
        position = torch.arange(length - n_query, length)[:, None]
        for number, block in enumerate(table):
            start, stop = number * size, min(length, (number + 1) * size)
            k, v = (pool[block, :, : stop - start].unsqueeze(1) for pool in (k_pool, v_pool))
            scores = grouped @ k.mT
            hidden = torch.arange(start, stop) > position
            scores = scores.masked_fill(hidden, -1e30)
            above = torch.maximum(highest, scores.amax(-1, keepdim=True))
            weights = (scores - above).exp().masked_fill(hidden, 0.0)
            shrink = (highest - above).exp()
            total, out, highest = total * shrink + weights.sum(-1, keepdim=True), out * shrink + weights @ v, above
        rows.append((out / total).flatten(0, 1))
    return torch.stack(rows)


@alternative("paged_attention")
def padded_batch(q, k_pool, v_pool, tables, lengths):
    width = max(len(table) for table in tables)
    index = torch.tensor([table + [0] * (width - len(table)) for table in tables])
    ends = torch.tensor(lengths)[:, None, None, None]
    k, v = (pool[index].permute(0, 2, 1, 3, 4).flatten(2, 3) for pool in (k_pool, v_pool))
    key = torch.arange(k.shape[2])
    k, v = (x.masked_fill((key[:, None] >= ends), 0.0) for x in (k, v))
    query = ends - q.shape[2] + torch.arange(q.shape[2])[:, None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=key <= query, enable_gqa=True)


@alternative("paged_attention")
def flat_slots_in_float64(q, k_pool, v_pool, tables, lengths):
    size, n_head, n_query = k_pool.shape[2], q.shape[1], q.shape[2]
    flat_k, flat_v = (pool.double().transpose(1, 2).reshape(-1, *pool.shape[1::2]) for pool in (k_pool, v_pool))
    rows = []
    for b in range(len(tables)):
        position = torch.arange(lengths[b])
        slot = torch.as_tensor(tables[b])[position // size] * size + position % size
        k, v = (flat.index_select(0, slot).repeat_interleave(n_head // k_pool.shape[1], 1) for flat in (flat_k, flat_v))
        scores = torch.einsum("hqd,khd->hqk", q[b].double(), k) * q.shape[-1] ** -0.5
        late = position[None] - position[-n_query:, None] > 0
        scores[:, late] = -math.inf
        rows.append(torch.einsum("hqk,khd->hqd", scores.softmax(-1), v))
    return torch.stack(rows).to(q.dtype)
