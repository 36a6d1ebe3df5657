"""What a comparison accepts and refuses, and what it says."""

import math

import pytest
import torch

from gptdojo.expect import Grid, expect, expect_close, expect_raises, expect_reference
from gptdojo.faults import LearnerError, Mismatch
from gptdojo.implementation import local


def impl_of(function, **facts):
    return local(function, "f", **{"parameters": {"f": ("x", "y")}} | facts)


def complaint(got, expected, **options):
    """What is said of a result; empty when it is accepted."""
    tolerance = options.pop("exercise_tolerance", 1e-5)
    try:
        expect_close(impl_of(len, tolerance=tolerance), got, expected, **options)
    except Mismatch as error:
        return str(error)
    return ""


ONES = torch.ones(2, 3)

REFUSED = [
    (None, ONES, "None, expected a float32 tensor of shape (2, 3); is the `return` missing?"),
    (1.0, ONES, "a float, expected a float32 tensor of shape (2, 3)"),
    ([[1.0] * 3] * 2, ONES, "a list of 2, expected a float32 tensor"),
    (torch.ones(3), ONES, "a float32 tensor of shape (3,), expected a float32 tensor of shape (2, 3)"),
    (torch.ones(1, 3), ONES, "a float32 tensor of shape (1, 3), expected a float32 tensor of shape (2, 3)"),
    (torch.ones(()), ONES, "a float32 tensor of shape ()"),
    (torch.ones(3, 2), ONES, "shape (3, 2)"),
    (ONES.int(), ONES, "an int32 tensor of shape (2, 3), expected a float32"),
    (ONES.bool(), ONES, "a bool tensor"),
    (ONES, ONES.bool(), "a float32 tensor of shape (2, 3), expected a bool tensor"),
    (ONES.long(), ONES.bool(), "an int64 tensor"),
    (ONES, ONES.long(), "expected an int64 tensor"),
    (ONES.bool(), ONES.long(), "a bool tensor"),
    (ONES + 0j, ONES, "a complex64 tensor"),
    (torch.tensor([1.0, math.nan]), torch.ones(2), "the result is NaN at [1], expected 1"),
    (torch.tensor([1.0, -math.inf]), torch.ones(2), "the result is infinite at [1], expected 1"),
    (torch.tensor([1.0, 2.0]), torch.tensor([1.0, math.nan]), "2 at [1], expected nan"),
    (torch.tensor([1.0, math.nan]), torch.tensor([1.0, math.inf]), "nan at [1], expected inf"),
    (torch.tensor([math.inf]), torch.tensor([-math.inf]), "inf at [0], expected -inf"),
    (torch.tensor([[1, 2], [3, 5]]), torch.tensor([[1, 2], [3, 4]]), "5 at [1, 1], expected 4"),
    (torch.tensor([True, False]), torch.tensor([True, True]), "False at [1], expected True"),
    (torch.tensor([1 + 2j]), torch.tensor([1 + 0j]), "at [0], expected"),
    (math.nan, 1.0, "the result is NaN"),
    (2.0, 1.0, "the result is 2, expected 1"),
    ("1", 1.0, "a str, expected a float"),
    (None, 1.0, "None, expected a float"),
    (True, 1.0, "a bool, expected a float"),
    (torch.ones(1), 1.0, "a float32 tensor of shape (1,), expected a float"),
    (2, 1, "is 2, expected 1"),
    (1.0, 1, "a float, expected an int"),
    (True, 1, "a bool, expected an int"),
    (torch.tensor(1.0), 1, "a float32 tensor of shape (), expected an int"),
    (1, True, "an int, expected a bool"),
    (False, True, "is False, expected True"),
    ("a", "b", "is 'a', expected 'b'"),
    (0, None, "an int, expected None"),
    (1, (1, 2), "an int, expected a tuple of 2"),
    ((1,), (1, 2), "a tuple of 1, expected a tuple of 2"),
    ((1, 3), (1, 2), "the result[1] is 3, expected 2"),
    ((1, (2, None)), (1, (2, 3)), "the result[1][1] is None"),
    ({"a": 1}, {"b": 1}, "a dict of 1 with the keys ['a'], expected the keys ['b']"),
    ({"a": 1, "b": 2}, {"a": 1}, "a dict of 2 with the keys ['a', 'b'], expected the keys ['a']"),
    ({"a": 2}, {"a": 1}, "the result['a'] is 2, expected 1"),
    (1, {"a": 1}, "an int, expected the keys ['a']"),
]  # fmt: skip


