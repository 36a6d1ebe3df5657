# %% [markdown]
# # 12. The paged cache
#
# Chapter 11 made the cache of one token smaller. What is left is memory that is reserved and never used. The cache of
# chapter 8 allocates its buffers for the whole context, since nobody knows how long an answer will be; a sequence that
# stops after 100 of 2,048 positions has kept 95 % of its memory from all others. And two sequences that begin with the
# same prompt hold its keys and values twice.
#
# An operating system has the same problem with the memory of programs, and the same answer helps: **paging**. The
# memory of all sequences is one **pool** of small blocks, each with room for a fixed number of positions (16, say). A
# sequence has a **block table**: entry 0 is the block that holds its first positions, entry 1 the block with the next
# ones, and so on. The blocks lie anywhere. A block is taken when it is needed, given back when the sequence ends, and
# can stand in the tables of several sequences at once. This is the idea of PagedAttention and of vLLM.
#
# You will write the three parts: the allocator that knows which blocks are free, the append that fills them, and
# attention that reads them. The three exercises do not depend on each other. You may use `reference` modules of
# earlier chapters.

# %%
import torch
from jaxtyping import Float
from torch import Tensor

from reference.mask import causal_mask
from reference.smaller_cache import grouped_query_attention

# %% [markdown]
# ## Who uses which block
#
# The allocator knows nothing of keys and values, only numbers of blocks. For each it has a **reference count**: how
# many sequences use the block.
#
# | call | allowed when | count of the block | free blocks |
# |---|---|---|---|
# | `allocate()` | a block is free | 0 to 1 | one less |
# | `fork(block)` | its count is at least 1 | one more | as before |
# | `free(block)` | its count is at least 1 | one less | one more if the count is 0 then |
#
# So a block is given back by the **last** sequence that frees it. Two mistakes are paid for much later and somewhere
# else, which is why they must be errors at once: freeing a block that nobody uses (it would be on the free list twice,
# and two sequences would be given the same memory), and forking one (somebody would read what anyone may overwrite).
#
# Careful: in Python, `counts[-1]` is the count of the last block.


# %% BlockAllocator
class BlockAllocator:
    """Which blocks of a pool are in use, and by how many sequences each. Blocks are numbered from 0 to n_block - 1.

    A call that is an error (any kind; the ones named are customary) changes nothing. Two allocators share nothing.

    Source: Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with
    PagedAttention" (2309.06180), section 4.4.

    >>> allocator = BlockAllocator(2)
    >>> block = allocator.allocate()
    >>> allocator.fork(block)  # a second sequence uses it
    >>> allocator.free(block)  # one of them has ended
    >>> allocator.count(block), allocator.n_free()
    (1, 1)
    >>> allocator.free(block)
    >>> allocator.count(block), allocator.n_free()
    (0, 2)
    """

    def __init__(self, n_block: int) -> None:
        """All `n_block` blocks (at least one) are free."""
        ### BEGIN SOLUTION
        self.free_blocks = list(reversed(range(n_block)))
        self.counts = [0] * n_block
        ### END SOLUTION

    def n_free(self) -> int:
        """Return how many blocks nobody uses."""
        ### BEGIN SOLUTION
        return len(self.free_blocks)
        ### END SOLUTION

    def count(self, block: int) -> int:
        """Return how many sequences use the block, one of 0 to n_block - 1; 0 if it is free."""
        ### BEGIN SOLUTION
        return self.counts[block]
        ### END SOLUTION

    def allocate(self) -> int:
        """Return a free block, any of them; it is used once after that. It is an error (MemoryError) if none is free."""
        ### BEGIN SOLUTION
        if not self.free_blocks:
            raise MemoryError(f"all {len(self.counts)} blocks are in use")
        block = self.free_blocks.pop()
        self.counts[block] = 1
        return block
        ### END SOLUTION

    def fork(self, block: int) -> None:
        """One more sequence uses the block. It is an error (ValueError) if nobody did, or there is no such block."""
        ### BEGIN SOLUTION
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1
        ### END SOLUTION

    def free(self, block: int) -> None:
        """One sequence less uses the block; when none is left it is free again, and may be allocated again.

        It is an error (ValueError) if nobody uses the block, or there is no such block.
        """
        ### BEGIN SOLUTION
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] -= 1
        if self.counts[block] == 0:
            self.free_blocks.append(block)
        ### END SOLUTION


