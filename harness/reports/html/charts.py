"""The data of the page's charts as JSON. Long arrays are references into the packed arrays."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, cycle
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import to_hex

from harness.diagnosis.live.messages import sentence
from harness.diagnosis.recorded.distributions import KINDS, Distribution, distribution
from harness.diagnosis.recorded.heatmap import QUANTITIES, Heatmap
from harness.diagnosis.recorded.thinning import extremes
from harness.recording import Recording
from harness.recording.readable import Readable
from harness.reports.figures.layers import FARTHEST, TITLES
from harness.reports.figures.recorded import accuracy_series, heads_to_draw, rows_until
from harness.reports.html.packing import Arrays
from harness.reports.html.subject import Subject
from harness.reports.levels import chance_levels
from harness.reports.names import EACH, SMOOTHED, head_name
from harness.reports.palette import DISTANCES, HEADS, MOMENTS, NOT_FINITE, RUNS, VALUES, accuracy_styles

_MOST_ROWS = 250_000  # of a line; longer ones are reduced to the extremes of equal parts
_MOST_LEFT = 20_000  # of what was not continued, over all runs of a lineage
_COLUMNS = 300  # of a heat map of the whole run
_MOST_ALARMS = 300
_SHADES = 16  # of a colour scale
_NORMS = ("gradient", "weight", "update")

Json = dict[str, Any]


def palette() -> Json:
    """Colours that the scripts use; those of the page itself are in its style sheet."""
    scales = {name: _scale(colours) for name, colours in (("values", VALUES), ("distances", DISTANCES))}
    return {"lines": HEADS, "moments": MOMENTS, "nonfinite": NOT_FINITE, **scales}


def losses(subject: Subject, arrays: Arrays) -> Json:
    """The chart of losses, learning rate and test accuracy, with windows, snapshots and alarms."""
    recording, found = subject.lineage, subject.found
    until = rows_until(recording.iterations, found.not_finite_from)
    heads = [
        _series(recording, head_name(head.name, head.weight), recording.output(head.name, until)[:, 0], colour, arrays)
        for head, colour in zip(heads_to_draw(recording.heads), HEADS, strict=False)
    ]
    total = _series(recording, EACH, recording.series("loss", until), "faint", arrays)
    accuracies = accuracy_series(recording, found.not_finite_from)
    styles = accuracy_styles(list(accuracies), [head.name for head in recording.heads])
    smoothed = _series(recording, SMOOTHED, recording.series("smoothed_loss", until), "ink", arrays)
    return {
        "first": int(recording.iterations[0]),
        "last": int(recording.iterations[-1]),
        "own": int(subject.recording.iterations[0]),
        "takeovers": _takeovers(subject),
        "not_finite": found.not_finite_from,
        "lines": [total, *heads, smoothed, *_left(subject, arrays), *_restarts(subject, arrays)],
        "more": max(0, len(recording.heads) - len(HEADS)),
        "lr": _series(recording, "learning rate", recording.series("lr"), "ink", arrays),
        "input": _input(subject, arrays),
        "accuracies": [
            {"name": name, "x": times.tolist(), "y": values.tolist(), "colour": colour, "nth": nth}
            for (name, (times, values)), (colour, nth) in zip(accuracies.items(), styles, strict=True)
        ],
        "levels": [{"value": value, "text": text} for value, text in chance_levels(recording.heads)],
        "windows": [[window.start, window.stop] for window in subject.recording.windows],
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


def smoothed_losses(runs: Iterable[tuple[str, Recording]], arrays: Arrays) -> Json:
    """The chart of the smoothed losses of several runs."""
    runs = list(runs)
    lines = [
        _series(recording, name, recording.series("smoothed_loss"), colour, arrays)
        for (name, recording), colour in zip(runs, chain(("ink",), cycle(RUNS)), strict=False)
    ]
    levels = {level: text for _, recording in runs for level, text in chance_levels(recording.heads)}
    ends = [int(recording.iterations[row]) for _, recording in runs if len(recording.iterations) for row in (0, -1)]
    return {
        **{"first": min(ends, default=0), "last": max(ends, default=0), "not_finite": None},
        **{"own": min(ends, default=0), "takeovers": []},
        **{
            "lines": [{**line, "ends": True} for line in lines],
            "more": 0,
            "lr": None,
            "input": None,
            "accuracies": [],
            "windows": [],
            "snapshots": [],
            "alarms": [],
        },
        "levels": [{"value": value, "text": text} for value, text in levels.items()],
    }


def layers(subject: Subject, arrays: Arrays) -> Json:
    """The heat maps around the onset and of the whole run, and the norms of single param blobs around the onset."""
    recording, found = subject.recording, subject.found
    line = subject.lineage if subject.lineage.same_params else None
    whole = [found.heatmap(quantity, slice(None), _COLUMNS, line) for quantity in QUANTITIES]
    iterations = recording.iterations[found.around]
    after = iterations >= (np.inf if found.not_finite_from is None else found.not_finite_from)

    def norms(kind: str) -> npt.NDArray[np.float64]:
        values = recording.stat(f"{kind}_l2", found.around).values
        return np.where(after[:, None] & np.isfinite(values), np.nan, values).T

    return {
        "titles": TITLES,
        "farthest": FARTHEST,
        "spans": {
            span: {drawn.quantity: _heatmap(drawn, arrays) for drawn in heatmaps}
            for span, heatmaps in (("around", subject.heatmaps), ("whole", whole))
        },
        "blobs": {
            "iterations": arrays.add(iterations),
            "labels": [param.label for param in recording.params],
            "layers": [param.layer for param in recording.params],
            **{kind: arrays.add(norms(kind)) for kind in _NORMS},
        },
        "offender": found.offender.layer if found.offender and found.onset else None,
        "first_blob": found.onset.blob if found.onset else None,
    }


def window(subject: Subject, arrays: Arrays) -> list[Json]:
    """The distributions of every param blob in the window."""
    recording, found = subject.found.kept, subject.found
    if found.moment is None:
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
                "distributions": {kind: _distribution(part, arrays) for kind, part in kinds.items() if part},
            }
        )
    return entries


def _input(subject: Subject, arrays: Arrays) -> Json | None:
    """The largest magnitudes of the input that left its baseline first; None where none did."""
    recording, onset = subject.lineage, subject.found.onset
    low, high = recording.input_stat("minimum"), recording.input_stat("maximum")
    if onset is None or onset.blob not in low.labels:
        return None
    sizes = np.maximum(np.abs(low[onset.blob]), np.abs(high[onset.blob]))
    return _series(recording, f"largest magnitude in input {onset.blob}", sizes, "bad", arrays)


def _restarts(subject: Subject, arrays: Arrays) -> list[Json]:
    return [
        _series(recording, name, recording.series("smoothed_loss"), colour, arrays) | {"restart": True}
        for (name, recording), colour in zip(subject.children.items(), cycle(RUNS))
    ]


def _takeovers(subject: Subject) -> list[Json]:
    """Where each run of the lineage takes over from the one before, and what it changes."""
    return [
        {"iteration": part.begins, "run": part.run.name, "text": part.change, "intervenes": part.intervenes}
        for part in subject.lineage.parts[1:]
    ]


def _left(subject: Subject, arrays: Arrays) -> list[Json]:
    """What earlier runs of the lineage recorded beyond the iteration at which the next one takes over."""
    lines = []
    most = max(100, _MOST_LEFT // len(subject.lineage.parts))
    for part in subject.lineage.parts[:-1]:
        rows = slice(part.count, part.recording.count)
        losses, iterations = part.recording.series("smoothed_loss", rows), part.recording.series("iteration", rows)
        if len(losses):
            name = f"{part.run.name}, not continued"
            lines.append(_line(name, iterations, losses, "bad", arrays, most) | {"restart": True, "left": True})
    return lines


def _series(recording: Readable, name: str, values: npt.NDArray[Any], colour: str, arrays: Arrays) -> Json:
    iterations = recording.iterations[: len(values)]
    return _line(name, iterations, values[: len(iterations)], colour, arrays, _MOST_ROWS)


def _line(
    name: str,
    iterations: npt.NDArray[np.int64],
    values: npt.NDArray[Any],
    colour: str,
    arrays: Arrays,
    most: int,
) -> Json:
    rows = extremes(np.asarray(values, np.float64), most)
    return {"name": name, "colour": colour, "x": _iterations(iterations[rows], arrays), "y": arrays.add(values[rows])}


def _iterations(iterations: npt.NDArray[np.int64], arrays: Arrays) -> Json:
    """Iterations without a gap as a range, others as an array."""
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


def _distribution(part: Distribution, arrays: Arrays) -> Json:
    """Shares in percent, one iteration after the other; the bins are equal steps of the decimal logarithm."""
    return {
        "from": float(part.edges[0]),
        "to": float(part.edges[-1]),
        "shares": arrays.add(np.concatenate([100 * spectrum.share for spectrum in part.spectra])),
        "zero": [round(spectrum.zero, 4) for spectrum in part.spectra],
        "nonfinite": [spectrum.nonfinite for spectrum in part.spectra],
        "change": [[spectrum.iteration, spectrum.largest] for spectrum in part.change],
    }


def _scale(name: str) -> list[tuple[float, str]]:
    """A colour map of matplotlib as a colour scale of Plotly."""
    return [(n / _SHADES, to_hex(colormaps[name](n / _SHADES))) for n in range(_SHADES + 1)]
