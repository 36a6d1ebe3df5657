"""Runs a learner's test in a process of its own, which is ended when one implementation takes too long."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gptdojo.course import Course, CourseError, Exercise

from .attempt import Variant, Verdict

START_SECONDS = 120.0
SECONDS = 10.0

Progress = Callable[[int, int], None]


def try_file(
    course: Course, exercise: Exercise, path: Path, progress: Progress = lambda done, of: None
) -> list[Verdict]:
    """Return the verdict of the tests in a file on each right and wrong implementation of an exercise.

    `progress` is told how many are done. Raises CourseError where the file cannot be run or holds no test.
    """
    verdicts: list[Verdict] = []
    known: list[Variant] = []
    while not known or len(verdicts) < len(known):
        with _Worker([str(course.root), exercise.name, str(path), str(len(verdicts))]) as worker:
            known = _introduced(worker.line(START_SECONDS), path)
            while len(verdicts) < len(known):
                row = worker.line(SECONDS)
                outcome = row["outcome"] if "outcome" in row else row["ended"]
                verdicts.append(Verdict(known[len(verdicts)], outcome, row.get("message", "")))
                progress(len(verdicts), len(known))
                if "ended" in row:
                    break
    return verdicts


def _introduced(row: dict[str, Any], path: Path) -> list[Variant]:
    if "ended" in row:
        raise CourseError(
            f"{path} does not run to its end" if row["ended"] == "timeout" else f"{path} ends the process"
        )
    if row["problem"]:
        raise CourseError(f"{path} cannot be run: {row['problem']}")
    if not row["tests"]:
        raise CourseError(f"{path} holds no test: a function whose name starts with test_, with the parameter impl")
    return [Variant(**variant) for variant in row["variants"]]


class _Worker:
    """The process, and the lines that it says."""

    def __init__(self, arguments: list[str]) -> None:
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gptdojo.study.attempt_worker", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def line(self, seconds: float) -> dict[str, Any]:
        """Return what the process says next; `{"ended": why}` where it says nothing in time, or has ended."""
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            return {"ended": "timeout"}
        row: dict[str, Any] = {"ended": "crashed"} if line is None else json.loads(line)
        return row

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *error: object) -> None:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()
