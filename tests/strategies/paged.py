"""A pool of blocks and its allocator as a grader hands them out, and sequences in them beside what each should hold."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import index
from typing import Any

import torch
from torch import Tensor

from gptdojo import Provided
from gptdojo.expect import expect
from gptdojo.faults import LearnerError, Mismatch
from gptdojo.strategies import Values
from reference.paged_cache import append_paged


class GivenAllocator(Provided):
    """Hands out blocks in the order given; `freed` is told which block nobody uses any more."""

    exposes = ("n_free", "count", "allocate", "fork", "free")

    def __init__(self, order: Iterable[int]) -> None:
        self._free = list(order)[::-1]
        self._counts: Counter[int] = Counter()
        self.allocated = 0
        self.freed: Callable[[int], None] = lambda block: None

    def n_free(self) -> int:
        """How many blocks nobody uses."""
        return len(self._free)

    def count(self, block: int) -> int:
        """How many sequences use a block."""
        return self._counts[index(block)]

    def allocate(self) -> int:
        """A free block. Raises MemoryError if there is none."""
        if not self._free:
            raise MemoryError("no block is free")
        self.allocated += 1
        block = self._free.pop()
        self._counts[block] = 1
        return block

    def fork(self, block: int) -> None:
        """One more use. Raises ValueError if nobody uses the block."""
        self._counts[self._used(block)] += 1

    def free(self, block: int) -> None:
        """One use less. Raises ValueError if nobody uses the block."""
        block = self._used(block)
        self._counts[block] -= 1
        if self._counts[block] == 0:
            self._free.append(block)
            self.freed(block)

    def _used(self, block: int) -> int:
        if self._counts[index(block)] == 0:
            raise ValueError(f"block {index(block)} is not in use")
        return index(block)


class GivenPool(Provided):
    """Keys and values in blocks, strict about what is written where. What nobody uses is NaN."""

    exposes = ("block_size", "write", "copy")

    def __init__(self, allocator: GivenAllocator, n_block: int, n_head: int, size: int, d_head: int) -> None:
        self._k, self._v = (torch.full((n_block, n_head, size, d_head), torch.nan) for _ in range(2))
        self._allocator = allocator
        allocator.freed = self._poison

    def block_size(self) -> int:
        """How many positions a block holds."""
        return self._k.shape[2]

    def write(self, block: int, slot: int, k: Tensor, v: Tensor) -> None:
        """Keep one position. Raises ValueError for what is no block in use, no slot, or no (head, d_head)."""
        target, place = self._used(block), index(slot)
        if not 0 <= place < self.block_size():
            raise ValueError(f"pool.write expected a slot from 0 to {self.block_size() - 1}, got {place}")
        for name, got in (("k", k), ("v", v)):
            wanted = (self._k.shape[1], self._k.shape[3])
            if not isinstance(got, Tensor) or tuple(got.shape) != wanted:
                shape = tuple(got.shape) if isinstance(got, Tensor) else type(got).__name__
                raise ValueError(f"pool.write expected {name} of shape (head, d_head) = {wanted}, got {shape}")
        users = self._allocator.count(target)
        expect(users == 1, f"block {target} was written while {users} sequences use it")
        self._k[target, :, place], self._v[target, :, place] = k.detach(), v.detach()

    def copy(self, source: int, target: int) -> None:
        """Make block `target` hold what `source` does. Raises ValueError unless both are in use."""
        source, target = self._used(source), self._used(target)
        users = self._allocator.count(target)
        message = f"block {target} was copied over while {users} sequences use it: the order is copy(source, target)"
        expect(users == 1, message)
        self._k[target], self._v[target] = self._k[source], self._v[source]

    def read(self, table: list[int], length: int) -> tuple[Tensor, Tensor]:
        """The keys and values of one sequence, each (head, length, d_head)."""
        size = self.block_size()
        blocks, slots = [table[i // size] for i in range(length)], [i % size for i in range(length)]
        k, v = (pool[blocks, :, slots].transpose(0, 1) for pool in (self._k, self._v))
        return k, v

    def _used(self, block: int) -> int:
        if self._allocator.count(block) == 0:
            raise ValueError(f"the pool expected a block in use, got {index(block)}")
        return index(block)

    def _poison(self, block: int) -> None:
        self._k[block] = self._v[block] = torch.nan


@dataclass
class Sequence:
    """The table of a sequence, and what it should hold."""

    table: list[int]
    k: Tensor
    v: Tensor

    @property
    def length(self) -> int:
        """How many positions it has."""
        return self.k.shape[1]


class Store:
    """Sequences by their names in one pool, each beside what it should hold."""

    def __init__(self, v: Values, n_head: int, size: int, d_head: int, n_block: int) -> None:
        self.v, self.size, self.shape = v, size, (n_head, d_head)
        self.allocator = GivenAllocator(v.permutation(n_block).tolist())
        self.pool = GivenPool(self.allocator, n_block, n_head, size, d_head)
        self.blocks = range(n_block)
        self.sequences: dict[str, Sequence] = {}

    def numbers(self, n_new: int) -> tuple[Tensor, Tensor]:
        """Keys and values of new positions as they come out of a projection: not contiguous."""
        n_head, d_head = self.shape
        k, v = (self.v.normal(n_new, n_head, d_head).transpose(0, 1) for _ in range(2))
        return k, v

    def start(self, name: str, length: int) -> None:
        """A sequence that the reference has written."""
        k, v = self.numbers(length)
        self.sequences[name] = Sequence(append_paged(self.pool, self.allocator, [], 0, k, v), k, v)

    def fork(self, name: str, other: str) -> None:
        """A second sequence that has the same past, in the same blocks."""
        parent = self.sequences[name]
        for block in parent.table:
            self.allocator.fork(block)
        self.sequences[other] = Sequence(list(parent.table), parent.k, parent.v)

    def end(self, name: str) -> None:
        """Give back the blocks of a sequence."""
        for block in self.sequences.pop(name).table:
            self.allocator.free(block)

    def needed(self, name: str, n_new: int) -> int:
        """How many blocks n_new more positions of a sequence take."""
        sequence = self.sequences[name]
        shared = sequence.length % self.size > 0 and self.allocator.count(sequence.table[-1]) > 1
        return -(-(sequence.length + n_new) // self.size) - len(sequence.table) + shared

    def keep_free(self, count: int) -> None:
        """Take free blocks out of the pool until so many are left."""
        held = [self.allocator.allocate() for _ in range(self.allocator.n_free() - count)]
        self.blocks = [block for block in self.blocks if block not in held]  # type: ignore[assignment]

    def append(self, impl: Any, name: str, n_new: int, call: Callable | None = None) -> None:
        """Append with the learner's code (through `call`, if given) and compare everything."""
        sequence = self.sequences[name]
        table, length = list(sequence.table), sequence.length
        k, v = self.numbers(n_new)
        inputs = self.inputs(name, n_new)
        needed, before = self.needed(name, n_new), self.allocator.allocated
        arguments = (self.pool, self.allocator, table, length, k, v)
        try:
            got = impl(*arguments) if call is None else call(impl, *arguments)
        except LearnerError as error:
            if "MemoryError" not in error.types or "no block is free" not in error.said:
                error.evidence.inputs = inputs
                raise
            message = f"your code asked for more blocks than the {needed} that {n_new} more positions take here"
            error.evidence.inputs = inputs
            raise Mismatch(message, error.evidence) from error
        except Mismatch as error:  # of a call-back
            error.evidence.inputs = inputs
            raise
        joined = [torch.cat([old, new], dim=1) for old, new in ((sequence.k, k), (sequence.v, v))]
        self._check_table(got, table, length, n_new, inputs)
        self.sequences[name] = Sequence(list(got), *joined)
        self.check(inputs)
        used = self.allocator.allocated - before
        message = f"{used} blocks were allocated, expected {needed}"
        expect(used == needed, message, inputs=inputs, expected=needed, got=used)

    def inputs(self, name: str, n_new: int) -> dict[str, Any]:
        """What a failure shows of a call."""
        sequence = self.sequences[name]
        counts = {block: self.allocator.count(block) for block in sequence.table}
        return {
            "table": list(sequence.table),
            "length": sequence.length,
            "new positions": n_new,
            "block size": self.size,
            "allocator.count": counts,
        }

    def _check_table(self, got: Any, table: list[int], length: int, n_new: int, inputs: dict) -> None:
        fine = isinstance(got, list | tuple) and all(type(block) is int for block in got)
        hint = "; is the `return` missing?" if got is None else ""
        expect(fine, f"the table has to be a list of integers{hint}", inputs=inputs, expected="a list", got=got)
        wanted = -(-(length + n_new) // self.size)
        message = f"the table has {len(got)} blocks, {length + n_new} positions in blocks of {self.size} take {wanted}"
        expect(len(got) == wanted, message, inputs=inputs, expected=wanted, got=len(got))
        full = length // self.size
        message = f"the first {full} blocks are full and nothing is written to them, so they stay in the table"
        expect(list(got[:full]) == table[:full], message, inputs=inputs, expected=table[:full], got=list(got[:full]))
        unused = [block for block in got if self.allocator.count(block) == 0]
        expect(not unused, f"the table names block {unused[:1]}, which is not in use", inputs=inputs, got=list(got))

    def check(self, inputs: dict[str, Any]) -> None:
        """Every sequence holds what it should, and every use of a block is counted once."""
        for name, sequence in self.sequences.items():
            for what, got, expected in zip(
                ("keys", "values"),
                self.pool.read(sequence.table, sequence.length),
                (sequence.k, sequence.v),
                strict=True,
            ):
                wrong = (got != expected).transpose(0, 1).flatten(1).any(dim=1).nonzero().flatten().tolist()
                if wrong:
                    held = "NaN, which means never written," if got[:, wrong[0]].isnan().any() else "something else"
                    message = f"sequence {name} holds {held} in its {what} of position {wrong[0]}"
                    evidence = {"expected": expected[:, wrong[0]], "got": got[:, wrong[0]]}
                    expect(False, message, inputs=inputs | {f"table of {name}": sequence.table}, **evidence)
        uses = Counter(block for sequence in self.sequences.values() for block in sequence.table)
        for block in self.blocks:
            got, wanted = self.allocator.count(block), uses[block]
            message = f"block {block} is counted {got} times, but it is in the tables of {wanted} sequences"
            expect(got == wanted, message, inputs=inputs, expected=wanted, got=got)
