"""The attack corpus: no submission gains a point that it did not earn, and none hurts another.

Each file of attacks/ is a submission to the toy course, or a builder of one (`# must: builder`). Its first lines say what must
happen, `# must: score=0`, `# must: status=crashed|error`, `# must: message~text`; what holds for every submission is checked for
all of them, and for an honest neighbor that is graded at the same time.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from gptdojo.course import Course
from gptdojo.grading.collect import Submission, collect
from gptdojo.grading.job import Job, Options
from gptdojo.grading.pool import Graders
from gptdojo.grading.process import Limits
from gptdojo.report import SubmissionResult
from gptdojo.sandbox import Unavailable, choose
from gptdojo.sandbox.held import descendants
from gptdojo.screen import exercise_html, exercise_screen

from .conftest import TOY, copy_toy

ATTACKS = {path.stem: path for path in sorted(Path(__file__).with_name("attacks").glob("*.py"))}
SECRET = "planted secret 5f3a"
EXERCISES = ("count_vowels", "Thermometer")
HONEST_EVERY = 3
SECONDS, SECONDS_OF_A_HANG = 15.0, 1.5
MEMORY_MIB = 2048
LONGEST_TEXT = 5_000
# one of each kind, for every run; the families with all the others are slow
SAMPLE = (
    "leave_os_exit_in_call", "hang_ignoring_signals", "take_memory_shared", "read_any_answer", "connect_anywhere", "new_namespace",
    "patch_endpoint", "forge_colliding_keys", "integer_that_lies", "forbidden_by_thread", "hostile_texts", "honest_settings",
)  # fmt: skip
FAMILIES = {name.partition("_")[0] for name in ATTACKS}


def musts(path: Path) -> list[str]:
    """What the first lines of a file say must happen."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("# must: ") for line in lines if line.startswith("# must: ")]


def submission_of(name: str, folder: Path) -> Submission:
    """The submission that an attack is, or builds."""
    path = ATTACKS[name]
    place = folder / name
    place.mkdir(parents=True)
    if "builder" not in musts(path):
        built = Path(shutil.copy(path, place / path.name))
    else:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        built = module.build(place)
    return collect(Course(TOY), [built])[0]


def plain(result: SubmissionResult) -> str:
    """A report without its times and its path, as the bytes that are written."""
    record = result.to_json() | {"submission": ""}
    for entry in (record, *record["exercises"]):
        entry["seconds"] = 0
    return json.dumps(record, sort_keys=True)


