"""The worker process: one submission, driven over a pipe."""

import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .endpoint import Endpoint
from .frames import Closed, FramePipe
from .lockdown import give_up_system_calls, limit_resources
from .submission import run


def take_over_standard_streams() -> FramePipe:
    """Keep the pipe for the protocol and point descriptors 0, 1 and 2 at nothing, so that prints cost nothing."""
    read_fd, write_fd = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    return FramePipe(read_fd, write_fd)


class StandIn(types.ModuleType):
    """A module of gptdojo's whose functions do nothing: a notebook's own checks and pictures are not what is graded."""

    def __getattr__(self, name: str) -> Callable[..., float]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: 0.0


def write_modules(package: str, sources: dict[str, str]) -> None:
    """Make `import reference` find the modules that a submission may use: those that the grader sent."""
    folder = Path(".course", package).absolute()
    folder.mkdir(parents=True)
    for name, text in sources.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    sys.path.insert(0, str(folder.parent))


def serve(pipe: FramePipe) -> None:
    """Load the submission, then answer requests until the pipe closes."""
    sys.modules.update({name: StandIn(name) for name in ("gptdojo", "gptdojo.pictures")})
    start = pipe.receive()
    write_modules(start["package"], start["modules"])
    limit_resources(start["limits"])
    if start["seal"]:
        give_up_system_calls(sockets=start["sockets"])
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)

    def call_back(message: dict[str, Any]) -> dict[str, Any]:
        pipe.send(message)
        return pipe.receive()

    pipe.send({"op": "ready"})
    load = pipe.receive()
    loaded = run(load["kind"], load["content"], frozenset(load["skip"]))
    defined = [name for name in load["names"] if callable(loaded.namespace.get(name))]
    pipe.send({"op": "loaded", "defined": defined, "notes": loaded.notes[:50]})
    endpoint = Endpoint(loaded.namespace, call_back)
    while True:
        request = pipe.receive()
        pipe.send(endpoint.request(request) | {"number": request["number"]})


if __name__ == "__main__":
    try:
        serve(take_over_standard_streams())
    except Closed:
        os._exit(0)
