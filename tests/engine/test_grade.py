"""`gptdojo grade`: every submission gets its verdict, whatever it does, and the report keeps its contract."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from .running import run_command

TOY = Path(__file__).parent / "toy_course"
TIMEOUT = 3

VOWELS = 'def count_vowels(text):\n    return sum(letter in "aeiou" for letter in text.lower())\n'
THERMOMETER = """
import torch

class Thermometer:
    def __init__(self, digits):
        self.readings = torch.empty(0)

    def read(self, readings):
        self.readings = torch.cat([self.readings, readings])

    def average(self):
        if not len(self.readings):
            raise ValueError("empty")
        return (self.readings.sum() / len(self.readings)).reshape(1)

    def __len__(self):
        return len(self.readings)
"""
STUB = "def count_vowels(text):\n    raise NotImplementedError\n"


def notebook(*cells):
    """A notebook of `(id, source)` cells; a plain text is a cell without a name of its own."""
    rows = [(f"c{i}", cell) if isinstance(cell, str) else cell for i, cell in enumerate(cells)]
    made = [
        {
            "cell_type": "code",
            "id": name,
            "metadata": {},
            "source": source.splitlines(keepends=True),
            "outputs": [],
            "execution_count": None,
        }
        for name, source in rows
    ]
    text = {"cell_type": "markdown", "id": "t", "metadata": {}, "source": "# Words"}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [text, *made]})


NOISY = notebook(
    "%matplotlib inline\n!echo from the shell\nx = 1\nfrom gptdojo.pictures import slots\nfrom gptdojo import study",
    "%%bash\necho this is no Python",
    "print('{\"format\": 2}')\nimport sys, os\nprint('noise', file=sys.stderr)\nos.write(1, b'raw noise')",
    "raise RuntimeError('a cell that raises')",
    "VOWELS = set('aeiou')  # a cell of the learner's own",
    VOWELS.replace('"aeiou"', "VOWELS") + "    # ends with a comment",
    ("count_a_sentence", "raise SystemExit('a demonstration does not run')\nVOWELS.clear()"),
    "def count_vowels_(text): pass\ncheck = __import__('gptdojo').check\ncheck(count_vowels)",
    THERMOMETER.replace("    def __init__", "    print('while defining')\n    def __init__"),
)
FORGE = r"""
import os

def count_vowels(text):
    for fd in range(3, 9):
        try:
            os.write(fd, b"\\xff" * 64)
        except OSError:
            pass
    return 0
"""
SPY = """
import os, sys
from pathlib import Path

def count_vowels(text):
    folders = [Path(sys.modules["gptdojo_worker"].__file__).parents[1], Path.cwd()]
    files = [(folder, path) for folder in folders for path in folder.rglob("*")]
    found = sorted(str(path.relative_to(folder)) for folder, path in files if path.suffix in (".py", ".toml", ".ipynb", ".md"))
    raise ValueError(" ".join(name for name in found if not name.startswith("gptdojo_worker")) + " | " + str(Path.cwd().name))
"""
SUBMISSIONS = {
    "submitted/ada/01_words/words.ipynb": NOISY,
    "submitted/bob/01_words/words.ipynb": notebook(STUB),
    "submitted/cyd/01_words/words.ipynb": notebook(VOWELS.replace(".lower()", ""), "class Thermometer:\n    1 / 0", "def broken(:"),
    "submitted/dan/01_words/words.ipynb": "{ this is not a notebook",
    "submitted/eve/01_words/words.py": b"\xff\xfe\x00",
    "hang.py": THERMOMETER + "\n\ndef count_vowels(text):\n    while True:\n        pass\n",
    "hang_at_import.py": VOWELS + "\nwhile True: pass\n",
    "leave.py": "import os\ndef count_vowels(text):\n    os._exit(7)\n",
    "fault.py": "import ctypes\ndef count_vowels(text):\n    return ctypes.string_at(0)\n",
    "shut.py": "import os, time\ndef count_vowels(text):\n    os.closerange(3, 100)\n    time.sleep(60)\n",
    "forge.py": FORGE,
    "spy.py": SPY,
    "other.py": "print('no exercise here')\n",
}  # fmt: skip


def write(root, name, content):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def course_with(root):
    """The toy course in `root`, with every submission; odd things that are no plain files among them."""
    import shutil

    shutil.copytree(TOY, root, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis", "exercises"))
    for name, content in SUBMISSIONS.items():
        write(root / "class", name, content)
    write(root / "class", "secret/secret.txt", VOWELS)
    for learner in ("fay", "gil", "hal"):
        (root / "class" / "submitted" / learner / "01_words").mkdir(parents=True)
    (root / "class/submitted/fay/01_words/words.py").symlink_to(root / "class/secret/secret.txt")
    os.mkfifo(root / "class/submitted/gil/01_words/words.py")
    with open(root / "class/submitted/hal/01_words/words.py", "wb") as file:
        file.truncate(21 * 2**20)
    return root


def gptdojo_grade(root, *arguments, **environment):
    command = [sys.executable, "-m", "gptdojo", "grade", *map(str, arguments), "--isolation", "none"]
    return run_command(command, cwd=root, env=os.environ | environment)


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """A folder that all processes of this test run share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def graded(shared):
    """The whole class graded once: the process that did it, and the folder."""
    root = shared / "graded"
    with FileLock(shared / "graded.lock"):
        kept = shared / "graded.json"
        if not kept.exists():
            course_with(root)
            done = gptdojo_grade(
                root, "class", "--format", "json", "--out", "-", "--jobs", 2, "--timeout", TIMEOUT, "--seed", 5
            )
            saved = {
                "code": done.returncode,
                "out": done.stdout,
                "err": done.stderr,
            }
            kept.write_text(json.dumps(saved))
    return json.loads(kept.read_text()) | {"root": root}


