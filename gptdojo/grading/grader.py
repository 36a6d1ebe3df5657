"""A process that grades one submission after the other, for whoever holds the other end of its socket.

It ends, and all it started with it, as soon as that other end is closed: also when its owner was killed.
"""

import os
import select
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any, NoReturn

PATIENCE_SECONDS = 10.0
IDLE_SECONDS = 300.0


class OwnerGone(BaseException):
    """Nobody waits for a result; neither an Exception nor a SystemExit, both of which Hypothesis takes for a failing case."""


def main(fd: int) -> None:
    """Answer each job that comes with its result."""
    leaving = threading.Event()
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_watch, args=(fd, leaving), daemon=True).start()
    connection = Connection(fd)
    try:
        job = connection.recv()
        from gptdojo.sandbox.zygote import prepare

        prepare(job.options.isolation)  # it imports torch while this process does
        from .grade import grade_job

        while True:
            connection.send(grade_job(job))
            if not connection.poll(IDLE_SECONDS):  # on a worker of a cluster, whoever asked may be gone without a word
                leaving.set()
                return
            job = connection.recv()
    except (EOFError, OSError, OwnerGone):
        leaving.set()


def _leave(number: int, frame: Any) -> NoReturn:
    raise OwnerGone


def _watch(fd: int, leaving: threading.Event) -> None:
    """Interrupt what is being graded once the other end of the socket is gone."""
    hangup = select.poll()
    hangup.register(fd, select.POLLRDHUP)
    hangup.poll()
    if leaving.wait(0.2):  # nothing was being graded
        return
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(PATIENCE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
