"""`interview`: goes on with the mock interview that was left, or begins one."""

import random

from rich.console import Console
from rich.text import Text

from gptdojo.course import Course

from . import plan
from .asking import Left, confirm
from .hunt import save
from .hunting import INTERVIEW
from .mock import Mock
from .schedule import utc_now

RULES = (
    "Answer aloud, and write code without looking anything up. The clock runs while the interview does; Ctrl-C leaves it, "
    "and the same command goes on."
)


def interview(console: Console, course: Course, minutes: float, seed: int | None) -> bool:
    """Conduct an interview; return whether it came to its end."""
    course.importable()
    current = plan.load(course)
    try:
        if current is not None and not _goes_on(console, current):
            current = None
            save(course, INTERVIEW, None)
    except Left:
        console.print()
        return False
    if current is None:
        seed = random.SystemRandom().randrange(10_000) if seed is None else seed
        current = plan.compose(course, minutes, seed, utc_now().isoformat())
        plan.save(course, current)
        console.print(
            Text(f"A mock interview of {minutes:g} minutes, seed {seed}: {len(current.steps)} parts.", style="bold")
        )
        console.print(RULES)
    return Mock(console, course, current).run() is not None


def _goes_on(console: Console, current: plan.Interview) -> bool:
    done = sum(step.done for step in current.steps)
    console.print(
        Text(
            f"An interview of {current.minutes:g} minutes is open: {done} of {len(current.steps)} parts done, "
            f"{max(0, current.seconds_left) / 60:.0f} minutes left."
        )
    )
    return confirm(console, "Go on with it?", default=True)
