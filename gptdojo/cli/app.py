"""`gptdojo`: the commands, each in a module of its own."""

import sys

import typer
from rich.console import Console
from rich.text import Text

from gptdojo.course import CourseError

from . import (
    bughunt,
    build,
    check,
    doctor,
    export,
    grade,
    hint,
    init,
    interview,
    solution,
    status,
    study,
    watch,
    writetest,
)

app = typer.Typer(
    help="Learn by building, and find out whether you got it right.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.callback(invoke_without_command=True)(status.status)
app.command("check")(check.check)
app.command("watch")(watch.watch)
app.command("hint")(hint.hint)
app.command("solution")(solution.solution)
app.command("study")(study.study)
app.command("interview")(interview.interview)
app.command("bughunt")(bughunt.bughunt)
app.command("writetest")(writetest.writetest)
app.command("build")(build.build)
app.command("grade")(grade.grade)
app.command("doctor")(doctor.doctor)
app.add_typer(export.app, name="export")
app.command("init")(init.init)


def main() -> None:
    """Run the command line; a problem with the course or the arguments is one line and exit status 2."""
    try:
        app()
    except CourseError as error:
        Console(stderr=True).print(Text(str(error), style="red"))
        sys.exit(2)


if __name__ == "__main__":
    main()
