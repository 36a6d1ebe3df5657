"""The worked chapters: their examples are true, they run as notebooks, and no exercise needs another."""

import doctest
import types
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from gptdojo.catalog import load_catalog
from gptdojo.course import Chapter, Exercise, find_course
from gptdojo.implementation import Implementation, LocalTransport
from gptdojo.ladder import run_ladder
from gptdojo.solutions import solution, solution_namespace
from gptdojo.worker.submission import run

COURSE = find_course(Path(__file__).parent)

each_exercise = pytest.mark.parametrize("exercise", COURSE.exercises.values(), ids=COURSE.exercises)
each_chapter = pytest.mark.parametrize("chapter", COURSE.chapters.values(), ids=COURSE.chapters)


@each_exercise
def test_the_docstring_gives_an_example_and_it_is_true(exercise: Exercise) -> None:
    namespace = dict(solution_namespace(exercise.chapter))
    tests = doctest.DocTestFinder().find(solution(exercise), exercise.name, module=False, globs=namespace)
    assert any(test.examples for test in tests), "no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        runner.run(test)
    assert runner.failures == 0


@each_exercise
def test_an_exercise_does_not_need_its_chapters_other_answers(exercise: Exercise) -> None:
    namespace = run("py", exercise.chapter.solution.read_bytes(), frozenset(exercise.chapter.demonstrations)).namespace

    def absent(*args: object, **kwargs: object) -> None:
        raise AssertionError("an answer to another exercise was used")

    for other in exercise.chapter.exercises:
        if other != exercise.name:
            namespace[other] = absent
    catalog = load_catalog(exercise.chapter)
    impl = Implementation(LocalTransport(namespace), exercise.name, **catalog.facts(exercise))
    assert run_ladder(exercise, catalog, impl, seed=1).status == "passed"


@each_exercise
def test_hints_and_labels_are_complete(exercise: Exercise) -> None:
    assert exercise.points > 0
    assert exercise.minutes > 0
    assert 1 <= exercise.difficulty <= 5
    assert exercise.asked in ("often", "sometimes", "rarely")
    assert all(hint.strip() for hint in exercise.hints)
    assert list(map(len, exercise.hints)) == sorted(map(len, exercise.hints)) or len(set(exercise.hints)) == 3


@each_chapter
def test_a_chapter_defines_functions_and_not_modules_under_its_exercises_names(chapter: Chapter) -> None:
    namespace = solution_namespace(chapter)
    assert all(isinstance(namespace[name], types.FunctionType | type) for name in chapter.exercises)


def run_notebook(chapter: Chapter, seconds: int) -> list[float]:
    """Run the worked notebook where learners run theirs; return what its checks say."""
    from gptdojo.authoring.source import source_notebook

    notebook = nbformat.from_dict(source_notebook(chapter))
    client = NotebookClient(notebook, timeout=seconds, resources={"metadata": {"path": str(chapter.notebook.parent)}})
    client.execute()
    checks = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith("check(")]
    return [float(cell.outputs[-1]["data"]["text/plain"]) for cell in checks]


@each_chapter
def test_a_worked_notebook_runs_from_top_to_bottom_in_its_own_folder(chapter: Chapter, monkeypatch) -> None:
    monkeypatch.setenv("GPTDOJO_QUICK", "1")
    assert run_notebook(chapter, 300) == [float(exercise.points) for exercise in chapter.exercises.values()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [c.name for c in COURSE.chapters.values() if "GPTDOJO_QUICK" in c.solution.read_text()]
)
def test_long_demonstrations_show_what_they_promise(name: str, monkeypatch) -> None:
    monkeypatch.delenv("GPTDOJO_QUICK", raising=False)
    chapter = COURSE.chapters[name]
    assert run_notebook(chapter, 1200) == [float(exercise.points) for exercise in chapter.exercises.values()]
