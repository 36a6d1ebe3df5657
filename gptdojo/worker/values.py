"""Values that cross the boundary, as trees of plain lists that msgpack can carry.

A scalar is itself; everything else is `[tag, ...]`. Decoding trusts nothing: it bounds depth and sizes, checks every shape
against the bytes that came with it, and raises `BadValue` for whatever does not fit.
"""

from typing import Any

import torch
from torch import Tensor

MAX_DEPTH = 32
MAX_ITEMS = 100_000
MAX_NUMBER_KEYS = 5_000
MAX_TENSOR_BYTES = 64 * 2**20
MAX_TEXT = 100_000
MAX_INTEGER_BITS = 4_000
MAX_DIMENSIONS = 16

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
    )
}  # fmt: skip
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class BadValue(Exception):
    """A value that cannot cross the boundary, or a frame that holds no such value."""


class Opaque:
    """Stands on the grader's side for a value that does not cross: only the name of its type is known."""

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    def __repr__(self) -> str:
        return f"<a {self.type_name}>"


class ValueCodec:
    """Encodes and decodes values; each side derives from it to say what happens to its own objects."""

    def encode_object(self, value: Any) -> list:
        """Encode what is neither a scalar, a container nor a tensor."""
        return ["opaque", type(value).__name__[:100]]

    def decode_object(self, tag: str, fields: list) -> Any:
        """Decode a tag that is this side's own."""
        raise BadValue(f"unknown tag {tag!r:.50}")

    def encode(self, value: Any, arguments: list[Tensor] | None = None) -> Any:
        """Return the tree of `value`; `arguments` are the tensors whose storage a result may share."""
        return self._encode(value, arguments or [], 0)

    def _encode(self, value: Any, arguments: list[Tensor], depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise BadValue(f"a value nested more than {MAX_DEPTH} deep")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str.__str__(value)[:MAX_TEXT]  # a plain str, also of a subclass such as np.str_
        if isinstance(value, float):
            return float(value)
        if isinstance(value, int):
            return _encode_int(int(value))
        if type(value) in (Tensor, torch.nn.Parameter):
            return encode_tensor(value, arguments)
        if isinstance(value, list | tuple):
            # named tuples, torch.Size and the results of torch.topk are tuples too
            tag = "list" if isinstance(value, list) else "tuple"
            return [tag, [self._encode(item, arguments, depth + 1) for item in _bounded(value)]]
        if isinstance(value, dict):
            pairs = [[self._encode(side, arguments, depth + 1) for side in pair] for pair in _bounded(value).items()]
            for (tree, _), key in zip(pairs, value, strict=True):
                if type(tree) is list and tree[0] not in ("tuple", "bytes", "int"):
                    raise BadValue(f"a dict key that is a {type(key).__name__}")
            return ["dict", pairs]
        if isinstance(value, torch.dtype) and value in DTYPE_NAMES:
            return ["dtype", DTYPE_NAMES[value]]
        if isinstance(value, torch.device) and value.type == "cpu":
            return ["device", "cpu"]
        if isinstance(value, torch.Generator):
            return ["generator", value.initial_seed() % 2**63]
        if isinstance(value, bytes):
            return ["bytes", value]
        if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
            return self._encode(value.item(), arguments, depth + 1)
        return self.encode_object(value)

    def decode(self, tree: Any, depth: int = 0) -> Any:
        """Return the value of `tree`; raises BadValue."""
        if tree is None or type(tree) in (bool, int, float, str):
            return tree
        if depth > MAX_DEPTH or type(tree) is not list or not tree or type(tree[0]) is not str:
            raise BadValue("not a value")
        tag, *fields = tree
        if tag in ("list", "tuple", "dict", "tensor", "int", "dtype", "device", "generator", "bytes"):
            return getattr(self, f"_decode_{tag}")(depth, *_counted(tag, fields))
        return self.decode_object(tag, fields)

    def _decode_list(self, depth: int, items: Any) -> list:
        return [self.decode(item, depth + 1) for item in _bounded(_typed(items, list))]

    def _decode_tuple(self, depth: int, items: Any) -> tuple:
        return tuple(self._decode_list(depth, items))

    def _decode_dict(self, depth: int, pairs: Any) -> dict:
        decoded: dict[Any, Any] = {}
        for pair in _bounded(_typed(pairs, list)):
            if len(_typed(pair, list)) != 2:
                raise BadValue("a dict entry that is not a pair")
            key, value = (self.decode(side, depth + 1) for side in pair)
            if type(key) not in (bool, int, float, str, bytes, tuple, type(None)):
                raise BadValue("a dict key that is not a plain value")
            if type(key) not in (str, bytes) and len(decoded) > MAX_NUMBER_KEYS:
                # hashes of texts are salted; numbers can be chosen to collide, and each entry then costs as many steps
                raise BadValue(f"a dict of more than {MAX_NUMBER_KEYS} keys that are no texts")
            try:
                decoded[key] = value
            except TypeError:
                raise BadValue("a dict key that cannot be hashed") from None
        return decoded

    def _decode_tensor(self, depth: int, *fields: Any) -> Tensor:
        return decode_tensor(*fields)

    def _decode_int(self, depth: int, text: Any) -> int:
        try:
            return _bounded_int(int(_typed(text, str)[: MAX_INTEGER_BITS // 2], 16))
        except ValueError:
            raise BadValue("not an integer") from None

    def _decode_dtype(self, depth: int, name: Any) -> torch.dtype:
        if _typed(name, str) not in DTYPES:
            raise BadValue(f"unknown dtype {name[:30]!r}")
        return DTYPES[name]

    def _decode_device(self, depth: int, name: Any) -> torch.device:
        if _typed(name, str) != "cpu":
            raise BadValue("a device other than cpu")
        return torch.device("cpu")

    def _decode_generator(self, depth: int, seed: Any) -> torch.Generator:
        return torch.Generator().manual_seed(_typed(seed, int) % 2**63)

    def _decode_bytes(self, depth: int, content: Any) -> bytes:
        return _typed(content, bytes)


FIELDS = {"tensor": 6}


def _bounded_int(value: int) -> int:
    if value.bit_length() > MAX_INTEGER_BITS:
        raise BadValue(f"an integer of {value.bit_length()} bits, at most {MAX_INTEGER_BITS} can cross")
    return value


def _encode_int(value: int) -> int | list:
    return value if -(2**63) <= value < 2**63 else ["int", hex(_bounded_int(value))]


def _counted(tag: str, fields: list) -> list:
    if len(fields) != FIELDS.get(tag, 1):
        raise BadValue(f"a {tag} with {len(fields)} fields")
    return fields


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise BadValue(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _bounded(items: Any) -> Any:
    if len(items) > MAX_ITEMS:
        raise BadValue(f"a container of {len(items)} items, at most {MAX_ITEMS} can cross")
    return items


def encode_tensor(tensor: Tensor, arguments: list[Tensor]) -> list:
    """Return `["tensor", dtype, shape, strides, data, requires_grad, alias]`; alias is the argument whose storage it shares."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.dtype not in DTYPE_NAMES:
        return ["opaque", f"{tensor.device.type} tensor of {tensor.dtype}"]
    if tensor.numel() * tensor.element_size() > MAX_TENSOR_BYTES:
        raise BadValue(f"a tensor of shape {tuple(tensor.shape)} is larger than {MAX_TENSOR_BYTES >> 20} MiB")
    plain = tensor.detach().resolve_conj().resolve_neg()
    # a clone, because one element expanded from another counts as contiguous, whatever its stride, and view refuses it
    flat = plain.reshape(-1).clone(memory_format=torch.contiguous_format)
    data = flat.view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    storage = plain.untyped_storage().data_ptr()
    alias = next((i for i, other in enumerate(arguments) if other.untyped_storage().data_ptr() == storage), None)
    shares = alias if tensor.numel() else None
    return [
        "tensor", DTYPE_NAMES[tensor.dtype], list(tensor.shape), list(plain.stride()), data, tensor.requires_grad, shares
    ]  # fmt: skip


def decode_tensor(dtype: Any, shape: Any, strides: Any, data: Any, requires_grad: Any, alias: Any) -> Tensor:
    """Return the tensor; the size of what is allocated is bounded by the bytes that came."""
    if _typed(dtype, str) not in DTYPES:
        raise BadValue(f"unknown dtype {dtype[:30]!r}")
    if len(_typed(shape, list)) > MAX_DIMENSIONS or len(_typed(strides, list)) != len(shape):
        raise BadValue("a shape with too many dimensions, or strides that do not fit it")
    count = 1
    for size, stride in zip(shape, strides, strict=True):
        if _typed(size, int) < 0 or size > MAX_TENSOR_BYTES or not -(2**40) < _typed(stride, int) < 2**40:
            raise BadValue("a size or stride out of range")
        count *= size
    if len(_typed(data, bytes)) > MAX_TENSOR_BYTES or count * DTYPES[dtype].itemsize != len(data):
        raise BadValue(f"{len(data)} bytes for a {dtype} tensor of {count} elements")
    if _typed(requires_grad, bool) and not (DTYPES[dtype].is_floating_point or DTYPES[dtype].is_complex):
        raise BadValue(f"a {dtype} tensor that requires gradients")
    if not data:
        return _empty(shape, dtype).requires_grad_(requires_grad)
    if dtype == "bool" and data.strip(b"\x00\x01"):
        raise BadValue("a bool that is neither True nor False")
    tensor = torch.frombuffer(bytearray(data), dtype=DTYPES[dtype]).reshape(shape)
    return with_strides(tensor, strides).requires_grad_(requires_grad)


def _empty(shape: list[int], dtype: str) -> Tensor:
    try:
        return torch.empty(shape, dtype=DTYPES[dtype])
    except RuntimeError as error:  # the sizes beside a zero may multiply to more than torch can count
        raise BadValue(f"an empty tensor that cannot be: {error}") from None


def with_strides(tensor: Tensor, strides: list[int]) -> Tensor:
    """Return `tensor` laid out in memory with `strides` where that is sound, else as it is.

    Expanded dimensions (stride 0) are kept; other overlapping layouts, and those that would take more than 16 times the
    memory, stay contiguous.
    """
    if list(tensor.stride()) == strides or min(strides) < 0:
        return tensor
    shape = list(tensor.shape)
    expanded = [size > 1 and stride == 0 for size, stride in zip(shape, strides, strict=True)]
    extent = 1
    for stride, size in sorted(
        (s, n) for s, n, skip in zip(strides, shape, expanded, strict=True) if n > 1 and not skip
    ):
        if stride < extent:
            return tensor
        extent = stride * (size - 1) + extent
    if extent > 16 * tensor.numel():
        return tensor
    single = [1 if skip else size for size, skip in zip(shape, expanded, strict=True)]
    first = tensor[tuple(slice(0, 1) if skip else slice(None) for skip in expanded)]
    # zeros, not whatever memory held, lie between the elements: who reads there gets the same on every machine
    memory = torch.zeros(extent, dtype=tensor.dtype)
    return memory.as_strided(single, strides).copy_(first).expand(shape)