# %% [markdown]
# ## Writing, and copying before writing
#
# With blocks of $B$ positions, position $p$ of a sequence stands in entry $\lfloor p / B \rfloor$ of its table, in slot
# $p \bmod B$ of that block. A sequence of 6 positions with $B = 4$ and the table `[7, 2]`:
#
#     position    0  1  2  3  4  5
#     entry       0  0  0  0  1  1
#     block       7  7  7  7  2  2
#     slot        0  1  2  3  0  1
#
# Its next position is 6: entry 1, slot 2, and block 2 has room. Position 8 would be in slot 0 of entry 2, which does
# not exist yet: allocate it. A block is taken when the first position is written into it and not before.
#
# When a sequence is forked (two answers to one prompt, the beams of a beam search), nothing is copied: the new one
# gets the same table, and each block's count goes up by one. Full blocks are never written again, so they can stay
# shared for ever. The last one, partly filled, is the difficult one: both sequences want to write their next, different
# position into the same slot. So who comes first, and sees that the count is above 1, makes a copy of its own:
# **copy on write**. The other one, later, sees a count of 1, and writes in place.


# %% append_paged
def append_paged(
    pool: "Pool",
    allocator: BlockAllocator,
    table: list[int],
    length: int,
    k: Float[Tensor, "head new d_head"],
    v: Float[Tensor, "head new d_head"],
) -> list[int]:
    """Add the keys and values of `new` positions (one or more) to one sequence; return its block table after that.

    The sequence holds `length` positions, in order, in the blocks of `table`, which has ceil(length / block size)
    entries. `pool` has three methods: `block_size()` is how many positions a block holds, `write(block,
    slot, k, v)` stores one position (k and v are then (head, d_head)), `copy(source, target)` makes a block
    hold what another one does. `allocator` has the methods of the exercise above. Both have nothing else.

    A block is allocated when its first position is to be written, and no block more. If the sequence goes
    on in a last block that others use too (its count is above 1), it gets a copy of its own, and its use of
    the old one is given back. Every other block stays where it is. An error of the allocator (MemoryError,
    when no block is free) reaches the caller.

    Source: Kwon et al. 2023 (2309.06180), sections 4.3 and 4.4.

    >>> class Printer:  # in place of a pool
    ...     def block_size(self):
    ...         return 2
    ...     def write(self, block, slot, k, v):
    ...         print(f"block {block}, slot {slot}: {k.tolist()}")
    >>> class Allocator:  # in place of an allocator
    ...     free_blocks = [4, 9]
    ...     def allocate(self):
    ...         return self.free_blocks.pop()
    ...     def count(self, block):
    ...         return 1
    >>> append_paged(Printer(), Allocator(), [], 0, torch.tensor([[[1.0], [2.0], [3.0]]]), torch.zeros(1, 3, 1))
    block 9, slot 0: [[1.0]]
    block 9, slot 1: [[2.0]]
    block 4, slot 0: [[3.0]]
    [9, 4]
    """
    ### BEGIN SOLUTION
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if slot == 0:
            table.append(allocator.allocate())
        elif allocator.count(table[index]) > 1:
            own = allocator.allocate()
            pool.copy(table[index], own)
            allocator.free(table[index])
            table[index] = own
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table
    ### END SOLUTION


# %% [markdown]
# ## Attention through the table
#
# The arithmetic of attention does not change: the result is that of a contiguous cache. What changes is where key $j$
# is read:
#
# $$k_j = \mathrm{k\_pool}\left[\,\mathrm{table}[\lfloor j / B \rfloor],\ :,\ j \bmod B\,\right].$$
#
# A kernel does this while it computes, block by block. Here it is enough to gather the blocks of each row and use
# attention as you know it. Four things can go wrong:
#
# - **The order.** Blocks come in the order of the table, which is not that of their numbers.
# - **The axes.** `k_pool[table]` is (block, kv_head, slot, d_head). Positions run through blocks and slots, and
#   between these two stands the head.
# - **The end.** The last block is filled in part; behind the length there may be anything, NaN included.
# - **The rows.** Each has a table and a length of its own, and its queries are the last of its own positions.


