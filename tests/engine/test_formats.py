"""The forms of a report: each says the same, none acts on whoever opens it, and learners see what they may see."""

import csv
import html
import io
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, strategies as st

from gptdojo.grading.feedback import Feedback, for_learner
from gptdojo.grading.formats import FORMATS, csv_files, gradescope, html_pages, statistics
from gptdojo.grading.formats.graded import Graded
from gptdojo.grading.records import Unfit, read_record
from gptdojo.report import Counterexample, ExerciseResult, Explanation, PropertyResult, SubmissionResult

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J\u202e=HYPERLINK(0)"
SMALL, CAPITALS = "Every vowel of a text in small letters is counted.", "Capitals count as well, and y does not."
SECRETS = ("hidden input", "hidden expected", "hidden got", "hidden message")


def failed(text="hidden"):
    """One exercise that failed, with a text of the submission's wherever there can be one."""
    case = Counterexample({"text": f"{text} input"}, f"{text} expected", f"{text} got", None)
    properties = [
        PropertyResult("small_letters", 1, "passed", claim=SMALL),
        PropertyResult("capitals", 2, "failed", f"{text} message", case, CAPITALS),
    ]
    belief = Explanation("small_letters_only", "letters are small", "capitals are vowels as well")
    return ExerciseResult("count_vowels", "01_words", 1.0, 2.0, 0.1, "failed", f"{text} message", [belief], properties)


def without_verdict(status, message="it cannot be told"):
    return ExerciseResult("Thermometer", "01_words", 0.0, 3.0, 0.0, status, message)


def submission(learner, *exercises, message="", name="01_words/words.ipynb"):
    return SubmissionResult(f"submitted/{learner}/{name}", learner, list(exercises), 0.2, message)


@pytest.fixture
def graded(toy):
    """A class of three; the grader failed on one of them."""
    results = [
        submission("ada", failed(), without_verdict("missing")),
        submission(HOSTILE, failed(HOSTILE), message=HOSTILE),
        submission("cyd", failed(), without_verdict("grader_error")),
    ]

    def made(feedback=Feedback.full):
        return Graded(toy, results, 5, "bubblewrap", feedback)

    return made


def written(graded, folder, *names):
    folder = folder / "out"
    folder.mkdir()
    said = [problem for name in names for problem in FORMATS[name].write(graded, folder)]
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}, said


def pages_of(files, learner):
    """Everything that a learner gets to see."""
    found = [text for name, text in files.items() if re.match(rf"(learners|gradescope)/{learner}-", name)]
    assert len(found) >= 1
    return html.unescape("\n".join(found))


# Records


def test_a_record_is_read_back_as_it_was(toy, graded):
    for result in graded().results:
        assert read_record(json.loads(json.dumps(result.to_json())), toy) == result


@pytest.mark.parametrize("name", ["exercise", "property", "misconception"])
def test_a_record_of_another_course_is_refused(toy, name):
    record = submission("ada", failed()).to_json()
    entry = record["exercises"][0]
    if name == "exercise":
        entry["exercise"] = "gone"
    elif name == "property":
        entry["properties"][1]["property"] = "gone"
    else:
        entry["misconceptions"] = ["gone"]
    with pytest.raises(Unfit, match="gone"):
        read_record(record, toy)


# What learners see


def test_full_feedback_shows_the_case_and_the_misconception(graded, tmp_path):
    files, _ = written(graded(), tmp_path, "html", "gradescope")
    seen = pages_of(files, "ada")
    assert all(secret in seen for secret in SECRETS)
    assert "letters are small" in seen


def test_names_show_claims_and_misconceptions_and_no_value(graded, tmp_path):
    files, _ = written(graded(Feedback.names), tmp_path, "html", "gradescope")
    seen = pages_of(files, "ada")
    assert not [secret for secret in SECRETS if secret in seen]
    assert CAPITALS in seen
    assert "letters are small" in seen
    assert "this does not hold" in seen


def test_a_score_shows_points_and_nothing_else(graded, tmp_path):
    files, _ = written(graded(Feedback.score), tmp_path, "html", "gradescope")
    seen = pages_of(files, "ada")
    assert not [text for text in (*SECRETS, CAPITALS, SMALL, "letters are small", "it cannot be told") if text in seen]
    assert "1 of 2" in seen
    assert "missing" in seen


@pytest.mark.parametrize("feedback", list(Feedback))
def test_points_and_statuses_are_the_same_whatever_is_shown(graded, feedback):
    for result in graded().results:
        shown = for_learner(result, feedback)
        assert (shown.score, shown.max_score) == (result.score, result.max_score)
        assert [entry.status for entry in shown.exercises] == [entry.status for entry in result.exercises]


def test_a_learner_sees_nobody_else_and_no_path_of_the_instructor(graded, tmp_path):
    files, _ = written(graded(), tmp_path, "html", "gradescope")
    seen = pages_of(files, "ada")
    assert "cyd" not in seen
    assert "submitted/" not in seen
    assert "class.html" not in seen


def test_the_page_of_a_learner_on_whom_the_grader_failed_says_that_it_is_no_zero(graded, tmp_path):
    files, said = written(graded(), tmp_path, "html", "gradescope", "csv")
    (page,) = [text for name, text in files.items() if name.startswith("learners/cyd-")]
    assert "This is not your fault and not a zero" in page
    assert "no verdict" in page
    assert not [name for name in files if name.startswith("gradescope/cyd")]
    assert said == ["cyd: no results for Gradescope, because the grader failed; that is no zero"]
    (row,) = [row for row in csv.DictReader(io.StringIO(files["scores.csv"])) if row["learner"] == "cyd"]
    assert (row["score"], row["Thermometer"], row["count_vowels"]) == ("grader_error", "grader_error", "1.0")


