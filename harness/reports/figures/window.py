"""Figures of a window: distributions of a param blob, the images of a batch, its labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.diagnosis.recorded.batch import Batch, shown_range, worst_first
from harness.diagnosis.recorded.distributions import Distribution
from harness.diagnosis.recorded.filters import Filters
from harness.diagnosis.recorded.label_shares import LabelShare
from harness.reports.figures.style import label_log, plain, shortened, styled
from harness.reports.palette import BROKEN, MOMENTS, NOT_FINITE, TOTAL
from harness.schemas.predictions import Predictions

_DASHES = ("-", "-", "--", ":")  # of moments
_SIDES = ("before", "after")
_GAP = (170, 190, 215)  # between filters: pale blue, which is neither black, grey nor white
_MOST_IMAGES = 64
_MOST_LABELS = 40
_CAPTION_WIDTH = 20  # characters below an image


def spectra(parts: Sequence[Distribution], onset: int | None) -> Figure:
    """Draw the distributions of the magnitudes of a param blob's elements at several iterations: weights, gradients."""
    with styled():
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        panels = figure.subplots(1, max(1, len(parts)), squeeze=False)[0]
        for axes, part in zip(panels, parts, strict=False):
            _draw_spectra(axes, part, onset)
        if not parts:
            panels[0].annotate("not recorded", (0.5, 0.5), xycoords="axes fraction", ha="center")
    return figure


