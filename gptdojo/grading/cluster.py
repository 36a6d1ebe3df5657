"""Grades on the workers of a dask cluster, through its `concurrent.futures` executor.

A job carries the bytes of its submission, and the workers are given the course: they share no folder with this machine. A
worker grades like this machine does, in a grader process and a sandbox. When a worker is lost, dask gives its jobs to another.
"""

import io
import logging
import tempfile
import threading
import uuid
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from distributed import Client, Worker, WorkerPlugin, get_worker

from gptdojo.course import MARKER, Course
from gptdojo.report import SubmissionResult
from gptdojo.sandbox import Isolation, Unavailable, choose
from gptdojo.sandbox.isolation import Kind

from .job import Job, broken
from .pool import Graders
from .run import PoolLost
from .versions import course_files, engine_digest, versions

CONNECT_SECONDS = 30.0
JOBS_A_THREAD = 2


class ClusterError(Exception):
    """The cluster cannot be used; the message says why."""


class CoursePlugin(WorkerPlugin):
    """Gives a worker the course, and graders of its own. Workers that join later get it too."""

    def __init__(self, root: Path) -> None:
        self.name = f"gptdojo-{uuid.uuid4().hex}"  # of this run: others may grade on the same cluster
        self._packed = pack(root)

    def setup(self, worker: Worker) -> None:
        """Unpack the course where nobody else can read it."""
        self._folder = tempfile.TemporaryDirectory(prefix="gptdojo-course-")
        self.root = Path(self._folder.name)
        with zipfile.ZipFile(io.BytesIO(self._packed)) as packed:
            packed.extractall(self.root)
        self.graders = Graders(worker.state.nthreads)

    def teardown(self, worker: Worker) -> None:
        """End the graders and remove the course."""
        threading.Thread(target=self._close).start()  # a worker's event loop must not wait

    def _close(self) -> None:
        self.graders.close()
        self._folder.cleanup()


def pack(root: Path) -> bytes:
    """Return what grading reads of a course, as a zip archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (root / MARKER, *course_files(root)):
            archive.write(path, path.relative_to(root))
    return packed.getvalue()


def grade_here(job: Job, plugin: str, environment: dict[str, str]) -> SubmissionResult:
    """Grade a job on the worker that runs this."""
    worker = get_worker()
    course: CoursePlugin = worker.plugins[plugin]  # type: ignore[assignment]
    here = replace(job, options=replace(job.options, root=course.root))
    problem = difference(environment, this_environment())
    if problem:
        return broken(here, f"the worker {worker.address} has {problem}")
    try:
        isolation = choose(job.options.isolation.kind, [course.root])
    except Unavailable as error:
        return broken(here, f"the worker {worker.address}: {error}")
    return course.graders.grade(replace(here, options=replace(here.options, isolation=isolation)))


def this_environment() -> dict[str, str]:
    """Return what must be the same on every machine for the verdicts to be the same."""
    return versions() | {"gptdojo's code": engine_digest()[:12]}


def difference(expected: dict[str, str], got: dict[str, str]) -> str:
    """Return how another machine differs from the one that asks; nothing if it does not."""
    return ", ".join(
        f"{name} {got.get(name)} and not {expected[name]}" for name in expected if got.get(name) != expected[name]
    )


def _chosen(kind: str) -> tuple[Kind, str]:
    try:
        return choose(kind).kind, ""
    except Unavailable as error:
        return "none", str(error)


class Cluster:
    """A pool of the workers of a cluster."""

    def __init__(self, client: Client, course: Course) -> None:
        self._client = client
        self._plugin = CoursePlugin(course.root)
        self._environment = this_environment()
        client.register_plugin(self._plugin)
        # pure=False: two equal submissions are two jobs
        self._executor = client.get_executor(pure=False)

    @property
    def width(self) -> int:
        """How many jobs keep every thread busy."""
        return max(1, JOBS_A_THREAD * sum(self._client.nthreads().values()))

    def choose(self, kind: str) -> Isolation:
        """Return the isolation that all workers have; raises ClusterError if there is none."""
        found = self._client.run(_chosen, kind)
        for worker, (chosen, problem) in found.items():
            if problem:
                raise ClusterError(f"the worker {worker}: {problem}")
            if chosen != next(iter(found.values()))[0]:
                kinds = ", ".join(f"{worker} has {chosen}" for worker, (chosen, _) in found.items())
                raise ClusterError(f"the workers isolate submissions differently: {kinds}. Choose one with --isolation")
        return Isolation(next(iter(found.values()))[0])

    def submit(self, job: Job) -> "Future[SubmissionResult]":
        """Return the future result of a job."""
        if self._client.status != "running":
            raise PoolLost("the cluster is gone")
        return self._executor.submit(grade_here, job, self._plugin.name, self._environment)

    def close(self) -> None:
        """Stop what is being graded, and take the course back."""
        self._executor.shutdown(wait=False)  # cancels what waits
        if self._client.status == "running":
            self._client.unregister_worker_plugin(self._plugin.name)


def _compare(client: Client) -> None:
    try:
        found = client.run(this_environment)
    except Exception as error:
        raise ClusterError(f"a worker cannot run gptdojo {versions()['gptdojo']}: {error}") from None
    for worker, environment in found.items():
        problem = difference(this_environment(), environment)
        if problem:
            raise ClusterError(f"the worker {worker} has {problem}; install the same versions on every machine")


@contextmanager
def cluster(address: str, course: Course) -> Iterator[Cluster]:
    """Yield the pool of a cluster, by the address of its scheduler. Raises ClusterError."""
    logging.getLogger("distributed.client").setLevel(
        logging.CRITICAL
    )  # what it says of a lost cluster is said in one line
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterError(
            f"no cluster at {address}: {error}. Is `dask scheduler` running there, with a worker?"
        ) from None
    with client:
        _compare(client)
        pool = Cluster(client, course)
        try:
            yield pool
        finally:
            pool.close()
