"""Wrong on purpose: what people believe about prompts, induction and what context is worth, each mistake alone."""

from collections.abc import Callable
from typing import Any

import torch

from gptdojo import fingerprint, misconception

Probe = Callable[[], Any]


# --- few_shot_prompt --------------------------------------------------------------------------------------------------


def _asked(instruction, examples, query, *, gap="\n\n", end="Output:"):
    blocks = [instruction] if instruction else []
    blocks += [f"Input: {source}\nOutput: {target}" for source, target in examples]
    return gap.join([*blocks, f"Input: {query}\n{end}"])


@misconception(
    "few_shot_prompt",
    believes="a space after the last colon leads over to the answer",
    truth="the space belongs to the token of the answer; the prompt ends with the colon",
)
def ends_in_a_space(instruction, examples, query):
    return _asked(instruction, examples, query, end="Output: ")


@misconception(
    "few_shot_prompt",
    believes="a text ends with a line break",
    truth="then the answer would have to stand on the next line, where it stands in no example; the prompt ends with the colon",
)
def ends_in_a_line_break(instruction, examples, query):
    return _asked(instruction, examples, query) + "\n"


@misconception(
    "few_shot_prompt",
    believes="the query is the last line, and the model will know that an output follows",
    truth="the last line is Output: itself, so that nothing but the answer can come next",
)
def ends_with_the_query(instruction, examples, query):
    blocks = [instruction] if instruction else []
    blocks += [f"Input: {source}\nOutput: {target}" for source, target in examples]
    return "\n\n".join([*blocks, f"Input: {query}"])


@misconception(
    "few_shot_prompt",
    believes="a line break between the blocks is enough",
    truth="one empty line parts the blocks: with a single line break a block is not told from a line",
)
def no_empty_lines(instruction, examples, query):
    return _asked(instruction, examples, query, gap="\n")


@misconception(
    "few_shot_prompt",
    believes="there is always an instruction",
    truth="an empty one is left out, and no empty lines stand in its place",
)
def empty_instruction_kept(instruction, examples, query):
    blocks = [instruction, *(f"Input: {source}\nOutput: {target}" for source, target in examples)]
    return "\n\n".join([*blocks, f"Input: {query}\nOutput:"])


@misconception(
    "few_shot_prompt",
    believes="the examples speak for themselves, and an instruction is not needed",
    truth="the instruction stands in front, also with examples: it is part of what was asked for",
)
def instruction_only_without_examples(instruction, examples, query):
    return _asked("" if examples else instruction, examples, query)


@misconception(
    "few_shot_prompt",
    believes="the instruction comes right before the query",
    truth="it comes first, before the examples",
)
def instruction_before_the_query(instruction, examples, query):
    blocks = [f"Input: {source}\nOutput: {target}" for source, target in examples]
    blocks += [instruction] if instruction else []
    return "\n\n".join([*blocks, f"Input: {query}\nOutput:"])


@misconception(
    "few_shot_prompt",
    believes="the instruction belongs to each example",
    truth="it is said once, in front",
)
def instruction_in_each_block(instruction, examples, query):
    head = f"{instruction}\n\n" if instruction else ""
    blocks = [f"{head}Input: {source}\nOutput: {target}" for source, target in examples]
    return "\n\n".join([*blocks, f"{head}Input: {query}\nOutput:"])


@misconception(
    "few_shot_prompt",
    believes="the examples show what inputs look like; giving the answers away would be cheating",
    truth="the answers are what the model learns the task from; only the query's is missing",
)
def examples_without_answers(instruction, examples, query):
    blocks = [instruction] if instruction else []
    blocks += [f"Input: {source}\nOutput:" for source, _ in examples]
    return "\n\n".join([*blocks, f"Input: {query}\nOutput:"])


@misconception(
    "few_shot_prompt",
    believes="one example is enough to show the pattern",
    truth="all examples go in: what several add over one is what few-shot is about",
)
def first_example_only(instruction, examples, query):
    return _asked(instruction, examples[:1], query)


@misconception(
    "few_shot_prompt",
    believes="the latest example goes first",
    truth="the examples keep their order; it can change the answer",
)
def examples_reversed(instruction, examples, query):
    return _asked(instruction, examples[::-1], query)


