"""Figure of a log: losses with their chance levels, learning rate, test accuracy, and the jump."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.caffe_log.model import LoggedOutput, LogRun, Series
from harness.diagnosis.conditions import MAX_LOSS
from harness.diagnosis.logged.findings import RunFindings
from harness.diagnosis.robust_stats import Floats
from harness.reports.figures.style import DASHES, label_iterations, label_levels, label_log, styled
from harness.reports.levels import chance_levels
from harness.reports.log_result import LogResult
from harness.reports.names import DISPLAYED, head_name, more_heads
from harness.reports.palette import BROKEN, GREY, HEADS, TOTAL, WINDOW, accuracy_styles

_MOST_HEADS = 6
_MOST_POINTS = 4000  # of a line: more than twice its width in pixels
_FEW = 80  # displays that are also drawn as dots
_DECADES = 1000  # ratio of the largest to the smallest value that makes the scale logarithmic
_LARGEST = float(np.finfo(np.float64).max)
_LEGEND_WIDTH = 130  # characters


def log_figure(runs: Sequence[LogResult]) -> Figure:
    """Draw the last of `runs` completely, and the total losses of the earlier runs of the same log in grey behind it.

    There is a panel each for loss, learning rate and test accuracy, as far as the log shows them.
    """
    runs = [r for r in runs if r.log is runs[-1].log]
    run, found = runs[-1].run, runs[-1].findings
    accuracies, losses = _of_tests(run)
    shown = {
        "loss": 5.0 if any(len(r.run.loss.values) for r in runs) or losses else 0,
        "lr": 1.1 if any(len(r.run.lr.values) for r in runs) else 0,
        "test accuracy": 1.6 if accuracies else 0,
    }
    heights = {name: height for name, height in shown.items() if height} or {"loss": 5.0}
    with styled():
        figure = Figure(figsize=(10, 1.4 + 0.83 * sum(heights.values())), layout="constrained")
        panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=list(heights.values()), squeeze=False)
        axes = dict(zip(heights, panels[:, 0], strict=True))
        first, last = _extent(runs)
        margin = max(0.01 * (last - first), 0.5)
        panels[-1, 0].set_xlim(first - margin, last + margin)
        if "loss" in axes:
            _draw_losses(axes["loss"], runs, losses)
        if "lr" in axes:
            _draw_rates(axes["lr"], runs)
        if "test accuracy" in axes:
            _draw_accuracies(axes["test accuracy"], accuracies, [o.name for o in run.outputs if o.weight])
        label_iterations(panels[-1, 0])
        if not any(run.extent for run in runs):
            panels[-1, 0].set_xticks([])
        _mark(list(axes.values()), found, run)
    return figure


def _extent(runs: Sequence[LogResult]) -> tuple[int, int]:
    ends = [end for run in runs if run.extent is not None for end in run.extent]
    return (min(ends), max(ends)) if ends else (0, 1)


# -- losses ----------------------------------------------------------------------------------------------------------


def _draw_losses(axes: Axes, runs: Sequence[LogResult], tests: Sequence[tuple[str, Series]]) -> None:
    """Draw the losses; the test losses only if the log shows no training loss."""
    run, found = runs[-1].run, runs[-1].findings
    drawn = _draw_earlier(axes, runs[:-1])
    heads = [o for o in run.outputs if o.weight]
    # with one head and average_loss 1, the head and the total are the same curve
    if len(heads) == 1 and np.allclose(_common(heads[0].series, run.loss), 0, atol=1e-4):
        heads = []
    for output, colour in zip(heads[:_MOST_HEADS], HEADS, strict=False):
        label = head_name(output.name, output.weight or 1)
        drawn.append(_line(axes, output.series, color=colour, lw=0.8, alpha=0.85, label=label, zorder=2))
    if len(heads) > _MOST_HEADS:
        axes.plot([], [], " ", label=more_heads(len(heads) - _MOST_HEADS))
    if len(run.loss.values):
        label = f"run {runs[-1].number}, " if len(runs) > 1 else ""
        drawn.append(_line(axes, run.loss, color=TOTAL, lw=1.5, label=f"{label}{DISPLAYED}", zorder=3))
    else:
        for (name, series), colour in zip(tests, HEADS, strict=False):
            drawn.append(_line(axes, series, color=colour, lw=1.2, label=f"test {name}", marker="o", ms=3))
    finite = np.concatenate([np.zeros(0), *drawn])
    finite = finite[np.isfinite(finite)]
    levels = _levels(found)
    _scale(axes, finite, [value for value, _ in levels])
    label_levels(axes, levels)
    axes.set_ylabel("loss" if len(run.loss.values) or not tests else "test loss")
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        columns = max(1, min(4, _LEGEND_WIDTH // (6 + max(map(len, labels)))))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=columns, frameon=False, fontsize=8)
    else:
        axes.annotate("nothing displayed", (0.5, 0.5), xycoords="axes fraction", ha="center", color=GREY)


def _draw_earlier(axes: Axes, runs: Sequence[LogResult]) -> list[Floats]:
    """Draw the total losses of earlier runs."""
    runs = [r for r in runs if len(r.run.loss.values)]
    label = f"run {runs[0].number}" if len(runs) == 1 else f"{len(runs)} earlier runs"
    return [_line(axes, r.run.loss, color=GREY, lw=1, zorder=1, label=label if r is runs[0] else None) for r in runs]


def _draw_rates(axes: Axes, runs: Sequence[LogResult]) -> None:
    for other in runs[:-1]:
        _line(axes, other.run.lr, color=GREY, lw=1, marker="", zorder=1)
    _line(axes, runs[-1].run.lr, color=TOTAL, lw=1)
    axes.set_ylabel("learning\nrate")
    rates = np.concatenate([r.run.lr.values for r in runs])
    rates = rates[np.isfinite(rates)]
    if len(rates) and rates.min() > 0 and rates.max() > _DECADES * rates.min():
        axes.set_yscale("log")
        label_log(axes.yaxis)
        return
    axes.margins(y=0.12)
    if len(rates) and rates.min() >= 0:
        axes.set_ylim(0, 1.12 * rates.max() or 1)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)


def _draw_accuracies(axes: Axes, accuracies: Sequence[tuple[str, Series]], heads: Sequence[str]) -> None:
    styles = accuracy_styles([name for name, _ in accuracies], heads)
    for (name, series), (colour, nth) in zip(accuracies, styles, strict=True):
        _line(axes, series, color=colour, ls=DASHES[nth % len(DASHES)], lw=1.2, label=name, marker="o", ms=3)
    axes.set_ylim(-0.03, 1.06)
    axes.set_ylabel("test accuracy")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def _common(a: Series, b: Series) -> Floats:
    """Compute the relative differences at the iterations that both have."""
    _, rows_a, rows_b = np.intersect1d(a.iterations, b.iterations, return_indices=True)
    one, two = a.values[rows_a], b.values[rows_b]
    both = np.isfinite(one) & np.isfinite(two) & (two != 0)
    return np.asarray(one[both] / two[both] - 1)


def _levels(found: RunFindings) -> list[tuple[float, str]]:
    """Levels to mark, with their labels: the chance levels and, where a head is saturated, the loss of that."""
    levels = chance_levels(found.heads)
    if any(head.state == "saturated" for head in found.heads):
        levels.append((MAX_LOSS, f"–ln FLT_MIN = {MAX_LOSS:.4g}"))
    return levels


def _scale(axes: Axes, finite: Floats, levels: Sequence[float]) -> None:
    """Choose a logarithmic scale if the values span decades, else limits that do not depend on a single spike."""
    if not len(finite):
        axes.set_yticks([])
        return
    low, high, highest = float(finite.min()), float(np.quantile(finite, 0.995)), float(finite.max())
    sizes = np.abs(finite[finite != 0])
    if len(sizes) and sizes.max() > _DECADES * (sizes.min() if low > 0 else np.quantile(sizes, 0.1)):
        if low > 0:
            axes.set_yscale("log")
            axes.set_ylim(min(low, *levels, low) / 1.5, min(max(highest, *levels, highest), _LARGEST / 2) * 2)
            label_log(axes.yaxis)
        else:
            about_zero = 10.0 ** math.ceil(math.log10(np.quantile(sizes, 0.25)))
            decades = math.log10(sizes.max()) - math.log10(about_zero)
            axes.set_yscale("symlog", linthresh=about_zero, linscale=max(1.0, decades / 10))
        return
    high = highest if highest < 2 * high else high
    high = max(high, *levels) if levels else high
    bottom = min(0.0, low)
    span = high - bottom or 1
    axes.set_ylim(bottom - (0.05 * span if low < 0 else 0), bottom + span * 1.1)


# -- where it broke --------------------------------------------------------------------------------------------------


def _mark(axes: Sequence[Axes], found: RunFindings, run: LogRun) -> None:
    if found.nans is not None and found.nans.lasting:
        _mark_nans(axes, found.nans.first, run)
    if found.jump is None:
        return
    for panel in axes:
        if found.onset is not None:
            panel.axvspan(found.onset.low, found.onset.high, color=WINDOW, alpha=0.6, lw=0, zorder=0)
        panel.axvline(found.jump.iteration, color=BROKEN, lw=0.9, ls=":", zorder=1)
    text = f"jump at {found.jump.iteration:,}"
    if found.onset is not None and found.onset.low < found.onset.high:
        text += f", first bad iteration in {found.onset.low:,} … {found.onset.high:,}"
    left, right = axes[0].get_xlim()
    share = (found.jump.iteration - left) / (right - left)
    axes[0].annotate(
        text, (found.jump.iteration, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
        ha="left" if share < 0.25 else "right" if share > 0.75 else "center", va="bottom", color=BROKEN, fontsize=8,
        annotation_clip=False,
    )  # fmt: skip


def _mark_nans(axes: Sequence[Axes], first: int, run: LogRun) -> None:
    """Mark the iterations from `first` on. Where the heads' losses are finite, only the total is called not finite."""
    left, right = axes[0].get_xlim()
    end = max(int(run.loss.iterations[-1]), first + 1)
    for panel in axes:
        panel.axvspan(first, end, color=BROKEN, alpha=0.12, lw=0, zorder=0)
    rest = [o.series.values[o.series.iterations >= first] for o in run.outputs if o.weight]
    text = "total not finite" if any(np.isfinite(values).any() for values in rest) else "not finite"
    centre = (first + end) / 2
    share = (centre - left) / (right - left)
    axes[0].annotate(
        text, (centre, 0.97), xycoords=("data", "axes fraction"), color=BROKEN, fontsize=8, va="top",
        ha="right" if share > 0.92 else "left" if share < 0.08 else "center",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
    )  # fmt: skip


