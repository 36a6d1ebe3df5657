"""Properties that are state machines: seeded and bounded like others, and their failure is a short history of calls."""

import io

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from rich.console import Console

from gptdojo import claim
from gptdojo.expect import expect
from gptdojo.implementation import local
from gptdojo.ladder import counterexample, run_property
from gptdojo.report import ExerciseResult, PropertyResult
from gptdojo.screen import exercise_html, exercise_screen
from gptdojo.stateful import Machine, stateful


class Shelf:
    """Right: so many places, things are put and taken by name; the wrong ones below derive from it."""

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


class ShelfBesideTruth(Machine):
    @initialize(places=st.integers(1, 3))
    def build(self, places):
        self.places, self.things = places, []
        self.shelf = self.call(f"shelf = Shelf({places})", self.impl, places)

    @rule(thing=st.sampled_from("abc"))
    def put(self, thing):
        line = f'shelf.put("{thing}")'
        if len(self.things) == self.places:
            self.refused(Exception, line, self.shelf.put, thing, because=f"all {self.places} places are taken")
        else:
            self.call(line, self.shelf.put, thing)
            self.things.append(thing)

    @precondition(lambda self: self.things)
    @rule(data=st.data())
    def take(self, data):
        thing = data.draw(st.sampled_from(self.things))
        self.call(f'shelf.take("{thing}")', self.shelf.take, thing)
        self.things.remove(thing)

    @invariant()
    def as_many_as_were_put(self):
        if hasattr(self, "shelf"):
            got = len(self.shelf)
            expect(got == len(self.things), f"{got} things", expected=len(self.things), got=got)


def shelf_property():
    """Made in here, so that pytest does not take it for one of its own."""

    @claim("Shelf", rung=1, examples=40)
    @stateful(steps=12)
    def test_Shelf_any_history(impl):
        """After any history of calls, as many things are held as were put and not taken."""
        return ShelfBesideTruth(impl)

    return test_Shelf_any_history._gptdojo


PROPERTY = shelf_property()


class TakesAll(Shelf):
    def take(self, thing):
        self.things = [kept for kept in self.things if kept != thing]


class OneTooMany(Shelf):
    def put(self, thing):
        self.things.append(thing)


class LosesItsWayAfterTaking(Shelf):
    def __init__(self, places):
        super().__init__(places)
        self.taken = 0

    def take(self, thing):
        super().take(thing)
        self.taken += 1
        if self.taken == 2:
            raise KeyError(thing)


HISTORIES = {
    TakesAll: ["shelf = Shelf(2)", 'shelf.put("a")  # 1', 'shelf.put("a")  # 2', 'shelf.take("a")'],
    OneTooMany: ["shelf = Shelf(1)", 'shelf.put("a")', 'shelf.put("a")'],
    LosesItsWayAfterTaking: [
        "shelf = Shelf(1)",
        'shelf.put("a")  # 1',
        'shelf.take("a")',
        'shelf.put("a")  # 1',
        'shelf.take("a")  # raises KeyError',
    ],
}


def failure(answer, seed=0, **options):
    return run_property(PROPERTY, local(answer, "Shelf", parameters={"__init__": ("places",)}), seed, **options)


@pytest.mark.parametrize("seed", range(5))
def test_a_right_object_passes(seed):
    assert failure(Shelf, seed) is None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("wrong", "history"), HISTORIES.items(), ids=[wrong.__name__ for wrong in HISTORIES])
def test_a_failure_is_the_shortest_history_of_calls_as_python(wrong, history, seed):
    calls = failure(wrong, seed).evidence.calls
    assert len(calls) == len(history)
    assert calls[-1] == history[-1]


def test_without_a_search_the_verdict_is_the_same_and_the_history_longer():
    first = failure(TakesAll, shrink=False)
    assert len(first.evidence.calls) >= len(HISTORIES[TakesAll])


def seen_by(seed):
    seen = []

    class Watched(Shelf):
        def put(self, thing):
            seen.append(thing)
            return super().put(thing)

    assert failure(Watched, seed) is None
    return seen


def test_the_same_seed_draws_the_same_histories_and_another_seed_others():
    assert seen_by(1) == seen_by(1)
    assert seen_by(1) != seen_by(2)
    assert len(seen_by(1)) > 100


def test_histories_have_the_steps_and_number_that_were_asked_for():
    lengths = []

    class Counted(Shelf):
        def __init__(self, places):
            super().__init__(places)
            lengths.append(0)

        def __len__(self):
            lengths[-1] += 1
            return super().__len__()

    assert failure(Counted) is None
    assert len(lengths) >= 40
    assert max(lengths) == 12, "the first step builds the shelf"
    assert lengths.count(12) > 20, "the others had no rule that applied"


@pytest.mark.parametrize("allowed", [3, 10_000])
def test_the_search_for_a_shorter_history_is_bounded(monkeypatch, allowed):
    monkeypatch.setattr("gptdojo.ladder.SHRINK_CASES", allowed)
    built = []

    class Watched(TakesAll):
        def __init__(self, places):
            super().__init__(places)
            built.append(places)

    assert failure(Watched) is not None
    assert len(built) <= 60 + 3 if allowed == 3 else len(built) > 10


def test_an_object_that_answers_at_random_fails():
    calls = []

    class Moody(Shelf):
        def __len__(self):
            calls.append(None)
            return super().__len__() + (len(calls) == 30)

    assert failure(Moody) is not None


def test_an_object_that_cannot_be_built_fails_with_its_error():
    class Broken(Shelf):
        def __init__(self, places):
            raise KeyError("no")

    error = failure(Broken)
    assert "KeyError" in str(error)
    assert error.evidence.calls == ["shelf = Shelf(1)  # raises KeyError"]


def test_the_screen_shows_the_history_a_line_a_call():
    error = failure(TakesAll)
    case = counterexample(error.evidence)
    properties = [PropertyResult("any_history", 1, "failed", str(error), case, PROPERTY.claim)]
    result = ExerciseResult("Shelf", "01_shelf", 0, 1, 0, "failed", str(error), properties=properties)
    file = io.StringIO()
    Console(file=file, width=80).print(exercise_screen(result))
    shown = [line.strip() for line in file.getvalue().splitlines()]
    start = next(number for number, line in enumerate(shown) if line.startswith("after these calls"))
    assert shown[start].removeprefix("after these calls").strip() == "shelf = Shelf(2)"
    assert shown[start + 1 : start + 4] == HISTORIES[TakesAll][1:]
    assert 'shelf.take("a")' in exercise_html(result).replace("&quot;", '"')
    assert result.to_json()["properties"][0]["counterexample"]["calls"] == HISTORIES[TakesAll]


@pytest.mark.parametrize("wrong", [False, True])
def test_across_the_boundary_it_is_the_same(answer, wrong):
    error = run_property(PROPERTY, answer("Forgetful" if wrong else "Shelf"), 0)
    assert (error.evidence.calls if wrong else error) == (HISTORIES[TakesAll] if wrong else None)
