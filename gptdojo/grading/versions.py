"""What decides a verdict beside the submission: the versions of what runs, the engine, and the content of the course."""

import hashlib
import platform
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import gptdojo

PACKAGES = ("hypothesis", "torch", "numpy")
# what grading reads of a course
CONTENT = ("solutions", "reference", "tests/properties", "tests/strategies", "tests/misconceptions")
# parts of this package that decide no verdict
ASIDE = {"_course", "authoring", "classroom", "cli", "formats", "pictures", "platform", "study"}


def versions() -> dict[str, str]:
    """Return the versions that a report names."""
    own = {"python": platform.python_version(), "gptdojo": gptdojo.__version__}
    return own | {name: version(name) for name in PACKAGES}


@lru_cache
def engine_digest() -> str:
    """Return a hash of that part of this package's code that grades."""
    package = Path(gptdojo.__file__).parent
    paths = (path for path in package.rglob("*.py") if ASIDE.isdisjoint(path.relative_to(package).parts))
    return _digest(package, paths)


@lru_cache
def course_digest(root: Path) -> str:
    """Return a hash of all that grading reads of a course."""
    return _digest(root, course_files(root))


def course_files(root: Path) -> list[Path]:
    """Return the files of a course that grading reads."""
    found = (path for folder in CONTENT for path in (root / folder).rglob("*"))
    return sorted(path for path in found if path.suffix in (".py", ".toml") and path.is_file())


def _digest(root: Path, paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
