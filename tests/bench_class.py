"""Measures what grading a class costs: `make bench-class`, or `python tests/bench_class.py --submissions 20`.

A class hands in one chapter: right, wrong and untouched answers, mixed by a fixed seed. The figures are wall seconds for each
submission, what part of a grader's time the checks take, and the memory of a sandbox. With `--stock N`, nbgrader's own autograder,
which runs notebooks in unsandboxed kernels, grades N of the same notebooks for comparison.
"""

import argparse
import ast
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from gptdojo.course import Chapter, Exercise, find_course

COURSE = find_course(Path(__file__).parent)
BIN = Path(sys.executable).parent
MIB = 2**20
SAMPLE_SECONDS = 1.5  # a look costs the processes that are looked at some time
STOCK_CONFIG = """
from pathlib import Path
c = get_config()
root = Path(__file__).resolve().parent
load_subconfig("course/nbgrader_config.py", path=str(root))
c.CourseDirectory.root = str(root)
c.CourseDirectory.source_directory, c.CourseDirectory.release_directory = "source", "release"
c.ExecutePreprocessor.timeout = 120
"""


def answers(exercise: Exercise) -> list[str]:
    """Return texts that a cell of an exercise may hold: the solution as often as all misconceptions together, and a stub."""
    solution = ast.parse(exercise.chapter.solution.read_text(encoding="utf-8"))
    imports = [node for node in solution.body if isinstance(node, ast.Import | ast.ImportFrom) and not _of_engine(node)]
    own = [node for node in solution.body if getattr(node, "name", None) == exercise.name]
    right = "\n".join(map(ast.unparse, [*imports, *own]))
    module = ast.parse(exercise.chapter.misconceptions.read_text(encoding="utf-8"))
    module.body = [node for node in module.body if not _of_engine(node)]
    names = []
    for node in [node for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]:
        marks = [ast.unparse(mark) for mark in node.decorator_list]
        if any(mark.startswith(f"misconception('{exercise.name}'") for mark in marks):
            names.append(node.name)
        node.decorator_list = []
    wrong = [f"{ast.unparse(module)}\n{exercise.name} = {name}" for name in names]
    return [right] * len(wrong) + wrong + [f"def {exercise.name}(*args, **kwargs):\n    raise NotImplementedError"]


def _of_engine(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "gptdojo"


def hand_in(chapter: Chapter, folder: Path, count: int) -> None:
    """Write the notebooks of a class into folder/LEARNER/CHAPTER/."""
    draw = random.Random(0)
    choices = {name: answers(exercise) for name, exercise in chapter.exercises.items()}
    for number in range(count):
        notebook = json.loads(chapter.notebook.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
            if grade_id in choices:
                cell["source"] = draw.choice(choices[grade_id])
        path = folder / f"learner{number:03}" / chapter.name / chapter.notebook.name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(notebook), encoding="utf-8")


@dataclass
class Watch:
    """The memory of the sandboxes below a process, sampled: MiB of each worker alone, and of everything together."""

    worker: float = 0.0
    zygote: float = 0.0
    together: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)

    def sample(self, process: psutil.Process) -> None:
        """Look once."""
        total = 0.0
        for each in process.children(recursive=True):
            with suppress(psutil.Error):
                command, parent = " ".join(each.cmdline()), each.parent()
                memory = each.memory_full_info()
                total += memory.pss / MIB
                if "gptdojo_worker" in command and "bwrap" not in each.name():
                    forked = parent is not None and "bwrap" not in parent.name()
                    self.seen["worker" if forked else "zygote"] += 1
                    if forked:
                        self.worker = max(self.worker, memory.uss / MIB)
                    else:
                        self.zygote = max(self.zygote, memory.rss / MIB)
        self.together = max(self.together, total)


def grade(folder: Path, jobs: int) -> tuple[float, dict, Watch]:
    """Return the wall seconds, the report, and the memory of `gptdojo grade`."""
    command = [str(BIN / "gptdojo"), "grade", "submitted", "--jobs", str(jobs), "--out", "results"]
    start, watch = time.perf_counter(), Watch()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            watch.sample(psutil.Process(process.pid))
            time.sleep(SAMPLE_SECONDS)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        sys.exit(f"gptdojo grade ended with {process.returncode}")
    return seconds, json.loads((folder / "results" / "report.json").read_text(encoding="utf-8")), watch


def stock(folder: Path, chapter: Chapter, count: int) -> float:
    """Return the wall seconds of nbgrader's own autograder on the first notebooks of the class."""
    room = folder / "stock"
    run = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([str(BIN / "gptdojo"), "init", str(room), "--class"], cwd=COURSE.root, **run)
    (room / "nbgrader_config.py").write_text(STOCK_CONFIG, encoding="utf-8")
    for learner in sorted((folder / "submitted").iterdir())[:count]:
        shutil.copytree(learner, room / "submitted" / learner.name)
    subprocess.run([str(BIN / "nbgrader"), "generate_assignment", chapter.name], cwd=room, **run)
    start = time.perf_counter()
    subprocess.run([str(BIN / "nbgrader"), "autograde", chapter.name], cwd=room, **run | {"check": False})
    return time.perf_counter() - start


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chapter", default="02_causal_mask", choices=list(COURSE.chapters))
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--stock", type=int, default=0)
    options = parser.parse_args()
    chapter = COURSE.chapters[options.chapter]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(COURSE.root / "solutions", folder / "solutions")
        for part in ("course.md", "reference", "tests"):
            (folder / part).symlink_to(COURSE.root / part)
        hand_in(chapter, folder / "submitted", options.submissions)
        seconds, report, watch = grade(folder, options.jobs)
        show(options, seconds, report, watch)
        if options.stock:
            spent = stock(folder, chapter, options.stock)
            print(f"nbgrader autograde, its own kernels, {options.stock} notebooks: {spent / options.stock:.2f} s each")


def show(options: argparse.Namespace, seconds: float, report: dict, watch: Watch) -> None:
    """Print what was measured."""
    rows = report["submissions"]
    count = len(rows)
    checks = [sum(entry["seconds"] for entry in row["exercises"]) for row in rows]
    around = [row["seconds"] - spent for row, spent in zip(rows, checks, strict=True)]
    spent = options.jobs * seconds / count
    print(f"{count} notebooks of {options.chapter}, {options.jobs} jobs, isolation {report['isolation']}")
    print(f"wall: {seconds:.1f} s, {seconds / count:.2f} s a submission; a job spends {spent:.2f} s on each, of which")
    print(f"  checks {statistics.mean(checks):.2f} s (median {statistics.median(checks):.2f}, most {max(checks):.2f})")
    print(f"  sandbox and loading {statistics.mean(around):.2f} s (median {statistics.median(around):.2f})")
    print(f"  starting and ending, spread over all: {spent - statistics.mean(checks) - statistics.mean(around):.2f} s")
    print(
        f"memory: a sandbox {watch.worker:.0f} MiB of its own at most, beside {watch.zygote:.0f} MiB "
        f"that all sandboxes of a job share; everything at once {watch.together:.0f} MiB"
    )
    print("statuses:", dict(Counter(entry["status"] for row in rows for entry in row["exercises"])))


if __name__ == "__main__":
    main()
