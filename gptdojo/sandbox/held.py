"""What the processes of a submission are, and how much memory they hold together."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

# how /proc/PID/maps names memory that processes share without a file that bounds it: MAP_SHARED | MAP_ANONYMOUS
SHARED = "/dev/zero (deleted)"


def processes() -> list[tuple[int, int, int]]:
    """Return the number, the user and the parent of every process that runs and can be seen."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                state, parent, *_ = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if state != "Z":
                    found.append((int(entry.name), entry.stat().st_uid, int(parent)))
    return found


def descendants(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents = {child: parent for child, _, parent in processes()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used; 0 for one that is gone."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def held_bytes(pids: Iterable[int], enough: int) -> int:
    """Return the memory that processes hold together, as far as it matters whether it is more than `enough`.

    The quick count has pages that forked processes share once for each; only when that is too much, shares are counted.
    """
    pids = list(pids)
    shared = _shared_bytes(pids)
    quick = sum(_anonymous_bytes(pid, "status", "RssAnon:", "RssShmem:") for pid in pids) + shared
    if quick <= enough:
        return quick
    exact = sum(_anonymous_bytes(pid, "smaps_rollup", "Pss_Anon:", "Pss_Shmem:") for pid in pids)
    return exact + shared if exact else quick


def _anonymous_bytes(pid: int, file: str, *fields: str) -> int:
    """Return the sum of some fields of a file of /proc that counts memory in kB; 0 for a process that is gone."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path(f"/proc/{pid}/{file}").read_text(errors="replace").splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(fields))
    return 0


def _shared_bytes(pids: Iterable[int]) -> int:
    """Return the size of the memory without a file that processes share, each piece once.

    Its pages count for the processes that touched them, and stay when these are gone: so all of it counts.
    """
    sizes: dict[str, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
                if line.endswith(SHARED):
                    extent, _, offset, _, inode, *_ = line.split()
                    start, end = (int(part, 16) for part in extent.split("-"))
                    sizes[inode] = max(sizes.get(inode, 0), int(offset, 16) + end - start)
    return sum(sizes.values())
