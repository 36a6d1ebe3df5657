"""How far grading is: a bar on a terminal, lines anywhere else."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from gptdojo.report import SubmissionResult
from gptdojo.text import printable


class Meter:
    """Counts submissions as they are graded. Use it as a context manager."""

    def __init__(self, console: Console, total: int, *, quiet: bool = False) -> None:
        self.console, self.total, self.quiet = console, total, quiet
        self.done = 0
        self.start = time.monotonic()
        columns = (
            TextColumn("grading"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self._bar = Progress(*columns, console=console, disable=quiet or not console.is_terminal)
        self._task = self._bar.add_task("", total=total, rate="")

    def __enter__(self) -> "Meter":
        self._bar.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.stop()

    def advance(self, result: SubmissionResult) -> None:
        """Count a submission."""
        self.done += 1
        seconds = (time.monotonic() - self.start) / self.done
        rate = f"{seconds:.1f} s each"
        self._bar.update(self._task, advance=1, rate=rate)
        if self.quiet or self.console.is_terminal:
            return
        points = "the grader failed" if result.grader_failed else f"{result.score:.4g} of {result.max_score:g}"
        left = duration(seconds * (self.total - self.done))
        line = f"{self.done} of {self.total}  {printable(result.submission)}: {points}  ({rate}, {left} left)"
        self.console.print(Text(line), soft_wrap=True)


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(7.4), duration(75), duration(3700)
    ('7 s', '1 min 15 s', '1 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
