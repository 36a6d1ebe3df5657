# must: score=0
# must: status=crashed
"""Answers with a dict whose keys all have the same hash, which takes the grader hours to build."""

import sys

frames = sys.modules["gptdojo_worker.frames"]
prime = 2**61 - 1
tree = ["dict", [[["int", hex(prime * number)], 0] for number in range(1, 60_000)]]


def send(self, message):
    if message.get("op") == "return":
        message = message | {"value": tree}
    old(self, message)


old, frames.FramePipe.send = frames.FramePipe.send, send


def count_vowels(text):
    return -1
