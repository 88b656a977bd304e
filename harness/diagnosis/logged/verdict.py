"""Judge a run by its total and its heads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.conditions import MAX_LOSS, Condition, Verdict, chance_loss
from harness.diagnosis.departures import FLOOR
from harness.diagnosis.logged.course import Leaps
from harness.diagnosis.logged.deviations import swings
from harness.diagnosis.logged.displays import AverageSpan, Displays
from harness.diagnosis.logged.findings import HeadFinding, Nans, Why
from harness.diagnosis.logged.heads import LOW, Judged
from harness.diagnosis.logged.levels import FEWEST, block_medians, falling_at_end, lag_of, noise_of, relative_noise
from harness.diagnosis.logged.rises import FALLEN, Rise, apart
from harness.diagnosis.robust_stats import Floats

RISE = 1 / 3  # of the best level: the least rise of a total that counts where no head shows what happened
_FALL, _FALL_KNOWN = 0.05, 0.98  # a total that has fallen; a head that has not, as a share of ln(classes)
_MANY = 20  # displays that show a slow rise
_SETTLED = 8  # displays that show that a loss has come to rest
_SOME = 5  # displays below which only a fall by a fifth counts as a trend
_DROPS = 0.02  # of its level: a loss that falls by less from one eighth of a run to the next has come to rest
_MEAN = 4  # displays that an average_loss may span where it is not known
_CYCLE = 5  # displays after a rise of the learning rate in which the loss follows it
_NOISY = 0.05  # relative noise of a single iteration, above that of any constant answer


@dataclass(frozen=True)
class Ends:
    """Levels of the total: at the start, at its best, and at the end with its standard `error`."""

    start: float
    best: float
    end: float
    error: float


@dataclass(frozen=True)
class Evidence:
    """The evidence for a verdict.

    Attributes:
        total: the finite displays of the total.
        rise: of the total.
        lag: displays between two of the total that are independent.
        long: there was time to learn.
        tuned: the log does not begin with a new net.
        restarts: iterations at which the learning rate rose, where it did so several times.
        leaps: the period with which the loss goes up and down; None without one.
        below_zero: a loss is negative that never should be, or without bound.
        loss_types: the layer types of the losses, by name, as far as the log shows them.
    """

    total: Displays
    span: AverageSpan
    judged: tuple[Judged, ...]
    lag: int
    rise: Rise | None
    nans: Nans | None
    long: bool
    tuned: bool
    restarts: tuple[int, ...]
    leaps: Leaps | None
    below_zero: bool
    loss_types: Mapping[str, str]

    @property
    def heads(self) -> tuple[HeadFinding, ...]:
        """The findings on the heads."""
        return tuple(judged.head for judged in self.judged)


def ends_of(values: Floats, lag: int, since: int = 0) -> Ends:
    """Return the levels of a total, the last one of the displays from `since` on; NaN where there is none."""
    if not len(values):
        return Ends(math.nan, math.nan, math.nan, math.nan)
    tenth = max(1, min(len(values) // 10, 200))
    start, end = (float(np.median(v)) for v in (values[: min(max(1, tenth // 2), 3)], values[since:][-tenth:]))
    noise = noise_of(values, lag)
    error = 0.0 if math.isnan(noise) else 1.25 * noise * math.sqrt(lag / tenth)
    return Ends(start, float(block_medians(values, tenth).min()), end, error)


def verdict_of(evidence: Evidence) -> tuple[Verdict, Why]:
    """Return the verdict, and what led to it."""
    heads, nans, rise = evidence.heads, evidence.nans, evidence.rise
    conditions = {head.condition for head in heads}
    lost = nans is not None and nans.lasting and not nans.poisoned
    if lost or Condition.NON_FINITE in conditions:
        return Condition.NON_FINITE.verdict, ""
    if Condition.SATURATED in conditions:
        return Condition.SATURATED.verdict, "collapsed" if any(j.rise for j in evidence.judged) else "never learned"
    if any(h.condition is Condition.UNIFORM and not h.never_learned for h in heads):
        return Condition.UNIFORM.verdict, "collapsed"
    if sum(abs(h.weight) for h in heads if h.never_learned) > _weight(heads) / 2:
        return Condition.UNIFORM.verdict, "never learned"
    if evidence.below_zero:
        return "drift/oscillation", "below zero"
    if evidence.leaps is not None:
        return "drift/oscillation", "leaps"
    if rise is not None and _at_restart(rise, evidence):
        rise = None
    if rise is not None and (rise.certain or any(j.rise for j in evidence.judged)):
        return "drift/oscillation", "rise" if rise.sudden else "slow rise"
    # swings make displays that are far apart alike: only as much of that is noise as an unknown mean may explain
    lag = lag_of(evidence.total.iterations, evidence.span.size)
    if swings(_last_cycle(evidence), max(lag, min(evidence.lag, _MEAN)) if evidence.span.assumed else lag):
        return "drift/oscillation", "oscillation"
    return _by_trend(evidence)


def _at_restart(rise: Rise, evidence: Evidence) -> bool:
    """Check whether the loss rose with the learning rate, as it did before."""
    near = _CYCLE * evidence.total.interval
    return any(0 <= rise.iteration - restart <= near for restart in evidence.restarts)


def _last_cycle(evidence: Evidence) -> Floats:
    """Return the displays since the learning rate rose last: swings that follow it are the schedule's."""
    if not evidence.restarts:
        return evidence.total.values
    last = int(np.searchsorted(evidence.total.iterations, evidence.restarts[-1]))
    return evidence.total.values[last:]


