"""What the page's script draws: numbers by name, the long ones as references into the packed arrays."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.diagnosis.live.messages import sentence
from harness.diagnosis.recorded.distributions import KINDS, Distribution, distribution, largest_elements
from harness.diagnosis.recorded.heatmap import QUANTITIES, Heatmap, heatmap
from harness.diagnosis.recorded.thinning import extremes
from harness.recording import Recording
from harness.reports.figures.layers import FARTHEST, TITLES
from harness.reports.figures.recorded import accuracies_of
from harness.reports.figures.style import LINES, uniform_levels
from harness.reports.html.packing import Arrays
from harness.reports.html.subject import Subject

_MOST_ROWS = 250_000  # of a line; of longer runs the extremes of equal shares
_COLUMNS = 300  # of a heat map of the whole run
_MOST_ALARMS = 300
ELEMENTS = 8  # the largest of a blob
_NORMS = ("gradient", "weight", "update")

Json = dict[str, Any]


def losses(subject: Subject, arrays: Arrays) -> Json:
    """The chart of losses, learning rate and test accuracy, with all that is marked in it."""
    recording, found = subject.recording, subject.found
    heads = [
        _series(recording, f"{head.name}, weight {head.weight:g}", recording.output(head.name)[:, 0], colour, arrays)
        for head, colour in zip(recording.heads, LINES, strict=False)
    ]
    total = _series(recording, "total of one iteration", recording.series("loss"), "faint", arrays)
    smoothed = _series(recording, "total, smoothed", recording.series("smoothed_loss"), "ink", arrays)
    return {
        "lines": [total, *heads, smoothed, *_children(subject, arrays)],
        "more": max(0, len(recording.heads) - len(LINES)),
        "lr": _series(recording, "learning rate", recording.series("lr"), "ink", arrays),
        "accuracies": [
            {"name": name, "x": times.tolist(), "y": values.tolist(), "colour": LINES[n % len(LINES)]}
            for n, (name, (times, values)) in enumerate(accuracies_of(recording).items())
        ],
        "levels": [{"value": value, "text": text} for value, text in uniform_levels(recording.heads)],
        "windows": [[window.start, window.stop] for window in recording.windows],
        "snapshots": [
            {
                "iteration": iteration,
                "good": found.is_good(iteration),
                "last": found.last_good is not None and found.last_good.iteration == iteration,
            }
            for iteration in found.snapshots
        ],
        "alarms": [
            {"iteration": a.iteration, "text": f"{a.rule}: {sentence(a, found.names)}"}
            for a in found.alarms[:_MOST_ALARMS]
        ],
    }


def smoothed(runs: Iterable[tuple[str, Recording]], arrays: Arrays) -> Json:
    """The chart of several runs: the smoothed loss of each."""
    runs = list(runs)
    colours = chain(("ink",), LINES * (len(runs) // len(LINES) + 1))
    lines = [
        _series(recording, name, recording.series("smoothed_loss"), colour, arrays)
        for (name, recording), colour in zip(runs, colours, strict=False)
    ]
    levels = {level: text for _, recording in runs for level, text in uniform_levels(recording.heads)}
    return {
        **{"lines": lines, "more": 0, "lr": None, "accuracies": [], "windows": [], "snapshots": [], "alarms": []},
        "levels": [{"value": value, "text": text} for value, text in levels.items()],
    }


def layers(subject: Subject, arrays: Arrays) -> Json:
    """The heat maps around the onset and of the whole run, and the curves behind them."""
    recording, found = subject.recording, subject.found
    around = len(recording.iterations[found.around])
    spans = {"around": (found.around, max(1, around)), "whole": (slice(None), _COLUMNS)}
    return {
        "titles": TITLES,
        "farthest": FARTHEST,
        "spans": {
            name: {
                quantity: _heatmap(heatmap(recording, quantity, rows, subject.onset, columns), arrays)
                for quantity in QUANTITIES
            }
            for name, (rows, columns) in spans.items()
        },
        "blobs": {
            "iterations": arrays.add(recording.iterations[found.around]),
            "labels": [param.label for param in recording.params],
            "layers": [param.layer for param in recording.params],
            **{kind: arrays.add(recording.stat(f"{kind}_l2", found.around).values.T) for kind in _NORMS},
        },
        "offender": found.offender.layer if found.offender and found.onset else None,
        "first_blob": found.onset.blob if found.onset else None,
    }


def window(subject: Subject, arrays: Arrays) -> list[Json]:
    """Spectra and largest elements of every param blob that the window kept; one entry a blob."""
    recording, found = subject.recording, subject.found
    at = found.moment
    if at is None:
        return []
    entries = []
    for param in recording.params:
        kinds = {kind: distribution(recording, param, kind, found.moments) for kind in KINDS}
        if not any(kinds.values()):
            continue
        entries.append(
            {
                "label": param.label,
                "shape": " × ".join(map(str, param.shape)),
                "spectra": {kind: _spectra(part, arrays) for kind, part in kinds.items() if part is not None},
                "elements": [
                    {"index": ", ".join(map(str, e.index)), **{k: _number(getattr(e, k)) for k in (*KINDS, "update")}}
                    for e in largest_elements(recording, param, at, ELEMENTS)
                ],
            }
        )
    return entries


def _children(subject: Subject, arrays: Arrays) -> list[Json]:
    colours = LINES[::-1] * (len(subject.children) // len(LINES) + 1)
    return [
        _series(recording, name, recording.series("smoothed_loss"), colour, arrays) | {"child": True}
        for (name, recording), colour in zip(subject.children.items(), colours, strict=False)
    ]


def _series(recording: Recording, name: str, values: npt.NDArray[Any], colour: str, arrays: Arrays) -> Json:
    iterations = recording.iterations[: len(values)]
    values = values[: len(iterations)]
    rows = extremes(np.asarray(values, np.float64), _MOST_ROWS)
    return {"name": name, "colour": colour, "x": _iterations(iterations[rows], arrays), "y": arrays.add(values[rows])}


def _iterations(iterations: npt.NDArray[np.int64], arrays: Arrays) -> Json:
    """Without gaps, the first of them says it all."""
    if len(iterations) and iterations[-1] - iterations[0] == len(iterations) - 1:
        return {"from": int(iterations[0]), "length": len(iterations)}
    return arrays.add(iterations)


def _heatmap(drawn: Heatmap, arrays: Arrays) -> Json:
    return {
        "rows": list(drawn.rows),
        "start": arrays.add(drawn.start),
        "stop": arrays.add(drawn.stop),
        "values": arrays.add(drawn.values),
        "distance": arrays.add(np.clip(drawn.distance, -1000, 1000)),
    }


def _spectra(part: Distribution, arrays: Arrays) -> Json:
    """Shares in percent, one moment behind the other; the bins are equal steps of the decimal logarithm."""
    return {
        "from": float(part.edges[0]),
        "to": float(part.edges[-1]),
        "shares": arrays.add(np.concatenate([100 * spectrum.share for spectrum in part.spectra])),
        "zero": [round(spectrum.zero, 4) for spectrum in part.spectra],
        "nonfinite": [spectrum.nonfinite for spectrum in part.spectra],
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
