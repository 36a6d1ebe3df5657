"""Wrong on purpose: what people believe about speculative decoding, each mistake alone in its function."""

import torch

from gptdojo import fingerprint, misconception
from gptdojo.faults import LearnerError, Mismatch
from reference.next_token import softmax
from tests.strategies.speculation import CERTAIN, QUARTERS, TARGET_QUARTERS, RememberingModel, every_outcome

# --- accept_or_resample -----------------------------------------------------------------------------------------------


@misconception(
    "accept_or_resample",
    believes="a refused token is drawn again from the target",
    truth=(
        "what the target and the draft agree on has been said already by the tokens that were kept: only the "
        "excess, max(p - q, 0), is missing"
    ),
)
def replaced_from_the_target(p, q, token, uniform, draw):
    if uniform * q[token] < p[token]:
        return True, token
    return False, draw(p)


@misconception(
    "accept_or_resample",
    believes="the replacement is drawn from |p - q|",
    truth="where q is larger the token was said often enough: the negative differences count as 0, not by their size",
)
def absolute_difference(p, q, token, uniform, draw):
    if uniform * q[token] < p[token]:
        return True, token
    excess = (p - q).abs()
    return False, draw(excess / excess.sum())


@misconception(
    "accept_or_resample",
    believes="the replacement is drawn from the target without the refused token",
    truth="other tokens may be said too often by the draft as well; the replacement comes from max(p - q, 0)",
)
def anything_but_the_refused(p, q, token, uniform, draw):
    if uniform * q[token] < p[token]:
        return True, token
    others = p.clone()
    others[token] = 0
    return False, draw(others / others.sum())


@misconception(
    "accept_or_resample",
    believes="draw scales its weights by itself",
    truth="max(p - q, 0) sums to the probability of a refusal, and draw was promised probabilities, which sum to 1",
)
def not_scaled(p, q, token, uniform, draw):
    if uniform * q[token] < p[token]:
        return True, token
    return False, draw((p - q).clamp(min=0))


@misconception(
    "accept_or_resample",
    believes="a softmax makes a distribution of p - q",
    truth="it gives every token a chance, also those that were said often enough; clamp at 0 and divide by the sum",
)
def softmax_of_the_difference(p, q, token, uniform, draw):
    if uniform * q[token] < p[token]:
        return True, token
    return False, draw(torch.softmax(p - q, dim=-1))


@misconception(
    "accept_or_resample",
    believes="the replacement is drawn from max(q - p, 0)",
    truth="that is where the draft says too much; missing is what the target says more, max(p - q, 0)",
)
def excess_of_the_draft(p, q, token, uniform, draw):
    if uniform * q[token] < p[token]:
        return True, token
    excess = (q - p).clamp(min=0)
    return False, draw(excess / excess.sum())


@misconception(
    "accept_or_resample",
    believes="a token is kept with probability q/p",
    truth="it is kept with probability p/q: the less the target says it, the more rarely",
)
def inverse_ratio(p, q, token, uniform, draw):
    if uniform * p[token] < q[token]:
        return True, token
    excess = (p - q).clamp(min=0)
    return False, draw(excess / excess.sum())


@misconception(
    "accept_or_resample",
    believes="a token is kept with the target's probability p",
    truth="it was drawn with q already, so p/q is what makes up p: keeping with p would say it with q times p",
)
def kept_by_the_target_alone(p, q, token, uniform, draw):
    if uniform < p[token]:
        return True, token
    excess = (p - q).clamp(min=0)
    return False, draw(excess / excess.sum())


@misconception(
    "accept_or_resample",
    believes="a token is refused whenever the target says it less often than the draft",
    truth="it is refused with probability 1 - p/q only: else it is never said although the target says it",
)
def never_by_chance(p, q, token, uniform, draw):
    if p[token] >= q[token]:
        return True, token
    excess = (p - q).clamp(min=0)
    return False, draw(excess / excess.sum())


@misconception(
    "accept_or_resample",
    believes="a token is kept if it is the target's likeliest",
    truth="that is the rule of greedy decoding; here each token has to keep its probability",
)
def likeliest_only(p, q, token, uniform, draw):
    if token == int(p.argmax()):
        return True, token
    excess = (p - q).clamp(min=0)
    return False, draw(excess / excess.sum())