@misconception(
    "few_shot_prompt",
    believes="there is an example to begin with",
    truth="zero-shot is a prompt without examples",
)
def needs_an_example(instruction, examples, query):
    source, target = examples[0]
    return _asked(instruction, [(source, target), *examples[1:]], query)


@misconception(
    "few_shot_prompt",
    believes="examples are a table from inputs to outputs",
    truth="they are a list: the same input may come twice, with another answer too",
)
def one_answer_an_input(instruction, examples, query):
    return _asked(instruction, list(dict(examples).items()), query)


@misconception(
    "few_shot_prompt",
    believes="spaces around a text are a mistake to be repaired",
    truth="texts stand as they are: in code, for example, the spaces are the answer",
)
def texts_stripped(instruction, examples, query):
    return _asked(instruction.strip(), [(source.strip(), target.strip()) for source, target in examples], query.strip())


@misconception(
    "few_shot_prompt",
    believes="a template with braces takes any text, even after the texts are in it",
    truth="braces in an example would then be places to fill in: put each text in once, and do not format the result again",
)
def formatted_twice(instruction, examples, query):
    return _asked(instruction, examples, "{query}").format(query=query)


@fingerprint("few_shot_prompt")
def few_shot_prompt_probes(impl) -> list[Probe]:
    two = [("a", "b"), ("c", "d")]
    return [
        lambda: impl("Do.", [], "x"),
        lambda: impl("", [], "x"),
        lambda: impl("Do.", two[:1], "x"),
        lambda: impl("", two[:1], "x"),
        lambda: impl("Do.", two, "x"),
        lambda: impl("", [("a", "b"), ("a", "c")], "x"),
        lambda: impl("", [("  a", "b ")], " x"),
        lambda: impl("", [("{a}", "{}")], "x"),
    ]


# --- induction_score --------------------------------------------------------------------------------------------------


def _scored(weights, wanted):
    repeated = wanted.any(dim=-1)
    return (weights * wanted).sum(dim=-1)[:, repeated].mean(dim=-1)


def _after(same):
    wanted = torch.zeros_like(same)
    wanted[:, 1:] = same[:, :-1]
    return wanted


def _earlier(tokens):
    return (tokens[:, None] == tokens).tril(diagonal=-1)


@misconception(
    "induction_score",
    believes="an induction head looks at the earlier occurrence of the present token",
    truth="it looks one position further: at what followed it, which is what it predicts",
)
def at_the_same_token(weights, tokens):
    return _scored(weights, _earlier(tokens))


@misconception(
    "induction_score",
    believes="an induction head looks at what stood before the earlier occurrence",
    truth="at what stood after it: the head continues the pattern",
)
def before_the_same_token(weights, tokens):
    same = _earlier(tokens)
    wanted = torch.zeros_like(same)
    wanted[:, :-1] = same[:, 1:]
    repeated = same.any(dim=-1)
    return (weights * wanted).sum(dim=-1)[:, repeated].mean(dim=-1)


@misconception(
    "induction_score",
    believes="the text is one block that comes twice, so the head looks back by half of it",
    truth="a token may come again after any distance: compare the tokens",
)
def half_a_text_back(weights, tokens):
    half = len(tokens) // 2
    queries = torch.arange(half, len(tokens))
    return weights[:, queries, queries - half + 1].mean(dim=-1)


@misconception(
    "induction_score",
    believes="only the latest earlier occurrence counts",
    truth="the attention on what followed any of them is added up",
)
def latest_occurrence(weights, tokens):
    same = _earlier(tokens)
    latest = same & (same.flip(-1).cumsum(-1).flip(-1) == 1)
    return _scored(weights, _after(latest))


@misconception(
    "induction_score",
    believes="only the first occurrence counts",
    truth="the attention on what followed any earlier one is added up",
)
def first_occurrence(weights, tokens):
    same = _earlier(tokens)
    return _scored(weights, _after(same & (same.cumsum(-1) == 1)))


