"""Wrong on purpose: what people believe about the KV cache and the loop around it, each mistake alone in its code.

Every class is whole, because each is handed out by itself.
"""

import torch
import torch.nn.functional as F

from gptdojo import fingerprint, misconception
from gptdojo.faults import LearnerError
from gptdojo.strategies import Values
from reference.attention import causal_self_attention, scaled_dot_product_attention
from reference.block import BLOCK_KEYS, layer_norm, mlp, transformer_block
from reference.embedding import embed_tokens
from reference.mask import causal_mask, masked_softmax
from reference.model import gpt_forward
from tests.strategies.small_gpt import HistoryModel, SmallGPT, random_params

# --- KVCache ----------------------------------------------------------------------------------------------------------


@misconception(
    "KVCache",
    believes="view gives the values first, because they are what attention returns",
    truth="the order is (k, v) everywhere: in append, in view and in every attention function",
)
class ValuesBeforeKeys:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.values[:, :, : self.length], self.keys[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="one line with two equal signs makes two buffers",
    truth="`a = b = torch.zeros(...)` makes one tensor with two names, so the values overwrite the keys",
)
class OneBufferForBoth:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="a list multiplied by the batch size holds that many buffers",
    truth=(
        "[buffer] * batch holds the same buffer batch times: every row of the batch overwrites the one history that "
        "they all share"
    ),
)
class OneRowTimesBatch:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx = n_ctx
        self.keys = [torch.zeros(n_head, n_ctx, d_head, dtype=dtype)] * batch
        self.values = [torch.zeros(n_head, n_ctx, d_head, dtype=dtype)] * batch
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.n_ctx:
            raise ValueError(f"{end} positions do not fit into {self.n_ctx}")
        for row in range(k.shape[0]):
            self.keys[row][:, self.length : end] = k[row]
            self.values[row][:, self.length : end] = v[row]
        self.length = end

    def view(self):
        return torch.stack(self.keys)[:, :, : self.length], torch.stack(self.values)[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="view returns the buffer, and whoever attends will leave out the empty slots",
    truth=(
        "view returns the filled part only: a slot of zeros gets the score 0, not minus infinity, and takes a share "
        "of the softmax"
    ),
)
class ViewsTheWholeBuffer:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="the cache is one position longer after each append",
    truth="a chunk of n positions makes it n longer: the size of dimension 2, not the number of calls",
)
class CountsTheCalls:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length += 1

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="the counter advances with every write",
    truth=(
        "the keys and the values of a position share one slot number, so the counter advances once an append, after "
        "both writes"
    ),
)
class CountsKeysAndValues:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        if self.length + k.shape[2] > self.keys.shape[2]:
            raise ValueError(f"{self.length + k.shape[2]} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : self.length + k.shape[2]] = k
        self.length += k.shape[2]
        self.values[:, :, self.length : self.length + v.shape[2]] = v
        self.length += v.shape[2]

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="a chunk is written to the first slots of the buffer",
    truth="it is written behind what is there already: slots length to length + n",
)
class WritesAtTheFront:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, : k.shape[2]] = k
        self.values[:, :, : v.shape[2]] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="each append replaces what was held before",
    truth="what was held stays, and the new positions come after it",
)
class KeepsTheLastChunk:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx = n_ctx
        self.keys = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)

    def append(self, k, v):
        if self.keys.shape[2] + k.shape[2] > self.n_ctx:
            raise ValueError(f"{self.keys.shape[2] + k.shape[2]} positions do not fit into {self.n_ctx}")
        self.keys = k
        self.values = v

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        if not 0 <= length <= self.keys.shape[2]:
            raise ValueError(f"cannot keep {length} of {self.keys.shape[2]} positions")
        self.keys = self.keys[:, :, :length]
        self.values = self.values[:, :, :length]

    def reset(self):
        self.crop(0)

    def __len__(self):
        return self.keys.shape[2]


@misconception(
    "KVCache",
    believes=(
        "the order of the positions in the cache does not matter, because a softmax does not care about the order of "
        "the keys"
    ),
    truth=(
        "it matters as soon as a mask is applied: the mask says by slot number who may see whom, so position t has "
        "to stand in slot t"
    ),
)
class NewestFirst:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx = n_ctx
        self.keys = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)

    def append(self, k, v):
        if self.keys.shape[2] + k.shape[2] > self.n_ctx:
            raise ValueError(f"{self.keys.shape[2] + k.shape[2]} positions do not fit into {self.n_ctx}")
        self.keys = torch.cat([k, self.keys], dim=2)
        self.values = torch.cat([v, self.values], dim=2)

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        if not 0 <= length <= self.keys.shape[2]:
            raise ValueError(f"cannot keep {length} of {self.keys.shape[2]} positions")
        self.keys = self.keys[:, :, :length]
        self.values = self.values[:, :, :length]

    def reset(self):
        self.crop(0)

    def __len__(self):
        return self.keys.shape[2]


@misconception(
    "KVCache",
    believes="reshape turns (batch, head, position, d_head) into (batch, position, head, d_head)",
    truth=(
        "reshape only cuts the same row of numbers anew, which mixes heads with positions; transpose(1, 2) exchanges "
        "the two dimensions"
    ),
)
class ReshapesForTransposing:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.shape = batch, n_head, n_ctx, d_head
        self.keys = torch.zeros(batch, n_ctx, n_head, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_ctx, n_head, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        batch, n_head, n_ctx, d_head = self.shape
        new = k.shape[2]
        end = self.length + new
        if end > n_ctx:
            raise ValueError(f"{end} positions do not fit into {n_ctx}")
        self.keys[:, self.length : end] = k.reshape(batch, new, n_head, d_head)
        self.values[:, self.length : end] = v.reshape(batch, new, n_head, d_head)
        self.length = end

    def view(self):
        batch, n_head, _, d_head = self.shape
        held = (batch, n_head, self.length, d_head)
        return self.keys[:, : self.length].reshape(held), self.values[:, : self.length].reshape(held)

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="buffers kept on the class belong to each cache by itself",
    truth="what is set on the class is shared by all its instances: the caches of two layers then overwrite each other",
)
class OneBufferForAllCaches:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        type(self).keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        type(self).values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="all layers hold equally many positions, so one counter on the class serves every cache",
    truth=(
        "while a forward pass runs, layer 0 has already appended and layer 1 has not, so each cache needs its own "
        "counter"
    ),
)
class OneLengthForAllCaches:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        type(self).length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        type(self).length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        type(self).length = length

    def reset(self):
        type(self).length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="nobody looks into a cache before something was appended",
    truth=(
        "an empty cache has a view too, with 0 positions; torch.cat refuses an empty list, so start from a tensor or "
        "say the shape"
    ),
)
class CannotViewNothing:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx = n_ctx
        self.keys = []
        self.values = []

    def append(self, k, v):
        if len(self) + k.shape[2] > self.n_ctx:
            raise ValueError(f"{len(self) + k.shape[2]} positions do not fit into {self.n_ctx}")
        self.keys.extend(k.unbind(2))
        self.values.extend(v.unbind(2))

    def view(self):
        return torch.stack(self.keys, dim=2), torch.stack(self.values, dim=2)

    def crop(self, length):
        if not 0 <= length <= len(self):
            raise ValueError(f"cannot keep {length} of {len(self)} positions")
        del self.keys[length:], self.values[length:]

    def reset(self):
        self.keys.clear()
        self.values.clear()

    def __len__(self):
        return len(self.keys)


