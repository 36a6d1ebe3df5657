# must: score=0
# must: status=crashed
# must: message~SIGSEGV
"""Reads address zero: a crash is told as a crash."""

import ctypes


def count_vowels(text):
    return ctypes.string_at(0)
