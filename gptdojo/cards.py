"""The interview cards of course.md."""

import re
from dataclasses import dataclass
from pathlib import Path

from .course import Course, CourseError

KINDS = ("concept", "calculation", "coding", "debugging", "system-design")
CARD = re.compile(r'^<details id="(?P<id>[^"\n]*)">\n(?P<body>.*?)^</details>$', re.MULTILINE | re.DOTALL)
SUMMARY = re.compile(r"\A<summary>(?P<question>.+?)</summary>\n", re.DOTALL)
KIND = re.compile(r"\A\s*\*(?P<kind>[a-z-]+)\*\s*\n")
PART = re.compile(r"^\*\*(Answer|A strong answer names|Follow-up|Wrong answer in circulation)\.?\*\*", re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """One interview question. `identity` stays when the text changes; `points` are what a strong answer names, `text` is all of it."""

    identity: str
    kind: str
    question: str
    answer: str
    points: tuple[str, ...]
    follow_up: str
    wrong: str
    text: str

    @property
    def chapter(self) -> int:
        """The number of the chapter that the card belongs to."""
        return int(self.identity[:2])


def cards(course: Course) -> list[Card]:
    """Return the cards of course.md in order; raises CourseError for one that is not in the form of a card."""
    path = course.root / "course.md"
    found = read_cards(path.read_text(encoding="utf-8"), path)
    twice = {card.identity for card in found if sum(card.identity == other.identity for other in found) > 1}
    if twice:
        raise CourseError(f"{path} has several cards called {', '.join(sorted(twice))}")
    return found


def read_cards(text: str, path: Path) -> list[Card]:
    """Return the cards of a text."""
    return [_card(match, path) for match in CARD.finditer(text)]


def _card(match: re.Match[str], path: Path) -> Card:
    identity, body = match["id"], match["body"]

    def fail(problem: str) -> CourseError:
        return CourseError(f"{path}: the card {identity} {problem}")

    if not re.fullmatch(r"\d\d-[a-z0-9-]+", identity):
        raise fail("needs an id of the form 02-a-few-words")
    summary = SUMMARY.match(body)
    if summary is None:
        raise fail("does not begin with its question in <summary>")
    kind = KIND.match(body[summary.end() :])
    if kind is None or kind["kind"] not in KINDS:
        raise fail(f"does not say its kind after the question: one of {', '.join(KINDS)}")
    parts = _parts(body[summary.end() + kind.end() :])
    points = tuple(re.findall(r"^- (.+(?:\n  .+)*)", parts.get("A strong answer names", ""), re.MULTILINE))
    for name in ("Answer", "Follow-up"):
        if not parts.get(name):
            raise fail(f"has no {name}")
    if not points:
        raise fail("names no points of a strong answer")
    return Card(
        identity, kind["kind"], " ".join(summary["question"].split()), parts["Answer"], points, parts["Follow-up"],
        parts.get("Wrong answer in circulation", ""), body,
    )  # fmt: skip


def _parts(text: str) -> dict[str, str]:
    pieces = PART.split(text)
    return {name: content.strip() for name, content in zip(pieces[1::2], pieces[2::2], strict=True)}
