"""Wrong on purpose."""

import torch

from gptdojo import fingerprint, misconception


@misconception("count_vowels", believes="a vowel counts once, however often it occurs", truth="every occurrence counts")
def different_vowels(text):
    return len(set(text.lower()) & set("aeiou"))


@misconception("count_vowels", believes="letters are small", truth="capitals are vowels as well")
def small_letters_only(text):
    return sum(letter in "aeiou" for letter in text)


@fingerprint("count_vowels")
def count_vowels_probes(impl):
    return [lambda: impl("aa"), lambda: impl("AE"), lambda: impl("bcd")]


class _Readings:
    def __init__(self, digits):
        self.digits, self.readings = digits, []

    def read(self, readings):
        self.readings.append(readings)

    def average(self):
        if not self.readings:
            raise ValueError("empty")
        return torch.cat(self.readings).sum(0, keepdim=True) / len(self)

    def __len__(self):
        return sum(map(len, self.readings))


@misconception(
    "Thermometer", believes="the mean of means is the mean", truth="pieces of different length weigh differently"
)
class MeanOfMeans(_Readings):
    def average(self):
        if not self.readings:
            raise ValueError("empty")
        return (sum(piece.sum() / len(piece) for piece in self.readings) / len(self.readings)).reshape(1)


@misconception("Thermometer", believes="an empty mean is zero", truth="there is no mean of nothing, so it is an error")
class EmptyIsZero(_Readings):
    def average(self):
        return super().average() if self.readings else torch.zeros(1)


@misconception(
    "Thermometer",
    believes="length counts the calls of read",
    truth="each call may bring several readings, or the length is off",
)
class CountsCalls(_Readings):
    def __len__(self):
        return max(len(self.readings), 1)

    def average(self):
        if not self.readings:
            raise ValueError("empty")
        return torch.cat(self.readings).sum(0, keepdim=True) / sum(map(len, self.readings))


@fingerprint("Thermometer")
def thermometer_probes(impl):
    def averaged(*pieces):
        thermometer = impl(4)
        for piece in pieces:
            thermometer.read(torch.tensor(piece))
        return thermometer.average(), len(thermometer)

    return [lambda: averaged(), lambda: averaged([1.0], [2.0, 4.0]), lambda: len(impl(1))]
