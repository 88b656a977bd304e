"""From a subject to the HTML of its report."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import cv2
import jinja2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from harness.diagnosis.live.messages import MEANING, sentence
from harness.diagnosis.recorded.batch import label_shares, worst_first
from harness.diagnosis.recorded.distributions import KINDS, distribution, largest_elements
from harness.diagnosis.recorded.heatmap import QUANTITIES, heatmap
from harness.diagnosis.settings import Setting
from harness.reports import figures
from harness.reports.figures.window import moment_name, picture
from harness.reports.html import charts
from harness.reports.html import messages as words
from harness.reports.html.packing import Arrays, plotly_js
from harness.reports.html.subject import Subject

_SCRIPTS = ("shared", "losses", "layers", "window", "main")
_STILL_COLUMNS = 400
_MOST_ARRIVALS, _MOST_IMAGES = 12, 96
_SIDE = 96  # pixels of an image on the page, at most


@dataclass(frozen=True)
class Compared:
    """Another run on a page of several, and the settings in which it differs from the first."""

    name: str
    subject: Subject
    settings: tuple[Setting, ...]


def report(subject: Subject, refresh: int | None = None) -> str:
    """The whole page. A page of a run that goes on loads itself again every `refresh` seconds."""
    arrays, found, onset = Arrays(), subject.found, subject.onset
    recorded = len(subject.recording.iterations) > 0
    about: dict[str, Any] = {"onset": onset}
    if recorded:
        about["losses"] = charts.losses(subject, arrays)
        about["layers"] = charts.layers(subject, arrays)
        about["window"] = charts.window(subject, arrays)
        about["moments"] = [moment_name(moment, onset) for moment in found.moments]
        about["first"] = found.offender.label if found.offender else None
    return _render(
        "report.html",
        about,
        arrays,
        subject=subject,
        found=found,
        refresh=refresh,
        words=words,
        sentence=sentence,
        meaning=MEANING,
        stills=stills(subject),
        images=_images(subject),
        shares=_shares(subject),
        elements=_elements(subject),
        most_arrivals=_MOST_ARRIVALS,
        most_images=_MOST_IMAGES,
    )


def comparison(name: str, first: Subject, others: Sequence[Compared]) -> str:
    """Several runs on one page."""
    arrays = Arrays()
    runs = {name: first} | {other.name: other.subject for other in others}
    recordings = {name: subject.recording for name, subject in runs.items()}
    about = {"onset": None, "losses": charts.smoothed(recordings.items(), arrays)}
    still = _svg(figures.fates(recordings), "The smoothed losses of the runs over all iterations")
    return _render("compare.html", about, arrays, runs=runs, others=others, words=words, still=still)


_ALT = {
    "losses": "Losses, learning rate and test accuracy over all iterations",
    "layers": "Heat maps of gradient norm, weight norm, update/weight ratio and zero fraction, layer by layer",
    "distances": "The same heat maps in standard deviations from each row's own past",
    "spectra": "How large the elements of the first offender's weights and gradients are, at several iterations",
    "labels": "How often each label is in the batch",
    "restarts": "The smoothed loss of the run and of its restarts",
}


def drawings(subject: Subject) -> dict[str, Figure]:
    """All figures of a report, by name."""
    return {name: draw() for name, draw in _drawings(subject).items()}


def stills(subject: Subject) -> dict[str, str]:
    """Figures as images, for whoever has no script, or paper."""
    return {name: _svg(draw(), _ALT[name]) for name, draw in _drawings(subject).items() if name in _ALT}


def _drawings(subject: Subject) -> dict[str, Callable[[], Figure]]:
    """How to draw each figure that there is something for."""
    recording, found, batch, onset = subject.recording, subject.found, subject.batch, subject.onset
    if not len(recording.iterations):
        return {}
    maps = [heatmap(recording, quantity, found.around, onset, _STILL_COLUMNS) for quantity in QUANTITIES]
    drawn = {
        "overview": lambda: figures.overview(recording, found),
        "losses": lambda: figures.losses(recording, found),
        "layers": lambda: figures.layers(maps, onset),
    }
    if np.isfinite(maps[QUANTITIES.index("gradient")].distance).any():  # enough lies before the onset
        drawn["distances"] = lambda: figures.layers(maps, onset, distances=True)
    if found.moments and found.offender is not None:
        kept = (distribution(recording, found.offender, kind, found.moments) for kind in KINDS)
        parts = [part for part in kept if part is not None]
        drawn["spectra"] = lambda: figures.spectra(parts, onset)
    if batch is not None and batch.pixels is not None:
        captions = {image: "\n".join(words.caption(subject, image)) for image in range(len(batch))}
        drawn["batch"] = lambda: figures.contact_sheet(batch, _order(subject), captions)
    if batch is not None and batch.labels is not None:
        drawn["labels"] = lambda: figures.labels(_shares(subject), len(batch))
    if subject.children:
        drawn["restarts"] = lambda: figures.fates({subject.run.name: recording, **subject.children})
    return drawn


def _svg(figure: Figure, alt: str) -> str:
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "caffe-harness", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue().encode()).decode("ascii")
    return f'<img class="still" alt="{alt}" src="data:image/svg+xml;base64,{data}">'


def _images(subject: Subject) -> list[dict[str, Any]]:
    batch = subject.batch
    if batch is None or batch.pixels is None:
        return []
    found = []
    for image in _order(subject)[:_MOST_IMAGES]:
        source = _encoded(picture(batch, image))
        found.append({"source": source, "wild": bool(batch.wild[image]), "caption": words.caption(subject, image)})
    return found


def _order(subject: Subject) -> list[int]:
    assert subject.batch is not None
    return worst_first(subject.batch, subject.head.before if subject.head else None)


def _encoded(pixels: npt.NDArray[np.uint8]) -> str:
    """A data URI: small images as they are, larger ones smaller."""
    shown: Any = pixels[..., ::-1] if pixels.ndim == 3 else pixels  # OpenCV writes BGR
    side = max(pixels.shape[:2])
    if side > _SIDE:
        size = [max(1, round(length * _SIDE / side)) for length in pixels.shape[1::-1]]
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    kind = "jpeg" if side > _SIDE else "png"
    _, data = cv2.imencode(f".{kind}", shown)
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def _shares(subject: Subject) -> Sequence[Any]:
    if subject.batch is None or subject.batch.labels is None:
        return ()
    return label_shares(subject.batch.labels, subject.labels)


def _elements(subject: Subject) -> Sequence[Any]:
    found = subject.found
    at = found.moment
    if at is None or found.offender is None:
        return ()
    return largest_elements(subject.recording, found.offender, at, charts.ELEMENTS)


def _text(name: str) -> str:
    return resources.files("harness.reports.html").joinpath(name).read_text()


def _render(template: str, about: Mapping[str, Any], arrays: Arrays, **given: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.reports.html", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["number"] = lambda value: "" if value is None else f"{value:.4g}"
    return environment.get_template(template).render(
        # in a script element only this could end it
        about=json.dumps(about, allow_nan=False).replace("<", "\\u003c"),
        arrays=arrays.packed(),
        plotly=plotly_js(),
        style=_text("templates/style.css"),
        script="\n".join(_text(f"scripts/{name}.js") for name in _SCRIPTS),
        **given,
    )
