"""solutions/ -> exercises/: what is released, what is never overwritten, and what check notices."""

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jupytext
import nbformat
import pytest
from hypothesis import given, strategies as st
from nbgrader.nbgraderformat import MetadataValidator

from gptdojo.authoring.changes import learner_changes
from gptdojo.authoring.source import author_cells, solution_lines
from gptdojo.build import build, check, solution_source, stub_source
from gptdojo.course import Course, CourseError
from gptdojo.worker.submission import cells_of

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).parent / "toy_course"
CHAPTER = "01_words"
STUB = "    # YOUR CODE HERE\n    raise NotImplementedError"
REAL = Course(ROOT)


@pytest.fixture
def course(tmp_path):
    return copy_of_the_toy(tmp_path / "course")


def copy_of_the_toy(folder):
    shutil.copytree(TOY, folder, ignore=shutil.ignore_patterns("exercises", "*.ipynb", "__pycache__"))
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    return Course(folder)


@pytest.fixture(scope="module")
def built_once(tmp_path_factory):
    course = copy_of_the_toy(tmp_path_factory.mktemp("built") / "course")
    assert [built.status for built in build(course)] == ["written"]
    return course


@pytest.fixture
def notebook(course, built_once):
    """The path of the released notebook of the toy course, as build made it."""
    for folder in ("solutions", "exercises"):
        shutil.copytree(built_once.root / folder, course.root / folder, dirs_exist_ok=True)
    return course.chapters[CHAPTER].notebook


def again(course):
    """The course as another process would read it."""
    return replace(course)


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def cells_by_id(path):
    return {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}


