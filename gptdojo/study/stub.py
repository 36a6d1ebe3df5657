"""The file in which a coding exercise is written: its imports, its header and docstring, and no answer."""

from gptdojo.course import Exercise
from gptdojo.worker.submission import cells_of

from .compose import solution_file
from .excerpt import free_names, unresolved

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def stub(exercise: Exercise) -> str:
    """Return the text of the file."""
    cells = {name: source for name, _, source in cells_of("py", exercise.chapter.solution.read_bytes())}
    lines: list[str] = []
    inside = False
    for line in cells[exercise.name].strip("\n").split("\n"):
        if line.strip() == BEGIN:
            inside = True
            lines.append(line.replace(BEGIN, "raise NotImplementedError"))
        elif line.strip() == END:
            inside = False
        elif not inside and not line.startswith("# %%"):
            lines.append(line)
    body = "\n".join(lines).strip("\n")
    imports = solution_file(exercise.chapter).imports
    needed = {words for name, words in imports.items() if name in free_names(body) or name == "torch"}
    text = "\n".join([*sorted(needed), "", "", body, ""])
    return f"from __future__ import annotations\n\n{text}" if unresolved(text) else text
