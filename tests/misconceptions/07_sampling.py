"""Wrong on purpose: what people believe about turning logits into a token, each mistake alone in its function."""

import math

import torch
import torch.nn.functional as F

from gptdojo import fingerprint, misconception
from gptdojo.faults import LearnerError
from tests.strategies.chance import follows

# --- apply_temperature ------------------------------------------------------------------------------------------------


@misconception(
    "apply_temperature",
    believes="a higher temperature makes the logits larger",
    truth=(
        "the logits are divided by it: a higher temperature makes the differences smaller and the distribution flatter"
    ),
)
def multiplies(logits, temperature):
    if temperature == 0:
        return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True), -torch.inf)
    return logits * temperature


@misconception(
    "apply_temperature",
    believes="temperature 0 is like any other temperature",
    truth=(
        "logits / 0 is infinite or NaN: 0 is the limit, in which only the likeliest token is left, and needs a "
        "case of its own"
    ),
)
def divides_by_zero(logits, temperature):
    return logits / temperature


@misconception(
    "apply_temperature",
    believes="a temperature of 0 can be replaced by a very small one",
    truth=(
        "tokens close behind the likeliest are then still possible, and logits are blown up; with 0 everything "
        "but the likeliest is exactly -inf"
    ),
)
def small_enough_for_zero(logits, temperature):
    return logits / max(temperature, 1e-6)


@misconception(
    "apply_temperature",
    believes="a temperature of 0 means that none was set",
    truth="0 is the greediest setting, not a missing one: in Python `if temperature` confuses the two",
)
def zero_means_one(logits, temperature):
    return logits / (temperature or 1.0)


@misconception(
    "apply_temperature",
    believes="the temperature gives probabilities",
    truth="it gives logits: filters come after it, and the softmax comes last",
)
def returns_probabilities(logits, temperature):
    if temperature == 0:
        return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True), -torch.inf)
    return F.softmax(logits / temperature, dim=-1)


@misconception(
    "apply_temperature",
    believes="the temperature divides the probabilities",
    truth="it divides the logits: dividing probabilities by a number changes nothing once they are scaled to sum to 1",
)
def scales_probabilities(logits, temperature):
    if temperature == 0:
        return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True), -torch.inf)
    return (F.softmax(logits, dim=-1) / temperature).log()


@misconception(
    "apply_temperature",
    believes="with temperature 0 one token is left, the first that has the largest logit",
    truth=(
        "tokens that tie for the largest logit are equally likely at every temperature, so in the limit too: all "
        "of them stay"
    ),
)
def first_of_the_likeliest(logits, temperature):
    if temperature == 0:
        best = logits.argmax(dim=-1, keepdim=True)
        return torch.full_like(logits, -torch.inf).scatter(-1, best, logits.gather(-1, best))
    return logits / temperature


@misconception(
    "apply_temperature",
    believes="the largest logit of the tensor is the likeliest token",
    truth="each row has a distribution of its own, and with temperature 0 each keeps its own likeliest token",
)
def likeliest_of_the_batch(logits, temperature):
    if temperature == 0:
        return logits.masked_fill(logits < logits.max(), -torch.inf)
    return logits / temperature


@misconception(
    "apply_temperature",
    believes="a temperature above 1 makes no sense",
    truth="above 1 it flattens the distribution, without a bound",
)
def only_sharpens(logits, temperature):
    if temperature == 0:
        return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True), -torch.inf)
    return logits / min(temperature, 1.0)


@misconception(
    "apply_temperature",
    believes="the logits are divided by the square of the temperature, like a variance",
    truth="in exp(-energy / temperature) it stands alone: the logits are divided by the temperature itself",
)
def square(logits, temperature):
    if temperature == 0:
        return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True), -torch.inf)
    return logits / temperature**2


@misconception(
    "apply_temperature",
    believes="with temperature 0 the logits become a one-hot vector",
    truth="0 and 1 are logits too: their softmax still gives the others a share; what is ruled out is -inf",
)
def one_hot(logits, temperature):
    if temperature == 0:
        return (logits == logits.amax(dim=-1, keepdim=True)).to(logits.dtype)
    return logits / temperature


@misconception(
    "apply_temperature",
    believes="infinite logits have to be made finite before anything is computed with them",
    truth="-inf is how an earlier step says that a token cannot come, and it stays -inf at every temperature",
)
def ruled_out_come_back(logits, temperature):
    if temperature == 0:
        return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True), -torch.inf)
    return logits.nan_to_num(neginf=-1e4) / temperature


# --- top_k_filter -----------------------------------------------------------------------------------------------------


@misconception(
    "top_k_filter",
    believes="what is kept has to be larger than the k-th largest logit",
    truth="the k-th itself belongs to the k likeliest, so the comparison is >= and not >",
)
def drops_the_kth(logits, k):
    least = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits <= least, -torch.inf)


@misconception(
    "top_k_filter",
    believes="values[k] is the k-th largest",
    truth="indices start at 0, so the k-th largest is values[k - 1]",
)
def one_too_many(logits, k):
    ordered = logits.sort(dim=-1, descending=True).values
    least = ordered[:, min(k, logits.shape[-1] - 1)].unsqueeze(-1)
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_k_filter",
    believes="a logit of 0 rules a token out",
    truth="exp(0) is 1: a logit of 0 is as good as many others; only -inf gives the probability 0",
)
def zero_rules_out(logits, k):
    least = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < least, 0.0)


@misconception(
    "top_k_filter",
    believes="the lowest finite number is as good as -inf",
    truth=(
        "it is a logit like any other to the next step: scaled or shifted it overflows or comes back; a filter "
        "here gives -inf"
    ),
)
def lowest_number_rules_out(logits, k):
    least = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < least, torch.finfo(logits.dtype).min)


@misconception(
    "top_k_filter",
    believes="the filter removes the k likeliest tokens",
    truth="it keeps them and removes all others",
)
def removes_the_likeliest(logits, k):
    least = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits >= least, -torch.inf)


@misconception(
    "top_k_filter",
    believes="the vocabulary is in the order of the logits",
    truth="its order is that of the tokenizer: which tokens are likeliest has to be looked up for each row",
)
def first_k_of_the_vocabulary(logits, k):
    return logits.masked_fill(torch.arange(logits.shape[-1]) >= k, -torch.inf)


