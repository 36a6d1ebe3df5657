"""`writetest`: the learner's test against everything that is known to be right or wrong."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from gptdojo.course import Course, CourseError, Exercise
from gptdojo.progress import part, updating_part
from gptdojo.text import printable

from .asking import busy
from .attempt import Verdict, attempt, variants
from .attempt_process import SECONDS, try_file
from .hunt import FOLDER
from .starting_test import start_text

PART = "writetest"
UNWRITTEN = "it raises NotImplementedError"


def file_of(exercise: Exercise) -> Path:
    """Return where the learner's test of an exercise is."""
    return Path.cwd() / FOLDER / f"test_{exercise.name}.py"


def write_test(console: Console, course: Course, exercise: Exercise) -> bool:
    """Make the file to start from, or grade the test that is in it; return whether the test is complete."""
    path = file_of(exercise)
    if not path.exists():
        _create(path, start_text(exercise))
        console.print(Text(f"{path}", overflow="fold"))
        console.print(
            f"holds a first test of {exercise.name}. Make it reject every wrong implementation and accept every right "
            f"one, save it, and run `gptdojo writetest {exercise.name}` again.",
        )
        return False
    with busy(console, "trying your test") as say:
        verdicts = try_file(
            course, exercise, path, lambda done, of: say(f"trying your test: {done} of {of} implementations")
        )
    return finish(console, course, exercise, verdicts)


def try_here(course: Course, exercise: Exercise, tests: Sequence[Callable]) -> list[Verdict]:
    """Return the verdicts of tests in this process: those of a notebook's cells."""
    from gptdojo.faults import Stopped
    from gptdojo.time_limit import time_limit

    course.importable()
    verdicts = []
    for variant, implementation in variants(exercise):
        try:
            with time_limit(SECONDS):
                outcome, message = attempt(list(tests), implementation, lambda name: "/site-packages/" not in name)
        except Stopped:
            outcome, message = "timeout", ""
        verdicts.append(Verdict(variant, outcome, message))
    return verdicts


def finish(console: Console, course: Course, exercise: Exercise, verdicts: Sequence[Verdict]) -> bool:
    """Show what a test does and remember the best of it; return whether it is complete."""
    refused, slipped = shortcomings(verdicts)
    wrong = sum(not verdict.variant.right for verdict in verdicts)
    console.print(report(exercise, verdicts))
    with updating_part(course, PART) as saved:
        before = saved.get(exercise.name, {}).get("rejected", 0) if isinstance(saved.get(exercise.name), dict) else 0
        rejected = 0 if refused else wrong - len(slipped)
        saved[exercise.name] = {"rejected": max(before, rejected), "of": wrong}
    return not refused and not slipped


def shortcomings(verdicts: Sequence[Verdict]) -> tuple[list[Verdict], list[Verdict]]:
    """Return the right implementations that a test refuses, and the wrong ones that slip through."""
    refused = [verdict for verdict in verdicts if verdict.variant.right and verdict.outcome != "passed"]
    slipped = [verdict for verdict in verdicts if not verdict.variant.right and verdict.outcome == "passed"]
    return refused, slipped


def report(exercise: Exercise, verdicts: Sequence[Verdict]) -> RenderableType:
    """Return how many are accepted and rejected, and the first thing to repair."""
    refused, slipped = shortcomings(verdicts)
    right = sum(verdict.variant.right for verdict in verdicts)
    wrong = len(verdicts) - right
    counts = Text(
        f"Your test accepts {right - len(refused)} of {right} right implementations of {exercise.name} and rejects "
        f"{wrong - len(slipped)} of {wrong} wrong ones.",
        style="bold",
    )
    if refused:
        return Group(counts, _refused(refused[0]))
    if slipped:
        return Group(counts, _slipped(slipped[0], len(slipped)))
    return Group(counts, Text("Nothing slips through. It is as strong as the course's own.", style="green"))


def _refused(verdict: Verdict) -> RenderableType:
    who = "the worked solution" if verdict.variant.name == "solution" else "one that is right, and written differently"
    if UNWRITTEN in verdict.message:
        return Text("It is not written yet: it raises NotImplementedError. Write it in its place.")
    said = {
        "timeout": f"It does not end within {SECONDS:g} seconds on {who}. Is there a loop that never ends?",
        "crashed": f"It ends the process on {who}: does it call exit?",
    }.get(verdict.outcome, f"It must accept {who}, and does not:")
    advice = (
        "It asks for more than the exercise promises, then. Rounding differs between right ones (compare with "
        "torch.testing.assert_close), and only what the promise says may be relied on."
    )
    parts: list[RenderableType] = [Text(said)]
    if verdict.message:
        parts.append(Padding(Text(printable(verdict.message)), (0, 0, 0, 2)))
    if verdict.outcome == "failed" and verdict.variant.name != "solution":
        parts.append(Text(advice))
    return Group(*parts)


def _slipped(verdict: Verdict, count: int) -> RenderableType:
    first = "It slips through" if count == 1 else f"One of the {count} that slip through"
    variant = verdict.variant
    return Text.assemble(
        (f"{first}: {variant.name}", "bold"),
        f". Its author believes that {variant.believes}. In fact, {variant.truth}.\n",
        "Which input shows the difference? Add it to your test.",
    )


def _create(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CourseError(f"{path} cannot be written: {error.strerror or error}") from None


def best(course: Course, exercise: Exercise) -> tuple[int, int]:
    """Return how many wrong implementations the learner's best test rejects, and of how many; zeros before the first."""
    row = part(course, PART).get(exercise.name, {})
    return (row.get("rejected", 0), row.get("of", 0)) if isinstance(row, dict) else (0, 0)
