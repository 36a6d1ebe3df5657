"""Values that cross the boundary arrive as they were; what is no value is refused, quickly and by name."""

import math

import msgpack
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from gptdojo.worker.values import (
    DTYPES,
    MAX_DEPTH,
    MAX_INTEGER_BITS,
    MAX_ITEMS,
    MAX_TENSOR_BYTES,
    BadValue,
    Opaque,
    ValueCodec,
    encode_tensor,
)


def carried(value):
    """A value after its way through a frame."""
    codec = ValueCodec()
    return codec.decode(msgpack.unpackb(msgpack.packb(codec.encode(value))))


def refused(tree):
    """Say whether decoding raises BadValue; nothing else may come."""
    try:
        ValueCodec().decode(tree)
    except BadValue:
        return True
    return False


PLAIN = [
    *(None, True, False, 0, -1, 2**63 - 1, -(2**63), 2**63, 2**64, -(2**200), 3**2000),
    *(0.0, -0.0, 1e308, 5e-324, math.inf, -math.inf, "", "text", "ü\n\x00", b"", b"\xff\x00"),
    *([], (), {}, [1, [2, (3, {"a": [None]})]], {1: "a", (1, "b"): "c", None: 0, b"k": 1, 2.5: 2, 2**70: 4}),
    *(torch.float16, torch.bool, torch.complex64, torch.device("cpu")),
]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_arrive_equal_and_of_the_same_type(value):
    got = carried(value)
    assert got == value
    assert type(got) is type(value)


def test_order_of_a_dict_and_sign_of_zero_and_nan_arrive():
    assert list(carried({"b": 1, "a": 2})) == ["b", "a"]
    assert math.copysign(1, carried(-0.0)) == -1
    assert math.isnan(carried(math.nan))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3), (2, 1, 3, 2)], ids=str)
def test_tensors_of_every_dtype_and_shape_arrive_bit_for_bit(dtype, shape):
    tensor = (torch.randn(shape, dtype=torch.float64) * 50).abs().to(dtype)
    got = carried(tensor)
    assert type(got) is torch.Tensor
    assert (got.dtype, got.shape) == (dtype, tensor.shape)
    assert torch.equal(got, tensor)


def test_special_numbers_in_tensors_arrive_bit_for_bit():
    tensor = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 1e-45])
    assert carried(tensor).view(torch.int32).tolist() == tensor.view(torch.int32).tolist()


LAYOUTS = {
    "transposed": lambda x: x.transpose(0, 1),
    "permuted": lambda x: x.permute(2, 0, 1),
    "sliced": lambda x: x[:, ::2],
    "expanded": lambda x: x[:, :1].expand(-1, 5, -1),
    "expanded_and_transposed": lambda x: x[:1].expand(4, -1, -1).transpose(0, 2),
    "one_column": lambda x: x[:, :, 1:2],
    "empty_slice": lambda x: x[:, 2:2],
    "unsqueezed": lambda x: x[0].t().unsqueeze(1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_in_memory_arrives(layout):
    tensor = LAYOUTS[layout](torch.arange(24.0).reshape(2, 3, 4))
    got = carried(tensor)
    assert torch.equal(got, tensor)
    if tensor.numel():
        assert got.stride() == tensor.stride()
        assert got.is_contiguous() == tensor.is_contiguous()


def test_overlapping_and_sparse_layouts_arrive_as_values():
    windows = torch.arange(6.0).as_strided((4, 3), (1, 1))
    assert torch.equal(carried(windows), windows)
    far_apart = torch.arange(10_000.0)[::5_000]
    got = carried(far_apart)
    assert got.tolist() == [0, 5000]
    assert got.untyped_storage().nbytes() < 1000


def test_one_element_expanded_from_another_arrives():
    assert carried(torch.tensor(3.0).expand(1)).tolist() == [3.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("shape", [(2,), (0, 3)])
def test_requires_grad_arrives(dtype, shape):
    assert carried(torch.ones(shape, dtype=dtype, requires_grad=True)).requires_grad
    assert not carried(torch.ones(shape, dtype=dtype)).requires_grad


def test_conjugated_and_negated_views_arrive_as_their_values():
    z = torch.tensor([1 + 2j, 3 - 4j])
    assert torch.equal(carried(z.conj()), z.conj().resolve_conj())
    assert torch.equal(carried(z.conj().imag), torch.tensor([-2.0, 4.0]))


def test_a_result_says_which_argument_it_aliases():
    arguments = [torch.ones(3), torch.ones(3)]
    assert encode_tensor(arguments[1][1:], arguments)[-1] == 1
    assert encode_tensor(torch.ones(3), arguments)[-1] is None
    assert encode_tensor(arguments[0].clone(), arguments)[-1] is None


def test_a_generator_arrives_as_its_seed():
    generator = torch.Generator().manual_seed(41)
    got = carried(generator)
    assert torch.equal(torch.rand(3, generator=got), torch.rand(3, generator=generator))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.float64(1.5), 1.5), (np.float32(0.5), 0.5), (np.int8(-3), -3), (np.bool_(True), True), (np.array(2.0), 2.0)],
)
def test_numpy_scalars_arrive_as_numbers_of_python(value, expected):
    for got in (carried(value), ValueCodec().decode(ValueCodec().encode(value))):
        assert got == expected
        assert type(got) is type(expected)


