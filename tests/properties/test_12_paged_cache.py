"""How a right block allocator, append into blocks and attention through a block table are told from wrong ones."""

import torch
from hypothesis import given, strategies as st
from hypothesis.stateful import initialize, invariant, rule
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect, expect_raised, expect_reference
from gptdojo.faults import LearnerError, Mismatch
from gptdojo.stateful import History, Machine, stateful
from gptdojo.strategies import Values, values
from reference.paged_cache import paged_attention as attended
from tests.strategies.paged import Store

# --- BlockAllocator ---------------------------------------------------------------------------------------------------


class AllocatorBesideCounts(History):
    """A learner's allocator beside the counts that it should have; any block may be tried, those of no pool too."""

    counts: list[int]
    last = 0

    def start(self, n_block: int, name: str = "allocator") -> None:
        """Build an allocator, which is the one that is called from here on."""
        self.counts, self.name = [0] * n_block, name
        self.allocator = self.call(f"{name} = BlockAllocator({n_block})", self.impl, n_block)

    def allocate(self) -> int | None:
        """Allocate; from a pool without a free block that has to be an error."""
        n_block, free = len(self.counts), self.counts.count(0)
        if free == 0:
            because = f"all {n_block} blocks are in use"
            self.refused(Exception, f"{self.name}.allocate()", self.allocator.allocate, because=because)
            return None
        try:
            block = self.call(f"{self.name}.allocate()", self.allocator.allocate)
        except LearnerError as error:
            if "NotImplementedError" in error.types:
                raise
            message = f"allocate() raised {error.types[0]} though {free} of {n_block} blocks are free"
            raise Mismatch(message, error.evidence) from error
        known = type(block) is int and 0 <= block < n_block
        message = f"allocate() has to return the number of a block, 0 to {n_block - 1}"
        expect(known, message, expected="an integer", got=block)
        message = f"allocate() returned block {block}, which is in use"
        expect(self.counts[block] == 0, message, expected=f"one of {self.unused()}", got=block)
        self.counts[block] = 1
        self.last = block
        return block

    def fork(self, block: int) -> None:
        """One more use of a block; an error if there is none yet."""
        self._change("fork", block, 1)

    def free(self, block: int) -> None:
        """One use less; an error if there is none."""
        self._change("free", block, -1)

    def unused(self) -> list[int]:
        """The free blocks."""
        return [block for block, count in enumerate(self.counts) if count == 0]

    def _change(self, name: str, block: int, change: int) -> None:
        line, method = f"{self.name}.{name}({block})", getattr(self.allocator, name)
        exists = 0 <= block < len(self.counts)
        if not exists or self.counts[block] == 0:
            because = f"nobody uses block {block}" if exists else f"there is no block {block}"
            self.refused(Exception, line, method, block, because=because)
        else:
            self.call(line, method, block)
            self.counts[block] += change
            self.last = block

    def check(self, blocks: list[int]) -> None:
        """Compare the number of free blocks, and the counts of some."""
        got, expected = self.allocator.n_free(), self.counts.count(0)
        expect(got == expected, f"n_free() is {got}, expected {expected}", expected=expected, got=got)
        for block in blocks:
            got, expected = self.allocator.count(block), self.counts[block]
            message = f"count({block}) is {got}, expected {expected}"
            expect(got == expected, message, expected=expected, got=got)


class AnyCalls(AllocatorBesideCounts, Machine):
    """The calls in any order, mostly on blocks that are in use."""

    @initialize(n_block=st.integers(1, 3))
    def start(self, n_block):
        """Build the allocator."""
        super().start(n_block)

    # one rule for all calls: of several, Hypothesis leaves some out of each history
    @rule(name=st.sampled_from(["allocate", "fork", "free", "anything"]), number=st.integers(0, 2))
    def step(self, name, number):
        """Allocate; fork or free a block that is in use (0 where none is); free any block, in use or not."""
        if name == "allocate":
            self.allocate()
        elif name == "fork":
            self.fork(self._in_use(number))
        else:
            self.free(self._in_use(number) if name == "free" else number)

    def _in_use(self, number: int) -> int:
        used = [block for block, count in enumerate(self.counts) if count]
        return used[number % len(used)] if used else 0

    @invariant()
    def counted(self):
        """Whatever was called."""
        if self.calls:
            self.check([self.last])


def allocators() -> st.SearchStrategy[int]:
    """How many blocks a pool has."""
    return st.integers(2, 5)


