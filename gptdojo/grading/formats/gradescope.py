"""Gradescope's results.json: what that platform shows to a learner.

https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from gptdojo.course import CourseError
from gptdojo.report import ExerciseResult, SubmissionResult
from gptdojo.screen import exercise_screen
from gptdojo.text import printable

from ..feedback import Feedback
from ..store import write_atomically
from .graded import Graded

WIDTH = 100


def text(graded: Graded) -> str:
    """Return the results of everything that was graded as those of one upload. Raises CourseError when the grader failed on it."""
    if any(result.grader_failed for result in graded.results):
        raise CourseError("the grader failed, so there is no score; results.json is not written")
    return json.dumps(results_json(graded.results, graded), indent=1) + "\n"


def write(graded: Graded, folder: Path) -> list[str]:
    """Write gradescope/LEARNER.json for each learner but those on whom the grader failed."""
    (folder / "gradescope").mkdir(exist_ok=True)
    problems = []
    for learner in graded.learners():
        path = folder / "gradescope" / f"{learner.file_name}.json"
        if learner.grader_failed:
            path.unlink(missing_ok=True)
            problems.append(f"{learner.name}: no results for Gradescope, because the grader failed; that is no zero")
        else:
            write_atomically(path, json.dumps(results_json(learner.results, graded), indent=1) + "\n")
    return problems


def results_json(results: Iterable[SubmissionResult], graded: Graded) -> dict[str, Any]:
    """Return the object that Gradescope reads."""
    shown = [graded.for_learner(result) for result in results]
    return {
        "score": round(sum(result.score for result in shown), 6),
        "output": "\n".join(printable(result.message) for result in shown if result.message),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": [_test(entry, graded.feedback) for result in shown for entry in result.exercises],
    }


def _test(result: ExerciseResult, feedback: Feedback) -> dict[str, Any]:
    return {
        "name": result.exercise,
        "score": result.score,
        "max_score": result.max_score,
        "status": "passed" if result.status == "passed" else "failed",
        "output": result.status.replace("_", " ") if feedback is Feedback.score else _screen(result),
        "output_format": "text",
        "visibility": "visible",
    }


def _screen(result: ExerciseResult) -> str:
    """Return the screen of an exercise as plain text."""
    console = Console(width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False)
    with console.capture() as captured:
        console.print(exercise_screen(result))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
