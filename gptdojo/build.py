"""Makes the notebooks of exercises/ from solutions/, and tells whether they are what solutions/ makes."""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .authoring.changes import differences, learner_changes
from .authoring.release import Releaser, stub_source
from .authoring.source import solution_source
from .course import Chapter, Course, CourseError

__all__ = ["Built", "Difference", "build", "check", "solution_source", "stub_source"]


@dataclass(frozen=True)
class Built:
    """What became of one chapter's notebook.

    `written`: it is there, made from today's solutions. `unchanged`: it already was. `kept`: somebody has filled it in,
    so it was left alone; `changes` says what they wrote, `outdated` in what it is not what solutions/ makes (often
    nothing). `failed`: the author has to repair something, said in `error`; nothing was written.
    """

    chapter: str
    status: Literal["written", "unchanged", "kept", "failed"]
    notebook: Path
    changes: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Difference:
    """One way in which exercises/ is not what solutions/ makes.

    `missing`: there is no notebook. `differs`: `cells` says in which cells. `stray`: nothing makes this file or folder.
    `broken`: solutions/ makes nothing, the message says why. `chapter` is empty for a stray outside every chapter.
    """

    chapter: str
    kind: Literal["missing", "differs", "stray", "broken"]
    path: Path
    message: str
    cells: tuple[str, ...] = ()


def build(course: Course, *, chapters: Iterable[Chapter] | None = None) -> list[Built]:
    """Make each chapter's source notebook and its released notebook; without `chapters`, those of the whole course.

    A released notebook that somebody has filled in is never touched, and one chapter's failure does not stop the
    others. Files appear whole or not at all, and one that is as it should be is not written again. Raises CourseError
    where nbgrader or the course's nbgrader_config.py is missing.
    """
    releaser = Releaser(course)
    return [_build_chapter(chapter, releaser) for chapter in _chosen(course, chapters)]


def check(course: Course, *, chapters: Iterable[Chapter] | None = None) -> list[Difference]:
    """Return what of exercises/ is not what solutions/ makes; empty when all is fine. Writes nothing.

    Whatever a learner may do to a notebook (answer, run, change demonstrations, add cells) is no difference. Stray
    files are looked for only when all chapters are. Raises CourseError as build does.
    """
    releaser = Releaser(course)
    found = [one for chapter in _chosen(course, chapters) for one in _check_chapter(chapter, releaser)]
    return found if chapters is not None else [*found, *_strays(course)]


def _chosen(course: Course, chapters: Iterable[Chapter] | None) -> list[Chapter]:
    return list(course.chapters.values() if chapters is None else chapters)


def _build_chapter(chapter: Chapter, releaser: Releaser) -> Built:
    path = chapter.notebook
    try:
        source = releaser.source(chapter)
        released = releaser.release(chapter, source)
    except CourseError as error:
        return Built(chapter.name, "failed", path, error=str(error))
    _replace(chapter.solution.with_suffix(".ipynb"), source)
    existing = _text(path)
    if existing == released:
        return Built(chapter.name, "unchanged", path)
    if existing is not None and (changes := learner_changes(existing, released)):
        return Built(chapter.name, "kept", path, tuple(changes), tuple(differences(existing, released)))
    _replace(path, released)
    return Built(chapter.name, "written", path)


def _check_chapter(chapter: Chapter, releaser: Releaser) -> Iterator[Difference]:
    path = chapter.notebook
    try:
        released = releaser.release(chapter)
    except CourseError as error:
        yield Difference(chapter.name, "broken", chapter.solution, str(error))
        return
    existing = _text(path)
    if existing is None:
        yield Difference(chapter.name, "missing", path, "there is no notebook; `gptdojo build` makes it")
    elif existing != released and (cells := differences(existing, released)):
        advice = "`gptdojo build` makes it again"
        if learner_changes(existing, released):
            advice = "somebody has filled it in, so move it away before `gptdojo build` makes it again"
        message = f"it is not what solutions/ makes ({', '.join(cells)}); {advice}"
        yield Difference(chapter.name, "differs", path, message, tuple(cells))


def _strays(course: Course) -> Iterator[Difference]:
    """Yield the files of exercises/ that no chapter makes, but for hidden ones, which editors and tools leave.

    Where git keeps the course, only what git keeps: other files are the learner's own.
    """
    folder = course.root / "exercises"
    made = {chapter.notebook for chapter in course.chapters.values()}
    for path in sorted(_kept_by_git(folder) or folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path not in made and not hidden and path.is_file():
            chapter = parts[0] if parts[0] in course.chapters else ""
            yield Difference(chapter, "stray", path, "nothing in solutions/ makes it; delete it")


def _kept_by_git(folder: Path) -> list[Path] | None:
    """Return the files under a folder that git keeps; None where git keeps none of them, or there is no git."""
    if not folder.is_dir():
        return None
    command = ["git", "-C", str(folder), "ls-files", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [folder / name for name in listed.split("\0") if name] or None


def _text(path: Path) -> str | None:
    """Return the text of a notebook; None where there is none. What cannot be read gives a text that is no notebook."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        return f"{type(error).__name__}: {error}"


def _replace(path: Path, text: str) -> None:
    """Put a text in the place of a file in one step; leave a file alone that holds it already."""
    if _text(path) == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(name).chmod(0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