def files_under(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# What is released


def test_notebook_has_the_cells_in_reading_order(notebook):
    assert list(cells_by_id(notebook)) == [
        *("start", "import_check", "text_1", "code_1", "text_2"),
        *("label_count_vowels", "count_vowels", "check_count_vowels", "count_a_sentence", "text_3"),
        *("label_Thermometer", "Thermometer", "check_Thermometer"),
    ]


def test_notebook_is_valid_for_jupyter_and_for_nbgrader(notebook):
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    MetadataValidator().validate_nb(content)
    assert content.metadata.kernelspec.name == "python3"
    assert "version" not in json.dumps(content.metadata)


def test_label_tells_what_the_exercise_costs_and_folds_three_hints(notebook):
    text = cells_by_id(notebook)["label_Thermometer"].source
    assert "3 points · about 10 minutes · difficulty ●●○○○ (2 of 5) · rarely asked in interviews" in text
    assert text.count("<details>") == text.count("</details>") == 3
    for hint in ("What must it remember?", "A list of readings.", "Divide their sum by their number."):
        assert f"</summary>\n\n{hint}\n\n</details>" in text


def test_solutions_become_stubs_that_raise(notebook):
    cells = cells_by_id(notebook)
    assert cells["count_vowels"].source.endswith('"""\n' + STUB)
    assert cells["Thermometer"].source.count("raise NotImplementedError") == 4
    namespace = {}
    exec(cells["code_1"].source + "\n" + cells["count_vowels"].source, namespace)
    with pytest.raises(NotImplementedError):
        namespace["count_vowels"]("Queue")


def test_learner_may_edit_answers_and_demonstrations_only(notebook):
    editable = [name for name, cell in cells_by_id(notebook).items() if cell.metadata.get("editable", True)]
    assert editable == ["code_1", "count_vowels", "count_a_sentence", "Thermometer"]


def test_check_cell_is_a_locked_test_with_the_points(notebook):
    cell = cells_by_id(notebook)["check_Thermometer"]
    assert cell.source == "check(Thermometer)"
    marks = cell.metadata.nbgrader
    assert (marks.grade, marks.locked, marks.solution, marks.points) == (True, True, False, 3)


def test_release_holds_the_notebook_and_nothing_else(course, notebook):
    assert files_under(course.root / "exercises") == [f"{CHAPTER}/words.ipynb"]


def test_second_build_changes_no_byte_and_touches_no_file(course, notebook):
    paths = [notebook, course.chapters[CHAPTER].solution.with_suffix(".ipynb")]
    before = [(path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in paths]
    (built,) = build(again(course))
    assert built.status == "unchanged"
    assert [(path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in paths] == before


def test_inserted_text_leaves_the_ids_of_named_cells_alone(course, notebook):
    before = set(cells_by_id(notebook))
    edit(
        course.chapters[CHAPTER].solution,
        "# %% [markdown]\n# ## A therm",
        "# %%\nimport math\n\n# %% [markdown]\n# ## A therm",
    )
    build(again(course))
    assert set(cells_by_id(notebook)) == before | {"code_2"}


def nbgrader_release(course, *options):
    """Run nbgrader's own command on all chapters of a course; its programs must be found by name."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "*", *options]
    finished = subprocess.run(command, cwd=course.root, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--no-db"], []], ids=["without_gradebook", "with_gradebook"])
def test_release_is_nbgraders_own(course, notebook, options):
    ours = notebook.read_bytes()
    shutil.rmtree(course.root / "exercises")
    nbgrader_release(course, *options)
    assert files_under(course.root / "exercises") == [f"{CHAPTER}/words.ipynb"]
    assert notebook.read_bytes() == ours


@pytest.mark.slow
def test_release_of_every_real_chapter_is_nbgraders_own(tmp_path):
    shutil.copytree(ROOT / "solutions", tmp_path / "solutions")
    for name in ("course.md", "nbgrader_config.py"):
        shutil.copy(ROOT / name, tmp_path)
    course = Course(tmp_path)
    ours = {built.notebook: built.notebook.read_bytes() for built in build(course)}
    assert len(ours) == len(REAL.chapters) > 0
    shutil.rmtree(tmp_path / "exercises")
    nbgrader_release(course, "--no-db")
    assert {path: path.read_bytes() for path in (tmp_path / "exercises").rglob("*") if path.is_file()} == ours


# Leaks


def leaks(chapter, released):
    """The lines of the chapter's solutions that stand in a text; a short line (`return x`) gives nothing away."""
    hidden = {line for cell in author_cells(chapter) for line in solution_lines(cell.source) if len(line) >= 16}
    assert hidden
    return sorted(hidden & {line.strip() for line in released.split("\n")})


def everything_said(path):
    """Each line of each source and each text of the metadata, one a line."""
    content = json.loads(path.read_text(encoding="utf-8"))
    texts = []

    def visit(node):
        if isinstance(node, dict):
            node = [*node, *node.values()]
        for child in node if isinstance(node, list) else ():
            visit(child)
        if isinstance(node, str):
            texts.append(node)

    visit(content)
    return "\n".join(texts)


def test_no_line_of_a_solution_is_released(course, notebook):
    chapter = course.chapters[CHAPTER]
    assert leaks(chapter, everything_said(chapter.solution.with_suffix(".ipynb")))
    assert not leaks(chapter, everything_said(notebook))
    assert not leaks(chapter, stub_source(chapter))


@pytest.mark.parametrize("chapter", REAL.chapters.values(), ids=REAL.chapters)
def test_no_line_of_a_real_solution_is_released(chapter, real_releases):
    built = real_releases[chapter.name]
    assert built.status == "written", built.error
    assert not leaks(chapter, everything_said(built.notebook))


@pytest.fixture(scope="module")
def real_releases(tmp_path_factory):
    """What build makes of the course that this engine comes with, in another folder."""
    folder = tmp_path_factory.mktemp("real")
    shutil.copytree(ROOT / "solutions", folder / "solutions", ignore=shutil.ignore_patterns("*.ipynb"))
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    return {built.chapter: built for built in build(Course(folder))}


# What a learner wrote


def answer(cells):
    cells["count_vowels"]["source"] = "def count_vowels(text):\n    return 7"


def answer_in_class_only(cells):
    cells["Thermometer"]["source"] = cells["Thermometer"]["source"].replace("raise NotImplementedError", "pass", 1)


def comment_in_a_stub(cells):
    cells["count_vowels"]["source"] += "  # think about y"


def play_with_a_demonstration(cells):
    cells["count_a_sentence"]["source"] = 'print(count_vowels("another sentence"))'


def play_with_the_imports(cells):
    cells["code_1"]["source"] += "\nimport math"


def add_code(cells):
    cells["mine"] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": 3, "source": "1 + 1"}


def add_notes(cells):
    cells["mine"] = {"cell_type": "markdown", "metadata": {}, "source": ["# Notes\n", "y is no vowel"]}


def paste_a_picture(cells):
    picture = {"image.png": {"image/png": "iVBORw0KGgo="}}
    cells["mine"] = {"cell_type": "markdown", "metadata": {}, "source": "", "attachments": picture}


def answer_and_delete_a_demonstration(cells):
    answer(cells)
    del cells["count_a_sentence"]


def split_the_exercise(cells):
    first, second = cells["count_vowels"]["source"].split("    # YOUR CODE HERE")
    cells["count_vowels"]["source"] = first
    cells["mine"] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": second}


def answer_in_a_copy(cells):
    cells["mine"] = json.loads(json.dumps(cells["count_vowels"]))
    cells["mine"]["source"] = "def count_vowels(text):\n    return 7"


WORK = [
    answer,
    answer_in_class_only,
    comment_in_a_stub,
    play_with_a_demonstration,
    play_with_the_imports,
    add_code,
    add_notes,
    paste_a_picture,
    answer_and_delete_a_demonstration,
    split_the_exercise,
    answer_in_a_copy,
]


def run_everything(cells):
    for number, cell in enumerate(cells.values()):
        if cell["cell_type"] == "code":
            cell["execution_count"] = number
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["hello\n"]}]


def add_an_empty_cell(cells):
    cells["mine"] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": " \n"}


def fold_and_tag(cells):
    for cell in cells.values():
        cell["metadata"] |= {"tags": ["seen"], "jupyter": {"source_hidden": True}}


def copy_a_stub(cells):
    cells["mine"] = json.loads(json.dumps(cells["count_vowels"]))


def lose_the_ids(cells):
    """What Colab makes of it: its own ids, in the metadata."""
    for number, cell in enumerate(cells.values()):
        cell.pop("id", None)
        cell["metadata"] |= {"id": f"x{number}", "colab": {"base_uri": "https://localhost:8080/"}}


def sources_as_strings(cells):
    for cell in cells.values():
        cell["source"] = "".join(cell["source"])


NO_WORK = [run_everything, add_an_empty_cell, fold_and_tag, copy_a_stub, lose_the_ids, sources_as_strings]


def change(path, learner):
    """Let a learner's editor change the cells of a notebook."""
    content = json.loads(path.read_text(encoding="utf-8"))
    cells = {cell["id"]: cell | {"source": "".join(cell["source"])} for cell in content["cells"]}
    learner(cells)
    content["cells"] = list(cells.values())
    content["metadata"]["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("learner", WORK)
def test_filled_in_notebook_is_kept_and_counts_as_fine(course, notebook, learner):
    change(notebook, learner)
    before = notebook.read_bytes()
    (built,) = build(again(course))
    assert (built.status, built.outdated) == ("kept", ())
    assert built.changes
    assert notebook.read_bytes() == before
    assert check(again(course)) == []


@given(which=st.integers(0, 12), where=st.floats(0, 1), typed=st.text(min_size=1, max_size=3))
def test_no_keystroke_is_lost(built_once, which, where, typed):
    released = built_once.chapters[CHAPTER].notebook.read_text(encoding="utf-8")
    content = json.loads(released)
    sources = ["".join(cell["source"]) for cell in content["cells"]]
    position = round(where * len(sources[which]))
    content["cells"][which]["source"] = sources[which][:position] + typed + sources[which][position:]
    assert learner_changes(json.dumps(content), released)


@pytest.mark.parametrize("learner", NO_WORK)
def test_notebook_without_work_is_made_again_and_counts_as_fine(course, notebook, learner):
    pristine = notebook.read_bytes()
    change(notebook, learner)
    assert check(again(course)) == []
    (built,) = build(again(course))
    assert built.status == "written"
    assert notebook.read_bytes() == pristine


def test_build_says_what_is_filled_in(course, notebook):
    change(notebook, answer)
    change(notebook, play_with_a_demonstration)
    change(notebook, lambda cells: cells.update(mine={"cell_type": "raw", "metadata": {}, "source": "x", "id": "mine"}))
    (built,) = build(again(course))
    assert built.changes == ("count_vowels is filled in", "count_a_sentence was changed", "cell 14 was added")


def test_notebook_that_went_through_jupytext_is_recognized(course, notebook):
    def round_trip():
        text = jupytext.writes(jupytext.read(notebook), fmt="py:percent")
        jupytext.write(jupytext.reads(text, fmt="py:percent"), notebook)

    round_trip()
    assert check(again(course)) == []
    assert build(again(course))[0].status == "written"
    change(notebook, answer)
    round_trip()
    assert build(again(course))[0].status == "kept"
    assert check(again(course)) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b'"text"',
        b'{"cells": 3}',
        b'{"cells": [3]}',
        b'{"cells": [{"cell_type": "code", "metadata": {"nbgrader": 3}, "source": "x"}]}',
        b'{"cells": [{"cell_type": "code", "metadata": {"nbgrader": {"checksum": 3}}, "source": "x"}]}',
        b'{"cells": [{"cell_type": "code", "metadata": {"nbgrader": {"grade_id": [], "checksum": ""}}, "source": "x"}]}',
        b'{"nbformat": 3, "worksheets": [{"cells": []}]}',
        b"<<<<<<< HEAD\n{}\n=======\n",
        b"[" * 100_000,
    ],
)
def test_unreadable_notebook_counts_as_filled_in(course, notebook, content):
    notebook.write_bytes(content)
    (built,) = build(again(course))
    assert built.status == "kept"
    assert notebook.read_bytes() == content
    assert [difference.kind for difference in check(again(course))] == ["differs"]


