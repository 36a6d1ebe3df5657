"""How a right KV cache, attention over it, forward pass with it and generation loop are told from wrong ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from gptdojo import claim
from gptdojo.expect import expect, expect_close, expect_raised, expect_reference
from gptdojo.faults import ImplementationFault, Mismatch
from gptdojo.implementation import Implementation
from gptdojo.stateful import History
from gptdojo.strategies import Values, values
from reference.attention import scaled_dot_product_attention
from reference.mask import causal_mask
from tests.strategies.small_gpt import HistoryModel, ProvidedCache, SmallGPT, small_gpts

# --- KVCache ----------------------------------------------------------------------------------------------------------

POOL = 40  # positions of keys and values to append from


class CacheBesideTruth(History):
    """A learner's cache, beside the keys and values that it should hold and a history of what was done.

    A second one, with a name of its own, continues the history of the one `beside` it.
    """

    def __init__(
        self,
        impl: Implementation,
        sizes: "CacheSizes",
        n_ctx: int,
        dtype: torch.dtype = torch.float32,
        name: str = "cache",
        beside: "CacheBesideTruth | None" = None,
    ) -> None:
        super().__init__(impl)
        self.inputs: dict[str, Tensor] = {}
        if beside is not None:
            self.calls, self.inputs = beside.calls, beside.inputs
        shape = (sizes.batch, sizes.n_head, POOL, sizes.d_head)
        # (batch, position, head, d_head) in memory, as keys lie that come out of one projection
        self.pool = [sizes.v.normal(shape[0], POOL, shape[1], shape[3]).transpose(1, 2).to(dtype) for _ in range(2)]
        self.fed = 0
        self.held = [piece[:, :, :0] for piece in self.pool]
        self.n_ctx, self.dtype, self.name = n_ctx, dtype, name
        self.names = [f"{'' if beside is None else name + '_'}{part}" for part in ("keys", "values")]
        arguments = (sizes.batch, sizes.n_head, n_ctx, sizes.d_head)
        if dtype != torch.float32:
            arguments = (*arguments, dtype)
        with self:
            self.cache = self.call(f"{name} = KVCache({', '.join(map(str, arguments))})", impl, *arguments)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        if isinstance(error, Mismatch | ImplementationFault):
            error.evidence.inputs = dict(self.inputs)

    def __len__(self) -> int:
        return self.held[0].shape[2]

    def append(self, n_new: int) -> None:
        """Append n_new positions; past the context this has to be an error that changes nothing."""
        slots = f"[:, :, {self.fed}:{self.fed + n_new}]"
        k, v = (piece[:, :, self.fed : self.fed + n_new] for piece in self.pool)
        self.fed += n_new
        self.inputs.update((name, piece[:, :, : self.fed]) for name, piece in zip(self.names, self.pool, strict=True))
        line = f"{self.name}.append({', '.join(name + slots for name in self.names)})"
        with self:
            if len(self) + n_new > self.n_ctx:
                because = f"{len(self) + n_new} positions do not fit into n_ctx = {self.n_ctx}"
                self.refused(Exception, line, self.cache.append, k, v, because=because)
                self.calls[-1] += " and has to change nothing"
            else:
                self.call(line, self.cache.append, k, v)
                self.held = [torch.cat([old, new], dim=2) for old, new in zip(self.held, (k, v), strict=True)]
        self.check()

    def crop(self, length: int) -> None:
        """Keep the first positions."""
        with self:
            self.call(f"{self.name}.crop({length})", self.cache.crop, length)
        self.held = [old[:, :, :length] for old in self.held]
        self.check()

    def reset(self) -> None:
        """Empty the cache."""
        with self:
            self.call(f"{self.name}.reset()", self.cache.reset)
        self.held = [old[:, :, :0] for old in self.held]
        self.check()

    def check(self) -> None:
        """Compare the length and the view with what should be held."""
        with self:
            length = len(self.cache)
            message = f"len({self.name}) is {length}, expected {len(self)}"
            expect(length == len(self), message, expected=len(self), got=length)
            view, what = self.cache.view(), f"{self.name}.view()"
            for number, part in enumerate(view if isinstance(view, tuple | list) else ()):
                if isinstance(part, Tensor) and part.is_floating_point():
                    message = f"{what}[{number}] has {part.dtype}, and the cache was made with {self.dtype}"
                    expect(part.dtype == self.dtype, message, expected=self.dtype, got=part.dtype)
            expect_close(self.impl, view, tuple(self.held), what=what, dtype=self.dtype)


@dataclass(frozen=True)
class CacheSizes:
    """The sizes of a cache but for its context, and where its numbers come from."""

    batch: int
    n_head: int
    d_head: int
    v: Values


def mostly_several() -> st.SearchStrategy[int]:
    """2 or 3, now and then 1, which is what a failing case shrinks to where it can."""
    return st.sampled_from([1, 2, 3, 2, 3, 2, 3])


def cache_sizes() -> st.SearchStrategy[CacheSizes]:
    """Sizes that differ; mostly several rows and heads, which must not be mixed up."""
    return st.builds(CacheSizes, mostly_several(), mostly_several(), st.integers(2, 4), values())


def chunks(least: int, most: int) -> st.SearchStrategy[list[int]]:
    """How many positions come at a time: pieces of more than one among them."""
    return st.lists(st.integers(1, 3), min_size=least, max_size=most).filter(lambda sizes: max(sizes) > 1)


@claim("KVCache", rung=1, examples=6)
@given(sizes=cache_sizes(), room=st.integers(1, 4))
def test_KVCache_one_position(impl, sizes, room):
    """After one position was appended, the length is 1 and view() returns exactly its key and value."""
    CacheBesideTruth(impl, sizes, n_ctx=1 + room).append(1)


@claim("KVCache", rung=2, examples=6)
@given(sizes=cache_sizes(), n_new=st.integers(2, 5))
def test_KVCache_one_chunk(impl, sizes, n_new):
    """A prompt of several positions is appended at once, and counts as so many."""
    CacheBesideTruth(impl, sizes, n_ctx=n_new + 2).append(n_new)


@claim("KVCache", rung=3, examples=8)
@given(sizes=cache_sizes(), pieces=chunks(2, 4))
def test_KVCache_keeps_the_order(impl, sizes, pieces):
    """Positions appended in any chunks are held in the order in which they came."""
    truth = CacheBesideTruth(impl, sizes, n_ctx=sum(pieces) + 1)
    for n_new in pieces:
        truth.append(n_new)


@claim("KVCache", rung=4, examples=6)
@given(sizes=cache_sizes(), pieces=chunks(2, 3), other=st.integers(1, 3))
def test_KVCache_shares_nothing(impl, sizes, pieces, other):
    """Two caches, as two layers have them, share neither their numbers nor their length."""
    n_ctx = sum(pieces) + other + 1
    first = CacheBesideTruth(impl, sizes, n_ctx)
    truths = [first, CacheBesideTruth(impl, sizes, n_ctx, name="other", beside=first)]
    for n_new in pieces:
        truths[0].append(n_new)
        truths[1].check()
    truths[1].append(other)
    truths[0].check()


@claim("KVCache", rung=5, examples=8)
@given(sizes=cache_sizes(), held=st.integers(2, 5), data=st.data())
def test_KVCache_crop_keeps_the_first(impl, sizes, held, data):
    """crop(length) keeps the first `length` positions; 0 keeps none and len(cache) keeps all."""
    shorter = data.draw(st.integers(1, held - 1), label="shorter")
    truth = CacheBesideTruth(impl, sizes, n_ctx=held + 2)
    truth.append(held)
    for length in (held, shorter, 0):
        truth.crop(length)


@claim("KVCache", rung=6, examples=8)
@given(sizes=cache_sizes(), kept=st.integers(0, 3), dropped=st.integers(1, 3), pieces=chunks(1, 2))
def test_KVCache_crop_and_go_on(impl, sizes, kept, dropped, pieces):
    """After crop the next positions are written behind those kept, as if the others had never come."""
    truth = CacheBesideTruth(impl, sizes, n_ctx=kept + dropped + sum(pieces) + 1)
    truth.append(kept + dropped)
    truth.crop(kept)
    for n_new in pieces:
        truth.append(n_new)


@claim("KVCache", rung=7, examples=6)
@given(sizes=cache_sizes(), before=st.integers(1, 3), after=st.integers(1, 3))
def test_KVCache_reset_and_reuse(impl, sizes, before, after):
    """After reset() nothing is held, and the next sequence finds no trace of the one before."""
    truth = CacheBesideTruth(impl, sizes, n_ctx=before + after + 1)
    truth.check()
    truth.append(before)
    truth.reset()
    truth.append(after)


@claim("KVCache", rung=8, examples=6)
@given(sizes=cache_sizes(), pieces=chunks(1, 3), data=st.data())
def test_KVCache_fills_its_context(impl, sizes, pieces, data):
    """n_ctx positions fit exactly, and fit again after crop and after reset."""
    n_ctx = sum(pieces)
    truth = CacheBesideTruth(impl, sizes, n_ctx)
    for n_new in pieces:
        truth.append(n_new)
    kept = data.draw(st.integers(0, n_ctx - 1), label="kept")
    truth.crop(kept)
    truth.append(n_ctx - kept)
    truth.reset()
    truth.append(n_ctx)


@claim("KVCache", rung=9, examples=8)
@given(sizes=cache_sizes(), held=st.integers(1, 3), room=st.integers(0, 2), excess=st.integers(1, 3))
def test_KVCache_one_past_the_context(impl, sizes, held, room, excess):
    """What would go past n_ctx is an error and changes nothing; what fits can still be appended after that."""
    truth = CacheBesideTruth(impl, sizes, n_ctx=held + room)
    truth.append(held)
    truth.append(room + excess)
    if room:
        truth.append(room)
    truth.append(1)


@claim("KVCache", rung=10, examples=6)
@given(sizes=cache_sizes(), pieces=chunks(2, 3), dtype=st.sampled_from([torch.float64, torch.float16, torch.bfloat16]))
def test_KVCache_holds_its_dtype(impl, sizes, pieces, dtype):
    """A cache made with a dtype holds that dtype, without a detour through another."""
    truth = CacheBesideTruth(impl, sizes, sum(pieces), dtype)
    if dtype == torch.float64:
        truth.pool = [piece / 3 for piece in truth.pool]
    for n_new in pieces:
        truth.append(n_new)
    truth.reset()


@claim("KVCache", rung=11, examples=10)
@given(
    sizes=cache_sizes(),
    n_ctx=st.integers(3, 6),
    operations=st.lists(
        st.tuples(st.sampled_from(["crop", "append", "crop", "append", "crop", "reset"]), st.integers(1, 4)),
        min_size=4,
        max_size=8,
    ),
)
def test_KVCache_any_sequence(impl, sizes, n_ctx, operations):
    """After any sequence of append, crop and reset, the cache holds what it should."""
    truth = CacheBesideTruth(impl, sizes, n_ctx)
    truth.append(n_ctx)
    for name, number in operations:
        if name == "append":
            truth.append(number)
        elif name == "crop":
            truth.crop(min(number, len(truth)))
        else:
            truth.reset()


# --- attend_with_cache ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AttendCase:
    """Queries and buffers of random sizes; `unfilled` slots follow the filled ones."""

    n_query: int
    past: int
    unfilled: int
    sizes: CacheSizes

    def arguments(self, filler: Tensor | float, scattered: bool = False) -> tuple[Tensor, Tensor, Tensor, int]:
        """q, the two buffers with `filler` in their unfilled slots, and the length."""
        length, v = self.past + self.n_query, self.sizes.v
        rows = (self.sizes.batch, self.sizes.n_head)
        q, k, values_ = (v.normal(*rows, count, self.sizes.d_head) for count in (self.n_query, length, length))
        empty = torch.zeros(*rows, self.unfilled, self.sizes.d_head) + filler
        q, k, values_ = q, torch.cat([k, empty], dim=2), torch.cat([values_, empty], dim=2)
        if scattered:
            q, k, values_ = (tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (q, k, values_))
        return q, k, values_, length


def attend_cases(
    n_query: st.SearchStrategy[int], past: st.SearchStrategy[int], unfilled: st.SearchStrategy[int]
) -> st.SearchStrategy[AttendCase]:
    """Cases of these sizes."""
    return st.builds(AttendCase, n_query, past, unfilled, cache_sizes())


def attended(q: Tensor, k_buffer: Tensor, v_buffer: Tensor, length: int) -> Tensor:
    """The filled slots, cut out and attended to under the causal mask."""
    mask = causal_mask(q.shape[2], length)
    return scaled_dot_product_attention(q, k_buffer[:, :, :length], v_buffer[:, :, :length], mask)


@claim("attend_with_cache", rung=1, examples=8)
@given(case=attend_cases(st.just(1), st.integers(0, 5), st.just(0)))
def test_attend_with_cache_one_query(impl, case):
    """A single query on a full buffer sees every key, each row and head on its own."""
    expect_reference(impl, attended, *case.arguments(0.0), what="the output")


@claim("attend_with_cache", rung=2, examples=8)
@given(case=attend_cases(st.just(1), st.integers(0, 5), st.integers(1, 4)))
def test_attend_with_cache_unfilled_slots(impl, case):
    """Slots that are not filled yet take no share of the attention, though they hold zeros."""
    expect_reference(impl, attended, *case.arguments(0.0), what="the output")


@claim("attend_with_cache", rung=3, examples=8)
@given(case=attend_cases(st.integers(2, 5), st.just(0), st.integers(0, 3)))
def test_attend_with_cache_prompt(impl, case):
    """In a prompt, where all positions are new, each query sees itself and what came before."""
    expect_reference(impl, attended, *case.arguments(0.0), what="the output")


@claim("attend_with_cache", rung=4, examples=8)
@given(case=attend_cases(st.integers(2, 4), st.integers(1, 4), st.integers(0, 3)))
def test_attend_with_cache_chunk_after_a_past(impl, case):
    """In a chunk behind a past, each query sees the whole past, itself, and no later one of its chunk."""
    expect_reference(impl, attended, *case.arguments(0.0), what="the output")


@claim("attend_with_cache", rung=5, examples=6)
@given(case=attend_cases(st.integers(2, 4), st.integers(0, 3), st.integers(0, 3)))
def test_attend_with_cache_any_memory_layout(impl, case):
    """It makes no difference how the tensors lie in memory: heads come out of a transpose."""
    expect_reference(impl, attended, *case.arguments(0.0, scattered=True), what="the output")


@claim("attend_with_cache", rung=6, examples=6)
@given(case=attend_cases(st.integers(1, 3), st.integers(0, 3), st.integers(1, 3)), filler=st.sampled_from([1.0, -20.0]))
def test_attend_with_cache_used_buffer(impl, case, filler):
    """What an earlier sequence left in the slots past the length changes nothing, and stays as it is."""
    expect_reference(impl, attended, *case.arguments(filler), what="the output")


@claim("attend_with_cache", rung=7, examples=6)
@given(
    case=attend_cases(st.integers(1, 3), st.integers(0, 3), st.integers(1, 3)),
    filler=st.sampled_from([float("nan"), float("inf")]),
)
def test_attend_with_cache_poisoned_slots(impl, case, filler):
    """Even NaN or infinity in the slots past the length changes nothing."""
    expect_reference(impl, attended, *case.arguments(filler), what="the output")


@claim("attend_with_cache", rung=8, examples=6)
@given(n_query=st.integers(2, 4), past=st.integers(0, 3), v=values())
def test_attend_with_cache_large_scores(impl, n_query, past, v):
    """Scores of hundreds neither overflow nor let the future through."""
    # integers and d_head 4: every score is exact in float32, so rounding cannot blur the comparison
    length = past + n_query
    q, k = v.integers(-20, 20, (2, 3, n_query, 4)).float(), v.integers(-20, 20, (2, 3, length, 4)).float()
    expect_reference(impl, attended, q, k, v.normal(2, 3, length, 4), length, what="the output")


# --- forward_with_cache -----------------------------------------------------------------------------------------------


def feed(impl: Implementation, gpt: SmallGPT, caches: list[ProvidedCache], sequence: Tensor, pieces: list[int]) -> None:
    """Feed what follows in a sequence, piece by piece; compare the logits with the uncached ones, and what was appended."""
    expected = gpt.logits(sequence)
    start = len(caches[0])
    for n_new in pieces:
        end = start + n_new
        appended = [cache.appended for cache in caches]
        got = impl(sequence[:, start:end], gpt.params, gpt.n_head, caches)
        inputs = {
            "tokens": sequence[:, start:end],
            "the caches hold": sequence[:, :start],
            "n_layer, n_head, d_model, n_ctx": (gpt.n_layer, gpt.n_head, gpt.d_model, gpt.n_ctx),
        }
        what = "the tensor of logits"
        expect_close(impl, got, expected[:, start:end], inputs=inputs, what=what, dtype=torch.float32)
        added = [cache.appended - before for cache, before in zip(caches, appended, strict=True)]
        message = f"a call appends {n_new} to the cache of each layer, one for each of its tokens, but this one appended {added}"
        expect(added == [n_new] * len(caches), message, inputs=inputs, expected=[n_new] * len(caches), got=added)
        start = end


@st.composite
def gpt_and_tokens(draw: Callable, n_token: int, spare: int = 2) -> tuple[SmallGPT, Tensor]:
    """A GPT with `spare` positions more than the tokens need, and a batch of sequences."""
    batch = draw(mostly_several())
    gpt = draw(small_gpts(n_ctx=n_token + spare))
    return gpt, draw(values()).integers(0, gpt.vocab_size - 1, (batch, n_token))


@claim("forward_with_cache", rung=1, examples=4)
@given(case=gpt_and_tokens(1))
def test_forward_with_cache_first_token(impl, case):
    """The first token, fed on empty caches, gives the logits that the model gives without a cache."""
    gpt, tokens = case
    feed(impl, gpt, gpt.caches(len(tokens)), tokens, [1])


@claim("forward_with_cache", rung=2, examples=4)
@given(data=st.data(), n_prompt=st.integers(2, 5))
def test_forward_with_cache_prompt(impl, data, n_prompt):
    """A prompt fed in one call on empty caches gives the uncached logits at every position."""
    gpt, tokens = data.draw(gpt_and_tokens(n_prompt))
    feed(impl, gpt, gpt.caches(len(tokens)), tokens, [n_prompt])


@claim("forward_with_cache", rung=3, examples=4)
@given(data=st.data(), n_prompt=st.integers(1, 3), steps=st.integers(2, 3))
def test_forward_with_cache_single_tokens(impl, data, n_prompt, steps):
    """After the prompt, tokens fed one at a time give the same logits as the whole sequence without a cache."""
    gpt, tokens = data.draw(gpt_and_tokens(n_prompt + steps))
    feed(impl, gpt, gpt.caches(len(tokens)), tokens, [n_prompt, *[1] * steps])


@claim("forward_with_cache", rung=4, examples=5)
@given(data=st.data(), pieces=st.lists(st.integers(2, 3), min_size=2, max_size=3), single=st.integers(0, 3))
def test_forward_with_cache_any_split(impl, data, pieces, single):
    """However a sequence is split into calls, the logits are those of one call without a cache."""
    pieces = [*pieces[:single], 1, *pieces[single:]]
    gpt, tokens = data.draw(gpt_and_tokens(sum(pieces)))
    feed(impl, gpt, gpt.caches(len(tokens)), tokens, pieces)


@claim("forward_with_cache", rung=5, examples=4)
@given(data=st.data(), kept=st.integers(0, 2), dropped=st.integers(1, 2), n_new=st.integers(1, 2))
def test_forward_with_cache_crop_and_go_on(impl, data, kept, dropped, n_new):
    """With cropped caches the sequence goes on as if the cropped tokens had never been fed; other sequences do not matter."""
    gpt, tokens = data.draw(gpt_and_tokens(kept + dropped + n_new))
    caches = gpt.caches(len(tokens))
    feed(impl, gpt, caches, tokens[:, : kept + dropped], [kept + dropped])
    feed(impl, gpt, gpt.caches(len(tokens)), tokens[:, -1:], [1])
    for cache in caches:
        cache.crop(kept)
    feed(impl, gpt, caches, torch.cat([tokens[:, :kept], tokens[:, kept + dropped :]], dim=1), [n_new])


@claim("forward_with_cache", rung=6, examples=4)
@given(data=st.data(), held=st.integers(1, 4), n_new=st.integers(1, 3))
def test_forward_with_cache_filled_elsewhere(impl, data, held, n_new):
    """Caches that other code filled, with append(k, v) in each layer, are continued just the same."""
    gpt, tokens = data.draw(gpt_and_tokens(held + n_new))
    feed(impl, gpt, gpt.caches(len(tokens), tokens[:, :held]), tokens, [n_new])


@claim("forward_with_cache", rung=7, examples=4)
@given(data=st.data(), held=st.integers(0, 3), n_new=st.integers(1, 3))
def test_forward_with_cache_fills_the_context(impl, data, held, n_new):
    """The context, as many positions as wpe.weight has rows, can be filled to the last one."""
    gpt, tokens = data.draw(gpt_and_tokens(held + n_new, spare=0))
    feed(impl, gpt, gpt.caches(len(tokens)), tokens, [n for n in (held, n_new) if n])


@claim("forward_with_cache", rung=8, examples=6)
@given(data=st.data(), fits=st.tuples(st.integers(0, 3), st.integers(0, 2)).filter(any), excess=st.integers(1, 2))
def test_forward_with_cache_one_past_the_context(impl, data, fits, excess):
    """A call that goes past the context is an error, and no cache has changed after it."""
    held, room = fits
    gpt, tokens = data.draw(gpt_and_tokens(held + room + excess, spare=-excess))
    caches = gpt.caches(len(tokens), tokens[:, :held])
    before = [cache.view() for cache in caches]
    because = f"{held} positions are held and {room + excess} more do not fit into the context of {gpt.n_ctx}"
    inputs = {"tokens": tokens[:, held:], "the caches hold": tokens[:, :held], "rows of wpe.weight": gpt.n_ctx}
    expect_raised(
        Exception, lambda: impl(tokens[:, held:], gpt.params, gpt.n_head, caches), inputs=inputs, because=because
    )
    lengths = [len(cache) for cache in caches]
    message = f"after the error the caches hold {lengths} positions, expected {held} in each as before the call"
    expect(lengths == [held] * gpt.n_layer, message, inputs=inputs, expected=[held] * gpt.n_layer, got=lengths)
    for cache, views in zip(caches, before, strict=True):
        expect_close(impl, cache.view(), views, inputs=inputs, what="after the error, what a cache holds", tolerance=0)


# --- generate ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GenerateCase:
    """A prompt and a model to continue it."""

    prompt: Tensor
    n_new: int
    vocab_size: int
    salt: int

    def run(self, impl: Implementation, n_ctx: int = 1_000) -> HistoryModel:
        """Generate, compare with what is expected, and return the model, which knows what it was fed."""
        model = HistoryModel(self.salt, self.prompt.shape[0], self.vocab_size, n_ctx)
        expected = model.greedy(self.prompt, self.n_new)
        got = impl(model.forward, self.prompt, self.n_new)
        inputs = {"prompt": self.prompt, "n_new": self.n_new, "forward was fed": model.fed}
        expect_close(impl, got, expected, inputs=inputs, what="the sequence")
        return model


@st.composite
def generate_cases(draw: Callable, n_prompt: st.SearchStrategy[int], n_new: st.SearchStrategy[int]) -> GenerateCase:
    """Batches of prompts over a small vocabulary."""
    vocab_size, shape, count = draw(st.integers(3, 6)), (draw(mostly_several()), draw(n_prompt)), draw(n_new)
    v = draw(values())
    return GenerateCase(v.integers(0, vocab_size - 1, shape), count, vocab_size, salt=v.seed)


@claim("generate", rung=1, examples=8)
@given(case=generate_cases(st.just(1), st.just(1)))
def test_generate_one_token_after_one(impl, case):
    """One token after a prompt of one: each row of the batch gets its own likeliest token, behind its prompt."""
    case.run(impl)


@claim("generate", rung=2, examples=8)
@given(case=generate_cases(st.integers(2, 4), st.just(1)))
def test_generate_one_token_after_a_prompt(impl, case):
    """After a longer prompt the token is the one that the logits of the last position prefer."""
    case.run(impl)


@claim("generate", rung=3, examples=10)
@given(case=generate_cases(st.integers(1, 4), st.integers(2, 6)))
def test_generate_several_tokens(impl, case):
    """Exactly n_new tokens follow, each the likeliest after the whole sequence before it."""
    case.run(impl)


@claim("generate", rung=4, examples=8)
@given(case=generate_cases(st.integers(1, 4), st.integers(1, 4)))
def test_generate_feeds_each_token_once(impl, case):
    """The prompt is fed, then each generated token but the last, one a call: a context with room for just these is enough."""
    n_prompt = case.prompt.shape[1]
    model = case.run(impl, n_ctx=n_prompt + case.n_new - 1)
    sizes = [piece.shape[1] for piece in model.pieces]
    inputs = {"prompt": case.prompt, "n_new": case.n_new, "tokens fed in each call": sizes}
    fed = sum(sizes)
    message = f"forward was fed {fed} positions, expected the {n_prompt} of the prompt and {case.n_new - 1} more"
    expect(fed == n_prompt + case.n_new - 1, message, inputs=inputs, expected=n_prompt + case.n_new - 1, got=fed)


@claim("generate", rung=5, examples=5)
@given(case=generate_cases(st.integers(1, 4), st.just(0)))
def test_generate_nothing(impl, case):
    """With n_new = 0 the prompt comes back as it is, and forward is not called."""
    model = case.run(impl)
    calls = len(model.pieces)
    inputs = {"prompt": case.prompt, "n_new": 0}
    expect(calls == 0, "forward was called though no token was asked for", inputs=inputs | {"calls of forward": calls})
