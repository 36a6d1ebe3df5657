"""A learner's code answers a property in the same way in this process and in one of its own."""

import math

import pytest
import torch

from gptdojo.expect import expect_raised
from gptdojo.faults import ArgumentChanged, ForbiddenCall, LearnerError, Mismatch
from gptdojo.implementation import Implementation, Provided, Proxy
from gptdojo.worker.values import Opaque


def learner_error(call):
    with pytest.raises(LearnerError) as caught:
        call()
    return caught.value


# Calls


def test_arguments_and_results_arrive(answer):
    x = torch.arange(6.0).reshape(2, 3).t()
    got = answer("same")({"x": x, "rows": [1, (2, None)]})
    assert torch.equal(got["x"], x)
    assert got["rows"] == [1, (2, None)]


def test_arguments_may_be_named(answer):
    by_keyword = answer("by_keyword")
    assert by_keyword(1) == [1, 2, 3]
    assert by_keyword(1, third=5) == [1, 2, 5]
    assert by_keyword(second=7, first=8) == [8, 7, 3]


def test_a_forgotten_return_is_none(answer):
    assert answer("nothing")() is None


def test_two_calls_share_no_tensor(answer):
    x = torch.ones(3)
    same = answer("same")
    first = same(x)
    first[0] = 5
    assert x.tolist() == [1, 1, 1]
    assert same(x).tolist() == [1, 1, 1]


@pytest.mark.parametrize("make", [lambda x: x, lambda x: x.t(), lambda x: x[:, ::2], lambda x: x[:, :1].expand(3, 4)])
def test_layout_of_an_argument_is_the_learners_too(answer, make):
    x = make(torch.arange(12.0).reshape(3, 4))
    assert answer("layout")(x) == (list(x.shape), list(x.stride()), x.is_contiguous(), False)
    assert answer("layout")(x.clone().requires_grad_())[3] is True


# Exceptions


def test_an_exception_arrives_with_its_types_its_message_and_its_line(answer):
    error = learner_error(lambda: answer("raises")("ValueError", "must be even, got 3"))
    assert error.types[:2] == ("ValueError", "Exception")
    assert error.said == "must be even, got 3"
    assert "your code raised ValueError: must be even, got 3" in str(error)
    assert "in raises" in str(error)
    assert 'raise {"ValueError"' in str(error)


def test_an_exception_of_the_learners_own_is_known_by_its_bases(answer):
    error = learner_error(lambda: answer("raises")("Custom", "x"))
    assert error.types[:3] == ("Custom", "KeyError", "LookupError")
    expect_raised(LookupError, lambda: answer("raises")("Custom", "x"), inputs={}, because="it is one")


def test_a_message_of_the_learners_cannot_act_on_the_terminal(answer):
    error = learner_error(lambda: answer("raises")("Custom", "x"))
    assert error.said == "a message \\x1b[31mof its own"


def test_an_exception_that_cannot_say_its_message_is_an_exception_all_the_same(answer):
    assert learner_error(answer("raises_unsayable")).types[0] == "Unsayable"


def test_not_implemented_and_exit_are_exceptions_too(answer):
    assert learner_error(answer("not_written")).types[0] == "NotImplementedError"
    assert learner_error(answer("leaves")).types[0] == "SystemExit"
    assert answer("nothing")() is None


def test_missing_arguments_are_the_learners_error(answer):
    assert learner_error(answer("square")).types[0] == "TypeError"


@pytest.mark.filterwarnings("ignore:a warning")
def test_prints_and_warnings_disturb_nothing(answer):
    assert answer("prints_and_warns")() == 1
    assert answer("nothing")() is None


# Objects of the learner's


def test_an_object_keeps_its_state(answer):
    counter = answer("Counter")(1)
    assert isinstance(counter, Proxy)
    counter.add(4)
    counter.add(2, times=2)
    assert counter.total() == 9
    assert len(counter) == 4
    assert repr(counter) == "<a Counter>"


def test_two_objects_are_two(answer):
    counter = answer("Counter")
    one, other = counter(1), counter(2)
    one.add(10)
    assert (one.total(), other.total()) == (11, 2)
    assert one.joined(other) == 13