def test_folder_in_the_place_of_a_notebook_is_kept(course):
    course.chapters[CHAPTER].notebook.mkdir(parents=True)
    assert build(course)[0].status == "kept"


def test_other_chapters_are_built_beside_one_that_is_filled_in(course, notebook):
    folder = course.root / "solutions" / "02_more"
    folder.mkdir()
    source = course.chapters[CHAPTER].solution
    (folder / "more.py").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    shutil.copy(source.with_name("chapter.toml"), folder)
    change(notebook, answer)
    assert {built.chapter: built.status for built in build(again(course))} == {CHAPTER: "kept", "02_more": "written"}


def test_failed_write_leaves_the_old_notebook_and_no_scrap(course, notebook, monkeypatch):
    before = notebook.read_bytes()
    edit(course.chapters[CHAPTER].solution, "best of times", "worst of times")

    def disk_full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(OSError, match="no space"):
        build(again(course))
    assert notebook.read_bytes() == before
    assert files_under(course.root / "exercises") == [f"{CHAPTER}/words.ipynb"]


# An author at work

EDITS = {
    "another sentence in a demonstration": ("best of times", "worst of times", "count_a_sentence differs"),
    "another signature": ("def count_vowels(text: str)", "def count_vowels(line: str)", "count_vowels differs"),
    "another explanation": ("It remembers its readings", "It forgets nothing", "text_3 differs"),
    "a cell more": (
        "# %% [markdown]\n# ## A therm",
        '# %%\nprint("more")\n\n# %% [markdown]\n# ## A therm',
        "the cells are missing or in another order",
    ),
    "a cell less": (
        "# %%\nimport torch\nfrom torch import Tensor\n",
        "",
        "code_1 is left over from an earlier version",
    ),
}


