"""How right batches of ragged prompts and right beams are told from wrong ones."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from hypothesis import assume, given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect, expect_close, expect_reference
from gptdojo.implementation import Implementation
from gptdojo.strategies import Values, values
from reference import batched_generation as reference
from tests.strategies.small_gpt import BeamModel, ProvidedCache, RaggedModel

# --- left_pad ---------------------------------------------------------------------------------------------------------

PADDED = "(tokens, is_token)"


def ragged(low: int, high: int, least: int = 2, longest: int = 5) -> st.SearchStrategy[list[list[int]]]:
    """Prompts of different lengths."""
    prompts = st.lists(st.lists(st.integers(low, high), min_size=1, max_size=longest), min_size=least, max_size=4)
    return prompts.filter(lambda rows: least == 1 or len({len(row) for row in rows}) > 1)


@claim("left_pad", rung=1, examples=8)
@given(shape=st.tuples(st.integers(1, 3), st.integers(1, 4)), pad=st.integers(7, 9), v=values())
def test_left_pad_equal_lengths(impl, shape, pad, v):
    """Prompts of one length become the rows of a tensor of integers, and all of it is real tokens: a boolean mask of True."""
    expect_reference(impl, reference.left_pad, v.integers(0, 6, shape).tolist(), pad, what=PADDED)


@claim("left_pad", rung=2, examples=15)
@given(prompts=ragged(0, 6), pad=st.integers(7, 9))
def test_left_pad_ragged(impl, prompts, pad):
    """Shorter prompts are filled up on the left, to the length of the longest, and is_token is True where a prompt is."""
    expect_reference(impl, reference.left_pad, prompts, pad, what=PADDED)


@claim("left_pad", rung=3, examples=15)
@given(prompts=ragged(0, 2), pad=st.integers(0, 2))
def test_left_pad_pad_is_a_token_too(impl, prompts, pad):
    """A token of a prompt is real even if it equals the pad, wherever it stands."""
    expect_reference(impl, reference.left_pad, prompts, pad, what=PADDED)


# --- position_ids -----------------------------------------------------------------------------------------------------


def positions(impl: Implementation, is_token: Tensor) -> None:
    """Compare the positions of the real tokens; those of pads only have to exist."""
    inputs = {"is_token": is_token}
    expected = reference.position_ids(is_token).masked_fill(~is_token, 0)
    got = impl(is_token)
    what = "the tensor of positions"
    expect_close(impl, got, torch.zeros_like(expected), inputs=inputs, what=what, tolerance=float("inf"))
    at_tokens = "the tensor of positions (with 0 written at the pads)"
    expect_close(impl, got.masked_fill(~is_token, 0), expected, inputs=inputs, what=at_tokens)
    n = is_token.shape[1]
    message = f"a position is out of range: pads, too, need one from 0 to {n - 1}, whichever"
    expect(bool(((got >= 0) & (got < n)).all()), message, inputs=inputs, expected=expected, got=got)


def with_a_token(v: Values, is_token: Tensor) -> Tensor:
    """The same mask with at least one real token in each row."""
    one = v.integers(0, is_token.shape[1] - 1, (is_token.shape[0], 1))
    return is_token | (torch.arange(is_token.shape[1]) == one)


@claim("position_ids", rung=1, examples=6)
@given(batch=st.integers(2, 3), n=st.integers(1, 6))
def test_position_ids_no_padding(impl, batch, n):
    """Without padding, each row counts 0, 1, 2, ... in integers."""
    positions(impl, torch.ones(batch, n, dtype=torch.bool))


@claim("position_ids", rung=2, examples=12)
@given(batch=st.integers(2, 4), n=st.integers(2, 7), v=values())
def test_position_ids_left_padding(impl, batch, n, v):
    """With padding on the left, the first real token of each row stands at 0; pads have some position that exists."""
    positions(impl, torch.arange(n) >= v.integers(0, n - 1, (batch, 1)))


@claim("position_ids", rung=3, examples=15)
@given(batch=st.integers(2, 3), n=st.integers(3, 8), v=values())
def test_position_ids_pads_anywhere(impl, batch, n, v):
    """Wherever pads stand, a token's position is the number of real tokens before it in its row."""
    positions(impl, with_a_token(v, v.booleans(batch, n, true=0.6)))