@misconception(
    "KVCache",
    believes="crop(length) keeps the newest positions, as a sliding window does",
    truth="it keeps the first: cropping takes back the newest positions, as if they had never been fed",
)
class CropsFromTheFront:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx = n_ctx
        self.keys = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)

    def append(self, k, v):
        if self.keys.shape[2] + k.shape[2] > self.n_ctx:
            raise ValueError(f"{self.keys.shape[2] + k.shape[2]} positions do not fit into {self.n_ctx}")
        self.keys = torch.cat([self.keys, k], dim=2)
        self.values = torch.cat([self.values, v], dim=2)

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        if not 0 <= length <= self.keys.shape[2]:
            raise ValueError(f"cannot keep {length} of {self.keys.shape[2]} positions")
        self.keys = self.keys[:, :, self.keys.shape[2] - length :]
        self.values = self.values[:, :, self.values.shape[2] - length :]

    def reset(self):
        self.crop(0)

    def __len__(self):
        return self.keys.shape[2]


@misconception(
    "KVCache",
    believes="crop(n) removes n positions",
    truth="its argument is the length that remains, as in cropping a picture to a size",
)
class CropRemovesSoMany:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot remove {length} of {self.length} positions")
        self.length -= length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="a slice that ends at length - held removes the surplus, whatever the surplus is",
    truth="when nothing is to be removed the slice ends at -0, which is 0, and everything is lost",
)
class CropCountsBackFromTheEnd:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx = n_ctx
        self.keys = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)

    def append(self, k, v):
        if self.keys.shape[2] + k.shape[2] > self.n_ctx:
            raise ValueError(f"{self.keys.shape[2] + k.shape[2]} positions do not fit into {self.n_ctx}")
        self.keys = torch.cat([self.keys, k], dim=2)
        self.values = torch.cat([self.values, v], dim=2)

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        if not 0 <= length <= self.keys.shape[2]:
            raise ValueError(f"cannot keep {length} of {self.keys.shape[2]} positions")
        surplus = self.keys.shape[2] - length
        self.keys = self.keys[:, :, :-surplus]
        self.values = self.values[:, :, :-surplus]

    def reset(self):
        self.crop(0)

    def __len__(self):
        return self.keys.shape[2]


@misconception(
    "KVCache",
    believes="`if length:` asks whether a length was given",
    truth="0 is a length like any other and is false in Python: crop(0) has to empty the cache",
)
class CropToZeroDoesNothing:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if length:
            if not 0 <= length <= self.length:
                raise ValueError(f"cannot keep {length} of {self.length} positions")
            self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="without its key a value cannot be attended to, so it is enough to crop the keys",
    truth=(
        "keys and values are paired by slot: after the next append the values of the cropped positions stand beside "
        "other keys"
    ),
)
class CropsTheKeysAlone:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx = n_ctx
        self.keys = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)

    def append(self, k, v):
        if self.keys.shape[2] + k.shape[2] > self.n_ctx:
            raise ValueError(f"{self.keys.shape[2] + k.shape[2]} positions do not fit into {self.n_ctx}")
        self.keys = torch.cat([self.keys, k], dim=2)
        self.values = torch.cat([self.values, v], dim=2)

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        if not 0 <= length <= self.keys.shape[2]:
            raise ValueError(f"cannot keep {length} of {self.keys.shape[2]} positions")
        self.keys = self.keys[:, :, :length]

    def reset(self):
        self.crop(0)

    def __len__(self):
        return self.keys.shape[2]


@misconception(
    "KVCache",
    believes="crop changes what is seen, and the place of the next write goes on from where it was",
    truth="the next position is written right behind the last one kept; else a stale one stands between them",
)
class AppendsAtTheOldPlace:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0
        self.next_slot = 0

    def append(self, k, v):
        new = k.shape[2]
        if self.length + new > self.keys.shape[2]:
            raise ValueError(f"{self.length + new} positions do not fit into {self.keys.shape[2]}")
        slots = torch.arange(self.next_slot, self.next_slot + new) % self.keys.shape[2]
        self.keys[:, :, slots] = k
        self.values[:, :, slots] = v
        self.next_slot += new
        self.length += new

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0
        self.next_slot = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="a cache is empty when its numbers are zero",
    truth=(
        "it is empty when its length is 0: a position of zeros is still attended to, and the next append would go "
        "behind it"
    ),
)
class ResetZeroesTheNumbers:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.keys.zero_()
        self.values.zero_()

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="`keys, values, length = ...` in a method sets the attributes of the object",
    truth="without `self.` these are local variables that end with the call, so the old sequence leaks into the next one",
)
class ResetBindsLocalNames:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        keys, values, length = self.keys[:, :, :0], self.values[:, :, :0], 0
        return keys, values, length

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="a cache of n_ctx slots is full before the last one is used",
    truth="n_ctx positions fit: only more than n_ctx is too much, so compare with > and not with >=",
)
class RefusesTheLastSlot:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end >= self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="the room that is left is n_ctx minus all positions ever appended",
    truth="crop and reset give their slots back: the room is n_ctx minus the positions held",
)
class CountsWhatWasEverAppended:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0
        self.appended = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        self.appended += k.shape[2]
        if self.appended > self.keys.shape[2]:
            self.appended -= k.shape[2]
            raise ValueError(f"{self.appended + k.shape[2]} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="writing past the end of a buffer raises an error by itself",
    truth=(
        "a slice past the end is cut short without a word, and one position written into the empty slice is lost by "
        "broadcasting"
    ),
)
class LeavesTheCheckToTorch:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="a full cache keeps what fits and leaves out the rest",
    truth="a token that is silently left out changes every later one; past the context is a ValueError",
)
class DropsWhatDoesNotFit:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = min(self.length + k.shape[2], self.keys.shape[2])
        self.keys[:, :, self.length : end] = k[:, :, : end - self.length]
        self.values[:, :, self.length : end] = v[:, :, : end - self.length]
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="a full cache starts over at its first slot",
    truth=(
        "this overwrites the oldest positions and puts slots out of order, and with learned positions a model has no "
        "position past n_ctx; it is a ValueError"
    ),
)
class WrapsAround:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        n_ctx = self.keys.shape[2]
        for i in range(k.shape[2]):
            self.keys[:, :, (self.length + i) % n_ctx] = k[:, :, i]
            self.values[:, :, (self.length + i) % n_ctx] = v[:, :, i]
        self.length = min(self.length + k.shape[2], n_ctx)

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="a full cache forgets its oldest positions to make room",
    truth=(
        "with learned absolute positions every kept key would then stand at a wrong position; it is a ValueError, "
        "and a window is another kind of cache"
    ),
)
class SlidesWhenFull:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx = n_ctx
        self.keys = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k], dim=2)[:, :, -self.n_ctx :]
        self.values = torch.cat([self.values, v], dim=2)[:, :, -self.n_ctx :]

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        if not 0 <= length <= self.keys.shape[2]:
            raise ValueError(f"cannot keep {length} of {self.keys.shape[2]} positions")
        self.keys = self.keys[:, :, :length]
        self.values = self.values[:, :, :length]

    def reset(self):
        self.crop(0)

    def __len__(self):
        return self.keys.shape[2]


