"""A submission's process, and the pipe that the grader talks to it through."""

import signal
import time
from collections.abc import Iterable
from typing import Any, NoReturn

from gptdojo.course import Course
from gptdojo.faults import Stopped
from gptdojo.implementation import Session
from gptdojo.sandbox import Isolation
from gptdojo.sandbox.bodies import start
from gptdojo.sandbox.held import cpu_seconds, held_bytes
from gptdojo.text import printable
from gptdojo.worker.frames import BadFrame, Closed, FramePipe, Late

from .limits import Limits

START_SECONDS = 120.0
MAX_CALL_BACKS = 200_000
MAX_CALL_BACK_BYTES = 128 * 2**20
CPU_USED_UP = "it used up its processor time; is there a loop that never ends?"


class WorkerProcess:
    """One submission in a process of its own. Use it as a context manager: on leaving, all it started is gone.

    Implements Transport.
    """

    def __init__(self, isolation: Isolation, course: Course | None, modules: Iterable[str], limits: Limits) -> None:
        self.isolation = isolation
        self.limits = limits
        self.modules = course.sources(modules) if course is not None else {}
        self.number = 0
        self.cpu_limit = 0
        self.alive = True
        self.body = start(isolation)
        self.pipe = FramePipe(self.body.read_fd, self.body.write_fd, patient=False)
        self.pipe.watch = self._watch

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.alive = False
        self.body.close()

    def kill(self) -> None:
        """End the process and all it started."""
        self.alive = False
        self.body.kill()

    def members(self) -> list[int]:
        """Return the processes of the submission."""
        return self.body.members()

    def _watch(self) -> None:
        """Stop a submission whose processes hold too much memory together, or ignore the signal that their time is up."""
        allowed = self.limits.memory_mib * 2**20
        members = self.members()
        if self.cpu_limit and max(map(cpu_seconds, members), default=0.0) > self.cpu_limit + 1:
            self._stop("timeout", CPU_USED_UP)
        held = held_bytes(members, allowed)
        if held > allowed:
            self._stop(
                "memory", f"its processes hold {held >> 20} MiB together, {self.limits.memory_mib} MiB are allowed"
            )

    def start_clock(self) -> None:
        """Give what follows the full time limit."""
        self.pipe.deadline = time.monotonic() + self.limits.seconds

    def load(
        self, kind: str, content: bytes, names: Iterable[str], skip: Iterable[str]
    ) -> tuple[list[str], list[dict]]:
        """Run the submission; return which of `names` it defines, and what its cells raised. Raises Stopped."""
        known = list(names)
        self._start(len(known))
        self.start_clock()
        reply = self._exchange({"op": "load", "kind": kind, "content": content, "names": known, "skip": list(skip)})
        try:
            defined = [name for name in reply["defined"] if name in known]
            return defined, [_note(note) for note in reply["notes"][:50]]
        except (KeyError, TypeError) as error:
            raise Stopped("crashed", f"the reply of the submission's process makes no sense: {error!r:.200}") from None

    def _start(self, exercises: int) -> None:
        """Wait until the interpreter runs and torch is imported: no code of the submission runs before that."""
        self.pipe.deadline = time.monotonic() + START_SECONDS
        limits = self.limits.for_worker(self.isolation, exercises)
        self.cpu_limit = limits["cpu"]
        opening = {"op": "start", "limits": limits, "seal": self.isolation.seals, "sockets": self.isolation.sockets}
        try:
            self.pipe.send(opening | {"package": "reference", "modules": self.modules})
            ready = self.pipe.receive()
        except (Late, Closed, BadFrame) as error:
            self.kill()
            raise RuntimeError(
                f"the sandbox did not start ({type(error).__name__}: {error}); try `gptdojo doctor`"
            ) from None
        if ready != {"op": "ready"}:
            raise RuntimeError("the sandbox started something that is not the worker; try `gptdojo doctor`")

    def request(self, message: dict, call_back: Session) -> dict:
        """Send a request and answer call-backs until its reply comes; raises Stopped."""
        self.number += 1
        reply = self._exchange(message | {"number": self.number})
        before = self.pipe.received
        for _ in range(MAX_CALL_BACKS):
            if reply.get("op") != "callback":
                break
            if self.pipe.received - before > MAX_CALL_BACK_BYTES:  # a property may keep what it was called with
                self._stop("crashed", f"it called back with more than {MAX_CALL_BACK_BYTES >> 20} MiB in one call")
            reply = self._exchange(call_back.answer(reply))
        if reply.get("number") != self.number:
            self._stop("crashed", "a reply came that answers no question")
        return reply

    def _exchange(self, message: dict) -> dict:
        try:
            self.pipe.send(message)
            return self.pipe.receive()
        except Late:
            self._stop("timeout", f"no answer within {self.limits.seconds:g} seconds; is there a loop that never ends?")
        except BadFrame as error:
            self._stop("crashed", f"the submission's process sent something that is no reply ({error})")
        except Closed:
            self._stop(*self._left_by())

    def _stop(self, status: str, message: str) -> NoReturn:
        self.kill()
        raise Stopped(status, message)

    def _left_by(self) -> tuple[str, str]:
        """Return the status and the message of a process that is gone."""
        code = self.body.ended(2)
        if code is None:
            return "crashed", "the submission closed the pipe that answers go through"
        number = code - 128
        if number in set(signal.Signals):
            if number == signal.SIGXCPU:
                return "timeout", CPU_USED_UP
            return "crashed", f"the process of the submission was ended by {signal.Signals(number).name}"
        return "crashed", f"the process of the submission left with exit status {code}; does the code call exit?"


def _note(note: dict) -> dict:
    texts = {key: printable(str(note[key])[:1_000])[:1_000] for key in ("cell", "message")}
    return texts | {"types": [printable(str(name)[:100]) for name in note["types"][:20]] or ["Exception"]}
