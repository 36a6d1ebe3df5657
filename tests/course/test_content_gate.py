"""The content gate: on every exercise there is, the properties tell right from wrong."""

from pathlib import Path

import pytest

from gptdojo.course import Exercise, find_course
from gptdojo.gate import MARGIN, margins, prove

COURSE = find_course(Path(__file__).parent)


@pytest.mark.parametrize("exercise", COURSE.exercises.values(), ids=COURSE.exercises)
def test_right_is_accepted_wrong_is_rejected_and_named(exercise: Exercise) -> None:
    proof = prove(exercise)
    assert proof.problems == []
    assert min(margins(proof)) >= MARGIN
