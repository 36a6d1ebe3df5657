"""Runs the properties of an exercise on an implementation, rung by rung."""

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
from hypothesis.errors import Flaky, HypothesisException

from .catalog import Catalog, Property
from .course import Exercise
from .determinism import derive_seed, steady
from .expect import Grid
from .faults import Evidence, ForbiddenCall, ImplementationFault, LearnerError, Mismatch, Stopped
from .fingerprints import explain
from .implementation import Implementation
from .report import Counterexample, ExerciseResult, PropertyResult, Status
from .show import show, show_argument
from .solutions import as_implementation, solution

SHRINK_CASES = 200
SHRINK_EXCHANGES = 1_000
NOT_STARTED = (
    "not started: it still raises NotImplementedError. Write your answer in its place, and delete the line that raises."
)


class _ShrunkEnough(BaseException):
    """The example is small enough; not an Exception, so that Hypothesis lets it through."""


class Unusable(ImplementationFault):
    """A property could not go on with what it got. Whose fault it is shows when the worked solution is asked the same."""


class _Record:
    """The last failure of a property, and how long the search for a smaller one may go on.

    Counted in cases and in calls, not in seconds, so that the same seed gives the same report.
    """

    def __init__(self, impl: Implementation, *, shrink: bool) -> None:
        self.impl = impl
        self.last: BaseException | None = None
        self.cases_left = SHRINK_CASES if shrink else 0
        self.last_exchange = 0

    def around(self, body: Callable) -> Callable:
        """Return the body of a property with its failures recorded."""

        @functools.wraps(body)
        def recorded(*args: Any, **kwargs: Any) -> None:
            if self.last is not None:
                self.cases_left -= 1
                if self.cases_left < 0 or self.impl.exchanges > self.last_exchange:
                    raise _ShrunkEnough
            try:
                body(*args, **kwargs)
            except (AssertionError, ImplementationFault) as error:
                if self.last is None:
                    self.last_exchange = self.impl.exchanges + getattr(body, "shrink_exchanges", SHRINK_EXCHANGES)
                self.last = error
                raise
            except HypothesisException:
                raise
            except Exception as error:
                if self.impl.exchanges == 0:
                    raise
                self.last = Unusable(f"what your code gave back cannot be used: {type(error).__name__}: {error}"[:300])
                raise self.last from error

        return recorded


def run_property(entry: Property, impl: Implementation, seed: int, *, shrink: bool = True) -> BaseException | None:
    """Run one property; return None when it holds, else the exception of its smallest failing case (without `shrink`, of its first).

    What is neither a failed claim nor a fault of the implementation is an error of the property itself, and is raised.
    """
    steady()
    record = _Record(impl, shrink=shrink)
    drawn = getattr(entry.function, "hypothesis", None)
    try:
        if drawn is None:
            record.around(entry.function)(impl=impl)
        else:
            body, drawn.inner_test = drawn.inner_test, record.around(drawn.inner_test)
            try:
                hypothesis.seed(derive_seed(seed, entry.exercise, entry.name))(entry.function)(impl=impl)
            finally:
                drawn.inner_test = body
    except (AssertionError, ImplementationFault) as error:
        return error
    except Stopped as error:
        return record.last or error  # what failed first is the verdict, whatever ended the search for a smaller case
    except (_ShrunkEnough, Flaky):
        # Flaky: a case failed once and not again, so the code answers differently on the same input
        return record.last or Mismatch("your code answers differently when it is asked the same again", Evidence())
    return record.last


def run_ladder(
    exercise: Exercise, catalog: Catalog, impl: Implementation, seed: int, *, shrink: bool = True
) -> ExerciseResult:
    """Grade one exercise. After the first rung that fails, later rungs are not run.

    Without `shrink` the failing case is the first that was found, which is quicker; the verdicts are the same.
    """
    start = time.perf_counter()
    results: list[PropertyResult] = []
    errors: list[BaseException] = []
    fallen = stopped = False
    entries = catalog.properties(exercise.name)
    for number, entry in enumerate(entries):
        if stopped or (fallen and entry.rung > entries[number - 1].rung):
            results += [PropertyResult(rest.name, rest.rung, "not_run", claim=rest.claim) for rest in entries[number:]]
            break
        error = run_property(entry, impl, seed, shrink=shrink)
        if isinstance(error, Unusable):
            worked = as_implementation(exercise, solution(exercise))
            if run_property(entry, worked, seed, shrink=False) is not None:
                raise error.__cause__ or error  # the property itself is broken
        results.append(_result(entry, error))
        if error is not None:
            errors.append(error)
            fallen = True
            stopped = impl.ended or isinstance(error, Stopped | ForbiddenCall) or _not_started(error)
    status, message = _status(errors, started=any(result.verdict == "passed" for result in results))
    score = 0.0 if status in ("forbidden", "not_started") else exercise.points * earned(results)
    result = ExerciseResult(
        exercise.name, exercise.chapter.name, round(score, 4), float(exercise.points), 0.0, status, message, [], results
    )
    if status in ("failed", "error") and not impl.ended:
        with contextlib.suppress(Stopped):  # an explanation that cannot be found in time costs no verdict
            result.misconceptions = explain(catalog, exercise, impl)
    result.seconds = round(time.perf_counter() - start, 3)
    return result


def earned(results: Sequence[PropertyResult]) -> float:
    """Return the share of properties that score: those that passed and have only passed rungs before them."""
    failed = [result.rung for result in results if result.verdict != "passed"]
    lowest = min(failed, default=float("inf"))
    return sum(result.verdict == "passed" and result.rung <= lowest for result in results) / len(results)


def _not_started(error: BaseException) -> bool:
    return isinstance(error, LearnerError) and error.types[0] == "NotImplementedError"


def _status(errors: Sequence[BaseException], *, started: bool) -> tuple[Status, str]:
    if not errors:
        return "passed", ""
    for error in errors:
        if isinstance(error, Stopped):
            return error.status, str(error)  # type: ignore[return-value]
        if isinstance(error, ForbiddenCall):
            return "forbidden", str(error)
    first = errors[0]
    if _not_started(first) and not started:
        return "not_started", NOT_STARTED
    if isinstance(first, LearnerError):
        memory = "MemoryError" in first.types or "can't allocate memory" in first.said
        return "memory" if memory else "error", str(first)
    return "failed", str(first)


def _result(entry: Property, error: BaseException | None) -> PropertyResult:
    if error is None:
        return PropertyResult(entry.name, entry.rung, "passed", claim=entry.claim)
    evidence = getattr(error, "evidence", Evidence())
    message = str(error) or "the claim does not hold"
    return PropertyResult(entry.name, entry.rung, "failed", message, counterexample(evidence), entry.claim)


def counterexample(evidence: Evidence) -> Counterexample | None:
    """Return evidence as text; None where there is nothing to show."""
    same = evidence.expected is None and evidence.got is None
    if not evidence.inputs and not evidence.calls and same and evidence.grid is None:
        return None
    grid = evidence.grid
    drawn = None
    if isinstance(grid, Grid):
        rows = {"expected": grid.expected.tolist(), "got": grid.got.tolist()}
        drawn = rows | {"rows": grid.rows, "columns": grid.columns}
    return Counterexample(
        {name: show_argument(value) for name, value in evidence.inputs.items()},
        None if same else show(evidence.expected),
        None if same else show(evidence.got),
        drawn,
        list(evidence.calls),
    )
