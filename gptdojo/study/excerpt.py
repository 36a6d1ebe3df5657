"""Cuts a function or class out of a file of the course, with everything it needs and nothing that comments on it."""

import ast
import builtins
import io
import symtable
import tokenize
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from gptdojo.course import CourseError

Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


class Incompatible(CourseError):
    """These pieces cannot stand in one file."""


@dataclass
class Excerpt:
    """The source of one piece, and what has to stand before it: imports by the name they bind, helpers by their name."""

    name: str
    source: str
    imports: dict[str, str] = field(default_factory=dict)
    helpers: dict[str, str] = field(default_factory=dict)


class SourceFile:
    """A file of Python, by its top-level definitions and imports."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.definitions: dict[str, Definition] = {}
        self.imports: dict[str, str] = {}
        self.places: dict[str, int] = {}
        self._segments: dict[str, str] = {}
        for node in ast.parse(text).body:
            self._add(node)

    def _add(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            self.definitions[node.name] = node
            self.places[node.name] = node.lineno
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for part in ast.walk(node):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    self.definitions[part.id] = node
                    self.places[part.id] = node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                words = f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
                self.imports[alias.asname or alias.name.split(".")[0]] = words
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                words = f"from {'.' * node.level}{node.module or ''} import {alias.name}"
                self.imports[alias.asname or alias.name] = words + (f" as {alias.asname}" if alias.asname else "")

    def segment(self, name: str) -> str:
        """Return the source of a definition without its decorators, comments and docstrings."""
        if name not in self._segments:
            self._segments[name] = self._cut(name)
        return self._segments[name]

    def _cut(self, name: str) -> str:
        node = self.definitions[name]
        lines = self.lines[node.lineno - 1 : node.end_lineno]
        for owner in ast.walk(node):
            if isinstance(owner, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(owner) is not None:
                text = owner.body[0]
                for number in range(text.lineno, (text.end_lineno or text.lineno) + 1):
                    lines[number - node.lineno] = ""
                if len(owner.body) == 1:
                    lines[text.lineno - node.lineno] = " " * text.col_offset + "pass"
        return tidy(without_comments("\n".join(lines)))

    def excerpt(self, name: str, called: str) -> Excerpt:
        """Return a definition under the name `called`, with its imports and helpers."""
        found = Excerpt(called, renamed(self.segment(name), name, called))
        waiting, seen = [self.segment(name)], {name}
        while waiting:
            for other in sorted(free_names(waiting.pop()) - seen):
                seen.add(other)
                if other in self.imports:
                    found.imports[other] = self.imports[other]
                elif other in self.definitions:
                    waiting.append(self.segment(other))
                    found.helpers[other] = self.segment(other)
        found.helpers = {other: found.helpers[other] for other in sorted(found.helpers, key=self.places.__getitem__)}
        return found

    def docstring(self, name: str) -> str:
        """Return the docstring of a function or class."""
        node = self.definitions[name]
        return ast.get_docstring(node) or "" if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""


@lru_cache
def source_file(path: Path) -> SourceFile:
    """Return a file of the course."""
    return SourceFile(path.read_text(encoding="utf-8"))


@lru_cache
def excerpt_of(path: Path, name: str, called: str) -> Excerpt:
    """Return a definition of a file of the course under the name `called`."""
    return source_file(path).excerpt(name, called)


def without_comments(source: str) -> str:
    """Return source with its comments cut off."""
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() or "\0"
    return "\n".join(line for line in lines if line != "\0")


def renamed(source: str, old: str, new: str) -> str:
    """Return source with a name of the module replaced wherever it stands by itself."""
    lines = source.split("\n")
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for before, token in reversed(list(zip([None, *tokens], tokens, strict=False))):
        if token.type == tokenize.NAME and token.string == old and (before is None or before.string != "."):
            (row, start), (_, end) = token.start, token.end
            lines[row - 1] = lines[row - 1][:start] + new + lines[row - 1][end:]
    return "\n".join(lines)


def tidy(source: str) -> str:
    """Return source without runs of empty lines, nor one right after a header."""
    kept: list[str] = []
    for line in source.split("\n"):
        if line.strip() or (kept and kept[-1].strip() and not kept[-1].rstrip().endswith(":")):
            kept.append(line.rstrip())
    return "\n".join(kept).rstrip("\n")


def free_names(source: str) -> set[str]:
    """Return the names that a piece of source takes from its module."""
    found: set[str] = set()
    tables = [symtable.symtable(source, "<excerpt>", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        top = table.get_type() == "module"
        found |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return {name for name in found if not hasattr(builtins, name)}


def unresolved(source: str) -> set[str]:
    """Return the names that a whole file uses and does not define; in annotations they stand for what others define."""
    defined = {s.get_name() for s in symtable.symtable(source, "<file>", "exec").get_symbols() if s.is_assigned()}
    imported = {s.get_name() for s in symtable.symtable(source, "<file>", "exec").get_symbols() if s.is_imported()}
    return free_names(source) - defined - imported - {"__name__"}


def contract(docstring: str) -> list[str]:
    """Return the paragraphs of a docstring that say what is asked: without examples, their introductions and the source."""
    kept: list[str] = []
    for paragraph in docstring.split("\n\n"):
        if ">>>" in paragraph:
            if kept and kept[-1].rstrip().endswith(":"):
                kept.pop()
        elif not paragraph.startswith("Source"):
            kept.append(paragraph)
    return kept


def documented(source: str, paragraphs: list[str]) -> str:
    """Return the source of a function or class with a docstring; raises Incompatible where its body is on the header's line."""
    node = ast.parse(source).body[0]
    if not isinstance(node, ast.FunctionDef | ast.ClassDef) or not paragraphs:
        return source
    first = node.body[0]
    start = min(first.lineno, *(d.lineno for d in getattr(first, "decorator_list", [])), first.lineno)
    if start == node.lineno:
        raise Incompatible(f"{node.name} stands on one line")
    indent = " " * first.col_offset
    text = "\n\n".join(paragraphs).rstrip()
    end = f"\n{indent}" if "\n" in text else ""
    body = "\n".join(f"{indent}{line}".rstrip() for line in text.split("\n")).lstrip()
    lines = source.split("\n")
    gap = [""] if isinstance(node, ast.ClassDef) else []
    return "\n".join([*lines[: start - 1], f'{indent}"""{body}{end}"""', *gap, *lines[start - 1 :]])
