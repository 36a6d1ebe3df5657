# must: score=0
# must: message~nothing opened
"""Opens sockets that know no network namespace: vsock and raw packets."""

import socket


def count_vowels(text):
    opened = []
    for family, kind in (
        (40, socket.SOCK_STREAM),
        (17, socket.SOCK_RAW),
        (38, 5),
        (2, socket.SOCK_RAW),
        (44, socket.SOCK_RAW),
    ):
        try:
            socket.socket(family, kind).close()
            opened.append(family)
        except OSError:
            pass
    raise ValueError(f"opened {opened}" if opened else "nothing opened")