@claim("BlockAllocator", rung=1, examples=6)
@given(n_block=allocators())
def test_BlockAllocator_every_block_once(impl, n_block):
    """As many allocations as there are blocks return each number from 0 to n_block - 1 once."""
    with AllocatorBesideCounts(impl) as story:
        story.start(n_block)
        for _ in range(n_block):
            story.allocate()


@claim("BlockAllocator", rung=2, examples=6)
@given(n_block=allocators())
def test_BlockAllocator_counts(impl, n_block):
    """A block is counted once when it was allocated, and not at all before; n_free() goes down by one each time."""
    with AllocatorBesideCounts(impl) as story:
        story.start(n_block)
        story.check(list(range(n_block)))
        for _ in range(n_block):
            story.allocate()
            story.check(list(range(n_block)))


@claim("BlockAllocator", rung=3, examples=6)
@given(n_block=allocators())
def test_BlockAllocator_none_left(impl, n_block):
    """Allocating when every block is in use is an error, and changes nothing."""
    with AllocatorBesideCounts(impl) as story:
        story.start(n_block)
        for _ in range(n_block + 2):
            story.allocate()
            story.check([story.last])


@claim("BlockAllocator", rung=4, examples=8)
@given(n_block=allocators(), v=values())
def test_BlockAllocator_freed_blocks_come_again(impl, n_block, v):
    """A block that was freed is not counted any more and can be allocated again, in whatever order they were freed."""
    with AllocatorBesideCounts(impl) as story:
        story.start(n_block)
        for _ in range(n_block):
            story.allocate()
        for block in v.permutation(n_block).tolist()[: n_block - 1]:
            story.free(block)
            story.check([block])
        for _ in range(n_block - 1):
            story.allocate()
            story.check([story.last])


@claim("BlockAllocator", rung=5, examples=8)
@given(n_block=allocators(), n_fork=st.integers(1, 3))
def test_BlockAllocator_the_last_user_gives_back(impl, n_block, n_fork):
    """A forked block takes no second block, and is free only when all of its users have freed it."""
    with AllocatorBesideCounts(impl) as story:
        story.start(n_block)
        block = story.allocate()
        for _ in range(n_fork):
            story.fork(block)
            story.check([block])
        for _ in range(n_fork + 1):
            story.free(block)
            story.check([block])


@claim("BlockAllocator", rung=6, examples=8)
@given(n_block=allocators(), used=st.booleans())
def test_BlockAllocator_no_double_free(impl, n_block, used):
    """Freeing a block that nobody uses is an error and changes nothing, whether it was used before or never."""
    with AllocatorBesideCounts(impl) as story:
        story.start(n_block)
        block = story.allocate()
        if used:
            story.free(block)
        else:
            block = story.unused()[0]
        story.free(block)
        story.check(list(range(n_block)))


@claim("BlockAllocator", rung=7, examples=8)
@given(n_block=allocators(), used=st.booleans())
def test_BlockAllocator_no_fork_of_a_free_block(impl, n_block, used):
    """Forking a block that nobody uses is an error and changes nothing."""
    with AllocatorBesideCounts(impl) as story:
        story.start(n_block)
        block = story.allocate()
        if used:
            story.free(block)
        else:
            block = story.unused()[0]
        story.fork(block)
        story.check(list(range(n_block)))


@claim("BlockAllocator", rung=8, examples=8)
@given(n_block=allocators(), beyond=st.integers(0, 2), fork=st.booleans())
def test_BlockAllocator_no_such_block(impl, n_block, beyond, fork):
    """Freeing or forking -1, n_block or another number that is no block's is an error and changes nothing."""
    with AllocatorBesideCounts(impl) as story:
        story.start(n_block)
        for _ in range(n_block):
            story.allocate()
        block = (-1, n_block, -n_block)[beyond]
        (story.fork if fork else story.free)(block)
        story.check(list(range(n_block)))


@claim("BlockAllocator", rung=9, examples=6)
@given(n_block=allocators(), other=allocators())
def test_BlockAllocator_two_share_nothing(impl, n_block, other):
    """What happens to one allocator changes no other one."""
    with AllocatorBesideCounts(impl) as story:
        story.start(n_block, "first")
        story.allocate()
        first, counts = story.allocator, story.counts
        story.start(other, "second")
        story.check(list(range(other)))
        story.allocate()
        story.calls.append("first.n_free()")
        story.allocator, story.counts = first, counts
        story.check(list(range(n_block)))


