"""Right, and written differently: all of these must be accepted."""

import math

import torch

from gptdojo import alternative
from reference.next_token import softmax

# --- accept_or_resample -----------------------------------------------------------------------------------------------


@alternative("accept_or_resample")
def by_the_ratio(p, q, token, uniform, draw):
    if uniform < min(1.0, (p[token] / q[token]).item()):
        return True, token
    rest = torch.relu(p - q)
    return False, draw(rest / rest.sum())


@alternative("accept_or_resample")
def in_logarithms(p, q, token, uniform, draw):
    log_number = math.log(uniform) if uniform > 0 else -1e300
    if p[token] > 0 and log_number < math.log(p[token]) - math.log(q[token]):
        return (True, token)
    rest = torch.where(p > q, p - q, 0.0).double()
    return (False, draw((rest / rest.sum(dim=-1, keepdim=True)).float()))


@alternative("accept_or_resample")
def in_plain_python(p, q, token, uniform, draw):
    p_list, q_list = p.tolist(), q.tolist()
    if p_list[token] > uniform * q_list[token]:
        return True, token
    rest = [max(a - b, 0.0) for a, b in zip(p_list, q_list, strict=True)]
    total = math.fsum(rest)
    return False, draw(torch.tensor([x / total for x in rest]))


@alternative("accept_or_resample")
def by_what_both_say(p, q, token, uniform, draw):
    both = torch.minimum(p, q)
    kept = bool(uniform * q[token] < both[token])
    return kept, token if kept else draw((p - both) / (1 - both.sum()))


# --- speculative_step -------------------------------------------------------------------------------------------------


