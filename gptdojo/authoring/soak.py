"""Many seeds: no right variant ever fails, and no misconception ever passes.

`python -m gptdojo.authoring.soak` runs every right variant with 200 seeds and every misconception with 20, and goes on where it was
stopped; `--seconds N` runs another part of them each day.
"""

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gptdojo.course import Course, Exercise, find_course

RIGHT_SEEDS, WRONG_SEEDS = 200, 20
BATCH = 10


@dataclass(frozen=True)
class Job:
    """One variant of one exercise, with some seeds; `digest` tells whether what it depends on has changed."""

    exercise: str
    variant: str
    right: bool
    seeds: tuple[int, ...]
    digest: str

    @property
    def key(self) -> str:
        """What a finished job is remembered by."""
        return f"{self.digest}/{self.exercise}/{self.variant}/{self.seeds[0]}"


def jobs(course: Course, names: Sequence[str]) -> Iterator[Job]:
    """Return all jobs of the course, or of the chapters and exercises that are named."""
    from gptdojo.gate import chosen
    from gptdojo.solutions import right_variants, wrong_variants

    for exercise in chosen(course, list(names)):
        digest = _digest(exercise)
        for right, variants, count in (
            (True, right_variants(exercise), RIGHT_SEEDS),
            (False, wrong_variants(exercise), WRONG_SEEDS),
        ):
            for variant in variants:
                for first in range(0, count, BATCH):
                    yield Job(exercise.name, variant, right, tuple(range(first, first + BATCH)), digest)


def _digest(exercise: Exercise) -> str:
    chapter = exercise.chapter
    files = [chapter.solution, chapter.properties, chapter.misconceptions, chapter.alternatives]
    files += sorted(chapter.course.root.glob("reference/*.py")) + sorted(
        chapter.course.root.glob("tests/strategies/*.py")
    )
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def run(root: Path, job: Job) -> list[str]:
    """Run one job; return a line for each wrong verdict."""
    import torch

    from gptdojo.gate import grade
    from gptdojo.solutions import right_variants, wrong_variants

    torch.set_num_threads(1)
    exercise = Course(root).exercises[job.exercise]
    variant = (right_variants if job.right else wrong_variants)(exercise)[job.variant]
    wrong = []
    for seed in job.seeds:
        result, _ = grade(exercise, variant, seed)
        if (result.status == "passed") != job.right:
            kind = "right variant" if job.right else "misconception"
            wrong.append(
                f"{kind} {job.variant} of {job.exercise} is {result.status} with seed {seed}: {result.message}"
            )
    return wrong


def finished(record: Path) -> dict[str, list[str]]:
    """Return the jobs that are done, with their wrong verdicts; a line that a stop cut short is left out."""
    done: dict[str, list[str]] = {}
    if record.exists():
        for line in record.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                done[entry["key"]] = entry["wrong"]
            except (ValueError, KeyError):
                continue
    return done


def main() -> int:
    """Run the soak, or a part of it; return 1 if any verdict was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="chapters or exercises; all if left out")
    parser.add_argument("--seconds", type=float, help="stop after this time; which part runs changes with the day")
    parser.add_argument("--record", type=Path, default=Path("results/soak.jsonl"), help="what is done, to go on from")
    arguments = parser.parse_args()
    course = find_course()
    everything = list(jobs(course, arguments.names))
    if arguments.seconds:
        random.Random(date.today().toordinal()).shuffle(everything)
        done: dict[str, list[str]] = {}
    else:
        arguments.record.parent.mkdir(parents=True, exist_ok=True)
        done = finished(arguments.record)
    verdicts, wrong = soak(course, everything, done, arguments.seconds, arguments.record)
    print(*wrong, sep="\n" if wrong else "")
    print(f"{verdicts} verdicts, {len(wrong)} wrong")
    return bool(wrong)


def soak(
    course: Course, everything: Sequence[Job], done: dict[str, list[str]], seconds: float | None, record: Path
) -> tuple[int, list[str]]:
    """Run the jobs that are not done; return the number of verdicts and the wrong ones, of earlier runs too."""
    start = time.monotonic()
    waiting = [job for job in everything if job.key not in done]
    wrong = [line for job in everything for line in done.get(job.key, ())]
    verdicts = sum(len(job.seeds) for job in everything if job.key in done)
    columns = (TextColumn("soak"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        ProcessPoolExecutor(2, get_context("spawn")) as pool,
        Progress(*columns, disable=not sys.stderr.isatty()) as bar,
    ):
        task = bar.add_task("soak", total=len(waiting))
        for first in range(0, len(waiting), 2 * BATCH):
            part = waiting[first : first + 2 * BATCH]
            for job, lines in zip(part, pool.map(run, [course.root] * len(part), part), strict=True):
                verdicts += len(job.seeds)
                wrong += lines
                bar.advance(task)
                if seconds is None:
                    with record.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({"key": job.key, "wrong": lines}) + "\n")
            if seconds is not None and time.monotonic() - start > seconds:
                break
    return verdicts, wrong


if __name__ == "__main__":
    sys.exit(main())
