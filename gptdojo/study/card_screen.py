"""What is shown of a card: its question, its answer with the points, and what comes after the grade."""

import re
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gptdojo.cards import Card
from gptdojo.course import Course

READABLE = 96  # columns; longer lines of prose tire the eye


def markdown(text: str) -> RenderableType:
    """Return a part of a card for the screen."""
    return Markdown(text, code_theme="bw", hyperlinks=False)


def show(console: Console, *parts: RenderableType) -> None:
    """Print with lines that can be read."""
    console.print(Group(*parts), width=min(console.width, READABLE))


def question(course: Course, card: Card, place: str) -> RenderableType:
    """Return the question with where it stands in the course."""
    chapter = course.chapter_of(str(card.chapter))
    title = f"{card.chapter}. {chapter.title}" if chapter else f"chapter {card.chapter}"
    head = Text(f"{place}  {title}  {card.kind}", style="dim")
    return Group(Text(), head, Text(), _strong(card.question), Text())


def _strong(text: str) -> RenderableType:
    return Markdown(text, style="bold", code_theme="bw")


def answer(card: Card) -> RenderableType:
    """Return the answer, and the numbered points to tick."""
    return Group(Text(), markdown(card.answer), Text(), points(card))


def points(card: Card) -> RenderableType:
    """Return the points of a strong answer, numbered."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(justify="right")
    for number, point in enumerate(card.points, 1):
        table.add_row(str(number), markdown(" ".join(point.split())))
    return Group(Text("A strong answer names", style="bold"), Padding(table, (0, 0, 0, 1)), Text())


def afterwards(card: Card, *, follow_up: bool = True) -> RenderableType:
    """Return what is read after the grade: the follow-up, and the wrong answer in circulation."""
    parts: list[RenderableType] = []
    if follow_up:
        parts += [Text("Follow-up", style="bold"), markdown(card.follow_up), Text()]
    if card.wrong:
        parts += [Text("Wrong answer in circulation", style="bold"), markdown(card.wrong), Text()]
    return Group(*parts)


def split_follow_up(card: Card) -> tuple[str, str]:
    """Return the question of a follow-up and the answer that comes with it; one of them may be empty."""
    found = re.search(r"\?\s+", card.follow_up)
    if found is None:
        return ("", card.follow_up) if "?" not in card.follow_up else (card.follow_up, "")
    return card.follow_up[: found.start() + 1], card.follow_up[found.end() :]


def ticked(text: str, of: int) -> list[int] | None:
    """Return the points that the learner's answer names: numbers, `a` for all, `0` for none. None if it says something else."""
    if text.lower() in ("a", "all"):
        return list(range(1, of + 1))
    if text.lower() in ("0", "none", "n"):
        return []
    words = re.split(r"[\s,;]+", text)
    if len(words) == 1 and words[0].isascii() and words[0].isdecimal() and of < 10:
        words = list(words[0])  # 134 is 1 3 4
    if not all(word.isascii() and word.isdecimal() for word in words):
        return None
    numbers = sorted({int(word) for word in words})
    return numbers if numbers and numbers[0] >= 1 and numbers[-1] <= of else None


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
