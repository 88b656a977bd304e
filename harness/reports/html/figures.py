"""The figures and images of a report: static versions of its charts, and the images of the batch."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from harness.diagnosis.recorded.batch import worst_first
from harness.diagnosis.recorded.heatmap import QUANTITIES
from harness.reports import figures
from harness.reports.figures.style import plain
from harness.reports.figures.window import mosaic, picture
from harness.reports.html import messages
from harness.reports.html.subject import Subject
from harness.reports.html.titles import titles
from harness.schemas.predictions import Predictions

MOST_IMAGES = 96
_MOSAIC = 1024  # pixels of filters side by side, at most
_TITLE_WIDTH = 130  # characters in a line
_THUMBNAIL = 96  # pixels of the longer side, at most
_ALTERNATIVE_TEXTS = {
    "losses": "Losses, learning rate and test accuracy over all iterations",
    "layers": "Heat maps of gradient norm, weight norm, update/weight ratio and zero fraction, layer by layer",
    "distances": "The same heat maps in standard deviations from the baseline of each row",
    "spectra": "Distributions of the magnitudes of the offender's weights and gradients at several iterations",
    "labels": "Number of images of each label in the batch",
    "filters": "The filters of the first convolution before and after the update",
    "restarts": "Smoothed loss of the run and of its restarts",
}


@dataclass(frozen=True)
class BatchImage:
    """A record of the batch: its image as a data URI (empty where it is none), its key (empty where it is not known),
    other facts in lines, whether it is an outlier, and how far its values lie beyond the others' (`×363`)."""

    source: str
    key: str
    facts: list[str]
    outlier: bool
    badge: str

    @property
    def text(self) -> str:
        """The image in words."""
        return ", ".join(part for part in (self.key, self.badge, *self.facts) if part)


def figures_of(subject: Subject) -> dict[str, Figure]:
    """Draw all figures of a report, by name."""
    named = titles(subject)
    drawn = {name: draw() for name, draw in _drawings(subject).items()}
    for name, figure in drawn.items():
        figure.suptitle(fill(plain(named[name]), _TITLE_WIDTH), x=0.01, ha="left", fontsize=10)
    return drawn


def static_images(subject: Subject) -> dict[str, str]:
    """Draw the figures that a page shows without scripts and in print, as HTML."""
    drawings = _drawings(subject)
    return {name: svg(drawings[name](), text) for name, text in _ALTERNATIVE_TEXTS.items() if name in drawings}


def batch_images(subject: Subject) -> list[BatchImage]:
    """Encode the records of the batch, worst first."""
    batch = subject.batch
    if batch is None:
        return []
    return [
        BatchImage(
            source=encoded(picture(batch, image)) if batch.pixels is not None else "",
            key=batch.keys[image] if batch.keys else "",
            facts=messages.image_facts(subject, image),
            outlier=bool(batch.outliers[image]),
            badge=messages.badge(batch, image),
        )
        for image in worst_first(batch, _predictions(subject))[:MOST_IMAGES]
    ]


@dataclass(frozen=True)
class FilterImages:
    """The filters of a layer as data URIs: before the update, after it, and how many there are in a row."""

    before: str
    after: str
    count: int


def filter_images(subject: Subject) -> FilterImages | None:
    """Encode the filters of the first convolution, if they are known."""
    filters = subject.filters
    if filters is None:
        return None
    before, after = (encoded(mosaic(part, filters.limit), _MOSAIC) for part in (filters.before, filters.after))
    return FilterImages(before, after, len(filters.before))


def svg(figure: Figure, alternative_text: str) -> str:
    """Encode a figure as an img element."""
    buffer, canvas = io.StringIO(), FigureCanvasSVG(figure)
    with mpl.rc_context({"svg.hashsalt": "caffe-harness", "svg.fonttype": "none"}):
        engine = figure.get_layout_engine()
        if engine is not None:  # as savefig lays it out, which draws all of it for that, at the resolution of SVG
            dpi, figure.dpi = figure.dpi, 72
            engine.execute(figure)
            figure.dpi = dpi
            figure.set_layout_engine("none")
        canvas.print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
    data = base64.b64encode(buffer.getvalue().encode()).decode("ascii")
    return f'<img class="still" alt="{alternative_text}" src="data:image/svg+xml;base64,{data}">'


def _drawings(subject: Subject) -> dict[str, Callable[[], Figure]]:
    """A function for each figure for which there are data."""
    recording, line, found = subject.recording, subject.lineage, subject.found
    batch, onset = subject.batch, subject.onset
    if not len(recording.iterations):
        return {}
    heatmaps, explanation = subject.heatmaps, subject.explanation
    drawings = {
        "overview": lambda: figures.overview(line if line.same_params else recording, found, line.parts),
        "losses": lambda: figures.losses(line, found, line.parts),
        "layers": lambda: figures.layers(heatmaps, onset),
    }
    if np.isfinite(heatmaps[QUANTITIES.index("gradient")].distance).any():  # there is a baseline
        drawings["distances"] = lambda: figures.layers(heatmaps, onset, distances=True)
    parts = found.distributions()
    if parts:
        drawings["spectra"] = lambda: figures.spectra(parts, onset)
    if batch is not None and batch.pixels is not None:
        captions = {image: "\n".join(messages.caption(subject, image)) for image in range(len(batch))}
        drawings["batch"] = lambda: figures.contact_sheet(batch, captions, _predictions(subject))
    if subject.filters is not None:
        filters = subject.filters
        drawings["filters"] = lambda: figures.filters(filters)
    if batch is not None and subject.unusual_labels:
        drawings["labels"] = lambda: figures.labels(subject.label_shares, len(batch))
    if explanation is not None:
        drawings["trials"] = lambda: figures.trials(explanation)
        drawings["margins"] = lambda: figures.margins(explanation, found)
    if subject.children:
        drawings["restarts"] = lambda: figures.smoothed_losses({subject.run.name: recording, **subject.children})
    return drawings


def _predictions(subject: Subject) -> Predictions | None:
    return subject.head.before if subject.head else None


def encoded(pixels: npt.NDArray[np.uint8], most: int = _THUMBNAIL) -> str:
    """Encode an image as a data URI: a small one as PNG, a larger one as a reduced JPEG."""
    shown: Any = pixels[..., ::-1] if pixels.ndim == 3 else pixels  # OpenCV writes BGR
    side = max(pixels.shape[:2])
    if side > most:
        size = [max(1, round(length * most / side)) for length in pixels.shape[1::-1]]
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    kind = "jpeg" if side > most else "png"
    _, data = cv2.imencode(f".{kind}", shown)
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"
