"""The drills that a course brings along: a whole program of several exercises, in tests/drills/NAME.py and NAME.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from gptdojo.course import Course, CourseError, Exercise

KEYS = {"title", "bugs", "exercises", "then", "prove", "rejects", "instructions", "part_two", "done"}


@dataclass(frozen=True)
class Drill:
    """A program in which `bugs` of its `exercises` get broken.

    Once it is whole, the exercises of `then` have to be added to it, and last a test of the exercise `prove` that rejects
    the share `rejects` of its misconceptions.
    """

    name: str
    base: Path
    title: str
    bugs: int
    exercises: tuple[str, ...]
    then: tuple[str, ...]
    prove: str
    rejects: float
    instructions: str
    part_two: str
    done: str


def drills(course: Course) -> dict[str, Drill]:
    """Return the drills of a course by name."""
    return {path.stem: _drill(course, path) for path in sorted((course.root / "tests" / "drills").glob("*.toml"))}


def _drill(course: Course, path: Path) -> Drill:
    try:
        row = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"{path} cannot be read: {error}") from None
    if row.keys() != KEYS:
        raise CourseError(f"{path} has the keys {sorted(row)}, expected {sorted(KEYS)}")
    unknown = {*row["exercises"], *row["then"], row["prove"]} - course.exercises.keys()
    if unknown:
        raise CourseError(f"{path} names {', '.join(sorted(unknown))}, which is no exercise")
    row |= {"exercises": tuple(row["exercises"]), "then": tuple(row["then"])}
    row |= {name: " ".join(row[name].split()) for name in ("instructions", "part_two", "done")}
    return Drill(name=path.stem, base=path.with_suffix(".py"), **row)


def exercises_of(course: Course, drill: Drill) -> list[Exercise]:
    """Return the exercises that may be broken."""
    return [course.exercises[name] for name in drill.exercises]
