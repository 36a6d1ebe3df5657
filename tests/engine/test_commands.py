"""The commands of a learner: where I stand, check my work, the next hint."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gptdojo import progress
from gptdojo.cli.app import main
from gptdojo.report import ExerciseResult

WORDS = """
def count_vowels(text):
    return sum(letter in "aeiou" for letter in text.lower())
"""
WRONG = WORDS.replace(".lower()", "")
STUBS = """
def count_vowels(text):
    raise NotImplementedError

class Thermometer:
    def __init__(self, digits):
        raise NotImplementedError
"""


@pytest.fixture
def gptdojo(toy, monkeypatch, capsys):
    """`gptdojo("check", "x.py")` returns the exit status, what was printed, and what went to standard error."""
    monkeypatch.chdir(toy.root)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gptdojo", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return run


def write(toy, text, name="mine.py"):
    path = toy.root / name
    path.write_text(text)
    return path


def notebook(*sources):
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
        for i, source in enumerate(sources)
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})


def release(toy, *sources):
    path = toy.chapters["01_words"].notebook
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(notebook(*sources))
    return path


# Where I stand


def test_status_tells_the_points_and_the_one_next_thing_to_do(gptdojo):
    code, out, _ = gptdojo()
    assert code == 0
    assert "Words and temperatures" in out
    assert "0 of 5" in out
    assert "Next: count_vowels (about 5 minutes). Open exercises/01_words/words.ipynb" in " ".join(out.split())


def test_status_follows_what_was_checked(gptdojo, toy):
    gptdojo("check", write(toy, WORDS))
    _, out, _ = gptdojo()
    assert "2 of 5" in out
    assert "count_vowels done" in " ".join(out.split())
    assert "Next: Thermometer" in out
    gptdojo("check", write(toy, WRONG))
    _, out, _ = gptdojo()
    assert "2 of 5" in out, "the best score counts"
    assert "mend count_vowels" in " ".join(out.split())


def test_status_knows_tracks(gptdojo):
    assert "count_vowels" not in gptdojo("--track", "deep")[1]
    assert "count_vowels" in gptdojo("--track", "all")[1]
    code, _, err = gptdojo("--track", "other")
    assert code == 2
    assert "core, deep or all" in " ".join(err.replace("│", " ").split())


# Check my work


def test_check_of_a_right_answer_exits_0(gptdojo, toy):
    code, out, _ = gptdojo("check", write(toy, WORDS))
    assert code == 0
    assert "count_vowels  passed  2 of 2 points" in out
    assert "rung 2  passed" in out


def test_check_of_a_wrong_answer_exits_1_and_explains_it(gptdojo, toy):
    code, out, _ = gptdojo("check", write(toy, WRONG))
    assert code == 1
    told = " ".join(out.split())
    for words in (
        "count_vowels failed 1 of 2 points",
        "the result is 0, expected 1",
        "text = 'A'",
        "that letters are small. In fact, capitals",
    ):
        assert words in told


def test_check_never_writes_to_the_file_nor_beside_it(gptdojo, toy):
    def state():
        files = [path for path in toy.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return {path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}

    path = write(toy, WRONG)
    release(toy, WRONG)
    before = state()
    gptdojo("check", path)
    gptdojo("check", "words")
    gptdojo("check")
    assert state() == before


def test_check_of_a_notebook_by_any_name(gptdojo, toy):
    release(toy, "%matplotlib inline\nx = 1", WORDS, "1 / 0", "count_vowels('a')")
    for what in ("01_words", "1", "words", toy.chapters["01_words"].notebook):
        _, out, _ = gptdojo("check", what)
        assert "count_vowels  passed" in out
        assert "note: cell 3 raised ZeroDivisionError: division by zero" in out
    code, out, _ = gptdojo("check", "count_vowels")
    assert code == 0
    assert "Thermometer" not in out


def test_checking_everything_what_was_not_started_is_no_failure(gptdojo, toy):
    release(toy, STUBS)
    assert gptdojo("check")[0] == 0
    assert gptdojo("check", "words")[0] == 1
    release(toy, STUBS + WRONG)
    assert gptdojo("check")[0] == 1


def test_an_exercise_that_is_missing_from_its_notebook_is_said(gptdojo, toy):
    release(toy, WORDS, "class Thermometer:\n    1 / 0")
    code, out, _ = gptdojo("check", "Thermometer")
    assert code == 1
    assert "Thermometer is not defined: cell 2 raised ZeroDivisionError" in " ".join(out.split())


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("count_vowel", "Did you mean count_vowels?"),
        ("quantum", "neither a file nor a chapter nor an exercise"),
        ("words", "exercises/01_words/words.ipynb cannot be read"),
    ],
)
def test_what_is_not_there_is_one_line_and_exit_2(gptdojo, what, said):
    code, out, err = gptdojo("check", what)
    assert code == 2
    assert said in "".join(err.split("\n")).replace("  ", " ") or said in " ".join(err.split())
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.py", b"x = 1", "defines no exercise of this course"),
        ("a.py", b"def count_vowels(:", "SyntaxError"),
        ("a.py", b"\xff\xfe", "not UTF-8"),
        ("a.ipynb", b"{", "not a notebook"),
        ("a.ipynb", b"[]", "no list of cells"),
        ("a.py", b"raise ValueError('\x1b[31mred')", "\\x1b[31mred"),
        ("a.py", b"while True: pass", "does not run to its end"),
    ],
    ids=["no exercise", "syntax", "encoding", "broken notebook", "other json", "control characters", "endless"],
)
def test_a_file_that_cannot_be_checked_is_said_in_one_line(gptdojo, toy, monkeypatch, name, content, said):
    monkeypatch.setattr("gptdojo.selfstudy.SECONDS", 0.5)
    (toy.root / name).write_bytes(content)
    code, out, err = gptdojo("check", name)
    assert code == 2
    assert said in "".join((out + err).split("\n")) or said in " ".join((out + err).split())
    assert "\x1b" not in out + err


def test_an_endless_loop_in_an_answer_is_a_timeout(gptdojo, toy, monkeypatch):
    monkeypatch.setattr("gptdojo.selfstudy.SECONDS", 1.0)
    code, out, _ = gptdojo("check", write(toy, "def count_vowels(text):\n    while True: pass"))
    assert code == 1
    assert "count_vowels  timeout" in out


def test_what_the_answer_says_cannot_act_on_the_terminal(gptdojo, toy):
    said = "def count_vowels(text):\n    raise ValueError('\\x1b[2J[bold]\\x9b')\n1/0; class A: pass"
    _, out, err = gptdojo("check", write(toy, said.replace("1/0; class A: pass", "raise KeyError('\\x1b[31m')")))
    assert "\x1b" not in out + err
    assert "\x9b" not in out + err
    assert "[bold]" in out


# Hints


def test_hints_come_one_by_one_and_stay_readable_after_the_last(gptdojo):
    first = gptdojo("hint", "count_vowels")[1]
    assert "Hint 1 of 3: Which letters are vowels?" in first
    assert "looped" not in first
    second = gptdojo("hint", "count_vowels")[1]
    assert "Hint 2 of 3: A string can be looped over." in second
    gptdojo("hint", "count_vowels")
    assert gptdojo("hint", "count_vowels")[1].count("Hint") == 3
    assert "Hint 1 of 3" in gptdojo("hint", "Thermometer")[1]


def test_a_hint_for_nothing_is_said(gptdojo):
    code, _, err = gptdojo("hint", "Thermometr")
    assert code == 2
    assert "Did you mean Thermometer?" in " ".join(err.split())


# A solution


def test_a_solution_of_what_passes_is_shown_beside_mine_without_a_question(gptdojo, toy):
    release(toy, WORDS)
    gptdojo("check", "count_vowels")
    code, out, _ = gptdojo("solution", "count_vowels")
    assert code == 0
    assert "Show" not in out
    assert out.index("one worked solution") < out.index("yours")
    assert "def count_vowels(text):" in out.split("yours")[1]


# The state


def result(status="passed", score=2.0):
    return ExerciseResult("count_vowels", "01_words", score, 2.0, 0.1, status)


BROKEN_STATES = [
    b"", b"{", b"\xff", b"[]", b'"text"', b"null", b'{"courses": []}', b'{"courses": {"Words and temperatures": []}}',
    b'{"courses": {"Words and temperatures": {"exercises": {"count_vowels": 3}}}}',
    b'{"courses": {"Words and temperatures": {"exercises": {"count_vowels": {"points": 3}}}}}',
    b'{"courses": {"Words and temperatures": {"exercises": {"count_vowels": {"score": "many"}}}}}',
]  # fmt: skip


@pytest.mark.parametrize("content", BROKEN_STATES)
def test_a_broken_state_is_kept_aside_and_costs_nothing_else(gptdojo, toy, content):
    path = progress.state_file()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert gptdojo()[0] == 0
    progress.note(toy, result())
    assert progress.records(toy)["count_vowels"].score == 2
    assert [p.read_bytes() for p in path.parent.iterdir() if p != path] == [content]


def test_the_state_is_kept_per_course_and_leaves_no_other_file(toy):
    path = progress.state_file()
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps({"format": 1, "courses": {"Another": {"exercises": {"x": {"score": 1.0}}, "cards": [1]}}})
    )
    progress.note(toy, result())
    saved = json.loads(path.read_text())["courses"]
    assert saved["Another"] == {"exercises": {"x": {"score": 1.0}}, "cards": [1]}
    assert saved["Words and temperatures"]["exercises"] == {
        "count_vowels": {"score": 2.0, "status": "passed", "hints": 0}
    }
    assert list(path.parent.iterdir()) == [path]


def test_the_best_score_and_the_last_status_are_kept(toy):
    progress.note(toy, result())
    progress.note(toy, result("failed", 1.0))
    record = progress.records(toy)["count_vowels"]
    assert (record.score, record.status) == (2.0, "failed")


def test_a_state_that_cannot_be_written_costs_only_itself(gptdojo, toy, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/dev/null/nowhere")
    code, out, _ = gptdojo("check", write(toy, WORDS))
    assert code == 0
    assert "passed" in out


def test_a_crash_while_writing_leaves_the_old_state(toy, monkeypatch):
    progress.note(toy, result())

    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    progress.note(toy, result("failed", 0.0))
    monkeypatch.undo()
    files = list(progress.state_file().parent.iterdir())
    assert [path.name for path in files] == ["state.json"] or not files
    for path in files:
        assert stat.S_ISREG(path.stat().st_mode)
        assert "count_vowels" in path.read_text()


def test_no_state_that_cannot_be_read_is_lost_when_another_follows(toy):
    path = progress.state_file()
    path.parent.mkdir(parents=True)
    for content in ("first", "second"):
        path.write_text(content)
        assert progress.records(toy)
    assert sorted(other.read_text() for other in path.parent.iterdir() if other != path) == ["first", "second"]


# As a process


def test_piped_output_fits_80_columns_has_no_color_and_comes_from_the_module(toy):
    path = write(toy, WRONG)
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    done = subprocess.run(
        [sys.executable, "-m", "gptdojo", "check", str(path)],
        cwd=toy.root, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "count_vowels  failed" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    assert not Path(toy.root, ".hypothesis").exists()
