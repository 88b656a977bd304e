"""Choose the iterations around an onset that show the whole damage."""

from __future__ import annotations

import numpy as np

from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.diagnosis.robust_stats import Floats
from harness.recording import Recording
from harness.schemas.window import Window

BEFORE = 5  # iterations before the onset
MOST = 50  # iterations in all
_SMOOTH = 5  # iterations whose median is compared with the level at the end
_NEAR = 0.1  # of the rise: so close to the level at the end, the loss has arrived there


def span(recording: Recording, diagnosis: Diagnosis) -> Window | None:
    """Return the iterations from 5 before the onset to the end of the damage, at most 50; None without an onset.

    They begin where the run does, at the earliest: an opened capsule has rows of the iterations before that, which
    cannot be repeated out of it. The damage ends where the loss has been at its level at the end of the run for 5
    iterations, or is no longer finite.
    """
    if diagnosis.onset is None:
        return None
    iterations = recording.iterations
    onset = int(np.searchsorted(iterations, diagnosis.onset.iteration))
    first = max(_beginning(recording), onset - BEFORE)
    most = min(len(iterations), first + MOST)
    if diagnosis.not_finite_from is not None:
        end = int(np.searchsorted(iterations, diagnosis.not_finite_from))
    else:
        before = diagnosis.status.before
        losses = recording.series("loss", slice(onset, most + _SMOOTH))
        end = onset + _arrival(losses, losses[0] if before is None else before, diagnosis.status.after)
    stop = min(max(first, onset, end) + 1, most)
    return Window(int(iterations[first]), int(iterations[stop - 1]) + 1)


def _beginning(recording: Recording) -> int:
    """Return the row of the first iteration that the run trained itself."""
    first = recording.attributes.get("first")
    iterations = recording.iterations
    return int(np.searchsorted(iterations[:-1], first)) if isinstance(first, int) else 0


def _arrival(losses: Floats, before: float, after: float) -> int:
    """Return the row at which the loss, which rises from `before`, has been at the level `after` for 5 rows."""
    if len(losses) < _SMOOTH:
        return len(losses)
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(losses, _SMOOTH), axis=1)
    away = np.flatnonzero(~(np.abs(smooth - after) <= _NEAR * abs(after - before)))
    return int(away[-1]) + _SMOOTH if len(away) else _SMOOTH - 1
