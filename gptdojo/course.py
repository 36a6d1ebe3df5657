"""The course folder: where it is, which chapters and exercises it has, and where each of their files lies."""

import ast
import re
import sys
import tomllib
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

MARKER = "course.md"
# repetitions are bounded: the time that a hostile text takes grows with its length only
DEFINITION = rb"(?:def|class)\s{1,50}NAME\b|(?:^|\\n|[\n\"])NAME\s{0,50}(?::[^=\n]{0,200})?=(?!=)"
CLASS_COURSE = "course"  # where a class folder keeps its course
CLASS_SEED = "class_seed.txt"  # what makes a folder that of a class
PACKAGED = Path(__file__).parent / "_course"
if not PACKAGED.is_dir():  # an editable install carries the course that it lies in
    PACKAGED = Path(__file__).parents[1]
EXERCISE_KEYS = {"points", "minutes", "difficulty", "asked", "tolerance", "forbids", "hints"}
CHAPTER_KEYS = {"title", "track", "reference", "demonstrations", "exercises"}


class CourseError(Exception):
    """The course folder, or a file of it, is not what it should be; the message says what to do."""


@dataclass(frozen=True)
class Exercise:
    """What chapter.toml says about one exercise."""

    name: str
    chapter: "Chapter" = field(repr=False)
    points: float
    minutes: int
    difficulty: int
    asked: str
    tolerance: float
    forbids: tuple[str, ...]
    hints: tuple[str, ...]
    track: str

    def is_defined_in(self, content: bytes) -> bool:
        """Say whether a text may define it; in a notebook, newlines are written as a backslash and an n."""
        name = self.name.encode()
        return name in content and re.search(DEFINITION.replace(b"NAME", name), content) is not None


@dataclass(frozen=True)
class Chapter:
    """One row of the course: the same name in every room."""

    course: "Course" = field(repr=False)
    name: str

    @property
    def number(self) -> int:
        """8 for 08_topic."""
        return int(self.name[:2])

    @property
    def topic(self) -> str:
        """topic for 08_topic."""
        return self.name[3:]

    @property
    def solution(self) -> Path:
        """The worked chapter, the only source of the notebook."""
        return self.course.root / "solutions" / self.name / f"{self.topic}.py"

    @property
    def notebook(self) -> Path:
        """The released notebook, which the learner fills in."""
        return self.course.root / "exercises" / self.name / f"{self.topic}.ipynb"

    @property
    def properties(self) -> Path:
        """The graded properties."""
        return self.course.root / "tests" / "properties" / f"test_{self.name}.py"

    @property
    def misconceptions(self) -> Path:
        """Wrong on purpose."""
        return self.course.root / "tests" / "misconceptions" / f"{self.name}.py"

    @property
    def alternatives(self) -> Path:
        """Right, and written differently."""
        return self.course.root / "tests" / "alternatives" / f"{self.name}.py"

    @cached_property
    def toml(self) -> dict:
        """chapter.toml as it stands, with its keys checked."""
        path = self.solution.with_name("chapter.toml")
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CourseError(f"{path} is missing: every chapter has a chapter.toml") from None
        except tomllib.TOMLDecodeError as error:
            raise CourseError(f"{path} cannot be read: {error}") from None
        if content.keys() != CHAPTER_KEYS:
            raise CourseError(f"{path} has the keys {sorted(content)}, expected {sorted(CHAPTER_KEYS)}")
        return content

    @property
    def title(self) -> str:
        """The title of the chapter, in words."""
        return self.toml["title"]

    @property
    def track(self) -> str:
        """core or deep; an exercise may say otherwise for itself."""
        return self.toml["track"]

    @property
    def reference(self) -> tuple[str, ...]:
        """The modules of reference/ that belong to this chapter."""
        return tuple(self.toml["reference"])

    @property
    def demonstrations(self) -> tuple[str, ...]:
        """The cells that grading leaves out, by name."""
        return tuple(self.toml["demonstrations"])

    @cached_property
    def exercises(self) -> dict[str, Exercise]:
        """The exercises of the chapter by name, in the order of the notebook."""
        found = {}
        for name, row in self.toml["exercises"].items():
            if row.keys() - {"track"} != EXERCISE_KEYS:
                raise CourseError(
                    f"exercise {name} of {self.name} has the keys {sorted(row)}, expected {sorted(EXERCISE_KEYS)}"
                )
            row = {"track": self.track} | row | {"forbids": tuple(row["forbids"]), "hints": tuple(row["hints"])}
            found[name] = Exercise(name=name, chapter=self, **row)
        return found


