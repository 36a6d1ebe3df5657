"""Mutation testing of the properties: every small change of a right variant is rejected, or a person has said why it is right.

`python -m gptdojo.authoring.mutants [CHAPTER|EXERCISE]...` changes each solution and each alternative in every way that the
operators know, one change at a time, and runs the properties on each mutant in a process of its own. It goes on where it was
stopped. The survivors that are as right as what they were made from stand with their reasons in tests/mutants/equivalent.toml.
"""

import argparse
import contextlib
import gc
import hashlib
import json
import os
import resource
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gptdojo.authoring.mutation import Mutant, Variant, mutants_of, variants_of
from gptdojo.catalog import load_catalog
from gptdojo.course import Course, CourseError, Exercise, find_course
from gptdojo.faults import Stopped
from gptdojo.ladder import run_property
from gptdojo.solutions import as_implementation

PROCESSES = 2
CPU_SECONDS = 10  # a right variant takes half a second
WALL_SECONDS = 90  # for what waits without computing, on a busy machine
MEMORY = 8 * 2**30
SEEDS = (0, 1, 2, 3)
FORK = get_context("fork")


@dataclass(frozen=True)
class Job:
    """A mutant to grade; `key` tells whether it was graded before, on the same properties."""

    mutant: Mutant
    variant: Variant
    exercise: Exercise
    key: str


@dataclass(frozen=True)
class Excuse:
    """Why a survivor is as right as what it was made from."""

    name: tuple[str, str, str, str, int]
    reason: str


def jobs(course: Course, exercises: Iterable[Exercise]) -> list[Job]:
    """Return a job for each mutant of the exercises, those of the solutions first."""
    found = []
    for exercise in exercises:
        judge = _digest_of_the_judge(exercise)
        for variant in variants_of(exercise):
            for mutant in mutants_of(course, variant):
                text = "\0".join((judge, exercise.name, variant.imports, mutant.source))
                found.append(Job(mutant, variant, exercise, hashlib.sha256(text.encode()).hexdigest()[:20]))
    return sorted(found, key=lambda job: job.variant.name != "solution")


def _digest_of_the_judge(exercise: Exercise) -> str:
    """Tell one state of everything that decides a verdict from another."""
    chapter = exercise.chapter
    course = chapter.course
    texts = [chapter.properties.read_text(encoding="utf-8"), repr((exercise.tolerance, exercise.forbids))]
    texts += course.sources({*course.reference_before(chapter), *chapter.reference}).values()
    texts += [path.read_text(encoding="utf-8") for path in sorted(course.root.glob("tests/strategies/*.py"))]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def verdict_on(job: Job) -> str:
    """Run the properties on a mutant until one fails.

    The verdict is `killed by ...` or `survived`; `dies only with seed ...` when the first seed lets it live; `breaks the
    property ...` when a property fails for a reason of its own.
    """
    namespace = dict(job.variant.namespace)
    name = job.exercise.name if job.variant.name == "solution" else job.variant.name
    try:
        exec(compile(job.mutant.source, "<mutant>", "exec"), namespace)
        impl = as_implementation(job.exercise, namespace[name])
    except Exception as error:
        return f"killed by {type(error).__name__} in its definition"
    for seed in SEEDS:
        for entry in load_catalog(job.exercise.chapter).properties(job.exercise.name):
            try:
                failure = run_property(entry, impl, seed, shrink=False)
            except Stopped as stopped:
                failure = stopped
            except Exception as error:
                return f"breaks the property {entry.name}: {type(error).__name__}: {error}"[:200]
            if failure is not None:
                return f"killed by {entry.name}" if seed == SEEDS[0] else f"dies only with seed {seed}, by {entry.name}"
    return "survived"


