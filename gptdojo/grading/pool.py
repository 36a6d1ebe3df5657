"""Grader processes on this machine: each grades one submission at a time, and is replaced when it fails."""

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gptdojo
from gptdojo.report import SubmissionResult

from .job import Job, broken, unread

ATTEMPTS = 2
CLOSE_SECONDS = 15.0
# more than the grader itself allows an exercise beside the time of the submission: a sandbox that starts, answers that are judged
GRADER_SECONDS = 150.0
PROGRAM = "import sys; sys.path.append({folder!r}); from gptdojo.grading.grader import main; main({fd})"


class Lost(Exception):
    """A grader process is gone, or does not answer any more."""


class GraderProcess:
    """One grader process, for the course of the first job that it gets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._socket, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            program = PROGRAM.format(folder=str(Path(gptdojo.__file__).parents[1]), fd=fd)
            # -P: modules are never taken from the current folder, which may be full of submissions
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[fd],
                start_new_session=True,  # Ctrl-C is the business of whoever owns it
            )
        self._connection = Connection(os.dup(self._socket.fileno()))

    def grade(self, job: Job) -> SubmissionResult:
        """Return the result of a job; raises Lost."""
        exercises = len(job.candidates()) or 1
        seconds = (exercises + 1) * (2 * job.options.limits.seconds + GRADER_SECONDS)
        try:
            self._connection.send(job)
            if not self._connection.poll(seconds):
                raise Lost(f"the grader's process did not answer within {seconds:.0f} seconds")
            return self._connection.recv()
        except (EOFError, OSError):
            code = self._ended()
            raise Lost(f"the grader's process ended ({code})") from None

    def _ended(self) -> str:
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return "it closed its socket"
        return f"signal {-code}" if code < 0 else f"exit status {code}"

    def hang_up(self) -> None:
        """Tell it to end, whatever it does."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it and all it started."""
        self.hang_up()
        try:
            self.process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._connection.close()
        self._socket.close()


class Graders:
    """A grader process for each of some threads. Use it as a context manager: on leaving, all of them are gone."""

    def __init__(self, jobs: int) -> None:
        self.width = 2 * jobs
        self._threads = ThreadPoolExecutor(jobs)
        self._own = threading.local()
        self._processes: set[GraderProcess] = set()
        self._closed = False

    def __enter__(self) -> "Graders":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def submit(self, job: Job) -> "Future[SubmissionResult]":
        """Return the future result of a job."""
        return self._threads.submit(self.grade, job)

    def grade(self, job: Job) -> SubmissionResult:
        """Grade in this thread's process; when the grader fails, once more in a process that is fresh."""
        if job.unreadable:
            return unread(job)
        for _ in range(ATTEMPTS):
            process = self._process(job.options.root)
            try:
                result = process.grade(job)
            except Lost as error:
                if self._closed:
                    raise
                result = broken(job, str(error))
            if not result.grader_failed:
                break
            self._drop(process)
        return result

    def pids(self) -> list[int]:
        """Return the numbers of the processes that grade."""
        return [process.process.pid for process in self._processes]

    def _process(self, root: Path) -> GraderProcess:
        process: GraderProcess | None = getattr(self._own, "process", None)
        if process is not None and process.root != root:  # it has the modules of another course loaded
            self._drop(process)
            process = None
        if process is None:
            process = self._own.process = GraderProcess(root)
            self._processes.add(process)
            if self._closed:  # meanwhile
                process.hang_up()
        return process

    def _drop(self, process: GraderProcess) -> None:
        self._own.process = None
        self._processes.discard(process)
        process.close()

    def close(self) -> None:
        """End every process with what it is grading; wait until they are gone."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        processes = list(self._processes)
        for process in processes:
            process.hang_up()
        for process in processes:
            process.close()
