"""From properties to a verdict: rungs, statuses, scores, determinism, and the name of the misconception."""

import json
import random
import sys
import time

import hypothesis.internal.conjecture.providers as providers
import pytest
import torch

from gptdojo.catalog import load_catalog
from gptdojo.faults import Stopped, TimeLimit
from gptdojo.ladder import earned, run_ladder
from gptdojo.report import PropertyResult
from gptdojo.solutions import as_implementation, right_variants, wrong_variants
from gptdojo.time_limit import time_limit


@pytest.fixture
def grade(toy):
    """`grade("count_vowels", function)` grades a function or class in this process."""

    def graded(name, answer, seed=0):
        exercise = toy.exercises[name]
        return run_ladder(exercise, load_catalog(exercise.chapter), as_implementation(exercise, answer), seed)

    return graded


def verdicts(result):
    return [entry.verdict for entry in result.properties]


def as_json(result):
    return json.dumps(result.to_json() | {"seconds": None})


def count_vowels(text):
    return sum(letter in "aeiouAEIOU" for letter in text)


class Thermometer:
    """Right; the wrong ones below derive from it."""

    def __init__(self, digits):
        self.digits, self.readings = digits, torch.empty(0)

    def read(self, readings):
        self.readings = torch.cat([self.readings, readings])

    def average(self):
        if not len(self):
            raise ValueError("nothing was read")
        return (self.readings.sum() / len(self)).reshape(1)

    def __len__(self):
        return len(self.readings)


# Scores


def test_a_right_answer_wins_all_points(toy, grade):
    for name, exercise in toy.exercises.items():
        for variant in right_variants(exercise).values():
            result = grade(name, variant)
            assert (result.status, result.score, set(verdicts(result))) == ("passed", exercise.points, {"passed"})


def test_a_rung_is_not_run_after_one_that_fails(grade):
    class NothingIsAnError(Thermometer):
        def average(self):
            return super().average() if len(self) else torch.zeros(1)

    result = grade("Thermometer", NothingIsAnError)
    assert verdicts(result) == ["passed", "failed", "not_run"]
    assert (result.status, result.score, result.max_score) == ("failed", 1.0, 3.0)
    assert result.failure.property == "empty"


def rung(number, verdict):
    return PropertyResult("p", number, verdict)


@pytest.mark.parametrize(
    ("rungs", "share"),
    [
        ([(1, "passed"), (2, "passed")], 1),
        ([(1, "failed"), (2, "passed")], 0),
        ([(1, "passed"), (2, "failed"), (3, "passed")], 1 / 3),
        ([(1, "not_run"), (2, "passed")], 0),
        ([(1, "passed"), (1, "failed"), (2, "passed"), (2, "passed")], 1 / 4),
    ],
)
def test_a_rung_scores_only_if_every_rung_before_it_holds(rungs, share):
    assert earned([rung(*row) for row in rungs]) == pytest.approx(share)


def test_a_property_beside_the_one_that_fails_is_still_run(toy, grade, forget):
    with_twin = load_catalog(toy.chapters["01_words"])
    first = with_twin.properties("Thermometer")[0]
    assert first.rung == 1
    path = toy.chapters["01_words"].properties
    path.write_text(path.read_text().replace('@claim("Thermometer", rung=3)', '@claim("Thermometer", rung=2)'))
    forget()

    class NoError(Thermometer):
        def average(self):
            return torch.zeros(1) if not len(self) else super().average()

    result = grade("Thermometer", NoError)
    assert verdicts(result) == ["passed", "failed", "passed"]
    assert result.score == 2.0


# Statuses


def test_a_stub_is_not_started(grade):
    def stub(text):
        raise NotImplementedError

    result = grade("count_vowels", stub)
    assert (result.status, result.score, verdicts(result)) == ("not_started", 0, ["failed", "not_run"])
    assert "still raises NotImplementedError" in result.message
    assert result.misconceptions == []


