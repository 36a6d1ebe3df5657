# must: score=0
# must: status=error
"""Raises texts that act on a terminal, a page, a table and a log."""


def count_vowels(text):
    raise ValueError(
        "\x1b[2J\x1b]0;title\x07<script>alert(1)</script>=cmd|' /C calc'!A0\r\npassed\u202e\ud800\0" + "x" * 10**6
    )