@pytest.mark.parametrize(("old", "new", "difference"), EDITS.values(), ids=EDITS)
def test_author_edit_is_noticed_and_then_built(course, notebook, old, new, difference):
    edit(course.chapters[CHAPTER].solution, old, new)
    (found,) = check(again(course))
    assert (found.kind, found.path, found.cells) == ("differs", notebook, (difference,))
    assert build(again(course))[0].status == "written"
    assert check(again(course)) == []


def test_author_edit_of_hints_and_points_is_noticed(course, notebook):
    toml = course.chapters[CHAPTER].solution.with_name("chapter.toml")
    edit(toml, "What must it remember?", "What has it seen?")
    edit(toml, "points = 3", "points = 0.5")
    (found,) = check(again(course))
    assert found.cells == ("label_Thermometer differs", "check_Thermometer differs")
    build(again(course))
    assert "0.5 points" in cells_by_id(notebook)["label_Thermometer"].source
    assert cells_by_id(notebook)["check_Thermometer"].metadata.nbgrader.points == 0.5


def test_edit_inside_a_solution_changes_no_release(course, notebook):
    edit(course.chapters[CHAPTER].solution, "text.lower()", "text.casefold()")
    assert check(again(course)) == []
    assert build(again(course))[0].status == "unchanged"


