"""nbgrader's formgrader on a class folder, as an instructor uses it: autograde, look at an answer, change a score."""

import os

import pytest
from nbgrader.api import Gradebook

from .browser import chromium, serving
from .classroom import CHAPTER, SCORES, hand_in, nbgrader, toy_class

pytestmark = pytest.mark.browser
LEARNERS = ("partial", "runner", "script")
SHOTS = os.environ.get("GPTDOJO_SCREENSHOTS")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formgrader") / "class"
    toy_class(folder)
    nbgrader(folder, "generate_assignment", CHAPTER)
    hand_in(folder, LEARNERS)
    return folder


@pytest.fixture(scope="module")
def address(folder, tmp_path_factory):
    with serving(folder, tmp_path_factory.mktemp("home")) as address:
        yield f"{address}/formgrader"


@pytest.fixture
def page():
    with chromium(height=1500) as page:
        yield page


def rows(folder):
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        notebooks = [notebook for each in book.assignment_submissions(CHAPTER) for notebook in each.notebooks]
        return {each.student.id: (each.id, each.score, each.needs_manual_grade) for each in notebooks}


def picture(page, name):
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


def test_autograde_in_the_formgrader_goes_through_the_sandbox(folder, address, page):
    page.goto(f"{address}/manage_submissions/{CHAPTER}")
    for learner in LEARNERS:
        row = page.locator("tr", has_text=learner)
        row.locator(".autograde a").click()
        done = page.locator("#success-modal")
        done.get_by_text(f"Successfully autograded '{CHAPTER}' for student '{learner}'").wait_for()
        done.locator(".modal-footer button").click()
        done.wait_for(state="detached")
        assert f"{sum(SCORES[learner])} / 5" in row.inner_text()
    picture(page, "submissions")
    assert not (folder / "canary").exists()
    assert {name: row[1:] for name, row in rows(folder).items()} == {
        name: (sum(SCORES[name]), False) for name in LEARNERS
    }


def test_answer_is_shown_with_its_verdict_and_no_script_of_it_runs(folder, address, page):
    alerts = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    for learner in ("partial", "script"):
        page.goto(f"{address}/submissions/{rows(folder)[learner][0]}/")
        page.locator("#check_count_vowels.score").wait_for()
        page.wait_for_timeout(1000)
        text = page.locator("body").inner_text()
        assert "Capitals count as well" in text
        assert page.title() != "taken"
        picture(page, f"answer_{learner}")
    assert "<script>document.title" in text
    assert not alerts


def test_score_that_a_person_gives_outlives_autograding(folder, address, page):
    page.goto(f"{address}/submissions/{rows(folder)['partial'][0]}/")
    score = page.locator("#check_count_vowels.score")
    score.wait_for()
    score.fill("1.5")
    score.press("Tab")
    page.locator(".score-saved").first.wait_for()
    nbgrader(folder, "autograde", CHAPTER, "--force", "--student", "partial")
    _, points, look_again = rows(folder)["partial"]
    assert (points, look_again) == (4.5, True)