@misconception(
    "KVCache",
    believes="what fits of a chunk is kept, and the error tells about the rest",
    truth=(
        "an append that fails changes nothing: the caller cannot know which part of its chunk got in, and appends it "
        "again"
    ),
)
class FillsUpAndRaises:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        for i in range(k.shape[2]):
            if self.length == self.keys.shape[2]:
                raise ValueError(f"more than {self.length} positions do not fit")
            self.keys[:, :, self.length] = k[:, :, i]
            self.values[:, :, self.length] = v[:, :, i]
            self.length += 1

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="the length can be advanced before it is checked",
    truth=(
        "when the check raises, the advanced length stays, and the cache claims positions that nobody wrote: check "
        "first"
    ),
)
class CountsThenChecks:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        start = self.length
        self.length += k.shape[2]
        if self.length > self.keys.shape[2]:
            raise ValueError(f"{self.length} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, start : self.length] = k
        self.values[:, :, start : self.length] = v

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="after an overflow the cache is of no use, so it is emptied along with the error",
    truth="an append that fails changes nothing: the sequence is still valid, and the caller may crop it or end there",
)
class StartsOverWhenFull:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            self.reset()
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="a piece is as long as it was when it was appended",
    truth="crop can cut through a piece, and the next crop has to count with what is left of it",
)
class CountsPiecesAsTheyCame:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.empty = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.n_ctx = n_ctx
        self.reset()

    def append(self, k, v):
        if len(self) + k.shape[2] > self.n_ctx:
            raise ValueError(f"{len(self) + k.shape[2]} positions do not fit into {self.n_ctx}")
        self.pieces.append((k.clone(), v.clone()))
        self.sizes.append(k.shape[2])

    def view(self):
        keys = [k for k, _ in self.pieces]
        values = [v for _, v in self.pieces]
        return torch.cat([self.empty, *keys], dim=2), torch.cat([self.empty, *values], dim=2)

    def crop(self, length):
        pieces, sizes, kept = [], [], 0
        for (k, v), size in zip(self.pieces, self.sizes, strict=True):
            room = length - kept
            if room <= 0:
                break
            pieces.append((k[:, :, :room], v[:, :, :room]))
            sizes.append(size)
            kept += size
        self.pieces, self.sizes = pieces, sizes

    def reset(self):
        self.pieces, self.sizes = [], []

    def __len__(self):
        return sum(k.shape[2] for k, _ in self.pieces)


@misconception(
    "KVCache",
    believes="a cache holds float32, like every tensor",
    truth="it holds the dtype it was made with: float16 is asked for because it takes half of the bytes",
)
class AlwaysFloat32:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="slicing the buffers to the new length is all that crop has to do",
    truth="the slice has no room behind it: the buffers keep their n_ctx slots, and only the length changes",
)
class CropShrinksTheBuffer:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.keys = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        if end > self.keys.shape[2]:
            raise ValueError(f"{end} positions do not fit into {self.keys.shape[2]}")
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end

    def view(self):
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def crop(self, length):
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} positions")
        self.keys = self.keys[:, :, :length]
        self.values = self.values[:, :, :length]
        self.length = length

    def reset(self):
        self.length = 0

    def __len__(self):
        return self.length


@misconception(
    "KVCache",
    believes="a cache that grows by concatenation needs no limit",
    truth="the model has n_ctx positions and no more: what goes past them is an error, however much memory there is",
)
class GrowsWithoutBound:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx = n_ctx
        self.keys = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)

    def append(self, k, v):
        self.keys = torch.cat([self.keys, k], dim=2)
        self.values = torch.cat([self.values, v], dim=2)

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        if not 0 <= length <= self.keys.shape[2]:
            raise ValueError(f"cannot keep {length} of {self.keys.shape[2]} positions")
        self.keys = self.keys[:, :, :length]
        self.values = self.values[:, :, :length]

    def reset(self):
        self.crop(0)

    def __len__(self):
        return self.keys.shape[2]


@misconception(
    "KVCache",
    believes="it is enough to ask whether the cache is full already",
    truth="a chunk may begin inside the context and end outside: compare length + new with n_ctx",
)
class ChecksOnlyWhenFull:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx = n_ctx
        self.keys = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)

    def append(self, k, v):
        if self.keys.shape[2] == self.n_ctx:
            raise ValueError(f"all {self.n_ctx} positions are taken")
        self.keys = torch.cat([self.keys, k], dim=2)
        self.values = torch.cat([self.values, v], dim=2)

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        if not 0 <= length <= self.keys.shape[2]:
            raise ValueError(f"cannot keep {length} of {self.keys.shape[2]} positions")
        self.keys = self.keys[:, :, :length]
        self.values = self.values[:, :, :length]

    def reset(self):
        self.crop(0)

    def __len__(self):
        return self.keys.shape[2]


@misconception(
    "KVCache",
    believes="a reset cache is made anew from its sizes",
    truth="it keeps its dtype as well: a tensor made without one is float32",
)
class ForgetsItsDtype:
    def __init__(self, batch, n_head, n_ctx, d_head, dtype=torch.float32):
        self.n_ctx = n_ctx
        self.keys = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)
        self.values = torch.zeros(batch, n_head, 0, d_head, dtype=dtype)

    def append(self, k, v):
        if self.keys.shape[2] + k.shape[2] > self.n_ctx:
            raise ValueError(f"{self.keys.shape[2] + k.shape[2]} positions do not fit into {self.n_ctx}")
        self.keys = torch.cat([self.keys, k], dim=2)
        self.values = torch.cat([self.values, v], dim=2)

    def view(self):
        return self.keys, self.values

    def crop(self, length):
        if not 0 <= length <= self.keys.shape[2]:
            raise ValueError(f"cannot keep {length} of {self.keys.shape[2]} positions")
        self.keys = self.keys[:, :, :length]
        self.values = self.values[:, :, :length]

    def reset(self):
        batch, n_head, _, d_head = self.keys.shape
        self.keys = torch.zeros(batch, n_head, 0, d_head)
        self.values = torch.zeros(batch, n_head, 0, d_head)

    def __len__(self):
        return self.keys.shape[2]


# --- attend_with_cache ------------------------------------------------------------------------------------------------


@misconception(
    "attend_with_cache",
    believes="the scores need no scaling when the softmax normalizes them anyway",
    truth="q . k grows with d_head: without 1/sqrt(d_head) the softmax puts nearly all weight on one key",
)
def no_scale(q, k_buffer, v_buffer, length):
    mask = causal_mask(q.shape[2], length)
    scores = q @ k_buffer[:, :, :length].transpose(-2, -1)
    return masked_softmax(scores, mask) @ v_buffer[:, :, :length]


@misconception(
    "attend_with_cache",
    believes="the scores are divided by the square root of the number of positions held",
    truth="the dot product has d_head terms, and it is the square root of d_head that keeps its variance at 1",
)
def scales_by_the_length(q, k_buffer, v_buffer, length):
    mask = causal_mask(q.shape[2], length)
    scores = q @ k_buffer[:, :, :length].transpose(-2, -1) / length**0.5
    return masked_softmax(scores, mask) @ v_buffer[:, :, :length]


@misconception(
    "attend_with_cache",
    believes="all rows of the batch share the history of the first one",
    truth="each row is a sequence of its own, with its own keys and values",
)
def first_row_for_all(q, k_buffer, v_buffer, length):
    k = k_buffer[:1, :, :length].expand(q.shape[0], -1, -1, -1)
    v = v_buffer[:1, :, :length].expand(q.shape[0], -1, -1, -1)
    return scaled_dot_product_attention(q, k, v, causal_mask(q.shape[2], length))