@pytest.fixture(scope="session")
def report(graded):
    return json.loads(graded["out"])


@pytest.fixture
def of(report):
    """`of("hang.py")` is the record of a submission, `of("hang.py", "count_vowels")` that of an exercise in it."""

    def found(name, exercise=None):
        (record,) = [row for row in report["submissions"] if row["submission"] == f"class/{name}"]
        if exercise is None:
            return record
        (row,) = [row for row in record["exercises"] if row["exercise"] == exercise]
        return row

    return found


# The report


def test_standard_output_is_one_json_object_and_nothing_else(graded):
    assert graded["out"].endswith("}\n")
    assert graded["out"].count("\n") == 1
    assert json.loads(graded["out"])["format"] == 1
    assert "noise" not in graded["out"]


def test_exit_status_is_0_whatever_the_scores(graded):
    assert graded["code"] == 0


KEYS = {"submission", "learner", "score", "max_score", "seconds", "exercises"}
EXERCISE_KEYS = {
    "exercise",
    "chapter",
    "score",
    "max_score",
    "seconds",
    "status",
    "message",
    "misconceptions",
    "properties",
}
STATUSES = {
    "passed",
    "failed",
    "not_started",
    "missing",
    "error",
    "timeout",
    "memory",
    "crashed",
    "forbidden",
    "grader_error",
}


def test_the_report_keeps_its_contract_field_by_field(report):
    assert {"format", "seed", "isolation", "versions", "submissions"} <= report.keys()
    assert (report["format"], report["seed"], report["isolation"]) == (1, 5, "none")
    assert {"python", "torch", "hypothesis"} <= report["versions"].keys()
    for row in report["submissions"]:
        assert row.keys() >= KEYS
        assert type(row["submission"]) is str
        assert row["learner"] is None or type(row["learner"]) is str
        assert row["seconds"] >= 0
        assert row["score"] == pytest.approx(sum(entry["score"] for entry in row["exercises"]))
        assert row["max_score"] == pytest.approx(sum(entry["max_score"] for entry in row["exercises"]))
        for entry in row["exercises"]:
            assert entry.keys() >= EXERCISE_KEYS
            assert entry["status"] in STATUSES - {"grader_error"}
            assert entry["chapter"] == "01_words"
            assert 0 <= entry["score"] <= entry["max_score"]
            assert entry["status"] == "passed" or entry["message"]
            assert all(type(name) is str for name in entry["misconceptions"])
            for claim in entry["properties"]:
                assert claim.keys() == {"property", "rung", "verdict", "message", "counterexample"}
                assert claim["verdict"] in ("passed", "failed", "not_run")


def test_every_file_is_in_the_report_once_and_in_order(report):
    names = [row["submission"] for row in report["submissions"]]
    assert names == sorted(names, key=lambda name: (name.count("/") > 1, name))
    assert len(names) == len(set(names)) == len(SUBMISSIONS) + 3


