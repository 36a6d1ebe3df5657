"""`gptdojo check`: check my work."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from gptdojo.course import Chapter, Course, CourseError, Exercise, find_course
from gptdojo.report import ExerciseResult
from gptdojo.screen import exercise_screen, headline
from gptdojo.text import printable


def check(
    what: Annotated[
        str | None, typer.Argument(help="a chapter, an exercise or a file; all chapters if left out")
    ] = None,
) -> None:
    """Check my work; exit status 1 if anything fails. Never writes to a file of yours."""
    from gptdojo.selfstudy import check_file

    course = find_course()
    console = Console()
    failed = False
    for path, exercises in targets(course, what):
        checked = check_file(course, path, exercises)
        show(console, checked.results, checked.notes)
        failed = failed or any(_counts(result, what) for result in checked.results)
    raise typer.Exit(1 if failed else 0)


def targets(course: Course, what: str | None) -> list[tuple[Path, Sequence[Exercise] | None]]:
    """Return the files that `what` names, each with the exercises to look for; None: those that it defines."""
    if what is None:
        chapters = [chapter for chapter in course.chapters.values() if chapter.notebook.is_file()]
        if not chapters:
            raise CourseError(f"there are no notebooks in {course.root / 'exercises'}; `gptdojo build` makes them")
        return [_of_chapter(chapter) for chapter in chapters]
    if Path(what).is_file():
        return [(Path(what), None)]
    chapter = course.chapter_of(what)
    if chapter is not None:
        return [_of_chapter(chapter)]
    exercise = find_exercise(course, what)
    return [(exercise.chapter.notebook, [exercise])]


def _of_chapter(chapter: Chapter) -> tuple[Path, Sequence[Exercise]]:
    return chapter.notebook, list(chapter.exercises.values())


def find_exercise(course: Course, name: str) -> Exercise:
    """Return the exercise of that name; raises CourseError with the names that come close."""
    import difflib

    if name in course.exercises:
        return course.exercises[name]
    close = difflib.get_close_matches(name, [*course.exercises, *course.chapters], n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else " `gptdojo --track all` lists them."
    raise CourseError(f"{name} is neither a file nor a chapter nor an exercise.{hint}")


def _counts(result: ExerciseResult, what: str | None) -> bool:
    """Checking everything, what was not started yet is no failure."""
    return result.status != "passed" and not (what is None and result.status == "not_started")


def show(console: Console, results: Sequence[ExerciseResult], notes: Sequence[dict]) -> None:
    """Print a line for each exercise, and the whole screen of the first that fails."""
    broken = [result for result in results if result.status not in ("passed", "not_started")]
    started = [result for result in results if result.status != "not_started"]
    single = len(results) == 1
    for result in results:
        if single or (broken and result is broken[0]):
            console.print(exercise_screen(result))
        else:
            console.print(headline(result))
    for note in notes if started else []:
        said = printable(f"{note['cell']} raised {note['types'][0]}: {note['message']}")
        console.print(Text(f"  note: {said}", style="yellow"))
