"""The mutation testing of properties, on a course of two exercises whose properties have a known hole."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOY = Path(__file__).parent / "toy_course"

ALTERNATIVES = '''
from gptdojo import alternative


@alternative("count_vowels")
def one_by_one(text):
    """Comments, docstrings and what is beside the code are not mutated."""
    rest: str = text[0:]
    count = 0
    while rest:
        count += _is_vowel(rest[0])
        rest = rest[1:]
    return count


def _is_vowel(letter):
    return letter in "aeiouAEIOU"


def unused():
    return 1 + 1
'''

OPERATORS = '''
from gptdojo.authoring.mutation import Rewrite


class ForgetTheLastVowel(Rewrite):
    """No property of the toy course has a `U`."""

    def rewrites(self, node):
        if node.type == "string" and node.value.endswith("U'"):
            yield node.value.replace("U", "")
'''

EXCUSE = """
[[equivalent]]
exercise = "count_vowels"
variant = "one_by_one"
was = "return letter in 'aeiouAEIOU'"
becomes = ["return letter in 'aeiouAEIO'"]
reason = "no text of this course has a capital U"
"""

# a second of computing is enough for the toys
COMMAND = """
import sys
from gptdojo.authoring import mutants, trial
trial.CPU_SECONDS = 1
sys.argv[1:] = ["count_vowels", "--record", "mutants.jsonl"]
sys.exit(mutants.main())
"""


class Toy:
    """A copy of the toy course in which mutants are made of one alternative and the solution."""

    def __init__(self, folder):
        self.folder = shutil.copytree(TOY, folder, ignore=shutil.ignore_patterns("__pycache__"))
        self.write("tests/alternatives/01_words.py", ALTERNATIVES)
        self.write("tests/mutants/operators.py", OPERATORS)

    def write(self, path, text):
        path = self.folder / path
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(self):
        return subprocess.run(
            [sys.executable, "-c", COMMAND], cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )

    def record(self):
        """What became of each mutant of the alternative, by the change, in the order in which it was graded."""
        lines = (self.folder / "mutants.jsonl").read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines]
        return {(e["mutant"][2], e["mutant"][3]): e["verdict"] for e in entries if e["mutant"][1] == "one_by_one"}


def figures(output):
    columns, *rows = [line.split() for line in output.splitlines()[-3:]]
    return dict(zip(columns[1:], map(int, rows[0][1:]), strict=True))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return Toy(tmp_path_factory.mktemp("mutants") / "course")


@pytest.fixture(scope="module")
def first(toy):
    return toy.run()


def test_a_mutant_that_no_property_rejects_is_reported_and_fails_the_run(first):
    assert first.returncode == 1, first.stderr
    assert (
        "count_vowels, one_by_one\n  - return letter in 'aeiouAEIOU'\n  + return letter in 'aeiouAEIO'\n  survived\n"
    ) in first.stdout
    assert figures(first.stdout)["survived"] == 1


def test_a_mutant_that_a_property_rejects_is_counted_as_killed(toy, first):
    assert toy.record()["count = 0", "count = 1"] == "killed by small_letters"
    found = figures(first.stdout)
    assert found["killed"] == found["mutants"] - 1 > 8
    assert found["left"] == 0


def test_an_endless_mutant_is_stopped_and_counted_as_killed(toy, first):
    assert toy.record()["rest = rest[1:]", "rest = rest[0:]"] == "killed by the limits of its process"


def test_helpers_are_mutated_and_neither_docstrings_nor_annotations_nor_other_functions(toy, first):
    changed = "\n".join(was for was, _ in toy.record())
    assert "letter in" in changed
    assert "rest = text[0:]" in changed
    assert "1 + 1" not in changed
    assert "Comments" not in changed


def test_a_second_run_grades_nothing_again_and_counts_an_explained_survivor_as_equivalent(toy, first):
    before = toy.record()
    toy.write("tests/mutants/equivalent.toml", EXCUSE)
    again = toy.run()
    assert again.returncode == 0, again.stdout
    assert toy.record() == before
    assert figures(again.stdout) == figures(first.stdout) | {"survived": 0, "equivalent": 1}


def test_a_right_variant_that_fails_and_an_excuse_for_what_is_killed_are_reported(tmp_path):
    toy = Toy(tmp_path / "course")
    toy.write("tests/alternatives/01_words.py", ALTERNATIVES.replace("aeiouAEIOU", "aeioUAEIOU"))
    toy.write("tests/mutants/equivalent.toml", EXCUSE.replace("aeiouAEIO", "aeioUAEIO"))
    broken = toy.run()
    assert broken.returncode == 1
    assert "killed by small_letters, although nothing was changed" in broken.stdout
    assert "equivalent.toml excuses what does not survive: ('count_vowels', 'one_by_one', " in broken.stdout
