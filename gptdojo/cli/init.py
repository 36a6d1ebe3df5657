"""`gptdojo init`: a fresh course folder, or a class folder."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from gptdojo.course import find_course


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the folder to make")],
    for_class: Annotated[bool, typer.Option("--class", help="a class folder for an instructor, for nbgrader")] = False,
) -> None:
    """Make a fresh course folder to learn in, or with --class a folder to teach a class from; overwrites nothing."""
    from gptdojo.classroom.folder import new_class, new_course

    source = find_course()
    console = Console()
    if for_class:
        new_class(source, folder)
        console.print(Text(f"{folder} is ready for a class of {source.name!r}. Its README.md has the three steps."))
        console.print(Text("The seed in class_seed.txt is secret, and yours to keep: the folder is open to you only."))
    else:
        new_course(source, folder)
        console.print(Text(f"{folder} holds {source.name!r}. Go there, and run gptdojo: it says what to do first."))
