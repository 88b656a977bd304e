"""Examine one run of a log: its verdict, and the evidence for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.caffe_files.log_header import LogHeader
from harness.caffe_log.model import LogRun, Series
from harness.diagnosis.conditions import MAX_LOSS, Condition, chance_loss, total_chance_loss
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.logged.below_zero import is_below_zero
from harness.diagnosis.logged.deviations import far_at_the_end, find_deviations, swings
from harness.diagnosis.logged.displays import AverageSpan, Displays, average_span
from harness.diagnosis.logged.extent import changes_of, coverage_of, lifecycle_of
from harness.diagnosis.logged.few import Judgement, came_down, judge_few, rose_to_chance, spread_of, step_of
from harness.diagnosis.logged.few_passes import accuracies_of, judge_passes
from harness.diagnosis.logged.findings import (
    HeadFinding,
    Nans,
    Plateau,
    RunFindings,
    Schedule,
    Trend,
)
from harness.diagnosis.logged.heads import Judged, judge
from harness.diagnosis.logged.jump import COLLAPSED, find_jump, last_good_of
from harness.diagnosis.logged.levels import FEWEST, correlated, falling_at_end, lag_of
from harness.diagnosis.logged.overfitting import find_overfitting
from harness.diagnosis.logged.passes import judge_tests, verdict_of_tests
from harness.diagnosis.logged.regular_leaps import find_leaps
from harness.diagnosis.logged.rises import Rise, find_rise
from harness.diagnosis.logged.schedule import read_schedule
from harness.diagnosis.logged.strength import strength_of
from harness.diagnosis.logged.tracks import (
    TOTAL,
    Track,
    displays_of,
    losses_of,
    tracks_of,
    usable_total,
    values_at,
)
from harness.diagnosis.logged.verdict import RISE, Ends, Evidence, ends_of, is_falling, is_settled, verdict_of
from harness.diagnosis.robust_stats import Floats

_LEAST_TO_LEARN = 5  # displays
_SHARE_TO_LEARN = 0.01  # of max_iter
_UNBROKEN = ("healthy", "unknown")
_SWINGING = ("oscillation", "leaps", "noise")


def examine(run: LogRun, header: LogHeader, limits: Limits) -> RunFindings:
    """Examine a run. What `header` leaves open is inferred where that is safe."""
    displays = displays_of(run, header)
    span = average_span(displays, header)
    tracks = tracks_of(run, displays, span, header)
    schedule = read_schedule(run.lr, header)
    evidence = _evidence(run, header, limits, displays, span, tracks, schedule)
    total, lag = evidence.total.values, evidence.lag
    judged = _judge(evidence, tracks, run, header, limits)
    verdict, why, heads = judged.verdict, judged.why, _named(judged.heads, run, header)
    jump = find_jump(run, evidence, judged, displays, header)
    if evidence.nans is not None and evidence.nans.poisoned and verdict in ("unknown", "drift/oscillation"):
        verdict = Condition.NON_FINITE.verdict
    # the displays from row `stop` on are of the plateau
    stop = len(total) if jump is None else int(np.searchsorted(evidence.total.iterations, jump.iteration))
    ends = ends_of(total, lag, stop if stop < len(total) else 0)
    cycles = bool(evidence.restarts) and swings(total, lag)
    lost = verdict == Condition.NON_FINITE.verdict and not (evidence.nans is not None and evidence.nans.poisoned)
    far = jump is None and verdict in _UNBROKEN and far_at_the_end(total, lag)
    plateau = Plateau(_explained(heads, ends.end), _doubted(heads, header))
    return RunFindings(
        verdict=verdict,
        why=why,
        strength=judged.strength
        or strength_of(
            verdict,
            why,
            displays=len(total),
            held=len(total) - stop if jump is not None else len(total),
            long=evidence.long,
            agree=plateau.explained is not None and len(heads) > 1,
        ),
        coverage=coverage_of(run, displays, header),
        trend=Trend(
            start=ends.start,
            best=ends.best,
            end=math.nan if lost else _end(ends, total, lag) if why == "late fall" else ends.end,
            falling=not cycles and is_falling(total, lag),
            settled=is_settled(total, lag),
            cycles=len(evidence.restarts) if cycles else 0,
        ),
        heads=heads,
        plateau=plateau,
        jump=jump,
        # a loss that goes up and down all the time makes no excursions
        deviations=find_deviations(
            evidence.total, lag, tracks, evidence.heads, stop, excursions=why not in _SWINGING and not cycles, far=far
        ),
        leaps=evidence.leaps if why in _SWINGING else None,
        spread=spread_of(evidence.total) if why == "noise" else None,
        nans=evidence.nans,
        schedule=schedule,
        tests=changes_of(run.tests, jump),
        overfitting=find_overfitting(run, evidence.total) if jump is None and verdict in _UNBROKEN else None,
        last_good=last_good_of(run, verdict, jump),
        lifecycle=lifecycle_of(run),
    )


def _evidence(
    run: LogRun,
    header: LogHeader,
    limits: Limits,
    displays: Displays,
    span: AverageSpan,
    tracks: Sequence[Track],
    schedule: Schedule | None,
) -> Evidence:
    total, poisoned = usable_total(displays)
    long = _is_long(displays, header, limits)
    lag = lag_of(total.iterations, span.size)
    lag = max(lag, correlated(total.values)) if span.assumed else lag
    rises = schedule.rises if schedule is not None else ()
    rise = find_rise(total.iterations, total.values, span.size, RISE, lag)
    return Evidence(
        total=total,
        span=span,
        judged=_with_total(judge(tracks, long, limits), rise, limits),
        lag=lag,
        rise=rise,
        nans=_nans(displays, tracks, poisoned),
        long=long,
        tuned=bool(run.weights_from or run.resumed_from) or displays.start > 0,
        restarts=tuple(iteration for iteration, _, _ in rises) if len(rises) > 1 else (),
        leaps=find_leaps(total) if len(rises) < 2 else None,
        below_zero=is_below_zero(tracks, total.values, header.loss_types),
        loss_types=header.loss_types,
    )


def _with_total(judged: tuple[Judged, ...], rise: Rise | None, limits: Limits) -> tuple[Judged, ...]:
    """Return the findings on the heads; where their total was low before it rose for good, they had learned.

    Their own displays, of single iterations, may be too noisy to show it.
    """
    heads = [j.head for j in judged]
    chance = total_chance_loss(heads)
    if chance is None or rise is None or not rise.certain or not all(head.never_learned for head in heads):
        return judged
    if rise.best >= limits.uniform_collapse.learned * chance:
        return judged
    return tuple(replace(j, head=replace(j.head, never_learned=False)) for j in judged)


def _judge(evidence: Evidence, tracks: Sequence[Track], run: LogRun, header: LogHeader, limits: Limits) -> Judgement:
    """Judge a run by its displays, else by the weak evidence of few of them and of the tests."""
    verdict, why = verdict_of(evidence)
    strict = Judgement(verdict, why, None, evidence.heads)
    accuracies = accuracies_of(run)
    if verdict == "healthy":
        return came_down(evidence, tracks, accuracies, limits) or strict
    if (verdict, why) == ("drift/oscillation", "rise"):
        row = step_of(evidence.total)
        begins = row if row is not None else evidence.rise.row if evidence.rise is not None else None
        plateau = rose_to_chance(evidence, tracks, begins, limits) if begins is not None else None
        return replace(plateau or strict, row=row)
    if verdict != "unknown":
        return strict
    few = judge_few(evidence, tracks, accuracies, limits)
    if len(evidence.total.values) >= FEWEST or (few is not None and few.verdict != "healthy"):
        return few or strict
    tested = judge_tests(run, header, limits)
    by_tests = verdict_of_tests(tested)
    if by_tests is not None:
        return Judgement(*by_tests, "likely", tested)
    if few is not None:
        return few
    passes = judge_passes(run)
    return Judgement(*passes, "hint", tested) if passes is not None else strict


def _end(ends: Ends, total: Floats, lag: int) -> float:
    """Return the level of the displays that fall at the end of a log."""
    count = falling_at_end(total, lag)
    return float(np.median(total[-count:])) if count else ends.end


def _is_long(displays: Displays, header: LogHeader, limits: Limits) -> bool:
    """Check whether there was time to learn."""
    if len(displays.iterations) < _LEAST_TO_LEARN or not limits.loss_not_decreasing.enabled:
        return False
    least = max(limits.loss_not_decreasing.iterations, _SHARE_TO_LEARN * (header.max_iter or 0))
    return bool(displays.iterations[-1] - displays.start >= least)


def _nans(displays: Displays, tracks: Sequence[Track], poisoned: bool) -> Nans | None:
    bad = np.flatnonzero(~np.isfinite(displays.values))
    if not len(bad):
        return None
    finite = np.flatnonzero(np.isfinite(displays.values))
    lasting = not len(finite) or finite[-1] < bad[-1]
    first = int(finite[-1]) + 1 if lasting and len(finite) else int(bad[0])
    last = displays.iterations[max(first - 1, 0) : max(first, 1)]
    ends = [(values_at(last, Series(t.iterations, t.values))[0], t.saturated) for t in tracks]
    saturated = any(abs(end - top) < 0.05 * top for end, top in ends)
    return Nans(int(displays.iterations[first]), len(bad), bool(lasting), saturated, poisoned)


# -- levels, and what left them --------------------------------------------------------------------------------------


def _explained(heads: Sequence[HeadFinding], loss: float) -> float | None:
    """Return Σ weight · ln(classes), with 87.3365 for a saturated head, where that is the level of the total."""
    if not heads or any(h.condition not in COLLAPSED for h in heads):
        return None
    if heads[0].name == TOTAL:
        return None
    costs = [MAX_LOSS if h.condition is Condition.SATURATED else chance_loss(h.classes or 1) for h in heads]
    total = sum(h.weight * cost for h, cost in zip(heads, costs, strict=True))
    return total if abs(loss / total - 1) < 0.05 else None


def _doubted(heads: Sequence[HeadFinding], header: LogHeader) -> int | None:
    """Return the number given with --classes, if the classes of every plateau were inferred nevertheless."""
    return header.classes if {"inferred"} <= {h.source for h in heads} <= {"inferred", "given", None} else None


def _named(heads: tuple[HeadFinding, ...], run: LogRun, header: LogHeader) -> tuple[HeadFinding, ...]:
    """Return the heads by name: where the log shows only the total, those of the net share its state."""
    if losses_of(run) or not header.heads or not heads:
        return heads
    total = heads[0]
    return tuple(
        replace(total, name=h.name, weight=h.weight, classes=h.classes, source="net", before=None, loss=math.nan)
        for h in header.heads
    )
