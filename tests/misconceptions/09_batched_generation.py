"""Wrong on purpose: what people believe about batches of ragged prompts and about beams, each mistake alone in its code."""

import torch
import torch.nn.functional as F

from gptdojo import fingerprint, misconception
from gptdojo.faults import LearnerError
from tests.strategies.small_gpt import BeamModel, ProvidedCache, RaggedModel

# --- left_pad ---------------------------------------------------------------------------------------------------------


@misconception(
    "left_pad",
    believes="padding comes behind the text",
    truth="for generation it comes before: the newest token of every row has to stand in the last column",
)
def padded_on_the_right(prompts, pad):
    longest = max(map(len, prompts))
    tokens = torch.tensor([list(prompt) + [pad] * (longest - len(prompt)) for prompt in prompts])
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    return tokens, torch.arange(longest) < lengths[:, None]


@misconception(
    "left_pad",
    believes="a token is padding if it is the pad token",
    truth=(
        "the pad may be a real token too (GPT-2 pads with its end-of-text token): where padding stands is known from the "
        "lengths, not from the numbers"
    ),
)
def recognized_by_the_pad(prompts, pad):
    longest = max(map(len, prompts))
    tokens = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    return tokens, tokens != pad


@misconception(
    "left_pad",
    believes="the pads are those before the first token that is not the pad",
    truth="a prompt may begin with the pad token, as GPT-2's often do: count the tokens, do not look at them",
)
def leading_pads_are_padding(prompts, pad):
    longest = max(map(len, prompts))
    tokens = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    return tokens, (tokens != pad).long().cumsum(dim=1) > 0


@misconception(
    "left_pad",
    believes="the mask says where the padding is",
    truth="it says where the real tokens are: True is a token, as True is allowed in every mask of this course",
)
def true_where_padded(prompts, pad):
    longest = max(map(len, prompts))
    tokens = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    n_pad = torch.tensor([longest - len(prompt) for prompt in prompts])
    return tokens, torch.arange(longest) < n_pad[:, None]


@misconception(
    "left_pad",
    believes="a mask of 0 and 1 is as good as one of False and True",
    truth="~1 is -2, and integers index where booleans select: masks are boolean in this course",
)
def mask_of_numbers(prompts, pad):
    longest = max(map(len, prompts))
    tokens = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    n_pad = torch.tensor([longest - len(prompt) for prompt in prompts])
    return tokens, (torch.arange(longest) >= n_pad[:, None]).long()


@misconception(
    "left_pad",
    believes="a batch is as wide as its shortest prompt",
    truth="that throws text away: the shorter ones are filled up, and nothing is lost",
)
def cut_to_the_shortest(prompts, pad):
    shortest = min(map(len, prompts))
    tokens = torch.tensor([list(prompt)[-shortest:] for prompt in prompts])
    return tokens, torch.ones_like(tokens, dtype=torch.bool)


@misconception(
    "left_pad",
    believes="the pad is 0",
    truth="which token pads is the caller's choice; 0 is an ordinary token of GPT-2",
)
def padded_with_zeros(prompts, pad):
    longest = max(map(len, prompts))
    tokens = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    n_pad = torch.tensor([longest - len(prompt) for prompt in prompts])
    return tokens, torch.arange(longest) >= n_pad[:, None]


@misconception(
    "left_pad",
    believes="inserting at the front one by one keeps the order",
    truth="each token goes before the one that came before it, so that the prompt ends up reversed",
)
def prompts_reversed(prompts, pad):
    longest = max(map(len, prompts))
    tokens = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt)[::-1] for prompt in prompts])
    n_pad = torch.tensor([longest - len(prompt) for prompt in prompts])
    return tokens, torch.arange(longest) >= n_pad[:, None]


@misconception(
    "left_pad",
    believes="one column of padding in front never hurts",
    truth="the result is as wide as the longest prompt: a column more is computed and stored for every row",
)
def one_column_too_many(prompts, pad):
    longest = max(map(len, prompts)) + 1
    tokens = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    n_pad = torch.tensor([longest - len(prompt) for prompt in prompts])
    return tokens, torch.arange(longest) >= n_pad[:, None]


# --- position_ids -----------------------------------------------------------------------------------------------------


