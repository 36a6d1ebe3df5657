"""The file that a learner starts from when writing a test."""

import ast
import doctest
from collections.abc import Mapping

from gptdojo.course import Exercise
from gptdojo.worker.submission import run

from .attempt import attempt, find_tests, variants
from .compose import solution_file
from .excerpt import contract, free_names, renamed, without_comments

HEAD = '''"""A test of {name}, to be written by you.

It gets an implementation as `impl`, and has to pass on every right one and to fail on every wrong one. Add what is
missing: more asserts, or more functions that begin with test_. This tries it on all that the course knows:

    gptdojo writetest {name}

What is promised:

{contract}
"""
'''


def start_text(exercise: Exercise) -> str:
    """Return the text: what the exercise promises, its imports, and its example as a first test."""
    worked = solution_file(exercise.chapter)
    words = "\n\n".join(contract(worked.docstring(exercise.name)))
    head = HEAD.format(name=exercise.name, contract=f"{_signature(exercise)}\n\n{words}")
    known = worked.imports
    body = _example(exercise.name, worked.docstring(exercise.name))
    if body is None or free_names(body) - known.keys() or not _accepts(exercise, body, known):
        body = f"def test_{exercise.name}(impl):\n    raise NotImplementedError  # call impl, and assert what must hold"
    needed = sorted(
        {known[name] for name in free_names(body) if name in known} | {"import torch"} & set(known.values())
    )
    return f"{head}\n" + "".join(f"{words}\n" for words in needed) + ("\n\n" if needed else "\n") + f"{body}\n"


def _accepts(exercise: Exercise, body: str, imports: Mapping[str, str]) -> bool:
    """Say whether a test passes on every right implementation: some give a tensor where the example has a number."""
    loaded = run("py", "\n".join([*imports.values(), body]).encode(), frozenset(), module_name="gptdojo_start")
    tests = find_tests(loaded.namespace)
    right = [implementation for variant, implementation in variants(exercise) if variant.right]
    return all(attempt(tests, implementation, lambda name: False)[0] == "passed" for implementation in right)


def _signature(exercise: Exercise) -> str:
    """Return the header of the exercise as the worked chapter has it."""
    worked = solution_file(exercise.chapter)
    node = worked.definitions[exercise.name]
    if isinstance(node, ast.ClassDef):
        methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
        return "\n".join([f"class {exercise.name}:", *(_header(worked.lines, method) for method in methods)])
    assert isinstance(node, ast.FunctionDef)
    return _header(worked.lines, node)


def _header(lines: list[str], node: ast.FunctionDef) -> str:
    return "\n".join(lines[node.lineno - 1 : node.body[0].lineno - 1])


def _example(name: str, docstring: str) -> str | None:
    """Return the example of a docstring as a test; None where there is none that can be one."""
    lines = [f"def test_{name}(impl):"]
    for example in doctest.DocTestParser().get_examples(docstring):
        source = renamed(example.source.rstrip("\n"), name, "impl")
        want = example.want.strip()
        if not want:
            lines += [f"    {line}" for line in source.split("\n")]
            continue
        try:
            ast.literal_eval(want)
            source = without_comments(source)
            tree = ast.parse(source, mode="eval").body
        except (SyntaxError, ValueError):
            continue
        plain = isinstance(tree, ast.Call | ast.Attribute | ast.Subscript | ast.List | ast.BinOp) and "\n" not in source
        lines.append(f"    assert {source} == {want}" if plain else f"    assert ({source}) == {want}")
    while lines and not lines[-1].startswith("    assert"):
        lines.pop()
    return "\n".join(lines) or None
