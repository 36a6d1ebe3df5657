"""What is graded is kept: one file a submission, whatever happens to the grader, and it is graded again only if it must be."""

import doctest
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from gptdojo.cli import meter
from gptdojo.grading import names, versions
from gptdojo.grading.collect import Submission
from gptdojo.grading.formats import csv_files
from gptdojo.grading.job import Job, Options
from gptdojo.grading.limits import Limits
from gptdojo.grading.names import digest, file_name, slug
from gptdojo.grading.store import InUse, Store, key
from gptdojo.report import ExerciseResult, Explanation, PropertyResult, SubmissionResult
from gptdojo.sandbox import choose

VOWELS = 'def count_vowels(text):\n    return sum(letter in "aeiou" for letter in text.lower())\n'
NONE = choose("none")


def job(root, content=VOWELS, name="class/mine.py", learner=None, **options):
    return Job(Submission(Path(name), learner, None), replace(Options(root, NONE), **options), content=content.encode())


@pytest.mark.parametrize("module", [names, csv_files, meter], ids=lambda module: module.__name__)
def test_the_examples_of_the_documentation_hold(module):
    tried = doctest.testmod(module)
    assert tried.attempted > 0
    assert tried.failed == 0


# Names


@given(first=st.text(), second=st.text())
def test_two_submissions_never_have_one_name(first, second):
    assert (file_name(first) == file_name(second)) == (first == second)


@given(path=st.text(), learner=st.none() | st.text())
def test_no_name_leads_out_of_its_folder(path, learner):
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", file_name(path, learner))


def test_a_name_says_whose_it_is():
    path = "submitted/Zoë/02_causal_mask/causal_mask.ipynb"
    assert file_name(path, "Zoë") == f"Zoe-causal_mask-{digest(path)}"
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("\x1b[2J") == "2J"
    assert slug("///") == "submission"


# What decides


def test_a_result_is_of_its_content_options_and_course(toy):
    before = key(job(toy.root))
    assert before == key(job(toy.root))
    others = [
        job(toy.root, VOWELS + "\n"),
        job(toy.root, name="class/01_words/mine.py"),
        job(toy.root, learner="ada"),
        job(toy.root, seed=1),
        job(toy.root, limits=Limits(seconds=21.0)),
        job(toy.root, limits=Limits(memory_mib=2048)),
        job(toy.root, only=("count_vowels",)),
        job(toy.root, isolation=choose("bubblewrap")),
    ]
    assert len({before, *map(key, others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("name", "decides"),
    [
        ("tests/properties/test_01_words.py", True),
        ("tests/misconceptions/01_words.py", True),
        ("solutions/01_words/chapter.toml", True),
        ("reference/words.py", True),
        ("course.md", False),
        ("tests/alternatives/01_words.py", False),
    ],
)
def test_a_change_of_the_course_counts_where_it_decides(toy, name, decides):
    before = key(job(toy.root))
    with (toy.root / name).open("a") as file:
        file.write("\n# changed\n")
    versions.course_digest.cache_clear()
    assert (key(job(toy.root)) != before) == decides


# The folder


@pytest.fixture
def result(toy):
    claims = [PropertyResult("small_letters", 1, "passed", claim="Every vowel of a text in small letters is counted.")]
    claims.append(PropertyResult("capitals", 2, "failed", "wrong", None, "Capitals count as well, and y does not."))
    belief = Explanation("small_letters_only", "letters are small", "capitals are vowels as well")
    entry = ExerciseResult("count_vowels", "01_words", 1.0, 2.0, 0.1, "failed", "wrong", [belief], claims)
    return SubmissionResult("class/mine.py", None, [entry], 0.2)


def test_what_is_kept_is_what_was_graded(toy, result, tmp_path):
    mine = job(toy.root)
    with Store(tmp_path / "out") as store:
        store.keep(mine, result)
        assert store.kept(mine, toy) == result
        assert store.kept(job(toy.root, seed=1), toy) is None
        assert store.kept(job(toy.root, name="class/other.py"), toy) is None
        report = json.loads(store.path(mine.submission).read_text())
        assert (report["format"], report["submissions"]) == (1, [result.to_json()])


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": 1}', "null", '{"key": "KEY", "submissions": [{}]}'])
def test_a_damaged_file_is_a_missing_one(toy, result, tmp_path, damage):
    mine = job(toy.root)
    with Store(tmp_path / "out") as store:
        store.keep(mine, result)
        store.path(mine.submission).write_text(damage.replace("KEY", key(mine)))
        assert store.kept(mine, toy) is None


def test_a_result_without_a_verdict_is_graded_again(toy, result, tmp_path):
    result.exercises[0].status = "grader_error"
    with Store(tmp_path / "out") as store:
        store.keep(job(toy.root), result)
        assert store.kept(job(toy.root), toy) is None


def test_two_graders_do_not_write_to_one_folder(tmp_path):
    with Store(tmp_path / "out"), pytest.raises(InUse, match=r"another .* is writing to"), Store(tmp_path / "out"):
        pass
    with Store(tmp_path / "out"):
        pass


def test_what_a_killed_grader_left_unfinished_is_removed(tmp_path):
    (tmp_path / "out/submissions").mkdir(parents=True)
    (tmp_path / "out/submissions/.abc.tmp").write_text("{")
    with Store(tmp_path / "out") as store:
        assert [path.name for path in store.folder.iterdir()] == [".lock"]


def test_a_file_that_is_named_twice_is_one_submission(toy, tmp_path, monkeypatch):
    from gptdojo.grading.collect import collect

    folder = toy.root / "class"
    folder.mkdir()
    shutil.copy(toy.chapters["01_words"].solution, folder / "b.py")
    shutil.copy(toy.chapters["01_words"].solution, folder / "a.py")
    monkeypatch.chdir(toy.root)
    found = collect(toy, [Path("class/b.py"), Path("class"), folder, folder / "../class/a.py"])
    assert [str(submission.path) for submission in found] == ["class/b.py", "class/a.py"]