# %% paged_attention
def paged_attention(
    q: Float[Tensor, "batch head n_query d_head"],
    k_pool: Float[Tensor, "block kv_head slot d_head"],
    v_pool: Float[Tensor, "block kv_head slot d_head"],
    tables: list[list[int]],
    lengths: list[int],
) -> Float[Tensor, "batch head n_query d_head"]:
    """Attend causally, scaled by 1/sqrt(d_head), from each row's newest positions to all that its blocks hold.

    Row b has `lengths[b]` positions, in order, in the blocks `tables[b]`, of which there are ceil(length /
    slots). Its queries are the last `n_query` of these positions, 1 <= n_query <= length. Rows may differ in
    length, and share blocks. `kv_head` divides `head`: query head h reads head h // (head / kv_head) of keys
    and values, as in chapter 11. Slots past the length, and blocks of others, may hold anything, NaN
    included. The pools are not changed; no tensor need be contiguous. Any way to compute it is fine, torch's
    own included.

    Source: Kwon et al. 2023 (2309.06180), section 4.1.

    >>> q = torch.zeros(1, 1, 1, 1)  # likes all keys equally: the result is the mean of the values
    >>> v_pool = torch.tensor([[5.0, 6.0], [90.0, 90.0], [1.0, 2.0]]).reshape(3, 1, 2, 1)  # 3 blocks of 2 slots
    >>> paged_attention(q, torch.zeros(3, 1, 2, 1), v_pool, [[2, 0]], [3]).item()  # 1, 2, 5
    2.6666667461395264
    """
    ### BEGIN SOLUTION
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        # (block, kv_head, slot, d_head) -> (kv_head, block, slot, d_head) -> (kv_head, position, d_head)
        k, v = (pool[table].transpose(0, 1).flatten(1, 2)[:, :length] for pool in (k_pool, v_pool))
        mask = causal_mask(q.shape[2], length)  # the queries are the last positions
        rows.append(grouped_query_attention(q[row : row + 1], k[None], v[None], mask))
    return torch.cat(rows)
    ### END SOLUTION


# %% [markdown]
# ## Blocks fill up
#
# A pool of 3 blocks with 4 slots each. Sequence A is a prompt of 6 tokens. B is forked from it, and both go on with
# different words. Look at the step in which B writes its first word: the shared block is copied, for one sequence
# only. At the end A stops, and its blocks are free, except the one that B reads too.

# %% blocks_fill_up
from gptdojo.pictures import slots

BLOCK_SIZE, N_BLOCK = 4, 3


class Pool:
    """Keys and values in blocks; the first number of each value is the token that stands there."""

    def __init__(self) -> None:
        self.k = torch.full((N_BLOCK, 1, BLOCK_SIZE, 1), torch.nan)
        self.v = self.k.clone()

    def block_size(self) -> int:
        return BLOCK_SIZE

    def write(self, block: int, slot: int, k: Tensor, v: Tensor) -> None:
        self.k[block, :, slot], self.v[block, :, slot] = k, v

    def copy(self, source: int, target: int) -> None:
        self.k[target], self.v[target] = self.k[source], self.v[source]


words = ["the", "cat", "sat", "on", "a", "mat", "bed", "and", "ran"]
pool, allocator = Pool(), BlockAllocator(N_BLOCK)
steps = []


def note(caption: str) -> None:
    """Remember what the blocks in use hold."""
    row = []
    for block in range(N_BLOCK):
        for slot in range(BLOCK_SIZE):
            word = pool.v[block, 0, slot, 0]
            row.append(None if allocator.count(block) == 0 or word.isnan() else words[int(word)])
    steps.append((caption, row))


def write(table: list[int], length: int, text: str) -> list[int]:
    """Append words to a sequence."""
    numbers = torch.tensor([float(words.index(word)) for word in text.split()])[None, :, None]
    return append_paged(pool, allocator, table, length, numbers, numbers)


table_a = write([], 0, "the cat sat on a mat")
note("A: prompt")
table_b = list(table_a)
for block in table_b:
    allocator.fork(block)
note("B: fork A")
table_b = write(table_b, 6, "bed")
note("B: bed")
table_a = write(table_a, 6, "and ran")
note("A: and ran")
for block in table_a:
    allocator.free(block)
note("A ends")
print(f"A was {table_a}, B is {table_b}, {allocator.n_free()} of {N_BLOCK} blocks are free")
slots(steps, block=BLOCK_SIZE)

# %% [markdown]
# ## What reserving costs
#
# A server has room for 8,192 positions. Requests come whose lengths nobody knows in advance: here 40 to 2,048
# positions, the short ones more often. How many run at the same time, if each reserves its context of 2,048, and if
# each takes blocks as it grows? And how much of the memory taken holds a token? Small blocks waste less, since only the
# last block of a sequence is partly empty: half a block on average. (They cost something else: longer tables, and
# shorter runs of memory to read at a time.)

# %% what_reserving_costs
n_position, n_ctx = 8192, 2048
generator = torch.Generator().manual_seed(12)
lengths = (40 * (n_ctx / 40) ** torch.rand(1000, generator=generator)).long().tolist()
print(f"{'positions taken at a time':>26}{'sequences at once':>20}{'share that holds a token':>27}")
for size in (n_ctx, 256, 64, 16, 1):
    running, taken, used = 0, 0, 0
    for length in lengths:
        rounded = -(-length // size) * size
        if taken + rounded > n_position:
            break
        running, taken, used = running + 1, taken + rounded, used + length
    name = f"{n_ctx}: the whole context" if size == n_ctx else str(size)
    print(f"{name:>26}{running:>20}{used / taken:>27.1%}")