# --- generate_batch ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchCase:
    """Left-padded prompts and a model to continue them."""

    prompts: list[list[int]]
    n_new: int
    vocab_size: int
    eos: int
    salt: int

    def run(self, impl: Implementation, n_ctx: int = 1_000) -> tuple[RaggedModel, list[list[int]]]:
        """Generate, compare with what each prompt gives alone, and return the model and the new tokens of each row."""
        model = RaggedModel(self.salt, len(self.prompts), self.vocab_size, n_ctx)
        new = [self._alone(model, prompt) for prompt in self.prompts]
        longest = max(map(len, self.prompts))
        pads = [longest - len(prompt) for prompt in self.prompts]
        tokens = torch.tensor([[self.eos] * n + prompt for n, prompt in zip(pads, self.prompts, strict=True)])
        is_token = torch.arange(longest) >= torch.tensor(pads)[:, None]
        filled = [row + [self.eos] * (self.n_new - len(row)) for row in new]
        got = impl(model.padded_forward, tokens, is_token, self.n_new, self.eos)
        inputs = {
            "tokens": tokens,
            "is_token": is_token,
            "n_new": self.n_new,
            "eos": self.eos,
            "columns fed in each call": [piece.shape[1] for piece in model.pieces],
            "is_token in the last call": model.masks[-1] if model.masks else "no call",
        }
        expected = torch.cat([tokens, torch.tensor(filled).reshape(len(filled), self.n_new).long()], dim=1)
        expect_close(impl, got, expected, inputs=inputs, what="the sequences")
        return model, new

    def _alone(self, model: RaggedModel, prompt: list[int]) -> list[int]:
        """The new tokens of a prompt by itself, up to its eos."""
        new: list[int] = []
        while len(new) < self.n_new and self.eos not in new:
            new.append(int(model.greedy(torch.tensor([prompt + new]), 1)[0, -1]))
        return new


NEVER = 9


@st.composite
def batches(
    draw: Callable, prompts: st.SearchStrategy[list[list[int]]], n_new: st.SearchStrategy[int], ends: bool
) -> BatchCase:
    """Prompts of the tokens 0 to 2 out of 5; eos is 3 if rows may end, else a token that never comes."""
    case, count = draw(prompts), draw(n_new)
    return BatchCase(case, count, 5, 3 if ends else NEVER, salt=draw(values()).seed)


EQUAL = st.tuples(st.integers(1, 3), st.integers(1, 3)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 2), min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    )
)
RAGGED = ragged(0, 2, longest=4)


@claim("generate_batch", rung=1, examples=8)
@given(case=batches(EQUAL, st.just(1), ends=False))
def test_generate_batch_one_token(impl, case):
    """One token after prompts of one length: each row gets the likeliest after its last column."""
    case.run(impl)


@claim("generate_batch", rung=2, examples=8)
@given(case=batches(RAGGED, st.just(1), ends=False))
def test_generate_batch_ragged_prompts(impl, case):
    """In a ragged batch each row gets the token that its prompt gets alone: the padding counts for nothing."""
    case.run(impl)


@claim("generate_batch", rung=3, examples=8)
@given(case=batches(RAGGED, st.integers(2, 5), ends=False))
def test_generate_batch_several_tokens(impl, case):
    """Each row of a ragged batch goes on as it would alone, for several tokens."""
    case.run(impl)


@claim("generate_batch", rung=4, examples=10)
@given(case=batches(EQUAL.map(lambda prompts: prompts[:1]), st.integers(4, 8), ends=True))
def test_generate_batch_ends_with_eos(impl, case):
    """After its own eos a row is filled up with eos, to the n_new columns that were asked for."""
    case.run(impl)


@claim("generate_batch", rung=5, examples=10)
@given(case=batches(RAGGED, st.integers(4, 8), ends=True))
def test_generate_batch_rows_stop_apart(impl, case):
    """Rows stop one by one: those that have not met eos yet go on as they would alone."""
    case.run(impl)


@claim("generate_batch", rung=6, examples=10)
@given(case=batches(ragged(2, 3, longest=4), st.integers(2, 5), ends=True))
def test_generate_batch_eos_in_the_prompt(impl, case):
    """An eos in a prompt stops nothing, whether it stands at its start, inside or at its end."""
    case.run(impl)


@claim("generate_batch", rung=7, examples=10)
@given(case=batches(RAGGED, st.integers(1, 8), ends=True))
def test_generate_batch_no_call_too_many(impl, case):
    """forward is fed the prompts, then one column a call, and no more once every row has stopped; the last token never."""
    longest = max(map(len, case.prompts))
    model, new = case.run(impl, n_ctx=longest + case.n_new - 1)
    fed, expected = sum(piece.shape[1] for piece in model.pieces), longest + max(map(len, new)) - 1
    inputs = {"prompts": case.prompts, "n_new": case.n_new, "eos": case.eos, "the rows generate": new}
    message = (
        f"forward was fed {fed} columns, expected {expected}: the {longest} of the prompts and then one for each token "
    )
    message += "but the last, until all rows have stopped"
    expect(fed == expected, message, inputs=inputs, expected=expected, got=fed)


