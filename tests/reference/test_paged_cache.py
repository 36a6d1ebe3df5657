import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reference.paged_cache import BlockAllocator, PagedCache, append_paged, paged_attention
from reference.smaller_cache import grouped_causal

EXACT = {"rtol": 1e-9, "atol": 1e-9}


class Sequences(RuleBasedStateMachine):
    """Sequences that fork, grow and end, beside plain lists of what each should hold; freed blocks are poisoned."""

    def __init__(self):
        super().__init__()
        self.pool = PagedCache(4, 1, 9, 1, torch.float64, block_size=3)  # 12 blocks
        self.sequences = []  # (table, the numbers held)
        self.next = 1.0

    def gather(self, table, length):
        return [self.pool._k[table[i // 3], 0, i % 3, 0].item() for i in range(length)]

    @rule()
    def start(self):
        self.sequences.append(([], []))

    @precondition(lambda self: self.sequences)
    @rule(data=st.data(), n=st.integers(1, 5))
    def append(self, data, n):
        index = data.draw(st.integers(0, len(self.sequences) - 1))
        table, held = self.sequences[index]
        shared = bool(len(held) % 3) and self.pool.allocator.count(table[-1]) > 1
        needed = -(-(len(held) + n) // 3) - len(table) + shared
        if needed > self.pool.allocator.n_free():
            return
        numbers = [self.next + i for i in range(n)]
        self.next += n
        k = torch.tensor(numbers, dtype=torch.float64).view(1, n, 1)
        table = append_paged(self.pool, self.pool.allocator, table, len(held), k, -k)
        self.sequences[index] = (table, held + numbers)

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def fork(self, data):
        table, held = data.draw(st.sampled_from(self.sequences))
        for block in table:
            self.pool.allocator.fork(block)
        self.sequences.append((list(table), list(held)))

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def end(self, data):
        table, _ = self.sequences.pop(data.draw(st.integers(0, len(self.sequences) - 1)))
        for block in table:
            self.pool.allocator.free(block)
            if self.pool.allocator.count(block) == 0:
                self.pool._k[block] = math.nan

    @invariant()
    def counts_are_the_uses_and_nothing_is_lost(self):
        uses = [block for table, _ in self.sequences for block in table]
        assert all(self.pool.allocator.count(block) == uses.count(block) for block in range(12))
        assert self.pool.allocator.n_free() == 12 - len(set(uses))
        for table, held in self.sequences:
            assert self.gather(table, len(held)) == held


Sequences.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestSequences = Sequences.TestCase


def test_blocks_run_out_and_none_is_freed_twice():
    allocator = BlockAllocator(2)
    blocks = [allocator.allocate(), allocator.allocate()]
    assert sorted(blocks) == [0, 1]
    with pytest.raises(MemoryError, match="all 2 blocks are in use"):
        allocator.allocate()
    allocator.fork(0)
    allocator.free(0)
    assert allocator.n_free() == 0
    allocator.free(0)
    assert allocator.n_free() == 1
    for call in (allocator.free, allocator.fork):
        for block in (0, 2, -1):
            with pytest.raises(ValueError, match=f"block in use, got {block}"):
                call(block)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 3))
def test_paged_attention_equals_contiguous_for_every_block_size_and_ragged_rows(draw, seed, size, lengths, n_query):
    n_query = min(n_query, *lengths)
    pool = PagedCache(len(lengths), 2, 9, 4, torch.float64, block_size=size)
    pool._k.fill_(math.nan)  # whatever is not written is poison
    pool._v.fill_(math.nan)
    q = draw(seed, len(lengths), 6, n_query, 4)
    tables, expected = [], []
    for row, length in enumerate(lengths):
        k, v = draw(seed + 2 * row + 1, 2, length, 4), draw(seed + 2 * row + 2, 2, length, 4)
        table = append_paged(pool, pool.allocator, [], 0, k[:, :1], v[:, :1])
        tables.append(append_paged(pool, pool.allocator, table, 1, k[:, 1:], v[:, 1:]))
        expected.append(grouped_causal()(0, q[row : row + 1], k[None], v[None]))
    got = paged_attention(q, pool._k, pool._v, tables, lengths)
    torch.testing.assert_close(got, torch.cat(expected), **EXACT)


def test_rows_share_blocks_until_they_differ_and_give_them_back(draw):
    cache = PagedCache(3, 2, 12, 4, torch.float64, block_size=4)
    k = draw(0, 3, 2, 6, 4)
    cache.append(k, k)
    assert cache.allocator.n_free() == 9 - 6
    cache.reorder(torch.tensor([1, 1, 1]))
    assert cache.allocator.n_free() == 9 - 2
    assert cache.tables[0] == cache.tables[1] == cache.tables[2]
    more = draw(1, 3, 2, 1, 4)
    cache.append(more, more)
    assert cache.allocator.n_free() == 9 - 4  # the full block is still shared, the other one was copied
    assert len({table[0] for table in cache.tables}) == 1
    assert cache.view()[0].equal(torch.cat([k[[1, 1, 1]], more], dim=2))
    cache.crop(4)
    assert cache.allocator.n_free() == 9 - 1
    cache.reset()
    assert cache.allocator.n_free() == 9