def test_author_edit_under_a_filled_in_notebook_is_said_and_nothing_is_lost(course, notebook):
    change(notebook, answer)
    before = notebook.read_bytes()
    edit(course.chapters[CHAPTER].solution, "class Thermometer:", "class Thermometer(object):")
    (built,) = build(again(course))
    assert (built.status, built.changes) == ("kept", ("count_vowels is filled in",))
    assert built.outdated == ("Thermometer differs",)
    assert notebook.read_bytes() == before
    (found,) = check(again(course))
    assert "move it away" in found.message


def test_missing_notebook_is_noticed(course):
    (found,) = check(course)
    assert (found.chapter, found.kind) == (CHAPTER, "missing")
    assert not (course.root / "exercises").exists()


def test_locked_cell_that_somebody_changed_is_noticed(course, notebook):
    change(notebook, lambda cells: cells["check_count_vowels"].update(source="2.0"))
    (found,) = check(again(course))
    assert found.cells == ("check_count_vowels differs",)


def test_locked_cell_that_somebody_deleted_is_noticed(course, notebook):
    change(notebook, lambda cells: cells.pop("check_count_vowels"))
    (found,) = check(again(course))
    assert found.cells == ("check_count_vowels is missing",)


# Strays


def test_strays_are_named(course, notebook):
    for name in (f"{CHAPTER}/words.py", "07_gone/gone.ipynb", f"{CHAPTER}/.ipynb_checkpoints/words-checkpoint.ipynb"):
        path = course.root / "exercises" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x", encoding="utf-8")
    found = check(again(course))
    assert [(one.kind, one.chapter, one.path.name) for one in found] == [
        ("stray", CHAPTER, "words.py"),
        ("stray", "", "gone.ipynb"),
    ]


def test_files_that_git_does_not_keep_are_the_learners_own(course, notebook):
    (notebook.parent / "mine.py").write_text("x", encoding="utf-8")
    (notebook.parent / "leaked.py").write_text("x", encoding="utf-8")
    kept = ["exercises/01_words/words.ipynb", "exercises/01_words/leaked.py"]
    for command in (["init", "--quiet"], ["add", *kept]):
        subprocess.run(["git", *command], cwd=course.root, check=True)
    assert [one.path.name for one in check(again(course))] == ["leaked.py"]


# What an author is told

MISTAKES = {
    "no exercise cell": ("words.py", "# %% count_vowels", "# %%", "expected the same ones in the same order"),
    "unknown name": ("words.py", "# %% count_a_sentence", "# %% count_sentences", "named cells ['count_sentences']"),
    "no region": (
        "words.py",
        """    ### BEGIN SOLUTION
    return sum(letter in "aeiou" for letter in text.lower())
    ### END SOLUTION""",
        "    return 0",
        "found the marks []",
    ),
    "open region": ("words.py", "text.lower())\n    ### END SOLUTION", "text.lower())", "found the marks ['BEGIN SOL"),
    "region in a demonstration": (
        "words.py",
        "print(count_vowels",
        "### BEGIN SOLUTION\n### END SOLUTION\nprint(count_vowels",
        "count_a_sentence marks a solution, but is no exercise",
    ),
    "other function": (
        "words.py",
        "def count_vowels(",
        "def count(",
        "expected a function or class named count_vowels",
    ),
    "no Python": ("words.py", "def count_vowels(", "def count_vowels((", "is not Python"),
    "stub is no Python": (
        "words.py",
        "    ### BEGIN SOLUTION\n    return sum(",
        "    number = (\n    ### BEGIN SOLUTION\n        0\n    ### END SOLUTION\n    )\n    ### BEGIN SOLUTION\n    return sum(",
        "without its solution, line",
    ),
    "broken header": (
        "words.py",
        "# %% [markdown]\n# # 1. Words",
        "# ---\n# jupyter:\n#   kernelspec:\n#     name: x\n# ---\n\n# %% [markdown]\n# # 1. Words",
        "cannot be read as percent format",
    ),
    "name with spaces": (
        "words.py",
        "# %% count_a_sentence",
        "# %% count a sentence",
        "letters, digits and underscores",
    ),
    "metadata": ("words.py", "# %% count_a_sentence", '# %% count_a_sentence tags=["x"]', "got 'count_a_sentence'"),
    "name twice": ("words.py", "# %% [markdown]\n# ## A", "# %% [markdown] start\n# ## A", "two cells named start"),
    "two hints": ("chapter.toml", '"What must it remember?", ', "", "has 2 hints, expected 3"),
    "difficulty": ("chapter.toml", "difficulty = 2", "difficulty = 6", "difficulty to be 1 to 5"),
    "asked": ("chapter.toml", 'asked = "rarely"', 'asked = "never"', "one of often, sometimes, rarely"),
}


