"""The cards as an Anki package: stable identities, code and mathematics readable there."""

import hashlib
import os
from html import escape
from pathlib import Path
from typing import Any

from gptdojo.cards import Card
from gptdojo.course import Course, CourseError

from .schedule import library

STYLE = """
.card { font-family: sans-serif; font-size: 18px; text-align: left; max-width: 46em; margin: auto; padding: 0.5em; }
.head { color: #777; font-size: 14px; }
.question { font-weight: bold; }
pre { background: #f4f4f4; padding: 0.6em; overflow-x: auto; font-size: 15px; }
code { font-family: monospace; }
.nightMode pre { background: #333; }
table { border-collapse: collapse; }
td, th { border: 1px solid #999; padding: 0.2em 0.5em; }
"""
FRONT = '<p class="head">{{Chapter}} &middot; {{Kind}}</p><div class="question">{{Question}}</div>'
BACK = """{{FrontSide}}<hr id="answer">{{Answer}}
<h4>A strong answer names</h4>{{Points}}
<h4>Follow-up</h4>{{Follow-up}}
{{#Wrong}}<h4>Wrong answer in circulation</h4>{{Wrong}}{{/Wrong}}"""
FIELDS = ("Identity", "Chapter", "Kind", "Question", "Answer", "Points", "Follow-up", "Wrong")


def export(course: Course, chosen: list[Card], path: Path) -> int:
    """Write an Anki package, and return how many notes it holds.

    A note keeps its identity when its text changes, so importing again updates the cards and keeps their schedule. Raises
    CourseError where the file cannot be written.
    """
    genanki = library("genanki")
    html = _renderer()
    model = genanki.Model(
        _stable(course.name, "model"), f"{course.name} (gptdojo)",
        fields=[{"name": name} for name in FIELDS],
        templates=[{"name": "Question", "qfmt": FRONT, "afmt": BACK}], css=STYLE,
    )  # fmt: skip
    deck = genanki.Deck(_stable(course.name, "deck"), course.name)
    for card in chosen:
        chapter = course.chapter_of(str(card.chapter))
        points = "\n".join(f"- {point}" for point in card.points)
        fields = [
            card.identity, escape(f"{card.chapter}. {chapter.title}" if chapter else ""), escape(card.kind),
            html(card.question), html(card.answer), html(points), html(card.follow_up), html(card.wrong),
        ]  # fmt: skip
        tags = [f"chapter-{card.chapter:02}", card.kind]
        guid = genanki.guid_for(course.name, card.identity)
        deck.add_note(genanki.Note(model=model, fields=fields, guid=guid, tags=tags))
    _write(genanki.Package(deck), path)
    return len(chosen)


def _write(package: Any, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        package.write_to_file(str(temporary))
        os.replace(temporary, path)
    except OSError as error:
        raise CourseError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _renderer() -> Any:
    """Return what turns the Markdown of a card into HTML; mathematics goes to Anki's MathJax as it stands."""
    dollarmath = library("mdit_py_plugins.dollarmath")
    parser = library("markdown_it").MarkdownIt("commonmark").enable("table")
    parser.use(dollarmath.dollarmath_plugin, renderer=_mathematics, allow_space=False, double_inline=True)

    def html(text: str) -> str:
        return str(parser.render(text)).strip()

    return html


def _mathematics(content: str, options: dict) -> str:
    left, right = (r"\[", r"\]") if options.get("display_mode") else (r"\(", r"\)")
    return f"{left}{escape(content.strip())}{right}"


def _stable(course: str, kind: str) -> int:
    """Return an identity for Anki that is the same on every machine: 31 bits."""
    return int.from_bytes(hashlib.sha256(f"{course}\0{kind}".encode()).digest()[:4]) >> 1
