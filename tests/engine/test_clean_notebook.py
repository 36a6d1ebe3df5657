"""What nbgrader gets in place of a submitted notebook: valid, complete, bounded, and nothing in it acts."""

import json

import nbformat
import pytest
from hypothesis import given, settings, strategies as st
from nbgrader.nbgraderformat import MetadataValidator

from gptdojo.classroom.cells import CUT, MAX_CELLS, MAX_CHARACTERS, MAX_LINE, Known, clean_notebook


def known(name, cell_type="code", *, grade=False, locked=True, solution=False):
    marks = {
        "schema_version": 3,
        "grade_id": name,
        "grade": grade,
        "locked": locked,
        "solution": solution,
        "task": False,
    }
    return Known(cell_type, f"source of {name}", marks | ({"points": 1.0} if grade else {}))


RELEASE = {
    "text": known("text", "markdown"),
    "answer": known("answer", locked=False, solution=True),
    "check": known("check", grade=True),
    "check_more": known("check_more", grade=True),
}


def cell(source="1", name=None, cell_type="code", **more):
    metadata = {"nbgrader": {"grade_id": name}} if name else {}
    return {"cell_type": cell_type, "source": source, "metadata": metadata} | more


def cleaned(*cells):
    return clean_notebook(json.dumps({"cells": cells}).encode(), RELEASE).cells


def names(cells):
    return [each.metadata.get("nbgrader", {}).get("grade_id") for each in cells]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["check", "code", "raw", "<b>"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["cell_type", "source", "metadata", "nbgrader", "grade_id", "outputs", "x"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(cells=st.lists(JSON, max_size=5))
def test_whatever_the_cells_are_the_result_is_a_notebook_with_each_graded_cell_once(cells):
    notebook = clean_notebook(json.dumps({"cells": cells, "metadata": cells}).encode(), RELEASE)
    nbformat.validate(notebook)
    MetadataValidator().validate_nb(notebook)
    nbformat.writes(notebook).encode()
    assert sorted(name for name in names(notebook.cells) if name in ("check", "check_more")) == ["check", "check_more"]
    for each in notebook.cells:
        assert each.cell_type != "markdown" or each.source.startswith("<pre>") or each.source == "source of text"
        assert "<b>" not in each.source or each.cell_type == "code"


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b"3", b'{"cells": 3}', b"[" * 200_000, b'{"cells": [' + b"1" * 5000, b" " * 9_000_000],
)
def test_file_that_is_no_notebook_gives_the_graded_cells_and_says_why(content):
    cells = clean_notebook(content, RELEASE).cells
    assert names(cells) == [None, "check", "check_more"]
    assert "cannot be shown" in cells[0].source


def test_text_and_checks_are_the_courses_and_answers_are_the_learners():
    cells = cleaned(
        cell("mine", "text", "markdown"), cell("mine", "answer"), cell("2.0", "check"), cell("mine", "other")
    )
    assert [each.source for each in cells] == [
        "source of text",
        "mine",
        "source of check",
        "source of check_more",
        "mine",
    ]
    assert names(cells) == ["text", "answer", "check", "check_more", None]


def test_last_copy_of_a_cell_keeps_its_name():
    cells = cleaned(cell("first", "answer"), cell("second", "answer"))
    assert [(each.source, name) for each, name in zip(cells, names(cells), strict=True)][:2] == [
        ("first", None),
        ("second", "answer"),
    ]


def test_checks_that_are_missing_come_back_behind_what_they_check():
    assert names(cleaned(cell(name="answer"), cell("notes"))) == ["answer", "check", "check_more", None]


def test_nothing_of_a_cell_but_its_text_is_kept():
    more = {"outputs": [{"output_type": "error"}], "attachments": {"x": 1}, "execution_count": 7, "id": "<b>"}
    (first, *_) = cleaned(cell("1") | more | {"metadata": {"tags": ["x"], "nbgrader": {"points": 99}}})
    assert first == nbformat.from_dict(
        {"cell_type": "code", "id": "cell_1", "metadata": {}, "source": "1", "outputs": [], "execution_count": None}
    )


@pytest.mark.parametrize("text", ["\ud800", "\x1b[31m", "\x00", "‮txet"])
def test_what_cannot_be_shown_is_written_out(text):
    (first, *_) = cleaned(cell(text))
    assert first.source.isprintable()
    assert first.source.startswith("\\") or first.source.startswith("\\")


def test_long_notebooks_are_cut():
    many = cleaned(*[cell()] * (MAX_CELLS + 5))
    assert len(many) == MAX_CELLS + 3
    assert [CUT in each.source for each in many] == [False] * MAX_CELLS + [True, False, False]
    long = cleaned(cell("x\n" * MAX_CHARACTERS), cell("y" * 100), cell(name="answer"))
    assert sum(len(each.source) for each in long) < MAX_CHARACTERS + 500
    assert CUT in long[0].source
    assert max(map(len, cleaned(cell("a." * MAX_CHARACTERS))[0].source.split("\n"))) < MAX_LINE + 10
