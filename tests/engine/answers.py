"""What a learner might write: each function or class does one thing that the boundary has to carry."""

import collections
import sys
import threading
import warnings

import numpy as np
import torch
import torch.nn.functional as F


def same(*values):
    return values[0] if len(values) == 1 else values


def by_keyword(first, second=2, *, third=3):
    return [first, second, third]


def nothing():
    return None


def raises(kind, message):
    raise {"ValueError": ValueError, "IndexError": IndexError, "Custom": Custom}[kind](message)


class Custom(KeyError):
    def __str__(self):
        return "a message \x1b[31mof its own"


class Unsayable(Exception):
    def __str__(self):
        raise RuntimeError("no")


def raises_unsayable():
    raise Unsayable


def not_written():
    raise NotImplementedError


def leaves():
    sys.exit(3)


def prints_and_warns():
    print("this must not reach the protocol")
    print("nor this", file=sys.stderr)
    warnings.warn("a warning", stacklevel=1)
    return 1


class Counter:
    """State that lives on the learner's side."""

    def __init__(self, start=0):
        if start < 0:
            raise ValueError("negative")
        self.values = [start]

    def add(self, value, times=1):
        self.values += [value] * times
        return self

    def total(self):
        return sum(self.values)

    def joined(self, other):
        return self.total() + other.total()

    def __len__(self):
        return len(self.values)


class LengthOfNothing:
    def __len__(self):
        return torch.tensor(3)


def call_twice(function, value):
    return function(value), function(value + 1)


def call_and_swallow(function):
    try:
        function(1)
    except BaseException:
        return 0
    return 0


def call_and_tell(function):
    try:
        function(1)
    except ValueError as error:
        return f"saw {type(error).__name__}: {error}"
    return "saw nothing"


def use_store(store):
    store.put("a", 1)
    store.put("b", torch.ones(2))
    return len(store), store.get("a"), store


def use_hidden(store):
    return store.secret()


def change_in_place(x):
    x.add_(1)
    return x


def change_a_later_argument(number, rows):
    rows["w"][0] = 7
    return number


def change_and_restore(x):
    x.add_(1)
    x.sub_(1)
    return x.sum()


def layout(x):
    return list(x.shape), list(x.stride()), x.is_contiguous(), x.requires_grad


def square(x):
    return x * x


def product_and_sum(x, y):
    return x * y, x.sum()


def no_gradient(x):
    return None


def detached(x):
    return x.detach() * 2


def view_of(x):
    return x[1:]


def numpy_results(which):
    return {
        "float64": np.float64(1.5),
        "float32": np.float32(0.5),
        "int64": np.int64(3),
        "bool": np.bool_(True),
        "str": np.str_("text"),
        "zero_dim": np.array(2.5),
        "array": np.ones(3),
    }[which]


class Subclass(torch.Tensor):
    pass


def unusual(which):
    rows = {
        "parameter": lambda: torch.nn.Parameter(torch.ones(2)),
        "subclass": lambda: torch.ones(2).as_subclass(Subclass),
        "sparse": lambda: torch.eye(2).to_sparse(),
        "meta": lambda: torch.ones(2, device="meta"),
        "module": lambda: torch.nn.Linear(1, 1),
        "set": lambda: {1, 2},
        "generator": lambda: (i for i in range(3)),
        "dtype": lambda: torch.float8_e5m2,
        "device": lambda: torch.device("meta"),
        "complex": lambda: 1j,
    }
    return rows[which]()


Pair = collections.namedtuple("Pair", "left right")


def tuples(which):
    rows = {
        "named": lambda: Pair(1, 2),
        "topk": lambda: torch.tensor([3.0, 1.0, 2.0]).topk(2),
        "size": lambda: torch.ones(2, 3).shape,
        "ordered": lambda: collections.OrderedDict(a=1),
    }
    return rows[which]()


def too_much(which):
    rows = {
        "itself": lambda: _itself(),
        "long": lambda: [0] * 200_000,
        "large": lambda: torch.zeros(20_000_000, dtype=torch.float64),
        "big": lambda: 3**10_000,
        "key": lambda: {torch.float32: 1},
    }
    return rows[which]()


def _itself():
    rows = []
    rows.append(rows)
    return rows


def surrogate():
    return "\ud800", b"\xff\x00"


def mean_by_alias(x):
    average = torch.mean
    return average(x)


def mean_by_getattr(x):
    return getattr(torch, "me" + "an")(x)


def mean_by_method(x):
    return x.mean()


def mean_by_operator(x):
    return torch.ops.aten.mean.default(x)


def _mean(x):
    return torch.mean(x)


with warnings.catch_warnings(action="ignore"):
    _scripted_mean = torch.jit.script(_mean)


def mean_by_script(x):
    return _scripted_mean(x)


def mean_inside_another(x):
    return torch.var_mean(x)[1] * 0 + F.l1_loss(x, x * 0)


def mean_through_no_grad(x):
    with torch.no_grad():
        return torch.mean(x)


def mean_by_hand(x):
    return x.sum() / x.numel()


def mean_by_the_grader(function, x):
    return function(x)


def has_loaded(module):
    return module in sys.modules


def _attend(x):
    return F.scaled_dot_product_attention(x, x, x)


with warnings.catch_warnings(action="ignore"):
    _scripted_attend = torch.jit.script(_attend)


def composite(way, x):
    """A function that torch takes apart into others before its dispatcher sees it."""
    aten = torch.ops.aten
    ways = {
        "function": _attend,
        "builtin": lambda x: torch._C._nn.scaled_dot_product_attention(x, x, x),
        "packet": lambda x: aten.scaled_dot_product_attention(x, x, x),
        "operator": lambda x: aten.scaled_dot_product_attention.default(x, x, x),
        "script": _scripted_attend,
        "kernel": lambda x: aten._scaled_dot_product_flash_attention_for_cpu(x, x, x)[0],
    }
    return ways[way](x)


class Shelf:
    """Places for things that are put and taken by name."""

    def __init__(self, places):
        self.places, self.things = places, []

    def put(self, thing):
        if len(self.things) == self.places:
            raise ValueError("full")
        self.things.append(thing)
        return len(self.things)

    def take(self, thing):
        self.things.remove(thing)

    def __len__(self):
        return len(self.things)


class Forgetful(Shelf):
    """Takes all things of a name."""

    def take(self, thing):
        self.things = [kept for kept in self.things if kept != thing]


def makes(way, x):
    """Makes tensors on the way to a sum, as large as the way says."""
    size = len(x)

    def square():
        return (x[:, None] * x).sum()

    def in_a_thread():
        sums = []
        thread = threading.Thread(target=lambda: sums.append(square()))
        thread.start()
        thread.join()
        return sums[0]

    ways = {
        "nothing": lambda: 0,
        "views of an argument": lambda: (x[1:].expand(1000, size - 1).t(), x[0])[1],
        "a row": lambda: (x + 1)[0],
        "a slice of a row": lambda: torch.cat([x, x, x])[:2].sum(),
        "an expanded number": lambda: torch.zeros(1).expand(1000)[0],
        "a shape": lambda: torch.zeros(1000, device="meta").numel(),
        "a square": square,
        "a square in a thread": in_a_thread,
        "a square by its operator": lambda: torch.ops.aten.outer.default(x, x).sum(),
        "a square in pieces": lambda: torch.outer(x, x).split(1)[0].sum(),
        "a pair": lambda: torch.outer(x, x).topk(1).values.sum(),
        "a few of many": lambda: torch.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (1000,)).sum(),
    }
    return float(ways[way]())


def sum_by_the_grader(function, x):
    return function(x).sum()
