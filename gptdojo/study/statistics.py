"""Where a learner stands with the cards: how much is kept, what is due, and a picture of the days to come."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .schedule import AGAIN, Schedule

DAYS = 14
BACK = timedelta(days=30)
BAR = 40  # columns of the longest bar
WEAK = 3  # how many chapters are named


@dataclass(frozen=True)
class Statistics:
    """Counts of cards and answers.

    `retention` is the share of reviews of the last 30 days that were not forgotten, None where there were none; `recall` is
    what FSRS expects it to be if everything were asked at this moment. `ahead[0]` are the cards due today, overdue ones
    included. `weakest` are the chapters with the smallest share of points named.
    """

    cards: int
    asked: int
    answers: int
    retention: float | None
    reviews: int
    recall: float | None
    ahead: list[int]
    weakest: list[tuple[int, float]]
    aside: int


def statistics(schedule: Schedule, now: datetime, *, chapter: int | None = None) -> Statistics:
    """Return where the learner stands, in the whole course or in one chapter."""
    chosen = {name for name, card in schedule.cards.items() if chapter in (None, card.chapter)}
    memory = {name: card for name, card in schedule.memory().items() if name in chosen}
    log = [entry for entry in schedule.log() if entry["card"] in chosen]
    recent = [entry for entry in log if datetime.fromisoformat(entry["at"]) > now - BACK]
    reviews = [entry["grade"] > AGAIN for entry in recent if entry.get("review")]
    recalls = [schedule.scheduler.get_card_retrievability(card, now) for card in memory.values()]
    today = now.astimezone().date()
    ahead = [0] * DAYS
    for card in memory.values():
        days = max(0, (card.due.astimezone().date() - today).days)
        if days < DAYS:
            ahead[days] += 1
    return Statistics(
        len(chosen), len(memory), len(log), _mean(reviews), len(reviews), _mean(recalls), ahead,
        _weakest(schedule, recent), len(schedule.aside()) if chapter is None else 0,
    )  # fmt: skip


def _mean(values: list) -> float | None:
    return sum(values) / len(values) if values else None


def _weakest(schedule: Schedule, recent: list[dict]) -> list[tuple[int, float]]:
    shares: dict[int, list[float]] = {}
    for entry in recent:
        if entry.get("of"):
            shares.setdefault(schedule.cards[entry["card"]].chapter, []).append(len(entry["named"]) / entry["of"])
    means = sorted((sum(values) / len(values), number) for number, values in shares.items())
    return [(number, share) for share, number in means[:WEAK] if share < 1]


def screen(schedule: Schedule, found: Statistics, now: datetime) -> RenderableType:
    """Return the statistics with the picture of the days to come."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row(
        "asked so far",
        f"{found.asked} of {found.cards} cards, {found.answers} answer{'' if found.answers == 1 else 's'}",
    )
    if found.retention is not None:
        table.add_row("retention", f"{found.retention:.0%} of {found.reviews} reviews in 30 days (FSRS aims at 90%)")
    else:
        table.add_row("retention", "known after the first card has come back")
    if found.recall is not None:
        table.add_row("right now", f"FSRS expects you to know {found.recall:.0%} of what was asked")
    table.add_row("due", f"{found.ahead[0]} today, {found.ahead[1]} tomorrow")
    for number, share in found.weakest:
        chapter = schedule.course.chapter_of(str(number))
        table.add_row("weakest" if (number, share) == found.weakest[0] else "",
                      f"{number}. {chapter.title if chapter else ''}: {share:.0%} of the points named")  # fmt: skip
    if found.aside:
        table.add_row("kept aside", f"{found.aside} cards that are no longer in course.md")
    return Group(table, Text(), picture(found.ahead, now))


def picture(ahead: list[int], now: datetime) -> Text:
    """Return a bar for each of the days to come; readable without color."""
    text = Text("Cards due a day\n", style="bold")
    longest = max(*ahead, 1)
    for days, count in enumerate(ahead):
        day = "today" if days == 0 else f"{now.astimezone() + timedelta(days=days):%a %d}"
        text.append(f"{day:>6} ", style="default")
        text.append("█" * round(count * BAR / longest) or "▏" * bool(count), style="cyan")
        text.append(f" {count}" if count else "·", style="default" if count else "dim")
        text.append("\n" * (days < len(ahead) - 1))
    return text
