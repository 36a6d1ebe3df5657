"""For each misconception, the screen that its author would see.

`python -m gptdojo.authoring.messages docs/messages.md` writes them all, to be read as that author.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console

from gptdojo.catalog import Misconception, load_catalog
from gptdojo.course import Chapter, Exercise, find_course
from gptdojo.ladder import run_ladder
from gptdojo.screen import exercise_screen
from gptdojo.solutions import as_implementation

INTRODUCTION = """# What a learner is told

For each misconception of the course, the screen that its author sees. Made by `make messages`."""
WIDTH = 110
SEED = 0


def screen(exercise: Exercise, entry: Misconception) -> str:
    """Return what the author of a misconception sees, as plain text."""
    catalog = load_catalog(exercise.chapter)
    result = run_ladder(exercise, catalog, as_implementation(exercise, entry.implementation), SEED)
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None)
    console.print(exercise_screen(result))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def section(chapter: Chapter) -> Iterator[str]:
    """Return what the page has of one chapter, piece by piece."""
    yield f"\n## {chapter.number}. {chapter.title}"
    for exercise in chapter.exercises.values():
        yield f"\n### {exercise.name}"
        for entry in load_catalog(chapter).of(Misconception, exercise.name):
            yield f"\n#### {entry.name}\n\n```text\n{screen(exercise, entry)}\n```"


def main() -> None:
    """Write the page to the path that is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="where to write the page")
    parser.add_argument("chapters", nargs="*", help="chapters by name; all if left out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    course = find_course()
    chapters = [course.chapters[name] for name in arguments.chapters] or list(course.chapters.values())
    pieces = [piece for chapter in chapters for piece in section(chapter)]
    arguments.path.write_text("\n".join((INTRODUCTION, *pieces)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