def test_a_failure_has_a_counterexample_and_a_name(of):
    entry = of("submitted/cyd/01_words/words.ipynb", "count_vowels")
    assert (entry["status"], entry["score"], entry["max_score"]) == ("failed", 1.0, 2.0)
    assert entry["misconceptions"] == ["small_letters_only"]
    assert [claim["verdict"] for claim in entry["properties"]] == ["passed", "failed"]
    case = entry["properties"][1]["counterexample"]
    assert case == {"inputs": {"text": "'A'"}, "expected": "1", "got": "0", "grid": None, "calls": []}


# What runs


def test_a_right_notebook_full_of_noise_wins_everything(of):
    """Magics are left out, cells after one that raises run, own cells run, demonstrations do not, prints go nowhere."""
    record = of("submitted/ada/01_words/words.ipynb")
    assert [entry["status"] for entry in record["exercises"]] == ["passed", "passed"]
    assert (record["score"], record["max_score"], record["learner"]) == (5.0, 5.0, "ada")
    assert "a cell that raises" in record["message"]
    assert "demonstration" not in record["message"]


def test_the_folder_of_nbgrader_gives_the_learner(of):
    assert of("submitted/bob/01_words/words.ipynb")["learner"] == "bob"
    assert of("leave.py")["learner"] is None


def test_an_untouched_stub_is_not_started_and_what_the_chapter_asks_for_is_missing(of):
    name = "submitted/bob/01_words/words.ipynb"
    assert of(name, "count_vowels")["status"] == "not_started"
    missing = of(name, "Thermometer")
    assert (missing["status"], missing["score"], missing["max_score"], missing["properties"]) == ("missing", 0, 3, [])


def test_a_cell_that_does_not_define_its_exercise_is_an_error_that_says_why(of):
    entry = of("submitted/cyd/01_words/words.ipynb", "Thermometer")
    assert entry["status"] == "error"
    assert "cell 3 raised ZeroDivisionError" in entry["message"]
    assert "cell 4 raised SyntaxError" in entry["message"]


def test_a_file_outside_a_chapter_is_graded_on_what_it_defines(of):
    assert [entry["exercise"] for entry in of("leave.py")["exercises"]] == ["count_vowels"]
    other = of("other.py")
    assert (other["exercises"], other["max_score"]) == ([], 0)
    assert other["message"] == "it defines no exercise of this course"


# What goes wrong


@pytest.mark.parametrize(
    ("learner", "said"),
    [
        ("dan", "not a notebook"),
        ("eve", "not UTF-8"),
        ("fay", "cannot be opened"),
        ("gil", "not a plain file"),
        ("hal", "larger than 20 MiB"),
    ],
    ids=["broken notebook", "encoding", "symlink", "fifo", "huge file"],
)
def test_what_cannot_be_read_scores_0_on_its_chapter_and_says_why(report, learner, said):
    (record,) = [row for row in report["submissions"] if row["learner"] == learner]
    assert [entry["status"] for entry in record["exercises"]] == ["error", "error"]
    assert (record["score"], record["max_score"]) == (0, 5)
    assert all(said in entry["message"] for entry in record["exercises"])


def test_an_endless_loop_is_a_timeout_and_the_next_exercise_goes_on(of):
    assert [entry["exercise"] for entry in of("hang.py")["exercises"]] == ["count_vowels", "Thermometer"]
    hanging = of("hang.py", "count_vowels")
    assert (hanging["status"], hanging["score"]) == ("timeout", 0)
    assert f"{TIMEOUT} seconds" in hanging["message"]
    assert [claim["verdict"] for claim in hanging["properties"]] == ["failed", "not_run"]
    assert of("hang.py", "Thermometer")["status"] == "passed"


def test_an_endless_loop_while_loading_is_a_timeout_of_all(of):
    entry = of("hang_at_import.py", "count_vowels")
    assert (entry["status"], entry["score"]) == ("timeout", 0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("leave.py", "exit status 7"),
        ("fault.py", "SIGSEGV"),
        ("shut.py", "pipe|exit status 0"),
        ("forge.py", "no reply|no question|makes no sense"),
    ],
)
def test_a_process_that_ends_itself_or_its_pipe_is_crashed(of, name, said):
    entry = of(name, "count_vowels")
    assert (entry["status"], entry["score"]) == ("crashed", 0)
    assert re.search(said, entry["message"]), entry["message"]


def test_beside_a_submission_lies_nothing_that_tells_the_answer(of):
    message = of("spy.py", "count_vowels")["message"]
    found, _, _folder = message.partition("ValueError: ")[2].partition(" | ")
    assert found.split() == [".course/reference/__init__.py"], "no tests, no solutions, no reference of its own chapter"


