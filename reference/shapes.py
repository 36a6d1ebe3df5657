"""The notation for shapes in signatures, as in `Float[Tensor, "batch position"]` (chapter 1).

Shapes are for readers and for tools that check them; where jaxtyping is not installed, an annotation says only Tensor.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Bool as Bool
    from jaxtyping import Float as Float
    from jaxtyping import Int as Int
else:
    try:
        from jaxtyping import Bool, Float, Int
    except ImportError:

        class Bool:
            """A tensor, whatever its shape."""

            __class_getitem__ = classmethod(lambda cls, item: item[0])

        Float = Int = Bool
