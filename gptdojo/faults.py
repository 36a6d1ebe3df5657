"""What can go wrong with an implementation while a property runs."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Evidence:
    """What a failure can show: the inputs, what was expected and got, and the calls that led there."""

    inputs: dict[str, Any] = field(default_factory=dict)
    expected: Any = None
    got: Any = None
    grid: Any = None
    calls: list[str] = field(default_factory=list)


class Mismatch(AssertionError):
    """A claim does not hold; carries what the learner is shown."""

    def __init__(self, message: str, evidence: Evidence) -> None:
        super().__init__(message)
        self.evidence = evidence


class ImplementationFault(Exception):
    """The implementation did something that no property has to ask about."""

    def __init__(self, message: str, evidence: Evidence | None = None) -> None:
        super().__init__(message)
        self.evidence = evidence or Evidence()


class LearnerError(ImplementationFault):
    """The learner's code raised; `types` are the names of the exception's classes, most specific first."""

    def __init__(self, types: tuple[str, ...], message: str, where: tuple[str, ...], evidence: Evidence) -> None:
        place = f"\n  {where[-1]}" if where else ""
        super().__init__(f"your code raised {types[0]}{': ' if message else ''}{message}{place}", evidence)
        self.types = types
        self.said = message


class ArgumentChanged(ImplementationFault):
    """The learner's code changed a tensor that it was given."""


class ForbiddenCall(ImplementationFault):
    """The learner's code called what the exercise asks it to write."""


class Stopped(BaseException):
    """The implementation cannot go on at all; `status` says why. Not an Exception, so that nothing tries the same call again."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.evidence = Evidence()


class TimeLimit(Stopped):
    """The time of an exercise is up, in the learner's own process."""

    is_time_limit = True

    def __init__(self, seconds: float) -> None:
        super().__init__("timeout", f"no answer within {seconds:g} seconds; is there a loop that never ends?")
