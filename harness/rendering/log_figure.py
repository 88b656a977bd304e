"""A log as a picture: losses beside ln(classes), learning rate, test accuracy, and where it broke."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis.forensics.findings import RunFindings
from harness.analysis.forensics.levels import Floats
from harness.analysis.forensics.tracks import SATURATED
from harness.logs.model import LoggedOutput, LogRun, Series
from harness.recording.errors import BadInput
from harness.rendering.forensics import Examined

FORMATS = (".png", ".svg")
_COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#D55E00")  # Okabe and Ito
_TOTAL, _BROKEN, _GREY = "#000000", "#D55E00", "0.72"
_MOST_HEADS = 6
_MOST_POINTS = 4000  # of a line; more than twice the pixels that it is wide
_FEW = 80  # displays that are also drawn as dots
_APART = 0.055  # of the height: labels that do not touch


def check_suffix(path: Path) -> None:
    """Is the file one that can be drawn?

    Raises:
        BadInput: by its suffix, it is not.
    """
    if path.suffix.lower() not in FORMATS:
        raise BadInput(
            "not a kind of picture that is drawn here", field="--plot", value=path,
            remedy=f"Name a file that ends in {' or '.join(FORMATS)}",
        )  # fmt: skip


def log_figure(runs: Sequence[Examined]) -> Figure:
    """The last of `runs` in full, the totals of those before it in the same log in grey behind it."""
    runs = [r for r in runs if r.log is runs[-1].log]
    run, found = runs[-1].run, runs[-1].findings
    accuracies = _accuracies(run)
    heights = (5, 1.1, 1.6) if accuracies else (5, 1.1)
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 5.2 + 1.3 * bool(accuracies)), layout="constrained")
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        loss, rate = axes[0], axes[1]
        for other in runs[:-1]:
            _line(loss, other.run.loss, color=_GREY, lw=0.8, zorder=1)
        _draw_losses(loss, run, found)
        _line(rate, run.lr, color=_TOTAL, lw=1)
        rate.set_ylabel("lr")
        rate.margins(y=0.12)
        rate.set_ylim(bottom=0)
        rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
        if accuracies:
            for (name, series), colour in zip(accuracies, itertools.cycle(_COLOURS)):
                _line(axes[2], series, color=colour, lw=1.2, label=name, marker="o", ms=3)
            axes[2].set_ylim(0, 1.06)
            axes[2].set_ylabel("test accuracy")
            axes[2].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        axes[-1].set_xlabel("iteration")
        axes[-1].xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
        first = min(r.findings.first for r in runs)
        last = max(r.findings.last for r in runs)
        margin = max(0.01 * (last - first), 0.5)
        loss.set_xlim(first - margin, last + margin)
        _mark(axes, found)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write the picture, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # without its date an SVG is the same for the same log
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        with mpl.rc_context({"svg.hashsalt": "caffe-harness", "svg.fonttype": "none"}):
            figure.savefig(part, dpi=120, format=path.suffix[1:].lower(), metadata=metadata)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


# -- losses ----------------------------------------------------------------------------------------------------------


def _draw_losses(axes: Axes, run: LogRun, found: RunFindings) -> None:
    heads = [o for o in run.outputs if o.weight]
    drawn = [run.loss.values]
    # of a net with one head and average_loss 1 there is one curve
    if len(heads) == 1 and np.allclose(_common(heads[0].series, run.loss), 0, atol=1e-4):
        heads = []
    for output, colour in zip(heads[:_MOST_HEADS], _COLOURS, strict=False):
        label = output.name if output.weight == 1 else f"{output.name}, weight {output.weight:g}"
        _line(axes, output.series, color=colour, lw=0.8, alpha=0.85, label=label, zorder=2)
        drawn.append(output.series.values)
    _line(axes, run.loss, color=_TOTAL, lw=1.5, label="total, as displayed", zorder=3)
    finite = np.concatenate(drawn)
    finite = finite[np.isfinite(finite)]
    levels = _levels(found)
    _scale(axes, finite, [value for value, _ in levels])
    _label(axes, levels)
    axes.set_ylabel("loss")
    if len(heads) > _MOST_HEADS:
        axes.plot([], [], " ", label=f"and {len(heads) - _MOST_HEADS} more")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=4, frameon=False, fontsize=8)


def _common(a: Series, b: Series) -> Floats:
    """Relative differences at the iterations that both have."""
    _, rows_a, rows_b = np.intersect1d(a.iterations, b.iterations, return_indices=True)
    one, two = a.values[rows_a], b.values[rows_b]
    both = np.isfinite(one) & np.isfinite(two) & (two != 0)
    return np.asarray(one[both] / two[both] - 1)


def _levels(found: RunFindings) -> list[tuple[float, str]]:
    """What losses would be for a net that knows nothing, or is certain and wrong; with what to write beside it."""
    classes = dict.fromkeys(h.classes for h in found.heads if h.classes)
    levels = [(math.log(k), f"ln {k} = {math.log(k):.3f}") for k in classes if k]
    if any(h.state == "saturated" for h in found.heads):
        levels.append((SATURATED, f"–ln FLT_MIN = {SATURATED:.4g}"))
    known = [h for h in found.heads if h.classes]
    if len(known) == len(found.heads) > 1:
        total = sum(h.weight * math.log(h.classes or 1) for h in known)
        if all(abs(total - value) > 1e-3 for value, _ in levels):
            levels.append((total, f"all at ln K: {total:.3f}"))
    return levels


def _scale(axes: Axes, finite: Floats, levels: Sequence[float]) -> None:
    """Limits that one spike does not decide; logarithmic where the values span too much for another."""
    if not len(finite):
        return
    low, high, highest = float(finite.min()), float(np.quantile(finite, 0.995)), float(finite.max())
    high = highest if highest < 2 * high else high
    high = max(high, *levels) if levels else high
    if low > 0 and high > 200 * float(np.median(finite)):
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.5)
        return
    bottom = min(0.0, low)
    axes.set_ylim(bottom, bottom + (high - bottom or 1) * 1.1)


def _label(axes: Axes, levels: list[tuple[float, str]]) -> None:
    """Dashed lines with labels at the right, moved apart where they would touch."""
    to_fraction = axes.transData.transform, axes.transAxes.inverted().transform
    place = -1.0
    for value, text in sorted(levels):
        axes.axhline(value, color="0.45", lw=0.8, ls="--", zorder=1)
        at = float(to_fraction[1](to_fraction[0]((axes.get_xlim()[0], value)))[1])
        place = max(at, place + _APART)
        axes.annotate(
            text, (1, value), xycoords=("axes fraction", "data"), xytext=(1.01, place), textcoords="axes fraction",
            color="0.35", fontsize=8, va="center", annotation_clip=False,
        )  # fmt: skip


# -- where it broke --------------------------------------------------------------------------------------------------


def _mark(axes: Sequence[Axes], found: RunFindings) -> None:
    if found.nans is not None and found.nans.lasting:
        for panel in axes:
            panel.axvspan(found.nans.first, panel.get_xlim()[1], color=_BROKEN, alpha=0.12, lw=0, zorder=0)
        centre = (found.nans.first + axes[0].get_xlim()[1]) / 2
        axes[0].annotate("not finite", (centre, 0.5), xycoords=("data", "axes fraction"), ha="center", color=_BROKEN)
    if found.jump is None:
        return
    for panel in axes:
        if found.onset is not None:
            panel.axvspan(found.onset.low, found.onset.high, color="#F0E442", alpha=0.6, lw=0, zorder=0)
        panel.axvline(found.jump, color=_BROKEN, lw=0.9, ls=":", zorder=1)
    text = f"jump at {found.jump:,}"
    if found.onset is not None and found.onset.low < found.onset.high:
        text += f", begun in {found.onset.low:,} … {found.onset.high:,}"
    left, right = axes[0].get_xlim()
    share = (found.jump - left) / (right - left)
    axes[0].annotate(
        text, (found.jump, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
        ha="left" if share < 0.25 else "right" if share > 0.75 else "center", va="bottom", color=_BROKEN, fontsize=8,
        annotation_clip=False,
    )  # fmt: skip


# -- lines -----------------------------------------------------------------------------------------------------------


def _line(axes: Axes, series: Series, **style: Any) -> None:
    """The displays; of very many of them the median and, pale, the whole range, so that no spike is lost."""
    iterations, values = series.iterations, series.values
    if len(values) <= _MOST_POINTS:
        dots: dict[str, Any] = {"marker": "o", "ms": 3.5} if len(values) <= _FEW else {}
        axes.plot(iterations, values, **(dots | style))
        return
    size = -(-len(values) // (_MOST_POINTS // 2))
    whole = len(values) // size * size
    shares, times = values[:whole].reshape(-1, size), iterations[:whole:size]
    pale = {"color": style.get("color"), "zorder": style.get("zorder", 2) - 0.5, "lw": 0.3, "alpha": 0.25}
    axes.fill_between(times, np.fmin.reduce(shares, axis=1), np.fmax.reduce(shares, axis=1), **pale)
    axes.plot(times, np.median(shares, axis=1), **style)


def _accuracies(run: LogRun) -> list[tuple[str, Series]]:
    """Test outputs that are shares: no losses, and between 0 and 1."""
    found = []
    for number, net in enumerate(run.tests):
        found += [(_name(o, number), o.series) for o in net if not o.weight and _is_share(o)]
    return found[:_MOST_HEADS]


def _is_share(output: LoggedOutput) -> bool:
    values = output.series.values
    return bool(len(values) and np.all((values >= 0) & (values <= 1)))


def _name(output: LoggedOutput, net: int) -> str:
    return f"{output.name}, net #{net}" if net else output.name