def test_a_method_that_returns_its_object_returns_that_object(answer):
    counter = answer("Counter")(1)
    counter.add(2).add(3)
    assert counter.total() == 6


def test_errors_of_constructors_and_methods_arrive(answer):
    assert learner_error(lambda: answer("Counter")(-1)).types[0] == "ValueError"
    counter = answer("Counter")(1)
    assert learner_error(lambda: counter.add()).types[0] == "TypeError"
    assert learner_error(lambda: counter.subtract(1)).types[0] == "AttributeError"


def test_a_length_that_is_no_number_is_an_error(answer):
    thing = answer("LengthOfNothing")()
    assert "len() gave" in str(learner_error(lambda: len(thing)))
    assert learner_error(lambda: len(answer("Custom")("x"))).types[0] == "AttributeError"


def test_attributes_cannot_be_seen(answer):
    with pytest.raises(AttributeError):
        answer("Counter")(1)._values  # noqa: B018


# Call-backs


def test_calls_back_are_counted_and_see_what_they_are_given(answer):
    seen = []

    def double(x):
        seen.append(x)
        return x * 2

    got = answer("call_twice")(double, torch.tensor([1.0]))
    assert [x.tolist() for x in seen] == [[1.0], [2.0]]
    assert [x.tolist() for x in got] == [[2.0], [4.0]]


def test_a_claim_that_fails_inside_a_call_back_fails_though_it_is_swallowed(answer):
    def never(x):
        raise Mismatch("called too often", None)

    with pytest.raises(Mismatch, match="called too often"):
        answer("call_and_swallow")(never)
    assert answer("call_and_swallow")(lambda x: None) == 0


def test_any_other_exception_of_a_call_back_reaches_the_learner_as_itself(answer):
    def refuse(x):
        raise ValueError(f"no {x}")

    assert answer("call_and_tell")(refuse) == "saw ValueError: no 1"
    assert answer("call_and_swallow")(refuse) == 0
    error = learner_error(lambda: answer("call_twice")(refuse, 1))
    assert (error.types[0], error.said) == ("ValueError", "no 1")


class Store(Provided):
    exposes = ("put", "get", "__len__")

    def __init__(self):
        self.rows = {}

    def put(self, name, value):
        self.rows[name] = value

    def get(self, name):
        return self.rows[name]

    def secret(self):
        return "the expected value"

    def __len__(self):
        return len(self.rows)


def test_a_provided_object_can_be_used_and_comes_back_as_itself(answer):
    store = Store()
    length, value, same = answer("use_store")(store)
    assert (length, value) == (2, 1)
    assert same is store
    assert store.rows["b"].tolist() == [1, 1]


def test_what_a_provided_object_does_not_expose_is_not_there(answer):
    assert learner_error(lambda: answer("use_hidden")(Store())).types[0] == "AttributeError"


def test_a_method_that_is_not_exposed_cannot_be_reached_by_name():
    """The grader decides which methods may be called, not the stand-in on the learner's side."""
    impl = Implementation(None, "f")
    impl._session.encode(Store())
    ask = {"op": "callback", "object": 0, "args": ["tuple", []], "kwargs": ["dict", []]}
    for method in ("secret", "rows", "__init__", "__class__", None, 3):
        assert impl._session.answer(ask | {"method": method})["op"] == "raise"
    assert impl._session.answer(ask | {"method": "__len__"}) == {"op": "return", "value": 0}


def test_an_object_can_be_handed_in_only_when_it_is_provided(answer):
    with pytest.raises(TypeError, match="Provided"):
        answer("same")({1, 2})


def test_a_function_comes_back_as_itself(answer):
    assert answer("same")(len) is len


# What is noticed


def test_an_argument_changed_in_place_is_noticed(answer):
    for x in (
        torch.zeros(3),
        torch.zeros(3, dtype=torch.int64),
        torch.zeros(2, dtype=torch.complex64),
        torch.tensor([math.nan, 1]),
    ):
        with pytest.raises(ArgumentChanged, match="changed a tensor"):
            answer("change_in_place")(x)
    assert x[1] == 1