@misconception(
    "position_ids",
    believes="the position of a token is its column",
    truth="padding is no text: the first real token of every row stands at position 0, as it would alone",
)
def columns(is_token):
    return torch.arange(is_token.shape[1]).expand(is_token.shape).clone()


@misconception(
    "position_ids",
    believes="counting the tokens up to a token gives its position",
    truth="positions are counted from 0: it is the number of tokens before it",
)
def counted_from_one(is_token):
    return is_token.long().cumsum(dim=-1)


@misconception(
    "position_ids",
    believes="the positions of pads make no difference, so that -1 may stand there",
    truth=(
        "nobody sees the pads, but their embedding is looked up: -1 is out of range for F.embedding (and, as an index, "
        "silently the last row)"
    ),
)
def minus_one_at_pads(is_token):
    return is_token.long().cumsum(dim=-1) - 1


@misconception(
    "position_ids",
    believes="pads come after all other positions",
    truth="position n is past the end of a context of n positions: pads need a position that exists, and 0 will do",
)
def past_the_end_at_pads(is_token):
    positions = is_token.long().cumsum(dim=-1) - 1
    return positions.masked_fill(~is_token, is_token.shape[1])


@misconception(
    "position_ids",
    believes="the positions of a row are its columns minus the number of its pads",
    truth="that holds if all pads stand on the left; with padding in between, only what came before a token counts",
)
def columns_minus_all_pads(is_token):
    n_pad = (~is_token).sum(dim=-1, keepdim=True)
    return (torch.arange(is_token.shape[1]) - n_pad).clamp(min=0)


@misconception(
    "position_ids",
    believes="positions count from the first real token, column by column",
    truth="they count tokens: a pad between two tokens does not move the second one on",
)
def columns_since_the_first_token(is_token):
    first = is_token.long().argmax(dim=-1, keepdim=True)
    return (torch.arange(is_token.shape[1]) - first).clamp(min=0)


@misconception(
    "position_ids",
    believes="cumsum along dim 0 runs along the text",
    truth="dimension 0 is the batch: the text is the last one, and rows have nothing to do with each other",
)
def summed_over_the_batch(is_token):
    return (is_token.long().cumsum(dim=0) - 1).clamp(min=0)


@misconception(
    "position_ids",
    believes="positions are counted back from the newest token",
    truth="position 0 is the oldest token of a row: the embedding was trained so",
)
def counted_from_the_right(is_token):
    return (is_token.long().flip(-1).cumsum(dim=-1).flip(-1) - 1).clamp(min=0)


@misconception(
    "position_ids",
    believes="all rows of a batch have the same positions, those of the first one",
    truth="each row has its own padding, and so its own positions",
)
def positions_of_the_first_row(is_token):
    return (is_token[:1].long().cumsum(dim=-1) - 1).clamp(min=0).expand(is_token.shape).clone()


@misconception(
    "position_ids",
    believes="after each gap a new text begins",
    truth="padding between tokens is left out, and the text goes on after it",
)
def restarted_after_gaps(is_token):
    positions = torch.zeros(is_token.shape, dtype=torch.long)
    for column in range(1, is_token.shape[1]):
        goes_on = is_token[:, column] & is_token[:, column - 1]
        positions[:, column] = torch.where(goes_on, positions[:, column - 1] + 1, 0)
    return positions


@misconception(
    "position_ids",
    believes="positions are numbers like all others in a network",
    truth="they index a table of embeddings, so they are integers",
)
def positions_as_floats(is_token):
    return (is_token.float().cumsum(dim=-1) - 1).clamp(min=0)


# --- generate_batch --------------------------------------------------------------------------------------------------


