"""Who influences whom: one token is exchanged at a time, and what changes in the output is compared with what may."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gptdojo.expect import Grid, expect


def influence(function: Callable[[Tensor], Tensor], tokens: Tensor, changed: Tensor) -> Tensor:
    """Return how much each row of the output changes with each token, (..., row, token).

    `tokens` has its positions on axis -2, and `changed` holds what to put in their place, one position at a time.
    """
    before = function(tokens)
    columns = []
    for j in range(tokens.shape[-2]):
        other = tokens.clone()
        other[..., j, :] = changed[..., j, :]
        columns.append((function(other) - before).abs().amax(dim=-1))
    return torch.stack(columns, dim=-1)


def expect_influence(
    change: Tensor,
    exact: Tensor,
    allowed: Tensor,
    inputs: Mapping[str, Any],
    *,
    rows: str = "query",
    columns: str = "key",
) -> None:
    """Fail where a forbidden influence is felt, or where an allowed one that is plain to see in `exact` is not."""
    felt = change > torch.where(allowed, 1e-6, 1e-5)
    leaks, losses = felt & ~allowed, ~felt & allowed & (exact > 1e-2)
    for found, verdict in ((leaks, "changes"), (losses, "does not change")):
        if bool(found.any()):
            *where, row, column = found.nonzero()[0].tolist()
            may = "may see" if verdict == "does not change" else "may not see"
            message = f"the result at {rows} {row} {verdict} with {columns} {column}, which it {may}"
            expect(False, message, inputs=inputs, grid=Grid(allowed[tuple(where)], felt[tuple(where)], rows, columns))
