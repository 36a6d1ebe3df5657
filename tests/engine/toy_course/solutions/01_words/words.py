# %% [markdown]
# # 1. Words
# Letters are vowels or they are not.

# %%
import torch
from torch import Tensor

# %% [markdown]
# ## Counting vowels
# The vowels are a, e, i, o and u, in either case.


# %% count_vowels
def count_vowels(text: str) -> int:
    """Return the number of vowels in a text.

    >>> count_vowels("Queue")
    4
    """
    ### BEGIN SOLUTION
    return sum(letter in "aeiou" for letter in text.lower())
    ### END SOLUTION


# %% count_a_sentence
print(count_vowels("It was the best of times"))

# %% [markdown]
# ## A thermometer
# It remembers its readings.


# %% Thermometer
class Thermometer:
    """Remembers readings of shape (n,) and says their mean; a mean of nothing is a ValueError.

    >>> thermometer = Thermometer(1)
    >>> thermometer.read(torch.tensor([20.0, 22.0]))
    >>> thermometer.average()
    tensor([21.])
    """

    def __init__(self, digits: int) -> None:
        ### BEGIN SOLUTION
        self.digits = digits
        self.readings: list[Tensor] = []
        ### END SOLUTION

    def read(self, readings: Tensor) -> None:
        """Remember readings."""
        ### BEGIN SOLUTION
        self.readings.append(readings)
        ### END SOLUTION

    def average(self) -> Tensor:
        """Return the mean so far, of shape (1,), rounded to the digits."""
        ### BEGIN SOLUTION
        if not self.readings:
            raise ValueError("no readings yet")
        everything = torch.cat(self.readings)
        return (everything.sum(0, keepdim=True) / len(everything)).round(decimals=self.digits)
        ### END SOLUTION

    def __len__(self) -> int:
        ### BEGIN SOLUTION
        return sum(len(readings) for readings in self.readings)
        ### END SOLUTION