@misconception(
    "generate_batch",
    believes="causality hides what must not be seen, so the mask may be all True",
    truth="padding stands before the text, where causality hides nothing: only is_token keeps it out",
)
def everything_is_a_token(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, torch.ones_like(is_token))[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="the mask belongs to the prompt and stays as it is",
    truth=("with each token the text is one column longer, and so is the mask: it covers all tokens fed so far"),
)
def mask_of_the_prompt(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="the mask says which of the tokens that are fed now are real",
    truth="the queries see all that was fed before, so it covers that, too: shape (batch, seen)",
)
def mask_of_what_is_fed(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token[:, -fed.shape[1] :])[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="what lies behind the prompt is not part of it, so it is masked",
    truth="generated tokens are real ones: the next token has to see them",
)
def new_tokens_are_padding(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, torch.zeros_like(stopped)[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="the last real token of a row stands at its number of tokens minus one",
    truth="that is so with padding on the right; on the left, every row ends in the last column",
)
def last_real_token_by_count(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        last = (is_token.sum(dim=1) - 1).clamp(max=fed.shape[1] - 1)
        logits = forward(fed, is_token)[torch.arange(len(last)), last]
        chosen = logits.argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="forward gives the logits of the next token",
    truth="it gives those after each token that it was fed: the next token is that after the last column",
)
def logits_of_the_first_column(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, 0].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="forward is fed the whole text in each call",
    truth="it remembers what it was fed: only what is new is fed, or every token counts several times",
)
def whole_sequence_again(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = tokens
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="exactly n_new tokens are generated",
    truth=(
        "a row ends with its own eos: what the model says after that is not part of the text, and eos stands "
        "there instead"
    ),
)
def never_stops(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="each eos switches the state of a row",
    truth=(
        "a row that has stopped stays stopped: join by or, as the filling is eos as well and would switch it on again"
    ),
)
def on_and_off_again(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped ^ (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="behind the end of a row there are zeros",
    truth="0 is an ordinary token: the row is filled up with eos, which every reader knows as the end",
)
def filled_with_zeros(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, 0)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=0)


