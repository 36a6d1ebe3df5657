"""The studying commands as a new user meets them: in a terminal of 80 columns without color, piped, and in a notebook."""

import os
import re
import subprocess
import sys
import time

import pytest

from .running import heed_ctrl_c
from .test_bughunt import RIGHT
from .test_study import CARD

pexpect = pytest.importorskip("pexpect")
SECONDS = 90


@pytest.fixture
def environment(toy_folder, tmp_path):
    cards = "".join(CARD.format(chapter=1, name=name) for name in ("ant", "bee"))
    (toy_folder / "course.md").write_text("# Words and temperatures\n" + cards)
    own = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR", "EDITOR", "VISUAL")
    }
    return own | {"XDG_DATA_HOME": str(tmp_path / "data"), "NO_COLOR": "1", "TERM": "xterm", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def terminal(toy_folder, environment):
    """`terminal("study")` starts a command in a pseudo-terminal."""
    children = []

    def start(*arguments):
        child = pexpect.spawn(
            sys.executable, ["-m", "gptdojo", *arguments], cwd=str(toy_folder), env=environment,
            encoding="utf-8", timeout=SECONDS, dimensions=(24, 80), preexec_fn=heed_ctrl_c,
        )  # fmt: skip
        child.logfile_read = Log()
        children.append(child)
        return child

    yield start
    for child in children:
        child.close(force=True)


class Log:
    """What came from a terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def plain(child):
    """The lines that were shown; asserts that none is too long and none colored."""
    text = child.logfile_read.text
    assert not re.search(r"\x1b\[[0-9;]*(3[0-7]|4[0-7]|9[0-7])m", text), "a color"
    text = re.sub(r"\x1b\[\d*[AK]", "\n", text)  # a spinner draws over what it drew
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n").split("\n")
    assert not [line for line in lines if len(line.split("\r")[-1]) > 80]
    return " ".join(" ".join(lines).split())


def piped(arguments, folder, environment, text=""):
    return subprocess.run(
        [sys.executable, "-m", "gptdojo", *arguments], cwd=folder, env=environment, input=text,
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def test_study_in_a_terminal_and_ctrl_c(terminal):
    child = terminal("study")
    child.expect("What is ant")
    child.expect("shows the answer:")
    child.sendline("")
    child.expect("did you say")
    child.sendline("1 2")
    child.expect("goes on:")
    child.sendintr()
    child.expect("1 answer is saved")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert "2 of 2 points: good" in plain(child)
    child = terminal("study", "--stats")
    child.expect(pexpect.EOF)
    assert "1 of 2 cards, 1 answer" in plain(child)


def test_study_piped_says_all_on_lines_of_80_columns(toy_folder, environment):
    done = piped(["study"], toy_folder, environment, "\n1\n\n")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "1 of 2 points: hard" in done.stdout
    assert "Traceback" not in done.stderr
    done = piped(["study", "nothing"], toy_folder, environment)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_bug_hunt_in_a_terminal(terminal, toy_folder):
    child = terminal("bughunt", "1")
    child.expect(pexpect.EOF)
    assert "It runs, and looks right." in plain(child)
    (path,) = (toy_folder / "drills").iterdir()
    path.write_text(path.read_text() + "".join(RIGHT.values()))
    child = terminal("bughunt")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert "All repaired: 1 bug." in plain(child)


def test_an_interview_in_a_terminal_is_left_and_goes_on(terminal):
    child = terminal("interview", "--seed", "1", "--minutes", "20")
    child.expect("then press Enter:")
    child.sendintr()
    child.expect("the clock stands still")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    assert "A mock interview of 20 minutes, seed 1: 5 parts." in plain(child)
    child = terminal("interview")
    child.expect("Go on with it")
    child.sendeof()
    child.expect(pexpect.EOF)
    assert "0 of 5 parts done" in plain(child)


def test_watch_checks_again_on_every_save(terminal, toy_folder):
    path = toy_folder / "mine.py"
    path.write_text(RIGHT["count_vowels"].replace(".lower()", ""))
    child = terminal("watch", "mine.py")
    child.expect("Ctrl-C ends it")
    time.sleep(1)  # until the file is being watched
    path.write_text(RIGHT["count_vowels"])
    child.expect("2 of 2 points")
    path.write_text("def count_vowels(")
    child.expect("SyntaxError")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    text = plain(child)
    assert text.index("count_vowels failed") < text.index("Watching mine.py")
    assert "Traceback" not in text


def test_a_solution_is_asked_for_before_it_is_shown(toy_folder, environment):
    done = piped(["solution", "count_vowels"], toy_folder, environment)
    assert done.returncode == 1
    assert "does not pass yet" in done.stdout
    assert "return sum" not in done.stdout
    done = piped(["solution", "count_vowels"], toy_folder, environment, "y\n")
    assert done.returncode == 0
    assert "return sum(letter in" in done.stdout
    assert "SOLUTION" not in done.stdout


CELLS = """
from gptdojo.study import study, interview, bughunt, writetest
study(1)
study(stats=True)
bughunt(1)
bughunt()
writetest("count_vowels")
def test_mine(impl):
    assert impl("aA") == 2
writetest("count_vowels", test_mine)
interview(seed=1)
"""


def test_a_notebook_has_the_same_with_the_same_state(toy_folder, environment):
    done = subprocess.run(
        [sys.executable, "-c", CELLS], cwd=toy_folder, env=environment, input="\n1\nq\n",
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in (
        "1 of 2 points: hard",
        "1 of 2 cards",
        "0 of 1 bug repaired",
        "def test_count_vowels",
        "Nothing slips",
        "Saved",
    ):
        assert words in done.stdout
    assert "1 answer" in piped(["study", "--stats"], toy_folder, environment).stdout