def digest(folder: Path) -> str:
    """A checksum of every file of a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found.update(str(path).encode() + path.read_bytes())
    return found.hexdigest()


class Range:
    """A course, honest and secret files beside it, and graders that grade at the same time."""

    def __init__(self, folder: Path, pool: Graders) -> None:
        self.folder, self.pool = folder, pool
        self.course = copy_toy(folder / "course")
        (folder / "gradebook.db").write_text(SECRET)
        honest = TOY / "solutions" / "01_words" / "words.py"
        self.honest = [Path(shutil.copy(honest, folder / f"honest_{number}.py")) for number in range(len(ATTACKS))]
        self.isolation = choose("bubblewrap")
        self.before = digest(self.course)
        self.alone = plain(self.grade(Submission(self.honest[0]), SECONDS).result())
        assert json.loads(self.alone)["score"] == 5.0, self.alone
        # a grader keeps the process that forks its workers
        self.resting = max(len(descendants(pid)) for pid in self.graders())

    def grade(self, submission, seconds):
        limits = Limits(seconds, MEMORY_MIB)
        return self.pool.submit(Job.read(submission, Options(self.course, self.isolation, limits=limits)))

    def graders(self):
        """The processes that grade."""
        return self.pool.pids()


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    try:
        choose("bubblewrap")
    except Unavailable as error:
        pytest.fail(f"the attacks need a sandbox: {error}")
    patch = pytest.MonkeyPatch()
    patch.setenv("GPTDOJO_PLANTED", SECRET)
    patch.setenv("OMP_NUM_THREADS", "1")
    with Graders(2) as pool:
        yield Range(tmp_path_factory.mktemp("range"), pool)
    patch.undo()


def breaches(attack: str, result: SubmissionResult) -> list[str]:
    """What a result has that it must not have."""
    found = [f"{attack}: {must}, but {told(result)}" for must in musts(ATTACKS[attack]) if not holds(must, result)]
    record = json.dumps(result.to_json())
    if SECRET in record:
        found.append(f"{attack}: a secret got out")
    if any(entry.status == "grader_error" for entry in result.exercises) or "grader failed" in result.message:
        found.append(f"{attack}: the grader broke: {told(result)}")
    if result.seconds > 60:
        found.append(f"{attack}: took {result.seconds} seconds")
    found += [
        f"{attack}: an unfit text: {text!r:.200}"
        for text in texts_of(result.to_json() | {"submission": ""})
        if not fit(text)
    ]
    for entry in result.exercises:
        shown = io.StringIO()
        Console(file=shown, width=200).print(exercise_screen(entry))
        if not all(line.isprintable() for line in shown.getvalue().split("\n")):
            found.append(f"{attack}: the screen has what a terminal acts on")
        if "<script" in exercise_html(entry):
            found.append(f"{attack}: the page has an element of the submission's")
    return found


def told(result):
    entries = [f"{entry.exercise} {entry.status} {entry.score:g}: {entry.message:.300}" for entry in result.exercises]
    return f"{result.score} of {result.max_score} {result.message[:200]!r} {entries}"


def texts_of(value):
    if isinstance(value, dict):
        return [text for item in value.items() for text in texts_of(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in texts_of(item)]
    return [value] if isinstance(value, str) else []


def fit(text):
    """Whether a text can be shown: short, and with nothing that a terminal acts on."""
    return len(text) <= LONGEST_TEXT and all(c.isprintable() or c in "\n\t" for c in text)


def holds(must: str, result: SubmissionResult) -> bool:
    if must == "builder":
        return True
    if must.startswith("message~"):
        return any(
            must.partition("~")[2] in text for text in [*texts_of(result.to_json()["exercises"]), result.message]
        )
    if must == "score<full":
        return result.score < result.max_score
    kind, _, wanted = must.partition("=")
    if kind == "score":
        points = {"0": 0.0, "full": result.max_score}
        return result.score in [points[word] for word in wanted.split("|")] and (
            wanted != "full" or result.max_score > 0
        )
    if kind == "status":
        return bool(result.exercises) and all(entry.status in wanted.split("|") for entry in result.exercises)
    raise ValueError(f"{must} is nothing that can be asked")


def run(attacked: Range, names: list[str], label: str) -> list[str]:
    """Grade attacks with honest submissions between them; return what went wrong."""
    futures, beside = [], []
    for number, name in enumerate(names):
        hangs = any(must.startswith("status=timeout") for must in musts(ATTACKS[name]))
        submission = submission_of(name, attacked.folder / label)
        futures.append((name, attacked.grade(submission, SECONDS_OF_A_HANG if hangs else SECONDS)))
        if number % HONEST_EVERY == 0:
            beside.append((name, attacked.grade(Submission(attacked.honest[number]), SECONDS)))
    found = [breach for name, future in futures for breach in breaches(name, future.result())]
    for name, future in beside:
        if plain(future.result()) != attacked.alone:
            found.append(f"the honest neighbor of {name} got {told(future.result())}")
    if digest(attacked.course) != attacked.before:
        found.append("the course has changed")
    for pid in attacked.graders():
        if len(descendants(pid)) > attacked.resting:
            found.append(f"processes were left behind: {descendants(pid)}")
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
            if peak > 2 * 2**20:
                found.append(f"a grader took {peak >> 10} MiB")
    return found


def test_one_attack_of_each_kind_is_held(attacked):
    assert not run(attacked, list(SAMPLE), "sample")


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_attacks_are_held(attacked, family):
    assert not run(attacked, [name for name in ATTACKS if name.partition("_")[0] == family], family)


def test_every_attack_says_what_it_tries_and_what_must_happen():
    assert len(ATTACKS) >= 60
    for name, path in ATTACKS.items():
        asked = [must for must in musts(path) if must != "builder"]
        assert asked, name
        spoken = compile(path.read_text(), name, "exec").co_consts[0]
        assert isinstance(spoken, str), name
        assert len(spoken) > 10, name
        empty = SubmissionResult("", None, [], 0.0)
        for must in asked:
            holds(must, empty)


def test_sample_names_attacks():
    assert set(SAMPLE) <= set(ATTACKS)