@misconception(
    "top_k_filter",
    believes="one border does for the whole batch",
    truth="each row is a distribution of its own, with a k-th largest logit of its own",
)
def one_border_for_all_rows(logits, k):
    least = logits.topk(min(k, logits.shape[-1])).values[0, -1]
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_k_filter",
    believes="the k likeliest are those of the whole batch",
    truth="each row keeps k tokens: topk over the flattened batch starves the rows with smaller logits",
)
def best_of_the_batch(logits, k):
    least = logits.flatten().topk(min(k * logits.shape[0], logits.numel())).values[-1]
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_k_filter",
    believes="the result has k columns",
    truth="it has one column a token of the vocabulary, or nobody knows which tokens the columns are",
)
def only_the_values(logits, k):
    return logits.topk(min(k, logits.shape[-1])).values


@misconception(
    "top_k_filter",
    believes="k is never larger than the vocabulary",
    truth="a default of k = 50 meets small vocabularies too: then everything is kept, but torch.topk raises",
)
def no_more_than_the_vocabulary(logits, k):
    least = logits.topk(k).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_k_filter",
    believes="exactly k tokens are left, whatever ties with the k-th",
    truth=(
        "which of the tied tokens stay would then depend on the order of the vocabulary; here what ties with the "
        "k-th stays"
    ),
)
def exactly_k(logits, k):
    best = logits.topk(min(k, logits.shape[-1]))
    return torch.full_like(logits, -torch.inf).scatter(-1, best.indices, best.values)


@misconception(
    "top_k_filter",
    believes="tokens that tie count as one",
    truth="they count as so many tokens: of 5, 5, 4 the two likeliest are the two with 5",
)
def k_different_values(logits, k):
    rows = []
    for row in logits:
        different = row.unique().flip(0)
        rows.append(row.masked_fill(row < different[min(k, len(different)) - 1], -torch.inf))
    return torch.stack(rows)


@misconception(
    "top_k_filter",
    believes="k must not go beyond the tokens that are still possible, counted in the row with fewest",
    truth="rows are independent: a row with few tokens left must not take any from the others",
)
def counts_what_is_left(logits, k):
    k = min(k, int(logits.isfinite().sum(dim=-1).min()))
    least = logits.topk(k).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_k_filter",
    believes="infinite logits have to be made finite first",
    truth=(
        "-inf is how an earlier step says that a token cannot come; when k is larger than what is left, it has to "
        "stay so"
    ),
)
def ruled_out_come_back_top_k(logits, k):
    logits = logits.nan_to_num(neginf=-1e4)
    least = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_k_filter",
    believes="a filter gives probabilities",
    truth="it gives logits: the next filter, and the softmax at the end, take it from there",
)
def returns_probabilities_top_k(logits, k):
    least = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return F.softmax(logits.masked_fill(logits < least, -torch.inf), dim=-1)


# --- top_p_filter -----------------------------------------------------------------------------------------------------


@misconception(
    "top_p_filter",
    believes="the tokens kept have together at most p",
    truth=(
        "they have at least p: the token that crosses p is kept, or of a token with probability 0.8 and p = 0.5 "
        "nothing would be left"
    ),
)
def drops_the_crossing_token(logits, p):
    if p == 1:
        return logits
    ordered = logits.sort(dim=-1, descending=True).values
    probs = F.softmax(ordered, dim=-1)
    n_kept = (probs.cumsum(dim=-1) <= p).sum(dim=-1, keepdim=True).clamp(min=1)
    least = ordered.gather(-1, n_kept - 1)
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_p_filter",
    believes="one more token is kept after the one that crosses p",
    truth="the token that crosses p is the last: the nucleus is the smallest set with probability p or more",
)
def one_too_many_top_p(logits, p):
    if p == 1:
        return logits
    ordered = logits.sort(dim=-1, descending=True).values
    probs = F.softmax(ordered, dim=-1)
    before = probs.cumsum(dim=-1) - probs
    n_kept = ((before < p).sum(dim=-1, keepdim=True) + 1).clamp(max=logits.shape[-1])
    least = ordered.gather(-1, n_kept - 1)
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_p_filter",
    believes="with p = 0 no token is needed",
    truth="one is always kept, the likeliest: a row in which everything is -inf has no softmax",
)
def nothing_at_zero(logits, p):
    if p == 1:
        return logits
    ordered = logits.sort(dim=-1, descending=True).values
    probs = F.softmax(ordered, dim=-1)
    before = probs.cumsum(dim=-1) - probs
    if p == 0:
        return torch.full_like(logits, -torch.inf)
    n_kept = (before < p).sum(dim=-1, keepdim=True)
    least = ordered.gather(-1, n_kept - 1)
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_p_filter",
    believes="what was decided in sorted order can be applied as it is",
    truth="the mask belongs to the sorted tokens and has to be brought back to the order of the vocabulary",
)
def sorted_mask_on_the_vocabulary(logits, p):
    if p == 1:
        return logits
    ordered = logits.sort(dim=-1, descending=True).values
    probs = F.softmax(ordered, dim=-1)
    before = probs.cumsum(dim=-1) - probs
    kept = before < max(p, 1e-12)
    return logits.masked_fill(~kept, -torch.inf)


@misconception(
    "top_p_filter",
    believes="gather by the order of sorting brings a mask back to the vocabulary",
    truth="gather sorts once more; scatter is what undoes a sort",
)
def gather_for_scatter(logits, p):
    if p == 1:
        return logits
    order = logits.argsort(dim=-1, descending=True)
    probs = F.softmax(logits.gather(-1, order), dim=-1)
    kept = probs.cumsum(dim=-1) - probs < max(p, 1e-12)
    return logits.masked_fill(~kept.gather(-1, order), -torch.inf)


@misconception(
    "top_p_filter",
    believes="the nucleus is collected in the order of torch.sort",
    truth="torch.sort goes upward, so that would collect the least likely tokens; the likeliest come first",
)
def least_likely_first(logits, p):
    if p == 1:
        return logits
    ordered = logits.sort(dim=-1).values
    probs = F.softmax(ordered, dim=-1)
    n_kept = (probs.cumsum(dim=-1) - probs < p).sum(dim=-1, keepdim=True).clamp(min=1)
    most = ordered.gather(-1, n_kept - 1)
    return logits.masked_fill(logits > most, -torch.inf)


