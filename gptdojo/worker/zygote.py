"""A process that has imported torch once, and forks a worker for each submission, each in namespaces of its own.

It runs inside a sandbox and never sees a submission: a submission's bytes go to its own worker, through pipes that the grader makes and
hands over. Three processes belong to a worker: its keeper, which ends it as soon as the grader lets go; the first process
of its process namespace; and the worker itself, which has no capability, no way to new namespaces, and its own scratch.
"""

import ctypes
import fcntl
import gc
import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from .__main__ import serve
from .frames import FramePipe
from .observe import Observer

CLONE_NEW = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_SLAVE = 2, 4, 8, 16384, 1 << 19
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
CAPABILITY_VERSION_3 = 0x20080522
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
LAST_CAPABILITY = 63
FDS = 4
LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Import and warm up what workers need, then fork one for each set of descriptors that comes."""
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    _prctl(PR_SET_DUMPABLE, 0)
    warm_up()
    threads = len(os.listdir("/proc/self/task"))
    control.send(b"warm" if threads == 1 else b"cold")
    while True:
        message, fds, _, _ = socket.recv_fds(control, 16, FDS)
        if not message:
            os._exit(0)
        while _reaped():
            pass
        if os.fork() == 0:
            control.close()
            keep(*fds)
        for fd in fds:
            os.close(fd)


def warm_up() -> None:
    """Do once what torch does lazily the first time, on one thread; nothing of it depends on a submission."""
    import torch

    torch.set_num_threads(1)
    tensor = torch.ones(2, 2, requires_grad=True)
    result = torch.softmax(tensor @ tensor, -1) + tensor
    torch.autograd.grad([result], [tensor], [torch.ones(2, 2)], allow_unused=True)
    with Observer(["nothing"]):
        repr(tensor.sum())
    gc.collect()
    gc.freeze()


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def keep(read_fd: int, write_fd: int, life_fd: int, status_fd: int) -> NoReturn:
    """Start a worker in new namespaces; end it when the grader closes its end of `life_fd`; write how it ended to `status_fd`."""
    _guarded(lambda: _keep(read_fd, write_fd, life_fd, status_fd))


def _keep(read_fd: int, write_fd: int, life_fd: int, status_fd: int) -> None:
    uid, gid = os.getuid(), os.getgid()
    _prctl(PR_SET_DUMPABLE, 1)  # else the maps below belong to root
    _check(LIBC.unshare(CLONE_NEW), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _prctl(PR_SET_DUMPABLE, 0)
    keeper = os.getpid()
    first = os.fork()
    if first == 0:
        os.close(life_fd)
        os.close(status_fd)
        _guarded(lambda: begin(read_fd, write_fd, keeper))
    os.close(read_fd)
    os.close(write_fd)
    ended = os.pidfd_open(first)
    select.select([ended, life_fd], [], [])
    os.kill(first, signal.SIGKILL)
    _, status = os.waitpid(first, 0)
    os.write(status_fd, struct.pack("i", os.waitstatus_to_exitcode(status)))


def begin(read_fd: int, write_fd: int, keeper: int) -> None:
    """Be the first process of a worker's namespace: give it files of its own, start it, and leave as it leaves."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() not in (0, keeper):
        return
    _mount("none", "/", "", MS_REC | MS_SLAVE, "")
    for writable in ("/scratch", "/dev/shm"):
        _mount("tmpfs", writable, "tmpfs", MS_NOSUID | MS_NODEV, "size=64m,nr_inodes=16k,mode=0700")
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "")
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    raise_loopback()
    os.chdir("/scratch")
    worker = os.fork()
    if worker == 0:
        os.setsid()
        give_up_capabilities()
        _guarded(lambda: serve(FramePipe(read_fd, write_fd)))
    os.close(read_fd)
    os.close(write_fd)
    give_up_capabilities()
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == worker:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def raise_loopback() -> None:
    """Switch on the one interface of a network namespace, so that the processes of a submission reach each other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))


def give_up_capabilities() -> None:
    """Drop every capability, for good."""
    for capability in range(LAST_CAPABILITY + 1):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # EINVAL past the last one this kernel knows
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    _check(LIBC.capset(ctypes.create_string_buffer(header, len(header)), ctypes.create_string_buffer(24)), "capset")


def _guarded(body: Callable[[], None]) -> NoReturn:
    """Run what a forked process is for, and end it there whatever happens."""
    try:
        body()
    except BaseException:
        os._exit(125)
    os._exit(0)


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    _check(LIBC.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()), f"mount {target}")


def _prctl(option: int, value: int) -> None:
    _check(LIBC.prctl(option, value, 0, 0, 0), f"prctl {option}")


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
