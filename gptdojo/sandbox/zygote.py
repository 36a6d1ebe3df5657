"""The grader's side of the process that forks a worker for each submission."""

import atexit
import os
import socket
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass

from gptdojo.worker.frames import BadFrame, Closed, FramePipe, Late

from .folder import worker_folder
from .isolation import ZYGOTE, Isolation
from .slots import slot

START_SECONDS = 120.0


class NotWarm(Exception):
    """There is no such process here; workers start cold."""


@dataclass
class Newborn:
    """A worker that was just forked: pipes to talk through, one to let go of, and one that says how it ended."""

    read_fd: int
    write_fd: int
    life_fd: int
    status_fd: int


class Zygote:
    """A sandbox in which torch is imported, and which makes a worker in a few hundredths of a second.

    It starts at once and in the background; `prove` waits until it can fork.
    """

    def __init__(self, isolation: Isolation) -> None:
        self._stack = ExitStack()
        number = self._stack.enter_context(slot())
        folder = self._stack.enter_context(worker_folder(isolation, number))
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                isolation.plan(folder, number, ZYGOTE),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.control.settimeout(START_SECONDS)
        self.proven = False
        atexit.register(self.close)

    def fork(self) -> Newborn:
        """Return a worker in namespaces of its own; raises NotWarm if the zygote is gone."""
        (read_fd, their_write), (their_read, write_fd) = os.pipe(), os.pipe()
        (their_life, life_fd), (status_fd, their_status) = os.pipe(), os.pipe()
        theirs = [their_read, their_write, their_life, their_status]
        try:
            socket.send_fds(self.control, [b"fork"], theirs)
        except OSError as error:
            for fd in (read_fd, write_fd, life_fd, status_fd):
                os.close(fd)
            raise NotWarm(str(error)) from None
        finally:
            for fd in theirs:
                os.close(fd)
        return Newborn(read_fd, write_fd, life_fd, status_fd)

    @property
    def alive(self) -> bool:
        """Whether it can fork."""
        return self.process.poll() is None and self.control.fileno() >= 0

    def prove(self) -> None:
        """Wait until it is warm, and see a worker ready; raises NotWarm, for example where inner namespaces are refused."""
        try:
            answer = self.control.recv(16)
        except OSError as error:
            answer = str(error).encode()
        if answer != b"warm":
            self.close()
            raise NotWarm(f"the process that should fork workers said {answer!r}")
        newborn = self.fork()
        pipe = FramePipe(newborn.read_fd, newborn.write_fd, patient=False)
        pipe.deadline = time.monotonic() + START_SECONDS
        try:
            pipe.send({"op": "start", "limits": {}, "seal": False, "sockets": True, "package": "none", "modules": {}})
            pipe.receive()
        except (Closed, Late, BadFrame) as error:
            self.close()
            raise NotWarm(f"it forks no workers: {error}") from None
        finally:
            for fd in (newborn.read_fd, newborn.write_fd, newborn.life_fd, newborn.status_fd):
                os.close(fd)
        self.proven = True

    def close(self) -> None:
        """End the zygote and whatever it made."""
        atexit.unregister(self.close)
        self.control.close()
        self.process.kill()
        self.process.wait()
        self._stack.close()


_made: dict[int, Zygote | None] = {}


def prepare(isolation: Isolation) -> None:
    """Start the zygote of this process, if there is to be one, without waiting for it."""
    process = os.getpid()
    known = _made.get(process)
    if isolation.kind == "bubblewrap" and (process not in _made or (known is not None and not known.alive)):
        _made[process] = Zygote(isolation)


def zygote(isolation: Isolation) -> Zygote:
    """Return the zygote of this process, ready to fork; raises NotWarm where there can be none."""
    prepare(isolation)
    process = os.getpid()
    known = _made.get(process)
    if known is None:
        raise NotWarm("it was tried before")
    if not known.proven:
        try:
            known.prove()
        except NotWarm:
            _made[process] = None
            raise
    return known
