"""The drills on the course itself: every planted bug is the misconception it stands for, and the last level can be done."""

import io
import random
from tokenize import COMMENT, generate_tokens

import pytest
import torch

from gptdojo.catalog import Misconception, load_catalog
from gptdojo.course import find_course
from gptdojo.fingerprints import alike, fingerprint_of
from gptdojo.solutions import as_implementation
from gptdojo.study.attempt import find_tests
from gptdojo.study.compose import MAX_LINES, MIN_LINES, bugs_of, compose_chapter, compose_whole, solution_file
from gptdojo.study.drill import drills, exercises_of
from gptdojo.study.excerpt import documented, excerpt_of
from gptdojo.study.hunt import runs
from gptdojo.study.numbers import worked_values
from gptdojo.study.part_two import rejected
from gptdojo.study.repair import grade_source
from gptdojo.study.starting_test import start_text
from gptdojo.study.stub import stub
from gptdojo.study.writing import shortcomings, try_here
from gptdojo.worker.submission import run

COURSE = find_course()
COURSE.importable()
CHAPTERS = [
    c
    for c in COURSE.chapters.values()
    if c.alternatives.exists() and c.misconceptions.exists() and c.properties.exists()
]
EXERCISES = [exercise for chapter in CHAPTERS for exercise in chapter.exercises.values()]
by_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
FUTURE = "from __future__ import annotations"
by_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)

FORWARD = """

def forward_with_cache(tokens, params, n_head, caches):
    past, n_new = len(caches[0]), tokens.shape[1]
    x = embed_tokens(tokens, params["wte.weight"], params["wpe.weight"], past)
    for layer, cache in enumerate(caches):
        block = [params[f"h.{layer}.{key}"] for key in BLOCK_KEYS]
        qkv = F.linear(layer_norm(x, *block[:2]), *block[2:4])
        q, k, v = (split_heads(part, n_head) for part in qkv.chunk(3, dim=-1))
        cache.append(k, v)
        heads = scaled_dot_product_attention(q, *cache.view(), causal_mask(n_new, past + n_new))
        x = x + F.linear(merge_heads(heads), *block[4:6])
        x = x + mlp(layer_norm(x, *block[6:8]), *block[8:])
    return F.linear(layer_norm(x, params["ln_f.weight"], params["ln_f.bias"]), params["wte.weight"])

"""
PROOF = """
def test_forward_with_cache(impl):
    torch.manual_seed(0)
    n_head, d_model, n_ctx, vocab_size = 3, 12, 9, 7
    params = {name: 2 * value for name, value in random_parameters(2, d_model, n_ctx, vocab_size).items()}
    tokens = torch.randint(vocab_size, (2, n_ctx))
    expected = gpt_forward(tokens, params, n_head)
    for pieces in ([9], [4, 3, 1, 1], [1] * 9):
        caches = [KVCache(2, n_head, n_ctx, d_model // n_head) for _ in range(2)]
        got = torch.cat([impl(piece, params, n_head, caches) for piece in tokens.split(pieces, dim=1)], dim=1)
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
        assert all(len(cache) == n_ctx for cache in caches)
"""


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def right_text(chapter, names):
    """A file of the worked solutions, as a learner leaves it who has repaired everything."""
    worked = solution_file(chapter)
    pieces = [worked.excerpt(name, name) for name in names]
    imports = {words for piece in pieces for words in piece.imports.values()}
    helpers = {text for piece in pieces for text in piece.helpers.values()}
    return "\n".join([*sorted(imports), *helpers, *(piece.source for piece in pieces)])


def cut_out(exercise, chosen):
    """Each of these bugs, cut out of its file, runs and does what it did there."""
    catalog = load_catalog(exercise.chapter)
    entries = {entry.name: entry for entry in catalog.of(Misconception, exercise.name)}
    for bug in chosen:
        piece = excerpt_of(exercise.chapter.misconceptions, bug.misconception, exercise.name)
        source = documented(piece.source, ["Some words."])
        text = "\n\n\n".join([FUTURE, *piece.imports.values(), *piece.helpers.values(), source])
        loaded = run("py", text.encode(), frozenset())
        assert not loaded.notes, bug
        both = (entries[bug.misconception].implementation, loaded.namespace[exercise.name])
        before, after = (fingerprint_of(catalog, exercise, as_implementation(exercise, one)) for one in both)
        assert alike(before, after), bug


@by_exercise
def test_a_bug_cut_out_of_its_file_still_does_what_its_author_believes(exercise):
    bugs = bugs_of(exercise)
    assert len(bugs) == len(load_catalog(exercise.chapter).of(Misconception, exercise.name)), "each can be handed out"
    cut_out(exercise, random.Random(exercise.name).sample(bugs, 1))


