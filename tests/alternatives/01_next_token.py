"""Right, and written differently: all of these must be accepted."""

import math

import numpy as np
import torch
from torch.nn import functional

from gptdojo import alternative

# --- softmax ----------------------------------------------------------------------------------------------------------


@alternative("softmax")
def maximum_then_share(logits, dim=-1):
    highest = logits.max(dim=dim, keepdim=True).values
    weights = torch.exp(logits - highest)
    return weights.div(weights.sum(dim=dim, keepdim=True))


@alternative("softmax")
def maximum_detached(logits, dim=-1):
    weights = torch.exp(logits - logits.detach().amax(dim, keepdim=True))
    return weights * weights.sum(dim, keepdim=True).reciprocal()


@alternative("softmax")
def in_float64(logits, dim=-1):
    wide = logits.to(torch.float64)
    weights = (wide - wide.amax(dim, True)).exp()
    return (weights / weights.sum(dim, True)).to(logits.dtype)


@alternative("softmax")
def in_float32(logits, dim=-1):
    wide = logits.float()
    weights = torch.exp(wide - torch.amax(wide, dim, keepdim=True))
    return torch.div(weights, torch.sum(weights, dim, keepdim=True)).type_as(logits)


@alternative("softmax")
def exponential_of_the_difference(logits, dim=-1):
    return torch.exp(logits - torch.logsumexp(logits, dim=dim, keepdim=True))


@alternative("softmax")
def moved_to_the_end_and_back(logits, dim=-1):
    rows = logits.movedim(dim, -1)
    weights = (rows - rows.max(-1, keepdim=True)[0]).exp()
    return torch.einsum("...i,...->...i", weights, 1 / weights.sum(-1)).movedim(-1, dim)


@alternative("softmax")
def one_row_at_a_time(logits, dim=-1):
    moved = logits.transpose(dim, -1)
    rows = moved.reshape(-1, moved.shape[-1])
    probs = []
    for row in rows:
        weights = torch.exp(row - max(row.tolist()))
        probs.append(weights / sum(weights))
    return torch.stack(probs).reshape(moved.shape).transpose(dim, -1)


@alternative("softmax")
def powers_of_e(logits, dim=-1):
    weights = math.e ** (logits.double() - logits.amax(dim, keepdim=True))
    return functional.normalize(weights, p=1.0, dim=dim).to(logits.dtype)


@alternative("softmax")
def in_place_on_a_copy(logits, dim=-1):
    weights = logits.clone()
    weights -= logits.amax(dim, keepdim=True)
    weights.exp_()
    weights /= weights.sum(dim, keepdim=True)
    return weights


@alternative("softmax")
def with_a_running_maximum(logits, dim=-1):
    highest = torch.full_like(logits.select(dim, 0), -math.inf)
    total = torch.zeros_like(highest)
    for logit in logits.unbind(dim):
        before, highest = highest, torch.maximum(highest, logit)
        total = total * torch.exp(before - highest) + torch.exp(logit - highest)
    return torch.exp(logits - highest.unsqueeze(dim)) / total.unsqueeze(dim)


@alternative("softmax")
def in_numpy(logits, dim=-1):
    z = logits.numpy()
    weights = np.exp(z - z.max(axis=dim, keepdims=True))
    return torch.from_numpy(weights / weights.sum(axis=dim, keepdims=True))


# --- log_softmax ------------------------------------------------------------------------------------------------------


@alternative("log_softmax")
def difference_to_logsumexp(logits, dim=-1):
    return logits - logits.logsumexp(dim=dim, keepdim=True)


@alternative("log_softmax")
def maximum_given_back(logits, dim=-1):
    highest = logits.max(dim=dim, keepdim=True).values
    total = torch.exp(logits - highest).sum(dim=dim, keepdim=True)
    return logits - (highest + torch.log(total))


@alternative("log_softmax")
def log_in_float64(logits, dim=-1):
    wide = logits.double()
    wide = wide - wide.amax(dim, keepdim=True)
    return (wide - wide.exp().sum(dim, keepdim=True).log()).to(logits.dtype)


@alternative("log_softmax")
def log_in_float32_moved_to_the_front(logits, dim=-1):
    rows = logits.float().movedim(dim, 0)
    shifted = rows - rows.amax(0)
    return shifted.sub(shifted.exp().sum(0).log()).movedim(0, dim).to(logits.dtype)


@alternative("log_softmax")
def folded_with_logaddexp(logits, dim=-1):
    slices = logits.unbind(dim)
    total = slices[0]
    for one in slices[1:]:
        total = torch.logaddexp(total, one)
    return torch.stack([one - total for one in slices], dim)


@alternative("log_softmax")
def log1p_of_the_others(logits, dim=-1):
    rows = logits.float().movedim(dim, -1)
    highest, where = rows.max(-1, keepdim=True)
    weights = (rows - highest).exp()
    others = weights.scatter(-1, where, 0.0).sum(-1, keepdim=True)
    return (rows - highest - torch.log1p(others)).movedim(-1, dim).to(logits.dtype)


