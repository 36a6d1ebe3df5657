"""The folder that a worker is given: the worker package, a scratch, and nothing else."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gptdojo import worker

from .isolation import FIRST_UID, Isolation


@contextmanager
def worker_folder(isolation: Isolation, slot: int = 0) -> Iterator[Path]:
    """Yield a folder for one worker, and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="gptdojo-"))
    try:
        folder.chmod(0o711)
        package = folder / "worker" / "gptdojo_worker"
        shutil.copytree(Path(worker.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (folder / "worker").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        (folder / "worker").chmod(0o755)
        (folder / "stage").mkdir(mode=0o755)
        (folder / "scratch").mkdir(mode=0o700)
        if isolation.kind == "uid":
            os.chown(folder / "scratch", FIRST_UID + slot, FIRST_UID + slot)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
