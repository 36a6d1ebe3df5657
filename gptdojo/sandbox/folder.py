"""The folder that a worker is given: the worker package, the reference of earlier chapters, a scratch, and nothing else."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gptdojo import worker
from gptdojo.course import Course

from .isolation import FIRST_UID, Isolation, Unavailable, exposed


@contextmanager
def worker_folder(isolation: Isolation, course: Course | None, modules: Iterable[str], slot: int = 0) -> Iterator[Path]:
    """Yield a folder for one worker, and remove it afterwards."""
    if isolation.kind == "uid" and course is not None:
        readable = exposed(course.root / name for name in ("solutions", "tests", "reference"))
        if readable:
            raise Unavailable(f"every user can read {readable[0]}, submissions too; `chmod 700` it")
    folder = Path(tempfile.mkdtemp(prefix="gptdojo-"))
    try:
        folder.chmod(0o711)
        package = folder / "worker" / "gptdojo_worker"
        shutil.copytree(Path(worker.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
        if course is not None:
            copy_reference(course, modules, folder / "worker" / "reference")
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


def copy_reference(course: Course, modules: Iterable[str], target: Path) -> None:
    """Copy the package's `__init__.py` and the modules that a submission may use, and no others."""
    target.mkdir()
    for name in ("__init__", *modules):
        shutil.copy(course.root / "reference" / f"{name}.py", target / f"{name}.py")