@claim("BlockAllocator", rung=10, examples=30)
@stateful(steps=12)
def test_BlockAllocator_any_history(impl):
    """After any history of calls each block is counted as often as it is used, and blocks are free exactly when nobody uses them."""
    return AnyCalls(impl)


# --- append_paged -----------------------------------------------------------------------------------------------------


def sizes() -> st.SearchStrategy[tuple[int, int]]:
    """n_head and d_head, mostly several."""
    return st.tuples(st.sampled_from([1, 2, 3, 2, 3]), st.integers(2, 3))


def stored(v: Values, size: int, shape: tuple[int, int], length: int) -> Store:
    """Sequence "a" of some length in a pool of 16 blocks, and a bystander."""
    store = Store(v, shape[0], size, shape[1], n_block=16)
    store.start("bystander", size)
    store.start("a", length)
    return store


@claim("append_paged", rung=1, examples=8)
@given(size=st.integers(1, 4), shape=sizes(), v=values())
def test_append_paged_first_position(impl, size, shape, v):
    """The first position of a sequence goes into slot 0 of a block that was allocated for it; the table names this block."""
    store = stored(v, size, shape, 0)
    store.append(impl, "a", 1)


@claim("append_paged", rung=2, examples=8)
@given(size=st.integers(2, 4), filled=st.integers(1, 3), full=st.integers(0, 2), shape=sizes(), v=values())
def test_append_paged_into_the_last_block(impl, size, filled, full, shape, v):
    """While the last block has room the next position is written into it, and no block is needed."""
    store = stored(v, size, shape, full * size + min(filled, size - 1))
    store.keep_free(0)
    store.append(impl, "a", 1)


@claim("append_paged", rung=3, examples=8)
@given(size=st.integers(1, 4), full=st.integers(1, 3), shape=sizes(), v=values())
def test_append_paged_a_new_block_when_the_last_is_full(impl, size, full, shape, v):
    """After a full block one is allocated, when the next position comes and not before."""
    store = stored(v, size, shape, full * size)
    store.keep_free(1)
    store.append(impl, "a", 1)


@claim("append_paged", rung=4, examples=12)
@given(size=st.integers(1, 4), length=st.integers(0, 6), n_new=st.integers(2, 7), shape=sizes(), v=values())
def test_append_paged_many_positions(impl, size, length, n_new, shape, v):
    """Any number of positions at a time, across blocks, each in its slot, and no block more than they take."""
    store = stored(v, size, shape, length)
    store.keep_free(store.needed("a", n_new))
    store.append(impl, "a", n_new)


@claim("append_paged", rung=5, examples=8)
@given(size=st.integers(1, 4), full=st.integers(1, 3), n_new=st.integers(1, 3), shape=sizes(), v=values())
def test_append_paged_full_blocks_stay_shared(impl, size, full, n_new, shape, v):
    """A forked sequence whose blocks are all full goes on in a new block; nothing is copied, the full blocks stay shared."""
    store = stored(v, size, shape, full * size)
    store.fork("a", "b")
    store.keep_free(store.needed("b", n_new))
    store.append(impl, "b", n_new)


@claim("append_paged", rung=6, examples=12)
@given(size=st.integers(2, 4), length=st.integers(1, 7), n_new=st.integers(1, 4), shape=sizes(), v=values())
def test_append_paged_copy_on_write(impl, size, length, n_new, shape, v):
    """In a last block that another sequence uses too, the positions held are copied first, so that the other keeps its own."""
    store = stored(v, size, shape, length + (length % size == 0))
    store.fork("a", "b")
    store.keep_free(store.needed("b", n_new))
    store.append(impl, "b", n_new)


@claim("append_paged", rung=7, examples=8)
@given(size=st.integers(2, 4), full=st.integers(1, 2), filled=st.integers(1, 2), shape=sizes(), v=values())
def test_append_paged_a_fork_of_a_fork(impl, size, full, filled, shape, v):
    """A fork that has gone on can be forked again: whether a block is shared says its own count, not that of the blocks before it."""
    store = stored(v, size, shape, full * size + min(filled, size - 1))
    store.fork("a", "b")
    store.append(impl, "b", size)
    store.fork("b", "c")
    store.append(impl, "c", 1)
    store.append(impl, "b", 1)


