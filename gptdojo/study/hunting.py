"""`bughunt`: hands out a broken file, or says how one that was handed out stands."""

import random

from rich.console import Console
from rich.text import Text

from gptdojo.course import Course, CourseError
from gptdojo.progress import records

from .asking import busy
from .drill import Drill, drills
from .hunt import HINTS, Hunt, begin_chapter, begin_drill, open_hunts, progress_in, save
from .hunt_screen import counted, hint, say, standing, task, told
from .part_two import part_two
from .repair import Repaired

INTERVIEW = "interview"  # the key of the hunt that belongs to a mock interview


class Hunting:
    """The bug hunts of one learner. `source` is the code in a notebook's cell, where it is not in the file."""

    def __init__(self, console: Console, course: Course, draw: random.Random | None = None) -> None:
        self.console, self.course = console, course
        self.draw = draw or random.Random()
        self.drills = drills(course)

    def begin(self, what: str | None, bugs: int | None) -> Hunt:
        """Hand out a file in a chapter or drill; without one, in a chapter that the learner has worked in."""
        target = self._target(what)
        with busy(self.console, "planting"):
            if target in self.drills:
                hunt = begin_drill(self.course, self.drills[target], self.draw, bugs=bugs)
            else:
                hunt = begin_chapter(self.course, self.course.chapters[target], bugs or 1, self.draw)
        say(self.console, task(hunt, hunt.source().count(b"\n")))
        if target in self.drills:
            self.console.print(Text(self.drills[target].instructions))
        elif len(hunt.planted) < (bugs or 1):
            self.console.print(Text("There are no more that you have not seen and that fit into one file."))
        return hunt

    def look(self, what: str | None, source: bytes | None = None) -> bool:
        """Say how the open hunt stands, and end it when all is repaired; return whether it is."""
        key, hunt = self._open(what)
        with busy(self.console, "checking"):
            found = hunt.grade(self.course, source)
        if found.broken or not found.results:
            say(self.console, standing(hunt, found))
            return False
        return self._repaired(key, hunt, found, source)

    def _repaired(self, key: str, hunt: Hunt, found: Repaired, source: bytes | None) -> bool:
        say(self.console, Text(f"All repaired: {counted(len(hunt.planted), 'bug')}.", style="bold green"))
        drill = self.drills.get(hunt.target)
        if drill is not None and not part_two(self.console, self.course, drill, hunt, source):
            return False
        say(self.console, told(self.course, hunt.planted))
        save(self.course, key, None, repaired=hunt.planted)
        self._next(hunt, drill)
        return True

    def _next(self, hunt: Hunt, drill: Drill | None) -> None:
        names = drill.exercises if drill else self.course.chapters[hunt.target].exercises
        seen, total = progress_in(self.course, list(names))
        last = "" if drill else "".join(f" The last level: `gptdojo bughunt {name}`." for name in self.drills)
        self.console.print(
            Text(
                f"You have met {seen} of the {total} bugs of {hunt.target}. `gptdojo bughunt {hunt.target}` plants another.{last}"
            )
        )

    def hint(self, what: str | None, source: bytes | None = None) -> None:
        """Show the next hint for the first bug that is still there."""
        key, hunt = self._open(what)
        with busy(self.console, "checking"):
            found = hunt.grade(self.course, source, shrink=True)
        left = [bug for bug in self._in_order(hunt) if bug.exercise in found.broken]
        if not left:
            say(self.console, Text(found.problem or "No bug is left. `gptdojo bughunt` says what comes next."))
            return
        bug = left[0]
        level = hunt.hints[bug.exercise] = min(hunt.hints.get(bug.exercise, 0) + 1, HINTS)
        save(self.course, key, hunt)
        say(self.console, hint(self.course, hunt, bug, found.results[bug.exercise], level))

    def give_up(self, what: str | None) -> None:
        """Tell the bugs of the open hunt, and end it."""
        key, hunt = self._open(what)
        say(self.console, told(self.course, hunt.planted), Text(f"{hunt.path} stays as it is.", overflow="fold"))
        save(self.course, key, None)

    def has_open(self, what: str | None) -> bool:
        """Say whether a hunt is open in a chapter or drill, or in any."""
        hunts = self._hunts()
        return bool(hunts) if what is None else self._target(what) in hunts

    def _hunts(self) -> dict[str, Hunt]:
        return {key: hunt for key, hunt in open_hunts(self.course).items() if key != INTERVIEW}

    def _open(self, what: str | None) -> tuple[str, Hunt]:
        hunts = self._hunts()
        key = list(hunts)[-1] if what is None and hunts else self._target(what) if what else ""
        if key not in hunts:
            raise CourseError("no bug hunt is open; `gptdojo bughunt` begins one")
        return key, hunts[key]

    def _in_order(self, hunt: Hunt) -> list:
        return sorted(hunt.planted, key=lambda bug: hunt.exercises.index(bug.exercise))

    def _target(self, what: str | None) -> str:
        if what is None:
            passed = {
                self.course.exercises[n].chapter.name for n, r in records(self.course).items() if r.status == "passed"
            }
            return self.draw.choice(sorted(passed) or list(self.course.chapters)[:1])
        if what in self.drills:
            return what
        chapter = self.course.chapter_of(what)
        if chapter is None:
            raise CourseError(f"{what} is not a chapter; there are {', '.join([*self.course.chapters, *self.drills])}")
        return chapter.name
