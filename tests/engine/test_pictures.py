"""Pictures: readable at 80 columns without color, well formed as SVG, harmless whatever a label says."""

import io
import re
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from rich.console import Console

import gptdojo.pictures
from gptdojo.pictures import Picture, distributions, sequence, slots, who_sees_whom
from gptdojo.pictures.picture import visible

HOSTILE = "\x1b[31m</svg><script>alert(1)</script>[bold]x[/]\n&amp;\u202e"
SQUARE = torch.ones(3, 3, dtype=torch.bool).tril()
FILLING = [("start", [None] * 6), ("first", ["a", "b", None, None, None, None]), ("then", ["a", "c", *[None] * 4])]
STATES = {"kept": ("the target agrees", "green"), "cut": ("it does not", "red"), "other": ("also", "green")}

PICTURES = {
    "one matrix": lambda: who_sees_whom({"square": SQUARE}),
    "matrices": lambda: who_sees_whom({str(n): torch.ones(n, 22, dtype=torch.bool) for n in (1, 2, 22)}, "position"),
    "many matrices": lambda: who_sees_whom({f"number {n}": SQUARE for n in range(9)}),
    "slots": lambda: slots(FILLING),
    "blocks": lambda: slots(FILLING, block=4, groups={"a": "first group", "b": "second", "c": "second"}),
    "many slots": lambda: slots([("x" * 60, [f"token {i}" for i in range(70)])], block=16),
    "wide blocks": lambda: slots([("", ["a long label indeed"] * 40)], block=40),
    "growing": lambda: slots([("one", ["a"]), ("two", ["a", "b"]), ("none", [])]),
    "distributions": lambda: distributions(["a", "b"], {"before": [0.25, 0.75], "after": [0, 1]}),
    "many distributions": lambda: distributions(["x" * 40, ""], {f"T = {t}": torch.rand(2) for t in range(7)}),
    "tokens": lambda: sequence([("draft", [("the", "kept"), (" cat", "cut")]), ("", [("sat", "other")])], STATES),
    "many tokens": lambda: sequence([("draft " * 9, [(f"token{i}", "kept") for i in range(50)])], STATES),
    "hostile": lambda: slots([(HOSTILE, [HOSTILE, None])], groups={HOSTILE: HOSTILE}),
    "hostile matrix": lambda: who_sees_whom({HOSTILE: SQUARE}, HOSTILE, HOSTILE),
    "hostile labels": lambda: distributions([HOSTILE], {HOSTILE: [1.0]}),
    "hostile tokens": lambda: sequence([(HOSTILE, [(HOSTILE, "s")])], {"s": (HOSTILE, "red")}),
}


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_a_picture_fits_80_columns_and_is_the_same_text_everywhere(draw):
    picture = draw()
    text = str(picture)
    assert max(map(len, text.split("\n"))) <= 80
    assert all(c.isprintable() for c in text.replace("\n", ""))
    assert text == repr(picture)
    file = io.StringIO()
    Console(file=file, width=80).print(picture)
    assert file.getvalue().rstrip("\n") == text.rstrip("\n")


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_a_figure_is_well_formed_and_nothing_lies_outside_it(draw):
    markup = draw()._repr_html_()
    root = ElementTree.fromstring(markup)
    assert {node.tag.split("}")[1] for node in root} <= {"rect", "text"}, "no label becomes markup"
    width, height = float(root.get("width")), float(root.get("height"))
    assert width <= 1000, "it fits into a notebook"
    for node in root:
        x, y = float(node.get("x")), float(node.get("y"))
        wide = float(node.get("width") or 8 * len(node.text or "") / (2 if node.get("text-anchor") else 1))
        assert 0 <= x <= x + wide <= width + 1, node.text
        assert 0 <= y + float(node.get("height") or 0) <= height


def test_every_public_function_draws_a_picture():
    drawn = {draw().__class__ for draw in PICTURES.values()}
    assert drawn == {Picture}
    assert set(gptdojo.pictures.__all__) == {"Picture", "who_sees_whom", "slots", "distributions", "sequence"}


def test_matrices_are_drawn_cell_for_cell():
    picture = who_sees_whom({"a": SQUARE, "b": [[True, False]]}, rows="position", columns="slot")
    assert str(picture).count("■") == 6 + 1 + 1, "and one in the legend"
    assert str(picture).count("·") == 3 + 1 + 1
    assert "position" in str(picture)
    assert "slot" in str(picture)
    assert picture._repr_html_().count("<rect") == 9 + 2 + 2


