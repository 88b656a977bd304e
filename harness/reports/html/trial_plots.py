"""Small plots of trials: the losses of their arms, the point of no return, the share of other orders that break."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.robust_stats import Floats, Ints
from harness.reports.html.plot import Line, Mark, Plot, Rule, Span, Tick, across, curves, upwards
from harness.reports.scales import Scale
from harness.reports.trials import BREAKS, LOOKS, Look, arm_series, is_measured, loss_scale
from harness.schemas.explanation import ArmSummary, Explanation, Orders

_POINTS = 120  # of a curve, at most
_MOST_CURVES = 12  # in a plot
_BEFORE, _AFTER = 20, 40  # iterations around the point of no return


@dataclass(frozen=True)
class Losses:
    """The `losses` (T,) of `iterations` (T,), NaN where they are not finite."""

    iterations: Ints
    losses: Floats

    def between(self, first: float, last: float) -> Losses:
        """Return those of the iterations from `first` to `last`."""
        inside = (self.iterations >= first) & (self.iterations <= last)
        return Losses(self.iterations[inside], self.losses[inside])


def trial_plots(explanation: Explanation, own: Losses, at: int | None) -> dict[str, Plot]:
    """Draw the losses of the arms of each trial, by its name, all on the same scale, in front of those of the control.

    The run's own losses are behind the control. Trials that only measure something have no plot. `at` is the iteration
    of the cause.
    """
    drawn = [trial for trial in explanation.arms if not is_measured(trial) and any(map(len, trial.curves))]
    if not drawn:
        return {}
    own = own.between(min(t.start for t in drawn), max(t.start + _longest(t) for t in drawn) - 1)
    series = [arm_series(trial, curve)[1] for trial in drawn for curve in trial.curves]
    y = loss_scale(explanation, [own.losses, *series])
    control = next((trial for trial in drawn if trial.kind == "control" and trial.curves), None)
    return {
        trial.name: _plot(
            trial,
            y,
            own if control is None or trial is control else Losses(*arm_series(control, control.curves[0])),
            explanation,
            at,
        )
        for trial in drawn
    }


def no_return(explanation: Explanation, own: Losses) -> Plot | None:
    """Draw the run's loss around the point of no return; None where that is not known."""
    at = explanation.point_of_no_return
    if at is None:
        return None
    cause = explanation.verdict.iteration
    moments = [at] if cause is None else [at, cause]
    own = own.between(min(moments) - _BEFORE, max(moments) + _AFTER)
    if np.isfinite(own.losses).sum() < 2 or not own.iterations[0] <= at <= own.iterations[-1]:
        return None
    x, y = Scale(float(own.iterations[0]), float(own.iterations[-1])), loss_scale(explanation, [own.losses])
    there = x.at(at + 0.5)
    return Plot(
        lines=tuple(_lines(x, y, own, "")),
        across=across(x, 4),
        down=upwards(y, 4),
        moments=(Rule(there, "limit"), *(() if cause is None else (Rule(x.at(cause), "onset"),))),
        spans=(Span(0.0, there, "good"), Span(there, 100.0, "bad")),
        is_log=y.is_log,
    )


def orders(found: Sequence[Orders]) -> Plot | None:
    """Draw the share of other data orders that break, by how many iterations earlier they start."""
    known = sorted((part for part in found if part.runs > 0), key=lambda part: part.back)
    if not known:
        return None
    width, y = 100 / len(known), Scale(-8.0, 108.0)
    points, ticks, marks = [], [], []
    for place, part in enumerate(known):
        share = 100 * part.breaks / part.runs
        left, middle = place * width, (place + 0.5) * width
        points.append(f"{left:.2f},{y.down(share):g} {left + width:.2f},{y.down(share):g}")
        ticks.append(Tick(round(middle, 2), f"{part.back:,}"))
        said = f"{part.breaks} of {part.runs} break that start {part.back:,} iterations earlier"
        marks.append(Mark(round(middle, 2), y.down(share), "count", f"{part.breaks} of {part.runs}", said))
    return Plot(
        lines=(Line(" ".join(points), BREAKS.mood),),
        across=tuple(ticks),
        down=tuple(Tick(y.down(share), f"{share} %") for share in (0, 50, 100)),
        marks=tuple(marks),
    )


def _plot(trial: ArmSummary, y: Scale, behind: Losses, explanation: Explanation, at: int | None) -> Plot:
    x = Scale(trial.start, max(trial.start + _longest(trial) - 1, trial.start + 1))
    lines = [*_lines(x, y, behind.between(x.low, x.high), "control")]
    marks: list[Mark] = []
    for number, curve in enumerate(trial.curves[:_MOST_CURVES]):
        if not curve:
            continue
        look = LOOKS[trial.judgements[number] if number < len(trial.judgements) else "unclear"]
        arm = Losses(*arm_series(trial, curve))
        lines += _lines(x, y, arm, look.mood)
        marks.append(_end_mark(x, y, arm, look))
    limit = explanation.levels.limit if explanation.levels is not None else None
    return Plot(
        lines=tuple(lines),
        across=across(x, 3),
        down=upwards(y, 3),
        moments=() if at is None or not x.holds(at) else (Rule(x.at(at), "onset"),),
        levels=() if limit is None or not y.holds(limit) else (Rule(y.down(limit), "limit"),),
        marks=tuple(marks),
        is_log=y.is_log,
    )


def _lines(x: Scale, y: Scale, series: Losses, kind: str) -> Iterator[Line]:
    for points in curves(x, y, series.iterations, series.losses, _POINTS):
        yield Line(points, kind)


def _end_mark(x: Scale, y: Scale, arm: Losses, look: Look) -> Mark:
    """Mark where an arm ends: at the top where it is not finite."""
    when, last = int(arm.iterations[-1]), float(arm.losses[-1])
    finite = bool(np.isfinite(last))
    text = f"{look.word}: {f'loss {last:.3g}' if finite else 'not finite'} at iteration {when:,}"
    kind = f"end {look.mood}" if finite else f"end {look.mood} nonfinite"
    return Mark(x.at(when), y.down(last) if finite else 0.0, kind, look.letter, text)


def _longest(trial: ArmSummary) -> int:
    return max(map(len, trial.curves))
