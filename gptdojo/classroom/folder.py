"""Makes fresh folders: a course for a learner, or a class for an instructor. Nothing that exists is touched."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gptdojo.course import CLASS_COURSE, CLASS_SEED, MARKER, PACKAGED, Course, CourseError

from .seed import write_seed
from .texts import CONFIG, README

GRADING = (
    *(MARKER, "nbgrader_config.py", "reference", "solutions"),
    *("tests/properties", "tests/strategies", "tests/misconceptions", "tests/alternatives"),
)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "*.ipynb")


def new_course(source: Course, folder: Path) -> Course:
    """Copy a course into a folder, with notebooks that nobody has filled in.

    Raises CourseError where the folder holds something, or the notebooks cannot be made.
    """
    with _fresh(folder) as place:
        place.chmod(0o755)
        _copy(source, place)
        if source.root == PACKAGED and PACKAGED.name == "_course":  # a wheel carries notebooks as they were released
            shutil.copytree(source.root / "exercises", place / "exercises")
        else:
            _build(Course(place), source)
    return Course(folder.resolve())


def new_class(source: Course, folder: Path) -> Course:
    """Make a class folder: the course, the notebooks that nbgrader releases from, its configuration and a secret seed.

    It is open to its owner only. Raises CourseError as `new_course` does, and where nbgrader is not installed.
    """
    from gptdojo.authoring.libraries import require_libraries

    require_libraries()
    with _fresh(folder) as place:
        course = Course(place / CLASS_COURSE)
        _copy(source, course.root)
        _write_sources(source, place / "source")
        for name in ("release", "submitted"):
            (place / name).mkdir()
        write_seed(place)
        (place / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
        first = next(iter(course.chapters.values()))
        readme = README.format(chapter=first.name, notebook=first.notebook.name, seed=CLASS_SEED)
        (place / "README.md").write_text(readme, encoding="utf-8")
    return Course(folder.resolve() / CLASS_COURSE)


@contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `folder` at the end, or vanishes when something fails on the way."""
    folder = folder.absolute()
    if os.path.lexists(folder) and (not folder.is_dir() or folder.is_symlink() or any(folder.iterdir())):
        raise CourseError(
            f"{folder} is not empty, and nothing is ever overwritten: name a folder that is not there yet"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))  # open to its owner only
    except OSError as error:
        raise CourseError(f"{folder} cannot be made: {error.strerror}") from None
    try:
        yield place
        folder.mkdir(mode=0o700, exist_ok=True)  # an empty one stays: somebody may stand in it
        folder.chmod(place.stat().st_mode)
        for path in place.iterdir():
            path.rename(folder / path.name)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _copy(source: Course, target: Path) -> None:
    for name in GRADING:
        path = source.root / name
        if path.is_dir():
            shutil.copytree(path, target / name, ignore=LEFT_OUT)
        elif path.is_file():
            target.mkdir(exist_ok=True)
            shutil.copyfile(path, target / name)


def _build(course: Course, source: Course) -> None:
    from gptdojo.build import build

    for built in build(course):
        if built.status == "failed":
            raise CourseError(built.error.replace(str(course.root), str(source.root)))
    for notebook in course.root.glob(
        "solutions/*/*.ipynb"
    ):  # what nbgrader releases from; `gptdojo build` makes it again
        notebook.unlink()


def _write_sources(course: Course, folder: Path) -> None:
    from gptdojo.authoring.release import Releaser

    releaser = Releaser(course)
    for chapter in course.chapters.values():
        path = folder / chapter.name / chapter.notebook.name
        path.parent.mkdir(parents=True)
        path.write_text(releaser.source(chapter), encoding="utf-8")