@misconception(
    "attend_with_cache",
    believes="the new tokens attend to each other, and the cache has done its work when it was filled",
    truth="what the cache holds is there to be attended to: every new token sees the whole past",
)
def new_tokens_only(q, k_buffer, v_buffer, length):
    start = length - q.shape[2]
    k, v = k_buffer[:, :, start:length], v_buffer[:, :, start:length]
    return scaled_dot_product_attention(q, k, v, causal_mask(q.shape[2], q.shape[2]))


@misconception(
    "attend_with_cache",
    believes="a token attends to its past, so its own key is left out",
    truth="each token attends to itself too; without it the first token of all would have nothing to attend to",
)
def leaves_out_itself(q, k_buffer, v_buffer, length):
    mask = torch.ones(q.shape[2], length, dtype=torch.bool).tril(diagonal=length - q.shape[2] - 1)
    return scaled_dot_product_attention(q, k_buffer[:, :, :length], v_buffer[:, :, :length], mask)


@misconception(
    "attend_with_cache",
    believes="slots that nobody filled hold zeros, and zeros add nothing",
    truth="a key of zeros has the score 0, and exp(0) = 1: every empty slot takes a share of the softmax",
)
def attends_to_empty_slots(q, k_buffer, v_buffer, length):
    n_query, n_ctx = q.shape[2], k_buffer.shape[2]
    mask = torch.ones(n_query, n_ctx, dtype=torch.bool).tril(diagonal=length - n_query)
    mask[:, length:] = True
    return scaled_dot_product_attention(q, k_buffer, v_buffer, mask)


@misconception(
    "attend_with_cache",
    believes="the mask ends at the bottom right of the buffer",
    truth="the newest token stands in slot length - 1, not in the last slot of the buffer: shift the diagonal by "
    "length - n_query",
)
def diagonal_ends_with_the_buffer(q, k_buffer, v_buffer, length):
    return scaled_dot_product_attention(q, k_buffer, v_buffer, causal_mask(q.shape[2], k_buffer.shape[2]))


@misconception(
    "attend_with_cache",
    believes="the filled slots are the last ones of the buffer",
    truth="the buffer is filled from the front: the first length slots are filled",
)
def takes_the_last_slots(q, k_buffer, v_buffer, length):
    k, v = k_buffer[:, :, -length:], v_buffer[:, :, -length:]
    return scaled_dot_product_attention(q, k, v, causal_mask(q.shape[2], length))


@misconception(
    "attend_with_cache",
    believes="length counts the positions before the new tokens",
    truth="the new tokens have been appended already: length includes them",
)
def length_without_the_new(q, k_buffer, v_buffer, length):
    total = min(length + q.shape[2], k_buffer.shape[2])
    k, v = k_buffer[:, :, :total], v_buffer[:, :, :total]
    return scaled_dot_product_attention(q, k, v, causal_mask(q.shape[2], total))


@misconception(
    "attend_with_cache",
    believes="an empty slot is recognized by its zeros",
    truth="a buffer that was cropped or reused holds old numbers there; only length says what is filled",
)
def recognizes_zeros(q, k_buffer, v_buffer, length):
    n_query, n_ctx = q.shape[2], k_buffer.shape[2]
    filled = (k_buffer != 0).any(dim=-1)[:, :, None, :]
    mask = torch.ones(n_query, n_ctx, dtype=torch.bool).tril(diagonal=length - n_query)
    mask[:, length:] = True
    return scaled_dot_product_attention(q, k_buffer, v_buffer, mask & filled)


@misconception(
    "attend_with_cache",
    believes="what stands in the cache is the past, so no mask is needed",
    truth="the new tokens are in the cache too: the first of them would see the later ones, also in a prompt",
)
def no_mask(q, k_buffer, v_buffer, length):
    return scaled_dot_product_attention(q, k_buffer[:, :, :length], v_buffer[:, :, :length], None)


@misconception(
    "attend_with_cache",
    believes="a token sees the next one, which stands beside it in the cache",
    truth="the next token is what has to be predicted: query i of n_query sees slots up to length - n_query + i",
)
def sees_the_next(q, k_buffer, v_buffer, length):
    mask = torch.ones(q.shape[2], length, dtype=torch.bool).tril(diagonal=length - q.shape[2] + 1)
    return scaled_dot_product_attention(q, k_buffer[:, :, :length], v_buffer[:, :, :length], mask)


@misconception(
    "attend_with_cache",
    believes="only the newest query matters, since the next token is predicted from it",
    truth="each new token needs its output: the layers above compute their keys and values from it",
)
def newest_query_for_all(q, k_buffer, v_buffer, length):
    out = scaled_dot_product_attention(q[:, :, -1:], k_buffer[:, :, :length], v_buffer[:, :, :length], None)
    return out.expand_as(q)


@misconception(
    "attend_with_cache",
    believes="a mask is needed for the prompt only: with a past in the cache, everything held is past",
    truth="a chunk of several tokens brings a piece of future for all of its tokens but the last",
)
def no_mask_with_a_past(q, k_buffer, v_buffer, length):
    mask = causal_mask(length, length) if q.shape[2] == length else None
    return scaled_dot_product_attention(q, k_buffer[:, :, :length], v_buffer[:, :, :length], mask)


@misconception(
    "attend_with_cache",
    believes="a lower triangle is causal, whatever the numbers of queries and keys",
    truth="tril starts at the top left, where the first query sees the first key alone; the queries are the last "
    "positions, so the triangle ends at the bottom right",
)
def top_left_triangle(q, k_buffer, v_buffer, length):
    mask = torch.ones(q.shape[2], length, dtype=torch.bool).tril()
    return scaled_dot_product_attention(q, k_buffer[:, :, :length], v_buffer[:, :, :length], mask)


@misconception(
    "attend_with_cache",
    believes="is_causal=True does the right thing as soon as there is more than one query",
    truth="it aligns the triangle top left, which is right for a prompt alone and hides the past from a later chunk",
)
def is_causal_for_chunks(q, k_buffer, v_buffer, length):
    k, v = k_buffer[:, :, :length], v_buffer[:, :, :length]
    return F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)


@misconception(
    "attend_with_cache",
    believes="batch and heads lie next to each other in memory, so view can merge them",
    truth="heads that come from a transpose lie elsewhere: view raises, reshape copies where it has to",
)
def merges_with_view(q, k_buffer, v_buffer, length):
    batch, n_head, n_query, d_head = q.shape
    flat_q = q.view(batch * n_head, n_query, d_head)
    k = k_buffer[:, :, :length].reshape(batch * n_head, length, d_head)
    v = v_buffer[:, :, :length].reshape(batch * n_head, length, d_head)
    scores = torch.bmm(flat_q, k.transpose(1, 2)) / d_head**0.5
    weights = masked_softmax(scores, causal_mask(n_query, length))
    return torch.bmm(weights, v).view(batch, n_head, n_query, d_head)


@misconception(
    "attend_with_cache",
    believes="a weight of 0 removes a slot, whatever stands in it",
    truth="0 times NaN is NaN, and 0 times infinity too: leave the unfilled slots out of the product by slicing",
)
def weights_of_zero(q, k_buffer, v_buffer, length):
    n_query, n_ctx, d_head = q.shape[2], k_buffer.shape[2], q.shape[3]
    mask = torch.ones(n_query, n_ctx, dtype=torch.bool).tril(diagonal=length - n_query)
    scores = q @ k_buffer.transpose(-2, -1) / d_head**0.5
    return masked_softmax(scores, mask) @ v_buffer


