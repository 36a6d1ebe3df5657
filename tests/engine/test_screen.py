"""What a learner is shown: short, readable without color, and harmless whatever a submission says."""

import html.parser
import io
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from rich.console import Console

from gptdojo.grading.output import table
from gptdojo.pictures.grid import MAX_SIDE, drawable, grid_picture, grid_text, marks
from gptdojo.report import Counterexample, ExerciseResult, Explanation, PropertyResult, SubmissionResult
from gptdojo.screen import exercise_html, exercise_screen
from gptdojo.show import Raised, show, show_argument
from gptdojo.text import printable
from gptdojo.worker.values import Opaque

SHOWN = [
    (None, "None"), (True, "True"), (3, "3"), ("it's", '"it\'s"'), (b"\xff", "b'\\xff'"), (0.1 + 0.2, "0.3"), (1e-9, "1e-09"),
    (math.nan, "nan"),
    (torch.float16, "torch.float16"), (Opaque("set"), "<a set>"), (ValueError, "raises ValueError"),
    (Raised("KeyError: 'x'"), "raises KeyError: 'x'"),
    (len, "a function (len)"), ([], "[]"), ((1, "a"), "(1, 'a')"), ({"a": [1]}, "{'a': [1]}"), (object(), "a object"),
    (torch.tensor(2.0), "2."), (torch.tensor([1, 2]), "[1, 2]"), (torch.tensor([True]), "[True]"), (torch.tensor([0.5, 1.0]), "[0.5, 1.0]"),
    (torch.tensor([1.0, math.nan, -math.inf]), "[1., nan, -inf]"), (torch.tensor([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]   (shape (2, 2))"),
    (torch.tensor([0.12345678]), "[0.1235]"), (torch.tensor([1e10, 1e-10]), "[1e+10, 1e-10]"),
    (torch.empty(0, 3), "[]"), (torch.empty(2, 0), "[[], []]"),
    (torch.tensor([1 + 2j]), "[(1+2j)]"), (torch.ones(2, requires_grad=True), "[1., 1.]"), (torch.tensor([1.5]).bfloat16(), "[1.5]"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), SHOWN, ids=range(len(SHOWN)))
def test_small_values_are_shown_exactly(value, text):
    assert show(value) == text


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(100, 100),
        list(range(10_000)),
        {i: i for i in range(10_000)},
        "x" * 10_000,
        [torch.ones(50)] * 50,
        2**4000,
    ],
    ids=["tensor", "list", "dict", "text", "tensors", "integer"],
)
def test_large_values_are_shown_short(value):
    text = show(value)
    assert len(text) <= 620
    assert text.count("\n") <= 12


def test_a_large_tensor_tells_its_shape_and_how_it_starts():
    assert (
        show(torch.arange(300.0).reshape(3, 100))
        == "a tensor of shape (3, 100), its first row starts [0., 1., 2., 3., 4., 5.]"
    )


def test_a_long_column_is_not_written_out():
    text = show(torch.arange(65.0).reshape(1, 65, 1))
    assert text == "a tensor of shape (1, 65, 1), its first numbers are [0., 1., 2., 3., 4., 5.]"


def test_what_was_given_tells_half_precision_and_layout():
    assert show_argument(torch.ones(2)) == "[1., 1.]"
    assert show_argument(torch.ones(2).half()) == "[1., 1.]   (float16)"
    assert show_argument(torch.ones(2, 2).bfloat16()[:, ::2]).endswith("   (bfloat16, not contiguous in memory)")


def test_rows_of_a_matrix_stand_below_each_other():
    lines = show(torch.arange(36).reshape(6, 6) * 1000).split("\n")
    assert len(lines) == 6
    assert lines[1].startswith(" [6000, ")


CONTROL = "\x1b[31mred\x07\r\x00\u202e\ud800\x9b"


def test_nothing_that_a_terminal_could_act_on_is_shown():
    for text in (
        printable(CONTROL),
        show(CONTROL),
        show({CONTROL: [CONTROL]}),
        show(CONTROL.encode("utf-8", "surrogatepass")),
    ):
        assert all(c.isprintable() for c in text)
        assert "red" in text
    assert printable("two\nlines\tand é 漢") == "two\nlines\tand é 漢"


HOSTILE = "<script>alert(1)</script> [bold red]x[/] {code} &amp; 'a\" :smile:"


def result_of(message, status="failed", grid=None, **options):
    case = Counterexample({"text": HOSTILE, "rows": "[[1, 2],\n [3, 4]]"}, "1" * 200, HOSTILE, grid)
    properties = [
        PropertyResult("first", 1, "passed", claim="The first claim. " * 10),
        PropertyResult("second", 2, "failed", message, case, claim="The second claim."),
        PropertyResult("third", 3, "not_run", claim="The third claim."),
    ]
    return ExerciseResult("count_vowels", "01_words", 0.5, 2, 0.1, status, message, properties=properties, **options)


def grid_of(rows, columns, names=("query", "key")):
    expected = torch.ones(rows, columns, dtype=torch.bool).tril()
    got = expected.clone()
    got[0, -1], got[-1, 0] = not got[0, -1], not got[-1, 0]
    return {"expected": expected.tolist(), "got": got.tolist(), "rows": names[0], "columns": names[1]}


def printed(content, width=80, **options):
    file = io.StringIO()
    Console(file=file, width=width, **options).print(content)
    return file.getvalue()


