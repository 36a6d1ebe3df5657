"""Mutation testing of the properties: every small change of a right variant is rejected, or a person has said why it is right.

`python -m gptdojo.authoring.mutants [CHAPTER|EXERCISE]...` changes each solution and each alternative in every way that the
operators know, one change at a time, and runs the properties on each mutant in a process of its own. It goes on where it was
stopped. The survivors that are as right as what they were made from stand with their reasons in tests/mutants/equivalent.toml.
"""

import argparse
import contextlib
import hashlib
import json
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gptdojo.authoring.mutation import Mutant, mutants_of, unchanged, variants_of
from gptdojo.authoring.trial import SURVIVED, Job, verdicts, warm_up
from gptdojo.course import Course, CourseError, Exercise, find_course


@dataclass(frozen=True)
class Excuse:
    """Why a survivor is as right as what it was made from."""

    name: tuple[str, str, str, str, int]
    reason: str


def jobs(course: Course, exercises: Iterable[Exercise]) -> list[Job]:
    """Return a job for each mutant of the exercises, those of the solutions first, and for each variant as it stands."""
    found = []
    for exercise in exercises:
        judge = _digest_of_the_judge(exercise)
        for variant in variants_of(exercise):
            for mutant in (unchanged(variant), *mutants_of(course, variant)):
                text = "\0".join((judge, exercise.name, variant.imports, mutant.source))
                found.append(Job(mutant, variant, exercise, hashlib.sha256(text.encode()).hexdigest()[:20]))
    return sorted(found, key=lambda job: job.variant.name != "solution")


def _digest_of_the_judge(exercise: Exercise) -> str:
    """Tell one state of everything that decides a verdict from another."""
    chapter = exercise.chapter
    course = chapter.course
    texts = [chapter.properties.read_text(encoding="utf-8"), repr((exercise.tolerance, exercise.forbids))]
    texts += course.sources(sorted({*course.reference_before(chapter), *chapter.reference})).values()
    for path in sorted(course.root.glob("tests/strategies/*.py")):
        if path.stem in texts[0]:
            texts.append(path.read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


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
        if job.mutant.unchanged:
            if verdict not in (None, SURVIVED):
                unexplained.append((job.mutant, f"{verdict}, although nothing was changed"))
            continue
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