@misconception(
    "attend_with_cache",
    believes="adding minus infinity hides a score, whatever it was",
    truth="NaN plus minus infinity is NaN, and a slot past the length may hold NaN: slice the keys before the product",
)
def adds_the_mask(q, k_buffer, v_buffer, length):
    n_query, n_ctx, d_head = q.shape[2], k_buffer.shape[2], q.shape[3]
    hidden = torch.full((n_query, n_ctx), float("-inf")).triu(diagonal=length - n_query + 1)
    scores = q @ k_buffer.transpose(-2, -1) / d_head**0.5 + hidden
    return scores.softmax(dim=-1)[..., :length] @ v_buffer[:, :, :length]


@misconception(
    "attend_with_cache",
    believes="unfilled slots may be set to zero first, since the buffer belongs to the cache anyway",
    truth="the buffer was lent for reading: work on a slice, which neither copies nor changes it",
)
def cleans_the_buffer(q, k_buffer, v_buffer, length):
    k_buffer[:, :, length:] = 0
    v_buffer[:, :, length:] = 0
    k, v = k_buffer[:, :, :length], v_buffer[:, :, :length]
    return scaled_dot_product_attention(q, k, v, causal_mask(q.shape[2], length))


@misconception(
    "attend_with_cache",
    believes="-100 is small enough to hide a score",
    truth="scores have no bound: where the visible ones lie below -100 the hidden ones win, so use minus infinity",
)
def hides_with_minus_100(q, k_buffer, v_buffer, length):
    k, v = k_buffer[:, :, :length], v_buffer[:, :, :length]
    scores = q @ k.transpose(-2, -1) / q.shape[3] ** 0.5
    scores = scores.masked_fill(~causal_mask(q.shape[2], length), -100.0)
    return scores.softmax(dim=-1) @ v


@misconception(
    "attend_with_cache",
    believes="exp of a score fits into a float32",
    truth="it overflows from 89 on, and infinity over infinity is NaN: softmax subtracts the largest score first",
)
def exponential_of_the_score(q, k_buffer, v_buffer, length):
    k, v = k_buffer[:, :, :length], v_buffer[:, :, :length]
    weights = (q @ k.transpose(-2, -1) / q.shape[3] ** 0.5).exp() * causal_mask(q.shape[2], length)
    return weights / weights.sum(dim=-1, keepdim=True) @ v


# --- forward_with_cache -----------------------------------------------------------------------------------------------


@misconception(
    "forward_with_cache",
    believes="the key is rotated or shifted by its position only inside attention, so the tokens need no position here",
    truth="GPT-2 adds a learned position vector to each token at the very start, with a cache as without",
)
def no_positions(tokens, params, n_head, caches):
    if len(caches[0]) + tokens.shape[1] > params["wpe.weight"].shape[0]:
        raise ValueError("past the context")

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    nowhere = params | {"wpe.weight": torch.zeros_like(params["wpe.weight"])}
    return gpt_forward(tokens, nowhere, n_head, attend=attend)


@misconception(
    "forward_with_cache",
    believes="one cache serves the whole model",
    truth="each layer has keys and values of its own: layer i appends to caches[i] and reads it",
)
def one_cache_for_all_layers(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        caches[0].append(k, v)
        keys, values = caches[0].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)


@misconception(
    "forward_with_cache",
    believes="the rows of a batch can share one history",
    truth="each row is a sequence of its own, and its keys and values go into its own row of the cache",
)
def first_row_into_every_row(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        caches[layer].append(k[:1].expand_as(k), v[:1].expand_as(v))
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)


@misconception(
    "forward_with_cache",
    believes="the cache is filled once in attention and once more when the step is done",
    truth="every token belongs into each cache exactly once; a second copy is attended to as if it were another token",
)
def appends_twice(tokens, params, n_head, caches):
    added = []

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        added.append((k, v))
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    logits = gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)
    for cache, (k, v) in zip(caches, added, strict=True):
        cache.append(k, v)
    return logits


@misconception(
    "forward_with_cache",
    believes="a cache replaces the mask",
    truth="the tokens of one call stand in the cache together, and without a mask each sees those after it",
)
def never_masks(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, None)

    return gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)


@misconception(
    "forward_with_cache",
    believes="only the logits after the last token are of use",
    truth="logits are returned for every token fed: scoring a text and checking a draft need all of them",
)
def last_logits_only(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)[:, -1:]


@misconception(
    "forward_with_cache",
    believes="the length of the first cache can be read whenever the past is needed",
    truth="layer 0 has appended by the time layer 1 reads it: read the past once, before the layers run",
)
def reads_the_past_in_each_layer(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        past = len(caches[0])
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        mask = torch.ones(q.shape[2], keys.shape[2], dtype=torch.bool).tril(diagonal=past)
        return scaled_dot_product_attention(q, keys, values, mask)

    return gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)


@misconception(
    "forward_with_cache",
    believes="the tokens of one call share the position at which the call begins",
    truth="each token stands one further than the one before: the positions are past, past + 1, and so on",
)
def one_position_for_the_chunk(tokens, params, n_head, caches):
    past, n_new = len(caches[0]), tokens.shape[1]
    wpe = params["wpe.weight"]
    if past + n_new > wpe.shape[0]:
        raise ValueError("past the context")

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params | {"wpe.weight": wpe[past].expand(n_new, -1)}, n_head, attend=attend)


@misconception(
    "forward_with_cache",
    believes="positions count the tokens of this call",
    truth="they count from the start of the sequence: the first token of this call stands behind all that is held",
)
def positions_from_zero(tokens, params, n_head, caches):
    if len(caches[0]) + tokens.shape[1] > params["wpe.weight"].shape[0]:
        raise ValueError("past the context")

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params, n_head, attend=attend)


@misconception(
    "forward_with_cache",
    believes="the next token stands where the last one held stands",
    truth="with n positions held, 0 to n - 1, the next one is n",
)
def position_of_the_last_held(tokens, params, n_head, caches):
    past = len(caches[0])
    if past + tokens.shape[1] > params["wpe.weight"].shape[0]:
        raise ValueError("past the context")

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params, n_head, first_position=max(past - 1, 0), attend=attend)


@misconception(
    "forward_with_cache",
    believes="the top layer's cache is enough, since the logits come from it",
    truth="each layer attends to the past by itself, so each has to hold its keys and values",
)
def only_the_last_layer_remembers(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        held = len(caches[layer])
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        if layer < len(caches) - 1:
            keys, values = keys[:, :, held:], values[:, :, held:]
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)


@misconception(
    "forward_with_cache",
    believes="a token attends to what was in the cache before it came",
    truth="it attends to itself too: append first, then view",
)
def views_before_appending(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        held = len(caches[layer])
        keys, values = caches[layer].view()
        caches[layer].append(k, v)
        if held == 0:
            return scaled_dot_product_attention(q, k, v, causal_mask(q.shape[2], k.shape[2]))
        return scaled_dot_product_attention(q, keys, values, None)

    return gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)


