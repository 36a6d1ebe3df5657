"""The toy course as a course of its own, and the two ways to reach a learner's code."""

import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import hypothesis.internal.conjecture.providers as providers
import pytest
import torch

from gptdojo import catalog, fingerprints, solutions
from gptdojo.course import Course
from gptdojo.grading.process import Limits, WorkerProcess
from gptdojo.implementation import Implementation, LocalTransport
from gptdojo.sandbox.isolation import choose
from gptdojo.worker.submission import run

ENGINE = Path(__file__).parent
ROOT = ENGINE.parents[1]
TOY = ENGINE / "toy_course"
ANSWERS = ENGINE / "answers.py"
OF_MODULES = providers._get_local_constants


def forget_what_was_loaded():
    """Clear what the engine remembers of courses, so that files are read again."""
    for module in (catalog, fingerprints, solutions):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def _is_of_a_course(name):
    return name.partition(".")[0] == "reference" or name.startswith(("gptdojo_course_", "gptdojo_solution_"))


@contextmanager
def no_other_course():
    """Hide the modules of any other course, and forget what was loaded of it; put them back afterwards."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_of_a_course(name)}
    path = list(sys.path)
    forget_what_was_loaded()
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_of_a_course(name)]:
            del sys.modules[name]
        sys.modules.update(hidden)
        sys.path[:] = path
        forget_what_was_loaded()


def copy_toy(folder):
    shutil.copytree(TOY, folder, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis", "exercises"))
    return folder


@pytest.fixture
def toy_folder(tmp_path):
    return copy_toy(tmp_path / "course")


@pytest.fixture
def toy(toy_folder):
    """The toy course, importable, and no other."""
    with no_other_course():
        course = Course(toy_folder)
        course.importable()
        yield course


@pytest.fixture
def forget():
    """Call it after a file of the course was edited."""
    return forget_what_was_loaded


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path, monkeypatch):
    """No test touches the state of whoever runs it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture(scope="session")
def process():
    names = re.findall(r"^(?:def|class) ([a-zA-Z]\w*)", ANSWERS.read_text(), re.MULTILINE)
    with WorkerProcess(choose("none"), Course(TOY), (), Limits(seconds=60)) as process:
        defined, notes = process.load("py", ANSWERS.read_bytes(), names, ())
        assert not notes
        assert defined == names
        yield process


@pytest.fixture(scope="session")
def _namespace():
    loaded = run("py", ANSWERS.read_bytes(), frozenset())
    assert not loaded.notes
    return loaded.namespace


@pytest.fixture(params=["here", "process"])
def transport(request):
    """The functions of answers.py, in this process and in one of their own."""
    if request.param == "here":
        return LocalTransport(request.getfixturevalue("_namespace"))
    process = request.getfixturevalue("process")
    process.start_clock()
    return process


@pytest.fixture
def answer(transport):
    """`answer("name")` is the implementation that answers.py has under that name."""
    return lambda name, **facts: Implementation(transport, name, **facts)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def constants_of_modules():
    """What Hypothesis does unless it is steadied: it collects the constants of local modules."""
    return OF_MODULES
