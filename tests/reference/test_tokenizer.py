import json
from itertools import pairwise
from pydoc_data.topics import topics

import pytest
import tokenizers
from hypothesis import given, settings, strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from reference.tokenizer import END, Tokenizer, bpe_decode, bpe_encode, train_bpe, word_pattern

REAL = "\n".join(topics.values())[:120_000]
TRICKY = (
    "I'll we've it's THEY'RE don't  two  spaces\n\n\ttabs \u00a0 nbsp\u2003em\u3000wide \x1c\x1d fs 12345 \u0661\u0662 "
    "\u00bd \u2167 \u4e00\u4e8c \u0928\u092e\u0938\u094d\u0924\u0947 na\u00efve \u00c5ngstr\u00f6m \U0001f600 "
    "\U0001f468\u200d\U0001f469 e\u0301 a_b __init__ \u2019s 'S ''  "
)


@pytest.fixture(scope="module")
def hugging_face():
    """tokenizers' byte-level BPE, trained on real text; the end-of-text token comes last, as in GPT-2."""
    twin = tokenizers.Tokenizer(models.BPE())
    twin.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    twin.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    twin.train_from_iterator(
        [REAL], trainers.BpeTrainer(vocab_size=799, initial_alphabet=alphabet, show_progress=False)
    )
    twin.add_special_tokens([END])
    return twin


@pytest.fixture(scope="module")
def trained():
    return Tokenizer.train(REAL, vocab_size=800)


@pytest.fixture(scope="module")
def files(hugging_face, tmp_path_factory):
    """A folder with vocab.json and merges.txt as tokenizers writes them, and as GPT-2's are."""
    folder = tmp_path_factory.mktemp("gpt2")
    hugging_face.model.save(str(folder))
    (folder / "vocab.json").write_text(json.dumps(hugging_face.get_vocab(with_added_tokens=True)))
    return folder


def test_training_on_real_text_gives_the_tokens_of_tokenizers(hugging_face, trained):
    assert trained.vocab == hugging_face.get_vocab(with_added_tokens=True)
    assert len(trained) == 800
    assert trained.end == 799


def test_real_and_tricky_text_is_encoded_as_by_tokenizers(hugging_face, trained, files):
    loaded = Tokenizer.load(files)
    for text in (REAL, TRICKY, TRICKY * 2, "", " ", "\n", f"one{END}two {END}{END}"):
        expected = hugging_face.encode(text).ids
        assert trained.encode(text) == expected
        assert loaded.encode(text) == expected
        assert trained.decode(expected) == text


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cn"]), max_size=30))
def test_any_text_is_cut_as_by_tokenizers_and_comes_back(hugging_face, trained, text):
    assert trained.encode(text) == hugging_face.encode(text).ids
    assert trained.decode(trained.encode(text)) == text


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="aé1 \n'sl_\u00a0\u3000\x1c²", max_size=30))
def test_words_are_cut_as_by_tokenizers(text):
    twin = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert word_pattern().findall(text) == [text[start:end] for _, (start, end) in twin.pre_tokenize_str(text)]


def test_saved_files_are_read_by_tokenizers_and_by_ourselves(tmp_path, trained):
    trained.save(tmp_path)
    twin = tokenizers.Tokenizer(models.BPE.from_file(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")))
    twin.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    again = Tokenizer.load(tmp_path)
    assert again.vocab == trained.vocab
    assert twin.encode(TRICKY).ids == trained.encode(TRICKY) == again.encode(TRICKY)


def test_files_that_do_not_fit_are_errors(tmp_path, trained):
    with pytest.raises(FileNotFoundError, match=r"vocab.json"):
        Tokenizer.load(tmp_path)
    trained.save(tmp_path)
    merges = tmp_path / "merges.txt"
    whole = merges.read_text()
    for line in ("lonely", "a b c", "zzz q"):
        merges.write_text(whole + line + "\n")
        with pytest.raises(ValueError, match=rf"expected two tokens made before, got '{line}'"):
            Tokenizer.load(tmp_path)
    merges.write_text(whole)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(ValueError, match="the vocabulary lacks"):
        Tokenizer.load(tmp_path)
    with pytest.raises(ValueError, match="at least 257"):
        Tokenizer.train("text", 256)
    with pytest.raises(ValueError, match="of this vocabulary of 800, got 800"):
        trained.decode([800])


def slow_train(words, n_merges):
    """The definition: count all pairs anew, merge the most frequent, lowest first."""
    pieces, merges = [list(word) for word in words], []
    for new in range(256, 256 + n_merges):
        counts = {}
        for piece in pieces:
            for pair in pairwise(piece):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for i, piece in enumerate(pieces):
            merged, rest = [], list(piece)
            while rest:
                step = 2 if tuple(rest[:2]) == best else 1
                merged.append(new if step == 2 else rest[0])
                rest = rest[step:]
            pieces[i] = merged
    return merges, pieces


words = st.lists(st.text(alphabet="abc", min_size=1, max_size=7).map(str.encode), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(words, st.integers(0, 12))
def test_merges_are_learned_as_defined_with_ties_and_overlaps_and_encode_the_words(corpus, n_merges):
    merges, pieces = slow_train(corpus, n_merges)
    assert train_bpe(corpus, n_merges) == merges
    for word, tokens in zip(corpus, pieces, strict=True):
        assert bpe_encode(word, merges) == tokens


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=20), words)
def test_any_bytes_come_back(data, corpus):
    merges = train_bpe([*corpus, data], 10)
    assert bpe_decode(bpe_encode(data, merges), merges) == data


def test_the_pair_learned_first_is_merged_first_not_the_longest_match():
    ab, bc, abc = (97, 98), (98, 99), (97, 257)
    assert bpe_encode(b"abc", [ab, bc, abc]) == [256, 99]
    assert bpe_encode(b"abc", [bc, ab, (97, 256)]) == [258]
    assert bpe_encode(b"aaaaa", [(97, 97)]) == [256, 256, 97]
    assert bpe_encode(b"", [ab]) == []


def test_a_token_that_is_none_is_an_error():
    for token in (256, -1, 10**6):
        with pytest.raises(ValueError, match="tokens from 0 to 255"):
            bpe_decode([token], [])


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="aé漢\U0001f600 ", max_size=12))
def test_streamed_text_never_breaks_a_character_and_adds_up(text):
    tokenizer = Tokenizer([])  # bytes only: every character of more than one byte is several tokens
    pieces = list(tokenizer.stream(tokenizer.encode(text)))
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    assert len(pieces) == len(text.encode()) + 1  # one for each token, as soon as it comes


def test_what_is_no_utf8_is_shown_as_such():
    tokenizer = Tokenizer([])
    tokens = tokenizer.encode("é漢")
    assert tokenizer.decode(tokens[:-1]) == "é\ufffd"
    assert tokenizer.decode(tokens[1:]) == "\ufffd漢"
