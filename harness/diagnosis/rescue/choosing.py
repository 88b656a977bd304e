"""The choice among candidates that were restarted: the smallest change that is as good as any."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from harness.diagnosis.rescue.trend import Healthy, Trend, end_of, error_of, level_of, noise_of
from harness.schemas.explanation import Levels
from harness.schemas.rescue import Candidate

_ALIKE = 0.05  # of the best level, and of the way from the healthy level to where a loss is broken: no difference
_ACCURACY, _TEST_LOSS = 0.02, 0.1  # by which accuracies differ, and the share by which other outputs of a test net do
_OTHER_DATA = ("--skip", "--skip-records", "--seed")  # options after which a restart reads other batches


@dataclass(frozen=True)
class Finalist:
    """A candidate that was restarted.

    Attributes:
        loss: of its restart, from iteration `first`, which is past the break, on.
        test: outputs of the last test pass of the first test net, by name.
    """

    candidate: Candidate
    first: int
    loss: tuple[float, ...]
    test: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """A finalist, its level, and a clause that says why it was chosen or not."""

    candidate: Candidate
    level: float
    why: str


@dataclass(frozen=True)
class Choice:
    """The candidate that was chosen, None if none is better than the broken training; and all finalists, judged."""

    chosen: Candidate | None
    judged: tuple[Judged, ...]


@dataclass(frozen=True)
class _Compared:
    """A finalist and the best one: by how much its level is higher, and by how much two of one level may differ."""

    level: float
    excess: float
    noise: float
    at_trend: bool
    worse_test: str

    @property
    def is_as_good(self) -> bool:
        return (self.excess <= self.noise or self.at_trend) and not self.worse_test


def choose(
    finalists: Sequence[Finalist],
    levels: Levels,
    healthy: Healthy | None,
    display: int,
    accuracies: Collection[str] = (),
) -> Choice:
    """Choose the smallest change whose loss is within noise of the best, or as low as the trend of the healthy loss.

    A lower rate makes a loss lower for a while, wherever it is lowered; so a training that goes on as before is as good
    as one below its trend. A test that is clearly worse than the best excludes a candidate.

    Args:
        finalists: by how little they change the training.
        levels: of the break.
        healthy: the training before it; None where that is not known.
        display: iterations between two displays, 0 for none.
        accuracies: the outputs of the test net that are the better the higher they are.
    """
    trend = None if healthy is None else healthy.trend
    reached = {one.candidate.name: level_of(one.loss, display) for one in finalists}
    past = [one for one in finalists if reached[one.candidate.name] <= levels.limit]
    if not past:
        return Choice(None, tuple(_broken(one, reached[one.candidate.name]) for one in finalists))
    best = min(past, key=lambda one: reached[one.candidate.name])
    compared = {one.candidate.name: _compare(one, best, past, levels, trend, display, accuracies) for one in past}
    chosen = next((one for one in past if compared[one.candidate.name].is_as_good), best)
    return Choice(
        chosen.candidate,
        tuple(
            Judged(one.candidate, reached[one.candidate.name], _why(one, chosen, best, compared, trend))
            if one in past
            else _broken(one, reached[one.candidate.name])
            for one in finalists
        ),
    )


def goes_on_as_healthy(
    one: Finalist, levels: Levels, healthy: Healthy | None, display: int, accuracies: Collection[str] = ()
) -> bool:
    """Check whether a training is as good as while it was healthy, so that no other candidate needs to be compared.

    Its loss must be as low, and its test not clearly worse. Where it is tested now, and was not before, only others
    can tell.

    Args:
        healthy, levels, display, accuracies: as for `choose`.
    """
    if healthy is None or not level_of(one.loss, display) <= levels.limit:
        return False
    if not _is_at(healthy.trend, one, levels, display):
        return False
    return one.test.keys() <= healthy.test.keys() and not _worse_test(one, [healthy.test], accuracies)


def _is_at(trend: Trend, one: Finalist, levels: Levels, display: int) -> bool:
    """Check whether a loss is as low as a trend; one that is noisier than before is not as good for that."""
    error = math.hypot(trend.error_over(len(end_of(one.loss, display))), trend.error)
    expected = trend.expected(one.first + len(one.loss))
    return level_of(one.loss, display) <= expected + max(_no_difference(levels), error)


def _no_difference(levels: Levels) -> float:
    return _ALIKE * min(levels.limit - levels.healthy, abs(levels.limit))


def _compare(
    one: Finalist,
    best: Finalist,
    past: Sequence[Finalist],
    levels: Levels,
    trend: Trend | None,
    display: int,
    accuracies: Collection[str],
) -> _Compared:
    level, lowest = level_of(one.loss, display), level_of(best.loss, display)
    if _reads(one) == _reads(best) and one.first == best.first and len(one.loss) == len(best.loss):
        differences = end_of(np.subtract(one.loss, best.loss), display)  # of the same batches
        excess, (noise, _) = float(np.median(differences)), error_of(differences)
    else:
        excess, noise = level - lowest, math.hypot(noise_of(one.loss, display)[0], noise_of(best.loss, display)[1])
    noise = min(noise, math.sqrt(2) * max(noise_of(best.loss, display)))  # one that is noisier is not as good for that
    noise = max(noise, _ALIKE * abs(lowest), _no_difference(levels))
    at_trend = trend is not None and _is_at(trend, one, levels, display)
    return _Compared(level, excess, noise, at_trend, _worse_test(one, [other.test for other in past], accuracies))


def _worse_test(one: Finalist, others: Sequence[Mapping[str, float]], accuracies: Collection[str]) -> str:
    """Name an output of the test net that is clearly worse than in one of the `others`; empty without one."""
    for name, value in one.test.items():
        known = [other[name] for other in others if math.isfinite(other.get(name, math.nan))]
        if not known:
            continue
        if not math.isfinite(value):
            return f"the test gives {name} = {value:g}"
        is_accuracy = name in accuracies
        best = max(known) if is_accuracy else min(known)
        if (best - value if is_accuracy else value - best) > (_ACCURACY if is_accuracy else _TEST_LOSS * abs(best)):
            return f"the test gives {name} = {value:.3g}, and {best:.3g} with another candidate"
    return ""


def _reads(one: Finalist) -> tuple[str, ...]:
    """Return what makes a restart read other batches than the run."""
    words = [word for step in one.candidate.steps for word in (*step.words, "")]
    return tuple(f"{word} {value}" for word, value in pairwise(words) if word.partition("=")[0] in _OTHER_DATA)


def _broken(one: Finalist, level: float) -> Judged:
    why = f"it breaks: level {level:.3g}" if math.isfinite(level) else "it breaks: the loss is not finite"
    return Judged(one.candidate, level, why)


def _why(
    one: Finalist, chosen: Finalist, best: Finalist, compared: Mapping[str, _Compared], trend: Trend | None
) -> str:
    of_one, lowest = compared[one.candidate.name], compared[best.candidate.name].level
    says = f"level {of_one.level:.3g}"
    healthy = (
        "" if trend is None or not of_one.at_trend else f"as low as while training was healthy ({trend.level:.3g})"
    )
    if one is best:
        says += f", {healthy}" if healthy else ", the best"
    elif of_one.excess <= of_one.noise:
        says += f", within {of_one.noise:.2g} (noise) of the best, {lowest:.3g}"
    elif healthy:
        says += f", {healthy}; the best is {lowest:.3g}"
    else:
        says += f", higher than the best, {lowest:.3g}, by more than noise ({of_one.noise:.2g})"
    if of_one.worse_test:
        return f"{says}; {of_one.worse_test}"
    if one is chosen:
        return says if len(compared) == 1 or one is best else f"{says}; changes less"
    return f"{says}; changes more than {chosen.candidate.name}" if of_one.is_as_good else says
