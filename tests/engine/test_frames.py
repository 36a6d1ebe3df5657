"""Frames on a pipe: whatever bytes come, the reader gets a map, or BadFrame, Closed or Late, and soon."""

import contextlib
import os
import resource
import threading
import time

import msgpack
import pytest
from hypothesis import given, settings, strategies as st

from gptdojo.worker.frames import HEADER, MAX_FRAME, BadFrame, Closed, FramePipe, Late


@contextlib.contextmanager
def pipe(*, patient=True):
    """A FramePipe that reads what it writes, and the descriptor of its end for writing."""
    read_fd, write_fd = os.pipe()
    try:
        yield FramePipe(read_fd, write_fd, patient=patient), write_fd
    finally:
        for fd in (read_fd, write_fd):
            with contextlib.suppress(OSError):
                os.close(fd)


def received(content):
    """What comes out when these bytes are all that is written."""
    with pipe() as (frames, write_fd):
        writer = threading.Thread(target=lambda: (os.write(write_fd, content), os.close(write_fd)))
        writer.start()
        try:
            frames.deadline = time.monotonic() + 5
            return frames.receive()
        finally:
            writer.join()


def framed(body):
    return HEADER.pack(len(body)) + body


def test_messages_arrive_in_order_and_whole():
    with pipe() as (frames, _):
        sent = [{"op": "call", "args": ["list", [1, 2.5, None, b"\xff", "ü"]]}, {}, {"a": "\ud800"}]
        for message in sent:
            frames.send(message)
        assert [frames.receive() for _ in sent] == sent


def test_a_message_larger_than_the_pipe_arrives():
    with pipe() as (frames, _):
        body = os.urandom(3 * 2**20)
        writer = threading.Thread(target=frames.send, args=({"data": body},))
        writer.start()
        assert frames.receive() == {"data": body}
        writer.join()


def test_end_of_the_other_side_is_closed_even_within_a_frame():
    whole = framed(msgpack.packb({"op": "return", "value": [1, 2, 3]}))
    for end in range(len(whole)):
        with pytest.raises(Closed):
            received(whole[:end])
    assert received(whole)["op"] == "return"


def test_a_gone_reader_is_closed():
    with pipe(patient=False) as (frames, _):
        os.close(frames.read_fd)
        with pytest.raises(Closed):
            frames.send({"data": b"x" * 2**20})


def test_silence_is_late_at_the_deadline():
    with pipe() as (frames, write_fd):
        os.write(write_fd, HEADER.pack(100) + b"only the beginning")
        start = time.monotonic()
        frames.deadline = start + 0.2
        with pytest.raises(Late):
            frames.receive()
        assert 0.15 < time.monotonic() - start < 2


def test_a_side_that_does_not_read_is_late_at_the_deadline():
    with pipe(patient=False) as (frames, _):
        frames.deadline = time.monotonic() + 0.2
        with pytest.raises(Late):
            frames.send({"data": b"x" * 2**20})


def test_a_past_deadline_is_late_though_bytes_are_there():
    with pipe() as (frames, _):
        frames.send({"op": "return"})
        frames.deadline = time.monotonic() - 1
        with pytest.raises(Late):
            frames.receive()


def test_too_large_a_message_is_not_sent():
    with pipe() as (frames, _), pytest.raises(BadFrame):
        frames.send({"data": b"\0" * (MAX_FRAME + 1)})


BAD_BODIES = {
    "nothing": b"",
    "not a map": msgpack.packb([1]),
    "a number": b"\x07",
    "text that is not UTF-8": b"\x81\xa1a\xa2\xff\xfe",
    "a key that is a number": b"\x81\x01\x02",
    "a key that is a list": b"\x81\x90\x02",
    "more after the map": msgpack.packb({}) * 2,
    "less than it says": b"\x82\xa1a\x01",
    "an array of 2**32 items": b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "a map of 2**32 items": b"\xdf\xff\xff\xff\xff",
    "bytes of 2**32": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "an extension": b"\x81\xa1a\xd4\x05\x00",
    "a time": b"\x81\xa1a\xd6\xff\x00\x00\x00\x00",
    "arrays 100000 deep": b"\x81\xa1a" + b"\x91" * 100_000,
    "huge arrays 500 deep": b"\x81\xa1a" + b"\xdd\x00\x02\xff\xff" * 500,
    "maps 100000 deep": b"\x81\xa1a" * 100_000,
    "a byte that msgpack does not use": b"\x81\xa1a\xc1",
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_bodies_are_bad_frames(name):
    with pytest.raises(BadFrame):
        received(framed(BAD_BODIES[name]))


def test_a_huge_length_is_refused_before_anything_is_allocated():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadFrame):
        received(HEADER.pack(2**32 - 1))
    with pytest.raises(Closed):
        received(HEADER.pack(MAX_FRAME) + b"abc")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


@pytest.mark.parametrize("item", [b"\x80", b"\x90", b"\xc0", b"\xa0"], ids=["maps", "lists", "nones", "texts"])
def test_a_frame_of_tiny_items_costs_bounded_memory(item):
    rows = b"\xdd\x00\x02\x00\x00" + item * 2**17  # 131072 items in each of 100 rows
    body = b"\x81\xa1a\xdc\x00\x64" + rows * 100
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pipe() as (frames, write_fd):
        writer = threading.Thread(target=_write_all, args=(write_fd, framed(body)))
        writer.start()
        with pytest.raises(BadFrame, match="items"):
            frames.receive()
        writer.join()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def _write_all(fd, content):
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


@settings(max_examples=150, deadline=None, database=None)
@given(content=st.binary(max_size=64), framing=st.booleans())
def test_any_bytes_end_in_a_map_or_in_one_of_two_errors(content, framing):
    with contextlib.suppress(BadFrame, Closed):
        assert type(received(framed(content) if framing else content)) is dict


VALID = msgpack.packb(
    {"op": "return", "number": 3, "value": ["list", [1, ["tensor", "float32", [1], [1], b"abcd", False, None]]]}
)


@settings(max_examples=150, deadline=None, database=None)
@given(data=st.data())
def test_a_damaged_frame_ends_in_a_map_or_in_one_of_two_errors(data):
    body = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadFrame, Closed):
        assert type(received(framed(bytes(body)))) is dict
