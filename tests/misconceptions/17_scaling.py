"""Wrong on purpose: what people believe about compute, fits, optimal sizes and sudden abilities."""

import torch

from gptdojo import fingerprint, misconception

# --- training_flops ---------------------------------------------------------------------------------------------------


@misconception(
    "training_flops",
    believes="training costs 2 operations for each parameter and token",
    truth="that is the forward pass alone; the backward pass has two products for each one of the forward pass",
)
def forward_only(n_parameters, n_tokens):
    return 2 * n_parameters * n_tokens


@misconception(
    "training_flops",
    believes="the backward pass costs as much as the forward pass",
    truth="it costs twice as much: one product for the gradient of the weights, one for that of the inputs",
)
def backward_as_forward(n_parameters, n_tokens):
    return 4 * n_parameters * n_tokens


@misconception(
    "training_flops",
    believes="a multiply-add is one operation",
    truth="a FLOP is one multiplication or one addition, so it is two",
)
def a_multiply_add_is_one(n_parameters, n_tokens):
    return 3 * n_parameters * n_tokens


@misconception(
    "training_flops",
    believes="activations are computed a second time for the backward pass",
    truth="they are only where checkpointing trades compute for memory, and the usual count is of what is needed",
)
def activations_recomputed(n_parameters, n_tokens):
    return 8 * n_parameters * n_tokens


@misconception(
    "training_flops",
    believes="the optimizer's step adds about 10 operations a parameter",
    truth="only the products are counted; and the step comes once a batch, not once a token",
)
def optimizer_counted(n_parameters, n_tokens):
    return 6 * n_parameters * n_tokens + 10 * n_parameters


@misconception(
    "training_flops",
    believes="6 operations for each parameter are the cost of the training",
    truth="they are the cost of one token of it",
)
def tokens_forgotten(n_parameters, n_tokens):
    return 6 * n_parameters


@misconception(
    "training_flops",
    believes="the first token is not predicted, so it costs nothing",
    truth="it goes through the model like all others, since the second is predicted from it",
)
def first_token_free(n_parameters, n_tokens):
    return 6 * n_parameters * max(1, n_tokens - 1)


@misconception(
    "training_flops",
    believes="a compute-optimal model sees 20 tokens for each parameter, so that is what counts",
    truth="it counts how many tokens there are, optimal or not",
)
def twenty_tokens_each(n_parameters, n_tokens):
    return 6 * n_parameters * 20 * n_parameters


@misconception(
    "training_flops",
    believes="an integer of 64 bits holds any count of operations",
    truth="it ends at 9.2e18, and GPT-2 small passes that on 13 billion tokens; Python's own numbers have no such end",
)
def sixty_four_bits(n_parameters, n_tokens):
    return (6 * torch.tensor(int(n_parameters)) * torch.tensor(int(n_tokens))).item()


@fingerprint("training_flops")
def training_flops_probes(impl):
    return [lambda: impl(3, 1), lambda: impl(5, 7), lambda: impl(174_604_259_328, 300_000_000_000)]


# --- fit_power_law ----------------------------------------------------------------------------------------------------


def line(u, w):
    """The intercept and the slope of the least-squares line of w over u."""
    centered = u - u.mean()
    slope = (centered * w).sum() / (centered * centered).sum()
    return w.mean() - slope * u.mean(), slope


@misconception(
    "fit_power_law",
    believes="the intercept of the line is the constant",
    truth="it is the logarithm of the constant: the line is log y = log a + b log x",
)
def intercept_for_constant(x, y):
    intercept, slope = line(x.double().log(), y.double().log())
    return intercept.item(), slope.item()


@misconception(
    "fit_power_law",
    believes="logarithms to base 10 are undone by exp",
    truth="what was taken to base 10 goes back with 10 ** intercept; the slope is the same in every base",
)
def one_base_there_another_back(x, y):
    intercept, slope = line(x.double().log10(), y.double().log10())
    return intercept.exp().item(), slope.item()


@misconception(
    "fit_power_law",
    believes="only x is taken in logarithms",
    truth="that fits y = a + b log x; a power law is a line where both axes are logarithmic",
)
def logarithm_of_x_only(x, y):
    intercept, slope = line(x.double().log(), y.double())
    return intercept.item(), slope.item()


@misconception(
    "fit_power_law",
    believes="only y is taken in logarithms",
    truth="that fits an exponential, y = a e^(b x); a power law is a line where both axes are logarithmic",
)
def an_exponential(x, y):
    intercept, slope = line(x.double(), y.double().log())
    return intercept.exp().item(), slope.item()


