"""Figure of a layer: the norms of its param blobs over all iterations."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.diagnosis.recorded.thinning import extremes
from harness.recording import Labelled
from harness.recording.readable import Readable
from harness.reports.figures.style import DASHES, label_iterations, label_log, shortened, styled
from harness.reports.palette import BROKEN, GREY, TOTAL, WINDOW

_PANELS = {"weight_l2": "‖weight‖₂", "gradient_l2": "‖gradient‖₂", "update_l2": "‖update‖₂"}
_MOST_POINTS = 2000  # of a line: twice its width in points


def layer_norms(recording: Readable, layer: str, onset: int | None = None) -> Figure:
    """Draw the norms of the weights, gradients and updates of a layer's param blobs, and mark the onset and windows."""
    labels = [param.label for param in recording.params if param.layer == layer]
    with styled():
        figure = Figure(figsize=(10, 5.6), layout="constrained")
        panels = figure.subplots(len(_PANELS), 1, sharex=True)
        for axes, (name, title) in zip(panels, _PANELS.items(), strict=True):
            _draw(axes, recording.stat(name), labels)
            axes.set_ylabel(title)
            for window in recording.windows:
                axes.axvspan(window.start - 0.5, window.stop - 0.5, color=WINDOW, alpha=0.35, lw=0, zorder=0)
            if onset is not None:
                axes.axvline(onset, color=BROKEN, lw=1, ls=":", zorder=1)
        at = f", onset {onset:,}" if onset is not None else ""
        panels[0].set_title(f"{shortened(recording.path.parent.name)}: {shortened(layer)}{at}", loc="left")
        if len(labels) > 1:
            panels[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, fontsize=8)
        label_iterations(panels[-1])
        iterations = recording.iterations
        if len(iterations):
            panels[-1].set_xlim(iterations[0] - 0.5, iterations[-1] + 0.5)
    return figure


def _draw(axes: Axes, norms: Labelled, labels: list[str]) -> None:
    """Draw each blob's norms, logarithmically where all of them are above 0."""
    shown = [norms[label] for label in labels]
    for number, (label, values) in enumerate(zip(labels, shown, strict=True)):
        rows = extremes(values, _MOST_POINTS)
        colour, dash = GREY if number else TOTAL, DASHES[number % len(DASHES)]
        axes.plot(norms.iterations[rows], values[rows], color=colour, ls=dash, lw=1.2, label=shortened(label))
    finite = np.concatenate([values[np.isfinite(values)] for values in shown] or [np.empty(0)])
    positive = finite[finite > 0]
    if len(positive) and positive.max() > 10 * positive.min():
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(positive.min() / 1.3, positive.max() * 1.3)
        label_log(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)
