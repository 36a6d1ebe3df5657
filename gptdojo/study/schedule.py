"""When which card is asked: FSRS through py-fsrs, kept in the one state file."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gptdojo.cards import Card, cards
from gptdojo.course import Course, CourseError
from gptdojo.progress import part, records, updating_part

if TYPE_CHECKING:
    import fsrs

PART = "study"
NEW_A_DAY = 10
AHEAD = timedelta(minutes=20)  # a card that is due so soon is asked at the end of the session, as Anki does
UNDO = 50  # how many answers back the state of a card is kept
AGAIN, HARD, GOOD, EASY = 1, 2, 3, 4
GRADES = {AGAIN: "again", HARD: "hard", GOOD: "good", EASY: "easy"}


def grade(named: int, of: int) -> int:
    """Return the grade that follows from how many points of a strong answer were named.

    Fewer than half: again. All of them, or all but one of four or more: good. Between: hard.
    """
    if 2 * named < of:
        return AGAIN
    return GOOD if named == of or (of >= 4 and named == of - 1) else HARD


@dataclass(frozen=True)
class Waiting:
    """What there is to do: cards due, cards that come up again within minutes, and new ones left for today."""

    due: list[Card]
    soon: list[Card]
    new: list[Card]

    def __len__(self) -> int:
        return len(self.due) + len(self.soon) + len(self.new)


class Schedule:
    """The cards of a course and when they are due. Cards that are no longer in course.md keep their place in the state."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.cards = {card.identity: card for card in cards(course)}
        self._fsrs = library("fsrs")
        self.scheduler: fsrs.Scheduler = self._fsrs.Scheduler()

    def memory(self) -> dict[str, "fsrs.Card"]:
        """Return what is known of each card that was asked and is still in course.md."""
        return {name: card for name, card in self._known(part(self.course, PART)).items() if name in self.cards}

    def aside(self) -> list[str]:
        """Return the cards that were asked and are no longer in course.md."""
        return sorted(self._known(part(self.course, PART)).keys() - self.cards.keys())

    def log(self) -> list[dict[str, Any]]:
        """Return the answers given so far, oldest first."""
        return [entry for entry in part(self.course, PART).get("log", []) if _is_entry(entry)]

    def waiting(self, now: datetime, *, new: int = NEW_A_DAY, chapter: int | None = None) -> Waiting:
        """Return what there is to do: due cards longest due first, and `new` cards a day at most."""
        memory = self.memory()
        chosen = [card for card in self.cards.values() if chapter in (None, card.chapter)]
        known = sorted((card for card in chosen if card.identity in memory), key=lambda c: memory[c.identity].due)
        due = [card for card in known if memory[card.identity].due <= now]
        learning = [card for card in known if memory[card.identity].state != self._fsrs.State.Review]
        soon = [card for card in learning if now < memory[card.identity].due <= now + AHEAD]
        today = sum(bool(entry.get("first")) and _day(entry["at"]) == _day(now.isoformat()) for entry in self.log())
        unseen = [card for card in self._in_order(chosen) if card.identity not in memory]
        return Waiting(due, soon, unseen[: max(0, new - today)])

    def _in_order(self, chosen: Iterable[Card]) -> list[Card]:
        """Chapters in which the learner has solved something first, then the core track; the chapters take turns."""
        worked = {self.course.exercises[n].chapter.number for n, r in records(self.course).items() if r.score}
        tracks = {chapter.number: chapter.track for chapter in self.course.chapters.values()}
        count: dict[int, int] = {}
        keyed = []
        for card in chosen:
            turn = count[card.chapter] = count.get(card.chapter, 0) + 1
            first = (card.chapter not in worked, tracks.get(card.chapter, "core") != "core", turn, card.chapter)
            keyed.append((first, card))
        return [card for _, card in sorted(keyed, key=lambda pair: pair[0])]

    def answer(
        self, card: Card, rating: int, now: datetime, *, named: Iterable[int] = (), seconds: float = 0
    ) -> datetime:
        """Remember an answer at once, and return when the card is due next."""
        with updating_part(self.course, PART) as saved:
            rows = saved.setdefault("cards", {})
            known = self._known(saved).get(card.identity)
            before = known or self._fsrs.Card(card_id=_number(card.identity), due=now)
            after, _ = self.scheduler.review_card(before, self._fsrs.Rating(rating), now)
            log = saved.setdefault("log", [])
            log.append({
                "card": card.identity, "grade": rating, "at": now.isoformat(), "named": sorted(named),
                "of": len(card.points), "seconds": round(seconds), "first": known is None,
                "review": known is not None and known.state == self._fsrs.State.Review,
                "before": None if known is None else rows[card.identity],
            })  # fmt: skip
            for entry in log[:-UNDO]:
                entry.pop("before", None)
            rows[card.identity] = after.to_dict()
            return after.due

    def undo(self) -> str | None:
        """Take the last answer back; return its card, or None where there is nothing to take back."""
        with updating_part(self.course, PART) as saved:
            log = saved.get("log", [])
            if not log or not _is_entry(log[-1]) or "before" not in log[-1]:
                return None
            last = log.pop()
            rows = saved.setdefault("cards", {})
            if last["before"] is None:
                rows.pop(last["card"], None)
            else:
                rows[last["card"]] = last["before"]
            return str(last["card"])

    def _known(self, saved: Mapping[str, Any]) -> dict[str, "fsrs.Card"]:
        found = {}
        for identity, row in dict(saved.get("cards", {})).items():
            try:
                found[identity] = self._fsrs.Card.from_dict(row)
            except (KeyError, TypeError, ValueError):
                continue  # a row that somebody has edited: the card is asked as a new one
        return found


def library(name: str) -> Any:
    """Import what studying needs beside the core; raises CourseError that says what to install."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise CourseError(f"this needs {name}: pip install 'gptdojo[study]'") from None


def utc_now() -> datetime:
    """Return the time as FSRS wants it."""
    return datetime.now(UTC)


def _number(identity: str) -> int:
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:6])


def _day(moment: str) -> str:
    """Return the local day of a moment."""
    return datetime.fromisoformat(moment).astimezone().date().isoformat()


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and {"card", "grade", "at"} <= entry.keys()
