"""Figures of recordings: losses, learning rate and test accuracy of a run; the losses of several runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.diagnosis.recorded.thinning import extremes
from harness.recording.lineage_part import Part
from harness.recording.readable import Readable
from harness.reports.figures.interventions import draw_what_was_left, mark_interventions
from harness.reports.figures.layers import draw_heatmap
from harness.reports.figures.style import (
    DASHES,
    label_ends,
    label_iterations,
    label_levels,
    label_log,
    shortened,
    styled,
)
from harness.reports.levels import chance_levels
from harness.reports.names import EACH, SMOOTHED, head_name, more_heads
from harness.reports.palette import (
    BROKEN,
    GOOD,
    GREY,
    HEADS,
    NOT_FINITE,
    RUNS,
    TOTAL,
    WINDOW,
    accuracy_styles,
)  # fmt: skip
from harness.schemas.layout import Head

Series = npt.NDArray[Any]

_MOST_POINTS = 2000  # of a line: twice its width in points
_COLUMNS = 1000  # of a heat map
_LONGEST_LABEL = 44  # characters beside a curve


def overview(recording: Readable, found: Diagnosis, parts: Sequence[Part] = ()) -> Figure:
    """Draw the losses with their chance levels, the learning rate, and the gradient norm of every layer, over all
    iterations. Layers run from the data (top) to the losses (bottom). Arguments are those of `losses`."""
    with styled():
        figure = Figure(figsize=(10, 7.2), layout="constrained")
        loss, rate, norms = figure.subplots(3, 1, sharex=True, height_ratios=(5, 1.2, 5))
        _draw_losses(loss, recording, found, parts)
        _draw_rate(rate, recording)
        image = draw_heatmap(norms, found.heatmap("gradient", slice(None), _COLUMNS, recording))
        if image is not None:
            bar = figure.colorbar(image, cax=norms.inset_axes((1.012, 0, 0.014, 1)), label="‖gradient‖₂ per layer")
            label_log(bar.ax.yaxis)
        _label(norms, recording)
        mark_interventions((loss, rate), parts)
        _mark_windows((loss, rate), recording)
    return figure


def losses(recording: Readable, found: Diagnosis, parts: Sequence[Part] = ()) -> Figure:
    """Draw the losses with their chance levels, the learning rate and the test accuracies, and mark the onset, the
    windows and the snapshots.

    Args:
        recording: the run, or the lineage that ends with it.
        found: the diagnosis of the run.
        parts: those of the lineage, to mark where each run takes over, and what it changes.
    """
    accuracies = accuracy_series(recording, found.not_finite_from)
    heights = [5, 1.2] + [1.8] * bool(accuracies)
    with styled():
        figure = Figure(figsize=(10, 1.2 + 0.75 * sum(heights)), layout="constrained")
        panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        _draw_losses(panels[0], recording, found, parts)
        _draw_rate(panels[1], recording)
        if accuracies:
            styles = accuracy_styles(list(accuracies), [head.name for head in recording.heads])
            for (name, (times, values)), (colour, nth) in zip(accuracies.items(), styles, strict=True):
                dash = DASHES[nth % len(DASHES)]
                panels[2].plot(times, values, "o", ls=dash, color=colour, ms=3, lw=1.2, label=shortened(name))
            panels[2].set_ylim(-0.03, 1.06)
            panels[2].set_ylabel("test accuracy")
            panels[2].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        _label(panels[-1], recording)
        mark_interventions(panels, parts)
        _mark_windows(panels[:2], recording)
        _mark_snapshots(panels[0], found)
        if found.onset is not None:
            for axes in panels:
                axes.axvline(found.onset.iteration, color=BROKEN, lw=1, ls=":", zorder=1)
            panels[0].annotate(
                f"onset {found.onset.iteration:,}", (found.onset.iteration, 1), xycoords=("data", "axes fraction"),
                xytext=(3, -3), textcoords="offset points", va="top", color=BROKEN, fontsize=8,
            )  # fmt: skip
    return figure


def smoothed_losses(runs: Mapping[str, Readable]) -> Figure:
    """Draw the smoothed losses of several runs, each labelled with its name where it ends."""
    with styled():
        figure = Figure(figsize=(10, 3.6 + 0.1 * len(runs)), layout="constrained")
        axes = figure.subplots()
        top = 1.0
        levels: dict[float, str] = {}
        ends: list[tuple[float, str, str]] = []
        colours = itertools.chain((TOTAL,), itertools.cycle(RUNS))
        for (name, recording), colour in zip(runs.items(), colours, strict=False):
            smoothed = recording.series("smoothed_loss")
            times = recording.iterations[: len(smoothed)]
            _line(axes, times, smoothed, color=colour, lw=1.4)
            axes.plot(times[:1], smoothed[:1], "o", color=colour, ms=4)
            finite = smoothed[np.isfinite(smoothed)]
            top = max(top, float(np.quantile(finite, 0.999)) if len(finite) else 0)
            ends.append((float(finite[-1]) if len(finite) else 0.0, shortened(name, _LONGEST_LABEL), colour))
            levels |= dict(chance_levels(recording.heads)[-1:])
        axes.set_ylim(0, top * 1.08)
        label_ends(axes, ends, list(levels.items()))
        label_iterations(axes)
        axes.set_ylabel("smoothed loss")
    return figure


def accuracy_series(recording: Readable, until: int | None = None) -> dict[str, tuple[Series, Series]]:
    """Collect the test accuracies: iterations and values of each output of a test net that is not a loss and lies
    between 0 and 1, by name. Those from iteration `until` on are left out (None: none is)."""
    found = {}
    heads = {head.name for head in recording.heads}
    for net in range(recording.test_nets):
        for name in recording.test_outputs(net):
            times, values = recording.test(name, net)
            kept = rows_until(times, until)
            times, values = times[kept], values[kept]
            one = values.shape[1] == 1 and name not in heads and "loss" not in name.rsplit("/", 1)[-1].lower()
            if one and len(times) and np.all((values >= 0) & (values <= 1)):
                found[f"{name}, net #{net}" if net else name] = (times, values[:, 0])
    return found


def rows_until(iterations: Series, until: int | None) -> slice:
    """Return the rows of the iterations before `until` (None: all)."""
    return slice(0, len(iterations) if until is None else int(np.searchsorted(iterations, until)))


def heads_to_draw(heads: Sequence[Head]) -> Sequence[Head]:
    """Leave out an only head of weight 1, whose curve is that of the total."""
    return () if len(heads) == 1 and heads[0].weight == 1 else heads


def _draw_losses(axes: Axes, recording: Readable, found: Diagnosis, parts: Sequence[Part]) -> None:
    rows = rows_until(recording.iterations, found.not_finite_from)
    iterations = recording.iterations[rows]
    smoothed = recording.series("smoothed_loss", rows)
    if found.not_finite_from is not None:
        end = max(int(recording.iterations[-1]), found.not_finite_from + 1)
        axes.axvspan(found.not_finite_from, end, color=NOT_FINITE, alpha=0.12, lw=0, zorder=0, label="not finite")
    total = recording.series("loss", rows)
    _line(axes, iterations, total, color=GREY, lw=0.6, alpha=0.8, label=EACH)
    _line(axes, iterations, smoothed, color=TOTAL, lw=1.6, label=SMOOTHED, zorder=3)
    heads = heads_to_draw(recording.heads)
    for head, colour in zip(heads, HEADS, strict=False):
        label = head_name(shortened(head.name), head.weight)
        values = recording.output(head.name, rows)[:, 0]
        _line(axes, iterations, values, color=colour, lw=0.6, alpha=0.8, label=label)
    if len(heads) > len(HEADS):
        axes.plot([], [], " ", label=more_heads(len(heads) - len(HEADS)))
    draw_what_was_left(axes, parts)
    total = total[np.isfinite(total)]
    levels = chance_levels(recording.heads)
    high = float(np.quantile(total, 0.999)) if len(total) else 1.0
    low = min(0.0, float(total.min())) if len(total) else 0.0
    top = max([high, *(value for value, _ in levels)])
    axes.set_ylim(low * 1.08, top * 1.08 if top > low else low + 1.0)
    label_levels(axes, levels)
    axes.set_ylabel("loss")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize=8)


def _draw_rate(axes: Axes, recording: Readable) -> None:
    rates = recording.series("lr")
    _line(axes, recording.iterations[: len(rates)], rates, color=TOTAL, lw=1)
    axes.set_ylabel("learning\nrate")
    axes.set_ylim(bottom=0)


def _label(axes: Axes, recording: Readable) -> None:
    iterations = recording.iterations
    label_iterations(axes)
    if len(iterations):
        axes.set_xlim(iterations[0] - 0.5, iterations[-1] + 1)  # the last snapshot is of the following iteration


def _mark_windows(panels: Sequence[Axes], recording: Readable) -> None:
    for axes in panels:
        for window in recording.windows:
            axes.axvspan(window.start - 0.5, window.stop - 0.5, color=WINDOW, alpha=0.35, lw=0, zorder=0)


def _mark_snapshots(axes: Axes, found: Diagnosis) -> None:
    """Mark snapshots at the bottom: filled and green before the onset, hollow after it."""
    for iteration in found.snapshots:
        good = found.is_good(iteration)
        last = found.last_good is not None and iteration == found.last_good.iteration
        axes.plot(
            [iteration], [0.015], "^", transform=axes.get_xaxis_transform(), color=GOOD if good else GREY,
            fillstyle="full" if good else "none", ms=8 if last else 5, clip_on=False, zorder=4,
        )  # fmt: skip


def _line(axes: Axes, times: Series, values: Series, **style: Any) -> None:
    rows = extremes(np.asarray(values, np.float64), _MOST_POINTS)
    axes.plot(times[rows], values[rows], **style)
