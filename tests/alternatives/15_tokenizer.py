"""Right, and written differently: all of these must be accepted."""

import heapq
from collections import Counter, defaultdict
from itertools import pairwise

from gptdojo import alternative

# --- train_bpe --------------------------------------------------------------------------------------------------------


@alternative("train_bpe")
def every_word_by_itself(words, n_merges):
    pieces = [list(word) for word in words]
    merges = []
    for new in range(256, 256 + n_merges):
        pairs = sorted(pair for tokens in pieces for pair in pairwise(tokens))
        if not pairs:
            return merges
        best = max(dict.fromkeys(pairs), key=pairs.count)
        merges.append(best)
        for tokens in pieces:
            position = 0
            while position < len(tokens) - 1:
                if (tokens[position], tokens[position + 1]) == best:
                    tokens[position : position + 2] = [new]
                position += 1
    return merges


@alternative("train_bpe")
def counts_kept_up_to_date(words, n_merges):
    times = Counter(words)
    pieces = {word: tuple(word) for word in times}
    counts, places = defaultdict(int), defaultdict(set)
    for word, tokens in pieces.items():
        for pair in pairwise(tokens):
            counts[pair] += times[word]
            places[pair].add(word)
    merges = []
    while len(merges) < n_merges and any(counts.values()):
        best = min(counts, key=lambda pair: (-counts[pair], *pair))
        for word in sorted(places[best]):
            for pair in pairwise(pieces[word]):
                counts[pair] -= times[word]
            tokens, rest = [], list(reversed(pieces[word]))
            while rest:
                token = rest.pop()
                if rest and (token, rest[-1]) == best:
                    rest.pop()
                    token = 256 + len(merges)
                tokens.append(token)
            pieces[word] = tuple(tokens)
            for pair in pairwise(tokens):
                counts[pair] += times[word]
                places[pair].add(word)
        merges.append(list(best))
    return merges


@alternative("train_bpe")
def texts_of_private_characters(words, n_merges):
    # every token is one character, so that str.replace does the merging
    text = "\n".join("".join(chr(0xE000 + value) for value in word) for word in words)
    merges = []
    while len(merges) < n_merges:
        counts = Counter(one + two for one, two in pairwise(text) if "\n" not in (one, two))
        if not counts:
            break
        best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[0][0]
        text = text.replace(best, chr(0xE100 + len(merges)))
        merges.append(tuple(ord(char) - 0xE000 for char in best))
    return merges


@alternative("train_bpe")
def with_a_heap(words, n_merges):
    pieces = Counter(tuple(word) for word in words)
    merges = []
    while len(merges) < n_merges:
        counts = Counter()
        for tokens, number in pieces.items():
            for i in range(1, len(tokens)):
                counts[tokens[i - 1 : i + 1]] += number
        heap = [(-number, pair) for pair, number in counts.items()]
        heapq.heapify(heap)
        if not heap:
            break
        _, (left, right) = heapq.heappop(heap)
        merges.append((left, right))
        after = Counter()
        for tokens, number in pieces.items():
            kept = []
            skip = False
            for token, following in zip(tokens, (*tokens[1:], None), strict=False):
                if skip:
                    skip = False
                elif token == left and following == right:
                    kept.append(255 + len(merges))
                    skip = True
                else:
                    kept.append(token)
            after[tuple(kept)] += number
        pieces = after
    return merges


# --- bpe_encode -------------------------------------------------------------------------------------------------------


@alternative("bpe_encode")
def merge_after_merge(word, merges):
    tokens = list(word)
    for token, (left, right) in enumerate(merges, 256):
        position = 0
        while position + 1 < len(tokens):
            if tokens[position] == left and tokens[position + 1] == right:
                tokens[position : position + 2] = [token]
            position += 1
    return tokens


@alternative("bpe_encode")
def characters_replaced(word, merges):
    text = "".join(map(chr, word))
    for token, (left, right) in enumerate(merges, 256):
        text = text.replace(chr(left) + chr(right), chr(token))
    return [ord(char) for char in text]


@alternative("bpe_encode")
def one_place_at_a_time(word, merges):
    ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
    tokens = [*word]
    while True:
        known = [(ranks[pair], i) for i, pair in enumerate(pairwise(tokens)) if pair in ranks]
        if not known:
            return tuple(tokens)
        rank, i = min(known)
        tokens = [*tokens[:i], 256 + rank, *tokens[i + 2 :]]


@alternative("bpe_encode")
def linked_with_a_heap(word, merges):
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    tokens = dict(enumerate(word))
    after = {i: i + 1 for i in range(len(word))}
    before = {i + 1: i for i in range(len(word))}
    heap = []

    def offer(i):
        j = after.get(i)
        if i in tokens and j in tokens and (tokens[i], tokens[j]) in ranks:
            heapq.heappush(heap, (ranks[tokens[i], tokens[j]], i, tokens[i], tokens[j]))

    for i in range(len(word)):
        offer(i)
    while heap:
        rank, i, left, right = heapq.heappop(heap)
        j = after.get(i)
        if tokens.get(i) != left or tokens.get(j) != right:
            continue
        tokens[i] = 256 + rank
        del tokens[j]
        after[i] = after[j]
        before[after[j]] = i
        offer(i)
        if i in before:
            offer(before[i])
    return [tokens[i] for i in sorted(tokens)]


# --- bpe_decode -------------------------------------------------------------------------------------------------------


@alternative("bpe_decode")
def unfolded_with_a_stack(tokens, merges):
    content = bytearray()
    stack = list(reversed(tokens))
    while stack:
        token = stack.pop()
        if token < 256:
            content.append(token)
        else:
            left, right = merges[token - 256]
            stack += [right, left]
    return bytes(content)


@alternative("bpe_decode")
def latest_merge_first(tokens, merges):
    tokens = list(tokens)
    for number in reversed(range(len(merges))):
        if 256 + number in tokens:
            tokens = [part for token in tokens for part in (merges[number] if token == 256 + number else (token,))]
    return bytes(tokens)


@alternative("bpe_decode")
def table_as_a_dict(tokens, merges):
    table = {number: number.to_bytes(1, "big") for number in range(256)}
    for pair in merges:
        table[len(table)] = b"".join(table[part] for part in pair)
    content = b""
    for token in tokens:
        content += table[token]
    return content
