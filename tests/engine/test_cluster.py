"""A class graded on dask: a scheduler and two workers, processes on this machine; one worker is killed in the middle."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from .conftest import copy_toy

VOWELS = 'def count_vowels(text):\n    return sum(letter in "aeiou" for letter in text.lower())\n'
SLOW = f"import time\ntime.sleep(1)\n{VOWELS}"
LEARNERS = 12
BIN = Path(sys.executable).parent


@pytest.fixture
def course(tmp_path):
    root = copy_toy(tmp_path / "course")
    for number in range(LEARNERS):
        path = root / "submitted" / f"learner{number:02}" / "01_words" / "words.py"
        path.parent.mkdir(parents=True)
        path.write_text(SLOW)
    return root


@pytest.fixture
def processes():
    """Starts processes that write to a file, and ends them with all that they started."""
    running = []

    def start(log, *command, cwd):
        with open(log, "w") as file:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            running.append(subprocess.Popen(command, stdout=file, stderr=file, cwd=cwd, env=environment))
        return running[-1]

    yield start
    below = [each for process in running if process.poll() is None for each in family(process.pid)]
    for process in below:
        end(process)
    psutil.wait_procs(below, 20)


def family(pid):
    return [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]


def end(process):
    with suppress(psutil.NoSuchProcess):
        process.kill()


def said(log, pattern, seconds=60):
    deadline = time.monotonic() + seconds
    while not (match := re.search(pattern, log.read_text())):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return match.group(1)


@pytest.fixture
def cluster(tmp_path, processes):
    """The address of a scheduler, and its two workers, which share no folder with the class."""
    log = tmp_path / "scheduler.log"
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    processes(log, str(BIN / "dask"), "scheduler", *options, cwd=tmp_path)
    address = said(log, r"Scheduler at:\s+(tcp://\S+)")
    workers = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        options = ("--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1", "--local-directory", str(folder))
        workers.append(processes(tmp_path / f"{name}.log", str(BIN / "dask"), "worker", address, *options, cwd=folder))
    return address, workers


@pytest.mark.slow
def test_a_class_is_graded_once_each_though_a_worker_is_killed(course, cluster):
    address, workers = cluster
    command = [str(BIN / "gptdojo"), "grade", "submitted", "--cluster", address, "--out", "out", "--seed", "3"]
    grading = subprocess.Popen(command, cwd=course, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kept = course / "out" / "submissions"
    deadline = time.monotonic() + 240
    while len(list(kept.glob("*.json"))) < 3:
        assert grading.poll() is None, grading.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lost = family(workers[0].pid)
    nanny = psutil.Process(workers[0].pid)
    for process in (
        nanny,
        *nanny.children(),
    ):  # the nanny would start another worker; what that one started is left alone
        end(process)
    _, errors = grading.communicate(timeout=240)
    assert grading.returncode == 0, errors
    report = json.loads((course / "out/report.json").read_text())
    assert [row["learner"] for row in report["submissions"]] == [f"learner{number:02}" for number in range(LEARNERS)]
    assert {row["score"] for row in report["submissions"]} == {2.0}
    assert report["isolation"] == "bubblewrap"
    assert len(list(kept.glob("*.json"))) == LEARNERS
    _, left = psutil.wait_procs(lost, 30)
    assert left == [], "the sandboxes of a lost worker are gone"


@pytest.mark.slow
def test_a_cluster_that_is_lost_loses_nothing_graded_and_says_how_to_go_on(course, cluster):
    address, _ = cluster
    command = [str(BIN / "gptdojo"), "grade", "submitted", "--cluster", address, "--out", "out"]
    grading = subprocess.Popen(command, cwd=course, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kept = course / "out" / "submissions"
    deadline = time.monotonic() + 240
    while len(list(kept.glob("*.json"))) < 2:
        assert grading.poll() is None, grading.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (scheduler,) = [process for process in psutil.process_iter() if _is_scheduler(process, address)]
    scheduler.kill()
    _, errors = grading.communicate(timeout=240)
    graded = len(list(kept.glob("*.json")))
    assert grading.returncode == 3
    assert f"the cluster is gone. {graded} of {LEARNERS} submissions are graded, and kept in out. To go on:" in errors
    assert "Traceback" not in errors


def _is_scheduler(process, address):
    with suppress(psutil.Error):
        ports = [each.laddr.port for each in process.net_connections() if each.status == psutil.CONN_LISTEN]
        return int(address.rpartition(":")[2]) in ports
    return False


def test_a_worker_that_has_other_versions_is_told_apart():
    from gptdojo.grading.cluster import difference

    expected = {"torch": "2.13.0", "numpy": "2.4.6"}
    assert difference(expected, dict(expected)) == ""
    assert difference(expected, {"torch": "2.9.0"}) == "torch 2.9.0 and not 2.13.0, numpy None and not 2.4.6"