def test_a_subclass_of_text_arrives_as_text_without_a_frame_too():
    assert type(ValueCodec().decode(ValueCodec().encode(np.str_("a")))) is str


def test_what_does_not_cross_is_known_by_its_type():
    assert ValueCodec().encode({1, 2}) == ["opaque", "set"]
    assert ValueCodec().encode(np.ones(2)) == ["opaque", "ndarray"]
    assert ValueCodec().encode(torch.eye(2).to_sparse())[0] == "opaque"
    assert repr(Opaque("set")) == "<a set>"


def test_too_much_is_refused_on_the_way_out():
    rows = []
    rows.append(rows)
    too_much = [rows, [0] * (MAX_ITEMS + 1), 2 ** (MAX_INTEGER_BITS + 1), torch.empty(1).expand(MAX_TENSOR_BYTES)]
    for value in [*too_much, {torch.float32: 1}, {"a": {object(): 1}}]:
        with pytest.raises(BadValue):
            ValueCodec().encode(value)


def tensor(dtype="float32", shape=(1,), strides=(1,), data=b"\0\0\0\0", grad=False, alias=None):
    return ["tensor", dtype, list(shape), list(strides), data, grad, alias]


def nested(depth):
    tree = None
    for _ in range(depth):
        tree = ["list", [tree]]
    return tree