@misconception(
    "forward_with_cache",
    believes="with a past in the cache, the attention output carries the history and replaces the residual stream",
    truth="the block is the same with and without a cache: its input is added to the attention output",
)
def no_residual_with_a_past(tokens, params, n_head, caches):
    past, n_new = len(caches[0]), tokens.shape[1]
    x = embed_tokens(tokens, params["wte.weight"], params["wpe.weight"], past)

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        return scaled_dot_product_attention(q, *caches[layer].view(), causal_mask(n_new, past + n_new))

    for layer in range(len(caches)):
        block = {key: params[f"h.{layer}.{key}"] for key in BLOCK_KEYS}
        normed = layer_norm(x, block["ln_1.weight"], block["ln_1.bias"])
        attention_weights = [
            block[f"attn.{key}"] for key in ("c_attn.weight", "c_attn.bias", "c_proj.weight", "c_proj.bias")
        ]
        attended = causal_self_attention(normed, *attention_weights, n_head, attend, layer)
        x = attended if past else x + attended
        mlp_weights = [block[f"mlp.{key}"] for key in ("c_fc.weight", "c_fc.bias", "c_proj.weight", "c_proj.bias")]
        x = x + mlp(layer_norm(x, block["ln_2.weight"], block["ln_2.bias"]), *mlp_weights)
    return F.linear(layer_norm(x, params["ln_f.weight"], params["ln_f.bias"]), params["wte.weight"])


@misconception(
    "forward_with_cache",
    believes="a lower triangle over queries and keys is the causal mask",
    truth="tril starts at the top left: one new token would see the first key alone; the mask ends at the bottom right",
)
def triangle_at_the_top_left(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        mask = torch.ones(q.shape[2], keys.shape[2], dtype=torch.bool).tril()
        return scaled_dot_product_attention(q, keys, values, mask)

    return gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)


@misconception(
    "forward_with_cache",
    believes="is_causal=True is right for every call of more than one token",
    truth="it is right for a prompt on empty caches; with a past it aligns top left and hides most of that past",
)
def is_causal_when_many(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        return F.scaled_dot_product_attention(q, *caches[layer].view(), is_causal=q.shape[2] > 1)

    return gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)


@misconception(
    "forward_with_cache",
    believes="the mask is for the prompt; once there is a past, everything in the cache is past",
    truth="a chunk of several tokens behind a past still needs a mask among its own tokens",
)
def masks_the_prompt_only(tokens, params, n_head, caches):
    past = len(caches[0])

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        mask = None if past else causal_mask(q.shape[2], keys.shape[2])
        return scaled_dot_product_attention(q, keys, values, mask)

    return gpt_forward(tokens, params, n_head, first_position=past, attend=attend)


@misconception(
    "forward_with_cache",
    believes="it makes no difference on which side of the held keys the new ones stand",
    truth="without a mask it makes none, but the mask goes by order: the new ones are the last",
)
def new_keys_in_front(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        held = len(caches[layer])
        caches[layer].append(k, v)
        keys, values = (torch.cat([held_[:, :, held:], held_[:, :, :held]], dim=2) for held_ in caches[layer].view())
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)


@misconception(
    "forward_with_cache",
    believes="with a past, the positions of a chunk start at that of its last token",
    truth="its first token stands at len(cache), and the others follow; the two agree for a single token only",
)
def position_of_the_last_new(tokens, params, n_head, caches):
    past, n_new = len(caches[0]), tokens.shape[1]
    wpe = params["wpe.weight"]
    if past + n_new > wpe.shape[0]:
        raise ValueError("past the context")
    extended = torch.cat([wpe, wpe[-1:].expand(n_new, -1)])

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    first = past + n_new - 1 if past else 0
    return gpt_forward(tokens, params | {"wpe.weight": extended}, n_head, first_position=first, attend=attend)


@misconception(
    "forward_with_cache",
    believes="the function may count the tokens itself, starting over when it meets an empty cache",
    truth="only the caches know where their sequence stands: they may be cropped, or belong to another sequence",
)
def counts_by_itself(tokens, params, n_head, caches, state={"past": 0}):  # noqa: B006
    past = state["past"] if len(caches[0]) else 0
    state["past"] = past + tokens.shape[1]
    wpe = params["wpe.weight"]
    if len(caches[0]) + tokens.shape[1] > wpe.shape[0]:
        raise ValueError("past the context")
    positions = wpe[torch.arange(past, past + tokens.shape[1]).clamp(max=wpe.shape[0] - 1)]

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params | {"wpe.weight": positions}, n_head, attend=attend)


@misconception(
    "forward_with_cache",
    believes="remembering the tokens and computing everything again amounts to a cache",
    truth="the past is in the caches that were handed in, whoever filled or cropped them, and is not computed again",
)
def remembers_the_tokens(tokens, params, n_head, caches, state={}):  # noqa: B006
    if len(caches[0]) + tokens.shape[1] > params["wpe.weight"].shape[0]:
        raise ValueError("past the context")
    if len(caches[0]) and state["fed"].shape[0] == tokens.shape[0]:
        state["fed"] = torch.cat([state["fed"], tokens], dim=1)[:, -params["wpe.weight"].shape[0] :]
    else:
        state["fed"] = tokens
    n_new = tokens.shape[1]

    def attend(layer, q, k, v):
        caches[layer].append(k[:, :, -n_new:], v[:, :, -n_new:])
        return scaled_dot_product_attention(q, k, v, causal_mask(q.shape[2], k.shape[2]))

    return gpt_forward(state["fed"], params, n_head, attend=attend)[:, -n_new:]


@misconception(
    "forward_with_cache",
    believes="it does not matter what is called key and what value, as long as append and view agree",
    truth="the caches are shared with code that relies on append(k, v): what it put in comes out the other way around",
)
def values_as_keys(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        caches[layer].append(v, k)
        values, keys = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)


@misconception(
    "forward_with_cache",
    believes="keys may be stored scaled, which saves the division later",
    truth="the caches are shared with code that stores keys as c_attn gives them, and those would miss the scale",
)
def stores_scaled_keys(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        caches[layer].append(k / k.shape[-1] ** 0.5, v)
        keys, values = caches[layer].view()
        return masked_softmax(q @ keys.transpose(-2, -1), causal_mask(q.shape[2], keys.shape[2])) @ values

    return gpt_forward(tokens, params, n_head, first_position=len(caches[0]), attend=attend)


@misconception(
    "forward_with_cache",
    believes="the last position of the context has to stay free",
    truth="n_ctx positions can be fed: past + new may equal n_ctx, and only more is an error",
)
def stops_one_short(tokens, params, n_head, caches):
    past = len(caches[0])
    if past + tokens.shape[1] >= params["wpe.weight"].shape[0]:
        raise ValueError("past the context")

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params, n_head, first_position=past, attend=attend)


@misconception(
    "forward_with_cache",
    believes="a context that is exceeded shows itself as an error of torch",
    truth="a slice past the end is cut short and may even broadcast: one row of positions would serve all new tokens; "
    "check, and raise ValueError",
)
def leaves_the_context_to_torch(tokens, params, n_head, caches):
    past = len(caches[0])

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    x = params["wte.weight"][tokens] + params["wpe.weight"][past : past + tokens.shape[1]]
    for layer in range(len(caches)):
        block = {key: params[f"h.{layer}.{key}"] for key in BLOCK_KEYS}
        x = transformer_block(x, block, n_head, attend, layer)
    return F.linear(layer_norm(x, params["ln_f.weight"], params["ln_f.bias"]), params["wte.weight"])


@misconception(
    "forward_with_cache",
    believes="past the context the last position can be used again",
    truth="the model was trained with n_ctx positions, each with its own vector; what is past them is a ValueError",
)
def repeats_the_last_position(tokens, params, n_head, caches):
    wpe = params["wpe.weight"]
    past, n_new = len(caches[0]), tokens.shape[1]
    positions = wpe[torch.arange(past, past + n_new).clamp(max=wpe.shape[0] - 1)]

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params | {"wpe.weight": positions}, n_head, attend=attend)