def test_what_changed_since_the_step_before_is_marked():
    lines = str(slots(FILLING)).split("\n")
    assert lines[1:4] == ["start   ·  ·  ·  ·  ·  ·", "first  *a *b  ·  ·  ·  ·", "then    a *c  ·  ·  ·  ·"]
    emptied = str(slots([("full", ["a", "b"]), ("empty", [None, None]), ("again", ["a", None])]))
    assert emptied.split("\n")[2:4] == ["empty  *· *·", "again  *a  ·"]


@pytest.mark.parametrize("block", [1, 2, 3, 4, 6, 9])
def test_borders_stand_before_each_block_and_at_the_end(block):
    row = str(slots([("row", list("abcdef"))], block=block)).split("\n")[1]
    pieces = [re.sub(r"[ *]", "", piece) for piece in row.split("│")][1:-1]
    assert pieces == ["abcdef"[start : start + block] for start in range(0, 6, block)]


def test_a_row_too_long_for_a_line_is_continued_where_a_block_begins():
    labels = [f"t{i:02}" for i in range(64)]
    text = str(slots([("row", labels)], block=8))
    rows = [line for line in text.split("\n") if line.startswith("row")]
    assert len(rows) > 1
    found = [re.findall(r"t\d\d", row) for row in rows]
    assert [label for row in found for label in row] == labels
    assert all(len(row) % 8 == 0 for row in found)


def test_groups_are_told_in_the_legend():
    text = str(slots(FILLING, groups={"a": "first group", "b": "second", "c": "second", "z": "not drawn"}))
    assert "a first group   b, … second" in text
    assert "not drawn" not in text


def test_probabilities_are_told_exactly_and_drawn_to_one_scale():
    text = str(distributions(["a", "b", "c"], {"p": [0.5, 0.4999, 0.0001], "q": torch.tensor([1.0, 0.0, 0.0])}))
    rows = [line.split() for line in text.split("\n")[1:]]
    assert rows[0] == ["a", "0.500", "█" * 8, "1.000", "█" * 16]
    assert rows[2] == ["c", "<.001", "0"]
    assert rows[1][-1] == "0"


def test_each_state_has_its_own_mark():
    text = str(sequence([("row", [("a", "kept"), ("b", "cut"), ("c", "other"), ("d", "kept")])], STATES))
    assert text.split("\n")[0] == "row  ✓a ✗b +c ✓d"
    assert text.split("\n")[-1] == "✓ the target agrees   ✗ it does not   + also"
    assert "it does not" not in str(sequence([("row", [("a", "kept")])], STATES)), "only what is drawn is explained"


def test_a_label_shows_its_spaces_and_control_characters():
    assert [visible(label) for label in (" the", "a b", "  ", "\n\t", 7, "é漢")] == [
        "␣the",
        "a b",
        "␣␣",
        "\\n\\t",
        "7",
        "é漢",
    ]


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: who_sees_whom({}), "at least one matrix"),
        (lambda: who_sees_whom({"wide": torch.ones(2, 23)}), "'wide'"),
        (lambda: who_sees_whom({"empty": []}), "'empty'"),
        (lambda: who_sees_whom({"ragged": [[True], [True, False]]}), "'ragged'"),
        (lambda: slots([]), "at least one row"),
        (lambda: slots([("nothing", [])]), "at least one row"),
        (lambda: slots(FILLING, block=0), "block >= 1"),
        (lambda: distributions([], {"p": []}), "at least one label"),
        (lambda: distributions(["a"], {}), "at least one label"),
        (lambda: distributions(["a"], {"p": [0.5, 0.5]}), "1 probabilities in 'p', got 2"),
        (lambda: distributions(["a"], {"p": [float("nan")]}), "finite"),
        (lambda: distributions(["a"], {"p": [-0.5]}), ">= 0"),
        (lambda: sequence([("row", [("a", "unknown")])], STATES), "'unknown' for 'a'"),
        (lambda: sequence([("row", [("a", "s")])], {"s": ("meaning", "pink")}), "'pink'"),
        (lambda: sequence([], STATES), "at least one row"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said(draw, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        draw()
