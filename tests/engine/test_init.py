"""`gptdojo init`: fresh folders, for a learner and for a class. Whatever is there already stays as it is."""

import re
import shutil
import stat

import pytest

from gptdojo.build import build
from gptdojo.classroom.folder import new_class, new_course
from gptdojo.classroom.seed import class_seed
from gptdojo.course import CLASS_SEED, Course, CourseError, find_course

from .classroom import CHAPTER, NOTEBOOK, RIGHT, toy_source


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A toy course as its author has it: notebooks built, one filled in, caches lying about."""
    course = toy_source(tmp_path_factory.mktemp("source") / "toy")
    build(course)
    pristine = course.chapters[CHAPTER].notebook.read_bytes()
    course.chapters[CHAPTER].notebook.write_text(pristine.decode().replace("raise NotImplementedError", "return 7", 1))
    (course.root / "reference" / "__pycache__").mkdir()
    (course.root / "gradebook.db").write_text("scores")
    return course, pristine


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_course_folder_is_a_course_that_nobody_has_worked_in(built, tmp_path):
    source, pristine = built
    course = new_course(source, tmp_path / "learn")
    assert course.chapters[CHAPTER].notebook.read_bytes() == pristine
    assert find_course(tmp_path / "learn" / "exercises").root == tmp_path / "learn"
    assert list(course.exercises) == list(source.exercises)
    names = contents(tmp_path / "learn")
    assert not [name for name in names if "pycache" in name or name.endswith(".db") or name.startswith("tests/engine")]
    assert [name for name in names if name.endswith(".ipynb")] == [f"exercises/{CHAPTER}/{NOTEBOOK}"]
    assert mode(tmp_path / "learn") == 0o755


def test_class_folder_holds_what_nbgrader_wants_and_a_secret(built, tmp_path):
    folder = tmp_path / "class"
    course = new_class(built[0], folder)
    names = contents(folder)
    assert {
        "README.md",
        "nbgrader_config.py",
        CLASS_SEED,
        f"source/{CHAPTER}/{NOTEBOOK}",
        "course/course.md",
    } <= names.keys()
    assert b"BEGIN SOLUTION" in names[f"source/{CHAPTER}/{NOTEBOOK}"]
    assert (folder / "release").is_dir()
    assert (folder / "submitted").is_dir()
    assert find_course(folder / "submitted").root == folder / "course" == course.root
    assert (mode(folder), mode(folder / CLASS_SEED)) == (0o700, 0o600)
    steps = re.findall(r"^\d\. \*\*(\w+)", (folder / "README.md").read_text(), re.MULTILINE)
    assert steps == ["Release", "Grade", "Return"]
    assert CHAPTER in (folder / "README.md").read_text()


def test_two_classes_have_different_seeds(built, tmp_path):
    seeds = {class_seed(new_class(built[0], tmp_path / name)) for name in ("one", "two")}
    assert len(seeds) == 2
    assert all(0 <= seed < 2**53 for seed in seeds)


def test_course_that_is_no_class_has_no_seed(built):
    assert class_seed(built[0]) is None


@pytest.mark.parametrize("kind", ["course", "class"])
@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_nothing_that_exists_is_touched(built, tmp_path, kind, there):
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    {"file": lambda: target.write_text("mine"), "folder": lambda: (target / "mine").mkdir(parents=True)}.get(
        there, lambda: target.symlink_to(elsewhere)
    )()
    with pytest.raises(CourseError, match="nothing is ever overwritten"):
        {"course": new_course, "class": new_class}[kind](built[0], target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "target"]
    assert target.is_symlink() or target.is_file() or [path.name for path in target.iterdir()] == ["mine"]
    assert not any(elsewhere.iterdir())


def test_empty_folder_is_filled_in_its_place(built, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    new_class(built[0], tmp_path)
    assert tmp_path.stat().st_ino == before
    assert (tmp_path / CLASS_SEED).is_file()
    assert mode(tmp_path) == 0o700


def test_what_fails_on_the_way_leaves_nothing(built, tmp_path):
    broken = Course(shutil.copytree(built[0].root, tmp_path / "broken"))
    solution = broken.chapters[CHAPTER].solution
    solution.write_text(solution.read_text().replace("# %% count_vowels", "# %%"))
    for make in (new_course, new_class):
        with pytest.raises(CourseError, match="expected the same ones in the same order"):
            make(broken, tmp_path / "target")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken"]


def test_seed_that_others_can_read_is_refused_with_what_to_do(built, tmp_path):
    course = new_class(built[0], tmp_path / "class")
    path = tmp_path / "class" / CLASS_SEED
    path.chmod(0o640)
    with pytest.raises(CourseError, match=f"can be read by others than its owner: chmod 600 {path}"):
        class_seed(course)
    path.chmod(0o600)
    path.write_text(RIGHT)
    with pytest.raises(CourseError, match="holds no seed: expected one whole number"):
        class_seed(course)
