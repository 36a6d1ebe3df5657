"""Interview cards: the schedule, the session, the statistics, the Anki package."""

import io
import json
import sqlite3
import zipfile
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from gptdojo import progress
from gptdojo.course import CourseError
from gptdojo.study import anki
from gptdojo.study.card_screen import split_follow_up, ticked
from gptdojo.study.schedule import AGAIN, GOOD, HARD, PART, Schedule, grade
from gptdojo.study.session import Session
from gptdojo.study.statistics import picture, screen, statistics

NOON = datetime(2030, 5, 6, 12, tzinfo=UTC)
CARD = """
<details id="{chapter:02}-{name}">
<summary>What is {name}?</summary>

*concept*

**Answer.** It is `{name}` of $x^2 < y$, or

```python
>>> 6 * 7
42

```

**A strong answer names**
- the first point of {name}
- the second

**Follow-up.** And {name} again? The same.

**Wrong answer in circulation.** "It is not {name}." It is.

</details>
"""
NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture
def deck(toy):
    """The toy course with two cards in each of two chapters."""
    write_cards(toy, [(1 + i // 2, name) for i, name in enumerate(NAMES)])
    return toy


def write_cards(course, cards):
    text = "# Words and temperatures\n" + "".join(CARD.format(chapter=chapter, name=name) for chapter, name in cards)
    (course.root / "course.md").write_text(text)


def session(course, monkeypatch, *answers, **options):
    """What is shown when these are the answers; the input ends after them."""
    answers = iter(answers)

    def reply(prompt=""):
        try:
            return next(answers)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", reply)
    shown = io.StringIO()
    Session(Console(file=shown, width=80), Schedule(course), **options).run()
    return shown.getvalue()


def saved(course):
    return progress.part(course, PART)


# The grade


@pytest.mark.parametrize(
    ("named", "of", "expected"),
    [
        (0, 1, AGAIN),
        (1, 1, GOOD),
        (1, 2, HARD),
        (2, 2, GOOD),
        (1, 3, AGAIN),
        (2, 3, HARD),
        (3, 4, GOOD),
        (2, 4, HARD),
        (1, 4, AGAIN),
    ],
)
def test_the_grade_follows_from_the_points(named, of, expected):
    assert grade(named, of) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", [1, 2, 3]),
        ("", None),
        ("0", []),
        ("2 1", [1, 2]),
        ("13", [1, 3]),
        ("1,3", [1, 3]),
        ("4", None),
        ("x", None),
        ("²", None),
    ],
)
def test_points_are_ticked_by_number(text, expected):
    assert ticked(text, 3) == expected


def test_a_follow_up_is_parted_into_question_and_answer(deck):
    assert split_follow_up(Schedule(deck).cards["01-ant"]) == ("And ant again?", "The same.")


# The schedule


def test_every_answer_is_saved_at_once_and_other_parts_of_the_state_stay(deck):
    path = progress.state_file()
    path.parent.mkdir(parents=True)
    others = {
        "Other": {"study": {"cards": {"x": 1}}},
        deck.name: {"exercises": {"count_vowels": {"score": 1.0}}, "mine": [1]},
    }
    path.write_text(json.dumps({"format": 1, "courses": others}))
    plan = Schedule(deck)
    plan.answer(plan.cards["01-ant"], GOOD, NOON, named=[1, 2])
    state = json.loads(path.read_text())["courses"]
    assert state["Other"] == others["Other"]
    assert state[deck.name]["mine"] == [1]
    assert state[deck.name]["exercises"] == others[deck.name]["exercises"]
    assert [entry["named"] for entry in state[deck.name]["study"]["log"]] == [[1, 2]]
    assert list(path.parent.iterdir()) == [path]


def test_a_card_that_is_known_comes_back_later_and_later(deck):
    plan = Schedule(deck)
    moment, waits = NOON, []
    for _ in range(5):
        due = plan.answer(plan.cards["01-ant"], GOOD, moment)
        waits.append(due - moment)
        moment = due
    assert waits == sorted(waits)
    assert waits[-1] > timedelta(days=14)
    assert plan.answer(plan.cards["01-ant"], AGAIN, moment) - moment < timedelta(hours=1)


def test_due_cards_come_longest_due_first_and_new_ones_up_to_the_number_a_day(deck):
    plan = Schedule(deck)
    for hours, name in enumerate(("02-cat", "01-ant")):
        plan.answer(plan.cards[name], AGAIN, NOON + timedelta(hours=hours))
    waiting = plan.waiting(NOON + timedelta(hours=3), new=3)
    assert [card.identity for card in waiting.due] == ["02-cat", "01-ant"]
    assert len(waiting.new) == 1, "two new ones were asked today"
    assert len(plan.waiting(NOON + timedelta(days=1), new=3).new) == 2
    assert plan.waiting(NOON + timedelta(days=1), chapter=2).new[0].identity == "02-dog"


def test_new_cards_take_turns_between_chapters(deck):
    assert [card.identity for card in Schedule(deck).waiting(NOON).new] == ["01-ant", "02-cat", "01-bee", "02-dog"]


def test_a_card_whose_text_changes_keeps_its_schedule_and_one_that_vanishes_is_kept_aside(deck):
    plan = Schedule(deck)
    for name in ("01-ant", "02-cat"):
        plan.answer(plan.cards[name], GOOD, NOON)
    before = saved(deck)["cards"]
    write_cards(deck, [(1, "ant"), (2, "dog")])
    text = (deck.root / "course.md").read_text().replace("What is ant?", "What, then, is an ant?")
    (deck.root / "course.md").write_text(text)
    plan = Schedule(deck)
    assert plan.memory()["01-ant"].to_dict() == before["01-ant"]
    assert plan.aside() == ["02-cat"]
    plan.answer(plan.cards["01-ant"], GOOD, NOON)
    assert saved(deck)["cards"]["02-cat"] == before["02-cat"]
    assert "1 cards that are no longer" in shown(screen(plan, statistics(plan, NOON), NOON))


def test_answers_can_be_taken_back_one_by_one(deck):
    plan = Schedule(deck)
    states = []
    for rating in (GOOD, AGAIN, GOOD):
        states.append(saved(deck).get("cards", {}))
        plan.answer(plan.cards["01-ant"], rating, NOON)
    for state in reversed(states):
        assert plan.undo() == "01-ant"
        assert saved(deck)["cards"] == state
    assert plan.undo() is None


@pytest.mark.parametrize("rows", [{"cards": {"01-ant": {"due": 3}}, "log": ["x"]}, {"cards": {"01-ant": "soon"}}])
def test_rows_that_cannot_be_read_cost_only_themselves(deck, rows):
    with progress.updating_part(deck, PART) as part:
        part.update(rows | {"log": rows.get("log", [])})
    plan = Schedule(deck)
    assert plan.memory() == {}
    plan.answer(plan.cards["01-ant"], GOOD, NOON)
    assert list(plan.memory()) == ["01-ant"]
    assert statistics(plan, NOON).answers == 1


def test_a_part_of_another_form_is_kept_beside(deck):
    path = progress.state_file()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"format": 1, "courses": {deck.name: {"study": ["old"]}}}))
    plan = Schedule(deck)
    plan.answer(plan.cards["01-ant"], GOOD, NOON)
    assert json.loads(path.read_text())["courses"][deck.name]["unreadable study"] == ["old"]


