"""The section on nbgrader of docs/instructors.md: every command on it is run, in its order."""

import csv
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook

from .browser import free_port, wait_for
from .test_instructors import CLASS, sections, shell  # noqa: F401 (a fixture)

CHAPTER = "02_causal_mask"


@pytest.mark.slow
def test_every_command_on_nbgrader_does_what_it_says(shell):  # noqa: F811
    release, grade, look = sections()["nbgrader"]
    _, folder = shell("gptdojo init class --class\ncd class")
    shell(release)
    notebook = folder / "release" / CHAPTER / "causal_mask.ipynb"
    for learner, code in {"ada": None, "bob": "raise NotImplementedError"}.items():
        place = folder / "submitted" / learner / CHAPTER
        place.mkdir(parents=True)
        filled = nbformat.read(notebook, as_version=4)
        solved = nbformat.read(folder / "source" / CHAPTER / notebook.name, as_version=4)
        sources = {cell.id: cell.source for cell in solved.cells}
        for cell in filled.cells:
            if code is None and cell.metadata.get("nbgrader", {}).get("solution"):
                cell.source = sources[cell.id]
        nbformat.write(filled, place / notebook.name)
    shutil.copytree(CLASS / "chloe", folder / "submitted" / "chloe")
    done, _ = shell(grade)
    rows = {row["student_id"]: row for row in csv.DictReader((folder / "grades.csv").open())}
    assert {name: (float(row["score"]), float(row["max_score"])) for name, row in rows.items()}.keys() == {
        "ada",
        "bob",
        "chloe",
    }
    assert rows["ada"]["score"] == rows["ada"]["max_score"]
    assert float(rows["bob"]["score"]) == 0
    printed = dict(re.findall(r"(ada|bob|chloe)/\S+: ([\d.]+) of", done.stderr))
    assert printed.keys() == rows.keys()
    assert all(abs(float(printed[name]) - float(rows[name]["score"])) < 1e-3 for name in rows)
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        recorded = {each.student.id: each.score for each in book.assignment_submissions(CHAPTER)}
    assert {name: f"{score:.4g}" for name, score in recorded.items()} == printed
    assert {path.parts[-3] for path in folder.glob("feedback/*/*/causal_mask.html")} == rows.keys()
    formgrader_of(look, folder)


def formgrader_of(command, folder):
    """Run the command that starts JupyterLab, here without a browser, and ask its formgrader for the class."""
    port = free_port()
    options = f"--no-browser --allow-root --port={port} --port-retries=0 --IdentityProvider.token="
    path = f'export PATH="{Path(sys.executable).parent}:$PATH"; exec '
    with (folder / "lab.log").open("w") as log:
        script = f"{path}{command.strip()} {options}"
        server = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, env=os.environ | {"HOME": str(folder)}, stderr=log
        )
    try:
        wait_for(f"http://127.0.0.1:{port}", server)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/formgrader/api/submissions/{CHAPTER}") as answer:
            assert answer.read().count(b'"autograded": true') == 3
    finally:
        server.terminate()
        server.wait(60)
