"""The folder of results: one file a submission, written as it finishes, so that whatever happens later costs nothing graded."""

import fcntl
import hashlib
import json
import os
import platform
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gptdojo.course import Course
from gptdojo.report import FORMAT, SubmissionResult

from .collect import Submission
from .job import Job
from .names import file_name
from .output import json_report
from .records import Unfit, read_record
from .versions import course_digest, engine_digest, versions

FOLDER = "submissions"


class InUse(Exception):
    """Another grader writes to the folder."""


def key(job: Job) -> str:
    """Return a hash of all that decides the verdict on a job: two jobs with the same key have the same verdict."""
    options = job.options
    decides = {
        "submission": [str(job.submission.path), job.submission.learner, job.submission.chapter],
        "content": hashlib.sha256(job.content).hexdigest(),
        "unreadable": job.unreadable,
        "seed": options.seed,
        "limits": asdict(options.limits),
        "only": options.only,
        "isolation": options.isolation.kind,
        "machine": platform.machine(),
        "versions": versions(),
        "engine": engine_digest(),
        "course": course_digest(options.root),
        "format": FORMAT,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


class Store:
    """The results in a folder. Use it as a context manager: meanwhile no other grader can write there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def __enter__(self) -> "Store":
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # scores are nobody else's business
        self.folder.mkdir(exist_ok=True)
        self._lock = os.open(self.folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise InUse(f"another `gptdojo grade` is writing to {self.folder.parent}") from None
        for unfinished in self.folder.glob(".*.tmp"):  # of a grader that was killed
            unfinished.unlink(missing_ok=True)
        return self

    def __exit__(self, *exception: Any) -> None:
        os.close(self._lock)

    def path(self, submission: Submission) -> Path:
        """Return where the result of a submission is kept."""
        return self.folder / f"{file_name(str(submission.path), submission.learner)}.json"

    def keep(self, job: Job, result: SubmissionResult) -> None:
        """Write the result of a job, whole or not at all."""
        report = json_report([result], seed=job.options.seed, isolation=job.options.isolation.kind)
        write_atomically(self.path(job.submission), json.dumps(report | {"key": key(job)}, indent=1) + "\n")

    def kept(self, job: Job, course: Course) -> SubmissionResult | None:
        """Return the result that is kept for a job; None if there is none, or it is of other circumstances, or no verdict."""
        with suppress(OSError, ValueError, KeyError, TypeError, Unfit):
            report = json.loads(self.path(job.submission).read_text(encoding="utf-8"))
            if report["key"] == key(job):
                result = read_record(report["submissions"][0], course)
                return None if result.grader_failed else result
        return None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that at any moment it is the old one or the whole new one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o600)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