@claim("generate_batch", rung=8, examples=5)
@given(case=batches(RAGGED, st.just(0), ends=True))
def test_generate_batch_nothing(impl, case):
    """With n_new = 0 the prompts come back as they are, and forward is not called."""
    model, _ = case.run(impl)
    calls = len(model.pieces)
    inputs = {"prompts": case.prompts, "n_new": 0}
    expect(calls == 0, "forward was called though no token was asked for", inputs=inputs, expected=0, got=calls)


# --- reorder_cache ----------------------------------------------------------------------------------------------------


def reorder(impl: Implementation, v: Values, rows: list[int], n_layer: int, n_head: int, held: int) -> None:
    """Fill caches, reorder them, and compare all that they hold."""
    caches, before = [], []
    for _ in range(n_layer):
        cache = ProvidedCache(len(rows), n_head, 2)
        cache.append(v.normal(len(rows), n_head, held, 2), v.normal(len(rows), n_head, held, 2))
        caches.append(cache)
        before.append(cache.view())
    impl(caches, torch.tensor(rows))
    for layer, (cache, (k, v_)) in enumerate(zip(caches, before, strict=True)):
        inputs = {"rows": rows, f"keys of layer {layer} before": k, f"values of layer {layer} before": v_}
        message = f"the cache of layer {layer} holds {len(cache)} positions afterwards, expected {held} as before"
        expect(len(cache) == held, message, inputs=inputs, expected=held, got=len(cache))
        what = f"(keys, values) of layer {layer}"
        expect_close(impl, cache.view(), (k[rows], v_[rows]), inputs=inputs, what=what, tolerance=0)


@claim("reorder_cache", rung=1, examples=8)
@given(held=st.integers(1, 3), v=values())
def test_reorder_cache_two_rows_exchanged(impl, held, v):
    """In the cache of one layer with one head, rows [1, 0] exchange the two rows, keys and values alike."""
    reorder(impl, v, [1, 0], 1, 1, held)


@claim("reorder_cache", rung=2, examples=8)
@given(batch=st.integers(3, 5), v=values(), n_head=st.integers(1, 3))
def test_reorder_cache_any_order(impl, batch, v, n_head):
    """For any order, row i becomes what row rows[i] was, with all its heads and positions."""
    reorder(impl, v, v.permutation(batch).tolist(), 1, n_head, 2)


@claim("reorder_cache", rung=3, examples=10)
@given(rows=st.integers(2, 4).flatmap(lambda n: st.lists(st.integers(0, n - 1), min_size=n, max_size=n)), v=values())
def test_reorder_cache_rows_twice_and_never(impl, rows, v):
    """A row may go on as several, and another may end."""
    reorder(impl, v, rows, 1, 2, 2)


@claim("reorder_cache", rung=4, examples=8)
@given(
    rows=st.integers(2, 3).flatmap(lambda n: st.lists(st.integers(0, n - 1), min_size=n, max_size=n)),
    n_layer=st.integers(2, 3),
    v=values(),
)
def test_reorder_cache_every_layer(impl, rows, n_layer, v):
    """The caches of all layers are reordered, each with its own numbers."""
    reorder(impl, v, rows, n_layer, 2, 2)


# --- beam_search ------------------------------------------------------------------------------------------------------

CLEAR = 1e-3  # nats between two candidates: what is closer is not asked for, as rounding might decide


@dataclass(frozen=True)
class BeamCase:
    """A prompt, a model, and how to search."""

    prompt: list[int]
    n_new: int
    width: int
    vocab_size: int
    salt: int
    eos: int | None = None
    scale: float = 1.5

    def search(self) -> tuple[list[list[int]], list[float]]:
        """The beams and their scores, in float64."""
        model = BeamModel(self.salt, self.vocab_size, self.width, scale=self.scale)
        beams: list[tuple[float, list[int]]] = [(0.0, [])]
        for _ in range(self.n_new):
            candidates = []
            for score, new in beams:
                if self.eos is not None and new and new[-1] == self.eos:
                    candidates.append((score, [*new, self.eos]))
                    continue
                log_probs = model.logits(self.prompt + new).double().log_softmax(dim=-1).tolist()
                candidates += [(score + p, [*new, token]) for token, p in enumerate(log_probs)]
            candidates.sort(key=lambda candidate: -candidate[0])
            scores = [score for score, _ in candidates[: self.width + 1]]
            assume(all(a - b > CLEAR for a, b in pairwise(scores)))
            beams = candidates[: self.width]
        return [self.prompt + new for _, new in beams], [score for score, _ in beams]

    def run(self, impl: Implementation, n_ctx: int = 1_000) -> BeamModel:
        """Search, compare, and return the model, which knows what it was fed."""
        rows, scores = self.search()
        model = BeamModel(self.salt, self.vocab_size, self.width, n_ctx, self.scale)
        arguments = [model.forward, model.reorder, torch.tensor(self.prompt), self.n_new, self.width]
        got = impl(*arguments, *([] if self.eos is None else [self.eos]))
        inputs = {
            "prompt": self.prompt,
            "n_new": self.n_new,
            "width": self.width,
            "vocab_size": self.vocab_size,
            "eos": self.eos,
            "what each row of forward was fed": model.rows,
        }
        expected = (torch.tensor(rows), torch.tensor(scores))
        expect_close(impl, got, expected, inputs=inputs, what="(tokens, scores)")
        return model


