"""Heat maps of layers over iterations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, TwoSlopeNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from harness.diagnosis.recorded.heatmap import Heatmap, Quantity
from harness.diagnosis.robust_stats import Floats
from harness.reports.figures.style import label_iterations, label_log, shortened, styled
from harness.reports.palette import BROKEN, DISTANCES, NOT_FINITE, VALUES

TITLES: dict[Quantity, str] = {
    "gradient": "gradient norm per layer, ‖gradient‖₂",
    "weight": "weight norm per layer, ‖weight‖₂",
    "ratio": "update/weight ratio per layer, ‖update‖₂ / ‖weight‖₂",
    "zeros": "zero fraction per blob, share of the elements that are 0",
}
FARTHEST = 20.0  # standard deviations: the end of the colour scale
_EXPLODED = 1e4  # times the 90th percentile: what is larger has the last colour, so that the others keep theirs
_RANGE = 1e8  # of a logarithmic scale: what is smaller is as good as 0
_MOST_NAMES = 30  # beside a heat map


def layers(maps: Sequence[Heatmap], onset: int | None, distances: bool = False) -> Figure:
    """Draw heat maps one below the other: their values or, with `distances`, their distances from the baselines.

    A dotted line marks the onset.
    """
    with styled():
        heights = [max(1.6, 0.13 * min(len(heatmap.rows), _MOST_NAMES)) for heatmap in maps]
        figure = Figure(figsize=(10, 0.6 + sum(height + 0.5 for height in heights)), layout="constrained")
        panels = figure.subplots(len(maps), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axes, heatmap in zip(panels, maps, strict=True):
            image = draw_heatmap(axes, heatmap, distances)
            axes.set_title(TITLES[heatmap.quantity], fontsize=9, loc="left")
            label_iterations(axes)
            if image is not None:
                bar = figure.colorbar(image, ax=axes, pad=0.01, extend="both" if distances else "neither")
                if distances:
                    bar.set_label("standard deviations", fontsize=8)  # a heat map of few rows has no room for more
                if isinstance(image.norm, LogNorm):
                    label_log(bar.ax.yaxis)
            if onset is not None and len(heatmap.start) and heatmap.start[0] <= onset < heatmap.stop[-1]:
                axes.axvline(onset, color=BROKEN, lw=1.2, ls=":")
    return figure


def draw_heatmap(axes: Axes, heatmap: Heatmap, distances: bool = False) -> AxesImage | None:
    """Draw a heat map on `axes`: values that are not finite are red, those that were not recorded are blank.

    Returns None if nothing was recorded.
    """
    if not heatmap.rows or not len(heatmap.start):
        axes.annotate("nothing recorded", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center")
        return None
    values = heatmap.distance if distances else heatmap.values
    if heatmap.quantity == "zeros":
        values = _filled(values)
    start, stop = float(heatmap.start[0]), float(heatmap.stop[-1])
    colours = colormaps[DISTANCES if distances else VALUES].with_extremes(bad="none")
    image = axes.imshow(
        np.where(np.isfinite(values), values, np.nan),
        aspect="auto",
        interpolation="nearest",
        cmap=colours,
        norm=TwoSlopeNorm(0, -FARTHEST, FARTHEST) if distances else colour_norm(heatmap),
        extent=(start, stop, len(heatmap.rows), 0),
    )
    broken = np.zeros((*values.shape, 4))
    broken[np.isinf(values)] = to_rgba(NOT_FINITE)
    axes.imshow(broken, aspect="auto", interpolation="nearest", extent=(start, stop, len(heatmap.rows), 0))
    step = math.ceil(len(heatmap.rows) / _MOST_NAMES)
    rows = range(0, len(heatmap.rows), step)
    axes.set_yticks([row + 0.5 for row in rows], [shortened(heatmap.rows[row]) for row in rows])
    axes.tick_params(axis="y", labelsize=7, length=0)
    return image


def colour_norm(heatmap: Heatmap) -> Normalize:
    """Choose the norm that maps values to colours: logarithmic, except for shares."""
    if heatmap.quantity == "zeros":
        return Normalize(0, 1)
    sizes = heatmap.values[np.isfinite(heatmap.values) & (heatmap.values > 0)]
    low, most, high = np.quantile(sizes, (0.02, 0.9, 1)).tolist() if len(sizes) else (1e-3, 1.0, 1.0)
    high = min(high, most * _EXPLODED)
    low = max(low, high / _RANGE)
    return LogNorm(low, max(high, low * 1.001), clip=True)


def _filled(values: Floats) -> Floats:
    """Repeat in each column without a measurement the values of the one before it."""
    columns = np.arange(values.shape[1])
    last = np.maximum.accumulate(np.where(np.isnan(values).all(axis=0), -1, columns))
    return np.where(last >= 0, values[:, np.maximum(last, 0)], np.nan)