@misconception(
    "accept_or_resample",
    believes="a token is kept if the number is above p/q",
    truth="a number is below p/q with probability p/q: below is keeping",
)
def kept_above_the_ratio(p, q, token, uniform, draw):
    if uniform * q[token] >= p[token]:
        return True, token
    excess = (p - q).clamp(min=0)
    return False, draw(excess / excess.sum())


@misconception(
    "accept_or_resample",
    believes="at equality a token may as well be kept",
    truth="uniform can be exactly 0, and then a token with p = 0 would be said although the target never does",
)
def zero_is_not_below_zero(p, q, token, uniform, draw):
    if uniform * q[token] <= p[token]:
        return True, token
    excess = (p - q).clamp(min=0)
    return False, draw(excess / excess.sum())


@misconception(
    "accept_or_resample",
    believes="the draft is good enough",
    truth="then the text is the draft's: the target has to refuse what it says less often",
)
def always_kept(p, q, token, uniform, draw):
    return True, token


@misconception(
    "accept_or_resample",
    believes="the replacement is the token with the largest excess",
    truth="it has to be drawn from the excess, or the other missing tokens are never said",
)
def likeliest_replacement(p, q, token, uniform, draw):
    if uniform * q[token] < p[token]:
        return True, token
    excess = (p - q).clamp(min=0)
    return False, int(excess.argmax())


@misconception(
    "accept_or_resample",
    believes="the token comes first, then whether it was kept",
    truth="the order is (kept, token)",
)
def token_first(p, q, token, uniform, draw):
    if uniform * q[token] < p[token]:
        return token, True
    excess = (p - q).clamp(min=0)
    return draw(excess / excess.sum()), False


@misconception(
    "accept_or_resample",
    believes="drawing a replacement in any case does no harm",
    truth=(
        "a draw takes a random number, and where p and q are equal there is no excess to draw from: draw on a "
        "refusal only"
    ),
)
def always_draws(p, q, token, uniform, draw):
    excess = (p - q).clamp(min=0)
    replacement = draw(excess / excess.sum())
    kept = bool(uniform * q[token] < p[token])
    return kept, token if kept else replacement


@misconception(
    "accept_or_resample",
    believes="log p / log q is the logarithm of the ratio",
    truth="log p - log q is; the quotient of two logarithms is something else",
)
def logarithms_compared(p, q, token, uniform, draw):
    if uniform < q[token].log() / p[token].log():
        return True, token
    excess = (p - q).clamp(min=0)
    return False, draw(excess / excess.sum())


@misconception(
    "accept_or_resample",
    believes="p - q is q times (p/q - 1)",
    truth="where q is 0 that is 0 times infinity, NaN, and there the target's share is all excess: subtract",
)
def ratio_minus_one(p, q, token, uniform, draw):
    if uniform * q[token] < p[token]:
        return True, token
    excess = q * (p / q - 1).clamp(min=0)
    return False, draw(excess / excess.sum())


# --- speculative_step -------------------------------------------------------------------------------------------------


@misconception(
    "speculative_step",
    believes="a pass says the drafted tokens that were kept, and that is all",
    truth=(
        "if all are kept, the target's last distribution is there already, and one more token is drawn from it: "
        "up to gamma + 1"
    ),
)
def no_free_token(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = [] if gamma else [draw(wanted[0])]
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said)))
    return said


