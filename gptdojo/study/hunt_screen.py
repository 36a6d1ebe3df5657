"""What a learner is shown in a bug hunt: the task, how many bugs are left, hints, and what their authors believed."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from gptdojo.course import Course
from gptdojo.report import ExerciseResult
from gptdojo.screen import exercise_screen

from .card_screen import listed
from .compose import Planted
from .hunt import HINTS, Hunt, belief
from .repair import Repaired

ADVICE = "Save it and run `gptdojo bughunt` again. `gptdojo bughunt --hint` narrows it down, --give-up tells."


def counted(number: int, word: str) -> str:
    """Return a number of things: 1 bug, 2 bugs."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def task(hunt: Hunt, lines: int) -> RenderableType:
    """Return what to do with a file that was just handed out."""
    bugs = counted(len(hunt.planted), "bug")
    return Group(
        Text(f"Bug hunt in {hunt.target}: {bugs} in {lines} lines.", style="bold"),
        Text(hunt.path, overflow="fold"),
        Text(f"It runs, and looks right. Find what is not, and repair it in the file.\n{ADVICE}"),
    )


def standing(hunt: Hunt, found: Repaired) -> RenderableType:
    """Return how many bugs are left, without saying where."""
    planted = [bug.exercise for bug in hunt.planted]
    left = [name for name in planted if name in found.broken]
    own = [name for name in found.broken if name not in planted]
    parts: list[RenderableType] = []
    if found.problem:
        parts.append(Text(f"While the file was read: {found.problem}", style="yellow"))
    if not found.results:
        return Group(*parts)
    parts.append(Text(f"{len(planted) - len(left)} of {counted(len(planted), 'bug')} repaired.", style="bold"))
    if own:
        verb = "was right and does" if len(own) == 1 else "were right and do"
        parts.append(Text(f"{listed(own)} {verb} not pass now.", style="red"))
        parts.append(exercise_screen(found.results[own[0]]))
    if left:
        parts.append(Text(f"{hunt.path}\n{ADVICE}", overflow="fold"))
    return Group(*parts)


def hint(course: Course, hunt: Hunt, bug: Planted, result: ExerciseResult, level: int) -> RenderableType:
    """Return the hints up to a level: the function, the rung that fails, a small input, what the author believes."""
    failure = result.failure
    parts: list[RenderableType] = [Text(f"Hint 1 of {HINTS}: look at {bug.exercise}.")]
    if level >= 2:
        claim = f"rung {failure.rung} fails: {failure.claim}" if failure else result.message
        parts.append(Text(f"Hint 2 of {HINTS}: {claim}"))
    if level >= 3:
        result.misconceptions = []
        parts += [Text(f"Hint 3 of {HINTS}: a small input."), Padding(exercise_screen(result), (0, 0, 0, 2))]
    if level >= 4:
        parts.append(Text(f"Hint 4 of {HINTS}: its author believes that {belief(course, bug).believes}."))
    return Group(*parts)


def told(course: Course, bugs: Sequence[Planted]) -> RenderableType:
    """Return what the authors of some bugs believed, and what is so."""
    parts = []
    for bug in bugs:
        entry = belief(course, bug)
        words = (f": its author believed that {entry.believes}. In fact, {entry.truth}.", "")
        parts.append(Text.assemble((bug.exercise, "bold"), words))
    return Group(*parts)


def say(console: Console, *parts: RenderableType) -> None:
    """Print the parts one below the other."""
    for part in parts:
        console.print(part, soft_wrap=False)