# -- lines -----------------------------------------------------------------------------------------------------------


def _line(axes: Axes, series: Series, **style: Any) -> Floats:
    """Draw a series and return its values.

    Of very many displays, draw the median and, pale, the whole range, so that no spike is lost.
    """
    iterations, values = series.iterations, series.values
    if len(values) <= _MOST_POINTS:
        dots: dict[str, Any] = {"marker": "o", "ms": 3.5} if len(values) <= _FEW else {}
        axes.plot(iterations, values, **(dots | style))
        return values
    size = -(-len(values) // (_MOST_POINTS // 2))
    whole = len(values) // size * size
    shares, times = values[:whole].reshape(-1, size), iterations[:whole:size]
    pale = {"color": style.get("color"), "zorder": style.get("zorder", 2) - 0.5, "lw": 0.3, "alpha": 0.25}
    axes.fill_between(times, np.fmin.reduce(shares, axis=1), np.fmax.reduce(shares, axis=1), **pale)
    axes.plot(times, np.median(shares, axis=1), **style)
    return values


def _of_tests(run: LogRun) -> tuple[list[tuple[str, Series]], list[tuple[str, Series]]]:
    """Find the test outputs that are shares (not losses, and between 0 and 1), and those that are losses."""
    outputs = [(o, f"{o.name}, net #{n}" if n else o.name) for n, net in enumerate(run.tests) for o in net]
    shares = [(name, o.series) for o, name in outputs if not o.weight and _is_share(o)]
    return shares[:_MOST_HEADS], [(name, o.series) for o, name in outputs if o.weight][:_MOST_HEADS]


def _is_share(output: LoggedOutput) -> bool:
    values = output.series.values
    return bool(len(values) and np.all((values >= 0) & (values <= 1)))
