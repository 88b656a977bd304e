"""The post-mortem of one run: its verdict, and what speaks for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.caffe_log.model import LoggedOutput, LogRun, Series
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.log_facts import Facts
from harness.diagnosis.logged.dating import (
    Displays,
    average_span,
    between,
    date_nans,
    date_rise,
    position_of,
    watch_window,
)
from harness.diagnosis.logged.excursions import far_at_the_end, find_excursions, find_spikes, swings
from harness.diagnosis.logged.findings import (
    HeadFinding,
    Nans,
    OnsetEstimate,
    RunFindings,
    TestChange,
    Verdict,
    Why,
)
from harness.diagnosis.logged.heads import judge
from harness.diagnosis.logged.levels import FEWEST, correlated, lag_of
from harness.diagnosis.logged.passes import judge_tests, verdict_of_tests
from harness.diagnosis.logged.rises import find_rise, rise_at
from harness.diagnosis.logged.schedule import read_schedule
from harness.diagnosis.logged.tracks import (
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
from harness.diagnosis.logged.verdict import RISE, Evidence, ends_of, is_falling, verdict_of

_LEAST_TO_LEARN = 5  # displays
_SHARE_TO_LEARN = 0.01  # of max_iter


def examine(run: LogRun, facts: Facts, limits: Limits) -> RunFindings:
    """All that a log says of a run. `facts` may be empty: what they leave open is inferred where that is safe."""
    displays = displays_of(run, facts)
    window = average_span(displays, facts)
    total, poisoned = usable_total(displays)
    tracks = tracks_of(run, displays, window, facts)
    schedule = read_schedule(run.lr, facts)
    long = _is_long(displays, facts, limits)
    lag = lag_of(total.iterations, window.size)
    lag = max(lag, correlated(total.values)) if window.assumed else lag
    rises = schedule.rises if schedule is not None else ()
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
        restarts=tuple(iteration for iteration, _, _ in rises) if len(rises) > 1 else (),
    )
    verdict, why = verdict_of(evidence)
    jump, onset = _when(evidence, displays, verdict, why)
    if poisoned and verdict in ("unknown", "drift/oscillation"):
        verdict = "nan"
    heads = _shown(evidence.heads, run, facts)
    if len(displays.values) < FEWEST and verdict == "unknown":
        told = judge_tests(run, facts, limits)
        by_tests = verdict_of_tests(told)
        if by_tests is not None:
            (verdict, why), heads = by_tests, told
    stop = len(total.values) if jump is None else int(np.searchsorted(total.iterations, jump))
    ends = ends_of(total.values, lag, stop if stop < len(total.values) else 0)
    cycles = bool(evidence.restarts) and swings(total.values, lag)
    # what goes up and down all the time makes no excursions
    away = why != "oscillation" and not cycles
    excursions = () if not away else find_excursions(total.iterations, total.values, stop, lag, _ignorance(tracks))
    far = jump is None and verdict in ("healthy", "unknown") and far_at_the_end(total.values, lag)
    seen = _extent(run)
    return RunFindings(
        verdict=verdict,
        why=why,
        first=int(seen[0]) if len(seen) else 0,
        last=int(seen[-1]) if len(seen) else 0,
        displays=len(displays.iterations),
        display=0 if facts.display == 0 else displays.interval,
        start=ends.start,
        best=ends.best,
        before=evidence.rise.good if evidence.rise is not None and jump is not None else None,
        loss=math.nan if verdict == "nan" and not poisoned else ends.end,
        jump=jump,
        onset=onset,
        heads=heads,
        explained=_explained(heads, ends.end),
        doubted=facts.classes if {"inferred"} <= {h.source for h in heads} <= {"inferred", "given", None} else None,
        spikes=tuple(
            spike
            for spike in find_spikes(total.iterations, total.values, stop, lag)
            if not any(e.first <= spike.last and spike.first <= e.last for e in excursions)
        ),
        excursions=excursions,
        last_far=(int(total.iterations[-1]), float(total.values[-1])) if far else None,
        falling=not cycles and is_falling(total.values, lag),
        restarts=len(evidence.restarts) if cycles else 0,
        nans=evidence.nans,
        poisoned=poisoned,
        recovered=_recovered(tracks, evidence.heads),
        schedule=schedule,
        position=position_of(onset, facts, resumed_at(run)) if onset is not None else None,
        watch=watch_window(onset, displays.interval) if onset is not None else None,
        tests=_tests(run.tests, jump),
        resumed_from=run.resumed_from,
        resumed_at=resumed_at(run) if run.resumed_from is not None else None,
        fatal=run.fatal,
        finished=run.finished,
    )


def _when(
    evidence: Evidence, displays: Displays, verdict: Verdict, why: Why
) -> tuple[int | None, OnsetEstimate | None]:
    """The display of the jump, and the onset, of a run that broke at some time."""
    if why in ("collapsed", "rise"):
        return _date(evidence)
    if verdict != "nan" or evidence.nans is None:
        return None, None
    rise = evidence.rise
    if evidence.nans.lasting and rise is not None and rise.sudden and rise.row > 0:
        return date_rise(evidence.total, rise, evidence.window)
    return date_nans(displays, int(np.searchsorted(displays.iterations, evidence.nans.first)))


def _ignorance(tracks: Sequence[Track]) -> tuple[float, int] | None:
    """What the total is for a net that knows nothing, and of how many classes, where all heads are alike."""
    known = {t.classes for t in tracks}
    classes = known.pop() if len(known) == 1 else None
    return (sum(t.weight * (t.uniform or 0) for t in tracks), classes) if classes else None


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


def _date(evidence: Evidence) -> tuple[int | None, OnsetEstimate | None]:
    """When the plateau began, by the total; by the head that broke first where the total hardly shows it."""
    total, rise = evidence.total, evidence.rise
    if rise is not None and rise.row == 0:
        return None, None
    broken = [j.rise for j in evidence.judged if j.rise is not None and j.head.state in ("uniform", "saturated")]
    if rise is None and broken:
        first = min(broken, key=lambda r: r.iteration)
        row = int(np.searchsorted(total.iterations, first.iteration))
        if 0 < row < len(total.iterations):
            rise = rise_at(total.iterations, total.values, evidence.window.size, row, first.best, first.certain)
            if not rise.bad - rise.good > 3 * rise.noise:
                # a head's display is of a single iteration: it dates itself
                return first.iteration, between(total, row)
    return date_rise(total, rise, evidence.window) if rise is not None else (None, None)


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
