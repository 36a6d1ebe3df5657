"""What a learner is shown: one screen for an exercise, as Rich text or as HTML."""

import io
from collections.abc import Sequence
from html import escape

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .pictures.grid import drawable, grid_picture, grid_text
from .report import ExerciseResult, Explanation, PropertyResult

STYLES = {"passed": "green", "failed": "bold red", "not_run": "dim", "not_started": "yellow"}
HTML_WIDTH = 96


def headline(result: ExerciseResult) -> Text:
    """Return the exercise, its status and its points on one line."""
    text = Text(result.exercise, style="bold")
    text.append(f"  {result.status.replace('_', ' ')}", style=STYLES.get(result.status, "bold red"))
    text.append(f"  {result.score:.3g} of {result.max_score:g} points", style="default")
    return text


def exercise_screen(result: ExerciseResult, *, picture: bool = True) -> RenderableType:
    """Return the screen of an exercise: its rungs, and for the first failure the claim, the case and the misconception."""
    parts: list[RenderableType] = [headline(result)]
    failure = result.failure
    if failure is None:
        if result.message:
            parts.append(_indented(Text(result.message)))
        elif result.status == "passed":
            parts.append(_rungs(result.properties))
        return Group(*parts)
    if result.status == "not_started":
        parts.append(_indented(Text(result.message)))
        return Group(*parts)
    parts += [_rungs(result.properties), Text(), _indented(_case(failure))]
    grid = failure.counterexample.grid if failure.counterexample else None
    if picture and grid and drawable(grid):
        parts += [Text(), _indented(grid_text(grid))]
    if result.misconceptions:
        parts += [Text(), _indented(explanations(result.misconceptions))]
    return Group(*parts)


def _indented(content: RenderableType) -> Padding:
    return Padding(content, (0, 0, 0, 2))


def _rungs(properties: Sequence[PropertyResult]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    ran = [entry for entry in properties if entry.verdict != "not_run"]
    for entry in ran:
        table.add_row(f"rung {entry.rung}", Text(entry.verdict, style=STYLES[entry.verdict]), Text(entry.claim))
    left = len(properties) - len(ran)
    if left:
        table.add_row(
            "", Text("not run", style=STYLES["not_run"]), Text(f"{left} more, which build on this", style="dim")
        )
    return _indented(table)


def _case(failure: PropertyResult) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("what is wrong", Text(failure.message))
    case = failure.counterexample
    if case is not None:
        if case.calls:
            table.add_row("after these calls", Text("\n".join(case.calls)))
        for number, (name, value) in enumerate(case.inputs.items()):
            table.add_row("a small input" if number == 0 else "", _assigned(name, value))
        if case.expected is not None and not (case.grid and drawable(case.grid)):
            table.add_row("expected", Text(case.expected))
            table.add_row("got", Text(case.got or ""))
    return table


def _assigned(name: str, value: str) -> Text:
    return Text(f"{name} = " + value.replace("\n", "\n" + " " * (len(name) + 3)))


def explanations(found: Sequence[Explanation]) -> RenderableType:
    """Return the misconceptions that give exactly these results."""
    opening = "Code that gives exactly these results is written by people who think"
    if len(found) == 1:
        return Text.assemble(
            (f"{opening} that ", ""), (found[0].believes, "italic"), (f".\nIn fact, {found[0].truth}.", "")
        )
    text = Text(f"{opening} one of these:")
    for entry in found:
        text.append(f"\n- that {entry.believes}. In fact, {entry.truth}.")
    return text


def exercise_html(result: ExerciseResult) -> str:
    """Return the screen of an exercise as HTML, with the grid as a picture; everything in it is escaped."""
    console = Console(file=io.StringIO(), record=True, width=HTML_WIDTH, force_jupyter=False, color_system="truecolor")
    console.print(exercise_screen(result, picture=False))
    body = console.export_html(
        inline_styles=True, code_format="<pre style='white-space:pre;overflow-x:auto'>{code}</pre>"
    )
    failure = result.failure
    grid = failure.counterexample.grid if failure and failure.counterexample else None
    picture = grid_picture(grid) if grid and drawable(grid) and result.status != "not_started" else ""
    return f'<div class="gptdojo" aria-label="{escape(result.exercise)}">{body}{picture}</div>'
