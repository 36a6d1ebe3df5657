"""Grades, for real: the worked solutions, the untouched stubs, and a small class of wrong and right submissions."""

import subprocess
import sys
import tempfile
from pathlib import Path

from gptdojo.build import stub_source
from gptdojo.course import find_course

HERE = Path(__file__).parent
CLASS = HERE / "submitted"


def show(title: str, *arguments: str) -> None:
    """Say what comes, and run one command of gptdojo as a person would type it."""
    print(f"\n{title}\n\n    $ gptdojo {' '.join(arguments)}\n", flush=True)
    status = subprocess.run([sys.executable, "-m", "gptdojo", *arguments], cwd=HERE.parent.parent).returncode
    if status != 0:
        sys.exit(f"gptdojo ended with exit status {status}")


def main() -> None:
    """Run the demonstration."""
    course = find_course(HERE)
    solutions = [str(chapter.solution.relative_to(course.root)) for chapter in course.chapters.values()]
    show("The worked solutions get every point.", "grade", "--jobs", "2", *solutions)
    with tempfile.TemporaryDirectory() as folder:
        for chapter in course.chapters.values():
            stub = Path(folder, chapter.name, f"{chapter.topic}.py")
            stub.parent.mkdir()
            stub.write_text(stub_source(chapter), encoding="utf-8")
        show("The untouched exercises get none.", "grade", "--jobs", "2", folder)
    show(
        "A small class: one learner a folder.",
        "grade",
        "--jobs",
        "2",
        "--timeout",
        "5",
        str(CLASS.relative_to(course.root)),
    )
    wrong = CLASS / "ben" / "02_causal_mask"
    show(
        "What Ben is told.",
        "grade",
        "--exercise",
        "causal_mask",
        "--exercise",
        "masked_softmax",
        str(wrong.relative_to(course.root)),
    )


if __name__ == "__main__":
    main()
