"""How right is told from wrong in chapter 15: learning merges, encoding with them, and back to bytes."""

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given, strategies as st

from gptdojo import claim
from gptdojo.expect import expect, expect_reference
from reference import tokenizer as reference

Pair = tuple[int, int]


def words_of(letters: bytes, least: int = 0, most: int = 9) -> st.SearchStrategy[bytes]:
    """A word of few letters, so that pairs repeat, overlap and tie."""
    return st.lists(st.sampled_from(letters), min_size=least, max_size=most).map(bytes)


ANY_WORD = st.binary(max_size=12)
WORDS = st.lists(words_of(b"abc", most=6), min_size=1, max_size=6)


def frequencies(word: bytes) -> dict[bytes, int]:
    """How often each pair of neighbors occurs."""
    pairs = [word[i : i + 2] for i in range(len(word) - 1)]
    return {pair: pairs.count(pair) for pair in pairs}


def has_one_most_frequent(word: bytes) -> bool:
    """Whether one pair occurs more often than every other, and more than once."""
    first, second = ([0, 0, *sorted(frequencies(word).values())])[:-3:-1]
    return first > max(second, 1)


# --- train_bpe --------------------------------------------------------------------------------------------------------


@claim("train_bpe", rung=1, examples=25)
@given(word=words_of(b"abc", least=2, most=8).filter(has_one_most_frequent))
def test_train_bpe_one_merge(impl, word):
    """The first merge is the pair of neighbors that occurs most often, the overlapping ones counted too."""
    expect_reference(impl, reference.train_bpe, [word], 1)


@claim("train_bpe", rung=2, examples=25)
@given(word=words_of(b"abcd", least=4).filter(lambda word: max(frequencies(word).values()) > 1))
def test_train_bpe_ties(impl, word):
    """Of equally frequent pairs the lowest is merged, whatever stands first in the word."""
    expect_reference(impl, reference.train_bpe, [word], 1)


@claim("train_bpe", rung=3, examples=40)
@given(word=words_of(b"abc", least=4, most=14), n_merges=st.integers(2, 4))
def test_train_bpe_merges_of_merges(impl, word, n_merges):
    """After a merge the pairs are others: its token, 256 + i, is a neighbor like any byte, and may be merged again."""
    expected = reference.train_bpe([word], n_merges)
    n_merges = len([pair for i, pair in enumerate(expected) if _occurs_twice([word], expected[:i], pair)])
    expect_reference(impl, reference.train_bpe, [word], n_merges)


def _occurs_twice(words: list[bytes], merges: list[Pair], pair: Pair) -> bool:
    tokens = [reference.bpe_encode(word, merges) for word in words]
    return sum(list(pairwise(row)).count(pair) for row in tokens) > 1


@claim("train_bpe", rung=4, examples=40)
@given(words=WORDS, n_merges=st.integers(1, 3))
def test_train_bpe_several_words(impl, words, n_merges):
    """Pairs never span two words, and a word counts as often as it occurs."""
    expected = reference.train_bpe(words, n_merges)
    n_merges = len([pair for i, pair in enumerate(expected) if _occurs_twice(words, expected[:i], pair)])
    expect_reference(impl, reference.train_bpe, words, n_merges)


@claim("train_bpe", rung=5, examples=25)
@given(words=WORDS, n_merges=st.integers(3, 6))
def test_train_bpe_pairs_that_occur_once(impl, words, n_merges):
    """Learning goes on with pairs that occur only once, as long as there are any."""
    available = len(reference.train_bpe(words, 1_000))
    expect_reference(impl, reference.train_bpe, words, min(n_merges, available))


@claim("train_bpe", rung=6, examples=15)
@given(words=st.lists(words_of(b"ab", most=4), max_size=3), more=st.integers(1, 3))
def test_train_bpe_nothing_left(impl, words, more):
    """When no pair is left, fewer merges come back than were asked for."""
    available = len(reference.train_bpe(words, 1_000))
    expect_reference(impl, reference.train_bpe, words, available + more)


@claim("train_bpe", rung=7, examples=25)
@given(words=st.lists(ANY_WORD, min_size=1, max_size=4), n_merges=st.integers(0, 3))
def test_train_bpe_any_bytes(impl, words, n_merges):
    """Words are bytes of any value, and need not be text."""
    expect_reference(impl, reference.train_bpe, words, n_merges)


# --- bpe_encode -------------------------------------------------------------------------------------------------------


@st.composite
def learned(draw: Callable, most: int = 5) -> list[Pair]:
    """Merges that could have been learned: different pairs of tokens that exist before."""
    merges: list[Pair] = []
    for _ in range(draw(st.integers(1, most))):
        token = st.sampled_from([*b"abc", *range(256, 256 + len(merges))])
        pair = draw(st.tuples(token, token).filter(lambda drawn: drawn not in merges))
        merges.append(pair)
    return merges