@pytest.mark.parametrize("side", [2, 8, 9, 12, 17, MAX_SIDE])
@pytest.mark.parametrize("names", [("query", "key"), ("position", "position")])
def test_a_screen_fits_80_columns_with_every_grid_that_is_drawn(side, names):
    grid = grid_of(side, side, names)
    assert drawable(grid)
    explained = [Explanation("top_left", "it starts at the left " * 5, "it ends at the right " * 5)] * 2
    text = printed(exercise_screen(result_of(HOSTILE, grid=grid, misconceptions=explained)))
    assert max(map(len, text.splitlines())) <= 80
    rows = [line for line in text.splitlines() if "sees" not in line]
    drawn = sum(line.count("■") + line.count("·") for line in rows)
    assert drawn == 2 * side * side - 2, "every cell of both matrices is on the screen, two of them marked as wrong"
    for line in rows:
        assert line.count("■") + line.count("·") in (0, side - 1, side, 2 * side - 1, 2 * side), "no row is broken"


def test_marks_say_what_is_wrong_without_color():
    assert marks([[True, False], [True, False]], [[True, True], [False, False]]) == [["■", "x"], ["o", "·"]]
    text = printed(grid_text(grid_of(3, 3)))
    assert "x sees and should not" in text
    assert "o should see and does not" in text
    assert "\x1b" not in text


def test_only_the_marks_that_occur_are_explained():
    grid = grid_of(2, 2)
    grid["got"] = grid["expected"]
    assert "should not" not in printed(grid_text(grid))


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ([[True]], [[True, False]]),
        ([], []),
        ([[]], [[]]),
        ([[True] * 40], [[True] * 40]),
        ([[True]] * 40, [[True]] * 40),
    ],
)
def test_what_cannot_be_drawn_is_not_drawn(expected, got):
    grid = {"expected": expected, "got": got, "rows": "query", "columns": "key"}
    assert not drawable(grid)
    text = printed(exercise_screen(result_of("wrong", grid=grid)))
    assert "expected" in text
    assert "<svg" not in exercise_html(result_of("wrong", grid=grid))


def test_the_first_failure_is_told_in_full():
    text = printed(
        exercise_screen(result_of("the result is 2, expected 1", misconceptions=[Explanation("n", "BELIEF", "TRUTH")])),
        width=100,
    )
    for words in (
        "count_vowels  failed  0.5 of 2 points",
        "rung 1  passed",
        "rung 2  failed",
        "not run  1 more, which build on this",
        "The second claim.",
    ):
        assert words in text
    for words in (
        "the result is 2, expected 1",
        "a small input",
        "rows = [[1, 2],",
        "expected",
        "got",
        "that BELIEF.",
        "In fact, TRUTH.",
    ):
        assert words in text


def test_markup_of_rich_in_a_message_is_shown_as_it_is():
    text = printed(exercise_screen(result_of(HOSTILE)), width=200)
    assert "[bold red]x[/] {code}" in text
    assert ":smile:" in text


@pytest.mark.parametrize("status", ["error", "missing", "timeout", "crashed", "grader_error", "memory", "not_started"])
def test_every_status_has_a_screen_with_its_message(status):
    result = ExerciseResult("f", "01_words", 0, 1, 0, status, "why it is so")
    text = printed(exercise_screen(result))
    assert status.replace("_", " ") in text
    assert "why it is so" in text
    assert "why it is so" in exercise_html(result)


def test_an_untouched_exercise_shows_no_failure():
    text = printed(exercise_screen(result_of("not started: write it", status="not_started")))
    assert "not started: write it" in text
    assert "rung" not in text


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = set(), ""

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


def test_html_escapes_everything_that_a_submission_says():
    grid = grid_of(3, 3, ("<img src=x onerror=alert(1)>", "</svg><script>"))
    result = result_of(HOSTILE, grid=grid, misconceptions=[Explanation("n", HOSTILE, HOSTILE)])
    result.exercise = '"><script>alert(2)</script>'
    parsed = Tags()
    parsed.feed(exercise_html(result))
    assert parsed.tags <= {"div", "pre", "span", "svg", "text", "rect"}
    assert "<script>alert(1)</script>" in re.sub(r"\s+", " ", parsed.text).replace(" ", "") or "alert(1)" in parsed.text


def test_the_picture_is_well_formed_and_has_every_cell():
    picture = grid_picture(grid_of(4, 5))
    root = ElementTree.fromstring(picture)
    squares = [node for node in root if node.tag.endswith("rect")]
    assert len(squares) == 2 * 4 * 5 + 4
    texts = [node.text for node in root if node.tag.endswith("text")]
    assert {"x", "o"} <= set(texts), "what is wrong is marked by more than its color"
    assert any("sees and should not" in text for text in texts)
    for node in squares:
        assert float(node.get("x")) + float(node.get("width")) <= float(root.get("width"))
        assert float(node.get("y")) + float(node.get("height")) <= float(root.get("height"))


def test_the_table_of_grading_shows_hostile_names_as_they_are():
    result = SubmissionResult("sub\x1b[2J[red]/words.py", "ada[/]", [], 1.0, "it is \x1b not there")
    text = printed(table([result]), width=120)
    assert "\x1b" not in text
    assert "[red]" in text
    assert "ada[/]" in text
