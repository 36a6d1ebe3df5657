"""Byte-level BPE: from text to tokens and back (chapter 15).
Sources: Sennrich et al. 2015 (1508.07909), section 3.2; Radford et al. 2019 (GPT-2 report), section 2.2."""

import codecs
import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import groupby, pairwise
from pathlib import Path

from reference.shapes import expect

Pair = tuple[int, int]
END = "<|endoftext|>"


def train_bpe(words: Iterable[bytes], n_merges: int) -> list[Pair]:
    """The merges learned from words: again and again the most frequent pair of neighbors becomes one token.
    A byte is the token of its value; merge i makes token 256 + i. Pairs never span words; among equally frequent ones
    the lowest pair of tokens goes first. Fewer merges come back if there are no pairs left.
    >>> train_bpe([b"aab", b"aab", b"b"], 2)
    [(97, 97), (256, 98)]"""
    weights = Counter(words)
    pieces = {word: list(word) for word in weights}
    counts: Counter[Pair] = Counter()
    containing = defaultdict(set)  # the words in which a pair may occur
    merges: list[Pair] = []

    def count(word: bytes, sign: int) -> None:
        for pair in pairwise(pieces[word]):
            counts[pair] += sign * weights[word]
            containing[pair].add(word)
            if not counts[pair]:
                del counts[pair]

    for word in weights:
        count(word, 1)
    while counts and len(merges) < n_merges:
        most = max(counts.values())
        best = min(pair for pair, n in counts.items() if n == most)
        for word in containing.pop(best):
            count(word, -1)
            pieces[word] = _merge(pieces[word], best, 256 + len(merges))
            count(word, 1)
        merges.append(best)
    return merges


def bpe_encode(word: bytes, merges: Sequence[Pair]) -> list[int]:
    """The tokens of a word: of all pairs in it, the one learned first is merged, everywhere, until none was learned.
    >>> bpe_encode(b"aaab", [(97, 97), (256, 98)])
    [256, 97, 98]"""
    return _encode(word, {pair: 256 + i for i, pair in enumerate(merges)})


def bpe_decode(tokens: Iterable[int], merges: Sequence[Pair]) -> bytes:
    """The bytes that tokens stand for. Raises ValueError for a token that is neither a byte nor a merge."""
    meaning = {value: bytes([value]) for value in range(256)}
    for left, right in merges:
        meaning[len(meaning)] = meaning[left] + meaning[right]
    try:
        return b"".join(meaning[int(token)] for token in tokens)
    except KeyError as error:
        raise ValueError(f"expected tokens from 0 to {len(meaning) - 1}, got {error}") from None


def _encode(word: bytes, learned: Mapping[Pair, int]) -> list[int]:
    tokens = list(word)
    while len(tokens) > 1:
        best = min(pairwise(tokens), key=lambda pair: learned.get(pair, sys.maxsize))
        if best not in learned:
            break
        tokens = _merge(tokens, best, learned[best])
    return tokens


def _merge(tokens: list[int], pair: Pair, merged: int) -> list[int]:
    """Replace the pair wherever it occurs, from the left."""
    result: list[int] = []
    position = 0
    while position < len(tokens):
        found = tokens[position] == pair[0] and tokens[position + 1 : position + 2] == [pair[1]]
        result.append(merged if found else tokens[position])
        position += 2 if found else 1
    return result


_VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_ORDER = [*_VISIBLE, *(byte for byte in range(256) if byte not in _VISIBLE)]
_SPELLING = "".join(map(chr, _VISIBLE)) + "".join(chr(256 + i) for i in range(256 - len(_VISIBLE)))
"""GPT-2's files spell each byte as one visible character; its tokens 0 to 255 are the bytes in this order."""
_TO_RANK = bytes(_ORDER.index(byte) for byte in range(256))
_TO_BYTE = dict(zip(_SPELLING, _ORDER, strict=True))


@cache
def word_pattern() -> re.Pattern[str]:
    r"""GPT-2's way to cut text into words: contractions, letters, digits, the rest; a space goes with what follows.
    The original needs \p{L} and \p{N}, which the standard `re` lacks: here the ranges come from `unicodedata`."""

    def ranges(first: str) -> str:
        categories = ((code, unicodedata.category(chr(code))[0] == first) for code in range(sys.maxunicode + 1))
        runs = ([code for code, _ in run] for inside, run in groupby(categories, lambda pair: pair[1]) if inside)
        return "".join(f"{re.escape(chr(run[0]))}-{re.escape(chr(run[-1]))}" for run in runs)

    letter, number = ranges("L"), ranges("N")
    space = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # re's \s has four more: \x1c to \x1f
    words = rf"'s|'t|'re|'ve|'m|'ll|'d| ?[{letter}]+| ?[{number}]+| ?[^{space}{letter}{number}]+"
    return re.compile(rf"{words}|[{space}]+(?![^{space}])|[{space}]+")