@alternative("speculative_step")
def all_numbers_first(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    text, rows = list(tokens), []
    while len(rows) < gamma:
        rows.append(to_probs(draft.forward(torch.tensor(text[len(draft) :]).unsqueeze(0))[0])[-1])
        text.append(draw(rows[-1]))
    logits = target.forward(torch.tensor([text[len(target) :]]))
    p = to_probs(logits[0, logits.shape[1] - gamma - 1 :])
    numbers = [uniform() for _ in range(gamma)]
    n_kept = 0
    while (
        n_kept < gamma
        and numbers[n_kept] < p[n_kept, text[len(tokens) + n_kept]] / rows[n_kept][text[len(tokens) + n_kept]]
    ):
        n_kept += 1
    last = p[n_kept]
    if n_kept < gamma:
        last = torch.relu(last - rows[n_kept])
        last = last / last.sum()
    new = [*text[len(tokens) : len(tokens) + n_kept], draw(last)]
    target.crop(len(tokens) + n_kept)
    if len(draft) > len(tokens) + n_kept:
        draft.crop(len(tokens) + n_kept)
    return new


@alternative("speculative_step")
def draft_fed_to_the_end(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    drafted, proposed, unseen = [], [], tokens[len(draft) :]
    for _ in range(gamma):
        proposed.append(to_probs(draft.forward(torch.tensor([unseen]))[0, -1]))
        unseen = [draw(proposed[-1])]
        drafted += unseen
    if gamma:
        draft.forward(torch.tensor([unseen]))
    wanted = to_probs(target.forward(torch.tensor([tokens[len(target) :] + drafted])))[0, -gamma - 1 :]
    said = []
    for i in range(gamma + 1):
        if i == gamma:
            said.append(draw(wanted[i]))
        elif uniform() * proposed[i][drafted[i]] < wanted[i][drafted[i]]:
            said.append(drafted[i])
        else:
            excess = (wanted[i] - proposed[i]).clamp(min=0)
            said.append(draw(excess / excess.sum()))
            break
    remembered = len(tokens) + len(said) - 1
    for model in (draft, target):
        if len(model) > remembered:
            model.crop(remembered)
    return said


@alternative("speculative_step")
def with_an_inner_function(target, draft, tokens, gamma, uniform, draw, to_probs=softmax):
    def next_probs(model, text, count):
        return to_probs(model.forward(torch.tensor(text[len(model) :])[None])[:, -count:]).squeeze(0).double()

    text = tokens.copy()
    q = []
    for _ in range(gamma):
        q.append(next_probs(draft, text, 1)[0])
        text.append(draw(q[-1]))
    p = next_probs(target, text, gamma + 1)
    end = len(tokens)
    for row, other in zip(p[:gamma], q, strict=True):
        if uniform() >= row[text[end]] / other[text[end]]:
            rest = (row - other).clamp_min(0)
            final = rest / rest.sum()
            break
        end += 1
    else:
        final = p[gamma]
    target.crop(end)
    draft.crop(min(end, len(draft)))
    return [*text[len(tokens) : end], draw(final)]


# --- speculative_generate ---------------------------------------------------------------------------------------------


@alternative("speculative_generate")
def counts_down(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    text, missing = list(prompt), n_new
    while missing:
        start, q = len(text), []
        for _ in range(min(gamma, missing - 1)):
            q.append(to_probs(draft.forward(torch.tensor([text[len(draft) :]])))[0, -1])
            text.append(draw(q[-1]))
        p = to_probs(target.forward(torch.tensor([text[len(target) :]])))[0, -len(q) - 1 :]
        kept = 0
        while kept < len(q) and uniform() * q[kept][text[start + kept]] < p[kept][text[start + kept]]:
            kept += 1
        rest = torch.relu(p[kept] - q[kept]) if kept < len(q) else p[kept]
        text[start + kept :] = [draw(rest / rest.sum())]
        target.crop(start + kept)
        draft.crop(min(start + kept, len(draft)))
        missing -= kept + 1
    return text


@alternative("speculative_generate")
def recursive(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    def after(text, left):
        if left == 0:
            return text
        drafted, q = [], []
        for _ in range(min(gamma, left - 1)):
            q.append(to_probs(draft.forward(torch.tensor([(text + drafted)[len(draft) :]]))[0, -1]))
            drafted.append(draw(q[-1]))
        p = to_probs(target.forward(torch.tensor([(text + drafted)[len(target) :]]))[0, -(len(drafted) + 1) :])
        new = []
        for i, token in enumerate(drafted):
            if uniform() * q[i][token] < p[i][token]:
                new.append(token)
            else:
                rest = (p[i] - q[i]).clamp(min=0)
                new.append(draw(rest / rest.sum()))
                break
        if new == drafted:
            new.append(draw(p[-1]))
        for model in (target, draft):
            model.crop(min(len(model), len(text) + len(new) - 1))
        return after(text + new, left - len(new))

    return after(list(prompt), n_new)


@alternative("speculative_generate")
def draft_kept_in_step(target, draft, prompt, n_new, gamma, uniform, draw, to_probs=softmax):
    tokens = list(prompt)
    end = len(prompt) + n_new
    while len(tokens) != end:
        count = min(gamma, end - len(tokens) - 1)
        drafted, proposed, unseen = [], [], tokens[len(draft) :]
        for _ in range(count):
            proposed.append(to_probs(draft.forward(torch.tensor([unseen]))[0, -1]).double())
            unseen = [draw(proposed[-1])]
            drafted += unseen
        if count:
            draft.forward(torch.tensor([unseen]))
        wanted = to_probs(target.forward(torch.tensor([tokens[len(target) :] + drafted]))[0]).double()[-count - 1 :]
        before = len(tokens)
        for i in range(count):
            if uniform() < wanted[i, drafted[i]] / proposed[i][drafted[i]]:
                tokens.append(drafted[i])
                continue
            rest = torch.clamp(wanted[i] - proposed[i], min=0)
            tokens.append(draw(rest / rest.sum()))
            break
        if tokens[before:] == drafted:
            tokens.append(draw(wanted[count]))
        for model in (target, draft):
            if len(model) >= len(tokens):
                model.crop(len(tokens) - 1)
    return tokens
