# must: score=full
"""Uses decorators, dataclasses, a cache, future annotations and names that begin like others."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field


@dataclass
class Counter:
    vowels: frozenset[str] = frozenset("aeiou")
    seen: list[str] = field(default_factory=list)


count_vowels_slowly = None
counter = Counter()


@functools.lru_cache(maxsize=None)
def count_vowels(text: str) -> int:
    counter.seen.append(text)
    return functools.reduce(lambda total, letter: total + (letter in counter.vowels), text.lower(), 0)
