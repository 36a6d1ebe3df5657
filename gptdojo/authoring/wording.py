"""What `gptdojo build` writes into a notebook beside the author's cells."""

from ..course import CourseError, Exercise

START = """\
**How to work here**

1. Run the cells from top to bottom, each with Shift+Enter.
2. Where one says `# YOUR CODE HERE`, write your code in place of `raise NotImplementedError`, and run the cell.
3. Run the `check(...)` cell under it. It says what holds, what does not, and on which small input.

Click a hint to unfold it. No exercise needs the answer to another.

<details>
<summary>If the next cell says that there is no module named <code>gptdojo</code></summary>

This notebook runs in a Python that does not have the course's package. Add a cell, and run in it:

- `%pip install -e ../..` if this notebook lies in a copy of the course's repository;
- `%pip install` and the path of the wheel, if you were given the package as a wheel.

Then choose *Restart Kernel* in the menu *Kernel*, and begin again at the top.

</details>"""

IMPORT = "from gptdojo import check"

HINTS = ("a question", "a pointer", "nearly the line")
ASKED = {
    "often": "often asked in interviews",
    "sometimes": "sometimes asked in interviews",
    "rarely": "rarely asked in interviews",
}
HARDEST = 5


def label(exercise: Exercise) -> str:
    """Return the Markdown above an exercise: its name, what it costs and is worth, and its hints, folded.

    Raises CourseError where chapter.toml says something that cannot be shown.
    """
    if exercise.asked not in ASKED or exercise.difficulty not in range(1, HARDEST + 1):
        raise CourseError(
            f"exercise {exercise.name} of {exercise.chapter.name}: expected asked to be one of {', '.join(ASKED)} and "
            f"difficulty to be 1 to {HARDEST}, got {exercise.asked!r} and {exercise.difficulty!r}"
        )
    if len(exercise.hints) != len(HINTS):
        raise CourseError(
            f"exercise {exercise.name} of {exercise.chapter.name} has {len(exercise.hints)} hints, "
            f"expected {len(HINTS)}: {', '.join(HINTS)}"
        )
    dots = "●" * exercise.difficulty + "○" * (HARDEST - exercise.difficulty)
    facts = [
        f"{exercise.points:g} point" + ("" if exercise.points == 1 else "s"),
        f"about {exercise.minutes} minutes",
        f"difficulty {dots} ({exercise.difficulty} of {HARDEST})",
        ASKED[exercise.asked],
    ]
    hints = (
        f"<details>\n<summary>Hint {number}: {strength}</summary>\n\n{hint.strip()}\n\n</details>"
        for number, (strength, hint) in enumerate(zip(HINTS, exercise.hints, strict=True), 1)
    )
    return "\n\n".join([f"### Exercise: `{exercise.name}`", " · ".join(facts), *hints])
