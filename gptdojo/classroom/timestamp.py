"""When a submission was handed in, as nbgrader notes it: one line in a file beside it, which the learner's side wrote."""

import os
from datetime import datetime
from pathlib import Path

from gptdojo.grading.collect import Submission, Unreadable

TIMESTAMP = "timestamp.txt"
MAX_BYTES = 200


def timestamp_text(folder: Path) -> bytes:
    """Return what timestamp.txt holds, nothing where there is none; raises ValueError unless it is small and plain."""
    path = folder / TIMESTAMP
    if not os.path.lexists(path):
        return b""
    try:
        content = Submission(path).read()
    except Unreadable as error:
        raise ValueError(f"{path}: {error}") from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} holds {len(content)} bytes; one line with a time is expected")
    return content


def handed_in(folder: Path) -> datetime | None:
    """Return when a submission was handed in, in UTC; None where nothing says so. Raises ValueError if that is no time."""
    from nbgrader.utils import parse_utc

    text = timestamp_text(folder).decode("ascii", "replace").strip()
    try:
        return parse_utc(text) if text else None
    except (ValueError, OverflowError):
        raise ValueError(f"{folder / TIMESTAMP} holds no time: {text!r}") from None
