"""The bounded past of a run: the onset found from it is that of the whole run."""

from __future__ import annotations

import numpy as np
import pytest

from harness.diagnosis.live.past import Past
from harness.diagnosis.live.rows import Names, Rows
from harness.diagnosis.recorded.onset import find_onset

SPAN, CAPACITY = 40, 1 << 14
NAMES = Names((), ("a", "b"), (True, True), (), ())


def rows_of(loss: np.ndarray, nonfinite: int | None = None) -> Rows:
    """Iterations with these losses; the gradient of iteration `nonfinite` is not finite."""
    count = len(loss)
    norms = np.ones((count, 2)) + 0.1 * np.random.default_rng(1).random((count, 2))
    bad = np.zeros((count, 2))
    if nonfinite is not None:
        norms[nonfinite], bad[nonfinite] = np.inf, 3
    heads = np.empty((count, 0))
    return Rows(np.arange(count), np.full(count, 0.1), loss, heads, norms, norms, bad, norms, np.empty((count, 4, 0)))


def losses(count: int, breaks: int | None) -> np.ndarray:
    """A loss that falls with noise, and jumps at iteration `breaks` for good."""
    random = np.random.default_rng(3)
    loss = 0.5 + 4 * np.exp(-np.arange(count) / 2000) + 0.1 * random.random(count)
    if breaks is not None:
        loss[breaks:] = 8 + 0.1 * random.random(count - breaks)
    return loss


def filled(rows: Rows, step: int) -> Past:
    """The past after all `rows`, which arrive `step` at a time."""
    past = Past(SPAN, CAPACITY)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        if not past.room(len(part)):
            past.thin(onset_of(past))
        past.extend(part)
    return past


def onset_of(past: Past) -> int | None:
    kept = past.rows
    found = find_onset(kept.iteration, kept.loss, kept.gradient_l2[:, None], kept.nonfinite[:, None], SPAN)
    return None if found is None else found.iteration


@pytest.mark.parametrize("breaks", [None, 130, 3000, 21_000, 79_900])
@pytest.mark.parametrize("step", [37, 500])
def test_the_onset_is_that_of_the_whole_run(breaks: int | None, step: int) -> None:
    rows = rows_of(losses(80_000, breaks))
    whole = find_onset(rows.iteration, rows.loss, rows.gradient_l2, rows.gradient_nonfinite, SPAN)
    past = filled(rows, step)
    assert onset_of(past) == (None if whole is None else whole.iteration)
    assert whole is None or breaks is not None
    assert len(past.rows.loss) <= CAPACITY
    assert past.last == 79_999


def test_a_gradient_that_was_not_finite_is_never_forgotten() -> None:
    rows = rows_of(losses(80_000, None), nonfinite=5000)
    assert onset_of(filled(rows, 100)) == 5000


def test_the_last_iterations_are_complete() -> None:
    kept = filled(rows_of(losses(80_000, None)), 64).rows.iteration
    assert np.all(np.diff(kept) > 0)
    np.testing.assert_array_equal(kept[-CAPACITY // 8 :], np.arange(80_000 - CAPACITY // 8, 80_000))
    np.testing.assert_array_equal(kept[:400], np.arange(400))