@misconception(
    "generate_batch",
    believes="the result ends where the last row stopped",
    truth=("it always has n_new columns behind the prompt, filled up with eos: callers can rely on its shape"),
)
def shorter_if_all_stop(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    fed = tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return tokens


@misconception(
    "generate_batch",
    believes="generation ends with the first eos",
    truth="rows stop apart: the others go on to their own end",
)
def one_stops_all(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.any():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="generation ends when all rows say eos in the same step",
    truth="rows stop apart, each with its own eos, and what has stopped stays stopped",
)
def all_at_once_or_never(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = (chosen == eos) & (chosen == eos).all()
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="the rows still running are the first ones of the batch",
    truth="any row may stop first: keep all rows in their places, and a flag for each",
)
def stopped_rows_stop_their_neighbors(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = (stopped | (chosen == eos)).cummax(dim=0).values
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="the special tokens are the last ones, and any of them ends a row",
    truth=("a row ends with eos and with nothing else: what comes behind eos in the vocabulary are tokens like others"),
)
def special_tokens_end_it_all(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen >= eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="a row that contains eos has ended",
    truth="only what is generated counts: a prompt may hold eos, at its start or between two documents",
)
def eos_in_the_prompt_counts(forward, tokens, is_token, n_new, eos):
    stopped = (tokens == eos).any(dim=1)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="after each step, the rows in which eos occurs are those that have stopped",
    truth="that finds the eos of the prompt, too: look at what was chosen, not at the whole row",
)
def eos_anywhere_counts(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = (tokens == eos).any(dim=1)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="a row has stopped if its last token is eos",
    truth=("the last token of a prompt may be eos, as a sign that a new text begins; it has not stopped by that"),
)
def last_token_decides(forward, tokens, is_token, n_new, eos):
    stopped = tokens[:, -1] == eos
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="n_new tokens mean n_new calls",
    truth="when every row has stopped, each further call computes what nobody reads",
)
def goes_on_for_nobody(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        fed = chosen[:, None]
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="every token is fed to the model",
    truth="the last one is not: nothing is asked after it, and in a full context there is no room for it",
)
def last_token_fed_too(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(n_new):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    if n_new and not stopped.all():
        forward(fed, is_token)
    return F.pad(tokens, (0, n_total - tokens.shape[1]), value=eos)


@misconception(
    "generate_batch",
    believes="generating means generating something",
    truth="n_new = 0 gives the prompts back, without a call",
)
def at_least_one(forward, tokens, is_token, n_new, eos):
    stopped = torch.zeros(tokens.shape[0], dtype=torch.bool)
    n_total, fed = tokens.shape[1] + n_new, tokens
    for _ in range(max(1, n_new)):
        chosen = forward(fed, is_token)[:, -1].argmax(dim=-1).masked_fill(stopped, eos)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_token = torch.cat([is_token, ~stopped[:, None]], dim=1)
        stopped = stopped | (chosen == eos)
        if stopped.all():
            break
        fed = chosen[:, None]
    return F.pad(tokens, (0, max(0, n_total - tokens.shape[1])), value=eos)


# --- reorder_cache ---------------------------------------------------------------------------------------------------


@misconception(
    "reorder_cache",
    believes="what view returns is the cache, and naming a part of it anew changes it",
    truth="k = k[rows] makes a copy with an old name: it has to be written back, by reset and append",
)
def not_written_back(caches, rows):
    for cache in caches:
        k, v = cache.view()
        k, v = k[rows], v[rows]


@misconception(
    "reorder_cache",
    believes="append puts the rows in their new order",
    truth="it adds positions behind those held: without a reset the text stands there twice",
)
def appended_to_the_old(caches, rows):
    for cache in caches:
        k, v = cache.view()
        k, v = k[rows], v[rows]
        cache.append(k, v)


@misconception(
    "reorder_cache",
    believes="row i goes to place rows[i]",
    truth=(
        "it is the other way round: row i becomes what row rows[i] was; a row may be fetched twice, and "
        "another not at all"
    ),
)
def sent_instead_of_fetched(caches, rows):
    for cache in caches:
        k, v = cache.view()
        k, v = k.index_copy(0, rows, k), v.index_copy(0, rows, v)
        cache.reset()
        cache.append(k, v)


@misconception(
    "reorder_cache",
    believes="the inverse order is needed, to bring the rows back to their places",
    truth="rows says where to read: index with it as it is",
)
def inverse_order(caches, rows):
    for cache in caches:
        k, v = cache.view()
        k, v = k[rows.argsort()], v[rows.argsort()]
        cache.reset()
        cache.append(k, v)


@misconception(
    "reorder_cache",
    believes="dimension 1 is the batch",
    truth="the shape is (batch, head, position, d_head): the rows are dimension 0",
)
def heads_reordered(caches, rows):
    for cache in caches:
        k, v = cache.view()
        k, v = k[:, rows % k.shape[1]], v[:, rows % v.shape[1]]
        cache.reset()
        cache.append(k, v)


@misconception(
    "reorder_cache",
    believes="rows can be overwritten one after the other",
    truth=("row 1 may need what row 0 was, and that is overwritten by then: index all at once, which makes a copy"),
)
def row_by_row_in_place(caches, rows):
    for cache in caches:
        k, v = cache.view()
        k, v = k.clone(), v.clone()
        for i, row in enumerate(rows.tolist()):
            k[i], v[i] = k[row], v[row]
        cache.reset()
        cache.append(k, v)


@misconception(
    "reorder_cache",
    believes="the keys decide who is attended to, so it is enough to reorder them",
    truth=("keys and values of a position belong together: reordered alone, a beam reads another beam's values"),
)
def keys_only(caches, rows):
    for cache in caches:
        k, v = cache.view()
        k = k[rows]
        cache.reset()
        cache.append(k, v)


@misconception(
    "reorder_cache",
    believes="the values are what a beam has read, so it is enough to reorder them",
    truth=("keys and values of a position belong together: reordered alone, the scores are those of another beam"),
)
def values_only(caches, rows):
    for cache in caches:
        k, v = cache.view()
        v = v[rows]
        cache.reset()
        cache.append(k, v)


@misconception(
    "reorder_cache",
    believes="all layers share their history, so one reordered cache is enough",
    truth="each layer has keys and values of its own, computed from the row's own text: all are reordered",
)
def first_layer_only(caches, rows):
    for cache in caches[:1]:
        k, v = cache.view()
        k, v = k[rows], v[rows]
        cache.reset()
        cache.append(k, v)


@misconception(
    "reorder_cache",
    believes="the layers below are used up when the last one has been computed",
    truth="the next token is computed through all layers, and attends to the cache of each",
)
def last_layer_only(caches, rows):
    for cache in caches[-1:]:
        k, v = cache.view()
        k, v = k[rows], v[rows]
        cache.reset()
        cache.append(k, v)


@misconception(
    "reorder_cache",
    believes="beams differ in their newest token",
    truth="they may have parted many tokens ago: the whole history of a row is replaced",
)
def newest_position_only(caches, rows):
    for cache in caches:
        k, v = cache.view()
        k, v = k.clone(), v.clone()
        k[:, :, -1:], v[:, :, -1:] = k[rows, :, -1:], v[rows, :, -1:]
        cache.reset()
        cache.append(k, v)


@misconception(
    "reorder_cache",
    believes="each row goes on at most once",
    truth="a good beam goes on as several, and a bad one ends: rows may hold a number twice",
)
def each_row_once(caches, rows):
    for cache in caches:
        k, v = cache.view()
        order = list(dict.fromkeys(rows.tolist()))
        order += [row for row in range(len(rows)) if row not in order]
        k, v = k[order], v[order]
        cache.reset()
        cache.append(k, v)


# --- beam_search -----------------------------------------------------------------------------------------------------


@misconception(
    "beam_search",
    believes="at first all beams have the score 0",
    truth=(
        "they are copies of one prompt, so that the same continuation is found by each of them: only one may "
        "speak in the first step"
    ),
)
def all_beams_start(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.zeros(width)
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="logits are log-probabilities",
    truth=(
        "they are, up to a number that differs from history to history: without log_softmax beams are "
        "compared by that number, too"
    ),
)
def logits_added(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].clone()
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="the score is the probability of a continuation",
    truth="it is the log-probability, in nats: probabilities of long texts are 0 in floating point",
)
def probabilities_returned(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found].exp()


