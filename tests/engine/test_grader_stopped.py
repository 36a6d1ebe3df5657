"""A grader that fails, is stopped or is killed: nothing is lost, nothing is graded twice, and nothing is left behind."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gptdojo.course import Course
from gptdojo.grading import pool
from gptdojo.grading.collect import Submission
from gptdojo.grading.job import Job, Options
from gptdojo.grading.pool import Graders
from gptdojo.sandbox import choose

from .conftest import copy_toy
from .running import heed_ctrl_c, run_command

VOWELS = 'def count_vowels(text):\n    return sum(letter in "aeiou" for letter in text.lower())\n'
SLOW = f"import time\ntime.sleep(1)\n{VOWELS}"
NONE = choose("none")
GPTDOJO = str(Path(sys.executable).with_name("gptdojo"))


def job(root, content=VOWELS, name="class/mine.py", learner=None, **options):
    return Job(Submission(Path(name), learner, None), replace(Options(root, NONE), **options), content=content.encode())


# A grader that fails


def test_a_grader_that_is_lost_is_replaced_and_the_verdict_comes_all_the_same(toy, tmp_path):
    with Graders(1) as graders:
        future = graders.submit(job(toy.root, isolation=choose("bubblewrap")))
        deadline = time.monotonic() + 60
        while not graders.pids() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(graders.pids()[0], signal.SIGKILL)
        result = future.result(timeout=300)
    assert [entry.status for entry in result.exercises] == ["passed"]


def test_a_grader_that_is_lost_twice_is_an_error_of_the_grader_and_no_zero(toy, monkeypatch):
    monkeypatch.setattr(pool, "PROGRAM", "raise SystemExit(7)")
    with Graders(1) as graders:
        result = graders.submit(job(toy.root)).result(timeout=60)
    assert [entry.status for entry in result.exercises] == ["grader_error"]
    assert "exit status 7" in result.message


# Stopped, killed, and gone on with


@pytest.fixture
def class_folder(tmp_path):
    """A class of ten, each of which takes a second, in a folder with files that are named like modules."""
    root = copy_toy(tmp_path / "course")
    for number in range(10):
        path = root / "class/submitted" / f"learner{number}" / "01_words" / "words.py"
        path.parent.mkdir(parents=True)
        path.write_text(SLOW if number else SLOW.replace(".lower()", ""))
    for name in ("torch", "random", "gptdojo", "pickle"):
        (root / "class" / f"{name}.py").write_text("raise SystemExit('a file of the class was imported')\n")
    return root / "class"


def started(folder, *arguments):
    command = [GPTDOJO, "grade", "submitted", "--jobs", "2", "--out", "out", *arguments]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c
    )


def results(folder):
    return sorted((folder / "out/submissions").glob("*.json"))


def until(true, process):
    deadline = time.monotonic() + 240
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(0.05)


def all_gone(processes):
    for process in processes:
        try:
            process.wait(20)
        except psutil.NoSuchProcess:
            continue
        except psutil.TimeoutExpired:
            return False
    return True


def test_a_class_that_is_stopped_and_killed_loses_nothing_and_grades_nothing_twice(class_folder):
    process = started(class_folder)
    until(lambda: len(results(class_folder)) >= 2, process)
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert all_gone(below)
    first = {path.name: path.stat().st_mtime_ns for path in results(class_folder)}
    assert f"{len(first)} of 10 submissions are graded, and kept in out" in said
    assert "1 of 10  submitted/learner" in said, "plain lines where there is no terminal"
    assert "Traceback" not in said
    command = shlex.split(said.partition("To go on: ")[2])
    assert command[:2] == ["gptdojo", "grade"]
    assert command[-1] == "--resume"

    process = started(class_folder, "--resume")
    until(lambda: len(results(class_folder)) >= len(first) + 2, process)
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert len(below) > 2
    assert all_gone(below), "the sandboxes of a grader that was killed are gone"
    second = {path.name: path.stat().st_mtime_ns for path in results(class_folder)}
    for path in results(class_folder):
        assert json.loads(path.read_text())["submissions"][0]["max_score"] == 5.0, "each file is whole"

    process = started(class_folder, "--resume")
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert f"{len(second)} of 10 are graded already" in said
    third = {path.name: path.stat().st_mtime_ns for path in results(class_folder)}
    assert first.items() <= second.items() <= third.items(), "nothing was graded twice"
    report = json.loads((class_folder / "out/report.json").read_text())
    assert [row["learner"] for row in report["submissions"]] == [f"learner{number}" for number in range(10)]
    assert [row["score"] for row in report["submissions"]] == [1.0] + [2.0] * 9


def test_nothing_is_said_to_be_kept_where_nothing_is(toy, monkeypatch):
    from gptdojo.cli.batch import Batch

    batch = Batch(toy, [], (), 0, 1, None, "none", 1.0, 4096, None, False, False)
    assert "none of it is kept: --out FOLDER" in batch.how_to_go_on()


# The same report, however it came about


def renamed(text):
    """The text of the first chapter as that of a second one; the reference is the same."""
    for old, new in {"count_vowels": "count_vocals", "Thermometer": "Barometer", "01_words": "02_more"}.items():
        text = text.replace(old, new)
    return text.replace("reference.count_vocals", "reference.count_vowels").replace('= ["words"]', "= []")


def two_chapters(folder):
    """The toy course with a second chapter: the first, with other names."""
    root = copy_toy(folder)
    for path in sorted((root / "tests").rglob("*01_words.py")):
        path.with_name(renamed(path.name)).write_text(renamed(path.read_text()))
    second = root / "solutions/02_more"
    second.mkdir()
    for path in sorted((root / "solutions/01_words").iterdir()):
        (second / path.name.replace("words", "more")).write_text(renamed(path.read_text()))
    return root


def without_seconds(record):
    if isinstance(record, dict):
        return {name: without_seconds(value) for name, value in record.items() if name != "seconds"}
    return [without_seconds(each) for each in record] if isinstance(record, list) else record


@pytest.mark.slow
def test_the_order_of_chapters_and_the_number_of_jobs_change_no_byte_of_a_report(tmp_path):
    root = two_chapters(tmp_path / "course")
    wrong = VOWELS.replace(".lower()", "")
    submissions = {"01_words": wrong, "02_more": wrong.replace("count_vowels", "count_vocals")}
    for chapter, text in submissions.items():
        for learner in ("ada", "bob"):
            path = root / "submitted" / learner / chapter / f"{chapter[3:]}.py"
            path.parent.mkdir(parents=True)
            path.write_text(text if learner == "ada" else text.replace("in text", "in text[::-1]"))
    assert list(Course(root).chapters) == list(submissions)
    found = []
    for order, jobs in ((("01_words", "02_more"), 1), (("02_more", "01_words"), 2)):
        paths = [f"submitted/{learner}/{chapter}" for chapter in order for learner in ("ada", "bob")]
        command = [GPTDOJO, "grade", *paths, "--jobs", str(jobs), "--seed", "12", "--out", f"out{jobs}"]
        done = run_command(command, cwd=root)
        assert done.returncode == 0, done.stderr
        files = sorted((root / f"out{jobs}/submissions").glob("*.json"))
        found.append({path.name: json.dumps(without_seconds(json.loads(path.read_text()))) for path in files})
    assert found[0] == found[1]
    assert len(found[0]) == 4
    assert all('"failed"' in text for text in found[0].values())
