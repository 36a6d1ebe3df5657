# %% [markdown]
# # 15. The tokenizer
#
# So far a token was a number from 0 to $V - 1$, and nobody asked where it came from. A GPT reads text, and there are
# two obvious ways to cut text into tokens. Words: then there are millions of them, and the next text has one that was
# never seen. Characters or bytes: then nothing is ever unknown, but a page has thousands of tokens, and attention
# pays for each.
#
# **Byte-pair encoding** (BPE) is the way between. It starts from the 256 bytes, so every text can be written. Then it
# looks at a large text, and again and again makes one token of the two neighbors that stand beside each other most
# often: `t` and `h` become `th`, `th` and `e` become `the`. What is frequent becomes one token, what is rare stays
# several. GPT-2 and GPT-3 have 256 bytes, 50,000 merges and one token for the end of a text: 50,257.
#
# Before all that, the text is cut into **words** (GPT-2 has a pattern for it: a run of letters, of digits, or of
# other signs, with the space in front), and no pair spans two words. Here the words are given, as bytes.
#
# You write training, encoding and decoding. A byte is the token of its value; merge number $i$, counted from 0, makes
# token $256 + i$.

# %%
from collections import Counter
from itertools import pairwise

# %% [markdown]
# ## Training
#
# The state is, for each word, a list of tokens, at first its bytes. One round:
#
# 1. count the pairs of neighbors, over all words, a word that occurs five times five times;
# 2. take the most frequent pair; **among equally frequent ones the lowest**, as Python compares tuples;
# 3. replace it in all words by a new token, from the left: in `aaa` the pair `aa` occurs twice, at 0 and at 1, and
#    counts twice, but only the first can be merged, which leaves `aa` and `a`.
#
# The rule for ties looks like a detail. Without one, two runs of the same program could give different tokenizers, and
# a model trained with the one reads garbage with the other.