def test_a_stub_behind_finished_rungs_is_an_error_and_costs_no_points(grade):
    class HalfDone(Thermometer):
        def average(self):
            if not self.readings.numel():
                raise ValueError("nothing was read")
            return (self.readings.sum() / self.readings.numel()).reshape(1)

        def __len__(self):
            raise NotImplementedError

    result = grade("Thermometer", HalfDone)
    assert verdicts(result) == ["passed", "passed", "failed"]
    assert (result.status, result.score) == ("error", 2.0)
    assert "NotImplementedError" in result.message


def test_a_forbidden_call_wins_nothing_though_every_result_is_right(grade):
    class Forbidden(Thermometer):
        def average(self):
            return self.readings.mean(0, keepdim=True) if len(self) else super().average()

    result = grade("Thermometer", Forbidden)
    assert (result.status, result.score) == ("forbidden", 0)
    assert "it calls mean" in result.message


def test_a_forbidden_call_in_a_later_rung_wins_nothing_either(grade):
    class ForbiddenLater(Thermometer):
        def __len__(self):
            torch.ones(1).mean()
            return len(self.readings)

        def average(self):
            if not self.readings.numel():
                raise ValueError
            return (self.readings.sum() / self.readings.numel()).reshape(1)

    result = grade("Thermometer", ForbiddenLater)
    assert (result.status, result.score) == ("forbidden", 0)


def test_code_that_raises_is_an_error_with_its_message(grade):
    def broken(text):
        return text[100]

    result = grade("count_vowels", broken)
    assert (result.status, result.score) == ("error", 0)
    assert "IndexError: string index out of range" in result.message
    assert result.failure.counterexample.inputs == {"text": "''"}


def test_memory_that_runs_out_is_told_apart(grade):
    def greedy(text):
        raise MemoryError

    assert grade("count_vowels", greedy).status == "memory"


def test_a_wrong_result_shows_a_small_input_with_what_was_expected_and_got(grade):
    result = grade("count_vowels", lambda text: sum(letter in "aeiu" for letter in text))
    case = result.failure.counterexample
    assert (case.inputs, case.expected, case.got) == ({"text": "'o'"}, "1", "0")
    assert result.message == "the result is 0, expected 1"


def test_a_property_that_is_broken_is_no_fault_of_the_learners(toy, grade, forget):
    path = toy.chapters["01_words"].properties
    path.write_text(
        path.read_text().replace("expect_reference(impl, reference.count_vowels, text)", "impl(text).missing", 1)
    )
    forget()
    with pytest.raises(AttributeError, match="missing"):
        grade("count_vowels", count_vowels)


def test_what_ends_the_process_ends_the_ladder(grade):
    def stopping(text):
        raise Stopping

    class Stopping(Stopped):
        is_time_limit = True

        def __init__(self):
            super().__init__("crashed", "gone")

    result = grade("count_vowels", stopping)
    assert (result.status, result.score, result.message) == ("crashed", 0, "gone")
    assert verdicts(result) == ["failed", "not_run"]


def test_an_endless_loop_of_ones_own_is_stopped_and_said(grade):
    def endless(text):
        while True:
            pass

    with time_limit(0.3):
        result = grade("count_vowels", endless)
    assert (result.status, result.score) == ("timeout", 0)
    assert "0.3 seconds" in result.message


def test_a_time_limit_ends_with_its_block():
    def endless():
        with time_limit(0.05):
            while True:
                pass

    with pytest.raises(TimeLimit):
        endless()
    with time_limit(0.05):
        pass
    time.sleep(0.1)


# Code that answers at random


def test_code_that_answers_at_random_fails_with_a_readable_message(grade):
    numbers = random.Random(0)

    def moody(text):
        return count_vowels(text) + (numbers.random() < 0.3)

    result = grade("count_vowels", moody)
    assert result.status == "failed"
    assert result.score < 2
    assert "the result is" in result.message