@misconception(
    "top_p_filter",
    believes="probabilities are summed up in the order of the vocabulary",
    truth="the likeliest come first: without sorting, a likely token late in the vocabulary is lost",
)
def order_of_the_vocabulary(logits, p):
    if p == 1:
        return logits
    probs = F.softmax(logits, dim=-1)
    kept = probs.cumsum(dim=-1) - probs < max(p, 1e-12)
    return logits.masked_fill(~kept, -torch.inf)


@misconception(
    "top_p_filter",
    believes="a token is kept if its own probability is at least p",
    truth="p is what the kept tokens have together",
)
def each_at_least_p(logits, p):
    if p == 1:
        return logits
    probs = F.softmax(logits, dim=-1)
    border = probs.amax(dim=-1, keepdim=True).clamp(max=p)
    return logits.masked_fill(probs < border, -torch.inf)


@misconception(
    "top_p_filter",
    believes="a token is dropped if its own probability is below 1 - p",
    truth="1 - p is what the dropped tokens have together, at most",
)
def each_at_least_the_rest(logits, p):
    if p == 1:
        return logits
    probs = F.softmax(logits, dim=-1)
    border = probs.amax(dim=-1, keepdim=True).clamp(max=1 - p)
    return logits.masked_fill(probs < border, -torch.inf)


@misconception(
    "top_p_filter",
    believes="the logits themselves can be summed up to p",
    truth="logits are no probabilities: the softmax comes before the sum",
)
def sums_of_logits(logits, p):
    if p == 1:
        return logits
    ordered = logits.sort(dim=-1, descending=True).values
    n_kept = (ordered.cumsum(dim=-1) - ordered < p).sum(dim=-1, keepdim=True).clamp(min=1)
    least = ordered.gather(-1, n_kept - 1)
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_p_filter",
    believes="the default dimension of a softmax is the right one",
    truth="each row is a distribution, so the softmax runs over the vocabulary, the last axis",
)
def softmax_over_the_batch(logits, p):
    if p == 1:
        return logits
    order = logits.argsort(dim=-1, descending=True)
    ordered = logits.gather(-1, order)
    probs = F.softmax(logits, dim=0).gather(-1, order)
    n_kept = (probs.cumsum(dim=-1) - probs < p).sum(dim=-1, keepdim=True).clamp(min=1)
    least = ordered.gather(-1, n_kept - 1)
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_p_filter",
    believes="all rows keep equally many tokens",
    truth="how many are needed for p is what differs: few where the model is sure, many where it is not",
)
def as_many_in_every_row(logits, p):
    if p == 1:
        return logits
    ordered = logits.sort(dim=-1, descending=True).values
    probs = F.softmax(ordered, dim=-1)
    before = probs.cumsum(dim=-1) - probs
    n_kept = (before < p).sum(dim=-1).clamp(min=1).max()
    least = ordered[:, n_kept - 1 : n_kept]
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_p_filter",
    believes="the smallest set breaks ties",
    truth=(
        "which of two equally likely tokens stays would then depend on the order of the vocabulary; here what "
        "ties with the last one kept stays"
    ),
)
def ties_cut(logits, p):
    if p == 1:
        return logits
    order = logits.argsort(dim=-1, descending=True, stable=True)
    probs = F.softmax(logits.gather(-1, order), dim=-1)
    kept = probs.cumsum(dim=-1) - probs < p
    kept[:, 0] = True
    kept = torch.zeros_like(kept).scatter(-1, order, kept)
    return logits.masked_fill(~kept, -torch.inf)


@misconception(
    "top_p_filter",
    believes="with p = 1 the sum never reaches p before the last token",
    truth=(
        "in floating point it does: the sum is 1 as soon as the rest is smaller than a rounding, and the tail is "
        "lost; p = 1 has to keep all"
    ),
)
def rounding_cuts_the_tail(logits, p):
    ordered = logits.sort(dim=-1, descending=True).values
    probs = F.softmax(ordered, dim=-1)
    before = probs.cumsum(dim=-1) - probs
    n_kept = (before < p).sum(dim=-1, keepdim=True).clamp(min=1)
    least = ordered.gather(-1, n_kept - 1)
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_p_filter",
    believes="infinite logits have to be made finite first",
    truth="-inf is how an earlier step says that a token cannot come, and it has to stay so, with p = 1 as well",
)
def ruled_out_come_back_top_p(logits, p):
    logits = logits.nan_to_num(neginf=-1e4)
    if p == 1:
        return logits
    ordered = logits.sort(dim=-1, descending=True).values
    probs = F.softmax(ordered, dim=-1)
    before = probs.cumsum(dim=-1) - probs
    n_kept = (before < p).sum(dim=-1, keepdim=True).clamp(min=1)
    least = ordered.gather(-1, n_kept - 1)
    return logits.masked_fill(logits < least, -torch.inf)


@misconception(
    "top_p_filter",
    believes="a logit of 0 rules a token out",
    truth="exp(0) is 1: only -inf gives the probability 0",
)
def zero_rules_out_top_p(logits, p):
    if p == 1:
        return logits
    ordered = logits.sort(dim=-1, descending=True).values
    probs = F.softmax(ordered, dim=-1)
    before = probs.cumsum(dim=-1) - probs
    n_kept = (before < p).sum(dim=-1, keepdim=True).clamp(min=1)
    least = ordered.gather(-1, n_kept - 1)
    return logits.masked_fill(logits < least, 0.0)


@misconception(
    "top_p_filter",
    believes="a filter gives probabilities, scaled to sum to 1",
    truth="it gives logits: the softmax at the end does the scaling",
)
def returns_probabilities_top_p(logits, p):
    if p == 1:
        return logits
    ordered = logits.sort(dim=-1, descending=True).values
    probs = F.softmax(ordered, dim=-1)
    before = probs.cumsum(dim=-1) - probs
    n_kept = (before < p).sum(dim=-1, keepdim=True).clamp(min=1)
    least = ordered.gather(-1, n_kept - 1)
    return F.softmax(logits.masked_fill(logits < least, -torch.inf), dim=-1)


