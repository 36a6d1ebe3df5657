"""docs/instructors.md: every command on it is run, in its order, in a folder that starts empty."""

import csv
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .running import run_command

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "instructors.md"
CLASS = ROOT / "docs" / "demo" / "submitted"
LEARNERS = ("ada", "ben", "chloe")


def sections():
    """The commands of each section, a text for each block."""
    parts = re.split(r"^## (.*)$", PAGE.read_text(), flags=re.MULTILINE)
    texts = {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))
    return {name: re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) for name, text in texts.items()}


@pytest.fixture
def shell(tmp_path):
    """Runs commands as in one terminal: from the folder in which the last ones ended."""
    place = [tmp_path]

    def run(commands):
        script = f'export PATH="{Path(sys.executable).parent}:$PATH"\nset -euo pipefail\n{commands}\npwd\n'
        done = run_command(["bash", "-c", script], cwd=place[0])
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        place[0] = Path(done.stdout.splitlines()[-1])
        return done, place[0]

    return run


def test_the_page_has_a_section_for_each_way():
    assert list(sections()) == ["", "Grade", "nbgrader", "Gradescope", "Several machines"]


@pytest.mark.slow
def test_every_command_of_the_page_does_what_it_says(shell, request):
    commands = sections()
    for block in commands[""]:
        _, folder = shell(block)
    for learner in LEARNERS:
        shutil.copytree(CLASS / learner, folder / "submitted" / learner)
    first, again = commands["Grade"]
    shell(first)
    results = folder / "results"
    report = json.loads((results / "report.json").read_text())
    scores = {row["learner"]: row["score"] for row in report["submissions"]}
    assert scores["ada"] == 9.0
    assert report["seed"] == int((folder / "class_seed.txt").read_text())
    assert {row["learner"] for row in csv.DictReader((results / "scores.csv").open())} == set(LEARNERS)
    assert (results / "class.html").is_file()
    assert len(list((results / "learners").iterdir())) == len(list((results / "submissions").glob("*.json"))) == 3
    done, _ = shell(again)
    assert "3 of 3 are graded already" in done.stderr
    for block in commands["Gradescope"]:
        shell(block)
    assert (folder / "autograder" / "autograder.zip").is_file()
    on_a_cluster(commands["Several machines"], shell, folder, request)
    report = json.loads((results / "report.json").read_text())
    assert {row["learner"]: row["score"] for row in report["submissions"]} == scores | {"late": 9.0}


def on_a_cluster(blocks, shell, folder, request):
    """Run the scheduler and the worker beside the last command, here and at a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    scheduler, worker, grade = (block.replace("HOST", "127.0.0.1").replace("8786", port) for block in blocks)
    path = f'export PATH="{Path(sys.executable).parent}:$PATH"; exec '
    for number, command in enumerate((scheduler, worker)):
        with (folder / f"dask{number}.log").open("w") as log:
            process = subprocess.Popen(["bash", "-c", path + command], cwd=folder, stdout=log, stderr=log)
        request.addfinalizer(lambda process=process: (process.terminate(), process.wait(60)))
        time.sleep(2)
    late = folder / "submitted" / "late"
    shutil.copytree(CLASS / "ada", late)
    done, _ = shell(grade)
    assert "3 of 4 are graded already" in done.stderr, done.stderr
