"""Wrong on purpose: what people believe about blocks, their counts and their tables, each mistake alone in its code.

Every class is whole, because each is handed out by itself.
"""

import math

import torch

from gptdojo import fingerprint, misconception
from gptdojo.strategies import Values
from reference.mask import causal_mask, masked_softmax
from reference.smaller_cache import grouped_query_attention, repeat_kv
from tests.strategies.paged import Store, append_paged

# --- BlockAllocator ---------------------------------------------------------------------------------------------------


@misconception(
    "BlockAllocator",
    believes="free(block) makes the block free",
    truth="a block is free when its last user frees it: free takes one from the count, and only at 0 the block goes back",
)
class EveryFreeGivesBack:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] -= 1
        self.unused.append(block)


@misconception(
    "BlockAllocator",
    believes="who frees a block is done with it, so its count becomes 0",
    truth="the others still read it: free takes one from the count, and the block stays in use until the count is 0",
)
class CountDroppedToZero:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] = 0
        self.unused.append(block)


@misconception(
    "BlockAllocator",
    believes="freeing a block a second time is harmless and can be ignored",
    truth="somebody has lost track of who uses what, and the next such free hits a block that was given to another: it has to be an error",
)
class DoubleFreeIgnored:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts):
            raise ValueError(f"there is no block {block}")
        if self.counts[block] == 0:
            return
        self.counts[block] -= 1
        if self.counts[block] == 0:
            self.unused.append(block)


@misconception(
    "BlockAllocator",
    believes="free only has to add the block to the free list",
    truth="a block that is freed twice is on the list twice then, and two sequences are given the same memory: it has to be an error",
)
class FreedTwiceListedTwice:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts):
            raise ValueError(f"there is no block {block}")
        self.counts[block] = max(0, self.counts[block] - 1)
        if self.counts[block] == 0:
            self.unused.append(block)


@misconception(
    "BlockAllocator",
    believes="fork only has to add one to the count",
    truth="a free block stays on the free list when it is forked, and is given to somebody else: it has to be an error",
)
class ForkOfAFreeBlock:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts):
            raise ValueError(f"there is no block {block}")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] -= 1
        if self.counts[block] == 0:
            self.unused.append(block)


@misconception(
    "BlockAllocator",
    believes="indexing the list of counts raises for every number that is no block's",
    truth="a negative index counts from the end in Python, so free(-1) frees the last block: check that 0 <= block",
)
class NegativeBlocks:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] -= 1
        if self.counts[block] == 0:
            self.unused.append(block)


@misconception(
    "BlockAllocator",
    believes="without a free block, allocate returns None and the caller looks",
    truth="the caller would write None into a table and find out much later: it has to be an error at once",
)
class NoneWhenFull:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            return None
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] -= 1
        if self.counts[block] == 0:
            self.unused.append(block)


@misconception(
    "BlockAllocator",
    believes="the count says how many others share the block, so it starts at 0",
    truth="the count is that of all users: 1 after allocate, and 0 means free",
)
class OthersCounted:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 0
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or block in self.unused:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts) or block in self.unused:
            raise ValueError(f"block {block} is not in use")
        if self.counts[block] == 0:
            self.unused.append(block)
        else:
            self.counts[block] -= 1


@misconception(
    "BlockAllocator",
    believes="every use takes a block, so the free ones are all minus the sum of the counts",
    truth="a fork shares a block and takes none: the free blocks are those whose count is 0",
)
class UsesTakeBlocks:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block

    def n_free(self):
        return len(self.counts) - sum(self.counts)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] -= 1
        if self.counts[block] == 0:
            self.unused.append(block)


@misconception(
    "BlockAllocator",
    believes="blocks are given out one after the other, so the next number is all that has to be kept",
    truth="freed blocks have to come again, or the pool is used up after n_block allocations, however many sequences have ended",
)
class NeverReused:
    def __init__(self, n_block):
        self.next = 0
        self.counts = [0] * n_block

    def n_free(self):
        return self.counts.count(0)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if self.next == len(self.counts):
            raise MemoryError("no block is free")
        block = self.next
        self.next += 1
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] -= 1


