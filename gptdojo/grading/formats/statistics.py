"""What cost a class most: exercises, rungs, misconceptions."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from gptdojo.report import ExerciseResult

from .graded import Graded

BINS = 10


@dataclass
class Cost:
    """Something that cost points: how many, and how many learners."""

    name: str
    note: str = ""
    where: str = ""
    lost: float = 0.0
    of: float = 0.0
    count: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def add(self, result: ExerciseResult) -> None:
        """Count an exercise that was lost here."""
        self.lost += result.max_score - result.score
        self.of += result.max_score
        self.count += result.status != "passed"
        self.statuses[result.status] += 1


def judged(graded: Graded) -> list[ExerciseResult]:
    """Return the results that are verdicts on a learner."""
    entries = (entry for result in graded.results for entry in result.exercises)
    return [entry for entry in entries if entry.status != "grader_error"]


def exercises(graded: Graded) -> list[Cost]:
    """Return what each exercise cost, most first."""
    costs: dict[str, Cost] = {}
    for result in judged(graded):
        costs.setdefault(result.exercise, Cost(result.exercise, where=result.chapter)).add(result)
    return _sorted(costs.values())


def rungs(graded: Graded) -> list[Cost]:
    """Return what was lost at each property by those whose first failure it is."""
    costs: dict[tuple[str, str], Cost] = {}
    for result in judged(graded):
        failure = result.failure
        if failure is not None and result.status != "not_started":
            place = f"{result.exercise}, rung {failure.rung}"
            costs.setdefault((result.exercise, failure.property), Cost(failure.claim, where=place)).add(result)
    return _sorted(costs.values())


def misconceptions(graded: Graded) -> list[Cost]:
    """Return what was lost by those whose results a misconception gives exactly; where several do, it counts for each."""
    costs: dict[tuple[str, str], Cost] = {}
    for result in judged(graded):
        for entry in result.misconceptions:
            cost = Cost(entry.believes, note=f"In fact, {entry.truth}.", where=f"{result.exercise}: {entry.name}")
            costs.setdefault((result.exercise, entry.name), cost).add(result)
    return _sorted(costs.values())


def histogram(graded: Graded) -> list[int]:
    """Return how many learners won up to 10 %, up to 20 %, ... of their points."""
    counts: dict[int, int] = defaultdict(int)
    for learner in graded.learners():
        if learner.max_score and not learner.grader_failed:
            counts[min(int(BINS * learner.score / learner.max_score), BINS - 1)] += 1
    return [counts[number] for number in range(BINS)]


def _sorted(costs: Iterable[Cost]) -> list[Cost]:
    return sorted(costs, key=lambda cost: (-cost.lost, -cost.count, cost.where, cost.name))
