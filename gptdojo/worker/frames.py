"""Frames on a pipe: four bytes of length, then one msgpack map."""

import os
import select
import struct
import time
from collections.abc import Callable
from typing import Any

import msgpack

MAX_FRAME = 128 * 2**20
MAX_ITEMS = 2_000_000
MAX_CONTAINER = 200_000
WATCH_SECONDS = 0.2
HEADER = struct.Struct(">I")


class BadFrame(Exception):
    """What came over the pipe is not a frame."""


class Closed(Exception):
    """The other side is gone."""


class Late(Exception):
    """Nothing came before the deadline."""


def unpack(body: bytes) -> Any:
    """Return what a frame holds. The number of items is bounded: a byte of a frame may else cost a hundred of memory."""
    items = 0

    def counted(container: Any) -> Any:
        nonlocal items
        items += len(container) + 1
        if items > MAX_ITEMS:
            raise BadFrame(f"more than {MAX_ITEMS} items")
        return container

    return msgpack.unpackb(
        body, raw=False, unicode_errors="surrogatepass", strict_map_key=True, max_ext_len=0, max_map_len=32,
        max_array_len=MAX_CONTAINER, list_hook=counted, object_hook=counted,
    )  # fmt: skip


class FramePipe:
    """Frames over two file descriptors.

    `deadline` is a time of `time.monotonic`, None waits for ever. A side that sets deadlines is not patient: it never blocks in
    a write that the other side does not read. `watch` is called now and then while there is a
    deadline, also when every answer comes at once. `received` counts the bytes that came.
    """

    def __init__(self, read_fd: int, write_fd: int, *, patient: bool = True) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.deadline: float | None = None
        self.watch: Callable[[], None] = lambda: None
        self.received = 0
        self._watched = time.monotonic()
        os.set_blocking(write_fd, patient)

    def send(self, message: dict) -> None:
        """Write one frame; raises Closed or Late."""
        body = msgpack.packb(message, use_bin_type=True, unicode_errors="surrogatepass")
        if len(body) > MAX_FRAME:
            raise BadFrame(f"a frame of {len(body)} bytes")
        view = memoryview(HEADER.pack(len(body)) + body)
        while view:
            self._wait(self.write_fd, writing=True)
            try:
                view = view[os.write(self.write_fd, view[: 2**16]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise Closed(str(error)) from None

    def receive(self) -> dict:
        """Read one frame; raises Closed, Late or BadFrame."""
        (length,) = HEADER.unpack(self._exactly(HEADER.size))
        if length > MAX_FRAME:
            raise BadFrame(f"a frame of {length} bytes")
        body = self._exactly(length)
        self.received += length
        try:
            message = unpack(body)
        except (
            Exception
        ) as error:  # msgpack raises many types on hostile bytes, RecursionError and UnicodeDecodeError too
            raise BadFrame(f"{type(error).__name__}: {error}") from None
        if type(message) is not dict:
            raise BadFrame("a frame that is not a map")
        return message

    def _exactly(self, count: int) -> bytes:
        chunks = bytearray()
        while len(chunks) < count:
            self._wait(self.read_fd, writing=False)
            try:
                chunk = os.read(self.read_fd, min(count - len(chunks), 2**20))
            except OSError as error:
                raise Closed(str(error)) from None
            if not chunk:
                raise Closed("end of file")
            chunks += chunk
        return bytes(chunks)

    def _wait(self, fd: int, writing: bool) -> None:
        if self.deadline is None:
            return
        sets: tuple[Any, Any] = ([], [fd]) if writing else ([fd], [])
        while (left := self.deadline - time.monotonic()) > 0:
            if time.monotonic() - self._watched > WATCH_SECONDS:
                self.watch()
                self._watched = time.monotonic()
            if any(select.select(*sets, [], min(left, WATCH_SECONDS))[:2]):
                return
        raise Late("the time is up")
