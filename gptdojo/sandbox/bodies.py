"""The process of one worker: started cold, or forked from a zygote. Both are talked to and ended in the same way."""

import contextlib
import os
import select
import signal
import struct
import subprocess
import sys
from contextlib import ExitStack
from typing import Protocol

from .folder import worker_folder
from .held import descendants, processes
from .isolation import FIRST_UID, Isolation
from .slots import slot
from .zygote import NotWarm, Zygote, zygote

END_SECONDS = 5.0


class Body(Protocol):
    """A running worker: the descriptors to talk through, its processes, and its end."""

    read_fd: int
    write_fd: int

    def ended(self, seconds: float) -> int | None:
        """Return the exit status, 128 and more for a signal; None if it has not ended in time."""

    def members(self) -> list[int]:
        """Return the processes that belong to it."""

    def kill(self) -> None:
        """End it with all it started."""

    def close(self) -> None:
        """End it and give back what it held."""


class Cold:
    """A worker in a process that starts an interpreter of its own."""

    def __init__(self, isolation: Isolation) -> None:
        self.isolation = isolation
        self._stack = ExitStack()
        self.slot = self._stack.enter_context(slot())
        folder = self._stack.enter_context(worker_folder(isolation, self.slot))
        self.process = subprocess.Popen(
            isolation.plan(folder, self.slot),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            start_new_session=True,
            bufsize=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.read_fd, self.write_fd = self.process.stdout.fileno(), self.process.stdin.fileno()

    def ended(self, seconds: float) -> int | None:
        """Return the exit status."""
        try:
            code = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        return code if code >= 0 else 128 - code

    def members(self) -> list[int]:
        """Return the processes of its user, else those that descend from its first one."""
        if self.isolation.kind == "uid":
            return [pid for pid, owner, _ in processes() if owner == FIRST_UID + self.slot]
        return descendants(self.process.pid)

    def kill(self) -> None:
        """End the process group; under a user of its own, all that the user runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for _ in range(100 if self.isolation.kind == "uid" else 0):
            if not self.members():
                break
            kill_all_of(FIRST_UID + self.slot)

    def close(self) -> None:
        """End it, close the pipes and remove the folder."""
        self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        self._stack.close()


def kill_all_of(uid: int) -> None:
    """End every process of a user at once, as that user: one by one, those that fork would get away."""
    command = [sys.executable, "-I", "-S", "-c", "import os; os.kill(-1, 9)"]
    subprocess.run(command, user=uid, group=uid, extra_groups=[], cwd="/", env={}, capture_output=True, check=False)


class Warm:
    """A worker that a zygote forked, in namespaces of its own."""

    def __init__(self, parent: Zygote) -> None:
        self._parent = parent
        self._others = set(descendants(parent.process.pid))
        newborn = parent.fork()
        self.read_fd, self.write_fd = newborn.read_fd, newborn.write_fd
        self._life_fd: int | None = newborn.life_fd
        self._status_fd = newborn.status_fd
        self._status: int | None = None

    def ended(self, seconds: float) -> int | None:
        """Return the exit status."""
        if self._status is None and select.select([self._status_fd], [], [], seconds)[0]:
            written = os.read(self._status_fd, 4)
            self._status = struct.unpack("i", written)[0] if len(written) == 4 else 128 + signal.SIGKILL
        return self._status

    def members(self) -> list[int]:
        """Return what the zygote has forked for it."""
        return [pid for pid in descendants(self._parent.process.pid) if pid not in self._others]

    def kill(self) -> None:
        """Let go of it: its keeper then ends the whole process namespace. Should the keeper not, the zygote goes too."""
        if self._life_fd is not None:
            os.close(self._life_fd)
            self._life_fd = None
        if self.ended(END_SECONDS) is None:
            self._parent.close()

    def close(self) -> None:
        """End it and close the pipes."""
        self.kill()
        for fd in (self.read_fd, self.write_fd, self._status_fd):
            with contextlib.suppress(OSError):
                os.close(fd)


def start(isolation: Isolation) -> Body:
    """Start a worker, warm where that works."""
    if isolation.kind == "bubblewrap":
        for _ in range(2):
            try:
                return Warm(zygote(isolation))
            except NotWarm:
                continue  # it may have been ended by the one before; a new one is made once
    return Cold(isolation)
