"""A cache in blocks that sequences share until they differ (chapter 12).
Source: Kwon et al. 2023 (PagedAttention, 2309.06180), sections 4.1 to 4.4."""

from itertools import chain

import torch

from reference.attention import Output, Queries
from reference.kv_cache import New, Pair
from reference.shapes import Device, Float, Int, Tensor, expect
from reference.smaller_cache import Cache, grouped_causal

Pool = Float[Tensor, "block kv_head slot d_head"]
NewOfRow = Float[Tensor, "kv_head new d_head"]


class BlockAllocator:
    """Which of a pool's blocks, 0 to n_block - 1, are in use, and by how many sequences each; at first all are free."""

    def __init__(self, n_block: int) -> None:
        self._free = list(reversed(range(n_block)))
        self._count = [0] * n_block

    def n_free(self) -> int:
        """How many blocks nobody uses."""
        return len(self._free)

    def count(self, block: int) -> int:
        """How many sequences use the block."""
        return self._count[block]

    def allocate(self) -> int:
        """A free block, from now on used once. Raises MemoryError if there is none."""
        if not self._free:
            raise MemoryError(f"all {len(self._count)} blocks are in use")
        block = self._free.pop()
        self._count[block] = 1
        return block

    def fork(self, block: int) -> None:
        """One more sequence uses the block. Raises ValueError if nobody did."""
        self._change(block, 1)

    def free(self, block: int) -> None:
        """One sequence less uses the block; the last one gives it back. Raises ValueError if nobody does."""
        self._change(block, -1)
        if self._count[block] == 0:
            self._free.append(block)

    def _change(self, block: int, by: int) -> None:
        expect(0 <= block < len(self._count) and self._count[block] > 0, "a block in use", block)
        self._count[block] += by


def append_paged(
    pool: "PagedCache", allocator: BlockAllocator, table: list[int], length: int, k: NewOfRow, v: NewOfRow
) -> list[int]:
    """Add positions to a sequence that has `length` in the blocks of `table`; returns its table after that. A block is
    allocated when the last one is full; one that others use too is copied before it is written (copy on write), freed.
    `pool` has block_size(), write(block, slot, k, v), copy(source, target). Raises MemoryError if no block is free."""
    table = list(table)
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, pool.block_size())
        if slot == 0:
            table.append(allocator.allocate())
        elif allocator.count(shared := table[index]) > 1:
            table[index] = allocator.allocate()
            pool.copy(shared, table[index])
            allocator.free(shared)
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table


def gather_blocks(pool: Pool, table: list[int], length: int) -> Tensor:
    """The first `length` positions of one sequence side by side: (head, length, d_head), a copy."""
    return pool[table].transpose(0, 1).flatten(1, 2)[:, :length]


def paged_attention(q: Queries, k_pool: Pool, v_pool: Pool, tables: list[list[int]], lengths: list[int]) -> Output:
    """Causal attention of each row to the `lengths[row]` positions in its own blocks; its queries are the last of them.
    Slots past the length, and blocks of others, may hold anything. Rows may differ in length; heads may be grouped."""
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        k, v = (gather_blocks(pool, table, length)[None] for pool in (k_pool, v_pool))
        rows.append(grouped_causal()(0, q[row : row + 1], k, v))
    return torch.cat(rows)


class PagedCache(Cache):
    """A pool of blocks (head, slot, d_head), enough for every row to fill the context, and a table of its own a row."""

    def __init__(
        self,
        batch: int,
        n_head: int,
        n_ctx: int,
        d_head: int,
        dtype: torch.dtype = torch.float32,
        device: Device = None,
        block_size: int = 16,
    ) -> None:
        n_block = batch * -(-n_ctx // block_size)
        super().__init__(n_block, n_head, block_size, d_head, dtype, device)  # a block is a row of the buffers
        self.allocator = BlockAllocator(n_block)
        self.tables: list[list[int]] = [[] for _ in range(batch)]
        self._n_ctx = n_ctx

    def block_size(self) -> int:
        """How many positions a block holds."""
        return self._k.shape[2]

    def write(self, block: int, slot: int, k: Float[Tensor, "head d_head"], v: Float[Tensor, "head d_head"]) -> None:
        """Keep one position."""
        self._k[block, :, slot], self._v[block, :, slot] = k.detach(), v.detach()

    def copy(self, source: int, target: int) -> None:
        """Make block `target` hold what `source` does."""
        self._k[target], self._v[target] = self._k[source], self._v[source]

    def append(self, k: New, v: New) -> None:
        """Add the next positions. Raises ValueError if they do not fit, and then nothing is changed."""
        self._check(k, v, batch=len(self.tables))
        if (end := self._length + k.shape[2]) > self._n_ctx:
            raise ValueError(f"got {end} positions, the context is {self._n_ctx}")
        for row, table in enumerate(self.tables):
            self.tables[row] = append_paged(self, self.allocator, table, self._length, k[row], v[row])
        self._length = end

    def view(self) -> Pair:
        """Copies: the blocks of every row side by side."""
        rows = [[gather_blocks(pool, table, len(self)) for table in self.tables] for pool in (self._k, self._v)]
        return torch.stack(rows[0]), torch.stack(rows[1])

    def crop(self, length: int) -> None:
        """Keep the first `length` positions; blocks past them are free again."""
        super().crop(length)
        for table in self.tables:
            while (len(table) - 1) * self.block_size() >= length:
                self.allocator.free(table.pop())

    def reorder(self, rows: Int[Tensor, " batch"]) -> None:
        """Row i becomes what row rows[i] was; nothing is copied, blocks are shared."""
        before, self.tables = self.tables, [list(self.tables[row]) for row in rows.tolist()]
        for block in chain.from_iterable(self.tables):
            self.allocator.fork(block)
        for block in chain.from_iterable(before):
            self.allocator.free(block)
