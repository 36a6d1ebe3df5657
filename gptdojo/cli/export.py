"""`gptdojo export`: bundles for the platforms that courses are taught on."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from gptdojo.course import CourseError, find_course
from gptdojo.grading.feedback import Feedback

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make a bundle for a platform: gradescope.")


@app.callback()
def export() -> None:
    """Make a bundle for a platform."""


@app.command("gradescope")
def gradescope(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the folder to make")],
    chapter: Annotated[
        str | None, typer.Option(help="grade an upload as this chapter; whatever it defines, if left out")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="every random choice derives from it; that of the class, or drawn, if left out")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="seconds an exercise may take")] = 20.0,
    memory: Annotated[int, typer.Option(min=1024, help="MiB of address space a submission may use")] = 4096,
    feedback: Annotated[Feedback, typer.Option(help="what learners see")] = Feedback.full,
) -> None:
    """Make an autograder for Gradescope: upload DIR/autograder.zip there."""
    from gptdojo.grading.autograder import Settings

    try:
        from gptdojo.grading.bundle import draw_seed, write_bundle
    except ModuleNotFoundError as error:
        raise CourseError(f"a bundle needs {error.name}: `pip install 'gptdojo[class]'`") from None
    course = find_course()
    chosen = course.chapter_of(chapter) if chapter is not None else None
    if chapter is not None and chosen is None:
        raise CourseError(f"{chapter} is not a chapter; there are {', '.join(course.chapters)}")
    settings = Settings(
        chapter=chosen.name if chosen else None,
        seed=draw_seed(course) if seed is None else seed,
        timeout=timeout,
        memory=memory,
        feedback=feedback,
    )
    write_bundle(course, folder, settings)
    console = Console()
    upload = chosen.notebook.name if chosen else "their notebooks"
    console.print(Text(f"Upload {folder}/autograder.zip to Gradescope. Learners hand in {upload}."), soft_wrap=True)
    console.print(Text("It holds the solutions and the seed of the class: keep it to yourself."), soft_wrap=True)