def test_code_that_fails_only_once_is_not_passed(grade):
    calls = []

    def once(text):
        calls.append(text)
        return count_vowels(text) + (len(calls) == 5)

    result = grade("count_vowels", once)
    assert result.status == "failed"
    assert result.score == 0


def test_an_inconsistent_draw_because_of_the_learner_is_a_failure(toy, grade, forget):
    """A property that draws after it has asked the learner must not pass when the answers change."""
    path = toy.chapters["01_words"].properties
    text = path.read_text().replace('@given(text=st.text("aeioubcd", max_size=6))\n', "@given(data=st.data())\n")
    text = text.replace(
        "def test_count_vowels_small_letters(impl, text):", "def test_count_vowels_small_letters(impl, data):"
    )
    text = text.replace(
        "    expect_reference(impl, reference.count_vowels, text)",
        "    text = data.draw(st.text('aeiou', max_size=impl('aaaa')))\n    expect_reference(impl, reference.count_vowels, text)",
        1,
    )
    path.write_text(text)
    forget()
    numbers = random.Random(1)

    def moody(text):
        return numbers.randrange(5) if text == "aaaa" else count_vowels(text)

    result = grade("count_vowels", moody)
    assert (result.status, result.score) == ("failed", 0)
    assert "answers differently" in result.message
    assert grade("count_vowels", count_vowels).status == "passed"


# The search for a small case


@pytest.mark.parametrize("allowed", [3, 10_000])
def test_the_search_for_a_small_case_is_bounded_in_calls(grade, monkeypatch, allowed):
    monkeypatch.setattr("gptdojo.ladder.SHRINK_CASES", allowed)
    monkeypatch.setattr("gptdojo.ladder.explain", lambda *args: [])
    calls, first = [], []

    def fails_on_colorful_texts(text):
        calls.append(text)
        if len(set(text)) > 3:
            first.append(len(calls))
            raise ValueError
        return count_vowels(text)

    result = grade("count_vowels", fails_on_colorful_texts)
    assert result.status == "error"
    searched = len(calls) - first[0]
    assert searched <= 3 if allowed == 3 else searched > 20


@pytest.mark.parametrize("seed", range(4))
def test_a_case_is_small(grade, seed):
    class WrongForMany(Thermometer):
        def average(self):
            right = super().average()
            return right + 1 if len(self) > 2 else right

    result = grade("Thermometer", WrongForMany, seed=seed)
    shown = result.failure.counterexample.inputs["readings"]
    assert shown.count(",") == 2, "three readings are enough"
    assert len(shown) <= 30, "and their numbers are simple"


# Determinism


def wrong_in_capitals(text):
    return sum(letter in "aeiou" for letter in text)


def test_the_same_seed_gives_the_same_report_but_for_times(grade):
    for name, answer in (("count_vowels", wrong_in_capitals), ("Thermometer", Thermometer)):
        assert as_json(grade(name, answer, seed=7)) == as_json(grade(name, answer, seed=7))


def drawn(grade, seed):
    seen = []

    def counted(text):
        seen.append(text)
        return count_vowels(text)

    grade("count_vowels", counted, seed=seed)
    return seen


def test_different_seeds_draw_different_inputs(grade):
    assert drawn(grade, 1) != drawn(grade, 2)
    assert drawn(grade, 1) == drawn(grade, 1)


def test_the_two_properties_of_an_exercise_draw_from_different_seeds(grade):
    seen = drawn(grade, 1)
    assert {text.lower() for text in seen} != {"a"}
    assert len(set(seen)) > 20


@pytest.fixture
def load_constants(tmp_path, monkeypatch):
    """Load local modules full of texts that a property may draw."""
    names = [f"local_constants_{number}" for number in range(40)]

    def load():
        for number, name in enumerate(names):
            texts = [f"{letter * (number % 5 + 1)}" for letter in "aeioubcdAEIOU"]
            (tmp_path / f"{name}.py").write_text("\n".join(f"c{i} = {text!r}" for i, text in enumerate(texts)))
            __import__(name)

    monkeypatch.syspath_prepend(tmp_path)
    yield load
    for name in names:
        sys.modules.pop(name, None)


