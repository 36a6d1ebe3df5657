"""Asking the learner something: in a terminal, from a pipe, or in a notebook."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text
from rich.theme import Theme

PLAIN_CODE = Theme({"markdown.code": "bold cyan", "markdown.code_block": "cyan"})  # on the learner's own background


def learner_console() -> Console:
    """Return the console that the studying commands write to."""
    return Console(highlight=False, theme=PLAIN_CODE)


@contextmanager
def busy(console: Console, words: str) -> Iterator[Callable[[str], None]]:
    """Say that something takes a moment, and yield what says it in other words; in a notebook the cell's own mark does."""
    if console.is_jupyter:
        yield lambda words: None
    else:
        with console.status(words) as status:
            yield status.update


class Left(Exception):
    """The learner has left: by Ctrl-C, or because there is no more input."""


@contextmanager
def leaving() -> Iterator[None]:
    """Turn Ctrl-C and the end of the input into Left."""
    try:
        yield
    except (KeyboardInterrupt, EOFError, NotImplementedError):  # the last: a notebook run without anybody to ask
        raise Left from None


def ask(console: Console, words: str) -> str:
    """Return what the learner answers, without the blanks around it; raises Left."""
    with leaving():
        return console.input(Text.assemble((words, "bold"), " ")).strip()


def confirm(console: Console, question: str, *, default: bool) -> bool:
    """Return whether the learner says yes; an empty answer is the default. Raises Left."""
    while True:
        answer = ask(console, f"{question} [{'Y/n' if default else 'y/N'}]").lower()
        if answer in ("", "y", "yes", "n", "no"):
            return default if not answer else answer.startswith("y")
        console.print("Please answer y or n.")