def test_a_crash_while_saving_leaves_what_was_saved(deck, monkeypatch):
    plan = Schedule(deck)
    plan.answer(plan.cards["01-ant"], GOOD, NOON)
    before = progress.state_file().read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(CourseError, match="No space left"):
        plan.answer(plan.cards["01-bee"], GOOD, NOON)
    assert progress.state_file().read_bytes() == before
    assert len(list(progress.state_file().parent.iterdir())) == 1


# The session


def test_a_session_asks_shows_grades_and_saves(deck, monkeypatch):
    out = session(deck, monkeypatch, "", "1", "", "", "a", "", new=2)
    for words in (
        "What is ant?",
        "the first point of ant",
        "1 of 2 points: hard",
        "2 of 2 points: good",
        "It is not ant",
    ):
        assert words in out
    assert (
        out.index("What is ant?")
        < out.index("the first point of ant")
        < out.index("It is not ant")
        < out.index("What is cat?")
    )
    assert out.index("And ant again?") > out.index("1 of 2 points")
    assert [entry["card"] for entry in saved(deck)["log"]] == ["01-ant", "02-cat"]


def test_leaving_in_the_middle_keeps_what_was_answered(deck, monkeypatch):
    assert "1 answer is saved" in session(deck, monkeypatch, "", "a", "", "", "q")
    assert "0 answers are saved" in session(deck, monkeypatch)
    assert len(saved(deck)["log"]) == 1