def test_an_argument_changed_inside_a_dict_is_noticed(answer):
    with pytest.raises(ArgumentChanged):
        answer("change_a_later_argument")(1, {"v": torch.ones(2), "w": torch.ones(2)})


def test_arguments_that_come_back_as_they_were_are_no_fault(answer):
    assert answer("change_and_restore")(torch.tensor([1.0, 2.0])) == 3
    nan = torch.tensor([math.nan, math.inf, 1.0])
    assert torch.equal(answer("same")(nan).isnan(), nan.isnan())


FORBIDDEN = ["alias", "getattr", "method", "operator", "script", "inside_another", "through_no_grad"]


@pytest.mark.parametrize("way", FORBIDDEN)
def test_a_forbidden_call_is_seen_in_every_form(answer, way):
    impl = answer(
        f"mean_by_{way}" if way not in ("inside_another", "through_no_grad") else f"mean_{way}", forbids=("mean",)
    )
    with pytest.raises(ForbiddenCall, match="it calls mean, which is what this exercise asks you to write"):
        impl(torch.ones(3))
    assert answer(impl.name)(torch.ones(3)) == 1


@pytest.mark.parametrize("way", ["function", "builtin", "packet", "operator", "script", "kernel"])
def test_a_forbidden_call_that_torch_takes_apart_is_seen_in_every_form(answer, way):
    with pytest.raises(ForbiddenCall, match="scaled_dot_product"):
        answer("composite", forbids=("scaled_dot_product_*",))(way, torch.ones(1, 1, 3, 4))


def test_what_is_written_by_hand_or_done_by_the_grader_is_not_forbidden(answer):
    assert answer("mean_by_hand", forbids=("mean",))(torch.ones(3)) == 1
    assert answer("mean_by_the_grader", forbids=("mean",))(lambda x: torch.mean(x), torch.ones(3)) == 1


def test_looking_for_forbidden_calls_loads_no_compiler(process):
    """torch imports its compiler for a dispatch mode unless it is told not to: seconds for every submission."""
    Implementation(process, "mean_by_hand", forbids=("mean",))(torch.ones(3))
    assert Implementation(process, "has_loaded")("torch.overrides")
    assert not Implementation(process, "has_loaded")("torch._dynamo")


def test_a_pattern_forbids_all_that_it_matches(answer):
    with pytest.raises(ForbiddenCall):
        answer("mean_by_alias", forbids=("me*n",))(torch.ones(3))
    assert answer("mean_by_alias", forbids=("me",))(torch.ones(3)) == 1


SIZES = {
    "nothing": 0,
    "views of an argument": 0,
    "a row": 5,
    "a slice of a row": 15,
    "an expanded number": 1,
    "a shape": 0,
    "a square": 25,
    "a square in a thread": 25,
    "a square by its operator": 25,
    "a square in pieces": 25,
    "a pair": 25,
    "a few of many": 2,
}


@pytest.mark.parametrize(("way", "size"), SIZES.items(), ids=SIZES)
def test_the_largest_tensor_that_a_call_makes_is_measured(answer, way, size):
    """What is held counts: not the arguments, not views of them, not what an expanded tensor or a shape would take."""
    makes = answer("makes")
    value, largest = makes.measured(way, torch.ones(5))
    assert largest == size
    assert value == makes(way, torch.ones(5))
    assert makes.measured("nothing", torch.ones(5))[1] == 0


def test_a_call_that_is_measured_may_be_forbidden_and_fail_too(answer):
    assert answer("makes", forbids=("mean",)).measured("a square", torch.ones(5)) == (25.0, 25)
    with pytest.raises(ForbiddenCall):
        answer("makes", forbids=("sum",)).measured("a square", torch.ones(5))
    with pytest.raises(LearnerError):
        answer("makes").measured("no such way", torch.ones(5))
    with pytest.raises(ArgumentChanged):
        answer("change_in_place").measured(torch.zeros(3))


def test_what_the_grader_makes_for_a_call_back_is_not_measured(answer):
    got, largest = answer("sum_by_the_grader").measured(lambda x: (x[:, None] * x).sum(1), torch.ones(5))
    assert (float(got), largest) == (25, 1)


