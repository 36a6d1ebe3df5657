"""A class for the tests of what nbgrader does: honest learners, learners with accidents, and attackers."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

from gptdojo.classroom.folder import new_class
from gptdojo.course import Course

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).parent / "toy_course"
CHAPTER, NOTEBOOK = "01_words", "words.ipynb"
RIGHT = 'def count_vowels(text):\n    return sum(letter in "aeiou" for letter in text.lower())'
WRONG = RIGHT.replace(".lower()", "")
SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"


def toy_source(folder):
    """The toy course with what its author needs for nbgrader."""
    shutil.copytree(TOY, folder, ignore=shutil.ignore_patterns("exercises", "*.ipynb", "__pycache__"))
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    return Course(folder)


def toy_class(folder, *, jobs=2):
    """A class folder of the toy course, its limits set low."""
    course = new_class(toy_source(folder.with_name(f"{folder.name}_course")), folder)
    with (folder / "nbgrader_config.py").open("a") as config:
        config.write(
            f"\nc.SandboxGrading.jobs = {jobs}\nc.SandboxGrading.timeout = 4.0\nc.LateSubmissionPlugin.penalty_method = 'zero'\n"
        )
    return course


def run(folder, program, *arguments):
    """Run a command in a class folder; programs are found where this Python has them, and nowhere else."""
    command = [sys.executable, "-m", program, *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "FORCE_COLOR")}
    environment |= {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def nbgrader(folder, *arguments, code=0):
    """Run an nbgrader command; return what it logged."""
    finished = run(folder, "nbgrader", *arguments)
    assert finished.returncode == code, finished.stderr
    return finished.stderr


class Desk:
    """Where a learner fills in the released notebook and hands it in."""

    def __init__(self, folder, learner, *, released=True):
        step = "release" if released else "source"
        self.notebook = nbformat.read(folder / step / CHAPTER / NOTEBOOK, as_version=4)
        self.solution = nbformat.read(folder / "source" / CHAPTER / NOTEBOOK, as_version=4)
        self.folder = folder / "submitted" / learner / CHAPTER
        self.folder.mkdir(parents=True, exist_ok=True)
        self.canary = folder / "canary"

    def cell(self, name):
        """The cell of a name."""
        return next(cell for cell in self.notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name)

    def fill(self, count_vowels=RIGHT, thermometer=True):
        """Write answers."""
        self.cell("count_vowels").source = count_vowels
        if thermometer:
            self.cell("Thermometer").source = next(c.source for c in self.solution.cells if c.id == "Thermometer")
        return self

    def hand_in(self, name=NOTEBOOK, **files):
        """Save the notebook, and files beside it."""
        (self.folder / name).write_text(json.dumps(self.notebook))
        for file, text in files.items():
            (self.folder / f"{file}.txt").write_text(text)


def right(desk):
    desk.fill().hand_in()


def partial(desk):
    desk.fill(WRONG).hand_in()


def untouched(desk):
    desk.hand_in()


def late(desk):
    desk.fill().hand_in(timestamp="2024-01-02 00:00:00 UTC")


def noisy(desk):
    """Prints, warns and writes to standard error; nbgrader gives zero for that."""
    noise = "import sys, warnings\nwarnings.warn('x')\nprint('x', file=sys.stderr)\nprint(99.0)\n"
    desk.fill(noise + RIGHT.replace("return", "print('x', file=sys.stderr)\n    return")).hand_in()


def copied_cell(desk):
    """An exercise cell was copied with its marks; the last one is right. nbgrader says that old metadata is in the way."""
    desk.fill()
    first = json.loads(json.dumps(desk.cell("count_vowels")))
    first["source"] = WRONG
    position = desk.notebook.cells.index(desk.cell("count_vowels"))
    desk.notebook.cells.insert(position, nbformat.from_dict(first))
    desk.hand_in()


def deleted_cells(desk):
    """The check cells are gone, and one exercise with them; nbgrader asks a person for such a score, forever."""
    desk.fill()
    for name in ("check_count_vowels", "Thermometer", "check_Thermometer"):
        desk.notebook.cells.remove(desk.cell(name))
    desk.hand_in()


def forger(desk):
    """Wants more than the maximum, from outputs, sources, marks and tags; nbgrader drops such a submission."""
    desk.fill(WRONG, thermometer=False)
    for name in ("check_count_vowels", "check_Thermometer"):
        cell = desk.cell(name)
        cell.source = "import numpy\nnumpy.float64(1.5) if 0 else 99.0"
        cell.metadata["tags"] = ["raises-exception", "skip-execution"]
        cell.metadata.nbgrader["points"] = 99
        cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "99.0"}, execution_count=1)]
    desk.hand_in()


def runner(desk):
    """Leaves a file wherever its code runs outside of the sandbox."""
    touch = f"open({str(desk.canary)!r}, 'w').close()"
    desk.fill(f"{touch}\n{RIGHT}")
    desk.notebook.cells.insert(0, new_code_cell(f"!touch {desk.canary}"))
    desk.cell("check_count_vowels").source = touch
    desk.cell("import_check").source = touch
    desk.hand_in()


def hanger(desk):
    desk.fill("def count_vowels(text):\n    while True:\n        pass").hand_in()


def from_the_future(desk):
    """Marks of another version: nbgrader stops grading the whole class."""
    desk.fill(thermometer=False)
    desk.cell("count_vowels").metadata.nbgrader["schema_version"] = 99
    odd = [{"grade": True}, {"schema_version": 0, "grade": True, "grade_id": "mine"}, {"grade_id": 3}, {}]
    for marks in odd:
        desk.notebook.cells.append(new_code_cell("1", metadata={"nbgrader": marks}))
    desk.hand_in()


def script(desk):
    """Puts scripts where a person will look: nbgrader shows them to the instructor, who may change scores."""
    desk.fill(WRONG + f"  # {SCRIPT}", thermometer=False)
    desk.cell(
        "Thermometer"
    ).source = f"class Thermometer:\n    def __init__(self, digits):\n        raise ValueError({SCRIPT!r})"
    desk.cell("text_1").source = SCRIPT
    desk.notebook.cells.append(new_markdown_cell(f"Notes </pre> {SCRIPT}", attachments={"x": {"text/html": SCRIPT}}))
    desk.notebook.cells.append(nbformat.v4.new_raw_cell(SCRIPT, metadata={"raw_mimetype": "text/html"}))
    html = nbformat.v4.new_output("display_data", {"text/html": SCRIPT})
    desk.notebook.cells.append(new_code_cell("1", outputs=[html]))
    desk.notebook.metadata["title"] = f"</title>{SCRIPT}"
    desk.hand_in()


def no_notebook(desk):
    (desk.folder / NOTEBOOK).write_bytes(b'{"cells": [' + b"[" * 100_000)


def pipe(desk):
    """A pipe that nobody writes to: whoever opens it waits for ever."""
    os.mkfifo(desk.folder / NOTEBOOK)


def thief(desk):
    """Links to somebody else's work, to the seed and to the gradebook; nbgrader follows and copies them."""
    (desk.folder / NOTEBOOK).symlink_to(desk.folder.parents[1] / "right" / CHAPTER / NOTEBOOK)
    (desk.folder / "seed.txt").symlink_to(desk.folder.parents[2] / "class_seed.txt")
    (desk.folder / "gradebook.txt").symlink_to(desk.folder.parents[2] / "gradebook.db")


