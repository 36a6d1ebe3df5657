"""What signatures and checks are written with: shapes as in `Float[Tensor, "batch position"]` (chapter 1).
Shapes are for readers and for tools that check them; without jaxtyping they are no more than a note on a Tensor."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool as Bool, Float as Float, Int as Int
else:
    try:
        from jaxtyping import Bool, Float, Int
    except ImportError:
        Bool = Float = Int = Annotated

Tokens = Int[Tensor, "batch position"]
IsToken = Bool[Tensor, "batch position"]
Hidden = Float[Tensor, "batch position d_model"]
Rows = Float[Tensor, "*batch d_model"]
Gain = Float[Tensor, " d_model"]
Wider = Float[Tensor, "d_ff d_model"]
Narrower = Float[Tensor, "d_model d_ff"]
Logits = Float[Tensor, "batch position vocab"]
Params = Mapping[str, Float[Tensor, "..."]]  # parameters, or their gradients, by name
Device = torch.device | str | None  # where tensors live; None is torch's default


def expect(condition: object, wanted: str, *got: object) -> None:
    """Raise a ValueError that says what was wanted and what it got, unless the condition holds."""
    if not condition:
        shown = [str(tuple(value) if isinstance(value, torch.Size) else value) for value in got]
        raise ValueError(f"expected {wanted}, got {' and '.join(shown)}")