@pytest.mark.parametrize(("got", "expected", "said"), REFUSED, ids=range(len(REFUSED)))
def test_a_wrong_result_is_refused_in_words_that_say_got_and_expected(got, expected, said):
    message = complaint(got, expected)
    assert said in message
    assert message.startswith("the result")


ACCEPTED = [
    (ONES, ONES),
    (ONES.double(), ONES),
    (ONES.half(), ONES),
    (ONES.requires_grad_(), torch.ones(2, 3)),
    (ONES.int(), ONES.long()),
    (torch.tensor([math.nan, math.inf, -math.inf]), torch.tensor([math.nan, math.inf, -math.inf])),
    (torch.empty(0, 3), torch.empty(0, 3)),
    (torch.empty(2, 0, dtype=torch.bool), torch.empty(2, 0, dtype=torch.bool)),
    (torch.empty(0, 2, 2, dtype=torch.bool), torch.empty(0, 2, 2, dtype=torch.bool)),
    (1.0, 1.0), (1, 1.0), (torch.tensor(1.0), 1.0), (torch.tensor(1), 1), (1, 1), (2**100, 2**100),
    ([1, 2], (1, 2)), ((1, 2), [1, 2]), ({"a": [ONES]}, {"a": (ONES,)}), (None, None), ("a", "a"), (True, True), ({}, {}), ([], ()),
    (torch.tensor([1 + 2j]), torch.tensor([1 + 2j])),
]  # fmt: skip


@pytest.mark.parametrize(("got", "expected"), ACCEPTED, ids=range(len(ACCEPTED)))
def test_a_right_result_is_accepted_however_it_is_written(got, expected):
    assert complaint(got, expected, exercise_tolerance=0) == ""


def test_the_tolerance_is_relative_to_what_is_large_and_absolute_below_one():
    for size, expected in ((1000.0, torch.tensor([1000.0, 1.0])), (1.0, torch.tensor([0.5, 0.25]))):
        inside, outside = expected.double().clone(), expected.double().clone()
        inside[1] += 0.99e-5 * size
        outside[1] -= 1.01e-5 * size
        assert complaint(inside, expected.double()) == ""
        assert "at [1], expected" in complaint(outside, expected.double())


def test_an_error_that_equals_the_tolerance_is_accepted():
    assert complaint(torch.tensor([1.25]), torch.tensor([1.0]), exercise_tolerance=0.25) == ""
    assert complaint(torch.tensor([1.0 + 2**-20]), torch.tensor([1.0]), exercise_tolerance=0) != ""


def test_numbers_that_look_alike_are_shown_with_the_digits_that_differ():
    assert complaint(1.00000001, 1.0, exercise_tolerance=1e-10) == "the result is 1.00000001, expected 1"
    got = torch.tensor([1 + 2**-23])
    assert complaint(got, torch.tensor([1.0]), exercise_tolerance=1e-8) == "the result is 1.00000012 at [0], expected 1"


def test_integers_are_compared_exactly_however_large_the_others_are():
    """A token of a vocabulary of 50,000 that is off by one is no rounding error."""
    assert "50001 at [0], expected 50000" in complaint(
        torch.tensor([50_001, 3]), torch.tensor([50_000, 3]), exercise_tolerance=1e-3
    )
    assert complaint(torch.tensor([2**53 + 1]), torch.tensor([2**53])) != ""
    assert complaint(2**70 + 1, 2**70) != ""
    assert complaint(torch.tensor([101]), torch.tensor([100]), tolerance=0.1) == ""


def test_numbers_of_python_keep_their_precision_and_range():
    assert complaint(0.1 + 1e-12, 0.1, exercise_tolerance=1e-13) != ""
    assert complaint(2e300, 1e300) != ""
    assert complaint(10**400, 1.0) != ""


def test_the_dtype_asked_for_is_required():
    assert complaint(ONES, ONES, dtype=torch.float32) == ""
    assert "a float64 tensor of shape (2, 3), expected the dtype of the input: a float32" in complaint(
        ONES.double(), ONES.double(), dtype=torch.float32
    )


def test_boolean_matrices_draw_the_first_pair_that_differs():
    expected = torch.zeros(2, 2, 3, dtype=torch.bool)
    got = expected.clone()
    got[1, 0, 2] = True
    with pytest.raises(Mismatch) as caught:
        expect_close(impl_of(len), got, expected)
    grid = caught.value.evidence.grid
    assert isinstance(grid, Grid)
    assert grid.got.tolist() == got[1].tolist()
    assert grid.expected.tolist() == expected[1].tolist()


def test_evidence_holds_the_inputs_and_both_results():
    with pytest.raises(Mismatch) as caught:
        expect_close(impl_of(len), 2, 1, inputs={"x": 5})
    evidence = caught.value.evidence
    assert (evidence.inputs, evidence.expected, evidence.got) == ({"x": 5}, 1, 2)


