"""The seed of a run decides everything that is drawn: equal seeds give equal reports, byte for byte but for times."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from gptdojo.classroom.seed import class_seed

from .classroom import ROOT, toy_class
from .running import run_command

# says what it was asked until it fails, at an input that depends on the seed
TELLTALE = """
seen = []

def count_vowels(text):
    seen.append(text)
    if len(seen) == 8:
        raise ValueError(repr(seen))
    return sum(letter in "aeiou" for letter in text.lower())
"""


def gptdojo(folder, *arguments, packages=None):
    """Run a command in a folder, with the gptdojo that `packages` holds, else this one; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": str(packages)} if packages else {}
    finished = run_command([sys.executable, "-m", "gptdojo", *map(str, arguments)], cwd=folder, env=environment)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def grade(folder, *arguments, packages=None):
    """Run `gptdojo grade`; return the text of the report without its times."""
    report = gptdojo(folder, "grade", *arguments, "--format", "json", "--out", "-", packages=packages)
    return re.sub(r'"seconds": [\d.]+', '"seconds": 0', report)


def by_submission(report):
    return {row["submission"]: json.dumps(row) for row in json.loads(report)["submissions"]}


def test_class_seed_is_that_of_the_folder_unless_told_otherwise(tmp_path):
    folder = tmp_path / "class"
    course = toy_class(folder)
    (folder / "mine.py").write_text(TELLTALE)
    own, other = (json.loads(grade(folder, "mine.py", *seed)) for seed in [(), ("--seed", "1")])
    assert (own["seed"], other["seed"]) == (class_seed(course), 1)
    messages = [report["submissions"][0]["exercises"][0]["message"] for report in (own, other)]
    assert "ValueError" in messages[0]
    assert messages[0] != messages[1]


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory):
    """Submissions to two chapters of the course, with mistakes whose explanation shows drawn numbers."""
    folder = tmp_path_factory.mktemp("mistakes")
    for learner in ("chloe", "finn"):
        shutil.copytree(ROOT / "docs" / "demo" / "submitted" / learner, folder / "submitted" / learner)
    return folder


@pytest.mark.slow
def test_report_does_not_depend_on_the_order_of_chapters_or_on_how_many_are_graded_at_once(mistakes):
    first, second = sorted(path.relative_to(mistakes) for path in mistakes.glob("submitted/*/*"))
    one_by_one = grade(mistakes, first, second, "--seed", 7)
    assert any(
        entry["status"] == "failed" for row in json.loads(one_by_one)["submissions"] for entry in row["exercises"]
    )
    assert grade(mistakes, first, second, "--seed", 7, "--jobs", 2) == one_by_one
    assert by_submission(grade(mistakes, second, first, "--seed", 7)) == by_submission(one_by_one)
    alone = by_submission(grade(mistakes, second, "--seed", 7))
    assert alone.items() <= by_submission(one_by_one).items()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A folder in which the wheel is installed; other packages are those of this Python, and nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (built,) = folder.glob("*.whl")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        folder / "packages",
    ]
    subprocess.run([*pip, built], check=True)
    return folder / "packages"


@pytest.mark.slow
def test_wheel_and_checkout_give_the_same_report(wheel, mistakes):
    of_wheel = grade(mistakes, "submitted", "--seed", 7, packages=wheel)
    assert of_wheel == grade(mistakes, "submitted", "--seed", 7)
    assert (
        wheel / "gptdojo" / "_course" / "tests" / "properties" / "__pycache__"
    ).is_dir()  # it was the wheel's course


@pytest.mark.slow
def test_wheel_makes_a_course_folder_and_a_class_folder(wheel, tmp_path):
    for arguments in (["learn"], ["class", "--class"]):
        gptdojo(tmp_path, "init", *arguments, packages=wheel)
    shipped = {path.relative_to(ROOT) for path in ROOT.glob("exercises/*/*.ipynb")}
    assert {path.relative_to(tmp_path / "learn") for path in tmp_path.glob("learn/exercises/*/*")} == shipped
    for name in ("tests/properties", "solutions", "reference"):
        for place in ("learn", "class/course"):
            copied = {path.name for path in (tmp_path / place / name).rglob("*.py")}
            assert copied == {path.name for path in (ROOT / name).rglob("*.py")}
    assert "Next: " in gptdojo(tmp_path / "learn", packages=wheel)