def _weight(heads: Sequence[HeadFinding]) -> float:
    return sum(abs(h.weight) for h in heads)


def _by_trend(evidence: Evidence) -> tuple[Verdict, Why]:
    """Judge a run in which nothing broke: it falls or has fallen, stays low, or has not moved yet."""
    values, heads, lag = _without_saturated_start(evidence.total.values, evidence.heads), evidence.heads, evidence.lag
    if len(values) < FEWEST:
        return "unknown", "too few"
    if not values.any():  # no net is at 0 from the start: nothing is trained
        return "unknown", "not falling"
    ends = ends_of(values, lag)
    risen, fallen, scale = ends.end - ends.best, ends.start - ends.end, max(abs(ends.start), abs(ends.end))
    if len(values) < _SOME:
        return ("healthy", "fallen") if fallen > max(0.2 * scale, FLOOR) else ("unknown", "too few")
    slow = risen > max(RISE * max(abs(ends.best), FLOOR), FALLEN * (ends.start - ends.best), 5 * ends.error)
    third = len(values) // 3
    if len(values) >= _MANY and slow and apart(values[third : 2 * third], values[-third:], lag):
        return "drift/oscillation", "slow rise"
    softmax = [h for h in heads if h.classes]
    at_chance = [h for h in softmax if h.loss > _FALL_KNOWN * chance_loss(h.classes or 2)]
    if _weight(at_chance) <= _weight(heads) / 2 and fallen > max(_FALL * scale, 2 * ends.error, FLOOR):
        return "healthy", "fallen"
    if at_chance == [] and falling_at_end(values, lag) and risen <= 0:
        return "healthy", "late fall"
    not_yet: tuple[Verdict, Why] = ("unknown", "not falling" if evidence.long else "still at the start")
    if risen > max(RISE * max(abs(ends.best), FLOOR), 3 * ends.error):
        return "unknown", "not falling"
    if softmax:
        learned = [h for h in softmax if h.loss < 0.9 * chance_loss(h.classes or 2)]
        return ("healthy", "level") if _weight(learned) > _weight(softmax) / 2 else not_yet
    if evidence.long and not evidence.tuned:  # never moved, and the chance level is not known
        return "unknown", "not falling"
    noisy = _NOISY < relative_noise(values, lag) * math.sqrt(evidence.span.size) < math.inf
    if ends.end < LOW or (noisy and (evidence.tuned or ends.end < 2)):
        return "healthy", "level"
    return not_yet


def _without_saturated_start(values: Floats, heads: Sequence[HeadFinding]) -> Floats:
    """Leave out the displays at 87.3365 with which a net may begin: to come down from there is not to learn."""
    top = MAX_LOSS * (sum(h.weight for h in heads) or 1)
    there = np.abs(values - top) < 1e-3 * abs(top)
    return values[int(np.argmin(there)) :] if len(values) and not there.all() else values


def is_settled(values: Floats, lag: int) -> bool:
    """Check whether the displays are enough to see that a loss stays where it is at the end, and it does."""
    return len(values) >= _SETTLED and not falling_at_end(values, lag)


def is_falling(values: Floats, lag: int) -> bool:
    """Check whether each of the last three eighths of the displays lies below the one before it."""
    eighth = len(values) // 8
    if eighth < FEWEST:
        return False
    first, second, third = (values[len(values) - k * eighth :][:eighth] for k in (3, 2, 1))
    least = _DROPS * abs(float(np.median(first)))
    drops = np.median(first) - np.median(second) > least and np.median(second) - np.median(third) > least
    return bool(drops) and apart(third, first, lag)