@misconception(
    "beam_search",
    believes="the order of the beams does not matter",
    truth="the best one comes first: whoever wants one text takes row 0",
)
def worst_first(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found].flip(0), scores[found].flip(0)


@misconception(
    "beam_search",
    believes="the score is the log-probability of the whole row",
    truth="it is that of the continuation, given the prompt: the prompt was not chosen",
)
def prompt_scored_too(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        logits = forward(fed).log_softmax(dim=-1)
        log_probs = logits[:, -1]
        if step == 0:
            scores = scores + logits[:, :-1].gather(2, fed[:, 1:, None]).sum(dim=(1, 2))
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="the prompt is the same in all rows, so one row of it is fed",
    truth="forward remembers `width` rows and wants tokens for each of them, from the first call on",
)
def fed_in_one_row(forward, reorder, prompt, n_new, width, eos=None):
    tokens = tokens = prompt.repeat(width, 1)
    fed = prompt[None]
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="the flat index of a candidate is row + width * token",
    truth=(
        "totals has the shape (width, vocab), and flatten goes along its rows: row = index // vocab, token = "
        "index % vocab"
    ),
)
def index_divided_by_the_width(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best % width, best // width
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="each beam goes on with its own best token",
    truth=("the best candidates of all beams together go on: a good beam may have several heirs, and a bad one none"),
)
def best_of_each_beam(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        if step == 0:
            scores, best = totals.flatten().topk(width)
            rows, chosen = best // totals.shape[1], best % totals.shape[1]
        else:
            scores, chosen = totals.max(dim=-1)
            rows = torch.arange(width)
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    order = scores[found].argsort(descending=True)
    return tokens[found][order], scores[found][order]


@misconception(
    "beam_search",
    believes="the candidates with the most probable newest token go on",
    truth="what counts is the whole continuation: log-probabilities add up from step to step",
)
def newest_token_decides(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = log_probs + (scores[:, None] if step == 0 else 0)
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="beams are the greedy text with other last tokens",
    truth="all beams are continued, not just the best: what was second may win in the end",
)
def greedy_and_its_neighbors(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        totals[1:] = float("-inf")
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="row i goes on with row i's text",
    truth=("the candidate at place i continues row rows[i]: its text has to be fetched before the token is appended"),
)
def texts_not_reordered(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="scores are divided by the length",
    truth="that is another score, which some systems rank by; asked for is log P(continuation | prompt)",
)
def divided_by_the_length(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found] / n_new


@misconception(
    "beam_search",
    believes="it is enough to reorder the texts",
    truth=("the model remembers what each of its rows was fed: untold, it goes on with the history of another beam"),
)
def memory_not_reordered(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="reorder may be called after the next tokens were fed",
    truth=("the tokens are appended to whatever history their row has at that moment: reorder first, then feed"),
)
def memory_reordered_too_late(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    last = torch.arange(width)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if step:
            reorder(last)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            fed = chosen[:, None]
            last = rows
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="reorder wants to know where each row goes",
    truth="it wants to know where each row comes from: row i goes on from row rows[i]",
)
def memory_in_the_inverse_order(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows.argsort())
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="the first step takes the `width` best tokens of the vocabulary",
    truth=(
        "there may be fewer tokens than beams: then only so many beams exist after one step, and more after the next"
    ),
)
def first_step_from_the_vocabulary(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = (totals[0] if step == 0 else totals.flatten()).topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="more beams than words in the vocabulary make no sense",
    truth=("after two steps there are vocab * vocab continuations: a width above the vocabulary is filled then"),
)
def no_wider_than_the_vocabulary(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = (scores > float("-inf")) & (torch.arange(width) < log_probs.shape[1])
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="the result always has `width` rows",
    truth=(
        "where fewer continuations exist, the rest of the rows are copies with a score of minus infinity: "
        "leave them out"
    ),
)
def impossible_beams_kept(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    return tokens, scores


@misconception(
    "beam_search",
    believes="eos is a token like any other",
    truth="nothing follows eos: the beam keeps its score and its place, and is filled up with eos",
)
def ended_beams_go_on(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="a beam that has ended takes no further part",
    truth=("it stays among the candidates with the score it has: a finished text may be better than all that go on"),
)
def ended_beams_dropped(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="each eos of the filling costs its log-probability",
    truth="the filling is no part of the text: the score of an ended beam does not change any more",
)
def eos_paid_again(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            paid = log_probs[:, eos].clone()
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = paid[ended]
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="eos is no word, so it costs nothing",
    truth=("its log-probability belongs to the score: it is what tells a text that may end here from one that may not"),
)
def eos_is_free(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[:, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="the search is over when one beam has ended",
    truth=(
        "others may still become better, and the caller gets all beams: it is over when all have ended, or "
        "after n_new steps"
    ),
)
def first_end_wins(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if ended.any():
            tokens = F.pad(tokens, (0, n_new - 1 - step), value=eos)
            break
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="behind an end there are zeros",
    truth="0 is an ordinary token: an ended beam is filled up with eos",
)
def filled_up_with_zeros(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        shown = chosen.masked_fill(ended[rows], 0)
        tokens = torch.cat([tokens[rows], shown[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="-100 is as good as minus infinity",
    truth=(
        "candidates that do not exist then exist with a low score: where there are fewer texts than beams, "
        "they are returned"
    ),
)
def other_tokens_made_unlikely(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = -100.0
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="a score below -100 marks a beam that does not exist",
    truth="a long or odd text may well have -100 nats and less: only minus infinity is no score",
)
def unlikely_means_impossible(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > -100.0
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="a prompt that ends with eos has ended",
    truth=("only what is generated ends a beam: a prompt may be nothing but eos, as a sign that a new text begins"),
)
def ended_with_the_prompt(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.full((width,), eos is not None and int(prompt[-1]) == eos)
    for step in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        if step < n_new - 1:
            reorder(rows)
            fed = chosen[:, None]
    found = scores > float("-inf")
    return tokens[found], scores[found]


@misconception(
    "beam_search",
    believes="every token is fed to the model",
    truth=("the last ones are not: nothing is asked after them, and in a full context there is no room for them"),
)
def last_tokens_fed_too(forward, reorder, prompt, n_new, width, eos=None):
    tokens = fed = prompt.repeat(width, 1)
    scores = torch.full((width,), float("-inf"))
    scores[0] = 0.0
    ended = torch.zeros(width, dtype=torch.bool)
    for _ in range(n_new):
        log_probs = forward(fed)[:, -1].log_softmax(dim=-1)
        if eos is not None:
            log_probs[ended] = float("-inf")
            log_probs[ended, eos] = 0.0
        totals = scores[:, None] + log_probs
        scores, best = totals.flatten().topk(width)
        rows, chosen = best // totals.shape[1], best % totals.shape[1]
        tokens = torch.cat([tokens[rows], chosen[:, None]], dim=1)
        ended = ended[rows] | (chosen == (-1 if eos is None else eos))
        reorder(rows)
        fed = chosen[:, None]
    forward(fed)
    found = scores > float("-inf")
    return tokens[found], scores[found]


# --- fingerprints -----------------------------------------------------------------------------------------------------


def tell(call, *args):
    """The value of a call, or that it raised: which error it is says nothing about the mistake."""
    try:
        return call(*args)
    except LearnerError:
        return "raised"


@fingerprint("left_pad")
def left_pad_probes(impl):
    return [
        lambda: impl([[5, 6], [7, 8]], 9),
        lambda: impl([[5, 6, 7], [8]], 9),
        lambda: impl([[9, 5, 9, 6], [9, 8], [3]], 9),
    ]


@fingerprint("position_ids")
def position_probes(impl):
    left = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]]).bool()
    holes = torch.tensor([[0, 1, 0, 1, 1, 0], [1, 1, 0, 0, 1, 1]]).bool()
    return [lambda: impl(torch.ones(2, 4, dtype=torch.bool)), lambda: impl(left), lambda: impl(holes)]


@fingerprint("generate_batch")
def generate_probes(impl):
    def story(prompts, n_new, eos, salt, n_ctx=1_000):
        longest = max(map(len, prompts))
        tokens = torch.tensor([[eos] * (longest - len(prompt)) + prompt for prompt in prompts])
        is_token = torch.arange(longest) >= torch.tensor([longest - len(prompt) for prompt in prompts])[:, None]
        model, refused = RaggedModel(salt, len(prompts), 5, n_ctx), []

        def forward(fed, real):
            try:
                return model.padded_forward(fed, real)
            except ValueError:
                refused.append([list(fed.shape), list(real.shape)])
                raise

        def run():
            result = tell(impl, forward, tokens, is_token, n_new, eos)
            return [result, [piece.shape[1] for piece in model.pieces], refused]

        return run

    return [
        story([[1, 2, 0], [2, 0, 1]], 1, 9, 0),
        story([[1, 2, 0], [2]], 2, 9, 1),
        *[story([[1, 2, 0], [2], [0, 1]], 7, 3, salt) for salt in range(2, 12)],
        *[story([[1, 2, 3], [3], [0, 3, 1]], 6, 3, salt) for salt in range(20, 26)],
        story([[1, 2], [2]], 3, 4, 12, n_ctx=4),
        story([[1, 2], [2]], 0, 3, 13),
    ]


@fingerprint("reorder_cache")
def reorder_probes(impl):
    def probe(*rows, held=2):
        caches = [ProvidedCache(len(rows), 2, 2) for _ in range(3)]
        numbers = torch.arange(len(rows) * held * 24.0).reshape(3, 2, len(rows), 2, held, 2)
        for cache, (k, v) in zip(caches, numbers, strict=True):
            cache.append(k, v)

        def run():
            return [tell(impl, caches, torch.tensor(rows)), [cache.view() for cache in caches]]

        return run

    return [probe(1, 0), probe(2, 0, 1), probe(1, 1, 3, 0), probe(3, 2, 0, 2, held=1), probe(0, 1, 2)]


@fingerprint("beam_search")
def beam_probes(impl):
    def story(n_new, width, *eos, salt=9, vocab_size=4, n_ctx=1_000, prompt=(1, 2), scale=1.5):
        model = BeamModel(salt, vocab_size, width, n_ctx, scale)
        return lambda: tell(impl, model.forward, model.reorder, torch.tensor(prompt), n_new, width, *eos)

    return [
        story(1, 2),
        story(2, 3),
        *[story(4, 3, salt=salt) for salt in range(10, 14)],
        story(2, 6),
        story(2, 20),
        *[story(5, 3, 1, salt=salt) for salt in range(14, 20)],
        story(2, 3, 1, prompt=(2, 1)),
        story(2, 16, 1),
        story(4, 16, vocab_size=2, scale=60.0),
        story(3, 2, n_ctx=4),
    ]
