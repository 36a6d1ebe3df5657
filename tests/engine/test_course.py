"""A course folder is read as it is, and what is wrong with it is said in words that tell what to do."""

import pytest

from gptdojo.catalog import Alternative, Misconception, Property, load_catalog
from gptdojo.course import Course, CourseError, find_course
from gptdojo.solutions import solution

CHAPTER = "01_words"


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_chapter_has_one_name_in_every_room(toy):
    chapter = toy.chapters[CHAPTER]
    assert (chapter.number, chapter.topic, chapter.title, chapter.track) == (1, "words", "Words", "core")
    for path in (chapter.solution, chapter.properties, chapter.misconceptions, chapter.alternatives):
        assert path.is_file()
    assert chapter.notebook == toy.root / "exercises" / CHAPTER / "words.ipynb"
    assert toy.name == "Words and temperatures"


def test_exercises_are_in_the_order_of_the_notebook_with_all_that_is_said_of_them(toy):
    assert list(toy.exercises) == ["count_vowels", "Thermometer"]
    exercise = toy.exercises["Thermometer"]
    assert (exercise.points, exercise.minutes, exercise.tolerance, exercise.forbids) == (3, 10, 1e-5, ("mean",))
    assert len(exercise.hints) == 3


def test_an_exercise_may_have_a_track_of_its_own(toy):
    edit(toy.chapters[CHAPTER].solution.with_name("chapter.toml"), "points = 3", 'track = "deep"\npoints = 3')
    course = find_course(toy.root)
    assert [exercise.track for exercise in course.exercises.values()] == ["core", "deep"]


@pytest.mark.parametrize("text", ["01_words", "01", "1", "words"])
def test_a_chapter_is_found_by_any_of_its_names(toy, text):
    assert toy.chapter_of(text).name == CHAPTER
    assert toy.chapter_of("2") is None


def test_the_course_is_the_nearest_folder_upward(toy, tmp_path, monkeypatch):
    inside = toy.root / "solutions" / CHAPTER
    assert find_course(inside).root == toy.root
    monkeypatch.setattr("gptdojo.course.PACKAGED", tmp_path / "none")
    with pytest.raises(CourseError, match=r"no course here.*gptdojo init"):
        find_course(tmp_path)


def test_an_exercise_may_use_the_reference_of_earlier_chapters_only(toy):
    later = toy.root / "solutions" / "02_more"
    later.mkdir()
    (later / "chapter.toml").write_text(
        'title = "More"\ntrack = "core"\nreference = ["more"]\ndemonstrations = []\n[exercises]\n'
    )
    (toy.root / "reference" / "more.py").write_text("from .words import VOWELS\n")
    course = Course(toy.root)
    assert course.reference_before(course.chapters[CHAPTER]) == ()
    assert course.reference_before(course.chapters["02_more"]) == ("words",)


BROKEN_TOML = [
    ("points = 2\n", "", r"exercise count_vowels of 01_words has the keys .* expected .*points"),
    ("points = 2\n", "points = 2\ncolor = 1\n", r"has the keys .*color"),
    ('title = "Words"\n', "", r"chapter.toml has the keys .* expected .*title"),
    ('title = "Words"\n', "title = Words\n", r"chapter.toml cannot be read: .*line 1"),
]


@pytest.mark.parametrize(("old", "new", "said"), BROKEN_TOML)
def test_a_broken_chapter_toml_is_said(toy, old, new, said):
    edit(toy.chapters[CHAPTER].solution.with_name("chapter.toml"), old, new)
    with pytest.raises(CourseError, match=said):
        Course(toy.root).exercises  # noqa: B018


def test_two_exercises_of_one_name_are_said(toy):
    twin = toy.root / "solutions" / "02_twin"
    twin.mkdir()
    (twin / "chapter.toml").write_text(toy.chapters[CHAPTER].solution.with_name("chapter.toml").read_text())
    with pytest.raises(CourseError, match="exercise count_vowels is in 01_words and in 02_twin"):
        Course(toy.root).exercises  # noqa: B018