@misconception(
    "BlockAllocator",
    believes="taking one from the count is all that free has to do",
    truth="at 0 the block also has to go back among the free ones, or it is lost for good",
)
class NotGivenBack:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] -= 1


@misconception(
    "BlockAllocator",
    believes="there is one pool, so its state may stand in the class",
    truth="what stands in the class belongs to all its objects: a second allocator then starts over for the first one as well",
)
class OnePoolAtATime:
    def __init__(self, n_block):
        cls = type(self)
        cls.unused = list(range(n_block))
        cls.counts = [0] * n_block

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] -= 1
        if self.counts[block] == 0:
            self.unused.append(block)


@misconception(
    "BlockAllocator",
    believes="a block is shared or it is not, so a flag is enough",
    truth="three sequences may share it: with a flag the second free makes it free while the third still reads it, so count",
)
class SharedOrNot:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.n_block = n_block
        self.shared = set()

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return 0 if block in self.unused else 1 + (block in self.shared)

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        return self.unused.pop()

    def fork(self, block):
        if not 0 <= block < self.n_block or block in self.unused:
            raise ValueError(f"block {block} is not in use")
        self.shared.add(block)

    def free(self, block):
        if not 0 <= block < self.n_block or block in self.unused:
            raise ValueError(f"block {block} is not in use")
        if block in self.shared:
            self.shared.remove(block)
        else:
            self.unused.append(block)


@misconception(
    "BlockAllocator",
    believes="a set of the blocks that were freed is enough to recognize a double free",
    truth="a block that was allocated again may be freed again, so it has to leave that set in allocate",
)
class FreedForEver:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block
        self.freed = set()

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0 or block in self.freed:
            raise ValueError(f"block {block} was freed before")
        self.counts[block] -= 1
        if self.counts[block] == 0:
            self.unused.append(block)
            self.freed.add(block)


@misconception(
    "BlockAllocator",
    believes="it makes no difference whether the check comes before the change or after it",
    truth="a call that is refused must change nothing: here a refused free leaves a count of -1, and the block's next user is not counted",
)
class CountedBeforeChecked:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if not self.unused:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts):
            raise ValueError(f"there is no block {block}")
        self.counts[block] -= 1
        if self.counts[block] < 0:
            raise ValueError(f"block {block} is not in use")
        if self.counts[block] == 0:
            self.unused.append(block)


@misconception(
    "BlockAllocator",
    believes="the last free block is out when one is left",
    truth="all n_block blocks can be in use: it is an error only when none is free",
)
class OneBlockKept:
    def __init__(self, n_block):
        self.unused = list(range(n_block))
        self.counts = [0] * n_block

    def n_free(self):
        return len(self.unused)

    def count(self, block):
        return self.counts[block]

    def allocate(self):
        if len(self.unused) == 1:
            raise MemoryError("no block is free")
        block = self.unused.pop()
        self.counts[block] = 1
        return block

    def fork(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] += 1

    def free(self, block):
        if not 0 <= block < len(self.counts) or self.counts[block] == 0:
            raise ValueError(f"block {block} is not in use")
        self.counts[block] -= 1
        if self.counts[block] == 0:
            self.unused.append(block)