@pytest.mark.slow
@by_exercise
def test_every_bug_cut_out_of_its_file_still_does_what_its_author_believes(exercise):
    cut_out(exercise, bugs_of(exercise))


@by_chapter
def test_a_composed_file_runs_has_20_to_80_lines_and_no_comment(chapter):
    for exercise in random.Random(chapter.name).sample(list(chapter.exercises.values()), 2):
        bug = random.Random(exercise.name).choice(bugs_of(exercise))
        text = compose_chapter(chapter, [bug], "Bug hunt: x.\n", random.Random(0))
        assert MIN_LINES <= text.count("\n") <= MAX_LINES
        assert bug.misconception not in text
        comments = [token.string for token in generate_tokens(io.StringIO(text).readline) if token.type == COMMENT]
        assert all(comment.startswith("# noqa: F401  finds the course") for comment in comments)
        assert not run("py", text.encode(), frozenset()).notes


@by_chapter
def test_a_hunt_in_a_chapter_fails_where_it_was_planted_and_is_whole_when_repaired(chapter):
    planted = bugs_of(min(chapter.exercises.values(), key=lambda exercise: exercise.difficulty))[:1]
    text = compose_chapter(chapter, planted, "Bug hunt: x.\n", random.Random(0))
    there = [name for name in chapter.exercises if f"\ndef {name}(" in text or f"\nclass {name}" in text]
    names = sorted(there, key=lambda name: name != planted[0].exercise)[:2]
    assert set(grade_source(COURSE, text.encode(), names).broken) == {bug.exercise for bug in planted}
    repaired = text + "\n" + right_text(chapter, [bug.exercise for bug in planted])
    assert grade_source(COURSE, repaired.encode(), names[:1]).broken == []


@by_exercise
def test_the_files_to_write_in_name_nothing_unknown_and_hold_no_answer(exercise):
    for text in (stub(exercise), start_text(exercise)):
        assert "SOLUTION" not in text
        loaded = run("py", text.encode(), frozenset())
        assert not loaded.notes
    found = grade_source(COURSE, stub(exercise).encode(), [exercise.name])
    assert found.results[exercise.name].status == "not_started"


@by_exercise
def test_the_first_test_of_every_exercise_accepts_what_is_right(exercise):
    tests = find_tests(run("py", start_text(exercise).encode(), frozenset()).namespace)
    verdicts = try_here(COURSE, exercise, tests)
    refused, _ = shortcomings(verdicts)
    assert not refused or "NotImplementedError" in refused[0].message, refused[0]


# The last level


def drill():
    return drills(COURSE)["small_gpt"]


def test_the_small_gpt_is_right_and_each_of_its_bugs_counts_once():
    base = drill().base.read_text()
    assert runs(COURSE, base)
    assert grade_source(COURSE, base.encode(), drill().exercises, alone=False).broken == []
    names = ("causal_mask", "split_heads", "layer_norm", "gpt_forward")
    planted = [bugs_of(COURSE.exercises[name])[-1] for name in names]
    text = compose_whole(COURSE, drill().base, planted, "Bug hunt: x.\n")
    assert set(grade_source(COURSE, text.encode(), ["masked_softmax", *names, "mlp"]).broken) == set(names)


def test_most_bugs_of_the_small_gpt_leave_it_running():
    """Those that stop it are never planted; each exercise has enough of the others."""
    for exercise in exercises_of(COURSE, drill()):
        bugs = random.Random(0).sample(bugs_of(exercise), 6)
        going = [bug for bug in bugs if runs(COURSE, compose_whole(COURSE, drill().base, [bug], "x"))]
        assert len(going) >= 2, exercise.name


def test_part_two_can_be_done():
    base = drill().base.read_text().replace("def test_forward_with_cache", "def unwritten", 1)
    chapter = COURSE.exercises["forward_with_cache"].chapter
    text = base + right_text(chapter, ["KVCache"]) + FORWARD + PROOF
    assert not grade_source(COURSE, text.encode(), drill().then).broken
    verdicts = try_here(
        COURSE, COURSE.exercises[drill().prove], find_tests(run("py", text.encode(), frozenset()).namespace)
    )
    refused, slipped = shortcomings(verdicts)
    assert not refused, refused[0]
    assert rejected(verdicts) >= drill().rejects, [verdict.variant.name for verdict in slipped]


def test_many_calculation_cards_have_a_value_to_check_a_number_against():
    from gptdojo.cards import cards

    calculations = [card for card in cards(COURSE) if card.kind == "calculation"]
    assert sum(bool(worked_values(card)) for card in calculations) >= 20
