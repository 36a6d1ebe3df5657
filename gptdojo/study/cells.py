"""Studying inside a notebook, with the same state: the same questions, asked below the cell."""

from collections.abc import Callable

from gptdojo.course import CourseError, find_course

from .asking import learner_console

MARK = '"""Bug hunt: '


def study(chapter: str | int | None = None, *, new: int = 10, stats: bool = False) -> None:
    """Ask the interview cards that are due, or show where you stand; interrupting the kernel loses nothing."""
    from gptdojo.cli.study import chapter_named, study_course

    course = find_course()
    study_course(
        learner_console(),
        course,
        chapter_named(course, None if chapter is None else str(chapter)),
        new=new,
        stats=stats,
    )


def interview(minutes: float = 45, seed: int | None = None) -> None:
    """Conduct a mock interview below the cell; interrupt the kernel to leave it, call it again to go on."""
    from .interviewing import interview as conduct

    conduct(learner_console(), find_course(), minutes, seed)


def bughunt(
    chapter: str | int | None = None,
    bugs: int | None = None,
    *,
    new: bool = False,
    hint: bool = False,
    give_up: bool = False,
) -> None:
    """Hand out broken code in a cell of its own; called again, say how many bugs are left in what you ran last.

    The code is also a file, as on the command line; the file counts where no cell with it has been run.
    """
    from .hunting import Hunting

    course = find_course()
    course.importable()
    hunting = Hunting(learner_console(), course)
    what = None if chapter is None else str(chapter)
    if give_up:
        hunting.give_up(what)
    elif hint:
        hunting.hint(what, _cell())
    elif new or not hunting.has_open(what):
        hunt = hunting.begin(what, bugs)
        shell = _shell()
        if shell is not None:
            shell.set_next_input(hunt.source().decode("utf-8"))
    else:
        hunting.look(what, _cell())


def writetest(exercise: str, *tests: Callable) -> None:
    """Try tests, functions that take `impl`, on all that is known to be right or wrong; without any, put a first one in a cell."""
    from .starting_test import start_text
    from .writing import finish, try_here

    course = find_course()
    if exercise not in course.exercises:
        raise CourseError(f"no exercise is called {exercise}")
    chosen = course.exercises[exercise]
    if tests:
        finish(learner_console(), course, chosen, try_here(course, chosen, tests))
        return
    text = f'{start_text(chosen)}\n\nwritetest("{exercise}", test_{exercise})'
    shell = _shell()
    if shell is None:
        print(text)
    else:
        shell.set_next_input(text)


def _shell():  # type: ignore[no-untyped-def]
    """Return IPython's shell, None outside of it."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()


def _cell() -> bytes | None:
    """Return the code of a bug hunt that was run last in a cell, None where there is none."""
    shell = _shell()
    cells = [] if shell is None else shell.user_ns.get("In", [])
    found = [cell for cell in cells if cell.lstrip().startswith(MARK)]
    return found[-1].encode() if found else None