HOSTILE = {
    "no value": [],
    "no tag": [1, 2],
    "unknown tag": ["file", "/etc/passwd"],
    "a method of the codec": ["object", "x"],
    "extra field": ["list", [], []],
    "no field": ["list"],
    "items that are no list": ["list", {"a": 1}],
    "items that are bytes": ["tuple", b"abc"],
    "a map": {"a": 1},
    "an item that is a map": ["list", [{}]],
    "bare bytes": b"abc",
    "a pair of three": ["dict", [[1, 2, 3]]],
    "a pair of none": ["dict", [[]]],
    "a pair that is text": ["dict", ["ab"]],
    "a key that is a list": ["dict", [[["list", []], 1]]],
    "a key that cannot be hashed": ["dict", [[["tuple", [["list", []]]], 1]]],
    "a key that is a tensor": ["dict", [[tensor(), 1]]],
    "too deep": nested(MAX_DEPTH + 2),
    "far too deep": nested(900),
    "too long": ["list", [None] * (MAX_ITEMS + 1)],
    "a huge integer": ["int", "0x" + "f" * 100_000],
    "no integer": ["int", "twelve"],
    "an integer that is bytes": ["int", b"0x1"],
    "an unknown dtype": ["dtype", "float7"],
    "a dtype that is a list": ["dtype", ["float32"]],
    "a device elsewhere": ["device", "cuda:0"],
    "a seed that is a float": ["generator", 1.5],
    "a seed that is True": ["generator", True],
    "text for bytes": ["bytes", "abc"],
    "too few bytes": tensor(data=b"\0\0\0"),
    "too many bytes": tensor(data=b"\0" * 5),
    "no bytes": tensor(data=b""),
    "a shape far beyond its bytes": tensor(shape=[2**26] * 5, strides=[1] * 5),
    "a shape that overflows": tensor(shape=[2**26] * 15 + [0], strides=[0] * 16, data=b""),
    "a shape that overflows to nothing": tensor(shape=[2**16] * 4, strides=[1] * 4, data=b""),
    "a negative size": tensor(shape=[-1], data=b""),
    "two negative sizes": tensor(shape=[-1, -1], strides=[1, 1]),
    "a size that is True": tensor(shape=[True]),
    "a size that is a float": tensor(shape=[1.0]),
    "a size of 2**62": tensor(shape=[2**62, 0], strides=[1, 1], data=b""),
    "strides of another shape": tensor(strides=[1, 1]),
    "a stride of 2**62": tensor(strides=[2**62]),
    "17 dimensions": tensor(shape=[1] * 17, strides=[1] * 17),
    "shape is text": tensor(shape="1"),
    "data is text": ["tensor", "float32", [1], [1], "abcd", False, None],
    "bools that are neither": tensor("bool", [3], [1], b"\0\2\1"),
    "gradients of integers": tensor("int32", grad=True),
    "requires_grad is 1": tensor(grad=1),
    "an unknown dtype of a tensor": tensor("object"),
    "a dtype that is a number": tensor(1),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_trees_raise_bad_value_and_nothing_else(name):
    assert refused(HOSTILE[name])


def test_odd_strides_of_single_elements_are_harmless():
    for stride in (-5, 0, 2**39):
        got = ValueCodec().decode(tensor("uint8", [1, 1], [stride, stride], b"a"))
        assert got.tolist() == [[97]]
        assert min(got.stride()) >= 0
        assert got.clone().contiguous().untyped_storage().nbytes() == 1


def test_strides_that_would_read_beyond_the_bytes_read_only_the_bytes():
    for strides in ([10**6], [0], [-1], [3]):
        got = ValueCodec().decode(tensor("uint8", [2], strides, b"ab"))
        assert set(got.tolist()) <= {97, 98}
        assert got.untyped_storage().nbytes() <= 32


TAGS = st.sampled_from(
    ["list", "tuple", "dict", "tensor", "int", "dtype", "device", "generator", "bytes", "opaque", "x"]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=8), st.binary(max_size=16),
    st.sampled_from(["float32", "bool", "int64", "cpu", "0x12", 2**26, -1]),
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.tuples(TAGS, inner).map(list),
        st.tuples(TAGS, st.lists(inner, max_size=6)).map(lambda pair: [pair[0], *pair[1]]),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=20,
)
SIZES = st.lists(st.integers(-2, 5) | st.sampled_from([2**26, 2**31, 2**62]), max_size=4)
TENSORS = st.builds(
    lambda *fields: ["tensor", *fields],
    st.sampled_from([*DTYPES, "x"]) | LEAVES, SIZES | LEAVES, SIZES | LEAVES, st.binary(max_size=64) | LEAVES,
    st.booleans() | LEAVES, LEAVES,
)  # fmt: skip


@settings(max_examples=200, deadline=None, database=None)
@given(tree=TREES | TENSORS)
def test_any_tree_is_decoded_or_refused(tree):
    if not refused(tree):
        value = ValueCodec().decode(tree)
        if isinstance(value, torch.Tensor):
            value.sum()  # what was decoded is a tensor that can be used
            assert value.untyped_storage().nbytes() <= 16 * max(1, value.numel() * value.element_size())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@settings(max_examples=80, deadline=None, database=None)
@given(value=VALUES)
def test_any_nested_value_arrives_equal(value):
    assert carried(value) == value
