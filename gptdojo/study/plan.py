"""What a mock interview consists of, and how it stands: kept in the one state file after every step."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gptdojo.cards import Card, cards
from gptdojo.course import Chapter, Course, CourseError, Exercise
from gptdojo.progress import part, updating_part

from .numbers import worked_values

PART = "interview"
CODING_SHARE = 0.45  # of the time, at most, is what the coding exercise should take
ASKED = {"often": 0, "sometimes": 1, "rarely": 2}


@dataclass
class Step:
    """One part: `kind` is concept, calculation, coding or bughunt; `what` a card, an exercise or a chapter."""

    kind: str
    what: str
    path: str = ""
    done: bool = False
    share: float = 0.0  # of what a strong answer has: points named, points won, bugs repaired
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


@dataclass
class Interview:
    """An interview: `used` counts the seconds spent in it, however often it was left."""

    seed: int
    minutes: float
    began: str
    steps: list[Step]
    used: float = 0.0

    @property
    def step(self) -> Step | None:
        """The first step that is not done."""
        return next((step for step in self.steps if not step.done), None)

    @property
    def seconds_left(self) -> float:
        """How much of the time is left; below 0 when it is over."""
        return 60 * self.minutes - self.used


def load(course: Course) -> Interview | None:
    """Return the interview that was left, None where there is none."""
    row = part(course, PART).get("current") or {}
    try:
        found = Interview(**{**row, "steps": [Step(**step) for step in row["steps"]]})
    except (TypeError, KeyError):
        return None
    known = {card.identity for card in cards(course)} | course.exercises.keys() | course.chapters.keys()
    return found if all(step.what in known for step in found.steps) else None


def save(course: Course, interview: Interview | None, finished: dict[str, Any] | None = None) -> None:
    """Remember how an interview stands; None ends it, and `finished` is kept of it."""
    with updating_part(course, PART) as saved:
        saved["current"] = None if interview is None else asdict(interview)
        if finished is not None:
            saved.setdefault("past", []).append(finished)


def compose(course: Course, minutes: float, seed: int, began: str) -> Interview:
    """Draw an interview: the same seed, course and minutes give the same one. Raises CourseError where the course is too small."""
    draw = random.Random(seed)
    core = {chapter.number for chapter in course.chapters.values() if chapter.track == "core"}
    all_cards = cards(course)
    steps: list[Step] = []
    for kind, count in (("concept", 2), ("calculation", 1)):
        steps += [Step(kind, card.identity) for card in _cards(all_cards, kind, count, core, draw)]
    exercise = _exercise(course, minutes, draw)
    steps.append(Step("coding", exercise.name))
    steps.append(Step("bughunt", _chapter(course, exercise, draw).name))
    return Interview(seed, minutes, began, steps)


def _cards(all_cards: Sequence[Card], kind: str, count: int, core: set[int], draw: random.Random) -> list[Card]:
    """Return cards of a kind from different chapters of the core track; others where the course has too few of them."""
    drawn = draw.sample(list(all_cards), len(all_cards))
    drawn.sort(
        key=lambda card: (
            card.kind != kind,
            kind == "calculation" and not worked_values(card),
            card.chapter not in core,
        )
    )
    best = [card.kind == kind and card.chapter in core for card in drawn].count(True)
    drawn = drawn[:best] if best >= count else drawn
    chosen: list[Card] = []
    for card in drawn:
        if len(chosen) < count and card.chapter not in {other.chapter for other in chosen}:
            chosen.append(card)
    chosen += [card for card in drawn if card not in chosen][: count - len(chosen)]
    if not chosen:
        raise CourseError("course.md has no cards to ask")
    return chosen


def _exercise(course: Course, minutes: float, draw: random.Random) -> Exercise:
    """Return an exercise that fits into the time: often asked rather than rarely."""
    core = [e for e in course.exercises.values() if e.chapter.track == "core"] or list(course.exercises.values())
    if not core:
        raise CourseError("the course has no exercises")
    fitting = [e for e in core if e.minutes <= CODING_SHARE * minutes] or [min(core, key=lambda e: e.minutes)]
    asked = min(ASKED.get(e.asked, 2) for e in fitting)
    return draw.choice([e for e in fitting if ASKED.get(e.asked, 2) == asked])


def _chapter(course: Course, exercise: Exercise, draw: random.Random) -> Chapter:
    """Return a chapter for the bug hunt, another one than the exercise's if there is."""
    chapters = [c for c in course.chapters.values() if c.track == "core" and c.exercises] or list(
        course.chapters.values()
    )
    others = [chapter for chapter in chapters if chapter.name != exercise.chapter.name]
    return draw.choice(others or chapters)
