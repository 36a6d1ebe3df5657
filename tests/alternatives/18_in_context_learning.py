"""Right, and written differently: all of these must be accepted."""

import numpy as np
import torch

from gptdojo import alternative

# --- few_shot_prompt --------------------------------------------------------------------------------------------------


@alternative("few_shot_prompt")
def built_up_by_adding(instruction, examples, query):
    prompt = ""
    if instruction != "":
        prompt += instruction + "\n\n"
    for example in examples:
        prompt += "Input: " + example[0] + "\n" + "Output: " + example[1] + "\n\n"
    return prompt + "Input: " + query + "\nOutput:"


@alternative("few_shot_prompt")
def lines_joined(instruction, examples, query):
    lines = [instruction, ""] if instruction else []
    for source, target in examples:
        lines.extend((f"Input: {source}", f"Output: {target}", ""))
    lines.extend((f"Input: {query}", "Output:"))
    return "\n".join(lines)


@alternative("few_shot_prompt")
def query_as_an_example_cut_off(instruction, examples, query):
    blocks = ["Input: {}\nOutput: {}".format(*pair) for pair in [*examples, (query, "")]]
    return "\n\n".join(filter(None, [instruction, *blocks]))[:-1]


# --- induction_score --------------------------------------------------------------------------------------------------


@alternative("induction_score")
def loops_over_positions(weights, tokens):
    tokens = tokens.tolist()
    rows = []
    for query, token in enumerate(tokens):
        places = [key + 1 for key in range(query) if tokens[key] == token]
        if places:
            rows.append(weights[:, query, places].sum(dim=-1))
    return torch.stack(rows).mean(dim=0)


@alternative("induction_score")
def shifted_tokens_compared(weights, tokens):
    n = len(tokens)
    before = torch.cat([torch.full((1,), -1, dtype=tokens.dtype), tokens[:-1]])
    position = torch.arange(n)
    wanted = (before[None, :] == tokens[:, None]) & (position[None, :] <= position[:, None]) & (position > 0)
    total = torch.einsum("hqk,qk->hq", weights, wanted.to(weights.dtype))
    counts = wanted.sum(-1) > 0
    return (total * counts).sum(-1) / counts.sum()


@alternative("induction_score")
def with_numpy(weights, tokens):
    w, t = weights.double().numpy(), tokens.numpy()
    wanted = np.zeros((len(t), len(t)), dtype=bool)
    for query in range(len(t)):
        wanted[query, 1 : query + 1] = t[:query] == t[query]
    rows = wanted.any(axis=1)
    return torch.from_numpy((w * wanted)[:, rows].sum(axis=2).mean(axis=1)).to(weights.dtype)


@alternative("induction_score")
def head_by_head(weights, tokens):
    same = (tokens.view(-1, 1) == tokens.view(1, -1)).float().tril(-1)
    wanted = torch.nn.functional.pad(same, (1, 0))[:, :-1]
    repeated = wanted.sum(1).clamp(max=1)
    return torch.tensor([((head * wanted).sum(1) * repeated).sum() / repeated.sum() for head in weights])


# --- in_context_gain --------------------------------------------------------------------------------------------------


@alternative("in_context_gain")
def means_subtracted(losses, early=50, late=500):
    by_position = losses.mean(dim=0)
    return by_position[early - 1] - by_position[late - 1]


@alternative("in_context_gain")
def a_plain_number(losses, early=50, late=500):
    rows = losses.tolist()
    return sum(row[early - 1] - row[late - 1] for row in rows) / len(rows)


@alternative("in_context_gain")
def selected_in_float64(losses, early=50, late=500):
    columns = losses.double().index_select(1, torch.tensor([early, late]) - 1)
    return -columns.diff(dim=1).mean().float()