def essayist(desk):
    """Hands in the essay, which people grade, and not the chapter's notebook."""
    marks = {"schema_version": 3, "grade": True, "solution": True, "locked": False, "task": False, "grade_id": "essay"}
    essay = new_markdown_cell(f"Words matter. {SCRIPT}", metadata={"nbgrader": marks | {"points": 2}})
    (desk.folder / "essay.ipynb").write_text(json.dumps(nbformat.v4.new_notebook(cells=[essay])))


def renamed(desk):
    desk.fill().hand_in("my_words.ipynb")


LEARNERS = {
    learner.__name__: learner
    for learner in (
        *(right, partial, untouched, late, noisy, copied_cell, deleted_cells, forger, runner, hanger),
        *(from_the_future, script, no_notebook, pipe, thief, essayist, renamed),
    )
}
# what each must get, for count_vowels and Thermometer; a misconception is worth one of two
SCORES = {
    "right": (2, 3), "partial": (1, 3), "untouched": (0, 0), "late": (2, 3), "noisy": (2, 3), "copied_cell": (2, 3),
    "deleted_cells": (2, 0), "forger": (1, 0), "runner": (0, 3), "hanger": (0, 3), "from_the_future": (2, 0),
    "script": (1, 0), "no_notebook": (0, 0), "pipe": (0, 0), "thief": (0, 0), "essayist": (0, 0),
}  # fmt: skip


def hand_in(folder, names=tuple(LEARNERS)):
    """Have learners hand in what they have."""
    for name in names:
        LEARNERS[name](Desk(folder, name))
