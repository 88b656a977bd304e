"""The post-mortem of one run: its verdict, and what speaks for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.analysis.forensics.dating import (
    Displays,
    date_nans,
    date_rise,
    position_of,
    watch_window,
    window_of,
)
from harness.analysis.forensics.excursions import find_spikes
from harness.analysis.forensics.findings import HeadFinding, Nans, Onset, RunFindings, TestChange
from harness.analysis.forensics.heads import judge
from harness.analysis.forensics.levels import correlated, find_rise, lag_of, rise_at
from harness.analysis.forensics.schedule import read_schedule
from harness.analysis.forensics.tracks import (
    SATURATED,
    TOTAL,
    Track,
    displays_of,
    losses_of,
    resumed_at,
    tracks_of,
    usable_total,
    values_at,
)
from harness.analysis.forensics.verdict import RISE, Evidence, ends_of, verdict_of
from harness.analysis.logfacts import Facts
from harness.analysis.rules.limits import Limits
from harness.logs.model import LoggedOutput, LogRun, Series

_LEAST_TO_LEARN = 10  # displays
_SHARE_TO_LEARN = 0.01  # of max_iter


def examine(run: LogRun, facts: Facts, limits: Limits) -> RunFindings:
    """All that a log says of a run. `facts` may be empty: what they leave open is inferred where that is safe."""
    displays = displays_of(run, facts)
    window = window_of(displays, facts)
    total, poisoned = usable_total(displays)
    tracks = tracks_of(run, displays, window, facts)
    long = _is_long(displays, facts, limits)
    lag = lag_of(total.iterations, window.size)
    lag = max(lag, correlated(total.values)) if window.assumed else lag
    evidence = Evidence(
        total=total,
        window=window,
        judged=judge(tracks, long, limits),
        lag=lag,
        rise=find_rise(total.iterations, total.values, window.size, RISE, lag),
        nans=_nans(displays, tracks),
        poisoned=poisoned,
        long=long,
        tuned=bool(run.weights_from or run.resumed_from) or displays.start > 0,
    )
    verdict, why = verdict_of(evidence)
    jump, onset = None, None
    if verdict == "nan" and evidence.nans is not None:
        jump, onset = date_nans(displays, int(np.searchsorted(displays.iterations, evidence.nans.first)))
    elif why in ("collapsed", "rise"):
        jump, onset = _date(evidence)
    ends = ends_of(total.values, evidence.lag)
    seen = _extent(run)
    before = len(total.values) if jump is None else int(np.searchsorted(total.iterations, jump))
    return RunFindings(
        verdict=verdict,
        why=why,
        first=int(seen[0]) if len(seen) else 0,
        last=int(seen[-1]) if len(seen) else 0,
        displays=len(displays.iterations),
        display=displays.interval,
        start=ends.start,
        best=ends.best,
        before=evidence.rise.good if evidence.rise is not None and jump is not None else None,
        loss=math.nan if verdict == "nan" else ends.end,
        jump=jump,
        onset=onset,
        heads=_shown(evidence.heads, run, facts),
        explained=_explained(evidence.heads, ends.end),
        spikes=find_spikes(total.iterations, total.values, before, evidence.lag),
        nans=evidence.nans,
        poisoned=poisoned,
        recovered=_recovered(tracks, evidence.heads),
        schedule=read_schedule(run.lr, facts),
        position=position_of(onset, facts, resumed_at(run)) if onset is not None else None,
        watch=watch_window(onset, displays.interval) if onset is not None else None,
        tests=_tests(run.tests, jump),
        resumed_from=run.resumed_from,
        fatal=run.fatal,
        finished=run.finished,
    )


def _is_long(displays: Displays, facts: Facts, limits: Limits) -> bool:
    """Was there time to learn?"""
    if len(displays.iterations) < _LEAST_TO_LEARN or not limits.loss_not_decreasing.enabled:
        return False
    least = max(limits.loss_not_decreasing.iterations, _SHARE_TO_LEARN * (facts.max_iter or 0))
    return bool(displays.iterations[-1] - displays.start >= least)


def _extent(run: LogRun) -> list[int]:
    """The first and the last iteration displayed, or tested, where nothing is displayed."""
    if len(run.loss.iterations):
        return [int(i) for i in run.loss.iterations[[0, -1]]]
    return sorted({int(i) for net in run.tests for output in net for i in output.series.iterations})


def _date(evidence: Evidence) -> tuple[int | None, Onset | None]:
    """When the plateau began, by the total; by the head that broke first where the total hardly shows it."""
    total, rise = evidence.total, evidence.rise
    broken = [j.rise for j in evidence.judged if j.rise is not None and j.head.state in ("uniform", "saturated")]
    if rise is None and broken:
        first = min(broken, key=lambda r: r.iteration)
        row = int(np.searchsorted(total.iterations, first.iteration))
        if 0 < row < len(total.iterations):
            rise = rise_at(total.iterations, total.values, evidence.window.size, row, first.best)
            if not rise.bad - rise.good > 3 * rise.noise:
                # a head's display is of a single iteration: it dates itself
                low, high = int(total.iterations[row - 1]) + 1, first.iteration
                return high, Onset((low + high) // 2, low, high, None, None, False)
    return date_rise(total, rise, evidence.window) if rise is not None and rise.row > 0 else (None, None)


def _nans(displays: Displays, tracks: Sequence[Track]) -> Nans | None:
    bad = np.flatnonzero(~np.isfinite(displays.values))
    if not len(bad):
        return None
    finite = np.flatnonzero(np.isfinite(displays.values))
    lasting = not len(finite) or finite[-1] < bad[-1]
    first = int(finite[-1]) + 1 if lasting and len(finite) else int(bad[0])
    last = displays.iterations[max(first - 1, 0) : max(first, 1)]
    ends = [(values_at(last, Series(t.iterations, t.values))[0], t.saturated) for t in tracks]
    saturated = any(abs(end - top) < 0.05 * top for end, top in ends)
    return Nans(int(displays.iterations[first]), len(bad), bool(lasting), saturated)


def _recovered(tracks: Sequence[Track], heads: Sequence[HeadFinding]) -> tuple[str, int, int] | None:
    for track, head in zip(tracks, heads, strict=True):
        share = np.where(np.isfinite(track.values), track.values, 0.0) / track.saturated
        # where it is not known to be a softmax, only the very number tells
        there = np.flatnonzero(np.abs(share - 1) < (1e-4 if track.uniform is None else 0.05))
        if len(there) and head.state not in ("saturated", "nan"):
            return track.name, int(track.iterations[there[0]]), int(track.iterations[there[-1]])
    return None


def _explained(heads: Sequence[HeadFinding], loss: float) -> float | None:
    """Σ weight · ln(classes), or 87.3365 for a saturated head, where that is the level of the total."""
    if not heads or any(h.state not in ("uniform", "saturated") for h in heads):
        return None
    if heads[0].name == TOTAL:
        return None
    costs = [SATURATED if h.state == "saturated" else math.log(h.classes or 1) for h in heads]
    total = sum(h.weight * cost for h, cost in zip(heads, costs, strict=True))
    return total if abs(loss / total - 1) < 0.05 else None


def _shown(heads: tuple[HeadFinding, ...], run: LogRun, facts: Facts) -> tuple[HeadFinding, ...]:
    """The heads by name: where the log shows only the total, those of the net share its state."""
    if losses_of(run) or not facts.heads or not heads:
        return heads
    total = heads[0]
    return tuple(
        replace(total, name=h.name, weight=h.weight, classes=h.classes, source="net", before=None, loss=math.nan)
        for h in facts.heads
    )


def _tests(nets: Sequence[Sequence[LoggedOutput]], jump: int | None) -> tuple[TestChange, ...]:
    changes = []
    for number, outputs in enumerate(nets):
        for output in outputs:
            iterations, values = output.series.iterations, output.series.values
            if not len(values):
                continue
            before = np.flatnonzero(iterations < jump) if jump is not None else np.array([0])
            row = int(before[-1]) if len(before) else 0
            changes.append(
                TestChange(
                    number,
                    output.name,
                    bool(output.weight),
                    (int(iterations[row]), float(values[row])),
                    (int(iterations[-1]), float(values[-1])),
                )
            )
    return tuple(changes)
