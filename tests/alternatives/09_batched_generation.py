"""Right, and written differently: all of these must be accepted."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from gptdojo import alternative

# --- left_pad ---------------------------------------------------------------------------------------------------------


@alternative("left_pad")
def row_by_row(prompts, pad):
    longest = max(len(prompt) for prompt in prompts)
    tokens = torch.full((len(prompts), longest), pad)
    is_token = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = torch.tensor(prompt)
        is_token[row, longest - len(prompt) :] = True
    return tokens, is_token


@alternative("left_pad")
def padded_backwards(prompts, pad):
    backwards = [torch.tensor(list(prompt)).flip(0) for prompt in prompts]
    tokens = pad_sequence(backwards, batch_first=True, padding_value=pad).flip(1)
    is_token = pad_sequence([torch.ones_like(row) for row in backwards], batch_first=True).flip(1) == 1
    return tokens, is_token


@alternative("left_pad")
def one_at_a_time(prompts, pad):
    longest = len(max(prompts, key=len))
    rows = [F.pad(torch.tensor(prompt), (longest - len(prompt), 0), value=pad) for prompt in prompts]
    marks = [[False] * (longest - len(prompt)) + [True] * len(prompt) for prompt in prompts]
    return torch.stack(rows), torch.tensor(marks)


@alternative("left_pad")
def scattered_into_place(prompts, pad):
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    is_token = torch.arange(int(lengths.max())).flip(0) < lengths[:, None]
    tokens = torch.full(is_token.shape, pad, dtype=torch.int64)
    tokens[is_token] = torch.tensor([token for prompt in prompts for token in prompt])
    return tokens, is_token


# --- position_ids -----------------------------------------------------------------------------------------------------


@alternative("position_ids")
def ones_at_pads(is_token):
    positions = is_token.long().cumsum(-1) - 1
    return positions.masked_fill(~is_token, min(1, is_token.shape[-1] - 1))


@alternative("position_ids")
def tokens_before(is_token):
    return is_token.long().cumsum(dim=1) - is_token.long()


@alternative("position_ids")
def counted_in_a_loop(is_token):
    rows = []
    for row in is_token.tolist():
        count, positions = 0, []
        for real in row:
            positions.append(count if real else 0)
            count += real
        rows.append(positions)
    return torch.tensor(rows)


@alternative("position_ids")
def counted_by_a_triangle(is_token):
    before = torch.ones(is_token.shape[1], is_token.shape[1]).triu(1)
    return (is_token.float() @ before).long()


# --- generate_batch ---------------------------------------------------------------------------------------------------


@alternative("generate_batch")
def filled_in_place(forward, tokens, is_token, n_new, eos):
    batch, n_prompt = tokens.shape
    sequence = torch.cat([tokens, torch.full((batch, n_new), eos)], dim=1)
    real = torch.cat([is_token, torch.zeros(batch, n_new, dtype=torch.bool)], dim=1)
    running = torch.ones(batch, dtype=torch.bool)
    start = 0
    for end in range(n_prompt, n_prompt + n_new):
        if not running.any():
            break
        best = forward(sequence[:, start:end], real[:, :end])[:, -1].argmax(-1)
        sequence[running, end] = best[running]
        real[running, end] = True
        running &= best != eos
        start = end
    return sequence


@alternative("generate_batch")
def lists_of_rows(forward, tokens, is_token, n_new, eos):
    texts, marks = tokens.tolist(), is_token.tolist()
    running = set(range(len(texts)))
    fed = tokens
    for _ in range(n_new):
        logits = forward(fed, torch.tensor(marks))[:, -1].tolist()
        for row, text in enumerate(texts):
            best = max(range(len(logits[row])), key=logits[row].__getitem__)
            text.append(best if row in running else eos)
            marks[row].append(True)
        running -= {row for row in running if texts[row][-1] == eos}
        if not running:
            break
        fed = torch.tensor([text[-1:] for text in texts])
    width = tokens.shape[1] + n_new
    return torch.tensor([text + [eos] * (width - len(text)) for text in texts])


@alternative("generate_batch")
def prompt_column_by_column(forward, tokens, is_token, n_new, eos):
    if n_new == 0:
        return tokens.clone()
    for column in range(tokens.shape[1]):
        logits = forward(tokens[:, column : column + 1], is_token[:, : column + 1])
    columns, stopped = [], torch.zeros(len(tokens), dtype=torch.bool)
    while True:
        best = torch.where(stopped, eos, logits[:, -1].max(dim=-1).indices)
        columns.append(best)
        stopped = stopped | best.eq(eos)
        if len(columns) == n_new or bool(stopped.all()):
            break
        is_token = torch.cat([is_token, torch.ones(len(tokens), 1, dtype=torch.bool)], dim=1)
        logits = forward(best.unsqueeze(1), is_token)
    columns += [torch.full_like(columns[0], eos)] * (n_new - len(columns))
    return torch.cat([tokens, torch.stack(columns, dim=1)], dim=1)


@alternative("generate_batch")
def cleaned_up_at_the_end(forward, tokens, is_token, n_new, eos):
    new, fed = tokens[:, :0], tokens
    while new.shape[1] < n_new and not (new == eos).any(dim=1).all():
        fed = forward(fed, is_token)[:, -1].topk(1).indices
        new = torch.cat([new, fed], dim=1)
        is_token = F.pad(is_token, (0, 1), value=True)
    behind = (new == eos).long().cumsum(dim=1) - (new == eos).long() > 0
    new = F.pad(new.masked_fill(behind, eos), (0, n_new - new.shape[1]), value=eos)
    return torch.cat([tokens, new], dim=1)


# --- reorder_cache ----------------------------------------------------------------------------------------------------


@alternative("reorder_cache")
def selected_and_cropped(caches, rows):
    for cache in caches:
        k, v = (held.index_select(0, rows) for held in cache.view())
        cache.crop(0)
        cache.append(k, v)


@alternative("reorder_cache")
def position_by_position(caches, rows):
    for cache in caches:
        k, v = cache.view()
        k, v = k.clone(), v.clone()
        cache.reset()
        for position in range(k.shape[2]):
            here = slice(position, position + 1)
            cache.append(k[rows][:, :, here], v[rows][:, :, here])


@alternative("reorder_cache")
def stacked_rows(caches, rows):
    old = [tuple(part.clone() for part in cache.view()) for cache in caches]
    for cache, (k, v) in zip(caches, old, strict=True):
        cache.reset()
        cache.append(torch.stack([k[int(row)] for row in rows]), torch.stack([v[int(row)] for row in rows]))


@alternative("reorder_cache")
def product_with_a_selection(caches, rows):
    chosen = F.one_hot(rows, len(rows)).float()
    for i in range(len(caches)):
        k, v = caches[i].view()
        k, v = torch.einsum("ij,jhtd->ihtd", chosen, k), torch.einsum("ij,jhtd->ihtd", chosen, v)
        caches[i].crop(0)
        caches[i].append(k, v)


# --- beam_search ------------------------------------------------------------------------------------------------------


@alternative("beam_search")
def sorted_lists(forward, reorder, prompt, n_new, width, eos=None):
    beams = [(0.0, [], 0)]  # score, continuation, row of the model
    fed = prompt.repeat(width, 1)
    for step in range(n_new):
        if step:
            parents = [row for _, _, row in beams]
            reorder(torch.tensor((parents + [0] * width)[:width]))
            newest = [new[-1] for _, new, _ in beams]
            fed = torch.tensor((newest + [0] * width)[:width])[:, None]
        log_probs = forward(fed)[:, -1].double().log_softmax(dim=-1).tolist()
        candidates = []
        for row, (score, new, _) in enumerate(beams):
            if eos is not None and new and new[-1] == eos:
                candidates.append((score, [*new, eos], row))
            else:
                candidates += [(score + p, [*new, token], row) for token, p in enumerate(log_probs[row])]
        beams = sorted(candidates, key=lambda candidate: -candidate[0])[:width]
    rows = [prompt.tolist() + new for _, new, _ in beams]
    return torch.tensor(rows), torch.tensor([score for score, _, _ in beams])


@alternative("beam_search")
def stopped_early(forward, reorder, prompt, n_new, width, eos=None):
    tokens = prompt.expand(width, len(prompt)).clone()
    ended, scores, fed = torch.zeros(width, dtype=torch.bool), torch.full((width, 1), -torch.inf), tokens
    scores[0] = 0
    for step in range(n_new):
        logits = forward(fed)[:, -1]
        new = logits - logits.logsumexp(dim=-1, keepdim=True)
        if eos is not None:
            stay = torch.full_like(new, -torch.inf)
            stay[:, eos] = 0
            new = torch.where(ended[:, None], stay, new)
        best = torch.sort((scores + new).reshape(-1), descending=True, stable=True)
        scores, places = best.values[:width, None], best.indices[:width]
        rows = torch.div(places, new.shape[-1], rounding_mode="floor")
        chosen = places - rows * new.shape[-1]
        tokens = torch.hstack([tokens[rows], chosen.unsqueeze(1)])
        if eos is not None:
            ended = chosen == eos
            if (ended | scores[:, 0].isinf()).all():
                tokens = F.pad(tokens, (0, n_new - 1 - step), value=eos)
                break
        if step + 1 < n_new:
            reorder(rows)
            fed = tokens[:, -1:]
    real = scores[:, 0].isfinite()
    return tokens[real], scores[real, 0]


@alternative("beam_search")
def top_of_each_row_first(forward, reorder, prompt, n_new, width, eos=None):
    sequences, totals = prompt.repeat(width, 1), [0.0] + [-np.inf] * (width - 1)
    fed = sequences
    for step in range(n_new):
        log_probs = torch.log(forward(fed)[:, -1].double().softmax(-1))
        pool = []
        for row in range(width):
            if totals[row] == -np.inf:
                continue
            if eos is not None and sequences.shape[1] > len(prompt) and sequences[row, -1] == eos:
                pool.append((totals[row], row, eos))
                continue
            values, tokens = log_probs[row].topk(min(width, log_probs.shape[1]))
            pool += [
                (totals[row] + value, row, token) for value, token in zip(values.tolist(), tokens.tolist(), strict=True)
            ]
        pool = sorted(pool, reverse=True)[:width]
        pool += [(-np.inf, 0, 0)] * (width - len(pool))
        totals = [score for score, _, _ in pool]
        rows, new = torch.tensor([row for _, row, _ in pool]), torch.tensor([[token] for _, _, token in pool])
        sequences = torch.cat([sequences[rows], new], dim=1)
        if step < n_new - 1:
            reorder(rows)
            fed = new
    count = sum(total > -np.inf for total in totals)
    return sequences[:count], torch.tensor(totals[:count], dtype=torch.float32)
