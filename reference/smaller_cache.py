"""Fewer heads, fewer positions, fewer bits: three ways to a smaller cache (chapter 11).
All caches hold one layer and are a `Cache`; `remember` puts them under any model."""

from collections.abc import Callable, Sequence

import torch

from reference.attention import Attend, Mask, Output, Queries, scaled_dot_product_attention
from reference.batched_generation import reorder_cache
from reference.generation import Forward
from reference.kv_cache import KVCache, New, Pair
from reference.mask import causal_mask, sliding_window_mask
from reference.shapes import Device, Float, Int, Tensor, expect

Scale = Float[Tensor, "*shape_with_1_at_dim"]


class Cache(KVCache):
    """The cache of chapter 8 and the interface of all others: append, view, crop, reset, reorder, len, nbytes.
    `view` gives what is held, oldest first; `len` is the position of the next token, also where older ones are gone."""

    window: int | None = None  # how many positions a query may see, itself included; None if all

    def reorder(self, rows: Int[Tensor, " batch"]) -> None:
        """Row i becomes what row rows[i] was."""
        reorder_cache([self], rows)


def repeat_kv(
    x: Float[Tensor, "batch kv_head position d_head"], n_repeat: int
) -> Float[Tensor, "batch kv_head*n_repeat position d_head"]:
    """Each head `n_repeat` times, side by side: query head h reads head h // n_repeat. ValueError if n_repeat < 1."""
    expect(n_repeat >= 1, "n_repeat to be at least 1", n_repeat)
    return x.repeat_interleave(n_repeat, dim=1)


