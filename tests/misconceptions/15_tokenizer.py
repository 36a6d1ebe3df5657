"""Wrong on purpose: what people believe about byte-pair encoding, each mistake alone in its function."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from gptdojo import fingerprint, misconception

Probe = Callable[[], Any]


def _joined(tokens, pair, merged):
    result = []
    position = 0
    while position < len(tokens):
        if tuple(tokens[position : position + 2]) == pair:
            result.append(merged)
            position += 2
        else:
            result.append(tokens[position])
            position += 1
    return result


def _counted(pieces, times):
    counts = Counter()
    for word, tokens in pieces.items():
        for pair in pairwise(tokens):
            counts[pair] += times[word]
    return counts


def _lowest_most_frequent(counts):
    return min(counts, key=lambda pair: (-counts[pair], pair))


# --- train_bpe --------------------------------------------------------------------------------------------------------


@misconception(
    "train_bpe",
    believes="of equally frequent pairs the highest goes first",
    truth="the lowest pair goes first; another rule gives other tokens",
)
def ties_to_the_highest(words, n_merges):
    pieces, times, merges = {word: list(word) for word in words}, Counter(words), []
    while len(merges) < n_merges and (counts := _counted(pieces, times)):
        best = max(counts, key=lambda pair: (counts[pair], pair))
        pieces = {word: _joined(tokens, best, 256 + len(merges)) for word, tokens in pieces.items()}
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="of equally frequent pairs the one that was met first goes first",
    truth="the lowest pair goes first: the order of the words, which Counter.most_common depends on, must not matter",
)
def ties_to_the_first_met(words, n_merges):
    pieces, times, merges = {word: list(word) for word in words}, Counter(words), []
    while len(merges) < n_merges and (counts := _counted(pieces, times)):
        best = counts.most_common(1)[0][0]
        pieces = {word: _joined(tokens, best, 256 + len(merges)) for word, tokens in pieces.items()}
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="the count decides alone, and of equal counts the pair whose two tokens add up to less",
    truth="pairs are compared as tuples: the left token first, and the right one only if the left ones are equal",
)
def ties_by_the_sum(words, n_merges):
    pieces, times, merges = {word: list(word) for word in words}, Counter(words), []
    while len(merges) < n_merges and (counts := _counted(pieces, times)):
        best = min(counts, key=lambda pair: (-counts[pair], sum(pair), pair))
        pieces = {word: _joined(tokens, best, 256 + len(merges)) for word, tokens in pieces.items()}
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="in aaa the pair aa occurs once, since only one of the two can be merged",
    truth="all pairs of neighbors count, the overlapping ones too: in aaa there are two",
)
def overlaps_counted_once(words, n_merges):
    pieces, times, merges = {word: list(word) for word in words}, Counter(words), []
    while len(merges) < n_merges:
        counts = Counter()
        for word, tokens in pieces.items():
            for pair in set(pairwise(tokens)):
                counts[pair] += times[word] * (len(tokens) - len(_joined(tokens, pair, 0)))
        if not counts:
            break
        best = _lowest_most_frequent(counts)
        pieces = {word: _joined(tokens, best, 256 + len(merges)) for word, tokens in pieces.items()}
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="a pair counts once for each word that has it",
    truth="it counts at every place: in abab the pair ab occurs twice",
)
def once_a_word(words, n_merges):
    pieces, times, merges = {word: list(word) for word in words}, Counter(words), []
    while len(merges) < n_merges:
        counts = Counter()
        for word, tokens in pieces.items():
            for pair in set(pairwise(tokens)):
                counts[pair] += times[word]
        if not counts:
            break
        best = _lowest_most_frequent(counts)
        pieces = {word: _joined(tokens, best, 256 + len(merges)) for word, tokens in pieces.items()}
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="the words are one text, so that the last byte of a word and the first of the next are neighbors",
    truth="pairs never span two words: a token would else join the end of a word with whatever follows it",
)
def spans_words(words, n_merges):
    tokens, merges = list(b"".join(words)), []
    while len(merges) < n_merges and len(tokens) > 1:
        best = _lowest_most_frequent(Counter(pairwise(tokens)))
        tokens = _joined(tokens, best, 256 + len(merges))
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="every distinct word counts once",
    truth="a word that occurs five times counts five times: frequency in the text is what BPE is about",
)
def distinct_words(words, n_merges):
    pieces, merges = {word: list(word) for word in words}, []
    times = Counter(set(words))
    while len(merges) < n_merges and (counts := _counted(pieces, times)):
        best = _lowest_most_frequent(counts)
        pieces = {word: _joined(tokens, best, 256 + len(merges)) for word, tokens in pieces.items()}
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="the pairs are counted once, and the most frequent ones are the merges",
    truth="each merge changes the neighbors: pairs with the new token appear, others disappear, so count again",
)
def counted_only_once(words, n_merges):
    counts = _counted({word: list(word) for word in words}, Counter(words))
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:n_merges]


@misconception(
    "train_bpe",
    believes="a merge replaces the pair once in each word",
    truth="it is replaced at every place: what is left would be counted again in the next round",
)
def replaced_once_a_word(words, n_merges):
    pieces, times, merges = {word: list(word) for word in words}, Counter(words), []
    while len(merges) < n_merges and (counts := _counted(pieces, times)):
        best = _lowest_most_frequent(counts)
        for tokens in pieces.values():
            for position in range(len(tokens) - 1):
                if (tokens[position], tokens[position + 1]) == best:
                    tokens[position : position + 2] = [256 + len(merges)]
                    break
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="a pair is replaced from the right",
    truth="from the left: aaa becomes the new token and a, and not a and the new token",
)
def replaced_from_the_right(words, n_merges):
    pieces, times, merges = {word: list(word) for word in words}, Counter(words), []
    while len(merges) < n_merges and (counts := _counted(pieces, times)):
        best = _lowest_most_frequent(counts)
        turned = {word: _joined(tokens[::-1], best[::-1], 256 + len(merges)) for word, tokens in pieces.items()}
        pieces = {word: tokens[::-1] for word, tokens in turned.items()}
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="new tokens are numbered after the bytes that occur in the words",
    truth="all 256 bytes are tokens, whether they occur or not, so that any text can be encoded: merge i makes 256 + i",
)
def numbered_after_what_occurs(words, n_merges):
    pieces, times, merges = {word: list(word) for word in words}, Counter(words), []
    first = max((value for word in words for value in word), default=0) + 1
    while len(merges) < n_merges and (counts := _counted(pieces, times)):
        best = _lowest_most_frequent(counts)
        pieces = {word: _joined(tokens, best, first + len(merges)) for word, tokens in pieces.items()}
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="a pair that occurs only once is not worth a merge",
    truth="the number of merges was asked for: learning goes on as long as any pair is left",
)
def stops_at_single_pairs(words, n_merges):
    pieces, times, merges = {word: list(word) for word in words}, Counter(words), []
    while len(merges) < n_merges and (counts := _counted(pieces, times)):
        best = _lowest_most_frequent(counts)
        if counts[best] < 2:
            break
        pieces = {word: _joined(tokens, best, 256 + len(merges)) for word, tokens in pieces.items()}
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="there is always another pair to merge",
    truth="when every word is one token, no pair is left, and fewer merges come back",
)
def never_runs_out(words, n_merges):
    pieces, times, merges = {word: list(word) for word in words}, Counter(words), []
    for _ in range(n_merges):
        best = _lowest_most_frequent(_counted(pieces, times))
        pieces = {word: _joined(tokens, best, 256 + len(merges)) for word, tokens in pieces.items()}
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="words are text, and the characters are what is merged",
    truth="tokens are made of bytes, of any bytes: a character may be several of them, and a word need not be text",
)
def characters(words, n_merges):
    texts = [tuple(map(ord, word.decode())) for word in words]
    pieces, times, merges = {word: list(word) for word in texts}, Counter(texts), []
    while len(merges) < n_merges and (counts := _counted(pieces, times)):
        best = _lowest_most_frequent(counts)
        pieces = {word: _joined(tokens, best, 256 + len(merges)) for word, tokens in pieces.items()}
        merges.append(best)
    return merges


@misconception(
    "train_bpe",
    believes="a merge is the bytes that it stands for",
    truth="a merge is a pair of tokens, and its parts may be merges themselves: (97, 98), then (256, 99)",
)
def pairs_of_bytes(words, n_merges):
    pieces, times, merges = {word: list(word) for word in words}, Counter(words), []
    meaning = [bytes([value]) for value in range(256)]
    while len(merges) < n_merges and (counts := _counted(pieces, times)):
        best = _lowest_most_frequent(counts)
        pieces = {word: _joined(tokens, best, 256 + len(merges)) for word, tokens in pieces.items()}
        meaning.append(meaning[best[0]] + meaning[best[1]])
        merges.append((meaning[best[0]], meaning[best[1]]))
    return merges


@fingerprint("train_bpe")
def train_bpe_probes(impl) -> list[Probe]:
    return [
        lambda: impl([b"abab"], 1),
        lambda: impl([b"cdab"], 1),
        lambda: impl([b"bcad"], 1),
        lambda: impl([b"adbb"], 2),
        lambda: impl([b"aaa", b"bc", b"bc"], 3),
        lambda: impl([b"aaaab"], 3),
        lambda: impl([b"ab", b"ab", b"cd", b"ce", b"cf"], 2),
        lambda: impl([b"ab", b"cb", b"cb"], 3),
        lambda: impl([b"a", b"b"], 2),
        lambda: impl([b"\xc3\xa9\xc3\xa9"], 2),
        lambda: impl([b"abcabcabd"], 4),
        lambda: impl([b"abab", b"cd", b"cd"], 1),
        lambda: impl([b"bac", b"bac", b"bda", b"bda"], 1),
        lambda: impl([b"aaaab", b"aaab", b"aab"], 4),
    ]


# --- bpe_encode -------------------------------------------------------------------------------------------------------


@misconception(
    "bpe_encode",
    believes="the longest token that fits is taken, from the left",
    truth="the pair that was learned first is merged first, however long its token is",
)
def longest_match(word, merges):
    meaning = [bytes([value]) for value in range(256)]
    for left, right in merges:
        meaning.append(meaning[left] + meaning[right])
    number = {text: token for token, text in reversed(list(enumerate(meaning)))}
    tokens, position = [], 0
    while position < len(word):
        for end in range(len(word), position, -1):
            if word[position:end] in number:
                tokens.append(number[word[position:end]])
                position = end
                break
    return tokens


@misconception(
    "bpe_encode",
    believes="two neighbors may be merged if their bytes together are a token",
    truth="the pair itself must have been learned: abc may be a token made of ab and c, and a and bc are then no merge",
)
def known_by_bytes(word, merges):
    meaning = [bytes([value]) for value in range(256)]
    for left, right in merges:
        meaning.append(meaning[left] + meaning[right])
    number = {text: token for token, text in reversed(list(enumerate(meaning)))}
    tokens = list(word)
    while len(tokens) > 1:
        joined = [number.get(meaning[left] + meaning[right], len(meaning)) for left, right in pairwise(tokens)]
        best = min(joined)
        if best == len(meaning):
            break
        position = joined.index(best)
        tokens[position : position + 2] = [best]
    return tokens


@misconception(
    "bpe_encode",
    believes="the first pair from the left that was learned is merged",
    truth="of all pairs in the word, the one that was learned first is merged, wherever it stands",
)
def leftmost_pair(word, merges):
    ranks, tokens, position = {pair: i for i, pair in enumerate(merges)}, list(word), 0
    while position < len(tokens) - 1:
        pair = tokens[position], tokens[position + 1]
        if pair in ranks:
            tokens[position : position + 2] = [256 + ranks[pair]]
            position = 0
        else:
            position += 1
    return tokens


@misconception(
    "bpe_encode",
    believes="what was learned last is merged first, since its tokens are the longest",
    truth="merges are applied in the order in which they were learned",
)
def latest_first(word, merges):
    ranks, tokens = {pair: i for i, pair in enumerate(merges)}, list(word)
    while known := [pair for pair in pairwise(tokens) if pair in ranks]:
        best = max(known, key=ranks.__getitem__)
        tokens = _joined(tokens, best, 256 + ranks[best])
    return tokens


@misconception(
    "bpe_encode",
    believes="the most frequent pair of the word is merged first, as in training",
    truth="frequency mattered in training; a word is encoded by the order of the merges alone",
)
def most_frequent_in_the_word(word, merges):
    ranks, tokens = {pair: i for i, pair in enumerate(merges)}, list(word)
    while known := Counter(pair for pair in pairwise(tokens) if pair in ranks):
        best = min(known, key=lambda pair: (-known[pair], ranks[pair]))
        tokens = _joined(tokens, best, 256 + ranks[best])
    return tokens


@misconception(
    "bpe_encode",
    believes="each merge is applied once",
    truth="it is applied at every place where its pair occurs: in abab both ab are merged",
)
def each_merge_once(word, merges):
    tokens = list(word)
    for rank, pair in enumerate(merges):
        for position in range(len(tokens) - 1):
            if (tokens[position], tokens[position + 1]) == pair:
                tokens[position : position + 2] = [256 + rank]
                break
    return tokens


@misconception(
    "bpe_encode",
    believes="a pair is merged from the right",
    truth="from the left: aaa becomes the token of aa and then a",
)
def from_the_right(word, merges):
    tokens = list(word)
    for rank, pair in enumerate(merges):
        tokens = _joined(tokens[::-1], pair[::-1], 256 + rank)[::-1]
    return tokens


@misconception(
    "bpe_encode",
    believes="a merge that the word does not contain ends it: the later ones depend on it",
    truth="the merges were learned on all words; most of them do not occur in this one",
)
def ends_at_what_is_not_there(word, merges):
    tokens = list(word)
    for rank, pair in enumerate(merges):
        if pair not in set(pairwise(tokens)):
            break
        tokens = _joined(tokens, pair, 256 + rank)
    return tokens


@misconception(
    "bpe_encode",
    believes="one pass over the word is enough",
    truth="a merge makes new pairs, which may have been learned too: go on until none was",
)
def one_pass(word, merges):
    ranks, tokens = {pair: i for i, pair in enumerate(merges)}, list(word)
    known = [pair for pair in pairwise(tokens) if pair in ranks]
    for pair in sorted(set(known), key=ranks.__getitem__):
        tokens = _joined(tokens, pair, 256 + ranks[pair])
    return tokens


@misconception(
    "bpe_encode",
    believes="the merged tokens are numbered from 0",
    truth="0 to 255 are the bytes; merge i makes token 256 + i",
)
def numbered_from_zero(word, merges):
    tokens = list(word)
    for rank, pair in enumerate(merges):
        tokens = _joined(tokens, pair, 256 + rank)
    return [token - 256 if token >= 256 else token for token in tokens]


@misconception(
    "bpe_encode",
    believes="a word is text, and its characters are the first tokens",
    truth="its bytes are; a word need not even be valid UTF-8",
)
def of_characters(word, merges):
    tokens = list(map(ord, word.decode()))
    for rank, pair in enumerate(merges):
        tokens = _joined(tokens, pair, 256 + rank)
    return tokens


@misconception(
    "bpe_encode",
    believes="a word has a first byte",
    truth="the empty word has none, and no tokens either",
)
def starts_with_the_first_byte(word, merges):
    tokens, last = [], word[0]
    for value in word[1:]:
        tokens, last = [*tokens, last], value
    tokens.append(last)
    for rank, pair in enumerate(merges):
        tokens = _joined(tokens, pair, 256 + rank)
    return tokens


@misconception(
    "bpe_encode",
    believes="a function that calls itself for the rest of the word is good for any word",
    truth="Python allows about a thousand calls inside each other, and what counts as one word may be longer, such as a "
    "run of spaces or a line of dashes",
)
def calls_itself(word, merges):
    def joined(tokens, pair, merged):
        if len(tokens) < 2:
            return tokens
        if (tokens[0], tokens[1]) == pair:
            return [merged, *joined(tokens[2:], pair, merged)]
        return [tokens[0], *joined(tokens[1:], pair, merged)]

    tokens = list(word)
    for rank, pair in enumerate(merges):
        tokens = joined(tokens, pair, 256 + rank)
    return tokens


@fingerprint("bpe_encode")
def bpe_encode_probes(impl) -> list[Probe]:
    return [
        lambda: impl(b"abab", [(97, 98)]),
        lambda: impl(b"aaa", [(97, 97)]),
        lambda: impl(b"abc", [(98, 99), (97, 98)]),
        lambda: impl(b"abc", [(97, 98), (98, 99)]),
        lambda: impl(b"abcd", [(98, 99), (97, 98), (257, 99), (258, 100)]),
        lambda: impl(b"abcbc", [(97, 98), (98, 99)]),
        lambda: impl(b"bc", [(97, 98), (98, 99)]),
        lambda: impl(b"abc", [(97, 98), (256, 99)]),
        lambda: impl(b"abcd", [(97, 98), (99, 100), (256, 257)]),
        lambda: impl(b"\xc3\xa9", []),
        lambda: impl(b"", [(97, 98)]),
        lambda: impl(b"aabaab", [(97, 97), (97, 98), (256, 98)]),
        lambda: impl(b"abc", [(97, 98), (98, 99), (97, 257)]),
        lambda: impl(b"abc", [(98, 99), (97, 98), (257, 99)]),
        lambda: impl(b"-=" * 1600, [(45, 45)]),
    ]


# --- bpe_decode -------------------------------------------------------------------------------------------------------


@misconception(
    "bpe_decode",
    believes="what comes out is text",
    truth="it is bytes: a token may end in the middle of a character, and only whoever has all of it can make text of it",
)
def returns_text(tokens, merges):
    meaning = [bytes([value]) for value in range(256)]
    for left, right in merges:
        meaning.append(meaning[left] + meaning[right])
    return b"".join(meaning[token] for token in tokens).decode(errors="replace")


@misconception(
    "bpe_decode",
    believes="each token is text, and the text is theirs joined",
    truth="a character may be spread over several tokens; decoded one by one, its parts become question marks",
)
def text_token_by_token(tokens, merges):
    meaning = [bytes([value]) for value in range(256)]
    for left, right in merges:
        meaning.append(meaning[left] + meaning[right])
    return "".join(meaning[token].decode(errors="replace") for token in tokens).encode()


@misconception(
    "bpe_decode",
    believes="byte 200 is the character with the number 200",
    truth="chr(200) is two bytes in UTF-8; the byte itself is bytes([200])",
)
def bytes_as_characters(tokens, merges):
    meaning = [chr(value).encode() for value in range(256)]
    for left, right in merges:
        meaning.append(meaning[left] + meaning[right])
    return b"".join(meaning[token] for token in tokens)


@misconception(
    "bpe_decode",
    believes="the parts of a merge are bytes",
    truth="they are tokens, and may be merges themselves, however deep",
)
def one_level(tokens, merges):
    found = []
    for token in tokens:
        found += [token] if token < 256 else merges[token - 256]
    return bytes(value % 256 for value in found)


@misconception(
    "bpe_decode",
    believes="two levels of merges are all there is",
    truth="a merge may be made of merges of merges, and so on: go on until only bytes are left",
)
def two_levels(tokens, merges):
    found = list(tokens)
    for _ in range(2):
        found = [part for token in found for part in ([token] if token < 256 else merges[token - 256])]
    return bytes(value % 256 for value in found)


@misconception(
    "bpe_decode",
    believes="a merge is written from its right part",
    truth="the left part comes first",
)
def right_part_first(tokens, merges):
    meaning = [bytes([value]) for value in range(256)]
    for left, right in merges:
        meaning.append(meaning[right] + meaning[left])
    return b"".join(meaning[token] for token in tokens)


@misconception(
    "bpe_decode",
    believes="merge i is token 255 + i",
    truth="the bytes are 0 to 255, so the first merge, number 0, is token 256",
)
def one_too_low(tokens, merges):
    meaning = [bytes([value]) for value in range(255)]
    for left, right in merges:
        meaning.append(meaning[left] + meaning[right])
    return b"".join(meaning[token] for token in tokens)


@misconception(
    "bpe_decode",
    believes="tokens are separated by spaces",
    truth="a space is a byte like any other and stands in the tokens already",
)
def joined_by_spaces(tokens, merges):
    meaning = [bytes([value]) for value in range(256)]
    for left, right in merges:
        meaning.append(meaning[left] + meaning[right])
    return b" ".join(meaning[token] for token in tokens)


@misconception(
    "bpe_decode",
    believes="spaces around the text do not belong to it",
    truth="decoding gives back every byte: a space in front of a word is what begins it",
)
def stripped(tokens, merges):
    meaning = [bytes([value]) for value in range(256)]
    for left, right in merges:
        meaning.append(meaning[left] + meaning[right])
    return b"".join(meaning[token] for token in tokens).strip()


@misconception(
    "bpe_decode",
    believes="a function that calls itself for both parts is good for any merge",
    truth="a merge may be built two thousand deep, as for a long run of one byte, and Python allows about a thousand calls",
)
def unfolds_by_itself(tokens, merges):
    def unfolded(token):
        if token < 256:
            return bytes([token])
        left, right = merges[token - 256]
        return unfolded(left) + unfolded(right)

    return b"".join(unfolded(token) for token in tokens)


@fingerprint("bpe_decode")
def bpe_decode_probes(impl) -> list[Probe]:
    long = [(97, 97), *((256 + i, 97) for i in range(6000))]
    return [
        lambda: impl([104, 105], []),
        lambda: impl([32, 97, 32], []),
        lambda: impl([195, 169], []),
        lambda: impl([200], []),
        lambda: impl([256, 97], [(97, 98)]),
        lambda: impl([257], [(97, 98), (256, 99)]),
        lambda: impl([258], [(97, 98), (256, 99), (257, 100)]),
        lambda: impl([255], [(97, 98)]),
        lambda: impl([256 + 5900], long),
    ]