@alternative("log_softmax")
def log_one_row_at_a_time(logits, dim=-1):
    moved = logits.transpose(dim, -1)
    result = torch.empty_like(moved)
    rows = moved.reshape(-1, moved.shape[-1])
    done = [row - row.max() - (row - row.max()).exp().sum().log() for row in rows]
    result[...] = torch.stack(done).reshape(moved.shape)
    return result.transpose(dim, -1)


@alternative("log_softmax")
def log_in_numpy(logits, dim=-1):
    z = logits.numpy()
    shifted = z - np.max(z, axis=dim, keepdims=True)
    return torch.tensor(shifted - np.log(np.sum(np.exp(shifted), axis=dim, keepdims=True)))


@alternative("log_softmax")
def log_in_place_on_a_copy(logits, dim=-1):
    result = logits.detach().clone()
    result -= result.max(dim, keepdim=True).values
    result -= result.exp().sum(dim, keepdim=True).log_()
    return result


# --- shift_targets ----------------------------------------------------------------------------------------------------


@alternative("shift_targets")
def two_slices(tokens):
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


@alternative("shift_targets")
def narrowed(tokens):
    return [tokens.narrow(1, start, tokens.shape[-1] - 1) for start in (0, 1)]


@alternative("shift_targets")
def rolled_and_cut(tokens):
    return tokens[..., :-1], torch.roll(tokens, shifts=-1, dims=-1)[..., :-1]


@alternative("shift_targets")
def windows_of_two(tokens):
    return tokens.unfold(1, 2, 1).unbind(-1)


@alternative("shift_targets")
def lists_of_lists(tokens):
    texts = tokens.tolist()
    inputs = torch.tensor([text[:-1] for text in texts])
    return inputs, torch.tensor([[text[i + 1] for i in range(len(text) - 1)] for text in texts])


@alternative("shift_targets")
def written_into_new_tensors(tokens):
    batch, n_position = tokens.shape
    inputs, targets = tokens.new_empty(2, batch, n_position - 1)
    for i in range(n_position - 1):
        inputs[:, i], targets[:, i] = tokens[:, i], tokens[:, i + 1]
    return inputs, targets


@alternative("shift_targets")
def refuses_what_is_too_short(tokens):
    if tokens.shape[1] < 2:
        raise ValueError("nothing to predict")
    return tokens[:, :-1].clone(), tokens[:, 1:].clone()


# --- cross_entropy ----------------------------------------------------------------------------------------------------


@alternative("cross_entropy")
def flattened_and_indexed(logits, targets, ignore_index=-100):
    rows, wanted = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    if (wanted == ignore_index).all():
        raise RuntimeError("all targets are ignored")
    keep = (wanted != ignore_index).nonzero().flatten()
    return -rows.log_softmax(-1)[keep, wanted[keep]].mean()


@alternative("cross_entropy")
def masked_and_divided(logits, targets, ignore_index=-100):
    counted = targets != ignore_index
    if counted.sum() == 0:
        raise ZeroDivisionError("no targets")
    safe = torch.where(counted, targets, 0)
    losses = -torch.log_softmax(logits, dim=-1).gather(-1, safe.unsqueeze(-1)).squeeze(-1)
    return (losses * counted).sum() / counted.sum()


@alternative("cross_entropy")
def logsumexp_minus_the_logit(logits, targets, ignore_index=-100):
    counted = targets != ignore_index
    assert counted.any(), "nothing to average"
    logits = logits[counted]
    wanted = torch.take_along_dim(logits, targets[counted].unsqueeze(-1), dim=-1)
    return torch.mean(logits.logsumexp(-1, keepdim=True) - wanted)


@alternative("cross_entropy")
def one_hot_product(logits, targets, ignore_index=-100):
    if all(target == ignore_index for target in targets.flatten().tolist()):
        raise ValueError("nothing to count")
    counted = (targets != ignore_index).unsqueeze(-1)
    one_hot = functional.one_hot(targets.masked_fill(targets == ignore_index, 0), logits.shape[-1]) * counted
    return -torch.einsum("...v,...v->", functional.log_softmax(logits, -1), one_hot.to(logits.dtype)) / counted.sum()


@alternative("cross_entropy")
def one_target_at_a_time(logits, targets, ignore_index=-100):
    total, count = 0.0, 0
    for row, target in zip(logits.flatten(0, -2), targets.flatten().tolist(), strict=True):
        if target != ignore_index:
            total = total + row.logsumexp(0) - row[target]
            count += 1
    return total / count


@alternative("cross_entropy")
def loss_in_float64(logits, targets, ignore_index=-100):
    log_probs = logits.double().log_softmax(-1)
    weights = (targets != ignore_index).double()
    safe = targets.clamp(0, logits.shape[-1] - 1)
    losses = -log_probs.gather(-1, safe[..., None])[..., 0] * weights
    loss = (losses.sum() / weights.sum()).to(logits.dtype)
    if loss.isnan():
        raise ArithmeticError("the mean of nothing")
    return loss