def test_expect_fails_with_its_message_only_when_it_does_not_hold():
    expect(torch.tensor(True), "never said")
    with pytest.raises(Mismatch, match="said"):
        expect(0, "said", inputs={"x": 1}, expected=1, got=2)


# expect_reference


def test_reference_is_computed_in_float64_and_before_the_learner_is_called():
    order = []

    def oracle(x):
        order.append(("oracle", x.dtype))
        return x * 2

    def learner(x):
        order.append(("learner", x.dtype))
        return x * 2

    expect_reference(impl_of(learner), oracle, torch.ones(2))
    assert order == [("oracle", torch.float64), ("learner", torch.float32)]


def test_reference_can_neither_be_reached_nor_changed_through_the_inputs():
    x = torch.ones(2, dtype=torch.float64)
    kept = []

    def oracle(y):
        kept.append(y)
        return y

    def learner(y):
        return y + 0

    expect_reference(impl_of(learner), oracle, x)
    assert kept[0].untyped_storage().data_ptr() != x.untyped_storage().data_ptr()
    assert x.tolist() == [1, 1]


def test_result_has_the_dtype_of_the_first_floating_input():
    mask = torch.ones(2, dtype=torch.bool)
    double = impl_of(lambda mask, x: x.double())
    with pytest.raises(Mismatch, match="expected the dtype of the input: a float32"):
        expect_reference(double, lambda mask, x: x, mask, torch.ones(2))
    half = impl_of(lambda mask, x: x)
    expect_reference(half, lambda mask, x: x, mask, torch.ones(2).half())


def test_a_rung_may_look_at_a_part_but_the_whole_has_to_be_of_the_right_kind():
    wrong_below = impl_of(lambda x: torch.stack([x[0], x[1] + 1]), tolerance=1e-5)
    x = torch.rand(2, 3)
    got = expect_reference(wrong_below, lambda x: x, x, at=lambda result: result[0])
    assert got.shape == (2, 3)
    with pytest.raises(Mismatch):
        expect_reference(wrong_below, lambda x: x, x)
    with pytest.raises(Mismatch, match=r"shape \(3,\)"):
        expect_reference(impl_of(lambda x: x[0]), lambda x: x, x, at=lambda result: result[0])


def test_a_part_of_a_pair_with_something_missing_is_a_mismatch():
    """A learner who forgot one of two results is told so, whatever the rung looks at."""
    half = impl_of(lambda x: (x, None))
    with pytest.raises(Mismatch, match="None"):
        expect_reference(half, lambda x: (x, x), torch.ones(2), at=lambda pair: (pair[0][:1], pair[1][:1]))


def test_failure_names_the_inputs_as_the_signature_does():
    with pytest.raises(Mismatch) as caught:
        expect_reference(impl_of(lambda x, y: x), lambda x, y: x + y, 3, 4)
    assert caught.value.evidence.inputs == {"x": 3, "y": 4}


def test_errors_are_measured_for_the_margins():
    impl = impl_of(lambda x: x + 1e-3, tolerance=1e-2)
    expect_reference(impl, lambda x: x, torch.zeros(2))
    expect_reference(impl, lambda x: x + 1e-3, torch.zeros(2))
    assert impl.errors == pytest.approx([1e-3, 0], abs=1e-6)


# Exceptions that are expected


def raising(error):
    def learner(x):
        raise error

    return impl_of(learner)


def test_the_exception_asked_for_is_accepted_and_so_is_one_derived_from_it():
    class TooLong(ValueError):
        pass

    expect_raises(raising(ValueError("x")), ValueError, 1, because="x is odd")
    expect_raises(raising(TooLong("x")), ValueError, 1, because="x is odd")


def test_no_exception_or_another_is_refused_and_says_why_one_was_expected():
    with pytest.raises(Mismatch, match="expected ValueError because x is odd, but it returned a result"):
        expect_raises(impl_of(lambda x: 3), ValueError, 1, because="x is odd")
    with pytest.raises(Mismatch, match="expected ValueError because x is odd, but it raised Exception") as caught:
        expect_raises(raising(Exception("base")), ValueError, 1, because="x is odd")
    assert repr(caught.value.evidence.got) == "raises Exception: base"


def test_a_stub_is_not_taken_for_the_expected_exception():
    with pytest.raises(LearnerError):
        expect_raises(raising(NotImplementedError()), RuntimeError, 1, because="x")
    with pytest.raises(LearnerError):
        expect_raises(raising(NotImplementedError()), ValueError, 1, because="x")
