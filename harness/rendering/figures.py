"""Static figures of a recording. Colours are from Okabe and Ito's palette, which survives colour-blindness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from harness.recording import Recording
from harness.recording.layout import Head

_HEAD_COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#56B4E9")
_TOTAL = "#000000"
_WINDOW = "#F0E442"
_MOST_NAMES = 30  # layer names written beside a heat map


def overview(recording: Recording) -> Figure:
    """What happened, over all iterations: the losses beside ln(classes), the learning rate, and the gradient norm of
    every layer's first param blob, from the data (top) to the losses (bottom)."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 7.2), layout="constrained")
        loss, rate, norms = figure.subplots(3, 1, sharex=True, height_ratios=(5, 1.2, 5))
        iterations = recording.iterations
        _draw_losses(loss, recording, recording.heads)
        rate.plot(iterations, recording.series("lr"), color=_TOTAL, lw=1)
        rate.set_ylabel("lr")
        rate.set_ylim(bottom=0)
        image = _draw_norms(norms, recording)
        figure.colorbar(image, cax=norms.inset_axes((1.012, 0, 0.014, 1)), label="‖gradient‖₂ of a layer's weights")
        norms.set_xlabel("iteration")
        norms.set_xlim(iterations[0], iterations[-1] + 1)
        for axes in (loss, rate):
            for window in recording.windows:
                axes.axvspan(window.start, window.stop, color=_WINDOW, alpha=0.35, lw=0, zorder=0)
    return figure


def fates(runs: Mapping[str, Recording]) -> Figure:
    """The smoothed losses of several runs on one picture, by name: a run and what became of it when restarted."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        axes = figure.subplots()
        top, totals = 1.0, set()
        for (name, recording), colour in zip(runs.items(), itertools.cycle((_TOTAL, *_HEAD_COLOURS))):
            losses = recording.series("smoothed_loss")
            axes.plot(recording.iterations, losses, color=colour, lw=1.4, label=name)
            axes.plot(recording.iterations[:1], losses[:1], "o", color=colour, ms=4)
            finite = losses[np.isfinite(losses)]
            top = max(top, float(np.quantile(finite, 0.999)) if len(finite) else 0)
            if all(head.classes for head in recording.heads):
                totals.add(sum(head.weight * math.log(head.classes or 1) for head in recording.heads))
        for total in totals:
            _level(axes, total, f"nothing known: {total:.3f}")
        axes.set_ylim(0, top * 1.08)
        axes.set_xlabel("iteration")
        axes.set_ylabel("loss, smoothed")
        axes.legend(frameon=False, fontsize=8)
    return figure


def _draw_losses(axes: Axes, recording: Recording, heads: Sequence[Head]) -> None:
    iterations = recording.iterations
    axes.plot(iterations, recording.series("smoothed_loss"), color=_TOTAL, lw=1.6, label="total, smoothed", zorder=3)
    uniform = set()
    for head, colour in zip(heads, _HEAD_COLOURS, strict=False):
        label = f"{head.name}, weight {head.weight:g}"
        axes.plot(iterations, recording.output(head.name)[:, 0], color=colour, lw=0.6, alpha=0.8, label=label)
        if head.classes:
            uniform.add(head.classes)
    for classes in uniform:
        _level(axes, math.log(classes), f"ln {classes} = {math.log(classes):.3f}")
    known = [h for h in heads if h.classes]
    if len(known) == len(heads) > 1:
        total = sum(h.weight * math.log(h.classes or 1) for h in heads)
        _level(axes, total, f"every head uniform: {total:.3f}")
    finite = recording.series("loss")
    finite = finite[np.isfinite(finite)]
    axes.set_ylim(0, float(np.quantile(finite, 0.999)) * 1.08 if len(finite) else 1)
    axes.set_ylabel("loss")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=4, frameon=False, fontsize=8)


def _level(axes: Axes, value: float, text: str) -> None:
    axes.axhline(value, color="0.45", lw=0.8, ls="--", zorder=1)
    axes.annotate(
        text,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        color="0.35",
        fontsize=8,
        va="center",
        annotation_clip=False,
    )


def _draw_norms(axes: Axes, recording: Recording) -> mpl.image.AxesImage:
    norms = recording.stat("gradient_l2")
    weights = [i for i, param in enumerate(recording.params) if param.index == 0]  # biases would only draw stripes
    values = _thinned(norms.values[:, weights], 2000)
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (np.quantile(positive, 0.02), positive.max()) if len(positive) else (1e-3, 1.0)
    first, last = norms.iterations[0], norms.iterations[-1] + 1
    image = axes.imshow(
        np.maximum(values, low).T,
        aspect="auto",
        interpolation="nearest",
        cmap="cividis",
        norm=LogNorm(low, high),
        extent=(first, last, values.shape[1], 0),
    )
    layers = [recording.params[i].layer for i in weights]
    step = math.ceil(len(layers) / _MOST_NAMES)
    axes.set_yticks([row + 0.5 for row in range(0, len(layers), step)], layers[::step])
    axes.tick_params(axis="y", labelsize=7, length=0)
    return image


def _thinned(values: npt.NDArray[np.float64], columns: int) -> npt.NDArray[np.float64]:
    """At most `columns` rows of a (T, P) array, each the largest of its share, so that no spike is lost."""
    if len(values) <= columns:
        return values
    starts = np.linspace(0, len(values), columns, endpoint=False).astype(int)
    return np.maximum.reduceat(np.nan_to_num(values, nan=np.inf), starts, axis=0)