@fingerprint("BlockAllocator")
def BlockAllocator_probes(impl):
    def after(calls, look):
        def probe():
            allocator = impl(3)
            blocks = []
            for name, *place in calls:
                arguments = [blocks[i] if i >= 0 else i for i in place]
                try:
                    result = getattr(allocator, name)(*arguments)
                except Exception as error:
                    if "NotImplementedError" in getattr(error, "types", ()):
                        raise
                    result = "an error"
                if name == "allocate":
                    blocks.append(result)
            if look == "allocate":
                return len(set(blocks))
            return allocator.n_free() if look == "n_free" else allocator.count(blocks[0])

        return probe

    one, two, three = [("allocate",)], [("allocate",)] * 2, [("allocate",)] * 3
    histories = [
        one,
        three,
        [*one, ("fork", 0)],
        [*one, ("fork", 0), ("free", 0)],
        [*one, ("fork", 0), ("free", 0), ("free", 0)],
        [*one, ("free", 0)],
        [*one, ("free", 0), ("free", 0)],
        [*one, ("free", 0), ("fork", 0)],
        [*one, ("fork", 0), ("fork", 0), ("free", 0), ("free", 0)],
        [*three, ("free", -1)],
        [*three, ("free", 0), ("allocate",), ("free", 0)],
        [*two, ("free", 0), ("free", 1), ("free", 1), ("free", 0)],
    ]
    looks = [after(history, look) for history in histories for look in ("n_free", "count")]

    def refused(calls):
        def probe():
            allocator = impl(2)
            block = allocator.allocate()
            for name, place in calls:
                getattr(allocator, name)(block if place == 0 else place)
            return allocator.n_free()

        return probe

    def full():
        allocator = impl(2)
        return [type(allocator.allocate()).__name__ for _ in range(3)]

    def two():
        first = impl(2)
        first.allocate()
        second = impl(3)
        second.allocate()
        return first.n_free()

    def again():
        allocator = impl(2)
        blocks = [allocator.allocate() for _ in range(2)]
        for block in (*blocks, *blocks[:1]):
            try:
                allocator.free(block)
            except Exception:
                continue
        return len({allocator.allocate() for _ in range(2)})

    return [
        *looks,
        after([*one, ("free", 0), *three], "allocate"),
        refused([("free", 0), ("free", 0)]),
        refused([("free", 0), ("fork", 0)]),
        refused([("free", -1)]),
        full,
        two,
        again,
    ]


# --- append_paged -----------------------------------------------------------------------------------------------------


