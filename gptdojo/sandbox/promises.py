"""The promises of the sandbox, each tried on this machine by code that does its best to break it."""

import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptdojo.faults import ImplementationFault, Stopped
from gptdojo.grading.process import Limits, WorkerProcess
from gptdojo.implementation import Implementation

from .isolation import Isolation

SECONDS, PATIENCE = 3.0, 30.0  # how long a loop may run, and how long anything else may take on a busy machine
MEMORY_MIB = 1536


@dataclass(frozen=True)
class Trial:
    """A promise, whether it held, and what was seen."""

    promise: str
    held: bool
    seen: str


PROBES = """
import os, socket, sys, time, subprocess

def read_file(path):
    try:
        return open(path).read()
    except OSError as error:
        return type(error).__name__

def list_folder(path):
    try:
        return len(os.listdir(path))
    except OSError as error:
        return type(error).__name__

def connect(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return "connected"
    except OSError as error:
        return type(error).__name__

def write_everywhere(paths):
    written = []
    for path in paths:
        try:
            with open(os.path.join(path, "gptdojo-was-here"), "w") as file:
                file.write("x")
            written.append(path)
        except OSError:
            pass
    return written

def environment():
    return dict(os.environ)

def fill_disk():
    size = 0
    try:
        for number in range(64):
            with open(f"{os.environ['HOME']}/fill{number}", "wb") as file:
                for _ in range(16):
                    file.write(b"x" * 2**20)
                    size += 1
    except OSError:
        pass
    return size

def start_processes():
    count = 0
    try:
        for _ in range(400):
            if os.fork() == 0:
                time.sleep(30)
                os._exit(0)
            count += 1
    except OSError:
        pass
    return count

def status():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
    return {name: lines[name].strip() for name in ("Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}

def take_memory():
    held = []
    while True:
        held.append(bytearray(64 * 2**20))

def take_memory_in_children():
    for _ in range(4):
        if os.fork() == 0:
            held = bytearray(500 * 2**20)
            held[::4096] = b"x" * len(held[::4096])
            time.sleep(30)
            os._exit(0)
    time.sleep(30)

def never_answer():
    while True:
        pass

def leave_a_process():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    return os.getpid()

def flood():
    while True:
        os.write(1, b"x" * 2**16)
        for fd in range(3, 20):
            try:
                os.write(fd, b"\\xff" * 2**16)
            except OSError:
                pass
"""


class Sandbox:
    """A sandbox with the probes loaded."""

    def __init__(self, isolation: Isolation, seconds: float = PATIENCE) -> None:
        self.process = WorkerProcess(isolation, None, (), Limits(seconds, MEMORY_MIB))

    def __enter__(self) -> "Sandbox":
        self.process.load("py", PROBES.encode(), ["status"], ())
        return self

    def __exit__(self, *exception: Any) -> None:
        self.process.__exit__()

    def ask(self, probe: str, *arguments: Any) -> Any:
        """Return what a probe returns, or the status it ends in."""
        self.process.start_clock()
        try:
            return Implementation(self.process, probe)(*arguments)
        except Stopped as error:
            return error.status
        except ImplementationFault as error:
            return str(error).splitlines()[0]


def try_promises(isolation: Isolation, private: list[Path]) -> Iterator[Trial]:
    """Try every promise; `private` are folders of the grader's that a submission must not see."""
    with Sandbox(isolation) as sandbox:
        yield from _reading(sandbox, private)
        yield from _writing(sandbox)
        yield _network(sandbox)
        yield from _privileges(sandbox)
        count = sandbox.ask("start_processes")
        yield Trial("starts a bounded number of processes", isinstance(count, int) and count < 100, f"{count} started")
    yield from _endings(isolation)


def _reading(sandbox: Sandbox, private: list[Path]) -> Iterator[Trial]:
    secret = secrets.token_hex()
    with tempfile.TemporaryDirectory() as folder:
        planted = Path(folder, "secret")
        planted.write_text(secret)
        seen = sandbox.ask("read_file", str(planted))
    yield Trial("reads no file of the grader's", secret not in str(seen), f"a planted secret: {seen:.40}")
    for path in private:
        seen = sandbox.ask("list_folder", str(path))
        held = seen in (0, "FileNotFoundError", "PermissionError")
        yield Trial(f"does not see {path.name}/", held, f"listing it: {seen}")
    os.environ["GPTDOJO_PLANTED"] = secret
    try:
        with Sandbox(sandbox.process.isolation) as other:
            seen = other.ask("environment")
    finally:
        del os.environ["GPTDOJO_PLANTED"]
    yield Trial(
        "sees no environment of the grader's",
        isinstance(seen, dict) and secret not in seen.values(),
        f"{len(seen)} variables",
    )


def _writing(sandbox: Sandbox) -> Iterator[Trial]:
    places = ["/", "/usr", "/etc", "/dev", "/worker", "/tmp", str(Path.cwd()), str(Path.home())]
    written = sandbox.ask("write_everywhere", places)
    left = [place for place in places if Path(place, "gptdojo-was-here").exists()]
    for place in left:
        Path(place, "gptdojo-was-here").unlink()
    yield Trial("writes nowhere but in its scratch", written == [] and not left, f"written: {written}")
    filled = sandbox.ask("fill_disk")
    yield Trial("writes a bounded amount", isinstance(filled, int) and filled < 256, f"{filled} MiB")


def _network(sandbox: Sandbox) -> Trial:
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen = sandbox.ask("connect", server.getsockname()[1])
    return Trial("reaches no port of this machine", seen != "connected", f"a planted port: {seen}")


def _privileges(sandbox: Sandbox) -> Iterator[Trial]:
    status = sandbox.ask("status")
    known = isinstance(status, dict)
    none = known and int(status["CapEff"], 16) == 0
    yield Trial("has no capability", none, f"effective {status['CapEff']}" if known else str(status))
    sealed = known and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    yield Trial("can gain no privilege, and its system calls are filtered", sealed, str(status))


def _endings(isolation: Isolation) -> Iterator[Trial]:
    expected: list[tuple[str, str, tuple[str, ...]]] = [
        ("exceeds no memory", "take_memory", ("memory", "MemoryError")),
        ("exceeds no memory in many processes", "take_memory_in_children", ("memory",)),
        ("takes no longer than its time", "never_answer", ("timeout",)),
        ("floods nothing", "flood", ("crashed", "timeout", "error")),
    ]
    for promise, probe, statuses in expected:
        start = time.monotonic()
        with Sandbox(isolation, SECONDS if "timeout" in statuses else PATIENCE) as sandbox:
            seen = sandbox.ask(probe)
        held = any(status in str(seen) for status in statuses)
        yield Trial(promise, held, f"{seen!s:.60} after {time.monotonic() - start:.1f} s")
    with Sandbox(isolation) as sandbox:
        sandbox.ask("leave_a_process")
        before = sandbox.process.members()
    for _ in range(50):
        alive = [pid for pid in before if _runs(pid)]
        if not alive:
            break
        time.sleep(0.02)
    yield Trial(
        "leaves no process behind", len(before) > 1 and not alive, f"{len(before)} processes before, {len(alive)} after"
    )


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def overhead(isolation: Isolation, times: int = 3) -> list[float]:
    """Return the seconds that sandboxes took to start, import torch and load nothing, shortest first."""
    measured = []
    for _ in range(times):
        start = time.perf_counter()
        with WorkerProcess(isolation, None, (), Limits()) as process:
            process.load("py", b"", (), ())
        measured.append(time.perf_counter() - start)
    return sorted(measured)
