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
from nbgrader.nbgraderformat import MetadataValidator

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
    folder = tmp_path / "course"
    shutil.copytree(TOY, folder, ignore=shutil.ignore_patterns("exercises", "*.ipynb", "__pycache__"))
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    return Course(folder)


@pytest.fixture
def notebook(course):
    """The path of the released notebook of the toy course, just built."""
    (built,) = build(course)
    assert built.status == "written"
    return built.notebook


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
    edit(course.chapters[CHAPTER].solution, "# %% [markdown]\n# ## A therm", "# %%\nimport math\n\n# %% [markdown]\n# ## A therm")
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
    """The lines of the chapter's solutions that stand in a text, but for those that say next to nothing."""
    shown = {line.strip() for line in released.split("\n")}
    hidden = {line for cell in author_cells(chapter) for line in solution_lines(cell.source)}
    return {line for line in hidden if line in shown and len(ast.dump(ast.parse("")) + line) > 60}


def text_of(path):
    """Everything that a notebook says, one line a line."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return "\n".join("".join(cell["source"]) + "\n" + json.dumps(cell["metadata"]) for cell in content["cells"])
