"""Grades mutants, each in a process of its own, which may loop for ever, take all memory or die."""

import contextlib
import gc
import os
import resource
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess

import torch

from gptdojo.authoring.mutation import Mutant, Variant
from gptdojo.catalog import load_catalog
from gptdojo.course import Exercise
from gptdojo.faults import Stopped
from gptdojo.ladder import run_property
from gptdojo.solutions import as_implementation

PROCESSES = 2
CPU_SECONDS = 10  # a right variant takes half a second
WALL_SECONDS = 90  # for what waits without computing, on a busy machine
MEMORY = 8 * 2**30
SEEDS = (0, 1, 2, 3)
SURVIVED = "survived"
FORK = get_context("fork")


@dataclass(frozen=True)
class Job:
    """A mutant to grade; `key` tells whether it was graded before, on the same properties."""

    mutant: Mutant
    variant: Variant
    exercise: Exercise
    key: str


def verdict_on(job: Job) -> str:
    """Run the properties on a mutant until one fails.

    The verdict is `killed by ...` or SURVIVED; `dies only with seed ...` when the first seed lets it live; `breaks the
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
    return SURVIVED


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