@pytest.mark.parametrize(("file", "old", "new", "message"), MISTAKES.values(), ids=MISTAKES)
def test_author_mistake_is_explained_and_nothing_is_written(course, notebook, file, old, new, message):
    before = notebook.read_bytes()
    edit(course.chapters[CHAPTER].solution.with_name(file), old, new)
    (built,) = build(again(course))
    assert built.status == "failed"
    assert message in built.error
    assert CHAPTER in built.error
    assert notebook.read_bytes() == before
    (found,) = check(again(course))
    assert (found.kind, found.message) == ("broken", built.error)


def test_missing_worked_chapter_is_explained(course):
    course.chapters[CHAPTER].solution.unlink()
    assert "every chapter has a worked chapter" in build(course)[0].error
    with pytest.raises(CourseError, match="every chapter has a worked chapter"):
        solution_source(course.exercises["count_vowels"])


def test_worked_chapter_in_another_encoding_is_explained(course):
    course.chapters[CHAPTER].solution.write_bytes("# %% [markdown]\n# Wörter".encode("latin-1"))
    assert "is not UTF-8 text (byte 19)" in build(course)[0].error


@pytest.mark.parametrize("library", ["jupytext", "nbformat", "nbgrader"])
def test_missing_library_is_named_with_what_to_install(course, monkeypatch, library):
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(CourseError, match=rf'needs {library}, which is not installed: pip install "gptdojo\[class\]"'):
        build(course)


def test_missing_configuration_is_named(course):
    (course.root / "nbgrader_config.py").unlink()
    with pytest.raises(CourseError, match=r"nbgrader_config\.py is missing"):
        check(course)


# For the rest of the engine


def test_stub_source_is_the_released_chapter_as_a_python_file(course):
    text = stub_source(course.chapters[CHAPTER])
    names = [name for name, _, _ in cells_of("py", text.encode())]
    assert [name for name in names if name.isidentifier()] == ["count_vowels", "count_a_sentence", "Thermometer"]
    assert text.count("raise NotImplementedError") == 5
    assert "check" not in text
    assert "SOLUTION" not in text
    ast.parse(text)


def test_solution_source_works_and_shows_no_marks(course):
    source = solution_source(course.exercises["count_vowels"])
    namespace = {}
    exec(source, namespace)
    assert namespace["count_vowels"]("Queue") == 4
    assert source.startswith("def count_vowels(text: str) -> int:\n")
    assert "SOLUTION" not in source + solution_source(course.exercises["Thermometer"])


def test_solution_source_needs_no_optional_library(course, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] in ("jupytext", "nbformat", "nbgrader")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert "digits" in solution_source(course.exercises["Thermometer"])


def test_solution_source_of_an_exercise_without_a_cell_is_explained(course):
    edit(course.chapters[CHAPTER].solution, "# %% count_vowels", "# %%")
    with pytest.raises(CourseError, match="no cell named count_vowels: start it with `# %% count_vowels`"):
        solution_source(course.exercises["count_vowels"])
