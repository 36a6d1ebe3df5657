"""A released notebook in JupyterLab, as a learner meets it: read, fold out a hint, answer, check, save."""

import shutil
from pathlib import Path

import nbformat
import pytest

from gptdojo.build import build, check
from gptdojo.course import Course

from .browser import chromium, serving

ROOT = Path(__file__).parents[2]
WRONG = 'def count_vowels(text): return sum(letter in "aeiou" for letter in text)'
RIGHT = 'def count_vowels(text): return sum(letter in "aeiou" for letter in text.lower())'

pytestmark = pytest.mark.browser


@pytest.fixture
def course(tmp_path):
    folder = tmp_path / "course"
    shutil.copytree(ROOT / "tests/engine/toy_course", folder, ignore=shutil.ignore_patterns("exercises", "*.ipynb"))
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    course = Course(folder)
    assert [built.status for built in build(course)] == ["written"]
    return course


@pytest.fixture
def jupyterlab(course, tmp_path):
    """The address of a JupyterLab on the course."""
    with serving(course.root, tmp_path / "home") as address:
        yield address


@pytest.fixture
def page():
    with chromium() as page:
        yield page


def opened(course, jupyterlab, page):
    """Open the notebook and return its cells by name, once a kernel waits for them."""
    notebook = course.chapters["01_words"].notebook
    page.goto(f"{jupyterlab}/lab/tree/{notebook.relative_to(course.root)}?reset")
    names = [cell.id for cell in nbformat.read(notebook, as_version=4).cells]
    cells = page.locator(".jp-Notebook .jp-Cell")
    cells.nth(len(names) - 1).wait_for()
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    return {name: cells.nth(number) for number, name in enumerate(names)}


def run_and_read(page, cell, shows):
    """Run a cell and return what it put out, once that holds the text `shows`."""
    cell.click(position={"x": 200, "y": 12})
    page.keyboard.press("Control+Enter")
    output = cell.locator(".jp-OutputArea")
    output.get_by_text(shows).first.wait_for()
    return output.inner_text()


def answer(page, cell, code):
    editor = cell.locator(".cm-content")
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")


def test_learner_opens_answers_checks_and_saves(course, jupyterlab, page):
    cells = opened(course, jupyterlab, page)
    assert "How to work here" in cells["start"].inner_text()
    label = cells["label_count_vowels"].locator(".jp-RenderedMarkdown")
    assert "2 points · about 5 minutes · difficulty ●○○○○ (1 of 5) · often asked in interviews" in label.inner_text()
    hint = label.get_by_text("Which letters are vowels?")
    assert not hint.is_visible()
    label.get_by_text("Hint 1: a question").click()
    assert hint.is_visible()

    for name in ("import_check", "code_1"):
        cells[name].click(position={"x": 200, "y": 12})
        page.keyboard.press("Control+Enter")
    answer(page, cells["count_vowels"], WRONG)
    assert "Capitals count as well" in run_and_read(page, cells["check_count_vowels"], "1.0")
    answer(page, cells["count_vowels"], RIGHT)
    run_and_read(page, cells["check_count_vowels"], "2.0")

    before = course.chapters["01_words"].notebook.read_bytes()
    page.keyboard.press("Control+S")
    for _ in range(100):
        if course.chapters["01_words"].notebook.read_bytes() != before:
            break
        page.wait_for_timeout(100)
    saved = {cell.id: cell for cell in nbformat.read(course.chapters["01_words"].notebook, as_version=4).cells}
    assert saved["count_vowels"].source == RIGHT
    (built,) = build(course)
    assert (built.status, built.changes, built.outdated) == ("kept", ("count_vowels is filled in",), ())
    assert check(course) == []


def test_what_is_not_the_learners_cannot_be_edited(course, jupyterlab, page):
    cells = opened(course, jupyterlab, page)
    label, check_cell, demonstration = (
        cells["label_count_vowels"],
        cells["check_count_vowels"],
        cells["count_a_sentence"],
    )
    label.locator(".jp-RenderedMarkdown").get_by_text("2 points").dblclick()
    for cell in (label, check_cell, demonstration):
        cell.locator(".cm-content").click()
        page.keyboard.insert_text("mine")
    assert "mine" not in label.inner_text() + check_cell.inner_text()
    assert "mine" in demonstration.inner_text()
