"""The secret seed of a class."""

import os
import secrets
import stat
from pathlib import Path

from gptdojo.course import CLASS_COURSE, CLASS_SEED, Course, CourseError

BITS = 53  # every JSON reader keeps such a number exact


def class_folder(course: Course) -> Path | None:
    """Return the class folder that a course lies in; None for a course that is not a class's."""
    folder = course.root.parent
    return folder if course.root.name == CLASS_COURSE and (folder / CLASS_SEED).exists() else None


def class_seed(course: Course) -> int | None:
    """Return the secret seed of the class that a course belongs to; None where it belongs to none.

    Raises CourseError when the file holds no number, or somebody besides its owner may read it.
    """
    folder = class_folder(course)
    if folder is None:
        return None
    path = folder / CLASS_SEED
    with path.open(encoding="utf-8", errors="replace") as file:
        mode, text = os.fstat(file.fileno()).st_mode, file.read(100).strip()
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CourseError(f"{path} can be read by others than its owner: chmod 600 {path}")
    if not text.isdecimal():
        raise CourseError(f"{path} holds no seed: expected one whole number on its first line, got {text[:20]!r}")
    return int(text)


def write_seed(folder: Path) -> None:
    """Draw a seed, and write it where its owner alone can read it."""
    descriptor = os.open(folder / CLASS_SEED, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{secrets.randbits(BITS)}\n")
