"""`gptdojo grade --format nbgrader`: the scores of a class in nbgrader's gradebook, through nbgrader's own API."""

import shutil
from datetime import datetime

import pytest
from nbgrader.api import Gradebook

from gptdojo import gradebook
from gptdojo.course import Course
from gptdojo.report import ExerciseResult, SubmissionResult

from .classroom import CHAPTER, NOTEBOOK, hand_in, nbgrader, run, toy_class, toy_source


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A class folder whose gradebook knows Eve."""
    folder = tmp_path_factory.mktemp("made") / "class"
    course = toy_class(folder)
    assert gradebook.write([result(folder, "eve", (2.0, 3.0))], course, folder) == []
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "class")


@pytest.fixture
def course(folder):
    return Course(folder / "course")


def result(folder, learner, scores=(1.5, 3.0), status="failed", name=NOTEBOOK):
    """The result of a submission of the toy course."""
    place = folder / "submitted" / learner / CHAPTER
    place.mkdir(parents=True, exist_ok=True)
    rows = zip(("count_vowels", "Thermometer"), scores, (2.0, 3.0), strict=True)
    exercises = [ExerciseResult(exercise, CHAPTER, score, most, 0.1, status) for exercise, score, most in rows]
    return SubmissionResult(str(place / name), learner, exercises, 0.2)


def rows(folder):
    """(score, penalty, whether a person has to look) by learner."""
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        notebooks = [notebook for each in book.assignment_submissions(CHAPTER) for notebook in each.notebooks]
        return {
            each.student.id: (each.score, each.late_submission_penalty, each.needs_manual_grade) for each in notebooks
        }


def test_scores_are_recorded_before_anything_was_released(folder, course):
    assert gradebook.write([result(folder, "ada"), result(folder, "bob", (0.0, 0.0))], course, folder) == []
    assert rows(folder) == {"ada": (4.5, None, False), "bob": (0.0, None, False), "eve": (5.0, None, False)}


def test_class_keeps_its_gradebook_wherever_the_reports_go(folder, course, tmp_path):
    gradebook.write([result(folder, "ada")], course, tmp_path / "reports")
    assert set(rows(folder)) == {"ada", "eve"}
    assert not (tmp_path / "reports").exists()


def test_late_penalty_is_that_of_the_configuration(folder, course):
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        book.update_or_create_assignment(CHAPTER, duedate=datetime(2024, 1, 1))
    late = result(folder, "late")
    (folder / "submitted" / "late" / CHAPTER / "timestamp.txt").write_text("2024-01-02 00:00:00 UTC")
    gradebook.write([late, result(folder, "ada")], course, folder)
    assert rows(folder)["late"] == (4.5, 4.5, False)
    assert rows(folder)["ada"] == (4.5, None, False)


@pytest.mark.slow
def test_chapter_can_be_released_after_scores_were_recorded(folder):
    nbgrader(folder, "generate_assignment", CHAPTER)  # which refuses if the gradebook knows other cells
    assert rows(folder) == {"eve": (5.0, None, False)}


@pytest.mark.slow
def test_course_without_a_class_has_its_gradebook_with_the_reports(tmp_path):
    course = toy_source(tmp_path / "course")
    (tmp_path / "reports").mkdir()
    gradebook.write([result(tmp_path, "ada")], course, tmp_path / "reports")
    assert rows(tmp_path / "reports") == {"ada": (4.5, None, False)}


def test_without_a_verdict_there_is_no_score_and_a_person_has_to_look(folder, course):
    gradebook.write([result(folder, "ada")], course, folder)
    gradebook.write([result(folder, "ada", (0.0, 0.0), "grader_error")], course, folder)
    assert rows(folder)["ada"] == (0.0, None, True)
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        assert book.find_grade("check_count_vowels", "words", CHAPTER, "ada").auto_score is None


def test_points_that_were_changed_in_nbgrader_keep_the_share(folder, course):
    gradebook.write([result(folder, "ada")], course, folder)
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        book.find_grade_cell("check_count_vowels", "words", CHAPTER).max_score = 8
        book.db.commit()
    gradebook.write([result(folder, "ada")], course, folder)
    assert rows(folder)["ada"] == (9.0, None, False)


def test_what_cannot_be_recorded_is_said(folder, course):
    stray = SubmissionResult("words.ipynb", None, [], 0.0)
    problems = gradebook.write([stray, result(folder, "ada", name="mine.ipynb")], course, folder)
    assert problems[0] == "words.ipynb: whose it is is not known; put it into submitted/LEARNER/CHAPTER/"
    assert problems[1].endswith("mine.ipynb: nbgrader counts words.ipynb only, and once")
    assert set(rows(folder)) == {"eve"}


@pytest.mark.slow
def test_grade_and_autograde_fill_the_same_gradebook(folder):
    nbgrader(folder, "generate_assignment", CHAPTER)
    hand_in(folder, ("right", "partial", "forger", "deleted_cells", "pipe"))
    finished = run(folder, "gptdojo", "grade", "submitted", "--jobs", 2, "--timeout", 4, "--format", "nbgrader")
    assert finished.returncode == 0, finished.stderr
    recorded = rows(folder)
    assert {learner: row[0] for learner, row in recorded.items()} == {
        "eve": 5,
        "right": 5, "partial": 4, "forger": 1, "deleted_cells": 2, "pipe": 0,
    }  # fmt: skip
    nbgrader(folder, "autograde", CHAPTER)
    assert rows(folder) == recorded


@pytest.mark.slow
def test_grader_that_breaks_gives_no_score_and_stops_nobody_else(folder, course):
    """The property of one exercise is broken: the other is graded, nbgrader says what happened, and a second run repairs it."""
    nbgrader(folder, "generate_assignment", CHAPTER)
    hand_in(folder, ("right", "partial"))
    path = course.chapters[CHAPTER].properties
    text = path.read_text()
    path.write_text(text.replace("import", "import nothing_of_that_name\nimport", 1))
    log = nbgrader(folder, "autograde", CHAPTER, code=1)
    assert "GraderBroke: there is no verdict; count_vowels: the grader failed" in log
    assert (rows(folder)["right"], rows(folder)["partial"]) == ((0, None, True), (0, None, True))
    path.write_text(text)
    nbgrader(folder, "autograde", CHAPTER)
    assert (rows(folder)["right"], rows(folder)["partial"]) == ((5, None, False), (4, None, False))