@claim("append_paged", rung=8, examples=8)
@given(size=st.integers(1, 3), length=st.integers(0, 5), n_new=st.integers(1, 4), missing=st.integers(1, 2), v=values())
def test_append_paged_no_block_is_free(impl, size, length, n_new, missing, v):
    """When a block is needed and none is free, the error of the allocator reaches the caller."""
    store = stored(v, size, (2, 2), length)
    if store.needed("a", n_new) < missing:
        n_new += size * missing
    store.keep_free(store.needed("a", n_new) - missing)
    inputs = store.inputs("a", n_new) | {"free blocks": store.allocator.n_free()}
    because = f"{store.allocator.n_free()} blocks are free and {store.needed('a', n_new)} would be needed"
    table, k_v = store.sequences["a"].table, store.numbers(n_new)
    arguments = (store.pool, store.allocator, list(table), store.sequences["a"].length, *k_v)
    expect_raised(Exception, lambda: impl(*arguments), inputs=inputs, because=because)


class AnySequences(Machine):
    """Sequences that start, grow, fork and end in one pool. Freed blocks are poisoned with NaN."""

    @initialize(size=st.integers(2, 3), length=st.integers(0, 4), v=values())
    def start(self, size, length, v):
        """A pool and one sequence."""
        self.store = Store(v, 1, size, 2, n_block=12)
        self.names = iter("bcdefghijklmnopqrstuvwxyz")
        self.store.start("a", length)
        self.calls.append(f"a = {self.store.sequences['a'].table}  # {length} positions, blocks of {size}")

    # one rule for all: of several, Hypothesis leaves some out of each history
    @rule(name=st.sampled_from(["append", "fork", "append", "end"]), number=st.integers(0, 3), times=st.integers(1, 2))
    def step(self, name, number, times):
        """Some positions more; more sequences with the same past; or a sequence gives its blocks back (the last one stays)."""
        chosen = list(self.store.sequences)[number % len(self.store.sequences)]
        table = self.store.sequences[chosen].table
        if name == "append":
            self._append(chosen, times)
        elif name == "fork":
            for other in [other for _, other in zip(range(times), self.names, strict=False)]:
                self.calls.append(f"{other} = list({chosen})  # forked: {table}")
                self.store.fork(chosen, other)
        elif len(self.store.sequences) > 1:
            self.calls.append(f"del {chosen}  # freed: {table}")
            self.store.end(chosen)

    def _append(self, name: str, n_new: int) -> None:
        if self.store.needed(name, n_new) > self.store.allocator.n_free():
            return
        new = "k, v" if n_new == 1 else f"k[:, :{n_new}], v[:, :{n_new}]"
        line = f"{name} = append_paged(pool, allocator, {name}, {self.store.sequences[name].length}, {new})"
        self.store.append(self.impl, name, n_new, lambda impl, *args: self.call(line, impl, *args))


@claim("append_paged", rung=9, examples=30)
@stateful(steps=9)
def test_append_paged_any_history(impl):
    """However sequences grow, fork and end, each holds its own positions, and each use of a block is counted once."""
    return AnySequences(impl)


# --- paged_attention --------------------------------------------------------------------------------------------------