def _child(job: Job, answer: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    with contextlib.suppress(BaseException):
        answer.send(verdict_on(job))
    os._exit(0)


@dataclass
class _Running:
    job: Job
    process: ForkProcess
    since: float

    def ended(self, answer: Connection) -> str:
        """Return the verdict of a process that has answered, has died or has had its time."""
        try:
            verdict = answer.recv() if answer.poll() else "killed by the clock"
        except EOFError:
            verdict = "killed by the limits of its process"
        self.process.kill()
        self.process.join()
        answer.close()
        return verdict


def verdicts(todo: Iterable[Job]) -> Iterator[tuple[Job, str]]:
    """Grade mutants, a few at a time, each in a process that is forked for it; yield the verdicts as they come."""
    running: dict[Connection, _Running] = {}
    waiting = iter(todo)
    exhausted = False
    try:
        while running or not exhausted:
            while len(running) < PROCESSES and not exhausted:
                job = next(waiting, None)
                exhausted = job is None
                if job is not None:
                    answer, question = FORK.Pipe(duplex=False)
                    process = FORK.Process(target=_child, args=(job, question), daemon=True)
                    process.start()
                    question.close()
                    running[answer] = _Running(job, process, time.monotonic())
            answered = wait(list(running), timeout=1.0)
            for answer in list(running):
                if answer in answered or time.monotonic() - running[answer].since > WALL_SECONDS:
                    ended = running.pop(answer)
                    yield ended.job, ended.ended(answer)
    finally:
        for left in running.values():
            left.process.kill()


def warm_up(exercises: Collection[Exercise]) -> None:
    """Load what all mutants need, so that a fork has it. Runs no property: autograd does not survive a fork."""
    torch.set_num_threads(1)
    for exercise in exercises:
        load_catalog(exercise.chapter).properties(exercise.name)
    gc.collect()
    gc.freeze()


def excuses(course: Course) -> list[Excuse]:
    """Return the survivors that are right, with the reasons that tests/mutants/equivalent.toml gives."""
    path = course.root / "tests" / "mutants" / "equivalent.toml"
    if not path.exists():
        return []
    found = []
    for row in tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", []):
        if not row.keys() >= {"exercise", "variant", "was", "becomes", "reason"} or not row["reason"].strip():
            raise CourseError(f"{path}: an entry needs exercise, variant, was, becomes and a reason: {row}")
        for becomes in row["becomes"]:
            name = (row["exercise"], row["variant"], row["was"], becomes, row.get("at", 0))
            found.append(Excuse(name, row["reason"]))
    return found


def finished(record: Path) -> dict[str, str]:
    """Return the verdicts that are known, by key; a line that a stop cut short is left out."""
    done: dict[str, str] = {}
    if record.exists():
        for line in record.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError):
                entry = json.loads(line)
                done[entry["key"]] = entry["verdict"]
    return done


def run(everything: Sequence[Job], record: Path, seconds: float | None = None) -> dict[str, str]:
    """Grade the mutants that the record does not know, until the time is up; return all verdicts by key."""
    done = finished(record)
    todo = list({job.key: job for job in everything if job.key not in done}.values())
    start = time.monotonic()
    columns = (TextColumn("mutants"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    record.parent.mkdir(parents=True, exist_ok=True)

    def in_time() -> Iterator[Job]:
        for job in todo:
            if seconds is not None and time.monotonic() - start > seconds:
                return
            yield job

    with Progress(*columns, disable=not sys.stderr.isatty()) as bar, record.open("a", encoding="utf-8") as file:
        task = bar.add_task("mutants", total=len(todo))
        for job, verdict in verdicts(in_time()):
            done[job.key] = verdict
            entry = {"key": job.key, "verdict": verdict, "mutant": job.mutant.name}
            file.write(json.dumps(entry) + "\n")
            file.flush()
            bar.advance(task)
    return done


def report(everything: Sequence[Job], done: Mapping[str, str], excused: Sequence[Excuse]) -> bool:
    """Print the figures and whatever is not explained; return whether all is explained."""
    reasons = {excuse.name: excuse.reason for excuse in excused}
    counts: dict[str, Counter] = {}
    unexplained: list[tuple[Mutant, str]] = []
    used = set()
    for job in everything:
        row = counts.setdefault(job.exercise.chapter.name, Counter())
        verdict = done.get(job.key)
        row["mutants"] += 1
        if verdict is None:
            row["left"] += 1
        elif verdict.startswith("killed"):
            row["killed"] += 1
        elif job.mutant.name in reasons:
            used.add(job.mutant.name)
            row["equivalent"] += 1
        else:
            row["survived"] += 1
            unexplained.append((job.mutant, verdict))
    for mutant, verdict in unexplained:
        print(f"{mutant}\n  {verdict}\n")
    graded = {(job.exercise.name, job.variant.name) for job in everything}
    graded -= {(job.exercise.name, job.variant.name) for job in everything if job.key not in done}
    idle = [excuse.name for excuse in excused if excuse.name[:2] in graded and excuse.name not in used]
    for name in idle:
        print(f"equivalent.toml excuses what does not survive: {name}")
    columns = ("mutants", "killed", "survived", "equivalent", "left")
    print(f"{'chapter':24}" + "".join(f"{column:>12}" for column in columns))
    counts["all"] = sum(counts.values(), Counter())
    for chapter, row in counts.items():
        print(f"{chapter:24}" + "".join(f"{row[column]:12}" for column in columns))
    return not unexplained and not idle


def main() -> int:
    """Make the mutants, grade them and report; return 1 if one survives unexplained."""
    from gptdojo.gate import chosen

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="chapters or exercises; all if left out")
    parser.add_argument(
        "--seconds", type=float, help="stop after this time; what is left is said, and done the next time"
    )
    parser.add_argument(
        "--record", type=Path, default=Path("results/mutants.jsonl"), help="what is done, to go on from"
    )
    arguments = parser.parse_args()
    course = find_course()
    exercises = chosen(course, arguments.names)
    if not exercises:
        parser.error(f"no chapter and no exercise is called {', '.join(arguments.names)}")
    warm_up(exercises)
    everything = jobs(course, exercises)
    done = run(everything, arguments.record, arguments.seconds)
    return not report(everything, done, excuses(course))


if __name__ == "__main__":
    sys.exit(main())
