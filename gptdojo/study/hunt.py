"""The bug hunt: which bugs are handed out to whom, in which file, and whether they are repaired."""

import contextlib
import io
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gptdojo.catalog import Misconception, load_catalog
from gptdojo.course import Chapter, Course, CourseError
from gptdojo.determinism import one_thread
from gptdojo.faults import Stopped
from gptdojo.progress import part, updating_part
from gptdojo.time_limit import time_limit

from .compose import Planted, bugs_of, compose_chapter, compose_whole
from .drill import Drill, exercises_of
from .excerpt import Incompatible
from .repair import Repaired, grade_source

PART = "bughunt"
FOLDER = "drills"  # beside where the learner works
HINTS = 4
RUN_SECONDS = 10.0


@dataclass
class Hunt:
    """A bug hunt that was handed out. `hints` says how far the hints have gone for each exercise."""

    target: str
    path: str
    planted: list[Planted]
    exercises: list[str]
    hints: dict[str, int] = field(default_factory=dict)

    def source(self) -> bytes:
        """Return the file as it stands; raises CourseError where it is gone."""
        try:
            return Path(self.path).read_bytes()
        except OSError as error:
            raise CourseError(
                f"{self.path} cannot be read ({error.strerror}); `gptdojo bughunt --new` makes another"
            ) from None

    def grade(self, course: Course, source: bytes | None = None, *, shrink: bool = False) -> Repaired:
        """Return what holds of each exercise in the file, every one by itself."""
        return grade_source(course, self.source() if source is None else source, self.exercises, shrink=shrink)


def open_hunts(course: Course) -> dict[str, Hunt]:
    """Return the hunts that are not finished, by their key; the latest comes last."""
    found = {}
    for key, row in part(course, PART).get("open", {}).items():
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            planted = [Planted(**bug) for bug in row["planted"]]
            if all(bug.exercise in course.exercises for bug in planted):
                found[key] = Hunt(row["target"], row["path"], planted, row["exercises"], row["hints"])
    return found


def save(course: Course, key: str, hunt: Hunt | None, *, repaired: Sequence[Planted] = ()) -> None:
    """Remember how a hunt stands; None ends it."""
    with updating_part(course, PART) as saved:
        rows = saved.setdefault("open", {})
        rows.pop(key, None)
        if hunt is not None:
            rows[key] = asdict(hunt)
        saved["repaired"] = sorted({*saved.get("repaired", ()), *(bug.identity for bug in repaired)})


def begin_chapter(course: Course, chapter: Chapter, bugs: int, draw: random.Random, *, key: str = "") -> Hunt:
    """Hand out a hunt in one chapter, under `key` (default: the chapter's name); raises CourseError where there is no bug."""
    pool = [bug for exercise in chapter.exercises.values() for bug in bugs_of(exercise)]

    def compose(planted: Sequence[Planted]) -> str:
        return compose_chapter(chapter, planted, _title(chapter.title, len(planted)), draw)

    return _begin(course, key or chapter.name, chapter.name, pool, bugs, compose, draw)


def begin_drill(course: Course, drill: Drill, draw: random.Random, *, bugs: int | None = None) -> Hunt:
    """Hand out a drill of the course, with bugs that leave the program running."""
    pool = [bug for exercise in exercises_of(course, drill) for bug in bugs_of(exercise)]

    def compose(planted: Sequence[Planted]) -> str:
        text = compose_whole(course, drill.base, planted, _title(drill.title, len(planted)))
        if not runs(course, text):
            raise Incompatible("the program stops")
        return text

    return _begin(course, drill.name, drill.name, pool, bugs or drill.bugs, compose, draw, list(drill.exercises))


def _begin(
    course: Course, key: str, target: str, pool: Sequence[Planted], bugs: int,
    compose: Callable[[Sequence[Planted]], str], draw: random.Random, exercises: list[str] | None = None,
) -> Hunt:  # fmt: skip
    seen = set(part(course, PART).get("seen", ()))
    identities = {bug.identity for bug in pool}
    chosen, text = _choose([bug for bug in pool if bug.identity not in seen], bugs, compose, draw)
    if not chosen:  # all of them were seen: they may come again
        seen -= identities
        chosen, text = _choose(pool, bugs, compose, draw)
    if not chosen:
        raise CourseError(f"{target} has no bug to hunt")
    path = _write(target, text)
    present = exercises or [name for name in course.chapters[target].exercises if _defines(text, name)]
    hunt = Hunt(target, str(path), list(chosen), present)
    with updating_part(course, PART) as saved:
        saved["seen"] = sorted(seen | {bug.identity for bug in chosen})
    save(course, key, hunt)
    return hunt


def _choose(
    unseen: Sequence[Planted], bugs: int, compose: Callable[[Sequence[Planted]], str], draw: random.Random
) -> tuple[list[Planted], str]:
    """Return at most `bugs` of them, in different exercises, that can stand in one file, and the file."""
    chosen: list[Planted] = []
    text = ""
    for bug in draw.sample(list(unseen), len(unseen)):
        if any(bug.exercise == other.exercise for other in chosen):
            continue
        with contextlib.suppress(Incompatible):
            text = compose([*chosen, bug])
            chosen.append(bug)
        if len(chosen) == bugs:
            break
    return chosen, text


def _write(target: str, text: str) -> Path:
    folder = Path.cwd() / FOLDER
    number = 1
    while True:
        path = folder / f"bughunt_{target}_{number}.py"
        try:
            folder.mkdir(exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise CourseError(f"{path} cannot be written: {error.strerror or error}") from None
        else:
            return path


def _title(title: str, bugs: int) -> str:
    number = {1: "One", 2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six"}.get(bugs, str(bugs))
    words = "function does" if bugs == 1 else "functions do"
    return (
        f"Bug hunt: {title}.\n\n{number} {words} not do what the docstring says. Find and repair, save, and run "
        f"`gptdojo bughunt`.\n"
    )


def _defines(text: str, name: str) -> bool:
    return f"\ndef {name}(" in text or f"\nclass {name}:" in text or f"\nclass {name}(" in text


def runs(course: Course, text: str) -> bool:
    """Say whether a program runs from end to end, as its author would see it."""
    course.importable()
    namespace: dict[str, Any] = {"__name__": "__main__"}
    try:
        with one_thread(), time_limit(RUN_SECONDS), contextlib.redirect_stdout(io.StringIO()):
            exec(compile(text, "<drill>", "exec"), namespace)
    except (Exception, Stopped):
        return False
    return True


def belief(course: Course, bug: Planted) -> Misconception:
    """Return the misconception behind a bug; raises CourseError where the course has dropped it."""
    exercise = course.exercises[bug.exercise]
    for entry in load_catalog(exercise.chapter).of(Misconception, bug.exercise):
        if entry.name == bug.misconception:
            return entry
    raise CourseError(f"{exercise.chapter.misconceptions} no longer holds {bug.misconception}")


def progress_in(course: Course, exercises: Sequence[str]) -> tuple[int, int]:
    """Return how many bugs of some exercises were handed out to this learner, and how many there are."""
    seen = set(part(course, PART).get("seen", ()))
    pool = {bug.identity for name in exercises for bug in bugs_of(course.exercises[name])}
    return len(pool & seen), len(pool)
