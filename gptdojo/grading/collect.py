"""Finds submissions and reads them without trusting them."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptdojo.course import Course, Exercise

MAX_BYTES = 20 * 2**20
SUFFIXES = (".ipynb", ".py")
SKIPPED_FOLDERS = {"__pycache__", "node_modules"}


class Unreadable(Exception):
    """A submission that cannot be opened as a plain file of bounded size; the message says why."""


@dataclass(frozen=True)
class Submission:
    """One file to grade. `learner` and `chapter` are what its place says of it."""

    path: Path
    learner: str | None = None
    chapter: str | None = None

    @property
    def kind(self) -> str:
        """ipynb or py."""
        return self.path.suffix.removeprefix(".")

    def read(self) -> bytes:
        """Return the content; raises Unreadable for links, devices, fifos and files that are too large."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise Unreadable(f"it cannot be opened: {error.strerror}") from None
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable("it is not a plain file")
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise Unreadable(f"it is larger than {MAX_BYTES >> 20} MiB")
        return content


def collect(course: Course, paths: Iterable[Path]) -> list[Submission]:
    """Return the submissions that files and folders hold, in the order of their names.

    A folder is searched for notebooks and Python files. In a path that ends in LEARNER/CHAPTER/file, as in nbgrader's submitted/,
    the learner is known. Raises FileNotFoundError for a path that does not exist.
    """
    found = []
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            found += [_placed(course, file) for file in _files(path)]
        elif os.path.lexists(path):
            found.append(_placed(course, path))
        else:
            raise FileNotFoundError(f"{path} does not exist")
    once: dict[str, Submission] = {}
    for submission in found:  # a file that is named twice, however it is written, is one submission
        once.setdefault(os.path.abspath(submission.path), submission)
    return list(once.values())


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS)
        yield from (
            Path(parent, name) for name in sorted(names) if name.endswith(SUFFIXES) and not name.startswith(".")
        )


def _placed(course: Course, path: Path) -> Submission:
    parent = path.absolute().parent
    if parent.name in course.chapters:
        in_submitted = parent.parent.parent.name == "submitted"
        return Submission(path, parent.parent.name if in_submitted else None, parent.name)
    named = [chapter.name for chapter in course.chapters.values() if path.stem in (chapter.name, chapter.topic)]
    return Submission(path, None, named[0] if named else None)


def candidates(course: Course, submission: Submission, content: bytes, only: Sequence[str]) -> list[Exercise]:
    """Return what a submission may be graded on: those named in `only`, else all of its chapter and those its text defines."""
    if only:
        return [course.exercises[name] for name in only]
    return [e for e in course.exercises.values() if e.chapter.name == submission.chapter or e.is_defined_in(content)]
