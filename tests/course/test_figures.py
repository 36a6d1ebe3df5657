"""course.md: each figure in the prose of a section is shown by one of its examples, has a source, or is a given.

A figure is a number of two digits or more, with a decimal point, or with a unit. Code, links, formulas, headings and years are left out.
The figures that a question gives, or that a story makes up, stand with a reason in given_figures.toml.
"""

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from gptdojo.course import Chapter, find_course

COURSE = find_course(Path(__file__).parent)
TEXT = COURSE.root / "course.md"
GIVEN = tomllib.loads((Path(__file__).parent / "given_figures.toml").read_text(encoding="utf-8"))["given"]

UNITS = {
    "%": 0.01,
    "percent": 0.01,
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
    "M": 1e6,
    "B": 1e9,
    "T": 1e12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 1e3,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "TB/s": 1e12,
    "ms": 1e-3,
    "TFLOP/s": 1e12,
    "teraflop/s": 1e12,
    "nats": 1,
    "nat": 1,
    "bits": 1,
    "bit": 1,
    "bytes": 1,
    "byte": 1,
    "FLOPs": 1,
    "K": 2**10,
}
UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
POWER = r"e(?P<power>-?\d+)"
FIGURE = re.compile(
    rf"(?<![\w.,$^_/{{-])(?P<number>{NUMBER})(?:{POWER})?(?![\d^]|[.,]\d)(?:\s*(?P<unit>{UNIT})(?![\w]))?"
)
VALUE = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|[\d_]+)(?:\.\d+)?(?:e[+-]?\d+)?")
NOT_PROSE = re.compile(
    r"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|<[^>]*>|^#+ .*$"
    r"|\b[Cc]hapters? \d+(?:(?:, \d+)*(?: and| to) \d+)?|\b\d{4}\.\d{5}\b|\b(?:19|20)\d\d\b",
    flags=re.MULTILINE | re.DOTALL,
)
SOURCE = re.compile(
    r"https?://|\bet al\.|\b[A-Z][\w-]+ \(?(?:19|20)\d\d\b|\b\d{4}\.\d{5}\b|\b([Ss]ection|[Tt]able|[Ff]igure|[Aa]ppendix) [A-Z\d]"
)

each_chapter = pytest.mark.parametrize("chapter", COURSE.chapters.values(), ids=COURSE.chapters)


def section_of(number: int | str, text: str) -> str:
    """The section of a chapter, or nothing where the text has none."""
    found = re.search(rf"^## {number}\. .*?(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return found.group() if found else ""


def is_shown(number: str, unit: float, shown: set[float]) -> bool:
    """Whether a value of an example, in the unit of the figure or as it stands, is the figure when rounded to its digits."""
    digits = number.replace(",", "")
    decimals = len(digits.partition(".")[2])
    zeros = len(digits) - len(digits.rstrip("0"))
    rounded_to = -decimals if decimals or len(digits) - zeros < 2 else zeros
    values = {value / scale for value in shown for scale in (1, unit)}
    return any(abs(value - float(digits)) <= 0.5001 * 10.0**rounded_to for value in values)


def figures_without_cover(section: str) -> list[tuple[str, str]]:
    """The figures (with some words around each) that no example of the section shows and whose paragraph names no source."""
    examples = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    shown = {
        float(value.group().replace(",", "").replace("_", ""))
        for example in examples
        for value in VALUE.finditer(example)
        if value.group().strip("_")
    }
    bare = []
    for paragraph in re.split(r"\n\s*\n|\n- |\n\|", re.sub(r"```.*?```", "\n\n", section, flags=re.DOTALL)):
        if SOURCE.search(paragraph):
            continue
        prose = NOT_PROSE.sub(" ¤ ", paragraph)
        for figure in FIGURE.finditer(prose):
            number, unit = figure["number"], figure["unit"]
            scale = UNITS.get(unit or "", 1) * 10.0 ** int(figure["power"] or 0)
            if (len(number) >= 2 or unit) and not is_shown(number, scale, shown):
                around = prose[max(0, figure.start() - 60) : figure.end() + 30]
                bare.append((number, " ".join(around.split())))
    return bare


@each_chapter
def test_each_figure_is_shown_by_an_example_or_has_a_source(chapter: Chapter) -> None:
    section = section_of(chapter.number, TEXT.read_text(encoding="utf-8"))
    given = {entry["figure"] for entry in GIVEN if entry["chapter"] == chapter.number}
    bare = figures_without_cover(section)
    assert [around for number, around in bare if number not in given] == []
    if section:  # a chapter without a section fails elsewhere
        assert given - {number for number, _ in bare} == set(), "given figures that the text does not need"


def test_each_given_figure_stands_once_with_a_reason() -> None:
    assert all(set(entry) == {"chapter", "figure", "reason"} and len(entry["reason"]) > 10 for entry in GIVEN)
    entries = Counter((entry["chapter"], entry["figure"]) for entry in GIVEN)
    assert [entry for entry, times in entries.items() if times > 1] == []


@pytest.mark.parametrize(
    ("prose", "bare"),
    [
        ("It has 38.6 million numbers.", []),
        ("It has 38.5 million numbers.", ["38.5"]),
        ("About 39,000,000 numbers, that is 31 percent.", []),
        ("About 38,000,000 numbers, that is 32 percent.", ["38,000,000", "32"]),
        ("As `x[:77]` in chapter 13 since 2017, $77$.", []),
        ("It was 77 (Kwon et al. 2023, table 2).", []),
        ("It was 77.", ["77"]),
        ("It has 7 ms and 3 heads.", ["7"]),
    ],
)
def test_the_rule(prose: str, bare: list[str]) -> None:
    section = f"## 1. Title\n\n{prose}\n\n```python\n>>> 50257 * 768\n38597376\n>>> 0.3102\n0.3102\n\n```\n"
    assert [number for number, _ in figures_without_cover(section)] == bare
