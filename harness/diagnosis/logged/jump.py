"""The jump of a run that broke: its iteration, the onset before it, and the last good snapshot."""

from __future__ import annotations

import numpy as np

from harness.caffe_files.log_header import LogHeader
from harness.caffe_log.model import LogRun
from harness.diagnosis.approach import Approach, approach
from harness.diagnosis.conditions import Condition, Verdict
from harness.diagnosis.last_good import newest_healthy
from harness.diagnosis.logged.dating import Dated, between, date_nans, date_rise, records_of, watch_window
from harness.diagnosis.logged.displays import Displays
from harness.diagnosis.logged.few import Judgement
from harness.diagnosis.logged.findings import Jump, OnsetEstimate
from harness.diagnosis.logged.levels import FEWEST, lag_of
from harness.diagnosis.logged.rises import rise_at
from harness.diagnosis.logged.tracks import resumed_at
from harness.diagnosis.logged.verdict import Evidence

_MEAN = 10  # losses: a display that is the mean of as many is a level by itself…
_DISPLAYS = 5  # …otherwise so many are
COLLAPSED = (Condition.UNIFORM, Condition.SATURATED)


def find_jump(run: LogRun, evidence: Evidence, judged: Judgement, displays: Displays, header: LogHeader) -> Jump | None:
    """Find the jump of a run; None if it did not break."""
    dated, step = _date(evidence, displays, judged), judged.row
    if dated is None:
        return None
    iteration, onset = dated
    before = evidence.rise.good if evidence.rise is not None else None
    if step is not None:
        before = float(np.median(evidence.total.values[max(step - FEWEST, 0) : step]))
    return Jump(
        iteration=iteration,
        before=before,
        approach=_approach(evidence, onset),
        onset=onset,
        watch=watch_window(onset, displays.interval),
        records=records_of(onset, header, resumed_at(run)),
    )


def _approach(evidence: Evidence, onset: OnsetEstimate) -> Approach | None:
    """Describe the displays before the onset. Where each is of few losses, several make a level."""
    total, size = evidence.total, evidence.span.size
    row = int(np.searchsorted(total.iterations, onset.low))
    width = 1 if size >= _MEAN else _DISPLAYS
    return approach(total.values[:row], total.values[row:], width, slack=1 + lag_of(total.iterations, size))


def _date(evidence: Evidence, displays: Displays, judged: Judgement) -> Dated | None:
    """Date the jump of a run that broke."""
    verdict, why = judged.verdict, judged.why
    if judged.row is not None:
        return int(evidence.total.iterations[judged.row]), between(evidence.total, judged.row)
    if why in ("collapsed", "rise"):
        return _date_plateau(evidence)
    if verdict != Condition.NON_FINITE.verdict or evidence.nans is None:
        return None
    rise = evidence.rise
    by_nans = date_nans(displays, int(np.searchsorted(displays.iterations, evidence.nans.first)))
    if not evidence.nans.lasting or rise is None or not rise.sudden or rise.row == 0:
        return by_nans
    by_rise = date_rise(evidence.total, rise, evidence.span)
    return by_rise if rise.grows or by_nans is None else min(by_rise, by_nans, key=lambda dated: dated[0])


def _date_plateau(evidence: Evidence) -> Dated | None:
    """Date the beginning of the plateau by the total, or by the first head that broke if the total hardly shows it."""
    total, rise = evidence.total, evidence.rise
    if rise is not None and rise.row == 0:
        return None
    broken = [j.rise for j in evidence.judged if j.rise is not None and j.head.condition in COLLAPSED]
    if rise is None and broken:
        first = min(broken, key=lambda r: r.iteration)
        row = int(np.searchsorted(total.iterations, first.iteration))
        if 0 < row < len(total.iterations):
            rise = rise_at(total.iterations, total.values, evidence.span.size, row, first.best, first.certain)
            if not rise.bad - rise.good > 3 * rise.noise:
                # a head's display is of a single iteration: it dates itself
                return first.iteration, between(total, row)
    return date_rise(total, rise, evidence.span) if rise is not None else None


def last_good_of(run: LogRun, verdict: Verdict, jump: Jump | None) -> tuple[int, str] | None:
    """Find the last good snapshot that the log names.

    `onset.low` is the earliest iteration that may be bad, so one iteration between the snapshot and it is enough.
    """
    if jump is None and verdict != "healthy":
        return None
    files = dict(run.snapshots)
    newest = newest_healthy(files, None if jump is None else jump.onset.low, margin=1)
    return None if newest is None else (newest, files[newest])
