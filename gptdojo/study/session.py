"""A session of interview cards: one question after the other, each answer saved before the next is asked."""

import time
from datetime import datetime

from rich.console import Console
from rich.text import Text

from gptdojo.cards import Card

from .asking import Left, ask
from .card_screen import afterwards, answer, question, show, ticked
from .schedule import AGAIN, EASY, GRADES, NEW_A_DAY, Schedule, grade, utc_now

KEYS = "s skips, u undoes the last answer, q leaves"


class _Undo(Exception):
    """The learner takes the last answer back."""


class _Skip(Exception):
    """The learner does not want this card in this session."""


class Session:
    """Asks the cards that are due and the new ones of today, mixing the chapters."""

    def __init__(
        self, console: Console, schedule: Schedule, *, chapter: int | None = None, new: int = NEW_A_DAY
    ) -> None:
        self.console, self.schedule, self.chapter, self.new = console, schedule, chapter, new
        self.skipped: set[str] = set()
        self.again: Card | None = None
        self.last: Card | None = None
        self.answered = 0

    def run(self) -> None:
        """Ask until nothing is left or the learner leaves; what was answered is saved in either case."""
        try:
            if (card := self.next()) is None:
                self.console.print(self._nothing())
                return
            self.console.print(Text(f"Answer aloud, as in an interview. {KEYS}; Ctrl-C loses nothing.", style="dim"))
            while card is not None:
                self._turn(card)
                card = self.next()
            self.console.print("That was the last one for now.")
        except Left:
            self.console.print()
        self.console.print(self._farewell())

    def next(self) -> Card | None:
        """Return the next card: one taken back, then those due, then new ones, then those due in minutes."""
        if self.again is not None:
            card, self.again = self.again, None
            return card
        waiting = self.schedule.waiting(utc_now(), new=self.new, chapter=self.chapter)
        for group in (waiting.due, waiting.new, waiting.soon):
            open_ones = [card for card in group if card.identity not in self.skipped]
            elsewhere = [card for card in open_ones if self.last is None or card.chapter != self.last.chapter]
            other = [card for card in open_ones if card is not self.last]
            if open_ones:
                return (elsewhere or other or open_ones)[0]
        return None

    def _turn(self, card: Card) -> None:
        try:
            self._ask(card)
        except _Skip:
            self.skipped.add(card.identity)
        except _Undo:
            taken_back = self.schedule.undo()
            known = self.schedule.cards.get(taken_back or "")
            self.console.print("Taken back." if taken_back else "There is nothing to take back.")
            self.skipped.discard(taken_back or "")
            self.answered = max(0, self.answered - bool(taken_back))
            self.again = known or card

    def _ask(self, card: Card) -> None:
        waiting = self.schedule.waiting(utc_now(), new=self.new, chapter=self.chapter)
        state = "new" if card.identity not in self.schedule.memory() else "due"
        show(self.console, question(self.schedule.course, card, f"{len(waiting)} left, this one is {state}."))
        start = time.monotonic()
        self._key("Enter shows the answer:")
        seconds = time.monotonic() - start
        show(self.console, answer(card))
        named, rating = self._grade(card)
        self.last = card
        self.answered += 1
        due = self.schedule.answer(card, rating, utc_now(), named=named, seconds=seconds)
        self.console.print(Text(f"{said(card, named)} {GRADES[rating]}, due {when(due)}.\n", style="bold"))
        show(self.console, afterwards(card))
        self._key("Enter goes on:")

    def _key(self, words: str) -> str:
        text = ask(self.console, words)
        if text.lower() in ("u", "undo"):
            raise _Undo
        if text.lower() in ("s", "skip"):
            raise _Skip
        if text.lower() in ("q", "quit"):
            raise Left
        return text

    def _grade(self, card: Card) -> tuple[list[int], int]:
        of = len(card.points)
        words = "Which of them did you say? (numbers, a all, 0 none, e all and it was easy)"
        while True:
            text = self._key(words)
            if text.lower() in ("e", "easy"):
                return list(range(1, of + 1)), EASY
            named = ticked(text, of)
            if named is not None:
                return named, grade(len(named), of)
            self.console.print(
                f"Type the numbers of the points that you said, such as 1{' 2' if of > 1 else ''}, or 0."
            )

    def _nothing(self) -> str:
        memory = [
            card.due for name, card in self.schedule.memory().items()
            if self.chapter in (None, self.schedule.cards[name].chapter)
        ]  # fmt: skip
        if memory:
            more = "" if self.new else " and --new 0 brings no new ones"
            return (
                f"Nothing is due; the next card is due {when(min(memory))}{more}. `--new N` brings more new ones today."
            )
        return "There is no card to ask."

    def _farewell(self) -> str:
        waiting = len(self.schedule.waiting(utc_now(), new=self.new, chapter=self.chapter))
        cards = "1 answer is saved" if self.answered == 1 else f"{self.answered} answers are saved"
        return f"{cards}; {waiting} left for today. `gptdojo study --stats` shows where you stand."


def said(card: Card, named: list[int]) -> str:
    """Return how much of the strong answer was there."""
    of = len(card.points)
    return f"{len(named)} of {of} points:" if of > 1 else ("The point is there:" if named else "The point is missing:")


def when(due: datetime) -> str:
    """Return a moment as a learner thinks of it."""
    seconds = (due - utc_now()).total_seconds()
    if seconds <= 30:
        return "at once"
    if seconds < 3600:
        return f"in {max(1, round(seconds / 60))} min"
    days = (due.astimezone().date() - datetime.now().astimezone().date()).days
    if days < 1:
        return "later today"
    return "tomorrow" if days == 1 else f"in {days} days"


__all__ = ["AGAIN", "Session", "said", "when"]
