"""The mock interview: one part after the other against the clock, each result saved at once."""

import os
import random
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from gptdojo.course import Course, CourseError

from . import plan
from .asking import Left, ask, leaving
from .card_screen import afterwards, answer, points, question, show, split_follow_up, ticked
from .debrief import write_debrief
from .hunt import FOLDER, begin_chapter, open_hunts, save
from .hunt_screen import told
from .hunting import INTERVIEW
from .numbers import matching, worked_values
from .plan import Interview, Step
from .repair import grade_source
from .schedule import Schedule, grade, utc_now
from .stub import stub

TITLES = {
    "concept": "a question",
    "calculation": "a calculation",
    "coding": "code to write",
    "bughunt": "code to repair",
}


class Mock:
    """Conducts one interview."""

    def __init__(self, console: Console, course: Course, interview: Interview) -> None:
        self.console, self.course, self.interview = console, course, interview
        self.schedule = Schedule(course)
        self.since = time.monotonic()

    def run(self) -> Path | None:
        """Go through what is not done yet, and write the debrief; None where the learner leaves."""
        try:
            with leaving():
                while (step := self.interview.step) is not None and self.interview.seconds_left > 0:
                    self._part(step)
                if self.interview.step is not None:
                    self.console.print("\nThe time is over. What was not reached does not count against you.")
        except Left:
            self._save()
            self.console.print("\nSaved, the clock stands still. `gptdojo interview` goes on from here.")
            return None
        path = write_debrief(self.console, self.course, self.schedule, self.interview, Path.cwd() / FOLDER)
        save(self.course, INTERVIEW, None)
        plan.save(self.course, None, {"at": self.interview.began, "seed": self.interview.seed, "debrief": str(path)})
        return path

    def _part(self, step: Step) -> None:
        number, of = self.interview.steps.index(step) + 1, len(self.interview.steps)
        self.console.rule(Text(f"Part {number} of {of}: {TITLES[step.kind]}   {self.clock()} left"), align="left")
        with self._timed(step):
            {
                "concept": self._concept,
                "calculation": self._calculation,
                "coding": self._coding,
                "bughunt": self._bughunt,
            }[step.kind](step)
        step.done = True
        self._save()

    @contextmanager
    def _timed(self, step: Step) -> Iterator[None]:
        self.since = start = time.monotonic()
        try:
            yield
        finally:
            self._tick()
            step.seconds += time.monotonic() - start

    def _tick(self) -> None:
        moment = time.monotonic()
        self.interview.used += moment - self.since
        self.since = moment

    def clock(self) -> str:
        """Return the time that is left as minutes and seconds."""
        left = max(0, round(self.interview.seconds_left))
        return f"{left // 60}:{left % 60:02}"

    def _save(self) -> None:
        plan.save(self.course, self.interview)

    def _ask(self, words: str) -> str:
        try:
            return ask(self.console, words)
        finally:
            self._tick()

    # Cards

    def _concept(self, step: Step) -> None:
        card = self.schedule.cards[step.what]
        follow_up, reply = split_follow_up(card)
        show(self.console, question(self.course, card, ""))
        self._ask("Say your answer aloud, then press Enter:")
        if follow_up:
            show(self.console, Text("\nThe interviewer goes on:", style="dim"), Text(f"{follow_up}\n", style="bold"))
            self._ask("Answer that too, then press Enter:")
        show(self.console, answer(card))
        if reply:
            show(self.console, Text("The follow-up", style="bold"), Text(f"{reply}\n"))
        self._tick_points(step)

    def _calculation(self, step: Step) -> None:
        card = self.schedule.cards[step.what]
        show(self.console, question(self.course, card, ""))
        text = self._ask("Work it out. Your number, or numbers, with units if you like:")
        met = matching(text, card)
        show(self.console, answer(card))
        if met is None:
            self.console.print("The card has no value to check yours against.")
        elif met:
            self.console.print(Text(f"Your number agrees with the worked value {met[0]:,.6g}.", style="green"))
        else:
            values = " or ".join(f"{value:,.6g}" for value in worked_values(card)[:4])
            self.console.print(Text(f"Your number is not one of the worked ones: {values}.", style="red"))
        step.notes.append(
            {None: "", True: "the number was right", False: "the number was wrong"}[None if met is None else bool(met)]
        )
        self._tick_points(step, at_most=1.0 if met is None or met else 0.5)

    def _tick_points(self, step: Step, *, at_most: float = 1.0) -> None:
        card = self.schedule.cards[step.what]
        of = len(card.points)
        while (named := ticked(self._ask("Which points did you say? (numbers, a all, 0 none)"), of)) is None:
            show(self.console, points(card))
        step.share = min(at_most, len(named) / of)
        step.notes += [f"missed: {' '.join(point.split())}" for n, point in enumerate(card.points, 1) if n not in named]
        rating = grade(round(step.share * of), of)
        self.schedule.answer(card, rating, utc_now(), named=named, seconds=step.seconds)
        show(self.console, afterwards(card, follow_up=False))

    # Files

    def _coding(self, step: Step) -> None:
        exercise = self.course.exercises[step.what]
        self.console.print(f"Write {exercise.name}: {exercise.minutes} minutes are usual.")
        path = self._file(step, f"interview_{exercise.name}", stub(exercise))
        while True:
            self._edit(path, "Press Enter to have it graded:")
            result = grade_source(self.course, _read(path), [exercise.name]).results.get(exercise.name)
            step.share = result.score / result.max_score if result else 0.0
            if result and result.status == "passed":
                self.console.print(Text("It passes.", style="green"))
                return
            passed = sum(entry.verdict == "passed" for entry in result.properties) if result else 0
            of = len(result.properties) if result else 0
            self.console.print(Text(f"{passed} of {of} properties hold." if of else "It cannot be run.", style="red"))
            if self._give_up():
                step.notes += [result.failure.claim if result.failure else result.message] if result else []
                return

    def _bughunt(self, step: Step) -> None:
        hunt = open_hunts(self.course).get(INTERVIEW)
        if hunt is None:
            chapter = self.course.chapters[step.what]
            hunt = begin_chapter(self.course, chapter, 1, random.Random(self.interview.seed), key=INTERVIEW)
        self.console.print("One function in this file does not do what its docstring says. Find it, and repair it.")
        while True:
            self._edit(Path(hunt.path), "Press Enter when it is repaired:")
            found = hunt.grade(self.course)
            if found.results and not found.broken:
                step.share = 1.0
                self.console.print(Text("Repaired.", style="green"))
                break
            self.console.print(
                Text("A function is still broken." + (f" {found.problem}" if found.problem else ""), style="red")
            )
            if self._give_up():
                step.notes.append(f"the bug was in {hunt.planted[0].exercise}")
                break
        self.console.print(told(self.course, hunt.planted))
        save(self.course, INTERVIEW, None, repaired=hunt.planted if step.share else ())

    def _give_up(self) -> bool:
        if self.interview.seconds_left <= 0:
            self.console.print("The time is over.")
            return True
        return self._ask(f"{self.clock()} left. Enter to go on with it, n for the next part:").lower().startswith("n")

    def _file(self, step: Step, name: str, text: str) -> Path:
        """Return the file of a step, made when the step is first reached."""
        if step.path and Path(step.path).exists():
            return Path(step.path)
        folder = Path.cwd() / FOLDER
        number = 1
        while (path := folder / f"{name}_{number}.py").exists():
            number += 1
        try:
            folder.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CourseError(f"{path} cannot be written: {error.strerror or error}") from None
        step.path = str(path)
        self._save()
        return path

    def _edit(self, path: Path, words: str) -> None:
        """Open a file in the learner's editor, or say where it is and wait."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        self.console.print(Text(f"{path}", overflow="fold"))
        if editor and self.console.is_terminal and not self.console.is_jupyter:
            try:
                subprocess.run([*shlex.split(editor), str(path)], check=False)
            except (OSError, ValueError) as error:
                self.console.print(Text(f"{editor} cannot be started: {error}", style="yellow"))
            else:
                self._tick()
                return
        self._ask(words)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
