"""nbgrader on a class folder, by its own commands: every score is the sandbox's, and nobody runs, reads or stops anything."""

import csv
import re
import shutil

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.nbgraderformat import MetadataValidator

from gptdojo.classroom.seed import class_seed
from gptdojo.grading.collect import collect
from gptdojo.grading.grade import Options, grade
from gptdojo.grading.limits import Limits
from gptdojo.sandbox import choose

from .classroom import CHAPTER, LEARNERS, NOTEBOOK, SCORES, Desk, essayist, hand_in, nbgrader, toy_class

FEW = ("right", "partial", "forger", "runner", "from_the_future", "pipe", "thief")

# what waits for a person: an essay, and whatever nbgrader could not place
WAITING = {"essayist": {"essay"}, "renamed": {"essay", "check_count_vowels", "check_Thermometer"}}


def gradebook(folder):
    """The rows of the gradebook: (count_vowels, Thermometer) by learner."""
    rows = {}
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        for submission in book.assignment_submissions(CHAPTER):
            grades = {grade.name: grade for notebook in submission.notebooks for grade in notebook.grades}
            for_people = {name for name, grade in grades.items() if grade.needs_manual_grade}
            assert for_people == WAITING.get(submission.student.id, set())
            rows[submission.student.id] = tuple(
                grades[name].auto_score for name in ("check_count_vowels", "check_Thermometer")
            )
    return rows


def of_grade(course, folder):
    """What `gptdojo grade` gives for the same files."""
    options = Options(course.root, choose("bubblewrap"), seed=class_seed(course), limits=Limits(4.0))
    results = [grade(submission, options) for submission in collect(course, [folder / "submitted"])]
    scores = {result.learner: {entry.exercise: entry.score for entry in result.exercises} for result in results}
    return {
        learner: (each["count_vowels"], each["Thermometer"]) for learner, each in scores.items() if learner != "renamed"
    }


def autograded(folder, learner):
    return nbformat.read(folder / "autograded" / learner / CHAPTER / NOTEBOOK, as_version=4)


