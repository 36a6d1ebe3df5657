"""Composes the file of a bug hunt: planted mistakes among right functions, under the names of the exercises."""

import ast
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gptdojo.catalog import Alternative, Misconception, load_catalog
from gptdojo.course import Chapter, Course, Exercise
from gptdojo.worker.submission import cells_of

from .excerpt import Excerpt, Incompatible, SourceFile, contract, documented, excerpt_of, unresolved

MIN_LINES, MAX_LINES = 20, 80
IMPORT = "import gptdojo  # noqa: F401  finds the course, so that `reference` can be imported"
ENGINE = ("gptdojo", "tests")


@dataclass(frozen=True)
class Planted:
    """A misconception in the place of an exercise."""

    exercise: str
    misconception: str

    @property
    def identity(self) -> str:
        """The one name of this bug in a course."""
        return f"{self.exercise}.{self.misconception}"


def bugs_of(exercise: Exercise) -> list[Planted]:
    """Return the bugs that an exercise has in store: its misconceptions that need nothing a learner should not see."""
    allowed = set(exercise.chapter.course.reference_before(exercise.chapter))
    found = []
    for entry in load_catalog(exercise.chapter).of(Misconception, exercise.name):
        needed = excerpt_of(exercise.chapter.misconceptions, entry.name, exercise.name).imports.values()
        modules = [words.split()[1].split(".") for words in needed]
        fits = all(m[0] not in ENGINE and (m[0] != "reference" or (m[1:2] and m[1] in allowed)) for m in modules)
        if fits:
            found.append(Planted(exercise.name, entry.name))
    return found


def compose_chapter(chapter: Chapter, planted: Sequence[Planted], title: str, draw: random.Random) -> str:
    """Return a file with the planted mistakes, and other exercises of the chapter, right, as far as they fit.

    Raises Incompatible where the mistakes cannot stand in one file.
    """
    pieces = {bug.exercise: excerpt_of(chapter.misconceptions, bug.misconception, bug.exercise) for bug in planted}
    for paragraphs in (None, 1, 0):  # as many words about each function as there is room for
        best = _file(chapter, pieces, title, paragraphs)
        if _lines(best) <= MAX_LINES:
            break
    others = [name for name in chapter.exercises if name not in pieces]
    draw.shuffle(others)
    for name in others:
        more = pieces | {name: _right(chapter.exercises[name], draw)}
        try:
            text = _file(chapter, more, title, paragraphs)
        except Incompatible:
            continue
        if _lines(text) <= MAX_LINES:
            pieces, best = more, text
    return best


def compose_whole(course: Course, base: Path, planted: Iterable[Planted], title: str) -> str:
    """Return the course's own file with some of its functions exchanged for planted mistakes."""
    text = base.read_text(encoding="utf-8")
    for bug in planted:
        exercise = course.exercises[bug.exercise]
        file = SourceFile(text)
        piece = excerpt_of(exercise.chapter.misconceptions, bug.misconception, bug.exercise)
        text = _exchanged(file, piece, documented(piece.source, [file.docstring(bug.exercise)]))
    return text.replace("TITLE", title, 1)


def _exchanged(file: SourceFile, piece: Excerpt, source: str) -> str:
    """Return the text of a file with one definition replaced; what the piece imports and the file defines is the file's."""
    node = file.definitions[piece.name]
    for name in piece.helpers:
        if name in file.definitions:
            raise Incompatible(f"two different {name}")
    helpers = [line for text in piece.helpers.values() for line in (*text.split("\n"), "", "")]
    lines = [*file.lines[: node.lineno - 1], *helpers, *source.split("\n"), *file.lines[node.end_lineno :]]
    needed = {}
    for name, words in piece.imports.items():
        if name in file.definitions:
            continue
        if file.imports.get(name, words) != words:
            raise Incompatible(f"two imports called {name}")
        if name not in file.imports:
            needed[name] = words
    first = next(n for n, line in enumerate(lines) if line.startswith(("import ", "from ")))
    return "\n".join([*lines[:first], *needed.values(), *lines[first:]]) + "\n"


def _right(exercise: Exercise, draw: random.Random) -> Excerpt:
    """Return a right variant in the style of the wrong ones; the solution where there is no other."""
    entries = load_catalog(exercise.chapter).of(Alternative, exercise.name)
    if entries:
        entry = draw.choice(entries)
        return excerpt_of(exercise.chapter.alternatives, entry.name, exercise.name)
    return solution_file(exercise.chapter).excerpt(exercise.name, exercise.name)


