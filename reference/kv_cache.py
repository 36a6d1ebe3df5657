"""The key-value cache: remember what attention needs of the past, and compute only what is new (chapter 8).
The cache belongs to whoever generates and is handed to the forward pass; the model holds no state."""

from collections.abc import Sequence

import torch

from reference.attention import Output, Queries, scaled_dot_product_attention
from reference.config import GPTConfig
from reference.mask import causal_mask
from reference.model import gpt_forward
from reference.shapes import Device, Float, Int, Params, Tensor, expect

Buffer = Float[Tensor, "batch head n_ctx d_head"]
New = Float[Tensor, "batch head new d_head"]
Pair = tuple[Float[Tensor, "batch head held d_head"], Float[Tensor, "batch head held d_head"]]


class KVCache:
    """Keys and values of one layer, in buffers allocated once for the whole context; len is how many it holds.
    >>> cache = KVCache(batch=1, n_head=2, n_ctx=8, d_head=4)
    >>> cache.append(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4))
    >>> len(cache), cache.view()[0].shape
    (3, torch.Size([1, 2, 3, 4]))"""

    def __init__(
        self,
        batch: int,
        n_head: int,
        n_ctx: int,
        d_head: int,
        dtype: torch.dtype = torch.float32,
        device: Device = None,
    ) -> None:
        self._k = torch.zeros(batch, n_head, n_ctx, d_head, dtype=dtype, device=device)
        self._v = torch.zeros_like(self._k)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def nbytes(self) -> int:
        """Bytes of both buffers, filled or not."""
        return self._k.nbytes + self._v.nbytes

    def append(self, k: New, v: New) -> None:
        """Copy the keys and values of the next positions in; no gradient flows through the cache.
        Raises ValueError if they do not fit in shape, dtype or number, and then nothing is changed."""
        self._check(k, v)
        n_ctx, end = self._k.shape[2], self._length + k.shape[2]
        if end > n_ctx:
            raise ValueError(f"got {end} positions, the context is {n_ctx}: {self._length} held, {k.shape[2]} more")
        self._k[:, :, self._length : end] = k.detach()
        self._v[:, :, self._length : end] = v.detach()
        self._length = end

    def view(self) -> Pair:
        """Keys and values of the positions held: views of the buffers, not copies."""
        return self._k[:, :, : self._length], self._v[:, :, : self._length]

    def crop(self, length: int) -> None:
        """Keep the first `length` positions. Raises ValueError if it is negative or more than are held."""
        expect(0 <= length <= self._length, f"a length from 0 to the {self._length} positions held", length)
        self._length = length

    def reset(self) -> None:
        """Hold nothing."""
        self.crop(0)

    def _check(self, k: Tensor, v: Tensor, batch: int | None = None) -> None:
        """Raise ValueError unless k and v have the shape and the dtype of the buffers, or another `batch`."""
        n_row, n_head, _, d_head = self._k.shape
        n_row = n_row if batch is None else batch
        if k.shape != v.shape or k.ndim != 4 or (k.shape[0], k.shape[1], k.shape[3]) != (n_row, n_head, d_head):
            expected = f"({n_row}, {n_head}, new, {d_head})"
            raise ValueError(f"expected k and v of shape {expected}, got {tuple(k.shape)} and {tuple(v.shape)}")
        expect(k.dtype == v.dtype == self._k.dtype, f"k and v of the cache's dtype, {self._k.dtype}", k.dtype, v.dtype)


def allocate_caches(
    config: GPTConfig, batch: int, dtype: torch.dtype = torch.float32, device: Device = None
) -> list[KVCache]:
    """One empty cache a layer, for the whole context."""
    return [KVCache(batch, config.n_head, config.n_ctx, config.d_head, dtype, device) for _ in range(config.n_layer)]


def attend_with_cache(q: Queries, k_buffer: Buffer, v_buffer: Buffer, length: int) -> Output:
    """Attend causally to the first `length` slots of the buffers; the queries are the last positions of these.
    Slots from `length` on are never read. Raises ValueError unless n_query <= length <= n_ctx."""
    n_query, n_ctx = q.shape[-2], k_buffer.shape[-2]
    expect(n_query <= length <= n_ctx, f"a length from {n_query} (queries) to {n_ctx} (slots)", length)
    mask = causal_mask(n_query, length).to(q.device)
    return scaled_dot_product_attention(q, k_buffer[:, :, :length], v_buffer[:, :, :length], mask)


@torch.no_grad()
def forward_with_cache(
    tokens: Int[Tensor, "batch new"], params: Params, n_head: int, caches: Sequence[KVCache]
) -> Float[Tensor, "batch new vocab"]:
    """Logits after each token, which continue what the caches (one a layer) hold; adds the tokens to every cache.
    The past is a constant here, so no gradients are computed. Raises ValueError past the context, or if the caches
    differ in length. After any error no cache has changed."""
    start = len(caches[0])
    expect(all(len(cache) == start for cache in caches), "caches of one length", [len(cache) for cache in caches])

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        caches[layer].append(k, v)
        return attend_with_cache(q, *caches[layer].view(), len(caches[layer]))

    try:
        return gpt_forward(tokens, params, n_head, first_position=start, attend=attend)
    except BaseException:
        for cache in caches:
            cache.crop(start)
        raise
