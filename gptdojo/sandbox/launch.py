"""Becomes the sandbox of one worker: stages what it may read, changes to a user of its own, and runs the command.

Started as a script with one argument, JSON, by an interpreter that has imported nothing else; imports only the standard library.
"""

import ctypes
import json
import os
import signal
import sys

CLONE_NEWNS = 0x00020000
PR_SET_PDEATHSIG = 1
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18


def stage(folder: str, sources: list[str]) -> None:
    """Bind each source to folder/N, in a mount namespace of this process alone, so that any user can reach it there."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: str, kind: str, flags: int) -> None:
        if libc.mount(source.encode(), target.encode(), kind.encode(), flags, b"mode=0755") != 0:
            raise OSError(ctypes.get_errno(), f"cannot mount {target}: {os.strerror(ctypes.get_errno())}")

    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "cannot make a mount namespace")
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV)
    for number, source in enumerate(sources):
        target = f"{folder}/{number}"
        if os.path.isdir(source):
            os.mkdir(target, 0o755)
        else:
            os.close(os.open(target, os.O_CREAT, 0o644))
        mount(source, target, "", MS_BIND | MS_REC)


def become(uid: int) -> None:
    """Drop every privilege of root for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def main() -> None:
    """Do what the JSON says, in the order that keeps each step possible."""
    plan = json.loads(sys.argv[1])
    os.umask(0o022)
    if plan["stage"]:
        stage(plan["stage"], plan["sources"])
    if plan["uid"]:
        become(plan["uid"])
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # should the grader be killed; a change of user clears it
    os.chdir(plan["folder"])
    os.execve(plan["command"][0], plan["command"], plan["environment"])


if __name__ == "__main__":
    main()