@misconception(
    "induction_score",
    believes="the attention is averaged over the wanted positions",
    truth="it is added up: a head that shares its attention between two right places is as good as one that picks one",
)
def mean_over_the_places(weights, tokens):
    wanted = _after(_earlier(tokens))
    repeated = wanted.any(dim=-1)
    each = (weights * wanted).sum(dim=-1)[:, repeated] / wanted.sum(dim=-1)[repeated]
    return each.mean(dim=-1)


@misconception(
    "induction_score",
    believes="the largest weight on a wanted position is the score of a query",
    truth="the weights on all wanted positions are added up",
)
def largest_place(weights, tokens):
    wanted = _after(_earlier(tokens))
    return (weights * wanted).amax(dim=-1)[:, wanted.any(dim=-1)].mean(dim=-1)


@misconception(
    "induction_score",
    believes="the mean is over all positions",
    truth="a token that comes for the first time has nothing to look back at: only repeated ones count",
)
def mean_over_all_queries(weights, tokens):
    return (weights * _after(_earlier(tokens))).sum(dim=-1).mean(dim=-1)


@misconception(
    "induction_score",
    believes="the score of a head is the sum over its queries",
    truth="the mean, so that it lies between 0 and 1 whatever the length of the text",
)
def sum_over_queries(weights, tokens):
    return (weights * _after(_earlier(tokens))).sum(dim=(-1, -2))


@misconception(
    "induction_score",
    believes="a token cannot follow itself",
    truth="in [A][A] what followed the first is the second: a head that looks at itself there is right",
)
def never_at_itself(weights, tokens):
    wanted = _after(_earlier(tokens))
    repeated = wanted.any(dim=-1)
    wanted = wanted.tril(diagonal=-1)
    return (weights * wanted).sum(dim=-1)[:, repeated].mean(dim=-1)


@misconception(
    "induction_score",
    believes="the rows of the weights are the keys",
    truth="rows are queries, columns are keys: each row adds up to 1",
)
def rows_are_keys(weights, tokens):
    return _scored(weights.transpose(-1, -2), _after(_earlier(tokens)))


@misconception(
    "induction_score",
    believes="the model has one score",
    truth="each head has its own; their mean hides the one that does it",
)
def mean_over_heads(weights, tokens):
    return _scored(weights, _after(_earlier(tokens))).mean().expand(weights.shape[0])


@misconception(
    "induction_score",
    believes="a head does it or does not: what counts is whether its largest weight is on a wanted position",
    truth="the attention itself is added up; a head may spend half of it there",
)
def share_of_largest_weights(weights, tokens):
    wanted = _after(_earlier(tokens))
    repeated = wanted.any(dim=-1)
    hits = wanted.gather(-1, weights.argmax(dim=-1).T).T
    return hits[:, repeated].to(weights.dtype).mean(dim=-1)


@misconception(
    "induction_score",
    believes="the present token is one of its own occurrences",
    truth="then the position after it is wanted, which no causal head can see, and every token counts as repeated",
)
def occurs_now(weights, tokens):
    return _scored(weights, _after((tokens[:, None] == tokens).tril()))


@misconception(
    "induction_score",
    believes="what followed an occurrence is another token, or nothing was learned from it",
    truth="in [A][A][A] the first A was followed by an A too, and that is what the head expects",
)
def followed_by_another(weights, tokens):
    wanted = _after(_earlier(tokens))
    repeated = wanted.any(dim=-1)
    wanted &= (tokens[:, None] != tokens) | torch.eye(len(tokens), dtype=torch.bool)
    return (weights * wanted).sum(dim=-1)[:, repeated].mean(dim=-1)


@fingerprint("induction_score")
def induction_score_probes(impl) -> list[Probe]:
    generator = torch.Generator().manual_seed(0)

    def causal(n):
        scores = 2 * torch.randn(2, n, n, generator=generator)
        return scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), float("-inf")).softmax(dim=-1)

    weights = {n: causal(n) for n in (4, 5, 6, 8)}
    return [
        lambda: impl(weights[6], torch.tensor([1, 2, 3, 1, 2, 3])),
        lambda: impl(weights[5], torch.tensor([1, 2, 3, 4, 2])),
        lambda: impl(weights[8], torch.tensor([1, 2, 1, 3, 1, 2, 1, 4])),
        lambda: impl(weights[4], torch.tensor([5, 1, 1, 2])),
        lambda: impl(weights[5], torch.tensor([1, 1, 1, 2, 1])),
    ]


