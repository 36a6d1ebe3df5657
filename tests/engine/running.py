"""Commands as a user runs them: in a process, with a limit that holds for everything they start."""

import os
import signal
import subprocess
import tempfile


def heed_ctrl_c():
    """Let a process be interrupted, also where the tests run in the background of a shell that switched that off."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_command(command, *, timeout=600, **options):
    """Run a command and return what `subprocess.run` would; when its time is up, it ends with all it started.

    What it writes goes to files: a process that it leaves behind would else hold the pipe, and the test would wait for ever.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True, **options)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{command} did not end in {timeout} s:\n{_text(out)}\n{_text(err)}") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return subprocess.CompletedProcess(command, process.returncode, _text(out), _text(err))


def _text(file):
    file.seek(0)
    return file.read()