def grouped_query_attention(
    q: Queries, k: Float[Tensor, "batch kv_head key d_head"], v: Float[Tensor, "batch kv_head key d_value"], mask: Mask
) -> Output:
    """Attention in which neighboring query heads share a head of keys and values.
    Raises ValueError if kv_head does not divide head. Source: Ainslie et al. 2023 (2305.13245), section 2.2."""
    n_head, n_kv_head = q.shape[1], k.shape[1]
    expect(n_head % n_kv_head == 0, "kv_head to divide head", n_kv_head, n_head)
    k, v = (repeat_kv(part, n_head // n_kv_head) for part in (k, v))
    return scaled_dot_product_attention(q, k, v, mask)


def grouped_causal(window: int | None = None) -> Attend:
    """A model's way to attend: grouped, causal, and only to the last `window` positions unless that is None."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shape = q.shape[-2], k.shape[-2]
        mask = causal_mask(*shape) if window is None else sliding_window_mask(*shape, window)
        return grouped_query_attention(q, k, v, mask.to(q.device))

    return attend


def remember(
    model: Callable[..., Float[Tensor, "batch new vocab"]], caches: Sequence[Cache], window: int | None = None
) -> Forward:
    """The model continuing what the caches (one a layer) hold, with grouped heads or not; raises what these raise.
    `window` is for a windowed model whose cache keeps everything; a rolling cache has its own, and no end."""
    window = caches[0].window or window
    see = grouped_causal(window)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        cache, new = caches[layer], (k, v)
        if window is not None:  # join first: the first of several queries sees what the last makes the cache forget
            k, v = (torch.cat(pair, dim=2) for pair in zip(cache.view(), new, strict=True))
        cache.append(*new)
        return see(layer, q, *(cache.view() if window is None else (k, v)))

    return torch.no_grad()(lambda tokens: model(tokens, first_position=len(caches[0]), attend=attend))


class RollingCache(Cache):
    """The last n_ctx = `window` positions: position p lies in slot p % window, over the one that nobody sees any more.
    Source: Jiang et al. 2023 (Mistral 7B, 2310.06825), section 2."""

    _first = 0  # the first position still held

    @property
    def window(self) -> int:  # type: ignore[override]
        """How many slots there are."""
        return self._k.shape[2]

    def append(self, k: New, v: New) -> None:
        """Any number of positions; the oldest make room. Raises ValueError if shape or dtype do not fit."""
        self._check(k, v)
        kept = min(k.shape[2], self.window)
        self._length += k.shape[2]
        self._first = max(self._first, self._length - self.window)
        slots = torch.arange(self._length - kept, self._length) % self.window
        for buffer, new in ((self._k, k), (self._v, v)):
            buffer[:, :, slots] = new[:, :, new.shape[2] - kept :].detach()

    def view(self) -> Pair:
        """Copies of what is held, oldest first."""
        slots = torch.arange(self._first, self._length) % self.window
        return self._k[:, :, slots], self._v[:, :, slots]

    def crop(self, length: int) -> None:
        """Go back; raises ValueError if the position after it would see one that is forgotten."""
        least = self._first + self.window - 1 if self._first else 0
        valid = least <= length <= self._length
        expect(valid, f"a length from {least} to {self._length}", f"{length}: the rest is forgotten")
        self._length = length

    def reset(self) -> None:
        """Hold nothing, and start at position 0."""
        self._length = self._first = 0

    def reorder(self, rows: Int[Tensor, " batch"]) -> None:
        """Row i becomes what row rows[i] was."""
        self._k, self._v = self._k[rows], self._v[rows]


def quantize_kv(x: Float[Tensor, "*shape"], dim: int = -1) -> tuple[Int[Tensor, "*shape"], Scale]:
    """int8 numbers from -127 to 127, and the scale that all those along `dim` share: the largest one's size / 127.
    Each number is off by at most half a scale, so one large channel spoils a vector that shares its scale. Source:
    Dettmers et al. 2022 (2208.07339), section 2; for keys and channels Liu et al. 2024 (2402.02750)."""
    scale = x.abs().amax(dim=dim, keepdim=True) / 127
    return (x / scale.masked_fill(scale == 0, 1.0)).round().clamp(-127, 127).to(torch.int8), scale


def dequantize_kv(numbers: Int[Tensor, "*shape"], scale: Scale) -> Float[Tensor, "*shape"]:
    """What `quantize_kv` stands for, in the dtype of the scale."""
    return numbers.to(scale.dtype) * scale


class Int8Cache(Cache):
    """int8 with a scale of `dtype` for each vector, as `view` gives: d_head + 4 bytes where float32 has 4 d_head."""

    def __init__(
        self,
        batch: int,
        n_head: int,
        n_ctx: int,
        d_head: int,
        dtype: torch.dtype = torch.float32,
        device: Device = None,
    ) -> None:
        super().__init__(batch, n_head, n_ctx, d_head, torch.int8, device)
        self._scales = Cache(batch, n_head, n_ctx, 1, dtype, device)

    @property
    def nbytes(self) -> int:
        """Bytes of numbers and scales."""
        return super().nbytes + self._scales.nbytes

    def append(self, k: New, v: New) -> None:
        """Quantize and keep. Raises ValueError if they do not fit, and then nothing is changed."""
        (k_numbers, k_scale), (v_numbers, v_scale) = quantize_kv(k), quantize_kv(v)
        super().append(k_numbers, v_numbers)
        dtype = self._scales.view()[0].dtype
        self._scales.append(k_scale.to(dtype), v_scale.to(dtype))

    def view(self) -> Pair:
        """Copies, dequantized."""
        k, v = (dequantize_kv(*pair) for pair in zip(super().view(), self._scales.view(), strict=True))
        return k, v

    def crop(self, length: int) -> None:
        """Keep the first `length` positions."""
        super().crop(length)
        self._scales.crop(length)

    def reorder(self, rows: Int[Tensor, " batch"]) -> None:
        """Row i becomes what row rows[i] was; the numbers move as they are, nothing is quantized twice."""
        for buffer in (*super().view(), *self._scales.view()):
            buffer.copy_(buffer[rows])