# --- min_p_filter -----------------------------------------------------------------------------------------------------


@misconception(
    "min_p_filter",
    believes="a token needs the probability min_p",
    truth=(
        "min_p is relative: a token needs min_p times the probability of the likeliest, so the border falls when "
        "the model is unsure"
    ),
)
def absolute(logits, min_p):
    probs = F.softmax(logits, dim=-1)
    return logits.masked_fill(probs < torch.minimum(probs.amax(dim=-1, keepdim=True), torch.tensor(min_p)), -torch.inf)


@misconception(
    "min_p_filter",
    believes="a token needs min_p times the largest logit",
    truth=(
        "the factor is one of probabilities; for logits it is a difference, log(min_p), and a factor would depend "
        "on where their zero lies"
    ),
)
def fraction_of_the_logit(logits, min_p):
    return logits.masked_fill(logits < min_p * logits.amax(dim=-1, keepdim=True), -torch.inf)


@misconception(
    "min_p_filter",
    believes="the border comes from the likeliest token of the batch",
    truth="each row has a likeliest token of its own",
)
def likeliest_of_the_batch_min_p(logits, min_p):
    probs = F.softmax(logits, dim=-1)
    return logits.masked_fill(probs < min_p * probs.max(), -torch.inf)


@misconception(
    "min_p_filter",
    believes="a token may be less likely than the likeliest by min_p",
    truth="it may be less likely by the factor min_p: probabilities are compared by their ratio",
)
def difference_of_probabilities(logits, min_p):
    probs = F.softmax(logits, dim=-1)
    return logits.masked_fill(probs < probs.amax(dim=-1, keepdim=True) - min_p, -torch.inf)


@misconception(
    "min_p_filter",
    believes="min_p is a distance between logits",
    truth="the distance is -log(min_p): a ratio of probabilities is a difference of logits",
)
def difference_of_logits(logits, min_p):
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) - min_p, -torch.inf)


@misconception(
    "min_p_filter",
    believes="min_p is a top-p that counts from the other end",
    truth="there is no sum in it: each token is compared with the likeliest one",
)
def cumulative(logits, min_p):
    ordered = logits.sort(dim=-1, descending=True).values
    probs = F.softmax(ordered, dim=-1)
    n_kept = (probs.cumsum(dim=-1) - probs < 1 - min_p).sum(dim=-1, keepdim=True).clamp(min=1)
    return logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)


@misconception(
    "min_p_filter",
    believes="the border is a fraction of the mean probability",
    truth="it is a fraction of the largest: the mean is always 1 / vocabulary, whatever the model says",
)
def fraction_of_the_mean(logits, min_p):
    probs = F.softmax(logits, dim=-1)
    return logits.masked_fill(probs < min_p * probs.mean(dim=-1, keepdim=True), -torch.inf)


@misconception(
    "min_p_filter",
    believes="what lies above the border is removed",
    truth="what lies below is: the unlikely tail",
)
def removes_the_likely(logits, min_p):
    probs = F.softmax(logits, dim=-1)
    return logits.masked_fill(probs >= min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)


@misconception(
    "min_p_filter",
    believes="a token needs more than min_p times the largest probability",
    truth="at least as much: with min_p = 1 not even the likeliest has more than itself, and nothing is left",
)
def more_than_itself(logits, min_p):
    probs = F.softmax(logits, dim=-1)
    return logits.masked_fill(probs <= min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)


@misconception(
    "min_p_filter",
    believes="with min_p = 1 a single token is left",
    truth="those that tie for the likeliest all have its probability, so all of them stay",
)
def one_survivor(logits, min_p):
    if min_p == 1:
        best = logits.max(dim=-1, keepdim=True)
        return torch.full_like(logits, -torch.inf).scatter(-1, best.indices, best.values)
    probs = F.softmax(logits, dim=-1)
    return logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)


@misconception(
    "min_p_filter",
    believes="min_p always has a logarithm",
    truth="math.log(0) raises an error, and min_p = 0 is allowed: then every token stays",
)
def logarithm_of_zero(logits, min_p):
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) + math.log(min_p), -torch.inf)


@misconception(
    "min_p_filter",
    believes="the smallest probabilities can be told from 0 only above the rounding of a float",
    truth="they are far smaller numbers than that and still more than 0; with min_p = 0 every token stays",
)
def impossible_at_zero(logits, min_p):
    probs = F.softmax(logits, dim=-1)
    border = (min_p * probs.amax(dim=-1, keepdim=True)).clamp(min=torch.finfo(probs.dtype).eps)
    return logits.masked_fill(probs < border, -torch.inf)


@misconception(
    "min_p_filter",
    believes="infinite logits have to be made finite first",
    truth="-inf is how an earlier step says that a token cannot come, and it has to stay so, with min_p = 0 as well",
)
def ruled_out_come_back_min_p(logits, min_p):
    logits = logits.nan_to_num(neginf=-1e4)
    probs = F.softmax(logits, dim=-1)
    return logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)


@misconception(
    "min_p_filter",
    believes="a logit of 0 rules a token out",
    truth="exp(0) is 1: only -inf gives the probability 0",
)
def zero_rules_out_min_p(logits, min_p):
    probs = F.softmax(logits, dim=-1)
    return logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), 0.0)


@misconception(
    "min_p_filter",
    believes="exp of a logit is a probability up to a factor, and the factor cancels",
    truth=(
        "it does, but exp(100) is infinite in float32, and infinity >= 0.1 * infinity keeps too much: take the "
        "largest logit away first"
    ),
)
def overflows(logits, min_p):
    weights = logits.exp()
    return logits.masked_fill(weights < min_p * weights.amax(dim=-1, keepdim=True), -torch.inf)


# --- repetition_penalty -----------------------------------------------------------------------------------------------