# --- in_context_gain --------------------------------------------------------------------------------------------------


@misconception(
    "in_context_gain",
    believes="token 50 is column 50",
    truth="tokens are counted from 1 and columns from 0: token 50 is column 49",
)
def counted_from_zero(losses, early=50, late=500):
    return (losses[:, early % losses.shape[1]] - losses[:, late % losses.shape[1]]).mean()


@misconception(
    "in_context_gain",
    believes="it is the late loss minus the early one",
    truth="a gain is positive when the loss falls: early minus late (the paper's score has the other sign)",
)
def late_minus_early(losses, early=50, late=500):
    return (losses[:, late - 1] - losses[:, early - 1]).mean()


@misconception(
    "in_context_gain",
    believes="a gain is a ratio",
    truth="it is a difference in nats; the ratio of two losses has no meaning as information",
)
def as_a_ratio(losses, early=50, late=500):
    return (losses[:, early - 1] / losses[:, late - 1]).mean()


@misconception(
    "in_context_gain",
    believes="perplexities are compared",
    truth="losses are: their difference is in nats, a difference of perplexities is not",
)
def of_perplexities(losses, early=50, late=500):
    return (losses[:, early - 1].exp() - losses[:, late - 1].exp()).mean()


@misconception(
    "in_context_gain",
    believes="everything up to the early token is compared with everything from the late token on",
    truth="two positions are compared, over many texts",
)
def stretches_compared(losses, early=50, late=500):
    return losses[:, :early].mean() - losses[:, late - 1 :].mean()


@misconception(
    "in_context_gain",
    believes="the first position is where the early loss is measured",
    truth="at the token that was named: the very first tokens of a text are a case of their own",
)
def from_the_first_token(losses, early=50, late=500):
    return (losses[:, 0] - losses[:, late - 1]).mean()


@misconception(
    "in_context_gain",
    believes="the late loss is that at the end of the text",
    truth="at the token that was named: texts are of all lengths",
)
def to_the_last_token(losses, early=50, late=500):
    return (losses[:, early - 1] - losses[:, -1]).mean()


@misconception(
    "in_context_gain",
    believes="one text is as good as any",
    truth="single tokens are noise: the mean is over all texts",
)
def first_text_only(losses, early=50, late=500):
    return losses[0, early - 1] - losses[0, late - 1]


@misconception(
    "in_context_gain",
    believes="the gains of the texts add up",
    truth="their mean is taken, so that more texts give a better estimate and not a larger number",
)
def sum_over_texts(losses, early=50, late=500):
    return (losses[:, early - 1] - losses[:, late - 1]).sum()


@misconception(
    "in_context_gain",
    believes="the median is safer than the mean",
    truth="the loss of a corpus is a mean; a median would hide the texts that gain most",
)
def median_over_texts(losses, early=50, late=500):
    return (losses[:, early - 1] - losses[:, late - 1]).quantile(0.5)


@misconception(
    "in_context_gain",
    believes="the two tokens are always 50 and 500",
    truth="these are the defaults; shorter texts need others",
)
def always_50_and_500(losses, early=50, late=500):
    last = losses.shape[1]
    return (losses[:, min(50, last) - 1] - losses[:, min(500, last) - 1]).mean()


@misconception(
    "in_context_gain",
    believes="without other numbers the first and the last token are meant",
    truth="the defaults are token 50 and token 500",
)
def other_defaults(losses, early=None, late=None):
    first, last = early or 1, late or losses.shape[1]
    return (losses[:, first - 1] - losses[:, last - 1]).mean()


@fingerprint("in_context_gain")
def in_context_gain_probes(impl) -> list[Probe]:
    generator = torch.Generator().manual_seed(1)
    small, large = torch.rand(5, 9, generator=generator) + 1, torch.rand(3, 520, generator=generator) + 1
    return [
        lambda: impl(small[:1], 1, 9),
        lambda: impl(small[:1], 3, 7),
        lambda: impl(small, 3, 7),
        lambda: impl(small.roll(2, 0), 2, 6),
        lambda: impl(large),
    ]