@alternative("cross_entropy")
def by_a_distribution(logits, targets, ignore_index=-100):
    counted = targets != ignore_index
    if not counted.any():
        raise ValueError
    predicted = torch.distributions.Categorical(logits=logits[counted])
    return -predicted.log_prob(targets[counted]).mean()


@alternative("cross_entropy")
def made_of_numbers(logits, targets, ignore_index=-100):
    rows = logits.numpy().reshape(-1, logits.shape[-1]).astype(np.float64)
    losses = []
    for row, target in zip(rows, targets.reshape(-1).tolist(), strict=True):
        if target != ignore_index:
            losses.append(row.max() + math.log(np.exp(row - row.max()).sum()) - row[target])
    return torch.tensor(sum(losses) / len(losses), dtype=torch.float32)


@alternative("cross_entropy")
def refuses_all_that_does_not_fit(logits, targets, ignore_index=-100):
    counted = targets != ignore_index
    wanted = targets[counted]
    if logits.shape[:-1] != targets.shape or len(wanted) == 0 or wanted.min() < 0 or wanted.max() >= logits.shape[-1]:
        raise ValueError("expected targets that fit the logits")
    return -torch.log_softmax(logits[counted], -1)[range(len(wanted)), wanted].mean()


# --- sequence_log_prob ------------------------------------------------------------------------------------------------


@alternative("sequence_log_prob")
def gathered_and_added(logits, tokens):
    log_probs = torch.log_softmax(logits, dim=-1)[:, :-1]
    return torch.gather(log_probs, 2, tokens[:, 1:].unsqueeze(2)).sum(dim=(1, 2))


@alternative("sequence_log_prob")
def minus_the_summed_loss(logits, tokens):
    losses = functional.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    return losses.sum(dim=1).neg()


@alternative("sequence_log_prob")
def summed_one_hot(logits, tokens):
    log_probs = logits - logits.logsumexp(dim=-1, keepdim=True)
    one_hot = functional.one_hot(tokens, logits.shape[-1]).to(logits.dtype)
    return torch.einsum("btv,btv->b", log_probs[:, :-1], one_hot[:, 1:])


@alternative("sequence_log_prob")
def token_by_token(logits, tokens):
    batch, n_position = tokens.shape
    totals = []
    for b in range(batch):
        total = logits.new_zeros(())
        for t in range(1, n_position):
            total = total + functional.log_softmax(logits[b, t - 1], dim=0)[tokens[b, t]]
        totals.append(total)
    return torch.stack(totals)


@alternative("sequence_log_prob")
def summed_in_float64(logits, tokens):
    batch, n_position = tokens.shape
    log_probs = logits.double().log_softmax(-1)
    rows, columns = torch.arange(batch)[:, None], torch.arange(n_position - 1)
    return log_probs[rows, columns, tokens[:, 1:]].sum(1).to(logits.dtype)


@alternative("sequence_log_prob")
def logits_minus_normalizers(logits, tokens):
    wanted = torch.roll(tokens, -1, 1).unsqueeze(-1)
    log_probs = (logits.log_softmax(-1).take_along_dim(wanted, -1)).squeeze(-1)
    real = torch.ones_like(log_probs)
    real[:, -1] = 0.0
    return (log_probs * real).sum(-1)


@alternative("sequence_log_prob")
def sums_of_numbers(logits, tokens):
    z, texts = logits.numpy(), tokens.numpy()
    shifted = z - z.max(-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    totals = [sum(row[t - 1, text[t]] for t in range(1, len(text))) for row, text in zip(log_probs, texts, strict=True)]
    return torch.tensor(np.array(totals, dtype=np.float32))


# --- perplexity -------------------------------------------------------------------------------------------------------


@alternative("perplexity")
def exponential_of_the_mean_loss(log_probs, n_tokens):
    if not n_tokens.any():
        raise ValueError("nothing to count")
    return torch.exp(-torch.sum(log_probs) / torch.sum(n_tokens))


@alternative("perplexity")
def weighted_mean_of_losses(log_probs, n_tokens):
    if int(n_tokens.sum()) == 0:
        raise ValueError("nothing to count")
    losses = -log_probs / n_tokens.clamp(min=1)
    return ((losses * n_tokens).sum() / n_tokens.sum()).exp()


@alternative("perplexity")
def bits_and_powers_of_two(log_probs, n_tokens):
    if n_tokens.sum() <= 0:
        raise ValueError("nothing to count")
    bits = log_probs.double().sum() / -math.log(2)
    return (2 ** (bits / n_tokens.sum())).to(log_probs.dtype)


@alternative("perplexity")
def python_numbers(log_probs, n_tokens):
    return torch.tensor(math.exp(-math.fsum(log_probs.tolist()) / sum(n_tokens.tolist())), dtype=log_probs.dtype)


@alternative("perplexity")
def product_of_roots(log_probs, n_tokens):
    total = n_tokens.sum()
    if total < 1:
        raise ValueError("nothing to count")
    return (-log_probs / total).exp().prod()


@alternative("perplexity")
def assertion(log_probs, n_tokens):
    assert n_tokens.sum() > 0
    return (log_probs.sum() / n_tokens.sum()).exp().reciprocal()
