"""Properties of objects with a state: Hypothesis draws histories of calls, and a failing one is shown as lines of Python."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test

from .expect import expect_raised
from .faults import ImplementationFault, LearnerError, Mismatch
from .implementation import Proxy
from .show import show

BRIEF = 40
SHRINK_EXCHANGES = 4_000  # a history is many short calls


class History:
    """Calls of the learner's code; a failure inside `with` shows them. What only looks (a length, say) need not be one."""

    def __init__(self, impl: Any) -> None:
        self.impl = impl
        self.calls: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Mismatch | ImplementationFault):
            error.evidence.calls = list(self.calls)

    def call(self, line: str, function: Callable, *args: Any) -> Any:
        """Call the learner's code and return its result; `line` is the call as Python, its outcome becomes a comment."""
        self.calls.append(line)
        try:
            result = function(*args)
        except LearnerError as error:
            self.calls[-1] += f"  # raises {error.types[0]}"
            raise
        if result is not None and not isinstance(result, Proxy):
            shown = " ".join(show(result).split())
            self.calls[-1] += f"  # {shown if len(shown) <= BRIEF else shown[: BRIEF - 3] + '...'}"
        return result

    def refused(self, kind: type[Exception], line: str, function: Callable, *args: Any, because: str) -> None:
        """Make a call that has to raise `kind`."""
        expect_raised(kind, lambda: self.call(line, function, *args), inputs={}, because=because)


class Machine(History, RuleBasedStateMachine):
    """A Hypothesis state machine whose rules call the learner's code through `call`, and compare with what they know."""

    def __init__(self, impl: Any) -> None:
        RuleBasedStateMachine.__init__(self)
        History.__init__(self, impl)


def stateful(steps: int = 20) -> Callable[[Callable[[Any], Machine]], Callable]:
    """Make a property of a function that returns the machine for an implementation; each history has `steps` steps at most."""
    limits = settings(stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck))

    def decorate(function: Callable[[Any], Machine]) -> Callable:
        impls: list[Any] = []
        histories: list[ExitStack] = []

        def start() -> Machine:
            return histories[-1].enter_context(function(impls[-1]))

        # its body, run on the draws of an ordinary property: seed, number of examples and the search for a smaller
        # failure are then those of any other property
        one_history = get_state_machine_test(start, settings=limits).hypothesis.inner_test  # type: ignore

        def test(impl: Any, data: st.DataObject) -> None:
            impls[:] = [impl]
            with ExitStack() as stack:
                histories[:] = [stack]
                one_history(data)

        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(test, name, getattr(function, name))
        test.shrink_exchanges = SHRINK_EXCHANGES  # type: ignore[attr-defined]
        return given(data=st.data())(test)

    return decorate
