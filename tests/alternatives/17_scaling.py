"""Right, and written differently: figures about scaling that the graders must accept."""

import math
from fractions import Fraction

import numpy as np
import torch

from gptdojo import alternative

# --- training_flops ---------------------------------------------------------------------------------------------------


@alternative("training_flops")
def with_fractions(n_parameters, n_tokens):
    forward = 2 * Fraction(n_parameters) * Fraction(n_tokens)
    return float(forward + 2 * forward)


@alternative("training_flops")
def in_numpy(n_parameters, n_tokens):
    return float(np.float64(n_parameters) * np.float64(n_tokens) * 6)


@alternative("training_flops")
def as_float32_tensor(n_parameters, n_tokens):
    return torch.tensor([6.0, float(n_parameters), float(n_tokens)]).prod()


@alternative("training_flops")
def pass_by_pass(n_parameters, n_tokens):
    multiply_adds = {"forward": n_parameters, "gradient of weights": n_parameters, "gradient of inputs": n_parameters}
    return n_tokens * sum(2 * count for count in multiply_adds.values())


# --- fit_power_law ----------------------------------------------------------------------------------------------------


@alternative("fit_power_law")
def by_lstsq(x, y):
    design = torch.stack([torch.ones_like(x), x.log()], dim=1)
    solution = torch.linalg.lstsq(design, y.log()[:, None]).solution
    return torch.exp(solution[0, 0]).item(), solution[1, 0].item()


@alternative("fit_power_law")
def by_numpy(x, y):
    slope, intercept = np.polyfit(np.log(x.numpy()), np.log(y.numpy()), 1)
    return float(np.exp(intercept)), float(slope)


@alternative("fit_power_law")
def in_plain_python(x, y):
    points = [(math.log2(one), math.log2(other)) for one, other in zip(x.tolist(), y.tolist(), strict=True)]
    n = len(points)
    sum_u, sum_w = (sum(point[i] for point in points) for i in (0, 1))
    sum_uw, sum_uu = sum(u * w for u, w in points), sum(u * u for u, _ in points)
    slope = (n * sum_uw - sum_u * sum_w) / (n * sum_uu - sum_u**2)
    return 2 ** ((sum_w - slope * sum_u) / n), slope


@alternative("fit_power_law")
def normal_equations_in_base_ten(x, y):
    design = torch.stack([x.log10(), torch.ones_like(x)])
    slope, intercept = torch.linalg.solve(design @ design.T, design @ y.log10())
    return 10**intercept, slope


@alternative("fit_power_law")
def by_covariance(x, y):
    covariance = torch.cov(torch.stack([x.log(), y.log()]))
    slope = (covariance[0, 1] / covariance[0, 0]).item()
    return (y.log() - slope * x.log()).mean().exp().item(), slope


# --- chinchilla_optimal -----------------------------------------------------------------------------------------------


@alternative("chinchilla_optimal")
def by_logarithms(flops, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658):
    log_product = math.log(flops) - math.log(6)
    log_ratio = math.log(alpha * a) - math.log(beta * b)
    log_n = (log_ratio + beta * log_product) / (alpha + beta)
    return math.exp(log_n), math.exp(log_product - log_n)


@alternative("chinchilla_optimal")
def tokens_by_their_own_formula(flops, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658):
    g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    return g * (flops / 6) ** (beta / (alpha + beta)), (flops / 6) ** (alpha / (alpha + beta)) / g


@alternative("chinchilla_optimal")
def by_bisection(flops, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658):
    low, high = -100.0, 200.0
    for _ in range(60):
        middle = (low + high) / 2
        n = math.exp(middle)
        d = flops / 6 / n
        if alpha * a * n**-alpha > beta * b * d**-beta:
            low = middle
        else:
            high = middle
    return math.exp(low), flops / 6 / math.exp(low)


@alternative("chinchilla_optimal")
def by_narrowing_grids(flops, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658):
    low, high = -50.0, 150.0
    for _ in range(12):
        grid = torch.linspace(low, high, 101, dtype=torch.float64)
        loss = torch.logaddexp(math.log(a) - alpha * grid, math.log(b) - beta * (math.log(flops / 6) - grid))
        best = int(loss.argmin())
        low, high = grid[max(0, best - 1)].item(), grid[min(100, best + 1)].item()
        if high - low < 1e-4:
            break
    n = math.exp((low + high) / 2)
    return torch.tensor(n, dtype=torch.float64), torch.tensor(flops / 6 / n, dtype=torch.float64)


# --- exact_match_from_token_accuracy ----------------------------------------------------------------------------------


@alternative("exact_match_from_token_accuracy")
def by_loop(accuracy, length):
    result = torch.ones_like(accuracy)
    for _ in range(length):
        result = result * accuracy
    return result


@alternative("exact_match_from_token_accuracy")
def by_expand_and_prod(accuracy, length):
    return accuracy.unsqueeze(-1).expand(*accuracy.shape, length).prod(dim=-1)


@alternative("exact_match_from_token_accuracy")
def by_logarithm(accuracy, length):
    return torch.exp(length * torch.log(accuracy.double())).to(accuracy.dtype)


@alternative("exact_match_from_token_accuracy")
def by_numpy_power(accuracy, length):
    return torch.from_numpy(np.asarray(np.power(accuracy.numpy(), length, dtype=np.float32)))
