"""What `run_autograder` of a Gradescope bundle does: grades one upload and writes results.json.

https://gradescope-autograders.readthedocs.io/en/latest/specs/ says where the files lie.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from gptdojo.course import Course
from gptdojo.report import SubmissionResult
from gptdojo.sandbox import Unavailable, choose

from .collect import SUFFIXES, Submission, collect
from .feedback import Feedback
from .formats import gradescope
from .formats.graded import Graded
from .job import Job, Options, without_verdict
from .limits import Limits
from .pool import Graders

SETTINGS = "settings.json"


@dataclass(frozen=True)
class Settings:
    """How uploads are graded."""

    chapter: str | None
    seed: int
    timeout: float
    memory: int
    feedback: Feedback

    def to_json(self) -> str:
        """Return them as text."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Return what `to_json` made a text of."""
        fields = json.loads(text)
        return cls(**fields | {"feedback": Feedback(fields["feedback"])})


def main(root: Path) -> int:
    """Grade the upload under `root`; return the exit status. Without a verdict there is no results.json, so no score."""
    source = root / "source"
    settings = Settings.from_json((source / SETTINGS).read_text(encoding="utf-8"))
    course = Course(source / "course")
    try:
        isolation = choose("auto", [source, root / "submission"])
    except Unavailable as error:
        print(f"nothing was graded: {error}")
        return 1
    options = Options(course.root, isolation, settings.seed, Limits(settings.timeout, settings.memory))
    uploaded = find(course, settings, root / "submission")
    with Graders(1) as graders:
        results = [graders.grade(Job.read(submission, options)) for submission in uploaded]
    if not uploaded:
        results = [nothing(course, settings, root / "submission")]
    if any(result.grader_failed for result in results):
        print("nothing was graded: the grader failed", *(result.message for result in results), sep="\n")
        return 1
    folder = root / "results"
    folder.mkdir(exist_ok=True)
    graded = Graded(course, results, settings.seed, isolation.kind, settings.feedback)
    (folder / "results.json").write_text(gradescope.text(graded), encoding="utf-8")
    return 0


def find(course: Course, settings: Settings, folder: Path) -> list[Submission]:
    """Return what of an upload is graded: for a chapter, its notebook by name, else the only file that there is."""
    found = collect(course, [folder])
    if settings.chapter is None:
        return found
    chapter = course.chapters[settings.chapter]
    paths = [submission.path for submission in found]
    named = [path for suffix in SUFFIXES for path in paths if path.name == chapter.topic + suffix]
    chosen = named[:1] or (paths if len(paths) == 1 else [])
    return [Submission(path, None, chapter.name) for path in chosen]


def nothing(course: Course, settings: Settings, folder: Path) -> SubmissionResult:
    """Return the result of an upload that holds nothing to grade, with what should have been uploaded."""
    chapter = course.chapters[settings.chapter] if settings.chapter else None
    wanted = f"upload {chapter.notebook.name}" if chapter else "upload a notebook (.ipynb) or a Python file (.py)"
    names = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) if folder.is_dir() else ""
    message = f"There is nothing to grade here: {wanted}. This upload holds: {names or 'nothing'}."
    exercises = chapter.exercises.values() if chapter else ()
    missing = [without_verdict(exercise, "missing", "") for exercise in exercises]
    return SubmissionResult("upload", None, missing, 0.0, message)


if __name__ == "__main__":
    sys.exit(main(Path(os.environ.get("AUTOGRADER_ROOT", "/autograder"))))
