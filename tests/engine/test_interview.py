"""The mock interview on the toy course: its parts, the clock, leaving and going on, the debrief."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from gptdojo import progress
from gptdojo.study import mock, plan
from gptdojo.study.interviewing import interview
from gptdojo.study.schedule import Schedule

from .test_bughunt import RIGHT
from .test_study import CARD

CALCULATION = """
<details id="02-product">
<summary>How much is 6 times 7?</summary>

*calculation*

**Answer.** It is 42.

```python
>>> 6 * 7
42

```

**A strong answer names**
- the product
- the unit

**Follow-up.** And in hex?

</details>
"""


@pytest.fixture
def course(toy, monkeypatch):
    cards = [CARD.format(chapter=chapter, name=name) for chapter, name in ((1, "ant"), (2, "bee"), (3, "cat"))]
    (toy.root / "course.md").write_text("# Words and temperatures\n" + "".join(cards) + CALCULATION)
    monkeypatch.chdir(toy.root)
    monkeypatch.delenv("EDITOR", raising=False)
    monkeypatch.delenv("VISUAL", raising=False)
    return toy


@pytest.fixture
def hold(course, monkeypatch):
    """Hold an interview with these answers (a function among them is called first); what is shown is returned."""

    def run(*answers, minutes=45, seed=5):
        replies = iter(answers)

        def reply(prompt=""):
            answer = next(replies, EOFError)
            if callable(answer) and not isinstance(answer, type):
                answer = answer()
            if isinstance(answer, type):
                raise answer
            return answer

        monkeypatch.setattr("builtins.input", reply)
        console = Console(file=io.StringIO(), width=80)
        ended = interview(console, course, minutes, seed)
        return ended, console.file.getvalue()

    return run


CONCEPT = ("", "", "a")


def solve(course):
    """Write the right answer into the file of the coding exercise."""

    def write():
        step = plan.load(course).step
        Path(step.path).write_text("import torch\n" + RIGHT[step.what])
        return ""

    return write


def mend():
    (path,) = Path("drills").glob("bughunt_*")
    path.write_text(path.read_text() + "".join(RIGHT.values()))
    return ""


def debrief():
    (path,) = Path("drills").glob("interview_*.md")
    return path.read_text()


def test_a_whole_interview_is_graded_and_written_down(hold, course):
    ended, out = hold(*CONCEPT, "", "", "1", "42", "a", "", "", solve(course), mend)
    assert ended
    for words in ("Part 1 of 5: a question", "again?", "agrees with the worked value 42", "It passes.", "Repaired."):
        assert words in out
    text = debrief()
    assert "5 of 5 parts reached" in text
    strong, weak = text.split("## What was strong")[1].split("## What to study")
    assert "How much is 6 times 7?" in strong
    assert "missed: the second" in weak
    assert weak.split("## Next cards")[1].count("?") == 3
    assert len(Schedule(course).log()) == 3
    assert plan.load(course) is None
    assert progress.part(course, "interview")["past"][0]["seed"] == 5


def test_it_can_be_left_anywhere_and_goes_on(hold, course):
    ended, out = hold(*CONCEPT, "", KeyboardInterrupt)
    assert not ended
    assert "Saved, the clock stands still." in out
    ended, out = hold("y", *CONCEPT, "41", "0", KeyboardInterrupt)
    assert "1 of 5 parts done" in out
    assert "not one of the worked ones: 42" in out
    ended, out = hold("", "", "n", EOFError)
    assert "Part 4 of 5" in out
    ended, out = hold("", "", "n")
    assert ended
    assert "the bug was in" in debrief()
    assert "the number was wrong" in debrief()


def test_one_that_is_open_can_be_ended(hold, course):
    hold(EOFError, seed=1)
    hold("n", EOFError, seed=2)
    assert plan.load(course).seed == 2


def test_when_the_time_is_over_the_rest_is_not_reached(hold, course, monkeypatch):
    monkeypatch.setattr(mock.time, "monotonic", iter(range(0, 100_000, 40)).__next__)
    ended, out = hold(*CONCEPT, *CONCEPT, minutes=2)
    assert ended
    assert "The time is over" in out
    assert "not reached" in debrief()


def test_the_same_seed_asks_the_same(course):
    first, again, other = (plan.compose(course, 45, seed, "x").steps for seed in (7, 7, 8))
    assert first == again
    assert [step.kind for step in first] == ["concept", "concept", "calculation", "coding", "bughunt"]
    assert first[0].what[:2] != first[1].what[:2]
    assert any(plan.compose(course, 45, seed, "x").steps != first for seed in range(8, 20)), other


def test_a_short_interview_has_a_short_exercise(course):
    assert all(plan.compose(course, 15, seed, "x").steps[3].what == "count_vowels" for seed in range(10))


def test_an_editor_is_opened_where_there_is_one(course, hold, monkeypatch):
    opened = []

    def edit(command, check):
        opened.append(command)
        Path(command[-1]).write_text("import torch\n" + "".join(RIGHT.values()))

    monkeypatch.setenv("EDITOR", "edit --wait")
    monkeypatch.setattr(mock.subprocess, "run", edit)
    monkeypatch.setattr(Console, "is_terminal", property(lambda self: True))
    ended, _ = hold(*CONCEPT, *CONCEPT, "42", "a")
    assert ended
    assert [command[:2] for command in opened] == [["edit", "--wait"]] * 2


def test_a_state_that_makes_no_sense_begins_afresh(course, hold):
    for row in ([1], {"steps": 3}, {"seed": 1, "steps": [{"kind": "concept", "what": "gone"}]}):
        with progress.updating_part(course, "interview") as saved:
            saved["current"] = row
        assert plan.load(course) is None