WORDS = st.integers(3, 5)


@st.composite
def searches(
    draw: Callable,
    n_new: st.SearchStrategy[int],
    width: Callable[[int, int], st.SearchStrategy[int]],
    vocab_size: st.SearchStrategy[int] = WORDS,
    ends: bool = False,
    scale: float = 1.5,
) -> BeamCase:
    """Searches whose width depends on the vocabulary and on n_new."""
    count, size = draw(n_new), draw(vocab_size)
    beams, n_prompt = draw(width(size, count)), draw(st.integers(1, 3))
    v = draw(values())
    prompt = v.integers(0, size - 1, (n_prompt,)).tolist()
    return BeamCase(prompt, count, beams, size, v.seed, 1 if ends else None, scale)


@claim("beam_search", rung=1, examples=6)
@given(case=searches(st.just(1), lambda size, n: st.integers(1, size)))
def test_beam_search_one_step(impl, case):
    """One new token: the `width` likeliest ones, best first, with their log-probabilities after the prompt."""
    case.run(impl)


@claim("beam_search", rung=2, examples=8)
@given(case=searches(st.just(2), lambda size, n: st.integers(1, size)))
def test_beam_search_two_steps(impl, case):
    """The best continuations of all beams together go on, and a beam's score adds up."""
    case.run(impl)


@claim("beam_search", rung=3, examples=8)
@given(case=searches(st.integers(3, 4), lambda size, n: st.integers(2, size)))
def test_beam_search_several_steps(impl, case):
    """Each beam goes on from its own history, however the beams change places: its score is that of its tokens."""
    case.run(impl)


@claim("beam_search", rung=4, examples=5)
@given(case=searches(st.integers(2, 3), lambda size, n: st.integers(size + 1, size**n), st.integers(2, 3)))
def test_beam_search_wider_than_the_vocabulary(impl, case):
    """A width above the vocabulary is filled step by step; with vocab ** n_new beams, all continuations are found, in order."""
    case.run(impl)


@claim("beam_search", rung=5, examples=4)
@given(case=searches(st.integers(1, 2), lambda size, n: st.integers(size**n + 1, size**n + 4), st.integers(2, 3)))
def test_beam_search_fewer_continuations_than_beams(impl, case):
    """Where fewer than `width` continuations exist, there are as many rows as continuations."""
    case.run(impl)


@claim("beam_search", rung=6, examples=12)
@given(case=searches(st.integers(2, 4), lambda size, n: st.integers(1, size + 2), ends=True))
def test_beam_search_ends(impl, case):
    """A beam that reached eos keeps its score, competes with the others, and is filled up with eos."""
    case.run(impl)


@claim("beam_search", rung=7, examples=5)
@given(
    case=searches(st.just(2), lambda size, n: st.integers(size**n - size + 2, size**n), st.integers(2, 3), ends=True)
)
def test_beam_search_all_that_end(impl, case):
    """A beam that has ended has one continuation: with beams enough for all, each text is found once, and nothing else."""
    case.run(impl)


@claim("beam_search", rung=8, examples=5)
@given(case=searches(st.integers(3, 4), lambda size, n: st.integers(size + 1, size**n + 1), st.just(2), scale=60.0))
def test_beam_search_unlikely_texts(impl, case):
    """A text counts however unlikely it is, even at hundreds of nats."""
    case.run(impl)


@claim("beam_search", rung=9, examples=5)
@given(case=searches(st.integers(1, 4), lambda size, n: st.integers(1, size)))
def test_beam_search_feeds_each_token_once(impl, case):
    """The prompt is fed, then one token a row: a context with room for all tokens but the last is enough."""
    case.run(impl, n_ctx=len(case.prompt) + case.n_new - 1)