@misconception(
    "speculative_step",
    believes="after a whole draft the next token comes from the draft",
    truth=(
        "it comes from the target's last distribution: only what the target judges or says itself is distributed "
        "as its own"
    ),
)
def free_token_of_the_draft(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(to_probs(draft.forward(torch.tensor([drafted[-1:] or tokens]))[0, -1])))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="the other drafted tokens can still be judged after a refusal",
    truth=(
        "they continue a text that does not exist any more, and so do the target's distributions for them: the "
        "first refusal ends the step"
    ),
)
def goes_on_after_a_refusal(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
    if said == drafted:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="a refused token is dropped, and the next pass starts there",
    truth=(
        "it is replaced at once: a pass says at least one token, and without the replacement the distribution is wrong"
    ),
)
def nothing_in_its_place(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="the target's logits after a drafted token judge that token",
    truth=(
        "logits after a token are about the next one: the first drafted token is judged by the logits after the "
        "last of tokens"
    ),
)
def judged_one_late(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted[1:], proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="the replacement comes from the last of the target's distributions",
    truth="it comes from the one that judged the refused token",
)
def replaced_by_the_last(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (wanted[gamma] - q).clamp(min=0)
        said.append(draw(excess / excess.sum() if excess.sum() > 0 else p))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="a token is kept with probability q/p",
    truth="it is kept with probability p/q, the target's share of what the draft says",
)
def inverse_ratio_step(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * p[token] < q[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="the target judges the drafted tokens one after the other",
    truth="it sees all of them in one call: that is what makes a pass worth several tokens",
)
def one_call_a_token(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    wanted = []
    for token in [*tokens, *drafted][len(target) :]:
        wanted.append(to_probs(target.forward(torch.tensor([[token]]))[0, -1]))
    wanted = wanted[-(gamma + 1) :]
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="the draft is fed the whole text for each token",
    truth=(
        "it remembers what it was fed: only what it has not seen is new, or every token stands in its memory "
        "several times"
    ),
)
def draft_fed_anew(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        proposed.append(to_probs(draft.forward(torch.tensor([[*tokens, *drafted]]))[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="the draft forgets everything before each token, so that it can be fed the whole text",
    truth="it is right and costs as much as a draft without a cache: each token is to be fed once",
)
def draft_starts_over(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        draft.crop(0)
        proposed.append(to_probs(draft.forward(torch.tensor([[*tokens, *drafted]]))[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="what was refused stays in the memory and does no harm",
    truth="the next pass would continue a text with the refused tokens in it: crop both models",
)
def nothing_is_forgotten(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    return said


@misconception(
    "speculative_step",
    believes="only the target has to forget",
    truth="the draft was fed its refused tokens too, and the next ones would continue them",
)
def draft_remembers_refused(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    target.crop(min(len(target), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="only the draft has to forget",
    truth="the target was fed all drafted tokens, the refused ones among them",
)
def target_remembers_refused(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    draft.crop(min(len(draft), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="all that was said is remembered",
    truth="the last token was said but never fed: in its place the memory holds the refused one",
)
def one_too_many_kept(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said)))
    return said


@misconception(
    "speculative_step",
    believes="after each pass the models go back to where they were",
    truth="what was kept stays valid and need not be fed again: only what was refused is forgotten",
)
def accepted_forgotten(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens)))
    return said


@misconception(
    "speculative_step",
    believes="the target remembers all tokens but the last, or none",
    truth="it may remember any beginning: what is fed starts at len(target)",
)
def target_lacks_one_token(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted] if len(target) == 0 else [tokens[-1], *drafted]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="at least one token is drafted",
    truth="gamma may be 0, for the last token of a text: then the target draws one by itself",
)
def something_is_drafted(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    proposed = torch.stack(proposed)
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="a refused token is drawn again from the target",
    truth="what the kept tokens have said already would be said twice: the replacement comes from max(p - q, 0)",
)
def replaced_from_the_target_step(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        said.append(draw(p))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="the replacement is drawn from |p - q|",
    truth="where the draft says too much nothing is missing: negative differences count as 0",
)
def absolute_difference_step(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).abs()
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="a token is refused whenever the target says it less often than the draft",
    truth="it is refused with probability 1 - p/q only",
)
def never_by_chance_step(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if q[token] <= p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="at equality a token may as well be kept",
    truth="uniform can be exactly 0, and then a token with p = 0 would be said although the target never does",
)
def zero_is_not_below_zero_step(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] <= p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="a token is kept if it is the target's likeliest",
    truth="that is greedy decoding; with probabilities it is kept with probability p/q",
)
def likeliest_only_step(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if token == int(p.argmax()):
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="a drafted token is kept if it equals a token drawn from the target",
    truth="that is distributed rightly but keeps fewer: the sum of p times q in place of the sum of min(p, q)",
)
def says_what_the_target_draws(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, token in zip(wanted, [*drafted, None], strict=True):
        said.append(draw(p))
        if said[-1] != token:
            break
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="one uniform number does for the whole pass",
    truth="each judgment needs a number of its own: a small one would keep all tokens, a large one none",
)
def one_number_a_pass(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said, number = [], uniform()
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if number * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="temperature and filters are for the target",
    truth=(
        "the draft's tokens are drawn from its probabilities after the same settings, and q has to be exactly "
        "what they are drawn from"
    ),
)
def draft_without_settings(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        logits = draft.forward(unseen)[0, -1]
        proposed.append(softmax(logits))
        drafted.append(draw(to_probs(logits)))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = to_probs(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


@misconception(
    "speculative_step",
    believes="temperature and filters are for the draft",
    truth="the text is to be distributed as the target's after the settings: its logits go through to_probs as well",
)
def target_without_settings(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed = [], []
    for _ in range(gamma):
        unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
        proposed.append(to_probs(draft.forward(unseen)[0, -1]))
        drafted.append(draw(proposed[-1]))
    unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
    wanted = softmax(target.forward(unseen)[0, -(gamma + 1) :])
    said = []
    for p, q, token in zip(wanted, proposed, drafted, strict=False):
        if uniform() * q[token] < p[token]:
            said.append(token)
            continue
        excess = (p - q).clamp(min=0)
        said.append(draw(excess / excess.sum()))
        break
    else:
        said.append(draw(wanted[gamma]))
    for model in (target, draft):
        model.crop(min(len(model), len(tokens) + len(said) - 1))
    return said


# --- speculative_generate ---------------------------------------------------------------------------------------------


@misconception(
    "speculative_generate",
    believes="a pass always drafts gamma tokens",
    truth="near the end that says more than n_new tokens: draft at most as many as are missing minus 1",
)
def too_many_tokens(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = gamma
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens


@misconception(
    "speculative_generate",
    believes="as many tokens are drafted as are missing",
    truth="a pass says one token more than it drafts, so at most the missing ones minus 1 are drafted",
)
def one_too_many(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens))
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens


@misconception(
    "speculative_generate",
    believes="what is too much can be cut off at the end",
    truth="the drafted tokens past the end were fed to both models, and go past a context that is just large enough",
)
def cut_at_the_end(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = gamma
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens[: len(prompt) + n_new]


@misconception(
    "speculative_generate",
    believes="what comes back are the tokens that were generated",
    truth="the prompt comes first, then the new tokens",
)
def without_the_prompt(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens[len(prompt) :]


@misconception(
    "speculative_generate",
    believes="generation starts with a pass",
    truth="with n_new = 0 nothing is fed and the prompt comes back",
)
def at_least_one_token(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while True:
        n_draft = max(0, min(gamma, len(prompt) + n_new - len(tokens) - 1))
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
        if len(tokens) >= len(prompt) + n_new:
            break
    return tokens


@misconception(
    "speculative_generate",
    believes="only the target has to forget",
    truth="the draft was fed its refused tokens too, and continues them",
)
def draft_remembers_refused_generate(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        target.crop(min(len(target), len(tokens) - 1))
    return tokens


@misconception(
    "speculative_generate",
    believes="the target only corrects what follows the draft",
    truth="it judges each drafted token: without that the text is the draft's",
)
def always_kept_generate(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        tokens += drafted
        tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens


@misconception(
    "speculative_generate",
    believes="a pass says the drafted tokens that were kept",
    truth="if all are kept one more is drawn from the target, for free",
)
def no_free_token_generate(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            if drafted:
                continue
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens


@misconception(
    "speculative_generate",
    believes="drafting is an optimization that may be left out",
    truth="the text is right, but then each token costs a pass of the target, which is what this is about",
)
def target_alone(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = 0
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens


@misconception(
    "speculative_generate",
    believes="between passes the models start with nothing",
    truth="they remember what stays valid: each token is fed once, or the memory was for nothing",
)
def starts_over(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(0)
    return tokens


@misconception(
    "speculative_generate",
    believes="after a refusal the models start with nothing",
    truth="only the refused tokens have to be forgotten: what was kept stays valid and is not fed again",
)
def starts_over_after_a_refusal(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1) if tokens[-len(drafted) - 1 : -1] == drafted else 0)
    return tokens


@misconception(
    "speculative_generate",
    believes="a refused token is drawn again from the target",
    truth="what the kept tokens have said already would be said twice: the replacement comes from max(p - q, 0)",
)
def replaced_from_the_target_generate(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                tokens.append(draw(p))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens


@misconception(
    "speculative_generate",
    believes="at equality a token may as well be kept",
    truth="uniform can be exactly 0, and then a token with p = 0 would be said although the target never does",
)
def zero_is_not_below_zero_generate(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] > p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens


@misconception(
    "speculative_generate",
    believes="a drafted token is kept if it is the target's likeliest",
    truth="that is greedy decoding; with probabilities it is kept with probability p/q",
)
def likeliest_only_generate(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if token != int(p.argmax()):
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens


@misconception(
    "speculative_generate",
    believes="one uniform number does for the whole pass",
    truth="each judgment needs a number of its own: a small one would keep all tokens, a large one none",
)
def one_number_a_pass_generate(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        number = uniform()
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if number * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens


@misconception(
    "speculative_generate",
    believes="temperature and filters are for the target",
    truth=(
        "the draft's tokens are drawn from its probabilities after the same settings, and q has to be exactly "
        "what they are drawn from"
    ),
)
def draft_without_settings_generate(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            logits = draft.forward(unseen)[0, -1]
            proposed.append(softmax(logits))
            drafted.append(draw(to_probs(logits)))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens


@misconception(
    "speculative_generate",
    believes="temperature and filters are for the draft",
    truth="the text is to be distributed as the target's after the settings: its logits go through to_probs as well",
)
def target_without_settings_generate(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = min(gamma, len(prompt) + n_new - len(tokens) - 1)
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = softmax(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens


@misconception(
    "speculative_generate",
    believes="every pass drafts at least one token",
    truth="with gamma = 0, and for the last token, none is drafted: the target says one by itself",
)
def at_least_one_is_drafted(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n_new:
        n_draft = max(1, min(gamma, len(prompt) + n_new - len(tokens) - 1))
        drafted, proposed = [], []
        for _ in range(n_draft):
            unseen = torch.tensor([[*tokens, *drafted][len(draft) :]])
            proposed.append(to_probs(draft.forward(unseen)[0, -1]))
            drafted.append(draw(proposed[-1]))
        unseen = torch.tensor([[*tokens, *drafted][len(target) :]])
        wanted = to_probs(target.forward(unseen)[0, -(n_draft + 1) :])
        for p, q, token in zip(wanted, proposed, drafted, strict=False):
            if uniform() * q[token] >= p[token]:
                excess = (p - q).clamp(min=0)
                tokens.append(draw(excess / excess.sum()))
                break
            tokens.append(token)
        else:
            tokens.append(draw(wanted[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(tokens) - 1))
    return tokens[: len(prompt) + n_new]


# --- fingerprints -----------------------------------------------------------------------------------------------------


def tell(call):
    """What a call gives, or what it ends in."""
    try:
        return call()
    except LearnerError as error:
        return error.types[0]
    except Mismatch as error:
        return str(error)


@fingerprint("accept_or_resample")
def accept_probes(impl):
    p, q = torch.tensor([0.5, 0.3, 0.15, 0.05]), torch.tensor([0.2, 0.5, 0.2, 0.1])
    never = torch.tensor([0.6, 0.0, 0.2, 0.2])

    def probe(p, q, token, uniform):
        given = []

        def draw(probs):
            given.append(probs)
            return 3

        return [tell(lambda: impl(p, q, token, uniform, draw)), given]

    cases = [
        (p, q, 0, 0.9),
        (p, q, 1, 0.1),
        (p, q, 1, 0.55),
        (p, q, 1, 0.59),
        (p, q, 1, 0.7),
        (p, q, 2, 0.9),
        (never, q, 1, 0.0),
    ]
    return [lambda case=case: probe(*case) for case in [*cases, (p, p, 2, 0.5), (never, q, 2, 0.3), (q, never, 3, 0.8)]]


def same_each_time(numbers):
    """A function without arguments that gives these numbers, over and over."""
    state = iter(numbers * 1000)
    return lambda: next(state)


def by_numbers(numbers):
    """A draw that goes by these numbers."""
    following = same_each_time(numbers)

    def draw(probs):
        total = probs.double().cumsum(dim=-1)
        return min(int((total <= following() * total[-1]).sum()), len(total) - 1)

    return draw


def only_likeliest(logits):
    """One-hot probabilities of the largest logit."""
    return torch.zeros_like(logits).scatter(-1, logits.argmax(dim=-1, keepdim=True), 1.0)


FIRST, SECOND, THIRD = (1, 22), (4, 59), (2, 22)  # salts of a target and a draft


@fingerprint("speculative_step")
def step_probes(impl):
    def certain(draft_salt, gamma, held=(0, 0), steps=2, number=0.5):
        tokens, seen = [1, 0, 2], []
        target = RememberingModel(5, CERTAIN, held=tuple(tokens[: held[0]]))
        draft = RememberingModel(draft_salt, CERTAIN, held=tuple(tokens[: held[1]]))
        for _ in range(steps):
            said = tell(
                lambda text=tokens: impl(target, draft, list(text), gamma, lambda: number, lambda p: int(p.argmax()))
            )
            seen.append([said, list(target.memory), list(draft.memory), list(target.pieces), list(draft.pieces)])
            tokens = tokens + said if isinstance(said, list) else tokens
        return seen

    def chance(salts, *settings):
        def run(branch):
            models = RememberingModel(salts[0], TARGET_QUARTERS), RememberingModel(salts[1], QUARTERS)
            return tuple(impl(*models, [1, 0], 1, branch.uniform, branch.draw, *settings))

        return tell(lambda: [[list(said), weight] for said, weight in sorted(every_outcome(run, 4).items())])

    def scripted(salts):
        models = RememberingModel(salts[0], TARGET_QUARTERS), RememberingModel(salts[1], QUARTERS)
        uniform, draw = same_each_time([0.1, 0.7, 0.3, 0.9, 0.2, 0.6, 0.8]), by_numbers([0.2, 0.9, 0.5, 0.7, 0.05])
        tokens = [2, 1]
        for _ in range(8):
            said = tell(lambda text=tokens: impl(*models, list(text), 3, uniform, draw))
            tokens = tokens + (said if isinstance(said, list) else [0])
        return tokens

    return [
        lambda: certain(5, 2),
        lambda: certain(6, 2),
        lambda: certain(6, 2, number=0.0),
        lambda: certain(7, 3),
        lambda: certain(5, 2, held=(1, 2)),
        lambda: certain(6, 0, steps=1),
        lambda: chance(FIRST),
        lambda: chance(SECOND),
        lambda: chance(THIRD),
        lambda: chance(FIRST, only_likeliest),
        lambda: chance(SECOND, lambda logits: softmax(4 * logits)),
        lambda: scripted(FIRST),
        lambda: scripted(SECOND),
    ]


@fingerprint("speculative_generate")
def generate_probes(impl):
    def certain(draft_salt, n_new, gamma, n_ctx=1_000, number=0.5):
        target, draft = RememberingModel(5, CERTAIN, n_ctx), RememberingModel(draft_salt, CERTAIN, n_ctx)
        said = tell(lambda: impl(target, draft, [1, 0], n_new, gamma, lambda: number, lambda p: int(p.argmax())))
        return [said, target.pieces, draft.pieces]

    def chance(salts, *settings):
        def run(branch):
            models = RememberingModel(salts[0], TARGET_QUARTERS), RememberingModel(salts[1], QUARTERS)
            return tuple(impl(*models, [1, 0], 2, 1, branch.uniform, branch.draw, *settings))

        return tell(lambda: [[list(said), weight] for said, weight in sorted(every_outcome(run, 4).items())])

    def scripted(salts):
        models = RememberingModel(salts[0], TARGET_QUARTERS), RememberingModel(salts[1], QUARTERS)
        uniform, draw = same_each_time([0.1, 0.7, 0.3, 0.9, 0.2, 0.6, 0.8]), by_numbers([0.2, 0.9, 0.5, 0.7, 0.05])
        return tell(lambda: impl(*models, [2, 1], 20, 3, uniform, draw))

    return [
        lambda: certain(5, 5, 2),
        lambda: certain(6, 5, 2),
        lambda: certain(9, 7, 3),
        lambda: certain(9, 7, 3, number=0.0),
        lambda: certain(5, 4, 2),
        lambda: certain(5, 4, 2, n_ctx=5),
        lambda: certain(6, 3, 0),
        lambda: certain(6, 0, 2),
        lambda: chance(FIRST),
        lambda: chance(SECOND, only_likeliest),
        lambda: chance(FIRST, lambda logits: softmax(4 * logits)),
        lambda: scripted(FIRST),
        lambda: scripted(SECOND),
    ]
