"""Writing a test: what it accepts and rejects, in a process of its own and in a notebook's."""

import io

import pytest
from rich.console import Console

from gptdojo import progress
from gptdojo.course import CourseError
from gptdojo.study import attempt_process
from gptdojo.study.attempt_process import try_file
from gptdojo.study.starting_test import start_text
from gptdojo.study.writing import file_of, finish, try_here, write_test

FULL = 'def test_all(impl):\n    assert impl("aA") == 2\n    assert impl("") == 0\n'


@pytest.fixture
def exercise(toy, monkeypatch):
    monkeypatch.chdir(toy.root)
    return toy.exercises["count_vowels"]


def verdicts_here(toy, exercise, text):
    namespace = {}
    exec(text, namespace)
    return try_here(toy, exercise, [value for name, value in namespace.items() if name.startswith("test_")])


def report(toy, exercise, text):
    console = Console(file=io.StringIO(), width=80)
    finish(console, toy, exercise, verdicts_here(toy, exercise, text))
    return " ".join(console.file.getvalue().split())


def test_the_first_call_makes_a_file_that_is_never_overwritten(toy, exercise):
    console = Console(file=io.StringIO(), width=80)
    assert not write_test(console, toy, exercise)
    path = file_of(exercise)
    text = path.read_text()
    assert 'assert impl("Queue") == 4' in text
    assert "BEGIN SOLUTION" not in text
    path.write_text(FULL)
    assert write_test(console, toy, exercise)
    assert path.read_text() == FULL
    assert "Nothing slips through" in console.file.getvalue()
    assert progress.part(toy, "writetest") == {"count_vowels": {"rejected": 2, "of": 2}}


def test_what_slips_through_is_told_one_at_a_time(toy, exercise):
    out = report(toy, exercise, 'def test_one(impl):\n    assert impl("a") == 1')
    assert "accepts 3 of 3 right implementations of count_vowels and rejects 0 of 2" in out
    assert "One of the 2 that slip through: different_vowels. Its author believes that a vowel counts once" in out
    assert "small_letters_only" not in out
    out = report(toy, exercise, 'def test_two(impl):\n    assert impl("aa") == 2')
    assert "It slips through: small_letters_only" in out


def test_a_test_that_asks_for_too_much_is_explained(toy, exercise):
    out = report(toy, exercise, 'def test_type(impl):\n    assert type(impl("a")) is int')
    assert "must accept one that is right, and written differently" in out
    assert "accepts 2 of 3" in out
    assert progress.part(toy, "writetest")["count_vowels"]["rejected"] == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise NotImplementedError", "It is not written yet"),
        ('assert impl("a") == 7', "It must accept the worked solution, and does not: "),
        ("return impl()", "it raises TypeError"),
        ("raise SystemExit", "it raises SystemExit"),
    ],
)
def test_a_test_that_fails_on_what_is_right_is_explained(toy, exercise, body, words):
    assert words.strip() in report(toy, exercise, f"def test_it(impl):\n    {body}")


def test_a_process_of_its_own_survives_hanging_printing_and_exiting(toy, exercise, monkeypatch, tmp_path):
    monkeypatch.setattr(attempt_process, "SECONDS", 1.5)
    path = tmp_path / "mine.py"
    path.write_text(
        "import os\nfrom hypothesis import given, strategies as st\n"
        "@given(text=st.text('aA', max_size=4))\ndef test_hypothesis(impl, text):\n"
        "    print('noise')\n    assert impl(text) == len(text)\n"
        "def test_hard(impl):\n"
        "    if impl('AE') == 0:\n        while True: pass\n"
        "    if impl('aa') == 1:\n        os._exit(3)\n"
    )  # fmt: skip
    seen = []
    verdicts = try_file(toy, exercise, path, lambda done, of: seen.append((done, of)))
    outcomes = {verdict.variant.name: verdict.outcome for verdict in verdicts}
    assert outcomes == {
        "solution": "passed", "by_pattern": "passed", "by_counting": "passed",
        "different_vowels": "failed", "small_letters_only": "failed",
    }  # fmt: skip
    assert seen[-1] == (5, 5)
    path.write_text("import os\ndef test_hard(impl):\n    if impl('AE') == 0:\n        while True: pass\n"
                    "    if impl('aa') == 1:\n        os._exit(3)\n")  # fmt: skip
    outcomes = {verdict.variant.name: verdict.outcome for verdict in try_file(toy, exercise, path)}
    assert outcomes["different_vowels"] == "crashed"
    assert outcomes["small_letters_only"] == "timeout"
    assert all(outcome == "passed" for name, outcome in outcomes.items() if "vowels" not in name and "only" not in name)


@pytest.mark.parametrize(("text", "words"), [("x = 1", "holds no test"), ("def test_(", "SyntaxError")])
def test_a_file_without_a_test_is_said(toy, exercise, tmp_path, text, words):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(CourseError, match=words):
        try_file(toy, exercise, path)


def test_an_exercise_without_an_example_that_can_be_asserted_gets_a_plain_start(toy):
    text = start_text(toy.exercises["Thermometer"])
    assert "def test_Thermometer(impl):\n    raise NotImplementedError" in text
    assert "def average(self) -> Tensor:" in text
