"""Makes a Gradescope autograder: a folder with all that it needs, and the same as a zip archive to upload."""

import secrets
import shutil
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

from packaging.requirements import Requirement

import gptdojo
from gptdojo.classroom.seed import BITS, class_seed
from gptdojo.course import MARKER, Course, CourseError

from .autograder import SETTINGS, Settings
from .versions import course_files

ARCHIVE = "autograder.zip"
SCRIPTS = ("setup.sh", "run_autograder")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "_course")
EXTRAS = ("", "sandbox")


def draw_seed(course: Course) -> int:
    """Return the seed of the class, else one that nobody knows."""
    seed = class_seed(course)
    return secrets.randbits(BITS) if seed is None else seed


def write_bundle(course: Course, folder: Path, settings: Settings) -> None:
    """Write the bundle into a folder that is not there yet; raises CourseError if it is and holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CourseError(f"{folder} is not empty: name a folder that is not there yet")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copytree(Path(gptdojo.__file__).parent, folder / "gptdojo", ignore=LEFT_OUT)
    for path in (course.root / MARKER, *course_files(course.root)):
        target = folder / "course" / path.relative_to(course.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (folder / SETTINGS).write_text(settings.to_json(), encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join(requirements()) + "\n", encoding="utf-8")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    for name in SCRIPTS:
        script = (files("gptdojo.grading") / "platform" / name).read_text(encoding="utf-8")
        (folder / name).write_text(script.replace("@PYTHON@", python), encoding="utf-8")
        (folder / name).chmod(0o755)
    _pack(folder)


def _pack(folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(folder / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.relative_to(folder))


def requirements() -> list[str]:
    """Return the versions that grade here, of this package's requirements and of theirs, so that verdicts are the same there."""
    found: dict[str, str] = {}
    waiting = [(name, extra) for name in ["gptdojo"] for extra in EXTRAS]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # an extra that is not installed here
        found[package.name] = package.version.partition("+")[0]
        for requirement in map(Requirement, package.requires or ()):
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            more = {(requirement.name, each) for each in ("", *requirement.extras)} - seen if wanted else set()
            seen |= more
            waiting += more
    return sorted((f"{name}=={version}" for name, version in found.items() if name != "gptdojo"), key=str.lower)