def test_measuring_loads_no_compiler(process):
    Implementation(process, "makes").measured("a square", torch.ones(3))
    assert not Implementation(process, "has_loaded")("torch._dynamo")


# Results


@pytest.mark.parametrize(
    ("which", "expected"),
    [("float64", 1.5), ("float32", 0.5), ("int64", 3), ("bool", True), ("str", "text"), ("zero_dim", 2.5)],
)
def test_numbers_of_numpy_are_numbers(answer, which, expected):
    got = answer("numpy_results")(which)
    assert got == expected
    assert type(got) is type(expected)


def test_an_array_of_numpy_is_no_tensor(answer):
    assert repr(answer("numpy_results")("array")) == "<a ndarray>"


def test_a_parameter_is_a_tensor(answer):
    got = answer("unusual")("parameter")
    assert type(got) is torch.Tensor
    assert got.requires_grad


@pytest.mark.parametrize(
    ("which", "name"),
    [
        ("subclass", "Subclass"),
        ("sparse", "cpu tensor of torch.float32"),
        ("meta", "meta tensor of torch.float32"),
        ("module", "Linear"),
        ("set", "set"),
        ("generator", "generator"),
        ("dtype", "dtype"),
        ("device", "device"),
        ("complex", "complex"),
    ],
)
def test_what_cannot_cross_is_named_by_its_type(answer, which, name):
    got = answer("unusual")(which)
    assert isinstance(got, Opaque)
    assert repr(got) == f"<a {name}>"


def test_named_tuples_and_the_results_of_torch_are_tuples(answer):
    assert answer("tuples")("named") == (1, 2)
    values, indices = answer("tuples")("topk")
    assert (values.tolist(), indices.tolist()) == ([3, 2], [0, 2])
    assert answer("tuples")("size") == (2, 3)
    assert answer("tuples")("ordered") == {"a": 1}


@pytest.mark.parametrize("which", ["itself", "long", "large", "big", "key"])
def test_a_result_that_is_too_much_is_the_learners_error(answer, which):
    error = learner_error(lambda: answer("too_much")(which))
    assert "the result cannot be used" in str(error)
    assert answer("nothing")() is None


def test_text_that_is_not_unicode_arrives(answer):
    assert answer("surrogate")() == ("\ud800", b"\xff\x00")


# Gradients


def test_vjp_gives_results_and_gradients(answer):
    x = torch.tensor([1.0, 2.0, 3.0])
    value, (gradient,) = answer("square").vjp([x], torch.tensor([1.0, 1.0, 0.5]), wrt=[0])
    assert value.tolist() == [1, 4, 9]
    assert value.requires_grad
    assert gradient.tolist() == [2, 4, 3]


def test_vjp_of_several_results_and_arguments(answer):
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])
    impl = answer("product_and_sum")
    _, gradients = impl.vjp([x, y], [torch.ones(2), torch.tensor(10.0)], wrt=[0, 1])
    assert [gradient.tolist() for gradient in gradients] == [[13, 15], [1, 2]]
    _, (gradient,) = impl.vjp([x, y], [torch.ones(2), torch.tensor(10.0)], wrt=[1])
    assert gradient.tolist() == [1, 2]


def test_vjp_tells_of_a_missing_result_and_of_a_broken_graph(answer):
    x = torch.ones(2)
    assert "NoneType, expected a tensor" in str(learner_error(lambda: answer("no_gradient").vjp([x], x, wrt=[0])))
    assert "grad" in str(learner_error(lambda: answer("detached").vjp([x], x, wrt=[0])))


# Labels of the arguments, which evidence carries


def test_evidence_names_the_arguments_as_the_signature_does(answer):
    facts = {"parameters": {"raises": ("kind", "message")}}
    error = learner_error(lambda: answer("raises", **facts)("ValueError", "x"))
    assert error.evidence.inputs == {"kind": "ValueError", "message": "x"}
    error = learner_error(lambda: answer("raises")("ValueError", message="x"))
    assert error.evidence.inputs == {"argument 1": "ValueError", "message": "x"}
