"""The engine knows no course, and the worker knows nothing but itself."""

import ast
import re
import sys
from pathlib import Path

import pytest

from gptdojo.course import Course

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gptdojo"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_course" not in path.parts)
WORKER = sorted((PACKAGE / "worker").glob("*.py"))


def imported(path):
    """The absolute names that a file imports, relative ones resolved."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            names.append(".".join(filter(None, (base, node.module))))
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_of_the_engine_imports_a_course(path):
    for name in imported(path):
        assert name.partition(".")[0] not in ("reference", "solutions", "exercises", "tests"), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_of_the_engine_names_the_subject_of_the_course(path):
    text = re.sub("gptdojo", "", path.read_text(), flags=re.IGNORECASE)
    assert not re.search(r"\bGPT|gpt2|(?<!Node)transformer\b(?!s)|\battention\b|kv_?cache", text, re.IGNORECASE)
    course = Course(ROOT)
    exercises = [name for name in course.exercises if not name.islower() or "_" in name]  # generate is a word as well
    for name in [*course.chapters, *exercises]:
        assert not re.search(rf"\b{name}\b", text), name


@pytest.mark.parametrize("path", WORKER, ids=lambda path: path.name)
def test_the_worker_imports_itself_the_standard_library_msgpack_numpy_and_torch(path):
    allowed = sys.stdlib_module_names | {"msgpack", "torch", "numpy"}
    for name in imported(path):
        assert name.partition(".")[0] in allowed or name.startswith("gptdojo.worker"), name


def test_the_test_above_sees_imports():
    assert "gptdojo.faults" in imported(PACKAGE / "ladder.py")
    assert "gptdojo.worker.frames" in imported(PACKAGE / "worker" / "__main__.py")
    assert Path(PACKAGE / "worker" / "values.py") in WORKER
