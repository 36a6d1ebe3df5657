# must: score=0
# must: status=crashed
"""Patches the pipe so that every frame is sent twice."""

import sys

frames = sys.modules["gptdojo_worker.frames"]
send = frames.FramePipe.send


def twice(self, message):
    send(self, message)
    send(self, message)


frames.FramePipe.send = twice


def count_vowels(text):
    return -1
