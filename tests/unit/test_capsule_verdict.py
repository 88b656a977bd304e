"""The verdict on a repeated stretch of a training."""

from __future__ import annotations

import numpy as np
import pytest

from harness.capsules.repeating.verdict import TOTAL, Course, judge, onset_by_level
from harness.capsules.shrinking.courses import Reference
from harness.reports.console import Console
from harness.reports.text.capsule_verdict import show
from harness.schemas.capsule import Manifest
from harness.schemas.repetition import Kind
from harness.schemas.run_info import Verification

FIRST, ONSET, UNTIL = 40, 45, 70
ITERATIONS = np.arange(20, UNTIL)


def course(after: float = 9.0, onset: int | None = ONSET, head: float = 5.6) -> Course:
    broken = ITERATIONS > ONSET
    losses = {TOTAL: np.where(broken, after, 1.0), "loss3": np.where(broken, head, 0.5)}
    return Course(ITERATIONS, losses, onset)


def verification(equal: int) -> Verification:
    count = UNTIL - FIRST
    return Verification(compared=count, equal=equal, first_difference=None if equal == count else FIRST + equal)


@pytest.mark.parametrize(
    ("repeated", "equal", "kind"),
    [
        (course(), UNTIL - FIRST, Kind.SAME_BITS),
        (course(after=10.5, onset=ONSET + 1), 3, Kind.SAME_BREAK),
        (course(onset=ONSET + 2), 3, Kind.DIFFERENT),
        (course(onset=None), 3, Kind.DIFFERENT),
        (course(after=12.0), 3, Kind.DIFFERENT),
        (course(head=3.0), 3, Kind.DIFFERENT),
        (course(after=np.nan), 3, Kind.DIFFERENT),
    ],
)
def test_a_break_is_the_same_by_its_onset_and_its_levels(repeated: Course, equal: int, kind: Kind) -> None:
    found = judge(course(), repeated, verification(equal), FIRST, UNTIL)
    assert found.kind is kind
    assert found.reproduced == (kind is not Kind.DIFFERENT)


def test_losses_that_are_no_numbers_are_at_one_level() -> None:
    found = judge(course(after=np.nan), course(after=np.inf), verification(3), FIRST, UNTIL)
    assert found.kind is Kind.SAME_BREAK


def test_where_nothing_breaks_the_levels_count() -> None:
    healthy = course(after=1.0, onset=None, head=0.5)
    assert judge(healthy, healthy, verification(3), FIRST, UNTIL).kind is Kind.SAME_COURSE
    assert judge(healthy, course(onset=None), verification(3), FIRST, UNTIL).kind is Kind.DIFFERENT
    late = course(after=1.0, onset=UNTIL - 2, head=0.5)  # the median does not show it
    assert judge(healthy, late, verification(3), FIRST, UNTIL).kind is Kind.DIFFERENT


def test_a_repetition_that_ended_early_is_another_one() -> None:
    found = judge(course(), course(), verification(UNTIL - FIRST), FIRST, UNTIL, ended="The worker died")
    assert found.kind is Kind.DIFFERENT


@pytest.mark.parametrize(("later", "after"), [(0, 9.0), (2, 9.0), (0, np.nan)])
def test_the_level_tells_an_onset_that_a_short_recording_does_not_show(later: int, after: float) -> None:
    delayed = Course(ITERATIONS, {TOTAL: np.where(ONSET + later < ITERATIONS, after, 1.0)}, None)
    assert onset_by_level(course(after=after), delayed, FIRST, UNTIL) == ONSET + later


def test_a_loss_that_stays_at_its_level_has_no_onset() -> None:
    assert onset_by_level(course(), course(after=1.0), FIRST, UNTIL) is None


def test_a_break_at_the_first_iteration_has_no_level_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    """What does not exist is not called infinite, and what is not known is not called equal."""
    first = Course(ITERATIONS, course().losses, int(ITERATIONS[0]))
    found = judge(first, first, verification(3), FIRST, UNTIL)
    manifest = Manifest(title="t", harness="0", first=FIRST, until=UNTIL, parameters=1)
    show(found, manifest, Console(width=100))
    said = capsys.readouterr().out
    assert "–" in said
    assert "not finite" not in said
    assert "No difference is known from when it was recorded" in said
    assert "are the same" not in said


def test_what_was_recorded_breaks_like_itself_when_a_spike_precedes_its_onset() -> None:
    """The loss before the onset tells other courses apart only where it was healthy when it was recorded."""
    recorded = course()
    spiky = Course(ITERATIONS, {name: loss.copy() for name, loss in recorded.losses.items()}, ONSET)
    spiky.losses[TOTAL][(ITERATIONS >= ONSET - 2) & (ITERATIONS < ONSET)] = 8.0
    assert Reference(spiky, UNTIL).breaks_alike(spiky, ONSET - 2, UNTIL)
    assert Reference(recorded, UNTIL).breaks_alike(recorded, ONSET - 2, UNTIL)
    assert not Reference(recorded, UNTIL).breaks_alike(spiky, ONSET - 2, UNTIL)
