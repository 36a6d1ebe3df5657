"""course.md: every chapter has its section, its cards have their form, and its examples are true."""

import re
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from gptdojo.cards import KINDS, cards
from gptdojo.course import Chapter, find_course

COURSE = find_course(Path(__file__).parent)
TEXT = COURSE.root / "course.md"
CARDS_PER_CHAPTER = 10

each_chapter = pytest.mark.parametrize("chapter", COURSE.chapters.values(), ids=COURSE.chapters)


def lines_of(chapter: Chapter) -> range:
    """The lines of a chapter's section."""
    lines = TEXT.read_text(encoding="utf-8").splitlines()
    starts = [number for number, line in enumerate(lines, 1) if line.startswith("## ")]
    begin = next(number for number in starts if lines[number - 1].startswith(f"## {chapter.number}. "))
    return range(begin, min([number for number in starts if number > begin], default=len(lines) + 1))


@each_chapter
def test_a_chapter_has_a_section_with_its_title_and_interview_questions(chapter: Chapter) -> None:
    lines = TEXT.read_text(encoding="utf-8").splitlines()
    section = [lines[number - 1] for number in lines_of(chapter)]
    assert section[0] == f"## {chapter.number}. {chapter.title}"
    assert "### Interview questions" in section
    for module in chapter.reference:
        assert f"(reference/{module}.py)" in "\n".join(section)


@each_chapter
def test_the_examples_of_a_section_are_true_when_it_is_run_by_itself(chapter: Chapter) -> None:
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(TEXT)
    own = [example for example in document.examples() if example.line in lines_of(chapter)]
    assert own
    for example in own:
        example.evaluate()


@each_chapter
def test_a_chapter_has_enough_cards(chapter: Chapter) -> None:
    assert sum(card.chapter == chapter.number for card in cards(COURSE)) >= CARDS_PER_CHAPTER


def test_all_kinds_of_questions_are_asked() -> None:
    assert {card.kind for card in cards(COURSE)} == set(KINDS)


def test_every_details_block_is_a_card() -> None:
    text = TEXT.read_text(encoding="utf-8")
    assert text.count("<details") == text.count("</details>") == len(cards(COURSE))


def test_calculation_cards_carry_their_numbers_as_an_example() -> None:
    calculations = [card for card in cards(COURSE) if card.kind == "calculation"]
    assert [card.identity for card in calculations if ">>>" not in card.text] == []


def test_links_into_the_repository_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)\)", TEXT.read_text(encoding="utf-8"))
    assert [target for target in targets if not (COURSE.root / target).exists()] == []


def test_links_to_cards_lead_to_a_card() -> None:
    targets = re.findall(r"\]\(#([^)]+)\)", TEXT.read_text(encoding="utf-8"))
    known = {card.identity for card in cards(COURSE)}
    assert targets
    assert [target for target in targets if target not in known] == []