def test_skip_undo_and_nonsense(deck, monkeypatch):
    out = session(deck, monkeypatch, "s", "", "nine", "0", "u", "", "a", "", "q")
    assert "Type the numbers" in out
    assert "Taken back." in out
    assert [(entry["card"], entry["grade"]) for entry in saved(deck)["log"]] == [("02-cat", GOOD)]


def test_undo_reaches_into_the_last_session(deck, monkeypatch):
    session(deck, monkeypatch, "", "0", "", "q")
    session(deck, monkeypatch, "u", "", "a", "", "q")
    assert [entry["grade"] for entry in saved(deck)["log"]] == [GOOD]
    assert "nothing to take back" in session(deck, monkeypatch, "u", "u", "q")


def test_when_nothing_is_due_it_says_when(deck, monkeypatch):
    for name in ("01-ant", "01-bee"):
        plan = Schedule(deck)
        plan.answer(plan.cards[name], 4, datetime.now(UTC))
    assert "the next card is due in" in session(deck, monkeypatch, chapter=1)


# Statistics and the package


def shown(content):
    console = Console(file=io.StringIO(), width=80)
    console.print(content)
    return console.file.getvalue()


def test_statistics_tell_retention_and_what_is_due(deck):
    plan = Schedule(deck)
    moment = NOON
    for rating in (GOOD, GOOD, GOOD, AGAIN):
        moment = plan.answer(plan.cards["01-ant"], rating, moment, named=[1] if rating == AGAIN else [1, 2])
    found = statistics(plan, moment)
    assert (found.asked, found.cards, found.answers) == (1, 4, 4)
    assert found.retention == pytest.approx(0.5)
    assert found.ahead[0] == 1
    out = shown(screen(plan, found, moment))
    assert "50% of 2 reviews" in out
    assert "1 today, 0 tomorrow" in out
    assert statistics(plan, moment, chapter=2).asked == 0


def test_the_picture_fits_and_is_readable_without_color():
    lines = str(picture([100, 0, 1] + [0] * 11, NOON)).split("\n")
    assert len(lines) == 15
    assert max(map(len, lines)) <= 60
    assert lines[1].endswith("█ 100")
    assert "▏ 1" in lines[3] or "█ 1" in lines[3]


def test_the_anki_package_has_stable_identities_and_readable_code_and_mathematics(deck, tmp_path):
    def notes(path):
        anki.export(deck, list(Schedule(deck).cards.values()), path)
        with zipfile.ZipFile(path) as package:
            (tmp_path / "collection").write_bytes(package.read("collection.anki2"))
        database = sqlite3.connect(tmp_path / "collection")
        rows = database.execute("select guid, mid, flds from notes order by flds").fetchall()
        database.close()
        return rows

    first = notes(tmp_path / "a.apkg")
    write_cards(deck, [(1, "ant")])
    (deck.root / "course.md").write_text((deck.root / "course.md").read_text().replace("What is", "Say what is"))
    again = notes(tmp_path / "b.apkg")
    assert len(first) == 4
    assert first[0][:2] == again[0][:2]
    assert "Say what is ant?" in again[0][2]
    fields = first[0][2]
    assert r"\(x^2 &lt; y\)" in fields
    assert "<pre><code" in fields
    assert "&gt;&gt;&gt; 6 * 7" in fields
    assert "<li>the first point of ant</li>" in fields
    assert sorted(path.name for path in tmp_path.glob("*.apkg*")) == ["a.apkg", "b.apkg"]


def test_a_package_that_cannot_be_written_is_said(deck, tmp_path):
    with pytest.raises(CourseError, match="cannot be written"):
        anki.export(deck, list(Schedule(deck).cards.values()), tmp_path / "nowhere" / "a.apkg")