def contact_sheet(batch: Batch, captions: Mapping[int, str], predictions: Predictions | None = None) -> Figure:
    """Draw the images of a batch, each with its caption below it.

    The image with the largest loss comes first if there are `predictions`, else that with the most unusual values.
    Images whose values lie far beyond those of the others are framed.
    """
    shown = worst_first(batch, predictions)[:_MOST_IMAGES]
    across = min(8, max(1, len(shown)))
    down = math.ceil(len(shown) / across)
    texts = ["\n".join(_fitted(line) for line in captions.get(image, "").split("\n")) for image in shown]
    lines = max((text.count("\n") + 1 for text in texts), default=0)
    with styled():
        figure = Figure(figsize=(10, 0.35 + (1.15 + 0.12 * lines) * down), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes in panels:
            axes.axis("off")
            axes.set_anchor("N")  # room for the captions
        for axes, image, text in zip(panels, shown, texts, strict=False):
            axes.imshow(picture(batch, image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.text(0.5, -0.04, text, fontsize=6.5, va="top", ha="center", transform=axes.transAxes)
            if batch.outliers[image]:
                axes.axis("on")
                axes.set_xticks([])
                axes.set_yticks([])
                for spine in axes.spines.values():
                    spine.set(visible=True, color=BROKEN, linewidth=2)
    return figure


def _fitted(line: str) -> str:
    """Fit a line of a caption: break it at an arrow or an ellipsis, or shorten it in its middle."""
    if len(line) <= _CAPTION_WIDTH:
        return plain(line)
    for mark in (" → ", " … "):
        first, found, rest = line.rpartition(mark)
        if found:
            return f"{_fitted(first)}\n{mark.strip()} {_fitted(rest)}"
    return shortened(line, _CAPTION_WIDTH)


def picture(batch: Batch, image: int) -> npt.NDArray[np.uint8]:
    """Convert an image of the batch to grey (height, width) or RGB (height, width, 3); Caffe's channels are BGR.

    Black and white are the lowest and highest values of the ordinary images of the batch; for an image with values far
    beyond those of the others, its own.
    """
    assert batch.pixels is not None
    low, high = shown_range(batch, image)
    values = np.nan_to_num(batch.pixels[image].astype(np.float64), nan=low, posinf=high, neginf=low)
    scaled = (np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(scaled[::-1].transpose(1, 2, 0) if len(scaled) == 3 else scaled[0])


def filters(shown: Filters) -> Figure:
    """Draw the filters of a layer before and after an update, in the same range of grey."""
    with styled():
        figure = Figure(figsize=(10, 5.2), layout="constrained")
        for axes, part, name in zip(figure.subplots(1, 2), (shown.before, shown.after), _SIDES, strict=True):
            axes.imshow(mosaic(part, shown.limit), interpolation="nearest")
            axes.set_title(f"{name} the update, −{shown.limit:.3g} … {shown.limit:.3g}", fontsize=9, loc="left")
            axes.axis("off")
    return figure


def mosaic(values: npt.NDArray[np.float32], limit: float) -> npt.NDArray[np.uint8]:
    """Place filters (n, 1 or 3, height, width) side by side, with gaps of a pixel, as an RGB image.

    −`limit` is black, 0 is grey, `limit` is white; what is not finite is red. Channels of colour are BGR.
    """
    count, _, height, width = values.shape
    across = math.ceil(math.sqrt(count * height / width))
    down = math.ceil(count / across)
    image = np.full((down * (height + 1) + 1, across * (width + 1) + 1, 3), _GAP, np.uint8)
    red = tuple(int(NOT_FINITE[at : at + 2], 16) for at in (1, 3, 5))
    for place, part in enumerate(values):
        scaled = np.clip(np.nan_to_num(part) / (2 * limit) + 0.5, 0, 1) * 255
        tile = np.broadcast_to(scaled[::-1].transpose(1, 2, 0), (height, width, 3)).astype(np.uint8)
        tile[~np.isfinite(part).all(axis=0)] = red
        top, left = place // across * (height + 1) + 1, place % across * (width + 1) + 1
        image[top : top + height, left : left + width] = tile
    return image


def labels(shares: Sequence[LabelShare], total: int) -> Figure:
    """Draw how often each label is in the batch of `total` images, and how often it would be by its share of the data
    set."""
    with styled():
        figure = Figure(figsize=(10, 2.4), layout="constrained")
        axes = figure.subplots()
        shown = list(shares)[:_MOST_LABELS]
        places = np.arange(len(shown))
        axes.bar(places, [share.count for share in shown], color=TOTAL, alpha=0.6, width=0.7, label="in the batch")
        expected = [np.nan if share.expected is None else share.expected for share in shown]
        if not np.all(np.isnan(expected)):
            axes.plot(places, expected, "_", color=BROKEN, ms=10, mew=2, label="expected from the data set")
        axes.set_xticks(
            places, [str(share.label) for share in shown], fontsize=7, rotation=90 if len(shown) > 20 else 0
        )
        more = f" ({len(shares) - len(shown)} more, not drawn)" if len(shares) > len(shown) else ""
        axes.set_xlabel(f"label{more}")
        axes.set_ylabel(f"images (of {total})")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8)
    return figure


def moment_name(iteration: int, onset: int | None) -> str:
    """Name an iteration of a window by its distance from the onset."""
    if onset is None:
        return f"iteration {iteration:,}"
    apart = iteration - onset
    where = f"onset {'+' if apart > 0 else '−'} {abs(apart):,}" if apart else "onset"
    return f"iteration {iteration:,} ({where})"


def _draw_spectra(axes: Axes, part: Distribution, onset: int | None) -> None:
    for spectrum, colour, dash in zip(part.spectra, MOMENTS, _DASHES, strict=False):
        zero = f", {spectrum.zero:.0%} zero" if spectrum.zero > 0.005 else ""
        bad = f", {spectrum.nonfinite:.2%} not finite" if spectrum.nonfinite else ""
        label = f"{moment_name(spectrum.iteration, onset)}{zero}{bad}"
        axes.stairs(100 * spectrum.share, 10.0**part.edges, color=colour, lw=1.4, ls=dash, label=label)
    axes.set_xscale("log")
    axes.set_xlim(10.0 ** part.edges[0], 10.0 ** part.edges[-1])
    label_log(axes.xaxis)
    axes.set_xlabel(f"magnitude of {part.kind} elements, {shortened(part.param)}")
    axes.set_ylabel("elements (%)")
    axes.legend(frameon=False, fontsize=7, loc="upper left")