def test_autograde_gives_the_scores_of_the_sandbox_whatever_is_handed_in(tmp_path):
    folder = tmp_path / "class"
    toy_class(folder, jobs=1)
    nbgrader(folder, "generate_assignment", CHAPTER)
    hand_in(folder, FEW)
    log = nbgrader(folder, "autograde", CHAPTER)
    assert gradebook(folder) == {name: SCORES[name] for name in FEW}
    assert not (folder / "canary").exists()
    assert "Warning" not in log
    assert "kernel" not in log.lower()
    names = sorted(path.name for path in (folder / "autograded").rglob("*") if path.is_file())
    assert names == [NOTEBOOK] * len(FEW)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A class whose chapter has a second notebook, which people grade, and that was due on a day."""
    folder = tmp_path_factory.mktemp("whole") / "class"
    course = toy_class(folder)
    essayist(Desk(folder, "essayist", released=False))
    shutil.move(folder / "submitted" / "essayist" / CHAPTER / "essay.ipynb", folder / "source" / CHAPTER)
    nbgrader(folder, "db", "assignment", "add", CHAPTER, "--duedate", "2024-01-01 00:00:00 UTC")
    nbgrader(folder, "generate_assignment", CHAPTER)
    hand_in(folder)
    log = nbgrader(folder, "autograde", CHAPTER, code=1)  # the renamed file is nobody's notebook
    nbgrader(folder, "generate_feedback", CHAPTER)
    nbgrader(folder, "export")
    return folder, course, log


@pytest.mark.slow
def test_scores_equal_those_of_gptdojo_grade(whole):
    folder, course, _ = whole
    assert set(SCORES) == set(LEARNERS) - {"renamed"}
    assert (
        {name: row for name, row in gradebook(folder).items() if name != "renamed"}
        == SCORES
        == of_grade(course, folder)
    )


@pytest.mark.slow
def test_nothing_that_was_handed_in_ran_outside_of_the_sandbox(whole):
    assert not (whole[0] / "canary").exists()


@pytest.mark.slow
def test_renamed_file_is_an_unknown_notebook_and_gets_no_score(whole):
    folder, _, log = whole
    assert "Skipping unknown notebook" in log
    assert "error processing assignment '01_words' for student 'renamed'" in log
    assert log.count("error processing assignment '01_words'") == 1
    assert gradebook(folder)["renamed"] == (None, None)
    assert not (folder / "autograded" / "renamed").exists()


@pytest.mark.slow
def test_missing_notebook_is_worth_nothing_and_what_people_grade_waits_for_them(whole):
    folder, _, log = whole
    assert f"No submitted file: {folder}/submitted/essayist/{CHAPTER}/{NOTEBOOK}" in log
    assert f"No submitted file: {folder}/submitted/right/{CHAPTER}/essay.ipynb" in log
    (cell,) = nbformat.read(folder / "autograded" / "essayist" / CHAPTER / "essay.ipynb", as_version=4).cells
    assert cell.source.startswith("<pre>Words matter. &lt;script&gt;")


@pytest.mark.slow
def test_late_submission_has_its_penalty_and_the_export_says_so(whole):
    folder, _, _ = whole
    rows = {row["student_id"]: row for row in csv.DictReader((folder / "grades.csv").open())}
    assert (rows["late"]["raw_score"], rows["late"]["late_submission_penalty"], rows["late"]["score"]) == (
        "5.0",
        "5.0",
        "0.0",
    )
    assert (rows["partial"]["raw_score"], rows["partial"]["score"]) == ("4.0", "4.0")
    assert rows["right"]["max_score"] == "7.0"


@pytest.mark.slow
def test_feedback_holds_the_explained_failures(whole):
    folder, _, _ = whole
    pages = {
        name: (folder / "feedback" / name / CHAPTER / "words.html").read_text() for name in SCORES if name != "essayist"
    }
    text = " ".join(re.sub("<[^>]*>", "", pages["partial"]).split())
    assert "Capitals count as well" in text
    assert "people who think that letters are small" in text
    assert re.search(r"a small input text = '[A-Z]' expected 1 got 0", text)
    assert "no answer within 4 seconds" in pages["hanger"]
    assert "cannot be shown" in pages["no_notebook"]
    assert "it is not a plain file" in pages["pipe"]


@pytest.mark.slow
def test_nothing_of_a_submission_acts_in_what_people_look_at(whole):
    folder, _, _ = whole
    assert "&lt;script&gt;document.title" in (folder / "feedback" / "script" / CHAPTER / "words.html").read_text()
    for page in folder.glob("feedback/*/*/*.html"):
        assert "<script>document" not in page.read_text(), page
        assert "<img src=x" not in page.read_text(), page
    for cell in autograded(folder, "script").cells:
        assert cell.cell_type in ("code", "markdown")
        assert "attachments" not in cell
        texts = [cell.source] if cell.cell_type == "markdown" else []
        texts += [text for output in cell.get("outputs", []) for text in output.get("data", {}).values()]
        assert not any("<script" in text or "<img" in text for text in texts), cell


@pytest.mark.slow
def test_nothing_beside_a_notebook_is_copied_but_its_time(whole):
    folder, _, _ = whole
    seed = (folder / "class_seed.txt").read_text().strip()
    for step in ("autograded", "feedback"):
        files = [path for path in (folder / step).rglob("*") if path.is_file()]
        assert {path.name for path in files} <= {NOTEBOOK, "essay.ipynb", "words.html", "essay.html", "timestamp.txt"}
        assert not any(path.is_symlink() for path in files)
        assert not any(seed in path.read_text() for path in files)


@pytest.mark.slow
def test_autograded_notebooks_are_valid_and_have_each_graded_cell_once(whole):
    folder, _, _ = whole
    for name in SCORES.keys() - {"essayist"}:
        notebook = autograded(folder, name)
        nbformat.validate(notebook)
        MetadataValidator().validate_nb(notebook)
        marked = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade")]
        assert [cell.source for cell in marked] == ["check(count_vowels)", "check(Thermometer)"]
        shown = [cell.outputs[-1].data["text/plain"] for cell in marked]
        assert tuple(map(float, shown)) == SCORES[name]


@pytest.mark.slow
def test_grading_again_leaves_what_was_graded_and_takes_a_later_submission(whole):
    folder, _, _ = whole
    untouched = folder / "submitted" / "late" / CHAPTER
    before = {path: path.stat().st_mtime_ns for path in folder.glob("autograded/*/*/*.ipynb")}
    (untouched / "timestamp.txt").write_text("2024-01-03 00:00:00 UTC")
    nbgrader(folder, "autograde", CHAPTER, code=1)
    after = {path: path.stat().st_mtime_ns for path in folder.glob("autograded/*/*/*.ipynb")}
    assert [path.parts[-3] for path in after if after[path] != before[path]] == ["late"]