@misconception(
    "append_paged",
    believes="a sequence may write into every block of its table",
    truth="a block whose count is above 1 is read by another sequence too, which would find foreign keys in it: copy it first",
)
def shared_block_written(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if slot == 0:
            table.append(allocator.allocate())
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="the last block is copied before it is written, to be on the safe side",
    truth="a block that nobody else uses is written in place: the copy costs time, and a free block that may not be there",
)
def always_copied(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    if length % size:
        own = allocator.allocate()
        pool.copy(table[-1], own)
        allocator.free(table[-1])
        table[-1] = own
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if slot == 0:
            table.append(allocator.allocate())
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="with a copy of its own in the table, a sequence is done with the old block",
    truth="its use of the old block is still counted: without free(old) that block is copied by the last user too, and never given back",
)
def old_block_not_freed(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if slot == 0:
            table.append(allocator.allocate())
        elif allocator.count(table[index]) > 1:
            own = allocator.allocate()
            pool.copy(table[index], own)
            table[index] = own
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="a block of one's own in place of the shared one is all that copy on write means",
    truth="the shared block also holds earlier positions of this sequence: without pool.copy they are not in the block of its own",
)
def own_block_empty(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if slot == 0:
            table.append(allocator.allocate())
        elif allocator.count(table[index]) > 1:
            allocator.free(table[index])
            table[index] = allocator.allocate()
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="a sequence gets its block when it starts, and writes round and round in it",
    truth="after the last slot comes slot 0 of a further block: the first one is full, and what it holds is still needed",
)
def one_block_a_sequence(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    if not table:
        table.append(allocator.allocate())
    for i in range(k.shape[1]):
        slot = (length + i) % size
        if slot and allocator.count(table[-1]) > 1:
            own = allocator.allocate()
            pool.copy(table[-1], own)
            allocator.free(table[-1])
            table[-1] = own
        pool.write(table[-1], slot, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="it is enough to look once a call whether the last block is full",
    truth="a chunk of several positions may fill the last block in its middle: look at each position",
)
def looked_once(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    if length % size == 0:
        table.append(allocator.allocate())
    elif allocator.count(table[-1]) > 1:
        own = allocator.allocate()
        pool.copy(table[-1], own)
        allocator.free(table[-1])
        table[-1] = own
    for i in range(k.shape[1]):
        pool.write(table[-1], (length + i) % size, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="every call to append starts with a block of its own",
    truth="the last block may have room: a block is allocated only for a position whose slot is 0",
)
def block_for_each_call(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        if i % size == 0:
            table.append(allocator.allocate())
        pool.write(table[-1], i % size, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="the next block is allocated as soon as the last one is full",
    truth="it may never be needed: a block is allocated when a position is to be written into it and not before",
)
def allocated_ahead(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if index == len(table):
            table.append(allocator.allocate())
        elif slot and allocator.count(table[index]) > 1:
            own = allocator.allocate()
            pool.copy(table[index], own)
            allocator.free(table[index])
            table[index] = own
        pool.write(table[index], slot, k[:, i], v[:, i])
        if slot == size - 1:
            table.append(allocator.allocate())
    return table


@misconception(
    "append_paged",
    believes="the slots are counted from the first new position",
    truth="the slot is that of the position in the sequence, (length + i) % block size: a new chunk goes on where the last one ended",
)
def slots_from_zero(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        index = (length + i) // size
        if index == len(table):
            table.append(allocator.allocate())
        elif (length + i) % size and allocator.count(table[index]) > 1:
            own = allocator.allocate()
            pool.copy(table[index], own)
            allocator.free(table[index])
            table[index] = own
        pool.write(table[index], i % size, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="position p stands in block p // block size",
    truth="that is the entry of the table; the block is the number that stands there",
)
def entry_taken_for_block(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if slot == 0:
            table.append(allocator.allocate())
        pool.write(index, slot, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="before a forked sequence writes, all its blocks have to become its own",
    truth="only the block that is written: full blocks are never written again and stay shared, which is the gain of it all",
)
def all_blocks_copied(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for index, block in enumerate(table):
        if allocator.count(block) > 1:
            own = allocator.allocate()
            pool.copy(block, own)
            allocator.free(block)
            table[index] = own
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if slot == 0:
            table.append(allocator.allocate())
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="the last block of a forked sequence is always copied",
    truth="only if it is written: after a full block the next position goes into a new one, and the full one stays shared",
)
def full_block_copied(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    if table and allocator.count(table[-1]) > 1:
        own = allocator.allocate()
        pool.copy(table[-1], own)
        allocator.free(table[-1])
        table[-1] = own
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if slot == 0:
            table.append(allocator.allocate())
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="who copies a block takes it away from the others too",
    truth="they still use it: a sequence gives back its own use, with one free, and no more",
)
def freed_for_all(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if slot == 0:
            table.append(allocator.allocate())
        elif allocator.count(table[index]) > 1:
            own = allocator.allocate()
            pool.copy(table[index], own)
            while allocator.count(table[index]):
                allocator.free(table[index])
            table[index] = own
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="copy takes its target first, like an assignment",
    truth="it is copy(source, target): the other way round the new block's garbage is written over the shared one",
)
def copied_backwards(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if slot == 0:
            table.append(allocator.allocate())
        elif allocator.count(table[index]) > 1:
            own = allocator.allocate()
            pool.copy(own, table[index])
            allocator.free(table[index])
            table[index] = own
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="a forked block is shared by two sequences, so the copy is due when the count is 2",
    truth="any number may share it: every count above 1 means that somebody else reads it",
)
def copied_at_two(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if slot == 0:
            table.append(allocator.allocate())
        elif allocator.count(table[index]) == 2:
            own = allocator.allocate()
            pool.copy(table[index], own)
            allocator.free(table[index])
            table[index] = own
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="when no block is free, what fits is written and the rest is dropped",
    truth="the caller would go on as if all positions were held: the error of the allocator has to reach it",
)
def rest_dropped(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        needs = slot == 0 or allocator.count(table[index]) > 1
        if needs and allocator.n_free() == 0:
            break
        if slot == 0:
            table.append(allocator.allocate())
        elif needs:
            own = allocator.allocate()
            pool.copy(table[index], own)
            allocator.free(table[index])
            table[index] = own
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table


@misconception(
    "append_paged",
    believes="the values go where the keys go, so their order in write makes no difference",
    truth="it is write(block, slot, k, v): exchanged, every later query compares itself with values",
)
def values_before_keys(pool, allocator, table, length, k, v):
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
        pool.write(table[index], slot, v[:, i], k[:, i])
    return table


@misconception(
    "append_paged",
    believes="whether the last block is shared is found out by comparing its count with that of the first one",
    truth="the first blocks may be shared by more sequences than the last one: the count of the block itself is what says it",
)
def compared_with_the_first(pool, allocator, table, length, k, v):
    table, size = list(table), pool.block_size()
    for i in range(k.shape[1]):
        index, slot = divmod(length + i, size)
        if slot == 0:
            table.append(allocator.allocate())
        elif allocator.count(table[0]) > 1 and allocator.count(table[index]) == allocator.count(table[0]):
            own = allocator.allocate()
            pool.copy(table[index], own)
            allocator.free(table[index])
            table[index] = own
        pool.write(table[index], slot, k[:, i], v[:, i])
    return table


@fingerprint("append_paged")
def append_paged_probes(impl):
    def after(size, length, forks, n_new, free=None):
        def probe():
            store = Store(Values("normal", 12), 2, size, 3, n_block=10)
            store.start("bystander", size)
            store.start("a", length)
            for other in "bcd"[:forks]:
                store.fork("a", other)
            if free is not None:
                store.keep_free(free)
            k, v = store.numbers(n_new)
            before = store.allocator.n_free()
            try:
                table = impl(store.pool, store.allocator, list(store.sequences["a"].table), length, k, v)
            except AssertionError as error:
                return str(error)
            if type(table) not in (list, tuple):
                return table
            held = [store.pool._k[block].nan_to_num(99.0) for block in table]
            counts = [store.allocator.count(block) for block in range(10)]
            parent = store.pool.read(store.sequences["a"].table, length)[0].nan_to_num(99.0)
            return [list(table), before - store.allocator.n_free(), counts, held, parent]

        return probe

    def shared_by_three_then_by_two():
        store = Store(Values("normal", 12), 2, 3, 3, n_block=10)
        store.start("a", 4)
        store.fork("a", "b")
        store.fork("a", "c")
        store.append(append_paged, "c", 1)
        table = impl(store.pool, store.allocator, list(store.sequences["a"].table), 4, *store.numbers(1))
        return list(table)

    return [
        shared_by_three_then_by_two,
        after(3, 0, 0, 1),
        after(3, 4, 0, 1, free=0),
        after(3, 4, 0, 4),
        after(3, 2, 0, 1),
        after(3, 3, 0, 1),
        after(3, 3, 1, 2),
        after(3, 4, 1, 1),
        after(3, 4, 2, 1),
        after(3, 4, 0, 4, free=0),
    ]


# --- paged_attention --------------------------------------------------------------------------------------------------


@misconception(
    "paged_attention",
    believes="the blocks of a sequence lie one after the other in the pool, from the first one of its table",
    truth="they lie anywhere: entry i of the table says where block i of the sequence is",
)
def blocks_in_a_row(q, k_pool, v_pool, tables, lengths):
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        blocks = [(table[0] + i) % len(k_pool) for i in range(len(table))]
        k, v = (pool[blocks].transpose(0, 1).flatten(1, 2)[:, :length] for pool in (k_pool, v_pool))
        rows.append(grouped_query_attention(q[row : row + 1], k[None], v[None], causal_mask(q.shape[2], length)))
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="attention is a sum over keys, so the order of the blocks makes no difference",
    truth="the length cuts off the end and the mask hides the future, so positions have to be in the order of the table",
)
def blocks_sorted(q, k_pool, v_pool, tables, lengths):
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        k, v = (pool[sorted(table)].transpose(0, 1).flatten(1, 2)[:, :length] for pool in (k_pool, v_pool))
        rows.append(grouped_query_attention(q[row : row + 1], k[None], v[None], causal_mask(q.shape[2], length)))
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="a reshape joins the blocks, whichever axis stands between block and slot",
    truth="k_pool[table] is (block, kv_head, slot, d_head): the head has to move to the front first, or heads are mixed",
)
def heads_and_slots_mixed(q, k_pool, v_pool, tables, lengths):
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        n_head, d_head = k_pool.shape[1], k_pool.shape[3]
        k, v = (pool[table].reshape(n_head, -1, d_head)[:, :length] for pool in (k_pool, v_pool))
        rows.append(grouped_query_attention(q[row : row + 1], k[None], v[None], causal_mask(q.shape[2], length)))
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="empty slots of the last block hold zeros, so they add nothing",
    truth="a key of zeros has the score 0, whose exponential is 1: it takes a share of the attention, so cut at the length",
)
def whole_blocks_read(q, k_pool, v_pool, tables, lengths):
    rows = []
    for row, table in enumerate(tables):
        k, v = (pool[table].transpose(0, 1).flatten(1, 2) for pool in (k_pool, v_pool))
        rows.append(grouped_query_attention(q[row : row + 1], k[None], v[None], causal_mask(q.shape[2], k.shape[1])))
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="a weight of 0 makes a slot disappear, whatever it holds",
    truth="0 * NaN is NaN, and freed blocks may hold it: cut off what is past the length before anything is multiplied",
)
def poison_weighted_with_zero(q, k_pool, v_pool, tables, lengths):
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        k, v = (
            repeat_kv(pool[table].transpose(0, 1).flatten(1, 2)[None], q.shape[1] // pool.shape[1])
            for pool in (k_pool, v_pool)
        )
        key = torch.arange(k.shape[2])
        query = torch.arange(length - q.shape[2], length)
        scores = q[row : row + 1] @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        weights = torch.softmax(scores.masked_fill(key > query[:, None], float("-inf")), dim=-1)
        rows.append(weights @ v)
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="with a cache no mask is needed, since all that it holds is past",
    truth="of several new positions each is held already, and the earlier ones must not see the later ones",
)
def no_mask(q, k_pool, v_pool, tables, lengths):
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        k, v = (pool[table].transpose(0, 1).flatten(1, 2)[:, :length] for pool in (k_pool, v_pool))
        rows.append(grouped_query_attention(q[row : row + 1], k[None], v[None], None))
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="the first query stands at position 0",
    truth="the queries are the last positions of the row: the mask sits bottom right",
)
def mask_top_left(q, k_pool, v_pool, tables, lengths):
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        k, v = (pool[table].transpose(0, 1).flatten(1, 2)[:, :length] for pool in (k_pool, v_pool))
        mask = torch.ones(q.shape[2], length, dtype=torch.bool)
        if q.shape[2] > 1:
            mask = mask.tril()
        rows.append(grouped_query_attention(q[row : row + 1], k[None], v[None], mask))
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="in a batch all rows are as long as the longest",
    truth="each row has a length of its own: with that of the longest, short rows attend to what is no position of theirs",
)
def longest_for_all(q, k_pool, v_pool, tables, lengths):
    longest = max(lengths)
    width = max(map(len, tables))
    rows = []
    for row, table in enumerate(tables):
        padded = [*table, *[table[-1]] * (width - len(table))]
        k, v = (pool[padded].transpose(0, 1).flatten(1, 2)[:, :longest] for pool in (k_pool, v_pool))
        rows.append(grouped_query_attention(q[row : row + 1], k[None], v[None], causal_mask(q.shape[2], longest)))
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="one table serves the whole batch",
    truth="row b has its own blocks, tables[b], though rows may share some",
)
def first_table_for_all(q, k_pool, v_pool, tables, lengths):
    rows = []
    for row, length in enumerate(lengths):
        k, v = (pool[tables[0]].transpose(0, 1).flatten(1, 2)[:, :length] for pool in (k_pool, v_pool))
        rows.append(grouped_query_attention(q[row : row + 1], k[None], v[None], causal_mask(q.shape[2], k.shape[1])))
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="query head h reads head h modulo kv_head of keys and values",
    truth="neighbors share: query head h reads head h // (head / kv_head)",
)
def heads_tiled(q, k_pool, v_pool, tables, lengths):
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        k, v = (pool[table].transpose(0, 1).flatten(1, 2)[:, :length] for pool in (k_pool, v_pool))
        n_repeat = q.shape[1] // k.shape[0]
        k, v = (x.repeat(n_repeat, 1, 1)[None] for x in (k, v))
        rows.append(grouped_query_attention(q[row : row + 1], k, v, causal_mask(q.shape[2], length)))
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="each block is attended to by itself, and the mean of the results is the result",
    truth="blocks with higher scores weigh more: partial results are joined in proportion to their sums of exponentials",
)
def mean_of_blocks(q, k_pool, v_pool, tables, lengths):
    size = k_pool.shape[2]
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        parts, seen = [], []
        mask = causal_mask(q.shape[2], length)
        for number, block in enumerate(table):
            visible = mask[:, number * size : (number + 1) * size]
            k, v = (pool[block, :, : visible.shape[1]][None] for pool in (k_pool, v_pool))
            parts.append(grouped_query_attention(q[row : row + 1], k, v, visible))
            seen.append(visible.any(dim=1)[:, None])
        rows.append(sum(parts) / sum(some.float() for some in seen))
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="the exponentials are small enough to be summed block by block as they are",
    truth="exp(89) overflows in float32: subtract the largest score, that of all blocks or the largest so far",
)
def no_maximum_subtracted(q, k_pool, v_pool, tables, lengths):
    size = k_pool.shape[2]
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        mask = causal_mask(q.shape[2], length)
        above, below = 0.0, 0.0
        for number, block in enumerate(table):
            visible = mask[:, number * size : (number + 1) * size]
            k, v = (
                repeat_kv(pool[block, :, : visible.shape[1]][None], q.shape[1] // pool.shape[1])
                for pool in (k_pool, v_pool)
            )
            weights = (q[row : row + 1] @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).exp() * visible
            above, below = above + weights @ v, below + weights.sum(dim=-1, keepdim=True)
        rows.append(above / below)
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="the scores are divided by the root of the block size",
    truth="the scale is 1/sqrt(d_head), the length of the vectors that are multiplied; blocks are only where they lie",
)
def scaled_by_the_block(q, k_pool, v_pool, tables, lengths):
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        k, v = (pool[table].transpose(0, 1).flatten(1, 2)[:, :length] for pool in (k_pool, v_pool))
        k, v = (repeat_kv(x[None], q.shape[1] // x.shape[0]) for x in (k, v))
        scores = q[row : row + 1] @ k.transpose(-1, -2) / math.sqrt(k_pool.shape[2])
        rows.append(masked_softmax(scores, causal_mask(q.shape[2], length)) @ v)
    return torch.cat(rows)


@misconception(
    "paged_attention",
    believes="a block belongs to one row, so it can be taken out of the pool when it was read",
    truth="rows that were forked share blocks: the second one that reads them needs them as well",
)
def shared_blocks_read_once(q, k_pool, v_pool, tables, lengths):
    k_pool, v_pool = k_pool.clone(), v_pool.clone()
    rows = []
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        k, v = (pool[table].transpose(0, 1).flatten(1, 2)[:, :length] for pool in (k_pool, v_pool))
        rows.append(grouped_query_attention(q[row : row + 1], k[None], v[None], causal_mask(q.shape[2], length)))
        k_pool[table] = v_pool[table] = 0.0
    return torch.cat(rows)


@fingerprint("paged_attention")
def paged_attention_probes(impl):
    v = Values("normal", 12)
    pools = [v.normal(9, 2, 3, 4) for _ in range(2)]
    empty = [pool.clone() for pool in pools]
    for pool in empty:
        pool[:, :, 1:] = 0.0
    poisoned = [pool.clone() for pool in pools]
    for pool in poisoned:
        pool[4, :, 1:] = pool[7] = float("nan")

    def query(batch, n_query, head=2):
        return Values("normal", 100 * batch + n_query).normal(batch, head, n_query, 4)

    return [
        lambda: impl(query(1, 1), *pools, [[2]], [3]),
        lambda: impl(query(1, 1), *pools, [[5, 2, 8]], [9]),
        lambda: impl(query(1, 1), *empty, [[5, 2, 8]], [7]),
        lambda: impl(query(1, 2), *pools, [[5, 2, 8]], [9]),
        lambda: impl(query(1, 3), *pools, [[5]], [3]),
        lambda: impl(query(2, 1), *pools, [[5, 2, 8], [1]], [7, 2]),
        lambda: impl(query(1, 1, head=4), *pools, [[2]], [3]),
        lambda: impl(query(1, 1), *poisoned, [[5, 4]], [4]),
        lambda: impl(query(2, 1), *pools, [[5, 2], [5, 8]], [4, 5]),
        lambda: impl(100 * query(1, 1), *pools, [[5, 2]], [6]),
    ]