@misconception(
    "forward_with_cache",
    believes="it is enough that the call itself fits into the context",
    truth="what counts is past + new; each call may be short and the sequence too long all the same",
)
def checks_the_call_alone(tokens, params, n_head, caches):
    wpe = params["wpe.weight"]
    past, n_new = len(caches[0]), tokens.shape[1]
    if n_new > wpe.shape[0]:
        raise ValueError("past the context")
    positions = wpe[torch.arange(past, past + n_new) % wpe.shape[0]]

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params | {"wpe.weight": positions}, n_head, attend=attend)


@misconception(
    "forward_with_cache",
    believes="a prompt always fits, so the context has to be checked when there is a past",
    truth="a prompt may be longer than the context by itself: compare past + new with n_ctx, a past of 0 included",
)
def checks_with_a_past_only(tokens, params, n_head, caches):
    wpe = params["wpe.weight"]
    past, n_new = len(caches[0]), tokens.shape[1]
    if past and past + n_new > wpe.shape[0]:
        raise ValueError("past the context")
    positions = wpe[torch.arange(past, past + n_new).clamp(max=wpe.shape[0] - 1)]

    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        keys, values = caches[layer].view()
        return scaled_dot_product_attention(q, keys, values, causal_mask(q.shape[2], keys.shape[2]))

    return gpt_forward(tokens, params | {"wpe.weight": positions}, n_head, attend=attend)


@misconception(
    "forward_with_cache",
    believes="what fits of a call may stay in the caches when the rest does not fit",
    truth="after the error no cache has changed: check the whole call before anything is appended",
)
def feeds_until_it_fails(tokens, params, n_head, caches):
    def attend(layer, q, k, v):
        caches[layer].append(k, v)
        return scaled_dot_product_attention(q, *caches[layer].view(), None)

    logits = []
    for token in tokens.split(1, dim=1):
        logits.append(gpt_forward(token, params, n_head, first_position=len(caches[0]), attend=attend))
    return torch.cat(logits, dim=1)


# --- generate ---------------------------------------------------------------------------------------------------------


@misconception(
    "generate",
    believes="the result is what was generated",
    truth="the prompt comes first in what is returned, then the new tokens",
)
def without_the_prompt(forward, prompt, n_new):
    tokens, new = prompt, prompt[:, :0]
    for _ in range(n_new):
        tokens = forward(tokens)[:, -1].argmax(dim=-1, keepdim=True)
        new = torch.cat([new, tokens], dim=1)
    return new


@misconception(
    "generate",
    believes="argmax gives the likeliest token of the batch",
    truth="without dim it searches all rows at once; each row has its own likeliest token, over the vocabulary",
)
def one_argmax_for_all_rows(forward, prompt, n_new):
    tokens = sequence = prompt
    for _ in range(n_new):
        logits = forward(tokens)[:, -1]
        best = logits.argmax() % logits.shape[-1]
        tokens = best.expand(prompt.shape[0], 1)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="the first row of the logits is the next token's",
    truth="the first dimension is the batch: each row continues with its own token",
)
def first_row_for_every_row(forward, prompt, n_new):
    tokens = sequence = prompt
    for _ in range(n_new):
        tokens = forward(tokens)[:1, -1].argmax(dim=-1, keepdim=True).expand(prompt.shape[0], 1)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="the smallest logit is the likeliest, as with a loss",
    truth="logits grow with the probability: argmax",
)
def takes_the_smallest(forward, prompt, n_new):
    tokens = sequence = prompt
    for _ in range(n_new):
        tokens = forward(tokens)[:, -1].argmin(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="newer tokens go in front",
    truth="the sequence reads from old to new: the new token is its last column",
)
def new_tokens_in_front(forward, prompt, n_new):
    tokens = sequence = prompt
    for _ in range(n_new):
        tokens = forward(tokens)[:, -1].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([tokens, sequence], dim=1)
    return sequence


@misconception(
    "generate",
    believes="the loop runs once for the prompt and then n_new times",
    truth="the logits of the prompt's last position give the first new token already: n_new passes give n_new tokens",
)
def one_token_too_many(forward, prompt, n_new):
    tokens = forward(prompt)[:, -1].argmax(dim=-1, keepdim=True)
    sequence = torch.cat([prompt, tokens], dim=1)
    for _ in range(n_new):
        tokens = forward(tokens)[:, -1].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="squeeze removes the dimension of size 1 that is in the way",
    truth="squeeze without dim removes every dimension of size 1, that of a batch of one row too",
)
def squeezes_too_much(forward, prompt, n_new):
    tokens = sequence = prompt
    for _ in range(n_new):
        tokens = forward(tokens)[:, -1].argmax(dim=-1).squeeze().unsqueeze(1)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="the first row of positions holds the prediction",
    truth="the logits at position t predict token t + 1: the last position predicts the first new token",
)
def first_position(forward, prompt, n_new):
    tokens = sequence = prompt
    for _ in range(n_new):
        tokens = forward(tokens)[:, 0].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="the prompt is predicted along with the rest",
    truth="the prompt stays as it is: of its logits only those of the last position are used",
)
def predicts_the_prompt_too(forward, prompt, n_new):
    if n_new == 0:
        return prompt
    tokens = forward(prompt).argmax(dim=-1)
    sequence = torch.cat([prompt[:, :1], tokens], dim=1)
    for _ in range(n_new - 1):
        tokens = forward(tokens[:, -1:]).argmax(dim=-1)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="only the last token of the prompt is needed, since the model knows the rest",
    truth="forward knows what it was fed and nothing else: the whole prompt goes in first",
)
def last_token_of_the_prompt(forward, prompt, n_new):
    tokens, sequence = prompt[:, -1:], prompt
    for _ in range(n_new):
        tokens = forward(tokens)[:, -1].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="the model reads the prompt first, and generation then starts from its last token",
    truth="that token has been fed with the prompt: feeding it again puts it into the sequence twice",
)
def feeds_the_last_prompt_token_twice(forward, prompt, n_new):
    if n_new == 0:
        return prompt
    forward(prompt)
    tokens, sequence = prompt[:, -1:], prompt
    for _ in range(n_new):
        tokens = forward(tokens)[:, -1].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="each step feeds the sequence so far",
    truth="forward remembers what it was fed: feed only what it has not seen, else all the others come twice",
)
def feeds_everything_again(forward, prompt, n_new):
    sequence = prompt
    for _ in range(n_new):
        tokens = forward(sequence)[:, -1].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="each step feeds the last two tokens, for context",
    truth="the one before is in the cache already, and is taken for another token when fed again",
)
def feeds_the_last_two(forward, prompt, n_new):
    if n_new == 0:
        return prompt
    sequence = torch.cat([prompt, forward(prompt)[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
    for _ in range(n_new - 1):
        tokens = forward(sequence[:, -2:])[:, -1].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="the prompt's last token is what each step continues from",
    truth="each step continues from the token that the step before generated",
)
def feeds_the_prompts_end_each_time(forward, prompt, n_new):
    tokens = sequence = prompt
    for _ in range(n_new):
        best = forward(tokens)[:, -1].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, best], dim=1)
        tokens = prompt[:, -1:]
    return sequence


