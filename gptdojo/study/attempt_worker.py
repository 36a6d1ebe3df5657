"""The process in which a learner's test meets the implementations: one line of JSON for each, on standard output."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from gptdojo.course import Course
from gptdojo.worker.submission import run

from .attempt import attempt, find_tests, steady_hypothesis, variants


def main(root: str, name: str, path: str, start: str) -> None:
    """Try the tests of a file on the variants from number `start` on."""
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the test prints must not get between the lines

    def say(**row: Any) -> None:
        wire.write(json.dumps(row) + "\n")
        wire.flush()

    import torch

    torch.set_num_threads(1)
    course = Course(Path(root))
    course.importable()
    steady_hypothesis()
    loaded = run("py", Path(path).read_bytes(), frozenset(), module_name="gptdojo_test")
    tests = find_tests(loaded.namespace)
    chosen = variants(course.exercises[name])
    note = f"{loaded.notes[0]['types'][0]}: {loaded.notes[0]['message']}" if loaded.notes else ""
    say(variants=[vars(variant) for variant, _ in chosen], tests=len(tests), problem=note)
    if not tests or note:
        return
    for number, (_, implementation) in enumerate(chosen[int(start) :], int(start)):
        outcome, message = attempt(tests, implementation, lambda filename: filename.startswith("<"))
        say(number=number, outcome=outcome, message=message)


if __name__ == "__main__":
    main(*sys.argv[1:])
