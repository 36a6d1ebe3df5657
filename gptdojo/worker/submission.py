"""Runs a submission: the cells of a notebook in order, or a Python file."""

import __future__

import contextlib
import io
import json
import linecache
import re
import sys
import types
from dataclasses import dataclass, field
from typing import Any

from .endpoint import describe_exception

MAX_CELLS = 2_000
CELL_MARK = re.compile(r"^# ?%%.*$", re.MULTILINE)
MAGIC = re.compile(r"^\s*([%!]|\??\w[\w.]*\?{1,2}\s*$|\?)")
BODY_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")
FUTURE_FLAGS = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


@dataclass
class Loaded:
    """The namespace that a submission made, and what went wrong in which cell."""

    namespace: dict[str, Any]
    notes: list[dict] = field(default_factory=list)
    future: int = 0  # the flags of `from __future__ import ...`, which hold for later cells too


class NotASubmission(Exception):
    """The bytes are not a notebook or not text; the message says what they are."""


def cells_of(kind: str, content: bytes) -> list[tuple[str, str, str]]:
    """Return `(name, label, source)` for each code cell; raises NotASubmission.

    `name` is what a demonstration is known by, `label` is what the learner is told ("cell 3").
    """
    text = _text(content)
    if kind == "ipynb":
        return _notebook_cells(text)
    marks = list(CELL_MARK.finditer(text))
    starts = [0, *(mark.start() for mark in marks)]
    ends = [*starts[1:], len(text)]
    # leading newlines keep the line numbers those of the file
    parts = ["\n" * text.count("\n", 0, start) + text[start:end] for start, end in zip(starts, ends, strict=True)]
    if not marks or not all(_compiles(part) for part in parts):
        return [("", "the file", text)]
    names = ["", *(mark.group().lstrip("# %").split(" ")[0] for mark in marks)]
    return [(name, "the file", part) for name, part in zip(names, parts, strict=True)]


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise NotASubmission(f"the file is not UTF-8 text (byte {error.start})") from None


def _notebook_cells(text: str) -> list[tuple[str, str, str]]:
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotASubmission(f"the file is not a notebook: {str(error)[:200] or type(error).__name__}") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise NotASubmission("the file is not a notebook of format 4: it has no list of cells")
    found = []
    for number, cell in enumerate(cells[:MAX_CELLS], 1):
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        if isinstance(source, list):
            source = "".join(line for line in source if isinstance(line, str))
        if isinstance(source, str):
            found.append((_name(cell), f"cell {number}", source))
    return found


def _name(cell: dict) -> str:
    """What a cell is known by: its title, which survives editors that give cells identities of their own, else its id."""
    metadata = cell.get("metadata")
    title = metadata.get("title") if isinstance(metadata, dict) else None
    return str(title or cell.get("id", ""))[:100]


def without_magics(source: str) -> str:
    """Return the source of a cell with its IPython magics left out; a cell in another language is left out whole."""
    if _compiles(source):
        return source
    lines = source.split("\n")
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("%%") and not first.startswith(BODY_MAGICS):
        return ""
    return "\n".join("pass" if line[:1] in "%!?" and line else _plain(line) for line in lines)


def _plain(line: str) -> str:
    return line[: len(line) - len(line.lstrip())] + "pass" if MAGIC.match(line) else line


def _compiles(source: str) -> bool:
    try:
        compile(source, "<cell>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True


def run(kind: str, content: bytes, skip: frozenset[str], *, module_name: str = "submission") -> Loaded:
    """Run the cells of a submission but those named in `skip`. A cell that raises does not stop later ones."""
    module = types.ModuleType(module_name)
    sys.modules[module_name] = module
    loaded = Loaded(module.__dict__)
    loaded.namespace["display"] = lambda *values, **options: None
    try:
        cells = cells_of(kind, content)
    except NotASubmission as error:
        loaded.notes.append({"cell": "the file", "types": ["NotASubmission"], "message": str(error), "where": []})
        return loaded
    whole = _remember("submission", _text(content)) if kind == "py" else ""
    for name, label, source in cells:
        if name not in skip:
            plain = without_magics(source)
            _run_cell(label, whole or _remember(label, plain), plain, loaded)
    return loaded


def _remember(label: str, source: str) -> str:
    """Keep a source, so that tracebacks can quote its lines; return the name to compile it under, which no other has."""
    lines = source.splitlines(keepends=True)
    filename, number = f"<{label}>", 1
    while filename in linecache.cache and linecache.getlines(filename) != lines:
        number += 1
        filename = f"<{label}, {number}>"
    linecache.cache[filename] = (len(source), None, lines, filename)
    return filename


def _run_cell(label: str, filename: str, source: str, loaded: Loaded) -> None:
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            code = compile(source, filename, "exec", flags=loaded.future, dont_inherit=True)
            loaded.future |= code.co_flags & FUTURE_FLAGS
            exec(code, loaded.namespace)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if getattr(error, "is_time_limit", False):
            raise
        loaded.notes.append({"cell": label} | describe_exception(error))
