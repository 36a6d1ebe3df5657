"""What a learner has done so far: one file in the platform's data folder, keyed by course, written atomically."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path, user_data_path

from .course import Course, CourseError
from .report import ExerciseResult

FORMAT = 1
PATIENCE = 10.0  # seconds to wait for another process that is writing; it takes milliseconds


@dataclass
class Record:
    """One exercise: the best score, the last status, and how many hints were read."""

    score: float = 0.0
    status: str = "not_started"
    hints: int = 0


def state_file() -> Path:
    """Return where the state is kept."""
    return user_data_path("gptdojo", appauthor=False) / "state.json"


def _read() -> dict[str, Any]:
    path = state_file()
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        if _is_state(state):
            return state
        _keep_aside(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError):
        _keep_aside(path)
    return {"format": FORMAT, "courses": {}}


def _is_state(state: Any) -> bool:
    """Say whether what was read has the form of what is written; what other parts keep beside the exercises is theirs."""
    if not isinstance(state, dict) or not isinstance(state.get("courses"), dict):
        return False
    courses = state["courses"].values()
    exercises = [course.get("exercises", {}) if isinstance(course, dict) else None for course in courses]
    return all(isinstance(rows, dict) and all(map(_is_record, rows.values())) for rows in exercises)


def _is_record(row: Any) -> bool:
    kinds = {"score": (int, float), "status": (str,), "hints": (int,)}
    return isinstance(row, dict) and row.keys() <= kinds.keys() and all(type(row[name]) in kinds[name] for name in row)


def _keep_aside(path: Path) -> None:
    """A file that cannot be read is renamed and never overwritten."""
    aside = (path.with_suffix(".unreadable" + (f"-{number}" if number else "")) for number in count())
    with suppress(OSError):
        os.replace(path, next(name for name in aside if not name.exists()))


def _write(state: dict[str, Any]) -> None:
    path = state_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".state-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(state, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other processes from changing the state meanwhile; where nothing can be locked, go on without."""
    lock = FileLock(user_cache_path("gptdojo", appauthor=False) / "state.lock")
    with suppress(OSError, Timeout):
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=PATIENCE)
    try:
        yield
    finally:
        lock.release()


def part(course: Course, name: str) -> dict[str, Any]:
    """Return what is kept under `name` beside the exercises of a course; changing it saves nothing."""
    saved = _read()["courses"].get(course.name, {}).get(name, {})
    return saved if isinstance(saved, dict) else {}


@contextmanager
def updating_part(course: Course, name: str) -> Iterator[dict[str, Any]]:
    """Yield what is kept under `name` beside the exercises, and save what the block made of it.

    What others keep stays as it is, and a block that raises changes nothing. Raises CourseError where nothing can be saved.
    """
    with _alone():
        state = _read()
        parts = state["courses"].setdefault(course.name, {})
        if not isinstance(parts.get(name, {}), dict):
            parts[f"unreadable {name}"] = parts.pop(name)
        yield parts.setdefault(name, {})
        try:
            _write(state)
        except OSError as error:
            raise CourseError(f"{state_file()} cannot be written: {error.strerror or error}") from None


def records(course: Course) -> dict[str, Record]:
    """Return the record of every exercise of a course."""
    saved = _read()["courses"].get(course.name, {}).get("exercises", {})
    return {name: Record(**saved.get(name, {})) for name in course.exercises}


@contextmanager
def updating(course: Course) -> Iterator[dict[str, Record]]:
    """Yield the records and save what the block made of them; where nothing can be saved, nothing is."""
    with _alone():
        current = records(course)
        yield current
        with suppress(OSError):  # a read-only home must not cost the learner the feedback
            state = _read()
            state["courses"].setdefault(course.name, {})["exercises"] = {
                name: asdict(record) for name, record in current.items() if record != Record()
            }
            _write(state)


def note(course: Course, result: ExerciseResult) -> None:
    """Remember the result of a check."""
    with updating(course) as current:
        record = current[result.exercise]
        record.status = result.status
        record.score = max(record.score, result.score)