@misconception(
    "repetition_penalty",
    believes="dividing a logit makes its token less likely",
    truth="only if it is positive: -1 / 1.5 is larger than -1, so negative logits have to be multiplied",
)
def divides_all(logits, tokens, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    return torch.where(seen, logits / penalty, logits)


@misconception(
    "repetition_penalty",
    believes="multiplying a logit by the penalty makes its token less likely",
    truth="only if it is negative: positive logits have to be divided",
)
def multiplies_all(logits, tokens, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    return torch.where(seen, logits * penalty, logits)


@misconception(
    "repetition_penalty",
    believes="positive logits are multiplied, negative ones divided",
    truth="that makes what was seen likelier, for a penalty above 1",
)
def rewards(logits, tokens, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    return torch.where(seen, torch.where(logits > 0, logits * penalty, logits / penalty), logits)


@misconception(
    "repetition_penalty",
    believes="a token seen twice is penalized twice",
    truth="it is penalized once, however often it was seen; a penalty that counts is the frequency penalty",
)
def once_a_time_seen(logits, tokens, penalty):
    times = torch.zeros_like(logits).scatter_add(-1, tokens, torch.ones_like(tokens, dtype=logits.dtype))
    factor = penalty**times
    return torch.where(logits > 0, logits / factor, logits * factor)


@misconception(
    "repetition_penalty",
    believes="the penalty is subtracted from the logits of what was seen",
    truth="that is the presence penalty; this one scales logits",
)
def subtracts(logits, tokens, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    return torch.where(seen, logits - penalty, logits)


@misconception(
    "repetition_penalty",
    believes="the penalty applies to what was not seen yet",
    truth="it applies to what was seen",
)
def penalizes_the_unseen(logits, tokens, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    return torch.where(seen, logits, torch.where(logits > 0, logits / penalty, logits * penalty))


@misconception(
    "repetition_penalty",
    believes="what one row has seen is penalized in all rows",
    truth="each row of the batch is a text of its own",
)
def seen_by_any_row(logits, tokens, penalty):
    seen = torch.zeros(logits.shape[-1], dtype=torch.bool)
    seen[tokens.flatten()] = True
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


@misconception(
    "repetition_penalty",
    believes="only an immediate repetition is penalized",
    truth="every token seen so far is, wherever it stands",
)
def only_the_last_token(logits, tokens, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens[:, -1:], True)
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


@misconception(
    "repetition_penalty",
    believes="the probability of what was seen is divided by the penalty",
    truth="the penalty works on logits; on probabilities it would be a subtraction of log(penalty) from each",
)
def scales_probabilities_penalty(logits, tokens, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    probs = F.softmax(logits, dim=-1)
    return torch.where(seen, probs / penalty, probs).log()


@misconception(
    "repetition_penalty",
    believes="the sign is that of the row's largest logit",
    truth="each logit is divided or multiplied by its own sign",
)
def sign_of_the_row(logits, tokens, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    positive = logits.amax(dim=-1, keepdim=True) > 0
    return torch.where(seen, torch.where(positive, logits / penalty, logits * penalty), logits)


@misconception(
    "repetition_penalty",
    believes="something has always been seen",
    truth="at the very start nothing has: then the logits stay as they are",
)
def never_empty(logits, tokens, penalty):
    if tokens.shape[1] == 0:
        raise ValueError("expected at least one token")
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


@misconception(
    "repetition_penalty",
    believes="a penalty below 1 is a mistake and counts as 1",
    truth="below 1 it is a reward: what was seen becomes likelier",
)
def only_above_one(logits, tokens, penalty):
    penalty = max(penalty, 1.0)
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


@misconception(
    "repetition_penalty",
    believes="infinite logits have to be made finite first",
    truth="-inf is how an earlier step says that a token cannot come; times any penalty it is still -inf",
)
def ruled_out_come_back_penalty(logits, tokens, penalty):
    logits = logits.nan_to_num(neginf=-1e4)
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


@misconception(
    "repetition_penalty",
    believes="what was seen must not come again",
    truth="the penalty makes it less likely, not impossible",
)
def rules_out(logits, tokens, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    return logits.masked_fill(seen, -torch.inf)


@misconception(
    "repetition_penalty",
    believes=(
        "a difference of logits is what counts, so the penalty can be applied after shifting the row to a maximum of 0"
    ),
    truth="the rule depends on the sign of the logits as the model gives them: after a shift all of them are negative",
)
def shifted_first(logits, tokens, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    logits = logits - logits.amax(dim=-1, keepdim=True)
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


# --- process_logits ---------------------------------------------------------------------------------------------------


@misconception(
    "process_logits",
    believes="the filters are enough",
    truth="the temperature is a step of its own, between the penalty and the filters",
)
def no_temperature(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    return logits


@misconception(
    "process_logits",
    believes="the penalty belongs to the model",
    truth="it is the first step here: what was seen is made less likely before anything else",
)
def no_penalty(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    best = logits.amax(dim=-1, keepdim=True)
    logits = logits / temperature if temperature > 0 else logits.masked_fill(logits < best, -torch.inf)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    return logits


@misconception(
    "process_logits",
    believes="the temperature comes after the filters, as in llama.cpp",
    truth=(
        "here, as in GPT-2's code and in Hugging Face's, it comes before them: a low temperature lets top-p keep "
        "fewer tokens"
    ),
)
def temperature_last(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    best = logits.amax(dim=-1, keepdim=True)
    return logits / temperature if temperature > 0 else logits.masked_fill(logits < best, -torch.inf)


@misconception(
    "process_logits",
    believes="the order of top-k and top-p does not matter",
    truth="top-p after top-k sums the probabilities of what top-k left, scaled to 1, so p is reached by fewer tokens",
)
def top_p_before_top_k(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    best = logits.amax(dim=-1, keepdim=True)
    logits = logits / temperature if temperature > 0 else logits.masked_fill(logits < best, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    return logits


@misconception(
    "process_logits",
    believes="the order of min-p and top-p does not matter",
    truth="what min-p removes first no longer counts in the sum of top-p",
)
def min_p_before_top_p(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    best = logits.amax(dim=-1, keepdim=True)
    logits = logits / temperature if temperature > 0 else logits.masked_fill(logits < best, -torch.inf)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    return logits


@misconception(
    "process_logits",
    believes="penalty and temperature are both factors, so their order does not matter",
    truth=(
        "for a temperature above 0 that is true; with 0 the likeliest token is chosen, and the penalty has to "
        "come before the choice"
    ),
)
def penalty_after_temperature(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    best = logits.amax(dim=-1, keepdim=True)
    logits = logits / temperature if temperature > 0 else logits.masked_fill(logits < best, -torch.inf)
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    return logits


@misconception(
    "process_logits",
    believes="the penalty is applied to what the filters have left",
    truth="it comes first: it changes which tokens are the likeliest, and so what the filters keep",
)
def penalty_last(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    best = logits.amax(dim=-1, keepdim=True)
    logits = logits / temperature if temperature > 0 else logits.masked_fill(logits < best, -torch.inf)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


@misconception(
    "process_logits",
    believes="a temperature of 0 means that none is wanted",
    truth="0 means the likeliest token only; in Python `if temperature` takes it for a missing one",
)
def zero_is_not_given(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    if temperature:
        logits = logits / temperature
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    return logits


@misconception(
    "process_logits",
    believes="a top_p of 0 means that none is wanted",
    truth="None means that; 0 is the strictest setting, which keeps the likeliest token",
)
def zero_p_is_not_given(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    best = logits.amax(dim=-1, keepdim=True)
    logits = logits / temperature if temperature > 0 else logits.masked_fill(logits < best, -torch.inf)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    return logits


@misconception(
    "process_logits",
    believes="top_p = 1 needs no case of its own",
    truth=(
        "the cumulated sum reaches 1 before the last token does, in floating point, and the tail is lost; top_p = "
        "1 keeps all"
    ),
)
def rounding_cuts_the_tail_chain(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    best = logits.amax(dim=-1, keepdim=True)
    logits = logits / temperature if temperature > 0 else logits.masked_fill(logits < best, -torch.inf)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    return logits


@misconception(
    "process_logits",
    believes="top-k, top-p and min-p are alternatives",
    truth="they are steps one after the other, each on what the one before has left",
)
def one_filter_only(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    best = logits.amax(dim=-1, keepdim=True)
    logits = logits / temperature if temperature > 0 else logits.masked_fill(logits < best, -torch.inf)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    elif top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    elif min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    return logits


@misconception(
    "process_logits",
    believes="a penalty below 1 is a mistake and counts as none",
    truth="below 1 it is a reward: what was seen becomes likelier",
)
def only_penalties_above_one(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    if penalty > 1:
        seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
        logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    best = logits.amax(dim=-1, keepdim=True)
    logits = logits / temperature if temperature > 0 else logits.masked_fill(logits < best, -torch.inf)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    return logits


@misconception(
    "process_logits",
    believes="the chain ends in probabilities",
    truth="it ends in logits; the softmax is part of the draw",
)
def returns_probabilities_chain(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    best = logits.amax(dim=-1, keepdim=True)
    logits = logits / temperature if temperature > 0 else logits.masked_fill(logits < best, -torch.inf)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    return F.softmax(logits, dim=-1)


@misconception(
    "process_logits",
    believes="top_k is never larger than the vocabulary",
    truth="a default of 50 meets small vocabularies too: then top-k keeps everything, but torch.topk raises",
)
def no_more_than_the_vocabulary_chain(logits, tokens, penalty=1.0, temperature=1.0, top_k=None, top_p=None, min_p=None):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, True)
    logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    best = logits.amax(dim=-1, keepdim=True)
    logits = logits / temperature if temperature > 0 else logits.masked_fill(logits < best, -torch.inf)
    if top_k is not None:
        least = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered = logits.sort(dim=-1, descending=True).values
        probs = F.softmax(ordered, dim=-1)
        n_kept = (probs.cumsum(dim=-1) - probs < top_p).sum(dim=-1, keepdim=True).clamp(min=1)
        logits = logits.masked_fill(logits < ordered.gather(-1, n_kept - 1), -torch.inf)
    if min_p is not None:
        probs = F.softmax(logits, dim=-1)
        logits = logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)
    return logits


# --- sample -----------------------------------------------------------------------------------------------------------


@misconception(
    "sample",
    believes="the next token is the likeliest one",
    truth="that is greedy decoding; a sample takes each token as often as its probability says",
)
def likeliest(logits, generator=None):
    return logits.argmax(dim=-1)


@misconception(
    "sample",
    believes="after the filters all tokens left are equally good",
    truth="they keep their probabilities: a filter only removes",
)
def all_that_is_left(logits, generator=None):
    return torch.multinomial(logits.isfinite().double(), 1, generator=generator).squeeze(-1)


@misconception(
    "sample",
    believes="a batch of tokens has a column",
    truth="torch.multinomial returns (batch, 1); what is asked for has one number a row, shape (batch,)",
)
def keeps_the_axis(logits, generator=None):
    return torch.multinomial(F.softmax(logits, dim=-1), 1, generator=generator)


@misconception(
    "sample",
    believes="sampling gives the probability of each token",
    truth="it gives one token a row, an integer",
)
def returns_probabilities_sample(logits, generator=None):
    return F.softmax(logits, dim=-1)


@misconception(
    "sample",
    believes="torch.multinomial takes logits once they are positive",
    truth="it takes probabilities, up to a factor: a second softmax over probabilities is nearly flat",
)
def softmax_twice(logits, generator=None):
    return torch.multinomial(F.softmax(F.softmax(logits, dim=-1), dim=-1), 1, generator=generator).squeeze(-1)


@misconception(
    "sample",
    believes="torch.multinomial scales, so the exponential is enough",
    truth="the scale does cancel, but exp(100) is infinite in float32: take the largest logit away first",
)
def no_largest_taken_away(logits, generator=None):
    return torch.multinomial(logits.exp(), 1, generator=generator).squeeze(-1)


@misconception(
    "sample",
    believes="-inf has to be made finite before a softmax",
    truth=(
        "a softmax copes with -inf, and only -inf gives exactly 0: a finite number is a chance, and where all "
        "logits are low a good one"
    ),
)
def finite_first(logits, generator=None):
    return torch.multinomial(F.softmax(logits.nan_to_num(neginf=-20.0), dim=-1), 1, generator=generator).squeeze(-1)


@misconception(
    "sample",
    believes="a little is added to every probability, so that none is 0",
    truth="what a filter has ruled out must never come",
)
def nothing_is_impossible(logits, generator=None):
    probs = F.softmax(logits, dim=-1) + 0.05 / logits.shape[-1]
    return torch.multinomial(probs, 1, generator=generator).squeeze(-1)


@misconception(
    "sample",
    believes="a seed inside the function makes it reproducible",
    truth="it makes every call draw the same: the caller owns the generator, and with it the seed",
)
def same_seed_every_time(logits, generator=None):
    torch.manual_seed(0)
    return torch.multinomial(F.softmax(logits, dim=-1), 1).squeeze(-1)


@misconception(
    "sample",
    believes="randomness comes from torch by itself",
    truth="a generator that was given has to be used, or the seed of the caller does nothing",
)
def ignores_the_generator(logits, generator=None):
    return torch.multinomial(F.softmax(logits, dim=-1), 1).squeeze(-1)


@misconception(
    "sample",
    believes="where no generator is given, a fresh one is made",
    truth=(
        "a fresh torch.Generator always starts at the same seed, so every call draws the same; without one, "
        "torch's own is used"
    ),
)
def fresh_generator(logits, generator=None):
    generator = generator or torch.Generator()
    return torch.multinomial(F.softmax(logits, dim=-1), 1, generator=generator).squeeze(-1)


@misconception(
    "sample",
    believes="one random number does for the whole batch",
    truth="rows are independent, so each needs a number of its own",
)
def one_number_for_all_rows(logits, generator=None):
    u = torch.rand(1, generator=generator)
    above = F.softmax(logits, dim=-1).cumsum(dim=-1) <= u
    return above.sum(dim=-1).clamp(max=logits.shape[-1] - 1)


@misconception(
    "sample",
    believes="rows get evenly spread random numbers, which are more even than independent ones",
    truth=(
        "each row alone is then right, but rows are tied together: where one draws early in the vocabulary, its "
        "neighbor does too"
    ),
)
def evenly_spread(logits, generator=None):
    batch = logits.shape[0]
    u = (torch.rand(1, generator=generator) + torch.arange(batch) / batch) % 1
    above = F.softmax(logits, dim=-1).cumsum(dim=-1) <= u[:, None]
    return above.sum(dim=-1).clamp(max=logits.shape[-1] - 1)


@misconception(
    "sample",
    believes="the place in sorted order is the token",
    truth="it is its rank: the order of sorting has to lead back to the token",
)
def rank_for_token(logits, generator=None):
    probs = F.softmax(logits, dim=-1).sort(dim=-1, descending=True).values
    return torch.multinomial(probs, 1, generator=generator).squeeze(-1)


@misconception(
    "sample",
    believes="the token drawn is the first whose cumulated probability is below the random number",
    truth="it is the first whose cumulated probability is above it",
)
def one_too_far(logits, generator=None):
    u = torch.rand(logits.shape[0], 1, generator=generator)
    above = F.softmax(logits, dim=-1).cumsum(dim=-1) <= u
    return (above.sum(dim=-1) - 1).clamp(min=0)


@misconception(
    "sample",
    believes="adding noise to the logits and taking the largest is a draw, whatever the noise",
    truth="only Gumbel noise, -log(-log(u)), gives the softmax",
)
def normal_noise(logits, generator=None):
    return (logits + torch.randn(logits.shape, generator=generator)).argmax(dim=-1)


@misconception(
    "sample",
    believes="adding a uniform number to each logit and taking the largest is a draw",
    truth=(
        "only Gumbel noise, -log(-log(u)), gives the softmax; a uniform number never lets a token win that is "
        "more than 1 behind"
    ),
)
def uniform_noise(logits, generator=None):
    return (logits + torch.rand(logits.shape, generator=generator)).argmax(dim=-1)


@misconception(
    "sample",
    believes="Gumbel noise is log(-log(u))",
    truth="it is -log(-log(u)): its long tail points upward",
)
def negated_noise(logits, generator=None):
    u = torch.rand(logits.shape, generator=generator).clamp(min=1e-30)
    return (logits + (-u.log()).log()).argmax(dim=-1)


@misconception(
    "sample",
    believes="a temperature of 0.8 is part of sampling",
    truth="sampling draws from softmax(logits); a temperature is a step of its own",
)
def a_little_sharper(logits, generator=None):
    return torch.multinomial(F.softmax(logits / 0.8, dim=-1), 1, generator=generator).squeeze(-1)


@misconception(
    "sample",
    believes="the rows of a batch are draws from one distribution",
    truth="each row has logits of its own",
)
def rows_of_the_first(logits, generator=None):
    probs = F.softmax(logits[0], dim=-1)
    return torch.multinomial(probs, logits.shape[0], replacement=True, generator=generator)


@misconception(
    "sample",
    believes="the rows of a batch draw different tokens",
    truth="rows know nothing of each other: two of them may draw the same token",
)
def different_tokens(logits, generator=None):
    taken = torch.zeros(logits.shape[-1], dtype=torch.bool)
    tokens = []
    for row in F.softmax(logits, dim=-1):
        left = row.masked_fill(taken, 0.0)
        left = left if left.sum() > 0 else row
        tokens.append(torch.multinomial(left, 1, generator=generator))
        taken[tokens[-1]] = True
    return torch.cat(tokens)


# --- fingerprints -----------------------------------------------------------------------------------------------------

INF = math.inf
MIXED = torch.tensor([[2.0, -1.0, 0.5, 1.0, -2.5], [-0.5, 1.5, -1.0, 4.0, 2.5], [-3.0, -1.5, -0.25, -2.0, -1.0]])
TIED = torch.tensor([[1.0, 2.0, 2.0, 0.0, 2.0], [3.0, 3.0, -1.0, 0.0, -1.0], [0.5, 0.5, 0.5, 0.5, 0.5]])
RULED_OUT = torch.tensor([[1.0, -INF, 0.5, -INF, 2.0], [-INF, -1.0, -INF, -INF, -INF], [0.0, 1.0, -2.0, 3.0, -INF]])
FAR_APART = torch.tensor([[0.0, -30.0, -60.0, 3.0, -12.0], [200.0, 150.0, 199.0, 190.0, -5.0]])


@fingerprint("apply_temperature")
def temperature_probes(impl):
    cases = [(MIXED, 2.0), (MIXED, 0.5), (MIXED, 0.0), (TIED, 0.0), (RULED_OUT, 0.7), (RULED_OUT, 0.0)]
    return [lambda case=case: impl(*case) for case in cases]


@fingerprint("top_k_filter")
def top_k_probes(impl):
    cases = [(MIXED, 1), (MIXED, 3), (MIXED, 9), (TIED, 2), (TIED, 3), (RULED_OUT, 2), (RULED_OUT, 4)]
    return [lambda case=case: impl(*case) for case in cases]


@fingerprint("top_p_filter")
def top_p_probes(impl):
    cases = [(MIXED, 0.3), (MIXED, 0.73), (MIXED, 0.93), (MIXED, 0.0), (MIXED, 1.0), (TIED, 0.4), (TIED, 0.1)]
    return [lambda case=case: impl(*case) for case in [*cases, (RULED_OUT, 1.0), (RULED_OUT, 0.8), (FAR_APART, 1.0)]]


@fingerprint("min_p_filter")
def min_p_probes(impl):
    cases = [(MIXED, 0.1), (MIXED, 0.3), (MIXED, 1.0), (MIXED, 0.0), (TIED, 0.5), (TIED, 1.0), (RULED_OUT, 0.2)]
    return [lambda case=case: impl(*case) for case in [*cases, (RULED_OUT, 0.0), (FAR_APART, 0.1), (FAR_APART, 0.0)]]


@fingerprint("repetition_penalty")
def penalty_probes(impl):
    tokens = torch.tensor([[0, 1, 1], [3, 3, 3], [2, 0, 4]])
    nothing = torch.zeros(3, 0, dtype=torch.long)
    cases = [(MIXED, tokens, 1.5), (MIXED, tokens, 0.5), (MIXED, nothing, 1.5), (RULED_OUT, tokens, 2.0)]
    return [lambda case=case: impl(*case) for case in cases]


FLAT = torch.tensor([[0.4, 0.1, 0.0, -0.2, 0.3], [0.0, 0.25, 0.5, 0.75, 1.0], [0.1, 0.3, -0.1, 0.2, 0.0]])


@fingerprint("process_logits")
def chain_probes(impl):
    tokens = torch.tensor([[0, 1, 1], [3, 3, 3], [2, 0, 4]])
    cases = [
        (1.0, 1.0), (1.5, 0.5), (0.5, 1.0), (4.0, 0.0), (1.0, 0.0), (1.0, 0.5, None, 0.8), (1.0, 1.0, 3, 0.9),
        (1.0, 2.0, 4, 0.7), (1.0, 1.0, None, 0.93, 0.1), (1.0, 1.0, None, 0.0), (1.0, 1.0, 9), (1.0, 1.0, 4, None, 0.3),
        (3.0, 1.0, 2), (3.0, 1.0, None, 0.6), (1.0, 2.0, 3, 0.8, 0.4),
    ]  # fmt: skip
    far = [(1.0, 1.0, None, 1.0), (1.0, 1.0, None, None, 0.0)]
    flat = [(1.0, 1.0, 3, 0.7), (1.0, 1.0, 4, 0.55), (1.0, 1.0, None, 0.5, 0.8), (1.0, 1.0, None, 0.6, 0.85)]
    probes = [(MIXED, case) for case in cases] + [(FLAT, case) for case in flat] + [(FAR_APART, case) for case in far]
    return [lambda logits=logits, case=case: impl(logits, tokens[: len(logits)], *case) for logits, case in probes]


# Draws from these two rows tell the misconceptions apart by what their counts can come from.
UNEVEN = torch.tensor([0.5, 2.0, -1.0, 1.0])
ONE_AHEAD = torch.tensor([2.0, *[0.0] * 31])


@fingerprint("sample")
def sample_probes(impl):
    def kind(rows, seed=7):
        try:
            return impl(rows, torch.Generator().manual_seed(seed))
        except LearnerError as error:
            return error.types[0]

    def family():
        tokens = kind(UNEVEN.expand(4000, 4))
        if not isinstance(tokens, torch.Tensor) or tokens.shape != (4000,) or tokens.is_floating_point():
            return repr(getattr(tokens, "shape", tokens))
        counts, probs = torch.bincount(tokens.long(), minlength=4), UNEVEN.softmax(-1)
        candidates = {
            "softmax": probs,
            "temperature 0.8": (UNEVEN / 0.8).softmax(-1),
            "softmax twice": probs.softmax(-1),
            "uniform": torch.full((4,), 0.25),
            "ranks": probs.sort(descending=True).values,
            "smoothed": (probs + 0.0125) / 1.05,
            "one place off": torch.stack([probs[:2].sum(), *probs[2:], torch.tensor(0.0)]),
            "certain": torch.tensor([0.0, 1.0, 0.0, 0.0]),
        }
        return [name for name, probs in candidates.items() if follows(counts, probs)]

    def share():
        return round(float((kind(ONE_AHEAD.expand(4000, 32)) == 0).float().mean()) * 10)

    def pairs():
        tokens = torch.stack([kind(torch.zeros(2, 2), seed) for seed in range(60)])
        return [bool((tokens[:, 0] == tokens[:, 1]).any()), bool((tokens[:, 0] != tokens[:, 1]).any())]

    def neighbors():
        tokens = kind(torch.zeros(1000, 2)).reshape(500, 2)
        return int((tokens[:, 0] == tokens[:, 1]).sum()) > 400

    def halves():
        rows = torch.tensor([[0.0, -INF, 1.0, -INF], [-INF, 0.0, -INF, 0.5]])
        return (kind(rows.repeat(200, 1)).reshape(200, 2) % 2).float().mean(dim=0)

    def low():
        rows = torch.tensor([[-30.0, -INF, -30.0]]).repeat(200, 1)
        return bool((kind(rows) == 1).any())

    def repeats(*seeds):
        first, *others = [kind(torch.zeros(100, 4), seed) for seed in seeds]
        return all(first.equal(other) for other in others)

    def repeats_by_itself():
        first, *others = [impl(torch.zeros(100, 4)) for _ in range(12)]
        return all(first.equal(other) for other in others)

    return [
        lambda: kind(torch.tensor([[0.0, 90.0, 1.0], [95.0, 0.0, 3.0]])).shape,
        family,
        share,
        pairs,
        neighbors,
        halves,
        low,
        lambda: kind(torch.tensor([[500.0, 0.0], [-500.0, 0.0]])),
        lambda: repeats(7, 7),
        lambda: repeats(*range(12)),
        repeats_by_itself,
    ]