class Tokenizer:
    """GPT-2's tokenizer, of len tokens: cuts text into words, then merges within each; any text comes back as it was.
    `merges` are of bytes in GPT-2's order; `vocab` numbers the spelled tokens, by default as GPT-2 does.
    >>> tokenizer = Tokenizer.train("low lower lowest " * 3, vocab_size=260)
    >>> tokenizer.decode(tokenizer.encode("lower \u2713"))
    'lower \u2713'"""

    def __init__(self, merges: Sequence[Pair], vocab: Mapping[str, int] | None = None) -> None:
        spelled = list(_SPELLING)
        for left, right in merges:
            spelled.append(spelled[left] + spelled[right])
        self.merges, self._spelled = list(merges), spelled
        self.vocab = {token: i for i, token in enumerate([*spelled, END])} if vocab is None else dict(vocab)
        if absent := [token for token in spelled if token not in self.vocab]:
            raise ValueError(f"the vocabulary lacks {len(absent)} tokens that the merges make, {absent[0]!r} first")
        self.end = self.vocab.get(END)
        self._meaning = {self.vocab[token]: bytes(_TO_BYTE[char] for char in token) for token in spelled}
        if self.end is not None:
            self._meaning[self.end] = END.encode()
        ids = [self.vocab[token] for token in spelled]
        learned = {pair: 256 + i for i, pair in enumerate(merges)}
        self._encode_word = lru_cache(2**16)(lambda word: [ids[token] for token in _encode(word, learned)])

    @classmethod
    def train(cls, text: str, vocab_size: int) -> "Tokenizer":
        """Learn vocab_size - 257 merges: there are 256 bytes and END. Raises ValueError if that is negative."""
        expect(vocab_size >= 257, f"a vocab_size of at least 257 (bytes and {END})", vocab_size)
        return cls(train_bpe((word for part in text.split(END) for word in _words(part)), vocab_size - 257))

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Read GPT-2's vocab.json and merges.txt. Raises FileNotFoundError, or ValueError for files that do not fit."""
        vocab = json.loads((Path(folder) / "vocab.json").read_text(encoding="utf-8"))
        lines = (Path(folder) / "merges.txt").read_text(encoding="utf-8").split("\n")
        token_of = {char: i for i, char in enumerate(_SPELLING)}
        merges: list[Pair] = []
        for line in filter(None, lines[1:] if lines[0].startswith("#version") else lines):
            try:
                left, right = line.split(" ")
                merges.append((token_of[left], token_of[right]))
            except (KeyError, ValueError):
                raise ValueError(f"{folder}/merges.txt: expected two tokens made before, got {line!r}") from None
            token_of[left + right] = 255 + len(merges)
        return cls(merges, vocab)

    def save(self, folder: str | Path) -> None:
        """Write vocab.json and merges.txt, as GPT-2's are."""
        lines = ["#version: 0.2", *(f"{self._spelled[left]} {self._spelled[right]}" for left, right in self.merges)]
        (Path(folder) / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (Path(folder) / "vocab.json").write_text(json.dumps(self.vocab, ensure_ascii=False), encoding="utf-8")

    def __len__(self) -> int:
        return len(self.vocab)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text; END in it becomes the one token of that name."""
        tokens: list[int] = []
        for i, part in enumerate([text] if self.end is None else text.split(END)):
            tokens += [self.end] if i and self.end is not None else []
            for word in _words(part):
                tokens += self._encode_word(word)
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens; what is no UTF-8 becomes U+FFFD. Raises ValueError for an unknown token."""
        return "".join(self.stream(tokens))

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """Text as soon as its characters are complete: a character of several tokens comes with the last of them."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for token in tokens:
            expect(token in self._meaning, f"tokens of this vocabulary of {len(self)}", token)
            yield decoder.decode(self._meaning[token])
        yield decoder.decode(b"", final=True)


def _words(text: str) -> list[bytes]:
    """The words' bytes, each as its rank in GPT-2's order: ties between pairs are then broken as in GPT-2."""
    words = word_pattern().findall(text)
    return [word.encode("utf-8", errors="surrogatepass").translate(_TO_RANK) for word in words]
