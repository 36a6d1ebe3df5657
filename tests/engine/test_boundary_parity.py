"""Both places give the same verdict: every variant of the course, in this process and across the boundary. And no result breaks a property.

The solutions, alternatives and misconceptions of a chapter are three submissions; each variant is graded as what its exercise asks for.
"""

import ast
import json
import math
from pathlib import Path

import pytest
import torch

from gptdojo.catalog import load_catalog
from gptdojo.course import Chapter, Exercise, find_course
from gptdojo.grading.process import Limits, WorkerProcess
from gptdojo.implementation import Implementation, LocalTransport
from gptdojo.ladder import run_ladder
from gptdojo.sandbox import Unavailable, choose
from gptdojo.solutions import right_variants, wrong_variants
from gptdojo.worker.submission import run

COURSE = find_course(Path(__file__).parent)
SECONDS = 120.0
QUICK = (("02_causal_mask", "solution"), ("02_causal_mask", "alternatives"))
SOURCES = ("solution", "alternatives", "misconceptions")
CASES = [
    pytest.param(name, source, id=f"{name}-{source}", marks=[] if (name, source) in QUICK else pytest.mark.slow)
    for name in COURSE.chapters
    for source in SOURCES
]


def as_submission(path: Path) -> bytes:
    """The variants of a file as a learner would hand them in: without decorators, probes and what these import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not _is_for_the_grader(node)]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.decorator_list = [
                mark for mark in node.decorator_list if _name(mark) not in ("misconception", "alternative")
            ]
    return ast.unparse(tree).encode()


def _is_for_the_grader(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] in ("gptdojo", "tests")
    return isinstance(node, ast.FunctionDef) and any(_name(mark) == "fingerprint" for mark in node.decorator_list)


def _name(decorator: ast.expr) -> str:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return called.id if isinstance(called, ast.Name) else ""


class Renamed:
    """A transport that reaches one variant under the name of its exercise."""

    def __init__(self, transport, variant):
        self.transport, self.variant = transport, variant

    def request(self, message, call_back):
        if message["op"] == "call" and message["handle"] is None:
            message = message | {"name": self.variant}
        return self.transport.request(message, call_back)


def judged(exercise: Exercise, transport, variant: str) -> str:
    """The report on a variant, without its time."""
    catalog = load_catalog(exercise.chapter)
    impl = Implementation(Renamed(transport, variant), exercise.name, **catalog.facts(exercise))
    record = run_ladder(exercise, catalog, impl, 0).to_json()
    return json.dumps(record | {"seconds": 0}, indent=1)


def verdicts(report: str) -> str:
    """What a report says of a submission that answers differently each time."""
    record = json.loads(report)
    kept = {key: record[key] for key in ("exercise", "status", "score", "misconceptions")}
    return json.dumps(kept | {"properties": [(row["property"], row["verdict"]) for row in record["properties"]]})


def variants(chapter: Chapter, path: Path) -> list[tuple[Exercise, str]]:
    """The variants of one file, each with its exercise."""
    if path == chapter.solution:
        return [(exercise, exercise.name) for exercise in chapter.exercises.values()]
    of = wrong_variants if path == chapter.misconceptions else right_variants
    return [(exercise, name) for exercise in chapter.exercises.values() for name in of(exercise) if name != "solution"]


@pytest.mark.parametrize(("name", "source"), CASES)
def test_a_verdict_does_not_depend_on_where_the_code_runs(name, source):
    try:
        isolation = choose("bubblewrap")
    except Unavailable:
        isolation = choose("none")
    chapter = COURSE.chapters[name]
    COURSE.importable()
    path = getattr(chapter, source)
    content = path.read_bytes() if source == "solution" else as_submission(path)
    skip = frozenset(chapter.demonstrations)
    found = variants(chapter, path)
    names = [variant for _, variant in found]
    here = run("py", content, skip)
    assert not here.notes
    with WorkerProcess(isolation, COURSE, COURSE.reference_before(chapter), Limits(SECONDS)) as process:
        defined, notes = process.load("py", content, names, skip)
        assert not notes
        assert sorted(defined) == sorted(names)
        for exercise, variant in found:
            process.start_clock()
            across = judged(exercise, process, variant)
            local = judged(exercise, LocalTransport(here.namespace), variant)
            if across != local and local != judged(exercise, LocalTransport(here.namespace), variant):
                # it draws at random without a seed: the verdicts are the same, the numbers never are
                across, local = verdicts(across), verdicts(local)
            assert across == local, f"{exercise.name}: {variant}"
            assert (json.loads(across)["status"] == "passed") == (source != "misconceptions"), f"{variant}: {across}"


RESULTS = {
    "nothing": None,
    "a number": 1,
    "a real number": 0.5,
    "NaN": math.nan,
    "a huge number": 10**900,
    "a text": "text",
    "no items": [],
    "numbers": [1, 2, 3],
    "a pair of nothing": (None, None),
    "a pair of scalars": (torch.tensor(1.0), torch.tensor(2.0)),
    "a dict": {"a": 1},
    "a dict of odd keys": {1: "a", None: 2, (1, 2): 3},
    "a scalar": torch.tensor(1.0),
    "an integer tensor": torch.ones(2, 3, dtype=torch.int64),
    "a bool tensor": torch.zeros(1, 1, dtype=torch.bool),
    "a complex tensor": torch.ones(2, dtype=torch.complex64),
    "an empty tensor": torch.empty(0, 4),
    "a tensor of NaN": torch.full((2, 3, 4), math.nan),
    "a tensor of many dimensions": torch.zeros(1, 1, 1, 1, 1, 1),
    "an expanded tensor": torch.zeros(1).expand(3, 2, 5, 4),
    "an object": object(),
    "a type": int,
}


def answering(exercise: Exercise, result) -> object:
    """A function, or a class, that gives one result whatever it is asked."""
    methods = load_catalog(exercise.chapter).parameters(exercise.name)
    if exercise.name in methods:
        return lambda *args, **kwargs: result
    return type(
        exercise.name,
        (),
        {name: lambda *args, **kwargs: result for name in methods if name != "__init__"} | {"__init__": _begin},
    )


def _begin(self, *args, **kwargs):
    pass


def calling(exercise: Exercise) -> object:
    """A function that calls whatever it is given, with nothing and with itself, and returns what it was given."""

    def call(*args, **kwargs):
        for value in args:
            for given in ((), (value,), (torch.zeros(1, 1, dtype=torch.int64),), (None, None)):
                try:
                    value(*given)
                except Exception:
                    continue
        return args[0] if args else None

    methods = load_catalog(exercise.chapter).parameters(exercise.name)
    if exercise.name in methods:
        return call
    return type(exercise.name, (), {name: call for name in methods if name != "__init__"} | {"__init__": _begin})


@pytest.mark.parametrize("name", COURSE.exercises)
def test_no_result_breaks_a_property(name):
    exercise = COURSE.exercises[name]
    COURSE.importable()
    catalog = load_catalog(exercise.chapter)
    answers = {label: answering(exercise, result) for label, result in RESULTS.items()} | {
        "what calls": calling(exercise)
    }
    for label, answer in answers.items():
        impl = Implementation(LocalTransport({name: answer}), name, **catalog.facts(exercise))
        try:
            result = run_ladder(exercise, catalog, impl, 0, shrink=False)
        except Exception as error:
            pytest.fail(f"{label} breaks a property of {name}: {error!r}")
        assert result.status in ("failed", "error", "forbidden"), label
