"""A user number for each sandbox that runs at the same time on this machine."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SLOTS = 1_000


@contextmanager
def slot() -> Iterator[int]:
    """Yield a number that no other sandbox holds meanwhile. Only root can change users: for others it is always 0."""
    if os.geteuid() != 0:
        yield 0
        return
    folder = Path(tempfile.gettempdir(), "gptdojo-slots-of-root")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != 0 or folder.is_symlink():
        raise PermissionError(f"{folder} is not root's own folder; remove it")
    for number in range(SLOTS):
        fd = os.open(folder / str(number), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            continue
        try:
            yield number
        finally:
            os.close(fd)
        return
    raise RuntimeError(f"{SLOTS} sandboxes run at the same time on this machine; wait until some are done")
