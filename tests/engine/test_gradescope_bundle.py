"""The Gradescope bundle: its scripts are run as that platform runs them, under a folder that stands in for /autograder."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gptdojo.cli.app import main
from gptdojo.course import CourseError
from gptdojo.grading.autograder import Settings, find, nothing
from gptdojo.grading.bundle import requirements, write_bundle
from gptdojo.grading.feedback import Feedback

from .running import run_command

SETTINGS = Settings("01_words", 7, 20.0, 4096, Feedback.names)
WRONG = 'def count_vowels(text):\n    return sum(letter in "aeiou" for letter in text)\n'


@pytest.fixture
def platform(toy, tmp_path):
    """What Gradescope makes of the archive: source/ unpacked, run_autograder beside it, an empty folder for results."""
    write_bundle(toy, tmp_path / "bundle", SETTINGS)
    root = tmp_path / "autograder"
    with zipfile.ZipFile(tmp_path / "bundle" / "autograder.zip") as archive:
        archive.extractall(root / "source")
    shutil.copy(root / "source" / "run_autograder", root / "run_autograder")
    for name in ("submission", "results"):
        (root / name).mkdir()
    environment = os.environ | {"AUTOGRADER_ROOT": str(root), "AUTOGRADER_ENVIRONMENT": sys.prefix}
    environment.pop("PYTHONPATH", None)

    def run(script):
        return run_command(["bash", str(root / script)], cwd=tmp_path, env=environment)

    return root, run


def test_the_scripts_set_up_and_grade_an_upload(platform):
    root, run = platform
    done = run("source/setup.sh")
    assert done.returncode == 0, done.stderr
    assert (root / "source").stat().st_mode & 0o077 == 0, "no other user reads the solutions"
    (root / "submission" / "my homework.py").write_text(WRONG)
    done = run("run_autograder")
    assert done.returncode == 0, done.stderr
    results = json.loads((root / "results" / "results.json").read_text())
    assert results["score"] == 1.0
    by_name = {test["name"]: test for test in results["tests"]}
    assert by_name["count_vowels"]["status"] == "failed"
    assert "Capitals count as well" in by_name["count_vowels"]["output"]
    assert "small input" not in by_name["count_vowels"]["output"], "feedback is names"
    assert by_name["Thermometer"]["score"] == 0, "what the chapter asks for and is not there counts"
    assert "'A'" not in json.dumps(results)


def test_a_grader_that_fails_leaves_no_results_and_so_no_score(platform):
    root, run = platform
    (root / "submission" / "words.py").write_text(WRONG)
    properties = root / "source/course/tests/properties/test_01_words.py"
    properties.write_text("raise RuntimeError('this course is broken')\n")
    done = run("run_autograder")
    assert done.returncode == 1
    assert "the grader failed" in done.stdout
    assert not (root / "results" / "results.json").exists()


def test_an_empty_upload_is_told_what_to_upload(platform):
    root, run = platform
    (root / "submission" / "notes.txt").write_text("hello")
    assert run("run_autograder").returncode == 0
    results = json.loads((root / "results" / "results.json").read_text())
    assert results["score"] == 0
    assert results["output"] == "There is nothing to grade here: upload words.ipynb. This upload holds: notes.txt."
    assert len(results["tests"]) == 2


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["anything.py"], ["anything.py"]),
        (["words.ipynb", "other.ipynb"], ["words.ipynb"]),
        (["words.py", "words.ipynb"], ["words.ipynb"]),
        (["one.ipynb", "two.ipynb"], []),
        (["sub/words.ipynb"], ["words.ipynb"]),
    ],
)
def test_the_notebook_of_the_chapter_is_found_in_an_upload(toy, tmp_path, names, found):
    for name in names:
        path = tmp_path / "upload" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    chosen = find(toy, SETTINGS, tmp_path / "upload")
    assert [submission.path.name for submission in chosen] == found
    assert all(submission.chapter == "01_words" for submission in chosen)
    if not chosen:
        assert "one.ipynb, two.ipynb" in nothing(toy, SETTINGS, tmp_path / "upload").message


def test_a_bundle_holds_what_grading_reads_and_no_copy_of_another_course(toy, tmp_path):
    write_bundle(toy, tmp_path / "bundle", SETTINGS)
    names = {str(path.relative_to(tmp_path / "bundle")) for path in (tmp_path / "bundle").rglob("*") if path.is_file()}
    assert {"setup.sh", "run_autograder", "settings.json", "requirements.txt", "autograder.zip"} <= names
    assert {"course/course.md", "course/tests/properties/test_01_words.py", "course/reference/words.py"} <= names
    assert not [name for name in names if "_course" in Path(name).parts or "__pycache__" in name]
    assert os.access(tmp_path / "bundle/setup.sh", os.X_OK)
    assert (tmp_path / "bundle").stat().st_mode & 0o077 == 0
    assert Settings.from_json((tmp_path / "bundle/settings.json").read_text()) == SETTINGS
    with pytest.raises(CourseError, match="is not empty"):
        write_bundle(toy, tmp_path / "bundle", SETTINGS)


def test_the_versions_are_those_that_grade_here():
    import torch

    pinned = dict(line.split("==") for line in requirements())
    assert pinned["torch"] == torch.__version__.partition("+")[0]
    assert {"hypothesis", "numpy", "safetensors", "typer"} <= pinned.keys()
    assert not {"gptdojo", "nbgrader", "pytest"} & pinned.keys()


def test_the_command_draws_a_seed_that_nobody_knows(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(toy.root)
    seeds = []
    for name in ("one", "two"):
        monkeypatch.setattr(
            sys, "argv", ["gptdojo", "export", "gradescope", str(tmp_path / name), "--chapter", "words"]
        )
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
        seeds.append(Settings.from_json((tmp_path / name / "settings.json").read_text()).seed)
    assert seeds[0] != seeds[1]
    assert "autograder.zip to Gradescope. Learners hand in words.ipynb." in capsys.readouterr().out


@pytest.mark.parametrize("script", ["setup.sh", "run_autograder"])
def test_the_scripts_are_shell(toy, tmp_path, script):
    write_bundle(toy, tmp_path / "bundle", SETTINGS)
    text = (tmp_path / "bundle" / script).read_text()
    assert "@PYTHON@" not in text
    subprocess.run(["bash", "-n", str(tmp_path / "bundle" / script)], check=True)
