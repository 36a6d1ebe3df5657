"""Workers are forked from a process that has torch imported, and one submission learns nothing of the one before."""

import os
import signal

import pytest

from gptdojo.grading.process import Limits, WorkerProcess
from gptdojo.implementation import Implementation
from gptdojo.sandbox import bodies, choose
from gptdojo.sandbox.zygote import NotWarm, prepare, zygote

SPY = b"""
import os, threading
marks = []

def leave(text):
    marks.append(text)
    for folder in ("/scratch", "/dev/shm"):
        with open(os.path.join(folder, "mark"), "w") as file:
            file.write(text)
    os.environ["MARK"] = text
    return sorted(os.listdir("/scratch"))

def look():
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    return [sorted(os.listdir("/scratch")), os.listdir("/dev/shm"), marks, os.environ.get("MARK"), pids, len(os.listdir("/proc/self/fd"))]

def new_namespace():
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    return [libc.unshare(0x10000000), open("/proc/sys/user/max_user_namespaces").read().strip()]

def answer():
    return 42
"""


@pytest.fixture(scope="module")
def isolation():
    return choose("bubblewrap")


def ask(isolation, name, *arguments):
    """What a worker of its own says."""
    with WorkerProcess(isolation, None, (), Limits(20)) as worker:
        assert isinstance(worker.body, bodies.Warm)
        worker.load("py", SPY, [name], ())
        return Implementation(worker, name)(*arguments)


def test_a_submission_finds_nothing_of_the_one_before(isolation):
    before = ask(isolation, "look")
    assert "mark" in ask(isolation, "leave", "a secret")
    assert ask(isolation, "look") == before


def test_a_submission_sees_two_processes_and_four_descriptors_of_its_own(isolation):
    files, shared, marks, mark, pids, descriptors = ask(isolation, "look")
    assert (files, shared, marks, mark, pids) == ([".course"], [], [], None, [1, 2])
    assert descriptors <= 9


def test_a_worker_can_make_no_namespace(isolation):
    refused, allowed = ask(isolation, "new_namespace")
    assert (refused, allowed) == (-1, "0")


def test_when_the_process_that_forks_is_gone_another_takes_its_place(isolation):
    prepare(isolation)
    os.kill(zygote(isolation).process.pid, signal.SIGKILL)
    zygote(isolation).process.wait()
    assert ask(isolation, "answer") == 42


def test_where_nothing_can_be_forked_a_worker_starts_by_itself(isolation, monkeypatch):
    def refuse(isolation):
        raise NotWarm("inner namespaces are refused")

    monkeypatch.setattr(bodies, "zygote", refuse)
    with WorkerProcess(isolation, None, (), Limits(20)) as worker:
        assert isinstance(worker.body, bodies.Cold)
        worker.load("py", SPY, ["answer"], ())
        assert Implementation(worker, "answer")() == 42