@misconception(
    "generate",
    believes="n_new is the length of the result",
    truth="it is the number of tokens that are added to the prompt",
)
def up_to_a_length(forward, prompt, n_new):
    tokens = sequence = prompt
    while sequence.shape[1] < max(n_new, prompt.shape[1] + min(n_new, 1)):
        tokens = forward(tokens)[:, -1].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="token 0 ends a text",
    truth="no token ends it here: exactly n_new tokens are generated, and what ends a text is the caller's affair",
)
def stops_at_zero(forward, prompt, n_new):
    tokens = sequence = prompt
    for _ in range(n_new):
        tokens = forward(tokens)[:, -1].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, tokens], dim=1)
        if (tokens == 0).all():
            break
    return sequence


@misconception(
    "generate",
    believes="every token that is generated has to be fed, so that the model is up to date",
    truth="nothing is read after the last one: feeding it costs a pass, and a position that a full context lacks",
)
def feeds_the_last_token_too(forward, prompt, n_new):
    if n_new == 0:
        return prompt
    logits, sequence = forward(prompt), prompt
    for _ in range(n_new):
        tokens = logits[:, -1].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, tokens], dim=1)
        logits = forward(tokens)
    return sequence


@misconception(
    "generate",
    believes="the prompt is always fed first, and at least one token comes out",
    truth="n_new = 0 returns the prompt as it is, without a call of forward",
)
def generates_at_least_one(forward, prompt, n_new):
    tokens = forward(prompt)[:, -1].argmax(dim=-1, keepdim=True)
    sequence = torch.cat([prompt, tokens], dim=1)
    for _ in range(n_new - 1):
        tokens = forward(tokens)[:, -1].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, tokens], dim=1)
    return sequence


@misconception(
    "generate",
    believes="feeding the prompt costs nothing when no token is asked for",
    truth="it is a whole pass over the prompt, and forward remembers it: with n_new = 0 forward is not called",
)
def reads_the_prompt_for_nothing(forward, prompt, n_new):
    logits, sequence = forward(prompt), prompt
    for i in range(n_new):
        tokens = logits[:, -1].argmax(dim=-1, keepdim=True)
        sequence = torch.cat([sequence, tokens], dim=1)
        if i < n_new - 1:
            logits = forward(tokens)
    return sequence


# --- fingerprints -----------------------------------------------------------------------------------------------------


def tell(call, *args):
    """The value of a call, or that it raised: which error it is says nothing about the mistake."""
    try:
        return call(*args)
    except LearnerError:
        return "raised"


def cache_story(impl, shape, operations, dtype=torch.float32):
    """What a cache shows after each of its operations."""
    batch, n_head, _, d_head = shape
    numbers = torch.arange(batch * n_head * 20 * d_head, dtype=dtype).reshape(batch, n_head, 20, d_head) / 3
    cache = impl(*shape) if dtype == torch.float32 else impl(*shape, dtype)
    seen, fed = [], 0
    for name, number in operations:
        piece = numbers[:, :, fed : fed + number]
        arguments = {"append": (piece, -piece), "crop": (number,), "reset": ()}[name]
        fed += number if name == "append" else 0
        seen += [tell(getattr(cache, name), *arguments) == "raised", tell(len, cache), tell(cache.view)]
    return seen


def two_caches(impl):
    """What two caches hold when they are filled in turn."""
    first, second = impl(2, 2, 4, 3), impl(2, 2, 4, 3)
    first.append(torch.ones(2, 2, 2, 3), torch.ones(2, 2, 2, 3))
    second.append(torch.zeros(2, 2, 1, 3), torch.zeros(2, 2, 1, 3))
    return [tell(len, cache) for cache in (first, second)] + [tell(cache.view) for cache in (first, second)]


@fingerprint("KVCache")
def cache_probes(impl):
    def story(n_ctx, *operations):
        return lambda: cache_story(impl, (2, 2, n_ctx, 3), operations)

    return [
        story(9, ("append", 1)),
        story(9, ("append", 2), ("append", 1), ("append", 3)),
        story(9, ("append", 3), ("crop", 3), ("crop", 2), ("append", 1), ("crop", 0), ("append", 2)),
        story(9, ("append", 3), ("reset", 0), ("append", 2)),
        story(4, ("append", 3), ("append", 2), ("append", 1), ("append", 1), ("append", 1)),
        story(4, ("append", 3), ("reset", 0), ("append", 3)),
        story(2, ("append", 2), ("append", 1)),
        story(6, ("append", 3), ("crop", 2), ("append", 3), ("crop", 3), ("append", 1)),
        lambda: two_caches(impl),
        lambda: cache_story(impl, (2, 2, 4, 3), [("append", 2), ("reset", 0)], torch.float64),
    ]


@fingerprint("attend_with_cache")
def attend_probes(impl):
    def probe(n_query, length, n_ctx, unfilled_key, unfilled_value, scale=1.0):
        generator = torch.Generator().manual_seed(8)
        q = torch.randn(2, n_query, 3, 4, generator=generator).transpose(1, 2) * scale
        k, v = torch.randn(2, 2, 3, n_ctx, 4, generator=generator)
        k[:, :, length:], v[:, :, length:] = unfilled_key, unfilled_value
        return lambda: impl(q, k, v, length)

    return [
        probe(1, 5, 5, 0.0, 0.0),
        probe(1, 3, 5, 0.0, 0.0),
        probe(3, 3, 3, 0.0, 0.0),
        probe(2, 5, 7, 0.0, 0.0),
        probe(2, 5, 7, 2.0, 2.0),
        probe(2, 5, 7, 0.0, float("nan")),
        probe(2, 5, 7, float("nan"), 0.0),
        probe(3, 3, 3, 0.0, 0.0, scale=300.0),
    ]


@fingerprint("forward_with_cache")
def forward_probes(impl):
    gpt = SmallGPT(2, 2, 6, 6, 5, random_params(Values("normal", 8), n_layer=2, d_model=6, n_ctx=6, vocab_size=5))
    tokens = torch.tensor([[3, 1, 4, 1, 0, 2, 4], [2, 0, 2, 3, 1, 4, 0]])

    def story(*pieces, held=0):
        caches = gpt.caches(2, tokens[:, :held] if held else None)
        seen, end = [], held
        for piece in pieces:
            if piece < 0:
                for cache in caches:
                    cache.crop(max(len(cache) + piece, 0))
            else:
                seen.append(tell(impl, tokens[:, end : end + piece], gpt.params, gpt.n_head, caches))
            end += piece
            seen.append([len(cache) for cache in caches])
        return seen

    return [
        lambda: story(1, 1),
        lambda: story(2, 3, 2),
        lambda: story(3, -2, 1),
        lambda: story(1, held=2),
        lambda: story(3, held=3),
        lambda: story(7),
    ]


@fingerprint("generate")
def generate_probes(impl):
    def story(prompt, n_new, n_ctx=1_000):
        model = HistoryModel(salt=8, batch=len(prompt), vocab_size=4, n_ctx=n_ctx)
        return [tell(impl, model.forward, torch.tensor(prompt), n_new), model.fed]

    return [
        lambda: story([[1], [2]], 1),
        lambda: story([[1, 3, 0], [2, 0, 1]], 1),
        lambda: story([[1, 3], [2, 0]], 5),
        lambda: story([[3, 1, 2], [3, 1, 2]], 12),
        lambda: story([[1, 3], [2, 0]], 3, n_ctx=4),
        lambda: story([[1, 3], [2, 0]], 0),
        lambda: story([[1, 3]], 2),
    ]