# %% train_bpe
def train_bpe(words: list[bytes], n_merges: int) -> list[tuple[int, int]]:
    """Learn up to `n_merges` merges from words, in the order in which they were learned.

    Each merge is the pair of tokens that it joins; merge i makes token 256 + i. Pairs never span two
    words, and a word that occurs more than once counts as often. All pairs of neighbors count, those
    that overlap too. The most frequent pair is next, the lowest of those that are equally frequent,
    even if it occurs only once. When no pair is left, fewer merges come back.

    Source: Sennrich et al. 2015 (1508.07909), section 3.2; on bytes: Radford et al. 2019, section 2.2.

    >>> train_bpe([b"aab", b"aab", b"b"], 2)
    [(97, 97), (256, 98)]
    >>> train_bpe([b"ab", b"cd"], 5)
    [(97, 98), (99, 100)]
    """
    ### BEGIN SOLUTION
    pieces = {word: list(word) for word in words}
    times = Counter(words)
    merges: list[tuple[int, int]] = []
    while len(merges) < n_merges:
        counts: Counter[tuple[int, int]] = Counter()
        for word, tokens in pieces.items():
            for pair in pairwise(tokens):
                counts[pair] += times[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        for word, tokens in pieces.items():
            joined = []
            position = 0
            while position < len(tokens):
                if tuple(tokens[position : position + 2]) == best:
                    joined.append(256 + len(merges))
                    position += 2
                else:
                    joined.append(tokens[position])
                    position += 1
            pieces[word] = joined
        merges.append(best)
    return merges
    ### END SOLUTION


# %% [markdown]
# ## Encoding
#
# A new word is encoded by the merges in the order in which they were learned: of all pairs of neighbors in it, the
# one that was **learned first** is merged, wherever it occurs, from the left; then again, until no pair is left that
# was learned. It is the order of the learning that counts, not the length of the token and not the place in the word.


# %% bpe_encode
def bpe_encode(word: bytes, merges: list[tuple[int, int]]) -> list[int]:
    """Turn the bytes of a word into tokens.

    `merges` are different pairs of tokens in the order in which they were learned: merge i makes token
    256 + i of two tokens that exist before it. Of the pairs in the word the one learned first is merged
    at every place, from the left, until no pair of neighbors was learned. An empty word has no tokens.

    Source: Sennrich et al. 2015 (1508.07909), section 3.2.

    >>> bpe_encode(b"aaab", [(97, 97), (256, 98)])
    [256, 97, 98]
    >>> bpe_encode(b"abc", [(98, 99), (97, 98)])
    [97, 256]
    """
    ### BEGIN SOLUTION
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    tokens = list(word)
    while len(tokens) > 1:
        best = min(pairwise(tokens), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        joined = []
        position = 0
        while position < len(tokens):
            if tuple(tokens[position : position + 2]) == best:
                joined.append(256 + ranks[best])
                position += 2
            else:
                joined.append(tokens[position])
                position += 1
        tokens = joined
    return tokens
    ### END SOLUTION


# %% [markdown]
# ## Decoding
#
# Every token stands for bytes: a byte for itself, a merge for the bytes of its two parts, one after the other. The
# bytes of a text are the bytes of its tokens.
#
# A single token need not be text. `é` is two bytes in UTF-8, an emoji four, and a merge may end in the middle of one.
# That is why this function returns bytes: whoever shows text while it is generated has to wait until a character is
# complete.


# %% bpe_decode
def bpe_decode(tokens: list[int], merges: list[tuple[int, int]]) -> bytes:
    """Turn tokens back into the bytes that they stand for.

    Tokens 0 to 255 are bytes, token 256 + i is the merge i: the bytes of its left part and then those of
    its right part, which both exist before it. The bytes need not be valid UTF-8. No tokens, no bytes.

    Source: Radford et al. 2019, section 2.2.

    >>> bpe_decode([256, 97, 257], [(97, 98), (256, 99)])
    b'abaabc'
    """
    ### BEGIN SOLUTION
    meaning = [bytes([value]) for value in range(256)]
    for left, right in merges:
        meaning.append(meaning[left] + meaning[right])
    return b"".join(meaning[token] for token in tokens)
    ### END SOLUTION


# %% [markdown]
# ## What is learned
#
# The text is the documentation of Python that Python itself carries. These are the first things that your function
# finds in it. The dot stands for a space: most words are learned together with the space in front of them.

# %% what_is_learned
import pydoc_data.topics

from reference.tokenizer import word_pattern

real_text = "\n".join(pydoc_data.topics.topics.values())[:60_000]
real_words = [word.encode() for word in word_pattern().findall(real_text)]
real_merges = train_bpe(real_words, 200)
learned = [bpe_decode([256 + i], real_merges).decode(errors="replace") for i in range(len(real_merges))]
print("the first 40:", *(token.replace(" ", "·").replace("\n", "\\n") for token in learned[:40]))
print("the longest: ", *(token.replace(" ", "·").replace("\n", "\\n") for token in sorted(learned, key=len)[-12:]))

# %% [markdown]
# ## The same as Hugging Face
#
# The `tokenizers` package is what most models are served with. It gets the merges that your function learned, and
# both encode the same real text. Not one token may differ.

# %% the_same_as_hugging_face
real_tokens = [token for word in real_words for token in bpe_encode(word, real_merges)]
try:
    import tokenizers
except ImportError:
    print("For this comparison: pip install tokenizers")
else:
    # its files spell each byte as one visible character: those that are visible as themselves
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [value for value in range(256) if value not in visible]
    spelled = [chr(value) if value in visible else chr(256 + others.index(value)) for value in range(256)]
    for left, right in real_merges:
        spelled.append(spelled[left] + spelled[right])
    vocabulary = {token: number for number, token in enumerate(spelled)}
    pairs = [(spelled[left], spelled[right]) for left, right in real_merges]
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, pairs))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    same = theirs.encode(real_text).ids == real_tokens
    print(f"{len(real_text):,} characters, {len(real_tokens):,} tokens; equal to Hugging Face's: {same}")
    assert same
assert b"".join(real_words) == bpe_decode(real_tokens, real_merges) == real_text.encode()
print(f"{len(real_text.encode()) / len(real_tokens):.2f} bytes a token with {len(real_merges)} merges")

# %% [markdown]
# ## What a model sees
#
# The same number with and without a space in front, a longer number, code, another language: what looks alike to you
# may be different tokens, and text that is unlike the training text falls into pieces.

# %% what_a_model_sees
for sample in ("the function returns", " the", "The", "1234", "12345", "    return x", "die Funktion", "関数"):
    pieces = [
        bpe_decode([token], real_merges)
        for word in word_pattern().findall(sample)
        for token in bpe_encode(word.encode(), real_merges)
    ]
    shown = [piece.decode(errors="backslashreplace").replace(" ", "·") for piece in pieces]
    print(f"{sample!r:24} {len(pieces):3} tokens:  {' | '.join(shown)}")