def _imported(path: Path, known: Container[str]) -> list[str]:
    """Return the modules of its own package that a module names in its imports."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names += [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [part for alias in node.names for part in alias.name.split(".")]
    return [name for name in names if name in known]


@dataclass(frozen=True)
class Course:
    """A course folder."""

    root: Path

    @cached_property
    def chapters(self) -> dict[str, Chapter]:
        """The chapters by name, in order."""
        folders = sorted(path.parent.name for path in self.root.glob("solutions/[0-9][0-9]_*/chapter.toml"))
        return {name: Chapter(self, name) for name in folders}

    @cached_property
    def exercises(self) -> dict[str, Exercise]:
        """Every exercise of the course by name; a name that occurs twice is an error."""
        found: dict[str, Exercise] = {}
        for chapter in self.chapters.values():
            for name, exercise in chapter.exercises.items():
                if name in found:
                    raise CourseError(f"exercise {name} is in {found[name].chapter.name} and in {chapter.name}")
                found[name] = exercise
        return found

    @cached_property
    def name(self) -> str:
        """The first heading of course.md."""
        for line in (self.root / MARKER).read_text(encoding="utf-8").splitlines():
            if line.startswith("# "):
                return line[2:].strip()
        return self.root.name

    def reference_before(self, chapter: Chapter) -> tuple[str, ...]:
        """Return the modules of reference/ that an exercise of `chapter` may use: those of earlier chapters.

        A module imports only modules of earlier chapters, so what the chapter's own modules import counts too; what this
        chapter or a later one lists never does.
        """
        known = {path.stem: path for path in (self.root / "reference").glob("*.py")}
        later = {m for other in self.chapters.values() if other.number >= chapter.number for m in other.reference}
        waiting = [m for other in self.chapters.values() if other.number <= chapter.number for m in other.reference]
        found: set[str] = set()
        while waiting:
            module = waiting.pop()
            if module not in found and module in known:
                found.add(module)
                waiting += _imported(known[module], known)
        return tuple(sorted(found - later))

    def sources(self, modules: Iterable[str]) -> dict[str, str]:
        """Return the text of the reference package's `__init__` and of some of its modules, by name."""
        folder = self.root / "reference"
        return {name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in ("__init__", *modules)}

    def chapter_of(self, text: str) -> Chapter | None:
        """The chapter that `text` names: 08_topic, 08, 8 or topic."""
        for chapter in self.chapters.values():
            if text in (chapter.name, chapter.topic, chapter.name[:2], str(chapter.number)):
                return chapter
        return None

    def importable(self) -> None:
        """Make `import reference` find this course's modules."""
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))


def find_course(start: Path | None = None) -> Course:
    """Return the course of the nearest folder upward that holds course.md, else the one that the package carries.

    A class folder holds its course in `course/`. Raises CourseError where there is none.
    """
    start = (start or Path.cwd()).resolve()
    for parent in (start, *start.parents):
        folder = parent / CLASS_COURSE if (parent / CLASS_SEED).exists() else parent
        if (folder / MARKER).is_file() and (folder / "solutions").is_dir():
            return Course(folder)
    if (PACKAGED / MARKER).is_file():
        return Course(PACKAGED)
    raise CourseError(
        f"no course here: neither {start} nor a folder above it holds course.md; `gptdojo init DIR` makes one"
    )
