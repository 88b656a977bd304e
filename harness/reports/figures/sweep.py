"""The figure of a sweep: the losses of all restarts, and of the run that they restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from harness.diagnosis.recorded.thinning import extremes
from harness.exit_codes import Exit
from harness.recording.readable import Readable
from harness.reports.figures.style import label_ends, label_iterations, label_log, shortened, styled
from harness.reports.levels import chance_levels
from harness.reports.palette import GREY, TOTAL
from harness.schemas.sweep import Sweep

_MOST_POINTS = 2000  # of a line: twice its width in points
_MOST_LABELS = 16  # curves that are labelled where they end; more have a legend
_LONGEST = 40  # characters of a label
_DECADE = 10.0  # ratio of the highest loss to the lowest from which on the axis is logarithmic
_BEFORE = 0.15  # of the width, for the parent before the restarts

Curve = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


def sweep_losses(sweep: Sweep, parent: Readable, runs: Mapping[str, Readable]) -> Figure:
    """Draw the mean losses of the legs that have a run, by name in `runs`, over that of their parent.

    The best leg is drawn thicker, and those that diverged dashed.
    """
    legs = [leg for leg in sweep.legs if leg.name in runs]
    curves = {leg.name: _between(runs[leg.name], sweep.start, leg.until, sweep.span) for leg in legs}
    end = max((int(times[-1]) + 1 for times, _ in curves.values() if len(times)), default=sweep.start + 1)
    before = _between(parent, sweep.start - max(1, round(_BEFORE * (end - sweep.start))), end, sweep.span)
    with styled():
        figure = Figure(figsize=(10, 3.8 + 0.12 * len(legs)), layout="constrained")
        axes = figure.subplots()
        axes.plot(*_thin(before), color=TOTAL, lw=1.2, alpha=0.75, label=_parent_name(parent))
        axes.axvline(sweep.start, color=GREY, lw=0.8, ls=":")
        ends = [(_last(before[1]), _parent_name(parent), TOTAL)]
        for leg, colour in zip(legs, _colours(len(legs)), strict=True):
            label = shortened(leg.name, _LONGEST) + (" (best)" if leg.name == sweep.best else "")
            dash = "--" if leg.code == Exit.DIVERGED else "-"
            width = 2.4 if leg.name == sweep.best else 1.2
            axes.plot(*_thin(curves[leg.name]), color=colour, lw=width, ls=dash, label=label)
            ends.append((_last(curves[leg.name][1]), label, colour))
        levels = chance_levels(parent.heads)[-1:]
        drawn = np.concatenate([before[1], *(values for _, values in curves.values())])
        finite = drawn[np.isfinite(drawn)]
        low, high = (float(finite.min()), float(np.quantile(finite, 0.999))) if len(finite) else (0.0, 1.0)
        high = max([high, *(level for level, _ in levels if level < 1.5 * high)])
        axes.set_ylabel(f"loss (mean of the last {sweep.span} iterations)")
        if low > 0 and high / low > _DECADE:
            axes.set_yscale("log")
            axes.set_ylim(low / 1.2, high * 1.2)
            label_log(axes.yaxis)
        else:
            axes.set_ylim(min(0.0, low), high * 1.08)
        label_iterations(axes)
        shown = [level for level in levels if level[0] <= high]
        if len(ends) <= _MOST_LABELS:
            label_ends(axes, ends, shown)
        else:
            label_ends(axes, (), shown)
            figure.legend(loc="outside lower center", ncols=3, fontsize=7)
    return figure


def _between(recording: Readable, first: int, stop: int, span: int) -> Curve:
    """Return the mean loss of the `span` iterations up to each of `first` … `stop` - 1, of fewer at the beginning.

    Caffe's own smoothed loss begins anew in each run of a lineage.
    """
    losses = recording.series("loss")
    times = recording.iterations[: len(losses)]
    rows = (times > first - span) & (times < stop)
    padded = np.concatenate([np.full(span - 1, np.nan), losses[rows]])
    windows = np.lib.stride_tricks.sliding_window_view(padded, span)
    early = min(span - 1, int(rows.sum()))
    with np.errstate(all="ignore"):  # of runs that broke
        smoothed = windows.mean(axis=1)
        smoothed[:early] = np.cumsum(losses[rows][:early]) / np.arange(1, early + 1)
    kept = times[rows] >= first
    return times[rows][kept], smoothed[kept]


def _thin(curve: Curve) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    times, values = curve
    rows = extremes(values, _MOST_POINTS)
    return times[rows], values[rows]


def _last(values: npt.NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else 0.0


def _colours(count: int) -> Sequence[Any]:
    return [mpl.colormaps["plasma"](0.82 * place) for place in np.linspace(0, 1, count)]


def _parent_name(parent: Readable) -> str:
    return shortened(parent.path.parent.name, _LONGEST)