@lru_cache
def solution_file(chapter: Chapter) -> SourceFile:
    """Return the worked chapter without its demonstrations."""
    cells = cells_of("py", chapter.solution.read_bytes())
    return SourceFile(
        "\n\n".join(source.strip("\n") for name, _, source in cells if name not in chapter.demonstrations)
    )


def _file(chapter: Chapter, pieces: Mapping[str, Excerpt], title: str, paragraphs: int | None) -> str:
    """Return the file of some pieces, in the order of the chapter."""
    ordered = [pieces[name] for name in chapter.exercises if name in pieces]
    worked = solution_file(chapter)
    signatures = {piece.name: _signature(worked, piece) for piece in ordered}
    if any(header is None for header in signatures.values()):
        signatures = dict.fromkeys(signatures)  # all of them plain, or the plain one would stand out
    bodies: list[str] = []
    imports: dict[str, str] = {}
    helpers: dict[str, str] = {}
    for piece in ordered:
        source, extra = _with_signature(piece.source, signatures[piece.name])
        bodies.append(documented(source, contract(worked.docstring(piece.name))[:paragraphs]))
        _merge(imports, piece.imports | {name: worked.imports[name] for name in extra if name in worked.imports})
        _merge(helpers, piece.helpers)
    for name in pieces:
        imports.pop(name, None)
    code = "\n\n\n".join([_import_block(imports), *helpers.values(), *bodies]).lstrip("\n") + "\n"
    future = "from __future__ import annotations\n\n" if unresolved(code) else ""
    return f'"""{title}"""\n\n{future}{code}'


def _merge(into: dict[str, str], more: Mapping[str, str]) -> None:
    for name, text in more.items():
        if into.setdefault(name, text) != text:
            raise Incompatible(f"two different {name}")


def _signature(worked: SourceFile, piece: Excerpt) -> str | None:
    """Return the header that the worked solution has, if the piece has the same parameters; "" where a class needs none."""
    mine, theirs = ast.parse(piece.source).body[0], worked.definitions[piece.name]
    if isinstance(mine, ast.ClassDef):
        return ""
    if not isinstance(mine, ast.FunctionDef) or not isinstance(theirs, ast.FunctionDef):
        return None
    if _parameters(mine) != _parameters(theirs):
        return None
    return "\n".join(worked.lines[theirs.lineno - 1 : theirs.body[0].lineno - 1])


def _parameters(function: ast.FunctionDef) -> tuple:
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    defaults = [ast.unparse(d) if d else None for d in (*arguments.defaults, *arguments.kw_defaults)]
    return names, defaults, arguments.vararg and arguments.vararg.arg, arguments.kwarg and arguments.kwarg.arg


def _with_signature(source: str, header: str | None) -> tuple[str, set[str]]:
    """Return the source under a header, and the names that the header needs."""
    node = ast.parse(source).body[0]
    if not header or not isinstance(node, ast.FunctionDef):
        return source, _annotation_names(source)
    return "\n".join([header, *source.split("\n")[node.body[0].lineno - 1 :]]), _annotation_names(header + "\n    pass")


def _annotation_names(source: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}


def _import_block(imports: Mapping[str, str]) -> str:
    """Return the imports, the standard library first."""
    lines = sorted(set(imports.values()), key=lambda words: (not words.startswith("import "), words))
    groups: list[list[str]] = [[], [], []]
    for words in lines:
        root = words.split()[1].split(".")[0]
        groups[2 if root == "reference" else 0 if root in sys.stdlib_module_names else 1].append(words)
    if groups[2]:
        groups[1].insert(0, IMPORT)
    return "\n\n".join("\n".join(_joined(group)) for group in groups if group)


def _joined(lines: Iterable[str]) -> list[str]:
    """Return imports from one module as one line."""
    modules: dict[str, list[str]] = {}
    for words in lines:
        module, _, names = words.partition(" import ") if words.startswith("from ") else (words, "", "")
        modules.setdefault(module, []).append(names)
    return [f"{m} import {', '.join(sorted(n))}" if n != [""] else m for m, n in modules.items()]


def _lines(text: str) -> int:
    return text.count("\n")