@misconception(
    "fit_power_law",
    believes="b is how fast y falls, so it is given without its sign",
    truth="in y = a x^b the sign belongs to b: a loss that falls has a negative one",
)
def sign_dropped(x, y):
    intercept, slope = line(x.double().log(), y.double().log())
    return intercept.exp().item(), slope.abs().item()


@misconception(
    "fit_power_law",
    believes="the constant is y at the smallest x",
    truth="it is y at x = 1, which may lie far from all points",
)
def constant_at_the_first_point(x, y):
    _, slope = line(x.double().log(), y.double().log())
    return y[x.argmin()].item(), slope.item()


@misconception(
    "fit_power_law",
    believes="the points are measured from x = 1 and y there, so the line goes through the first one",
    truth="the line has a height of its own, which is fitted as well: no point is exact",
)
def through_the_first_point(x, y):
    u, w = x.double().log(), y.double().log()
    du, dw = u - u[0], w - w[0]
    slope = (du * dw).sum() / (du * du).sum()
    return (w[0] - slope * u[0]).exp().item(), slope.item()


@misconception(
    "fit_power_law",
    believes="a power law starts at 1, so its line goes through the origin",
    truth="y is a at x = 1: without a constant of its own the line has the wrong slope too",
)
def no_constant(x, y):
    u, w = x.double().log(), y.double().log()
    return 1.0, ((u * w).sum() / (u * u).sum()).item()


@misconception(
    "fit_power_law",
    believes="sizes are evenly spaced on a logarithmic axis",
    truth="they need not be: what counts is log x itself, not the number of the point",
)
def evenly_spaced(x, y):
    u, w = x.double().log(), y.double().log()
    even = torch.linspace(u[0].item(), u[-1].item(), len(u), dtype=torch.float64)
    intercept, slope = line(even, w)
    return intercept.exp().item(), slope.item()


@misconception(
    "fit_power_law",
    believes="the smallest x belongs to the largest y, so both can be sorted",
    truth="a pair stays together: a law may rise as well as fall, and noise may turn any two points round",
)
def sorted_apart(x, y):
    intercept, slope = line(x.double().log().sort().values, y.double().log().sort(descending=True).values)
    return intercept.exp().item(), slope.item()


@misconception(
    "fit_power_law",
    believes="the slope between the smallest and the largest x is the exponent",
    truth="that uses two points of all: where they scatter, the others know more together",
)
def ends_only(x, y):
    u, w = x.double().log(), y.double().log()
    low, high = u.argmin(), u.argmax()
    slope = (w[high] - w[low]) / (u[high] - u[low])
    return (w[low] - slope * u[low]).exp().item(), slope.item()


@misconception(
    "fit_power_law",
    believes="it does not matter which of x and y is fitted over the other",
    truth="least squares measures errors in what stands on the left: here in log y, where the noise is",
)
def x_over_y(x, y):
    intercept, slope = line(y.double().log(), x.double().log())
    return (-intercept / slope).exp().item(), (1 / slope).item()


@misconception(
    "fit_power_law",
    believes="the errors of y itself are squared",
    truth="the errors of log y are: an error in y would let the largest values decide",
)
def larger_y_count_more(x, y):
    u, w, weight = x.double().log(), y.double().log(), y.double().square()
    mean_u, mean_w = (weight * u).sum() / weight.sum(), (weight * w).sum() / weight.sum()
    slope = (weight * (u - mean_u) * (w - mean_w)).sum() / (weight * (u - mean_u) ** 2).sum()
    return (mean_w - slope * mean_u).exp().item(), slope.item()


@misconception(
    "fit_power_law",
    believes="the exponent is the median of the slopes between all pairs of points",
    truth="that is a robust estimate, and a good one, but not the least-squares one that is asked for",
)
def median_of_slopes(x, y):
    u, w = x.double().log(), y.double().log()
    one, other = torch.triu_indices(len(u), len(u), 1)
    apart = u[one] != u[other]
    slope = ((w[one] - w[other]) / (u[one] - u[other]))[apart].median()
    return (w - slope * u).mean().exp().item(), slope.item()


@misconception(
    "fit_power_law",
    believes="the constant comes from the mean of y and the mean of x",
    truth="the line goes through the means of the logarithms, which are not the logarithms of the means",
)
def through_the_means(x, y):
    _, slope = line(x.double().log(), y.double().log())
    return (y.double().mean() / x.double().mean() ** slope).item(), slope.item()


@misconception(
    "fit_power_law",
    believes="runs of one size are averaged first",
    truth="every point counts the same: a size with more runs has more weight",
)
def sizes_averaged_first(x, y):
    u, w = x.double().log(), y.double().log()
    sizes, place = u.unique(return_inverse=True)
    means = torch.zeros_like(sizes).index_add(0, place, w) / place.bincount(minlength=len(sizes))
    intercept, slope = line(sizes, means)
    return intercept.exp().item(), slope.item()


