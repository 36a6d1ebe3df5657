"""Pictures, each drawn by one function: a figure in notebooks, text in terminals. They know nothing of what they show."""

from .distributions import distributions
from .masks import who_sees_whom
from .picture import Picture
from .sequence import sequence
from .slots import slots

__all__ = ["Picture", "distributions", "sequence", "slots", "who_sees_whom"]
