"""The debrief of a mock interview: what was strong, what to study, which cards come next. Shown, and kept as Markdown."""

import os
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from gptdojo.course import Course, CourseError

from .card_screen import markdown, show
from .plan import Interview, Step
from .schedule import Schedule, utc_now

STRONG = 0.75
NEXT = 5
KINDS = {"concept": "Concept", "calculation": "Calculation", "coding": "Coding", "bughunt": "Bug hunt"}


def write_debrief(console: Console, course: Course, schedule: Schedule, interview: Interview, folder: Path) -> Path:
    """Show the debrief, write it as Markdown, and return its path."""
    text = debrief(course, schedule, interview)
    moment = datetime.fromisoformat(interview.began).astimezone()
    path = folder / f"interview_{moment:%Y-%m-%d_%H%M}_{interview.seed}.md"
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        folder.mkdir(exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise CourseError(f"{path} cannot be written: {error.strerror or error}") from None
    console.print()
    show(console, markdown(text))
    console.print(Text(f"\nThis is kept in {path}", overflow="fold"))
    return path


def debrief(course: Course, schedule: Schedule, interview: Interview) -> str:
    """Return the debrief as Markdown."""
    moment = datetime.fromisoformat(interview.began).astimezone()
    reached = [step for step in interview.steps if step.done or step.seconds]
    strong = [step for step in reached if step.share >= STRONG]
    weak = [step for step in reached if step.share < STRONG]
    used = min(interview.used, 60 * interview.minutes)
    lines = [
        f"# Mock interview of {moment:%Y-%m-%d, %H:%M}", "",
        f"{used / 60:.0f} of {interview.minutes:g} minutes, seed {interview.seed}. "
        f"{len(reached)} of {len(interview.steps)} parts reached.", "",
        "| part | what | result | minutes |", "|---|---|---|---|",
        *(_row(course, schedule, step, step in reached) for step in interview.steps), "",
    ]  # fmt: skip
    lines += ["## What was strong", ""]
    lines += [f"- {_name(schedule, step)}" for step in strong] or ["Nothing yet; the list below is where to begin."]
    lines += ["", "## What to study", ""]
    lines += [line for step in weak for line in _advice(course, schedule, step)] or ["Nothing was weak."]
    lines += ["", "## Next cards", "", *_next(schedule)]
    return "\n".join(lines) + "\n"


def _row(course: Course, schedule: Schedule, step: Step, reached: bool) -> str:
    result = f"{step.share:.0%}" if reached else "not reached"
    return f"| {KINDS[step.kind]} | {_name(schedule, step)} | {result} | {step.seconds / 60:.1f} |"


def _name(schedule: Schedule, step: Step) -> str:
    card = schedule.cards.get(step.what)
    words = card.question if card else f"`{step.what}`"
    return words.replace("|", "\\|")


def _advice(course: Course, schedule: Schedule, step: Step) -> list[str]:
    card = schedule.cards.get(step.what)
    if card is not None:
        chapter = course.chapter_of(str(card.chapter))
        title = f": {chapter.title}" if chapter else ""
        where = f"section {card.chapter} of course.md{title}; `gptdojo study {card.chapter}`"
    elif step.kind == "coding":
        where = f"`gptdojo check {step.what}`, and before that `gptdojo hint {step.what}`"
    else:
        where = f"`gptdojo bughunt {step.what}`"
    return [f"- **{_name(schedule, step)}** ({where})", *(f"  - {note}" for note in step.notes if note)]


def _next(schedule: Schedule) -> list[str]:
    memory = schedule.memory()
    names = sorted(memory, key=lambda name: memory[name].due)[:NEXT]
    today = utc_now().astimezone().date()
    lines = []
    for name in names:
        day = memory[name].due.astimezone().date()
        lines.append(f"- {'today' if day <= today else day.isoformat()}: {schedule.cards[name].question}")
    return [*lines, "", "`gptdojo study` asks them."] if lines else ["`gptdojo study` brings the first ones."]
