"""`gptdojo study`: the interview cards that are due."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gptdojo.course import Chapter, Course, CourseError, find_course
from gptdojo.study.asking import learner_console


def study(
    chapter: Annotated[str | None, typer.Argument(help="a chapter; all of them if left out")] = None,
    chapter_option: Annotated[str | None, typer.Option("--chapter", help="the same, as an option")] = None,
    new: Annotated[int, typer.Option(min=0, help="how many new cards a day")] = 10,
    export: Annotated[
        tuple[str, Path] | None,
        typer.Option(help="write the cards to a package: --export anki FILE", metavar="anki FILE"),
    ] = None,
    stats: Annotated[bool, typer.Option("--stats", help="show where I stand")] = False,
) -> None:
    """Interview cards due today, spaced by FSRS. Every answer is saved before the next question."""
    course = find_course()
    study_course(
        learner_console(),
        course,
        chapter_named(course, chapter or chapter_option),
        new=new,
        export=export,
        stats=stats,
    )


def study_course(
    console: Console,
    course: Course,
    chapter: Chapter | None,
    *,
    new: int,
    export: tuple[str, Path] | None = None,
    stats: bool = False,
) -> None:
    """Ask the cards, or show the statistics, or write the package."""
    from gptdojo.study import anki, schedule, statistics
    from gptdojo.study.session import Session

    number = chapter.number if chapter else None
    plan = schedule.Schedule(course)
    if export is not None:
        kind, path = export
        if kind != "anki":
            raise CourseError(f"--export knows anki, not {kind}: --export anki FILE.apkg")
        count = anki.export(course, [c for c in plan.cards.values() if number in (None, c.chapter)], path)
        console.print(f"{count} cards are in {path}; import it in Anki (File, Import).", highlight=False)
    elif stats:
        now = schedule.utc_now()
        console.print(statistics.screen(plan, statistics.statistics(plan, now, chapter=number), now))
    else:
        Session(console, plan, chapter=number, new=new).run()


def chapter_named(course: Course, name: str | None) -> Chapter | None:
    """Return the chapter of that name, None for none; raises CourseError where there is no such chapter."""
    chapter = course.chapter_of(name) if name else None
    if name and chapter is None:
        raise CourseError(f"{name} is not a chapter; there are {', '.join(course.chapters)}")
    return chapter
