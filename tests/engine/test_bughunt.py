"""The bug hunt on the toy course: what is handed out, how a repair is noticed, hints, and never the same twice."""

import io
import random
from pathlib import Path

import pytest
from rich.console import Console

from gptdojo import progress
from gptdojo.course import CourseError
from gptdojo.study import hunt as hunts
from gptdojo.study.compose import Planted, bugs_of, compose_chapter
from gptdojo.study.excerpt import Incompatible, SourceFile, documented, free_names, renamed
from gptdojo.study.hunting import Hunting
from gptdojo.study.numbers import matching, typed_values, worked_values

RIGHT = {
    "count_vowels": 'def count_vowels(text):\n    return sum(letter in "aeiou" for letter in text.lower())\n',
    "Thermometer": """
class Thermometer:
    def __init__(self, digits):
        self.pieces = []
    def read(self, readings):
        self.pieces.append(readings)
    def average(self):
        if not self.pieces:
            raise ValueError
        return (torch.cat(self.pieces).sum() / len(self)).reshape(1)
    def __len__(self):
        return sum(map(len, self.pieces))
""",
}
DRILL = """
title = "words and temperatures"
bugs = 2
exercises = ["count_vowels", "Thermometer"]
then = []
prove = "count_vowels"
rejects = 1.0
instructions = "Run it."
part_two = "Write more."
done = "All done."
"""
BASE = f'''"""TITLE"""

import torch

{RIGHT["count_vowels"]}
{RIGHT["Thermometer"]}

if __name__ == "__main__":
    thermometer = Thermometer(1)
    thermometer.read(torch.tensor([1.0, float(count_vowels("It"))]))
    print(thermometer.average())
'''


@pytest.fixture
def folder(toy, monkeypatch):
    monkeypatch.chdir(toy.root)
    return toy.root


@pytest.fixture
def said():
    """What was shown since the last look."""

    class Said(Console):
        def take(self):
            text = " ".join(self.file.getvalue().split())
            self.file.seek(0)
            self.file.truncate()
            return text

    return Said(file=io.StringIO(), width=80)


@pytest.fixture
def hunting(toy, folder, said):
    return Hunting(said, toy, random.Random(1))


def repair(hunt):
    path = Path(hunt.path)
    path.write_text(path.read_text() + "".join(RIGHT[bug.exercise] for bug in hunt.planted))


def test_a_file_is_handed_out_and_noticed_when_it_is_repaired(hunting, toy, said):
    hunt = hunting.begin("words", 2)
    text = Path(hunt.path).read_text()
    assert {bug.exercise for bug in hunt.planted} == {"count_vowels", "Thermometer"}
    assert all(bug.misconception not in text for bug in hunt.planted)
    assert "believes" not in text
    assert hunt.path in said.take().replace(" ", "")
    assert not hunting.look(None)
    assert "0 of 2 bugs repaired." in said.take()
    Path(hunt.path).write_text(text + RIGHT["Thermometer"])
    assert not hunting.look("words")
    assert "1 of 2 bugs repaired." in said.take()
    repair(hunt)
    assert hunting.look(None)
    out = said.take()
    assert "All repaired: 2 bugs." in out
    assert "its author believed that" in out
    assert "You have met 2 of the 5 bugs" in out
    assert not hunting.has_open(None)
    assert progress.part(toy, "bughunt")["repaired"] == sorted(bug.identity for bug in hunt.planted)
    assert progress.records(toy)["count_vowels"].status == "not_started", "a drill is no answer to the exercise"


def test_nothing_comes_twice_until_all_were_seen(hunting, toy):
    pool = {bug.identity for exercise in toy.exercises.values() for bug in bugs_of(exercise)}
    for _ in range(2):
        seen = [hunting.begin("words", 1).planted[0].identity for _ in pool]
        assert set(seen) == pool
        assert len(seen) == len(pool)


def test_no_file_is_ever_overwritten(hunting):
    first = hunting.begin("words", 1)
    Path(first.path).write_text("mine")
    second = hunting.begin("words", 1)
    assert Path(first.path).read_text() == "mine"
    assert second.path != first.path


def test_hints_narrow_it_down(hunting, said):
    hunt = hunting.begin("words", 1)
    said.take()
    steps = []
    for _ in range(5):
        hunting.hint(None)
        steps.append(said.take())
    assert f"look at {hunt.planted[0].exercise}" in steps[0]
    assert "fails:" not in steps[0]
    assert "rung" in steps[1]
    assert "what is wrong" in steps[2]
    assert "believes" not in steps[2]
    assert "its author believes that" in steps[3]
    assert steps[4] == steps[3]
    repair(hunt)
    hunting.hint(None)
    assert "No bug is left" in said.take()


def test_giving_up_tells_the_bug_and_ends_the_hunt(hunting, said):
    hunting.begin("words", 1)
    hunting.give_up(None)
    assert "its author believed that" in said.take()
    with pytest.raises(CourseError, match="no bug hunt is open"):
        hunting.give_up(None)