def unfolded(merges: list[Pair], tokens: list[int]) -> bytes:
    """The bytes of tokens, so that a word is drawn in which merges occur."""
    return reference.bpe_decode(tokens, merges)


def word_with(merges: list[Pair], least: int = 1) -> st.SearchStrategy[bytes]:
    """A word put together from tokens, and from single letters."""
    tokens = st.sampled_from([*b"abc", *range(256, 256 + len(merges))])
    return st.lists(tokens, min_size=least, max_size=4).map(lambda drawn: unfolded(merges, drawn)[:24])


@claim("bpe_encode", rung=1, examples=25)
@given(word=words_of(b"ab", least=1), merge=st.tuples(st.sampled_from(b"ab"), st.sampled_from(b"ab")))
def test_bpe_encode_one_merge(impl, word, merge):
    """One merge is applied at every place where its pair occurs, from the left."""
    expect_reference(impl, reference.bpe_encode, word, [merge])


@claim("bpe_encode", rung=2, examples=25)
@given(word=words_of(b"abcd", least=2), data=st.data())
def test_bpe_encode_order_of_learning(impl, word, data):
    """Of several pairs that overlap, the one that was learned first is merged."""
    pairs = st.tuples(st.sampled_from(b"abcd"), st.sampled_from(b"abcd"))
    merges = data.draw(st.lists(pairs, min_size=2, max_size=6, unique=True), label="merges")
    expect_reference(impl, reference.bpe_encode, word, merges)


@claim("bpe_encode", rung=3, examples=60)
@given(merges=learned(), data=st.data())
def test_bpe_encode_merges_of_merges(impl, merges, data):
    """Tokens that a merge makes are merged on, in the order of learning too."""
    word = data.draw(word_with(merges), label="word")
    expect_reference(impl, reference.bpe_encode, word, merges)


@claim("bpe_encode", rung=4, examples=20)
@given(words=st.lists(ANY_WORD, min_size=1, max_size=4), n_merges=st.integers(0, 6), word=ANY_WORD)
def test_bpe_encode_any_bytes(impl, words, n_merges, word):
    """A word is any bytes, whether they were learned from or not, and need not be text; it may be empty."""
    merges = reference.train_bpe(words, n_merges)
    for each in (words[0], word, b""):
        expect_reference(impl, reference.bpe_encode, each, merges)


@claim("bpe_encode", rung=5, examples=2)
@given(n=st.integers(1500, 1700))
def test_bpe_encode_long_word(impl, n):
    """A word may be a line of signs, far longer than any word of a language."""
    expect_reference(impl, reference.bpe_encode, b"-=" * n + b"--", [(45, 45), (45, 256)])


# --- bpe_decode -------------------------------------------------------------------------------------------------------


@claim("bpe_decode", rung=1, examples=15)
@given(text=st.text(st.characters(codec="ascii"), max_size=10))
def test_bpe_decode_bytes(impl, text):
    """Without merges every token is a byte, and what comes out is bytes."""
    expect_reference(impl, reference.bpe_decode, list(text.encode()), [])


@claim("bpe_decode", rung=2, examples=20)
@given(content=st.binary(max_size=8))
def test_bpe_decode_any_bytes(impl, content):
    """A byte is a byte, whether it is part of a character or not."""
    expect_reference(impl, reference.bpe_decode, list(content), [])


@claim("bpe_decode", rung=3, examples=20)
@given(data=st.data())
def test_bpe_decode_merges(impl, data):
    """A merge stands for its left part and then its right part."""
    pairs = st.tuples(st.integers(97, 122), st.integers(97, 122))
    merges = data.draw(st.lists(pairs, min_size=1, max_size=4, unique=True), label="merges")
    tokens = data.draw(st.lists(st.integers(254, 255 + len(merges)), min_size=1, max_size=5), label="tokens")
    expect_reference(impl, reference.bpe_decode, tokens, merges)


@claim("bpe_decode", rung=4, examples=30)
@given(merges=learned(most=7), data=st.data())
def test_bpe_decode_merges_of_merges(impl, merges, data):
    """The parts of a merge may be merges themselves, again and again."""
    tokens = data.draw(st.lists(st.sampled_from([97, *range(256, 256 + len(merges))]), max_size=4), label="tokens")
    expect_reference(impl, reference.bpe_decode, tokens, merges)


@claim("bpe_decode", rung=5, examples=2)
@given(n=st.integers(2200, 2400))
def test_bpe_decode_built_deep(impl, n):
    """A merge may be built more than two thousand deep."""
    merges = [(45, 45), *((256 + i, 45) for i in range(n - 1))]
    got = impl([255 + n], merges)
    expect(type(got) is bytes, f"the result is a {type(got).__name__}, expected bytes")
    expect(got == b"-" * (n + 1), f"a merge of {n + 1} dashes became {len(got)} bytes", inputs={"merges": len(merges)})
