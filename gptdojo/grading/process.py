"""A submission's process, and the pipe that the grader talks to it through."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gptdojo import worker
from gptdojo.course import Course
from gptdojo.faults import Stopped
from gptdojo.implementation import Session
from gptdojo.show import printable
from gptdojo.worker.frames import BadFrame, Closed, FramePipe, Late

MAX_CALL_BACKS = 200_000
START = "import sys; sys.path[:0] = [{root!r}]; import runpy; runpy.run_module('gptdojo_worker', run_name='__main__')"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
}


class WorkerProcess:
    """One submission in a process of its own, with nothing in its folder but the worker and the reference of earlier chapters.

    Use it as a context manager; it is killed, with all it started, on leaving. Implements Transport.
    """

    def __init__(self, course: Course, modules: Iterable[str], *, seconds: float, memory_mib: int) -> None:
        self.seconds = seconds
        self.number = 0
        self.folder = Path(tempfile.mkdtemp(prefix="gptdojo-"))
        shutil.copytree(Path(worker.__file__).parent, self.folder / "gptdojo_worker", ignore=shutil.ignore_patterns("__pycache__"))
        _copy_reference(course, modules, self.folder / "reference")
        scratch = self.folder / "scratch"
        scratch.mkdir()
        limit = memory_mib * 2**20
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", START.format(root=str(self.folder))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=scratch,
            env=ENVIRONMENT | {"HOME": str(scratch), "TMPDIR": str(scratch)},
            start_new_session=True,
            bufsize=0,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.pipe = FramePipe(self.process.stdout.fileno(), self.process.stdin.fileno(), patient=False)

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """End the process and its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def alive(self) -> bool:
        """Whether it can still answer."""
        return self.process.poll() is None

    def start_clock(self) -> None:
        """Give what follows the full time limit."""
        self.pipe.deadline = time.monotonic() + self.seconds

    def load(self, kind: str, content: bytes, names: Iterable[str], skip: Iterable[str]) -> tuple[list[str], list[dict]]:
        """Run the submission; return which of `names` it defines, and what its cells raised. Raises Stopped."""
        known = list(names)
        self.start_clock()
        reply = self._exchange({"op": "load", "kind": kind, "content": content, "names": known, "skip": list(skip)})
        try:
            defined = [name for name in reply["defined"] if name in known]
            return defined, [_note(note) for note in reply["notes"][:50]]
        except (KeyError, TypeError) as error:
            raise Stopped("crashed", f"the reply of the submission's process makes no sense: {error!r:.200}") from None

    def request(self, message: dict, call_back: Session) -> dict:
        """Send a request and answer call-backs until its reply comes; raises Stopped."""
        self.number += 1
        reply = self._exchange(message | {"number": self.number})
        for _ in range(MAX_CALL_BACKS):
            if reply.get("op") != "callback":
                break
            reply = self._exchange(call_back.answer(reply))
        if reply.get("number") != self.number:
            self._stop("crashed", "a reply came that answers no question")
        return reply

    def _exchange(self, message: dict) -> dict:
        try:
            self.pipe.send(message)
            return self.pipe.receive()
        except Late:
            self._stop("timeout", f"no answer within {self.seconds:g} seconds; is there a loop that never ends?")
        except BadFrame as error:
            self._stop("crashed", f"the submission's process sent something that is no reply ({error})")
        except Closed:
            self._stop(*self._ending())
        raise AssertionError("unreachable")

    def _stop(self, status: str, message: str) -> None:
        self.kill()
        raise Stopped(status, message)

    def _ending(self) -> tuple[str, str]:
        try:
            code = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return "crashed", "the submission closed the pipe that answers go through"
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            return "crashed", f"the process of the submission was ended by {name}"
        return "crashed", f"the process of the submission left with exit status {code}; does the code call exit?"


def _note(note: dict) -> dict:
    texts = {key: printable(str(note[key])[:1_000]) for key in ("cell", "message")}
    return texts | {"types": [printable(str(name)[:100]) for name in note["types"][:20]] or ["Exception"]}


def _copy_reference(course: Course, modules: Iterable[str], target: Path) -> None:
    """Copy the package's `__init__.py` and the modules that a submission may use, and no others."""
    source = course.root / "reference"
    target.mkdir()
    for name in ("__init__", *modules):
        shutil.copy(source / f"{name}.py", target / f"{name}.py")
