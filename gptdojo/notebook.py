"""`check` in a notebook."""

import difflib
from typing import Any

import torch
from hypothesis import given, settings, strategies as st
from rich.console import Console

from .course import Course, Exercise, find_course
from .screen import exercise_html, exercise_screen
from .selfstudy import check_callable
from .worker.observe import Observer


def check(implementation: Any, exercise: str | None = None) -> float:
    """Check an answer, show what holds and what does not, and return the points won as a plain float.

    `implementation` is the function or class of the exercise; its name says which exercise it is, unless `exercise` does.
    Raises ValueError when there is no such exercise.
    """
    course = find_course()
    chosen = _named(course, exercise or str(getattr(implementation, "__name__", implementation)))
    result = check_callable(course, chosen, {chosen.name: implementation})
    if _in_notebook():
        from IPython.display import HTML, display

        display(HTML(exercise_html(result)))
    else:
        Console().print(exercise_screen(result))
    return float(result.score)


def _warm_up() -> None:
    """Have torch and Hypothesis do once what takes them a second the first time, while the learner reads."""

    @settings(max_examples=2, database=None, deadline=None)
    @given(st.integers())
    def draw(number: int) -> None:
        with Observer(["nothing"]):
            torch.tensor([number % 7]).float().sum()

    draw()
    tensor = torch.ones(2, requires_grad=True)
    torch.autograd.grad([tensor * tensor], [tensor], [torch.ones(2)])


_warm_up()


def _named(course: Course, name: str) -> Exercise:
    if name in course.exercises:
        return course.exercises[name]
    close = difflib.get_close_matches(name, course.exercises, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise ValueError(f'no exercise is called {name}{hint} (check(my_function, "name") says which one it answers)')


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