def paged_case(
    v: Values, size: int, lengths: list[int], n_query: int, heads: tuple[int, int, int], filler: float = 0.0
) -> tuple[Tensor, Tensor, Tensor, list[list[int]], list[int]]:
    """The arguments of paged_attention: rows in scattered blocks, `filler` in what no row holds. heads: kv_head, group, d_head."""
    n_kv_head, group, d_head = heads
    counts = [-(-length // size) for length in lengths]
    blocks = v.permutation(sum(counts) + 2).tolist()
    k_pool, v_pool = (v.normal(len(blocks), size, n_kv_head, d_head).transpose(1, 2) for _ in range(2))
    tables, start = [], 0
    held = torch.zeros(len(blocks), size, dtype=torch.bool)
    for count, length in zip(counts, lengths, strict=True):
        tables.append(blocks[start : start + count])
        start += count
        for position in range(length):
            held[tables[-1][position // size], position % size] = True
    k_pool, v_pool = (pool.masked_fill(~held[:, None, :, None], filler) for pool in (k_pool, v_pool))
    return v.normal(len(lengths), n_kv_head * group, n_query, d_head), k_pool, v_pool, tables, lengths


def heads(group: int = 1) -> st.SearchStrategy[tuple[int, int, int]]:
    """kv_head, query heads for each of them, d_head; all sizes differ from those of the blocks now and then."""
    return st.tuples(st.sampled_from([2, 3, 1, 2, 3]), st.just(group), st.integers(2, 4))


@claim("paged_attention", rung=1, examples=8)
@given(size=st.integers(2, 4), heads=heads(), v=values())
def test_paged_attention_one_full_block(impl, size, heads, v):
    """One query on one full block attends to it as to any keys and values."""
    expect_reference(impl, attended, *paged_case(v, size, [size], 1, heads), what="the output")


@claim("paged_attention", rung=2, examples=10)
@given(size=st.integers(1, 4), count=st.integers(2, 4), heads=heads(), v=values())
def test_paged_attention_several_blocks(impl, size, count, heads, v):
    """Several full blocks are read, in the order of the table and wherever they lie in the pool."""
    expect_reference(impl, attended, *paged_case(v, size, [count * size], 1, heads), what="the output")


@claim("paged_attention", rung=3, examples=10)
@given(size=st.integers(2, 4), length=st.integers(1, 9), heads=heads(), v=values())
def test_paged_attention_a_part_of_the_last_block(impl, size, length, heads, v):
    """Slots past the length take no share of the attention, though they hold zeros."""
    length += length % size == 0
    expect_reference(impl, attended, *paged_case(v, size, [length], 1, heads), what="the output")


@claim("paged_attention", rung=4, examples=10)
@given(size=st.integers(1, 4), n_query=st.integers(2, 4), past=st.integers(0, 4), heads=heads(), v=values())
def test_paged_attention_several_queries(impl, size, n_query, past, heads, v):
    """Each of several queries sees what came before it, itself, and nothing later: they are the last positions."""
    expect_reference(impl, attended, *paged_case(v, size, [past + n_query], n_query, heads), what="the output")


@claim("paged_attention", rung=5, examples=12)
@given(
    size=st.integers(1, 4),
    n_query=st.integers(1, 3),
    pasts=st.lists(st.integers(0, 6), min_size=2, max_size=3, unique=True),
    heads=heads(),
    v=values(),
)
def test_paged_attention_rows_of_any_length(impl, size, n_query, pasts, heads, v):
    """In a batch each row has its own table and its own length, and its queries are its own last positions."""
    lengths = [past + n_query for past in pasts]
    expect_reference(impl, attended, *paged_case(v, size, lengths, n_query, heads), what="the output")


@claim("paged_attention", rung=6, examples=8)
@given(size=st.integers(1, 4), lengths=st.lists(st.integers(1, 6), min_size=1, max_size=2), heads=heads(2), v=values())
def test_paged_attention_grouped_heads(impl, size, lengths, heads, v):
    """Neighboring query heads share a head of keys and values."""
    expect_reference(impl, attended, *paged_case(v, size, lengths, 1, heads), what="the output")


@claim("paged_attention", rung=7, examples=10)
@given(
    size=st.integers(2, 4),
    lengths=st.lists(st.integers(2, 7), min_size=1, max_size=2),
    n_query=st.integers(1, 2),
    heads=heads(),
    v=values(),
    filler=st.sampled_from([float("nan"), float("inf")]),
)
def test_paged_attention_poisoned_slots(impl, size, lengths, n_query, heads, v, filler):
    """Even NaN or infinity in slots past the length, or in the blocks of others, changes nothing."""
    expect_reference(impl, attended, *paged_case(v, size, lengths, n_query, heads, filler), what="the output")


@claim("paged_attention", rung=8, examples=6)
@given(
    size=st.integers(1, 3), shared=st.integers(1, 2), pasts=st.tuples(st.integers(1, 3), st.integers(1, 3)), v=values()
)
def test_paged_attention_shared_blocks(impl, size, shared, pasts, v):
    """Rows that share the blocks of their prompt read them both, and each goes on in blocks of its own."""
    lengths = [shared * size + past for past in pasts]
    q, k_pool, v_pool, tables, _ = paged_case(v, size, lengths, 1, (2, 1, 3))
    tables[1][:shared] = tables[0][:shared]
    expect_reference(impl, attended, q, k_pool, v_pool, tables, lengths, what="the output")


@claim("paged_attention", rung=9, examples=6)
@given(size=st.integers(1, 3), length=st.integers(2, 6), v=values())
def test_paged_attention_large_scores(impl, size, length, v):
    """Scores of hundreds neither overflow nor lose a block that is not the first."""
    # integers and d_head 4: every score is exact in float32, so rounding cannot blur the comparison
    q, k_pool, v_pool, tables, lengths = paged_case(v, size, [length, length], 2, (2, 1, 4))
    q, k_pool = v.integers(-20, 20, q.shape).float(), v.integers(-20, 20, k_pool.shape).float()
    expect_reference(impl, attended, q, k_pool, v_pool, tables, lengths, what="the output")