# Nothing acts


class Page(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def test_no_page_has_an_element_of_a_submission_or_loads_anything(graded, tmp_path):
    files, _ = written(graded(), tmp_path, "html")
    assert len(files) == 4
    for text in files.values():
        page = Page(text)
        assert not page.elements & {"script", "img", "iframe", "object", "embed", "link", "form", "base"}
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        links = [value for name, value in page.attributes if name in ("href", "src", "xlink:href")]
        assert all(re.fullmatch(r"learners/[A-Za-z0-9_-]+\.html", link) for link in links)
        assert "default-src 'none'" in text
        assert all(character.isprintable() or character == "\n" for character in text)


FORMULA_STARTS, SEPARATORS = set("=+-@＝＋－＠"), set(";,|'\"")


@given(text=st.text("=+-@;,|'\"ab \t\r\n＝", max_size=12))
def test_no_cell_starts_a_formula_at_whatever_mark_a_spreadsheet_splits(text):
    row = next(csv.reader(io.StringIO(csv_files._table([[text, "x"]]))))
    assert row[1] == "x"
    cell = row[0]
    for place, character in enumerate(cell):
        before = cell[:place].rstrip()
        if character in FORMULA_STARTS and (not before or before[-1] in SEPARATORS or cell[place - 1] in "\t\r\n"):
            assert cell[place - 1 : place] == "'"


def test_every_row_of_the_tables_is_a_row_again(graded, tmp_path):
    files, _ = written(graded(), tmp_path, "csv")
    rows = list(csv.DictReader(io.StringIO(files["scores.csv"])))
    assert [row["score"] for row in rows] == ["1.0", "1.0", "grader_error"]
    assert not any("\x1b" in value or "\u202e" in value for row in rows for value in row.values())
    rows = list(csv.DictReader(io.StringIO(files["exercises.csv"])))
    assert [row["status"] for row in rows] == ["failed", "missing", "failed", "failed", "grader_error"]
    assert (rows[0]["first_failed"], rows[0]["misconceptions"]) == ("capitals", "small_letters_only")


# Gradescope


def test_gradescope_gets_what_its_documentation_asks_for(graded):
    only = Graded(graded().course, graded().results[:1], 5, "bubblewrap")
    results = json.loads(gradescope.text(only))
    assert results["score"] == 1.0
    assert sum(test["score"] for test in results["tests"]) == 1.0
    for test in results["tests"]:
        assert test.keys() == {"name", "score", "max_score", "status", "output", "output_format", "visibility"}
        assert test["status"] in ("passed", "failed")
        assert (test["output_format"], test["visibility"]) == ("text", "visible")


def test_gradescope_gets_no_score_where_the_grader_failed(graded):
    from gptdojo.course import CourseError

    with pytest.raises(CourseError, match="there is no score"):
        gradescope.text(graded())


# The class


def test_the_class_page_says_what_cost_most(graded):
    everything = graded()
    exercises = statistics.exercises(everything)
    assert [(cost.name, cost.lost, cost.of, cost.count) for cost in exercises] == [
        ("count_vowels", 3.0, 6.0, 3),
        ("Thermometer", 3.0, 3.0, 1),
    ]
    (rung,) = statistics.rungs(everything)
    assert (rung.name, rung.where, rung.lost, rung.count) == (CAPITALS, "count_vowels, rung 2", 3.0, 3)
    (belief,) = statistics.misconceptions(everything)
    assert (belief.where, belief.count) == ("count_vowels: small_letters_only", 3)
    assert statistics.histogram(everything) == [0, 0, 1, 0, 0, 1, 0, 0, 0, 0], "nothing is said of a missing verdict"
    page = html_pages.class_page(everything, everything.learners())
    assert "The grader failed on 1 of them" in page


def test_a_class_that_lost_nothing_has_a_page_too(toy):
    page = html_pages.class_page(Graded(toy, [], 0, "none"), [])
    assert "None." in page


# Arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "csv"], "--out FOLDER"),
        (["--format", "html", "--out", "-"], "one --format of json, csv, gradescope"),
        (["--format", "csv", "--format", "json", "--out", "-"], "one --format"),
        (["--resume"], "--resume needs the folder"),
        (["--resume", "--out", "-"], "--resume needs the folder"),
        (["--cluster", "tcp://127.0.0.1:1"], "no cluster at tcp://127.0.0.1:1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(toy, monkeypatch, capsys, arguments, said):
    from gptdojo.cli.app import main
    from gptdojo.grading import cluster

    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1.0)
    monkeypatch.chdir(toy.root)
    (toy.root / "mine.py").write_text("def count_vowels(text): pass\n")
    monkeypatch.setattr("sys.argv", ["gptdojo", "grade", "mine.py", "--isolation", "none", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr()
    assert (left.value.code, printed.out) == (2, "")
    assert said in " ".join(printed.err.split())


@pytest.mark.browser
def test_a_page_opened_from_disk_shows_everything_and_runs_nothing(graded, tmp_path):
    from .browser import chromium

    written(graded(), tmp_path, "html")
    wrong, loaded = [], []
    with chromium() as page:
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", lambda request: loaded.append(request.url))
        page.goto((tmp_path / "out/class.html").as_uri())
        assert page.locator("svg").count() >= 4
        page.get_by_role("link", name="ada").click()
        assert page.get_by_text("hidden input").is_visible()
        page.go_back()
        page.get_by_role("link", name="<script>").click()
        assert page.get_by_role("heading", name="<script>").first.is_visible()
    assert wrong == []
    assert all(url.startswith("file://") for url in loaded)