@pytest.mark.parametrize(
    ("text", "words"),
    [("def (", "SyntaxError"), ("x = 1", "0 of 1 bug repaired"), ("while True: pass", "does not run to its end")],
)
def test_a_file_that_was_made_unusable_is_said(hunting, said, monkeypatch, text, words):
    monkeypatch.setattr("gptdojo.study.repair.SECONDS", 0.5)
    hunt = hunting.begin("words", 1)
    Path(hunt.path).write_text(text)
    assert not hunting.look(None)
    assert words in said.take()
    Path(hunt.path).unlink()
    with pytest.raises(CourseError, match="--new"):
        hunting.look(None)


def test_what_was_right_and_is_broken_now_is_named(hunting, said, toy):
    hunt = hunting.begin("words", 1)
    assert len(hunt.exercises) == 2
    other = next(name for name in hunt.exercises if name != hunt.planted[0].exercise)
    Path(hunt.path).write_text(Path(hunt.path).read_text() + f"def {other}(*args):\n    return None\n")
    hunting.look(None)
    assert f"{other} was right and does not pass now" in said.take()


def test_what_is_unknown_is_said(hunting):
    with pytest.raises(CourseError, match="not a chapter"):
        hunting.begin("quantum", 1)
    with pytest.raises(CourseError, match="no bug hunt is open"):
        hunting.look("words")


def test_a_drill_of_the_course_is_a_whole_program_with_a_test_to_write(hunting, toy, said):
    place = toy.root / "tests" / "drills"
    place.mkdir()
    (place / "both.toml").write_text(DRILL)
    (place / "both.py").write_text(BASE)
    hunting = Hunting(said, toy, random.Random(1))
    hunt = hunting.begin("both", None)
    assert "Run it." in said.take()
    assert len(hunt.planted) == 2
    assert hunts.runs(toy, Path(hunt.path).read_text())
    assert not hunting.look("both")
    assert "0 of 2" in said.take()
    repair(hunt)
    assert not hunting.look("both")
    assert "holds no test" in said.take()
    text = Path(hunt.path).read_text()
    Path(hunt.path).write_text(text + 'def test_it(impl):\n    assert impl("aA") == 2 and impl("b") == 0\n')
    assert hunting.look("both")
    assert "All done." in said.take()


# Cutting out


SOURCE = '''
import math
from a import b as c, d

LIMIT = 3


def helper(x):
    """Says too much."""
    return x + LIMIT  # and so does this


@mark("exercise")
def wrong(x, wrong_too=1):
    """The mistake is here."""
    # a comment
    text = "# not a comment"

    def inner(y):
        return math.sqrt(y) + helper(y)

    return wrong(inner(x)) + x.wrong
'''


def test_an_excerpt_has_what_it_needs_and_no_comment():
    excerpt = SourceFile(SOURCE).excerpt("wrong", "exercise")
    assert excerpt.imports == {"math": "import math"}
    assert list(excerpt.helpers) == ["LIMIT", "helper"]
    assert excerpt.helpers["helper"] == "def helper(x):\n    return x + LIMIT"
    assert excerpt.source.startswith('def exercise(x, wrong_too=1):\n    text = "# not a comment"\n')
    assert excerpt.source.endswith("return exercise(inner(x)) + x.wrong")


def test_renaming_keeps_attributes_and_longer_names():
    assert renamed("a = x.f + f(f_2)", "f", "g") == "a = x.f + g(f_2)"


def test_free_names_leave_out_what_is_local():
    assert free_names("def f(a):\n    b = a + c\n    return [d for d in b if len(e)]") == {"c", "e"}


def test_docstrings_are_put_in_after_the_header():
    assert documented("def f(\n    x,\n):\n    return x", ["One.", "Two."]).split("\n")[3] == '    """One.'
    with pytest.raises(Incompatible):
        documented("def f(x): return x", ["One."])


def test_mistakes_whose_helpers_differ_do_not_share_a_file(toy):
    path = toy.chapters["01_words"].misconceptions
    text = (
        path.read_text()
        + """

def _Helper():
    return 1


@misconception("count_vowels", believes="x", truth="y")
def helped(text):
    return _Readings and different_vowels(text)
"""
    )
    path.write_text(text)
    words = compose_chapter(toy.chapters["01_words"], [Planted("count_vowels", "helped")], "T\n", random.Random(0))
    assert "class _Readings" in words
    assert "def different_vowels" in words


# Numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [("36 GiB", 36 * 2**30), ("1,234.5", 1234.5), ("2^34", 2**34), ("2**34", 2**34), ("about 124M", 124e6), ("1.5 billion", 1.5e9),
     ("50%", 0.5), ("-3e8", -3e8), ("4.5 MiB", 4.5 * 2**20), ("36,864 bytes", 36864)],
)  # fmt: skip
def test_numbers_are_read_as_people_type_them(text, value):
    assert any(value in group for group in typed_values(text))


class Calculation:
    answer = "So:\n\n>>> 2**10, round(1 / 3, 3)\n(1024, 0.333)\n>>> 'a1'\n'a1'\n"


def test_a_number_is_checked_against_the_worked_values():
    assert worked_values(Calculation) == [1024.0, 0.333]
    assert matching("it is 1 KiB", Calculation) == [1024.0]
    assert matching("1/3, so 33%", Calculation) == [0.333]
    assert matching("2000", Calculation) == []
    assert matching("nothing", Calculation) == []