@fingerprint("fit_power_law")
def fit_power_law_probes(impl):
    x = torch.tensor([30.0, 2.0, 500.0, 8.0])
    return [
        lambda: impl(torch.tensor([1.0, 10.0]), torch.tensor([5.0, 3.0])),
        lambda: impl(x, 3 * x**-0.5),
        lambda: impl(x, torch.tensor([4.0, 9.0, 1.5, 3.0])),
        lambda: impl(torch.tensor([2.0, 2.0, 8.0, 50.0]), torch.tensor([6.0, 9.0, 5.0, 1.0])),
    ]


# --- chinchilla_optimal -----------------------------------------------------------------------------------------------

REFITTED = (482.01, 2085.43, 0.3478, 0.3658)


@misconception(
    "chinchilla_optimal",
    believes="the optimum is 20 tokens for each parameter",
    truth="that is about what the constants of real text give at the budgets of its time; other constants give other ratios",
)
def twenty_tokens_for_each(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (flops / 120) ** 0.5
    return n, 20 * n


@misconception(
    "chinchilla_optimal",
    believes="a budget of C operations is N times D",
    truth="each parameter takes 6 operations for each token: 6 N D = C",
)
def without_the_six(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (alpha * a / (beta * b) * flops**beta) ** (1 / (alpha + beta))
    return n, flops / n


@misconception(
    "chinchilla_optimal",
    believes="training takes 2 operations for each parameter and token",
    truth="it takes 6, 2 forward and 4 backward",
)
def forward_budget(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (alpha * a / (beta * b) * (flops / 2) ** beta) ** (1 / (alpha + beta))
    return n, flops / 2 / n


@misconception(
    "chinchilla_optimal",
    believes="the tokens are flops / N",
    truth="what is left of the budget for tokens is flops / (6 N)",
)
def six_forgotten_in_tokens(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (alpha * a / (beta * b) * (flops / 6) ** beta) ** (1 / (alpha + beta))
    return n, flops / n


@misconception(
    "chinchilla_optimal",
    believes="parameters and tokens get equal shares",
    truth="they grow about equally fast with the budget, but the constants decide how many there are of each",
)
def equal_shares(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (flops / 6) ** 0.5
    return n, n


@misconception(
    "chinchilla_optimal",
    believes="at the optimum the two terms of the loss are equal",
    truth="their derivatives are: alpha a / N^alpha equals beta b / D^beta",
)
def equal_terms(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (a / b * (flops / 6) ** beta) ** (1 / (alpha + beta))
    return n, flops / 6 / n


@misconception(
    "chinchilla_optimal",
    believes="the constants only shift the loss, so N is (C/6)^(beta/(alpha+beta))",
    truth="they set the ratio of parameters and tokens: the factor before it is (alpha a / (beta b))^(1/(alpha+beta))",
)
def no_factor(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (flops / 6) ** (beta / (alpha + beta))
    return n, flops / 6 / n


@misconception(
    "chinchilla_optimal",
    believes="N grows with the exponent alpha / (alpha + beta)",
    truth="it is beta / (alpha + beta): the faster more data helps, the sooner one has enough and spends on size",
)
def exponents_exchanged(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * (flops / 6) ** (alpha / (alpha + beta))
    return n, flops / 6 / n


@misconception(
    "chinchilla_optimal",
    believes="the term with the larger constant gets fewer",
    truth="it gets more: a term that is large is worth reducing, so a stands above the line in the formula for N",
)
def factor_upside_down(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (beta * b / (alpha * a) * (flops / 6) ** beta) ** (1 / (alpha + beta))
    return n, flops / 6 / n


@misconception(
    "chinchilla_optimal",
    believes="the tokens come first",
    truth="the result is the parameters and then the tokens",
)
def tokens_first(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (alpha * a / (beta * b) * (flops / 6) ** beta) ** (1 / (alpha + beta))
    return flops / 6 / n, n


@misconception(
    "chinchilla_optimal",
    believes="the root that is taken of the factor is 1 / alpha",
    truth="the powers of N on both sides of the equation add up to alpha + beta, and all is under that root",
)
def root_of_one_exponent(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (alpha * a / (beta * b)) ** (1 / (2 * alpha)) * (flops / 6) ** (beta / (alpha + beta))
    return n, flops / 6 / n


@misconception(
    "chinchilla_optimal",
    believes="three quarters of each new order of magnitude go to parameters, as Kaplan et al. found",
    truth="that exponent, 0.73, is from other runs; the one that belongs to these constants follows from them",
)
def kaplans_exponent(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * (flops / 6) ** 0.73
    return n, flops / 6 / n


@misconception(
    "chinchilla_optimal",
    believes="no model has more than 100 billion parameters",
    truth="the formula has no such end, and published models have passed it",
)
def searched_too_near(flops, a=REFITTED[0], b=REFITTED[1], alpha=REFITTED[2], beta=REFITTED[3]):
    n = (alpha * a / (beta * b) * (flops / 6) ** beta) ** (1 / (alpha + beta))
    n = min(n, 1e11)
    return n, flops / 6 / n


@fingerprint("chinchilla_optimal")
def chinchilla_optimal_probes(impl):
    return [
        lambda: impl(600.0, 2.0, 2.0, 0.5, 0.5),
        lambda: impl(6e4, 2.0, 5.0, 0.5, 0.5),
        lambda: impl(6e4, 2.0, 5.0, 0.3, 0.6),
        lambda: impl(5.76e23),
        lambda: impl(1e26),
    ]


# --- exact_match_from_token_accuracy ----------------------------------------------------------------------------------


@misconception(
    "exact_match_from_token_accuracy",
    believes="a longer answer is right less often in proportion to its length",
    truth="every further token multiplies the probability: it falls exponentially in the length, not as 1 / length",
)
def divided_by_length(accuracy, length):
    return accuracy / length


@misconception(
    "exact_match_from_token_accuracy",
    believes="an answer is right if any of its tokens is",
    truth="exact match needs all of them",
)
def any_token(accuracy, length):
    return 1 - (1 - accuracy) ** length


@misconception(
    "exact_match_from_token_accuracy",
    believes="length errors of probability 1 - p add up",
    truth="that holds only while errors are rare, and becomes negative after that; the probability is p ** length",
)
def errors_add_up(accuracy, length):
    return (1 - length * (1 - accuracy)).clamp(min=0)


@misconception(
    "exact_match_from_token_accuracy",
    believes="errors add up, and what pairs of them are counted twice is put right",
    truth="after the pairs come the triples, and so on to the whole answer; all of it together is p ** length",
)
def pairs_put_right(accuracy, length):
    wrong = 1 - accuracy
    return 1 - length * wrong + length * (length - 1) / 2 * wrong**2


@misconception(
    "exact_match_from_token_accuracy",
    believes="the expected number of right tokens is the score",
    truth="that grows with the length; exact match is a probability, of all being right",
)
def tokens_right(accuracy, length):
    return accuracy * length


@misconception(
    "exact_match_from_token_accuracy",
    believes="the score per token is the geometric mean",
    truth="that goes from the score of the answer back to its tokens: it is the inverse",
)
def root_for_power(accuracy, length):
    return accuracy ** (1 / length)


@misconception(
    "exact_match_from_token_accuracy",
    believes="the first token is given",
    truth="all `length` tokens have to be produced",
)
def first_token_given(accuracy, length):
    return accuracy ** (length - 1)


@misconception(
    "exact_match_from_token_accuracy",
    believes="probabilities are kept as logarithms",
    truth="the result asked for is the probability itself",
)
def log_probability(accuracy, length):
    return length * accuracy.log()


@misconception(
    "exact_match_from_token_accuracy",
    believes="the accuracies are those of the answer's tokens, one after the other",
    truth="each is that of another model, and stands for all tokens of its answers: there are as many results",
)
def product_over_entries(accuracy, length):
    return accuracy.cumprod(dim=-1) if accuracy.dim() else accuracy**length


@misconception(
    "exact_match_from_token_accuracy",
    believes="greedy decoding gets a token right whenever its probability is above one half",
    truth="accuracy is already how often the choice is right; it is multiplied, not compared with a threshold",
)
def threshold(accuracy, length):
    return (accuracy > 0.5).to(accuracy.dtype) if length > 1 else accuracy.clone()


@misconception(
    "exact_match_from_token_accuracy",
    believes="accuracies come in a list",
    truth="they may be a single number or a table: a power of a tensor takes every entry by itself",
)
def one_dimension(accuracy, length):
    return torch.tensor([float(p) ** length for p in accuracy])


@misconception(
    "exact_match_from_token_accuracy",
    believes="probabilities stay clear of 0 and 1, as logarithms need",
    truth="clipped to 0.99, a perfect model gets only 13 % of answers of 200 tokens right; p ** length needs no logarithm",
)
def clipped(accuracy, length):
    return (length * accuracy.clamp(0.01, 0.99).log()).exp()


@fingerprint("exact_match_from_token_accuracy")
def exact_match_probes(impl):
    return [
        lambda: impl(torch.tensor([0.4, 0.9, 0.8]), 1),
        lambda: impl(torch.tensor([0.4, 0.9, 0.8]), 3),
        lambda: impl(torch.tensor([[0.3], [0.7]]), 2),
        lambda: impl(torch.tensor([0.0, 1.0]), 50),
    ]