def test_other_modules_and_other_exercises_change_nothing(grade, load_constants):
    before = drawn(grade, 3)
    load_constants()
    grade("Thermometer", Thermometer, seed=3)
    torch.manual_seed(99)
    random.seed(99)
    assert drawn(grade, 3) == before


def test_left_to_itself_hypothesis_mixes_in_what_is_loaded(grade, load_constants, monkeypatch, constants_of_modules):
    """The claim above can fail: this version of Hypothesis does look into the modules that are loaded."""
    before = drawn(grade, 3)
    load_constants()
    monkeypatch.setattr("gptdojo.ladder.steady", lambda: None)
    monkeypatch.setattr(providers, "_get_local_constants", constants_of_modules)
    assert drawn(grade, 3) != before


# The name of the misconception


def test_every_misconception_is_named_and_only_it(toy, grade):
    for name, exercise in toy.exercises.items():
        for wrong, variant in wrong_variants(exercise).items():
            assert [entry.name for entry in grade(name, variant).misconceptions] == [wrong]


def test_the_name_comes_with_what_the_learner_believes_and_the_truth(grade):
    (entry,) = grade("count_vowels", wrong_in_capitals).misconceptions
    assert (entry.believes, entry.truth) == ("letters are small", "capitals are vowels as well")


def test_a_bug_that_nobody_described_gets_no_name(grade):
    assert grade("count_vowels", lambda text: count_vowels(text) + 1).misconceptions == []
    assert grade("count_vowels", lambda text: 1 // len(text)).misconceptions == []


def test_one_outcome_that_differs_is_enough_for_no_name(grade):
    """It repeats what small_letters_only does on all probes but one."""
    result = grade("count_vowels", lambda text: 3 if text == "bcd" else wrong_in_capitals(text))
    assert result.status == "failed"
    assert result.misconceptions == []


def test_misconceptions_that_cannot_be_told_apart_are_named_together(toy, grade, forget):
    path = toy.chapters["01_words"].misconceptions
    twin = """
@misconception("count_vowels", believes="b", truth="t")
def twin(text):
    return sum(text.count(vowel) for vowel in "aeiou")
"""
    path.write_text(path.read_text() + twin)
    forget()
    names = [entry.name for entry in grade("count_vowels", wrong_in_capitals).misconceptions]
    assert names == ["small_letters_only", "twin"]


def test_a_forgotten_return_is_said_and_has_no_name(grade):
    class ForgotReturn(Thermometer):
        def average(self):
            super().average()

    result = grade("Thermometer", ForgotReturn)
    assert result.status == "failed"
    assert "is the `return` missing?" in result.message
    assert result.misconceptions == []


@pytest.mark.parametrize("use", ['impl("bcd").bit_length()', 'int(str(impl("bcd")))', '[1][impl("bcd") or 9]'])
def test_a_probe_that_cannot_use_a_result_gives_no_name(toy, grade, forget, use):
    path = toy.chapters["01_words"].misconceptions
    path.write_text(path.read_text().replace('lambda: impl("bcd")]', f"lambda: {use}]"))
    forget()
    result = grade("count_vowels", lambda text: None)
    assert (result.status, result.misconceptions) == ("failed", [])


def test_an_explanation_that_takes_too_long_costs_no_verdict(grade):
    asked = []

    def slow_on_probes(text):
        asked.append(text)
        while text == "bcd" and "AE" in asked:
            pass
        return count_vowels(text) + 1

    with time_limit(2):
        result = grade("count_vowels", slow_on_probes)
    assert result.status == "failed"
    assert result.misconceptions == []
