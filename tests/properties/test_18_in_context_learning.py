"""How right is told from wrong in chapter 18: prompts, heads that continue patterns, and what context is worth."""

import math

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect_close, expect_reference
from gptdojo.implementation import Implementation
from gptdojo.strategies import Values, values
from reference import in_context_learning as reference

WORD = st.text("abcd", min_size=1, max_size=4)
PAIR = st.tuples(WORD, WORD)
ANY_TEXT = st.text(st.sampled_from("ab {}%\\\n\u00e9"), max_size=6)
HEADS = st.integers(2, 3)

# --- few_shot_prompt --------------------------------------------------------------------------------------------------


@claim("few_shot_prompt", rung=1, examples=8)
@given(instruction=WORD, query=WORD)
def test_few_shot_prompt_zero_shot(impl, instruction, query):
    """Without examples: the instruction, an empty line, and the query, up to where the answer begins."""
    expect_reference(impl, reference.few_shot_prompt, instruction, [], query)


@claim("few_shot_prompt", rung=2, examples=6)
@given(query=WORD)
def test_few_shot_prompt_no_instruction(impl, query):
    """An empty instruction leaves nothing behind, no empty lines either."""
    expect_reference(impl, reference.few_shot_prompt, "", [], query)


@claim("few_shot_prompt", rung=3, examples=10)
@given(instruction=st.one_of(st.just(""), WORD), example=PAIR, query=WORD)
def test_few_shot_prompt_one_shot(impl, instruction, example, query):
    """One example stands between the instruction and the query, with its answer."""
    expect_reference(impl, reference.few_shot_prompt, instruction, [example], query)


@claim("few_shot_prompt", rung=4, examples=12)
@given(instruction=st.one_of(st.just(""), WORD), examples=st.lists(PAIR, min_size=2, max_size=4), query=WORD)
def test_few_shot_prompt_few_shot(impl, instruction, examples, query):
    """All examples, in their order, each in a block of its own."""
    expect_reference(impl, reference.few_shot_prompt, instruction, examples, query)


@claim("few_shot_prompt", rung=5, examples=30)
@given(instruction=ANY_TEXT, examples=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=3), query=ANY_TEXT)
def test_few_shot_prompt_any_text(impl, instruction, examples, query):
    """Texts stand as they are, whatever signs they are made of."""
    expect_reference(impl, reference.few_shot_prompt, instruction, examples, query)


# --- induction_score --------------------------------------------------------------------------------------------------


def attention(v: Values, n_head: int, n: int) -> Tensor:
    """Causal attention weights in which no two entries of a row are alike."""
    spread = torch.linspace(0, 2, n) + 2 * v.normal(n_head, n, n)
    return spread.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -math.inf).softmax(dim=-1)


def with_one_repeated(v: Values, n: int) -> Tensor:
    """Different tokens but for one, which comes a second time, not right after the first."""
    tokens = v.permutation(n)
    first = int(v.integers(0, n - 3, (1,)))
    tokens[int(v.integers(first + 2, n - 1, (1,)))] = tokens[first]
    return tokens


@claim("induction_score", rung=1, examples=10)
@given(n_head=HEADS, size=st.integers(2, 4), v=values())
def test_induction_score_a_block_twice(impl, n_head, size, v):
    """In a block of different tokens that comes twice, the second half looks at what followed in the first."""
    tokens = v.permutation(9)[:size].repeat(2)
    expect_reference(impl, reference.induction_score, attention(v, n_head, 2 * size), tokens)


@claim("induction_score", rung=2, examples=15)
@given(n_head=HEADS, n=st.integers(4, 7), v=values())
def test_induction_score_any_distance(impl, n_head, n, v):
    """A token may come again after any distance; tokens that come once do not count."""
    expect_reference(impl, reference.induction_score, attention(v, n_head, n), with_one_repeated(v, n))


@claim("induction_score", rung=3, examples=15)
@given(n_head=HEADS, n_more=st.integers(1, 2), gap=st.integers(2, 3), v=values())
def test_induction_score_several_occurrences(impl, n_head, n_more, gap, v):
    """What followed any of the earlier occurrences counts, and the weights are added up."""
    n = gap * (n_more + 2)
    tokens = 1 + v.permutation(n)
    tokens[::gap] = 0
    expect_reference(impl, reference.induction_score, attention(v, n_head, n), tokens)


@claim("induction_score", rung=4, examples=15)
@given(n_head=HEADS, n=st.integers(3, 6), v=values())
def test_induction_score_right_after(impl, n_head, n, v):
    """Where a token follows itself, what followed the first is the second."""
    tokens = v.permutation(n)
    place = int(v.integers(0, n - 2, (1,)))
    tokens[place + 1] = tokens[place]
    expect_reference(impl, reference.induction_score, attention(v, n_head, n), tokens)


@claim("induction_score", rung=5, examples=15)
@given(n_head=HEADS, n=st.integers(3, 9), n_token=st.integers(1, 2), v=values())
def test_induction_score_any_text(impl, n_head, n, n_token, v):
    """Any text in which something is repeated has the score that the definition gives."""
    expect_reference(impl, reference.induction_score, attention(v, n_head, n), v.integers(0, n_token - 1, (n,)))


# --- in_context_gain --------------------------------------------------------------------------------------------------


def expect_gain(impl: Implementation, losses: Tensor, *tokens: int) -> None:
    """Compare with the reference; a tensor without dimensions and a number are both right."""
    exact = reference.in_context_gain(losses.double(), *tokens).item()
    expect_close(impl, impl(losses, *tokens), exact, inputs=impl.label(impl.name, (losses, *tokens)))


def some_losses(v: Values, n_text: int, n: int) -> Tensor:
    """Losses of which no two are alike, all positive."""
    return v.normal(n_text, n).abs() + torch.arange(n_text * n).view(n_text, n).flip(1) / 7


@claim("in_context_gain", rung=1, examples=8)
@given(n=st.integers(2, 6), v=values())
def test_in_context_gain_first_to_last(impl, n, v):
    """From the first token to the last of one text: the early loss minus the late one."""
    expect_gain(impl, some_losses(v, 1, n), 1, n)


@claim("in_context_gain", rung=2, examples=15)
@given(early=st.integers(2, 4), between=st.integers(1, 3), after=st.integers(1, 3), v=values())
def test_in_context_gain_any_two_tokens(impl, early, between, after, v):
    """Two tokens within the text are compared, counted from 1, and nothing else."""
    expect_gain(impl, some_losses(v, 1, early + between + after), early, early + between)


@claim("in_context_gain", rung=3, examples=15)
@given(n_text=st.integers(2, 5), early=st.integers(1, 3), between=st.integers(1, 3), v=values())
def test_in_context_gain_mean_over_texts(impl, n_text, early, between, v):
    """Of several texts the mean is taken."""
    losses = some_losses(v, n_text, early + between + 1) + v.normal(n_text, 1).abs().exp()
    losses[0, early - 1] += 20
    expect_gain(impl, losses, early, early + between)


@claim("in_context_gain", rung=4, examples=3)
@given(n=st.integers(501, 510), v=values())
def test_in_context_gain_defaults(impl, n, v):
    """Unless told otherwise, tokens 50 and 500 are compared."""
    expect_gain(impl, some_losses(v, 2, n))