def test_nothing_of_a_submission_is_left_behind(graded):
    left = subprocess.run(["pgrep", "-f", "gptdojo_worker"], capture_output=True, text=True, check=False).stdout.split()
    ours = [pid for pid in left if str(graded["root"]) in _working_folder(pid)]
    assert ours == []
    assert not (graded["root"] / ".hypothesis").exists()


def _working_folder(pid):
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


# One at a time, several at once, in any company


def without_times(record):
    if isinstance(record, dict):
        return {key: without_times(value) for key, value in record.items() if key != "seconds"}
    return [without_times(item) for item in record] if isinstance(record, list) else record


def test_alone_in_another_process_a_submission_gets_the_same_report(graded, of):
    """Graded among others two at a time, or alone with another seed of hashes: the same but for times."""
    name = "submitted/cyd/01_words/words.ipynb"
    options = ("--exercise", "count_vowels", "--format", "json", "--out", "-", "--seed", 5)
    done = gptdojo_grade(graded["root"], f"class/{name}", *options, PYTHONHASHSEED="77")
    (record,) = json.loads(done.stdout)["submissions"]
    assert [without_times(entry) for entry in record["exercises"]] == [without_times(of(name, "count_vowels"))]


# Arguments and failures of the grader, in this process


@pytest.fixture
def grade_here(toy, monkeypatch, capsys):
    """`grade_here("x.py")` runs the command in this process; returns the exit status, the report or None, the errors."""
    from gptdojo.cli.app import main

    monkeypatch.chdir(toy.root)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gptdojo", "grade", *map(str, arguments), "--isolation", "none"])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, " ".join(printed.err.split())

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.py"], "nowhere.py does not exist"),
        (["empty"], "no notebook (.ipynb) or Python file (.py) in empty"),
        (["mine.py", "--exercise", "count_vowel"], "Did you mean count_vowels?"),
        (["mine.py", "--jobs", "0"], "--jobs"),
        (["mine.py", "--timeout", "0"], "--timeout"),
        (["mine.py", "--format", "doc"], "--format"),
        ([], "Missing argument"),
    ],
)
def test_bad_arguments_exit_2_and_say_what_is_wrong(grade_here, toy, arguments, said):
    write(toy.root, "mine.py", VOWELS)
    (toy.root / "empty").mkdir()
    code, out, err = grade_here(*arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_a_wrong_kind_of_file_is_an_error_without_a_verdict_on_anything(grade_here, toy):
    write(toy.root, "words.txt", VOWELS)
    code, out, _ = grade_here("words.txt", "--out", "-")
    (record,) = json.loads(out)["submissions"]
    assert code == 0
    assert "neither a notebook" in record["message"]
    assert [entry["status"] for entry in record["exercises"]] == ["error", "error"]


def test_a_property_that_is_broken_is_a_grader_error_and_exit_3(grade_here, toy, forget):
    path = toy.chapters["01_words"].properties
    path.write_text(
        path.read_text().replace("expect_reference(impl, reference.count_vowels, text)", "impl(text).missing", 1)
    )
    forget()
    write(toy.root, "mine.py", VOWELS + THERMOMETER)
    code, out, _ = grade_here("mine.py", "--out", "-")
    (record,) = json.loads(out)["submissions"]
    assert code == 3
    assert [entry["status"] for entry in record["exercises"]] == ["grader_error", "passed"]
    assert "AttributeError" in record["exercises"][0]["message"]


def test_a_grader_that_cannot_start_a_submission_says_so_for_that_one(toy, monkeypatch):
    from gptdojo.grading import grade
    from gptdojo.grading.collect import Submission
    from gptdojo.grading.job import Options
    from gptdojo.sandbox import choose

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(grade, "WorkerProcess", full)
    write(toy.root, "mine.py", VOWELS)
    result = grade.grade(Submission(toy.root / "mine.py"), Options(toy.root, choose("none")))
    assert result.grader_failed
    assert [entry.status for entry in result.exercises] == ["grader_error"]
    assert "no space left" in result.message


def test_a_report_on_disk_and_a_table_for_people(grade_here, toy):
    write(toy.root, "words.txt", VOWELS)
    code, out, err = grade_here("words.txt", "--out", "reports")
    assert code == 0
    assert "words.txt" in out
    assert "0 of 5" in out
    assert "isolation: none" in err
    assert json.loads((toy.root / "reports/report.json").read_text())["submissions"][0]["score"] == 0
    assert sorted(path.name for path in (toy.root / "reports").iterdir()) == ["report.json", "submissions"]