@pytest.fixture
def reloaded(forget):
    """`reloaded(course)` is the catalog of its chapter, with every file of it read again."""

    def load(course):
        forget()
        catalog = load_catalog(Course(course.root).chapters[CHAPTER])
        for kind in (Property, Misconception, Alternative):
            catalog.of(kind, "count_vowels")
        return catalog

    return load


def test_the_ladder_goes_from_the_simplest_rung_up_and_says_its_claims(toy, reloaded):
    ladder = reloaded(toy).properties("Thermometer")
    assert [(entry.rung, entry.name) for entry in ladder] == [(1, "average"), (2, "empty"), (3, "length")]
    assert ladder[1].claim == "Without readings there is no average."


def test_variants_are_found_by_their_names(toy, reloaded):
    catalog = reloaded(toy)
    assert [e.name for e in catalog.of(Misconception, "count_vowels")] == ["different_vowels", "small_letters_only"]
    assert [e.name for e in catalog.of(Alternative, "Thermometer")] == ["Running", "OneTensor"]
    assert catalog.parameters("Thermometer") == {
        "__init__": ("digits",), "read": ("readings",), "average": (), "__len__": (),
    }  # fmt: skip


BROKEN_PROPERTIES = [
    (
        "def test_count_vowels_capitals",
        "def test_capitals",
        "test_capitals is a property of count_vowels: call it test_count_vowels_",
    ),
    ('    """Capitals count as well, and y does not."""\n', "", "test_count_vowels_capitals has no docstring"),
    ('@claim("count_vowels", rung=2)', '@claim("count_vowels_", rung=2)', "is a property of count_vowels_"),
]


@pytest.mark.parametrize(("old", "new", "said"), BROKEN_PROPERTIES)
def test_a_broken_property_is_said(toy, reloaded, old, new, said):
    edit(toy.chapters[CHAPTER].properties, old, new)
    with pytest.raises(CourseError, match=said):
        reloaded(toy)


def test_a_variant_of_an_unknown_exercise_is_said(toy, reloaded):
    edit(toy.chapters[CHAPTER].alternatives, '@alternative("Thermometer")', '@alternative("Barometer")')
    with pytest.raises(CourseError, match=r"\['Barometer'\], which chapter.toml does not name"):
        reloaded(toy)


def test_an_exercise_without_properties_is_said(toy, reloaded):
    path = toy.chapters[CHAPTER].properties
    path.write_text(
        path.read_text().replace('@claim("count_vowels"', 'lambda f: f\n@claim("count_vowels"').split("@claim")[0]
    )
    with pytest.raises(CourseError, match="holds no property of count_vowels"):
        reloaded(toy).properties("count_vowels")


@pytest.mark.parametrize("room", ["properties", "misconceptions", "alternatives"])
def test_a_missing_file_is_said(toy, reloaded, room):
    getattr(toy.chapters[CHAPTER], room).unlink()
    with pytest.raises(CourseError, match="is missing: every chapter has one"):
        reloaded(toy)


def test_a_solution_that_does_not_define_an_exercise_is_said(toy, reloaded):
    edit(toy.chapters[CHAPTER].solution, "class Thermometer:", "class Barometer:")
    with pytest.raises(CourseError, match="does not define Thermometer"):
        reloaded(toy).parameters("Thermometer")
    with pytest.raises(CourseError, match="does not define Thermometer"):
        solution(Course(toy.root).exercises["Thermometer"])


def test_a_solution_that_does_not_run_is_said(toy):
    edit(toy.chapters[CHAPTER].solution, "import torch", "import torch\n1 / 0")
    with pytest.raises(CourseError, match=r"does not run: .*ZeroDivisionError"):
        solution(Course(toy.root).exercises["count_vowels"])
