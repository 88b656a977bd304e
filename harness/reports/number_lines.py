"""Number lines of an explanation: how much survives and how much breaks, the curvature, the effects of records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.reports.scales import Scale, log_ticks
from harness.reports.trials import BREAKS, HEALS, Look, Mood
from harness.schemas.explanation import Count, CulpritRecord, Curvature, Explanation, Margin

THIS_RUN = Look("this run", "open", "#000000", "▼", "v")
LIMIT = Look("limit", "open", "#000000", "|", "|")
_ROOM = 0.25  # of the length, beside the outermost points
_DECADES = 0.35  # beside them, at least
_LARGEST = 1e30  # value that is drawn
_MOMENTA = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999)  # labelled on a line of momenta
_TITLES = {"learning_rate": "Learning rate", "clip_gradients": "Threshold of clip_gradients", "momentum": "Momentum"}


@dataclass(frozen=True)
class Point:
    """A value on a number line, at `at` percent of its length."""

    at: float
    look: Look
    text: str


@dataclass(frozen=True)
class NumberLine:
    """A number line.

    Attributes:
        title: the quantity.
        said: all that it shows, in words.
        ticks: places in percent, and texts.
        zones: stretches in percent where training survives ("good") or breaks ("bad").
    """

    title: str
    said: str
    ticks: tuple[tuple[float, str], ...]
    points: tuple[Point, ...]
    zones: tuple[tuple[float, float, Mood], ...] = ()


@dataclass(frozen=True)
class OwnValue:
    """What the run itself has of a quantity; `value` is infinite where nothing limits it."""

    value: float
    text: str


def own_values(found: Diagnosis, at: int | None) -> dict[str, OwnValue]:
    """Return what a run has of each quantity that has a margin: of the learning rate, that of iteration `at`."""
    solver, recording = found.solver, found.recording
    clip, momentum = float(solver.clip_gradients), float(solver.momentum)
    own = {
        "clip_gradients": OwnValue(clip, f"{clip:.3g}") if clip > 0 else OwnValue(math.inf, "no clipping"),
        "momentum": OwnValue(momentum, f"{momentum:.4g}"),
    }
    row = len(recording.iterations) if at is None else int(recording.iterations.searchsorted(at))
    if row < len(recording.iterations):
        rate = float(recording.series("lr", slice(row, row + 1))[0])
        own["learning_rate"] = OwnValue(rate, f"{rate:.3g}")
    return own


def explanation_lines(explanation: Explanation, own: Mapping[str, OwnValue]) -> tuple[NumberLine, ...]:
    """Lay out what is known: the effects of culprit records, the margins with the run's `own` values, the curvature."""
    lines = [_effect_line(explanation.verdict.records)]
    lines += [
        _margin_line(name, margin, own.get(name))
        for name, margin in explanation.margins.items()
        if margin.survives is not None or margin.breaks is not None
    ]
    curvature = explanation.curvature
    if curvature is not None and (curvature.at_break is not None or curvature.ordinary is not None):
        lines.append(_curvature_line(curvature))
    return tuple(line for line in lines if line is not None)


def _effect_line(records: Sequence[CulpritRecord]) -> NumberLine | None:
    """Draw the effects of culprit records beside that of ordinary ones; None where no ordinary one is known."""
    usual = [record.usual_effect for record in records if record.usual_effect is not None]
    if not usual:
        return None
    ordinary = median(usual)
    known = [(record.effect, record) for record in records if record.effect is not None]
    marks = [(effect, BREAKS, f"{record.key}: {effect:.3g}") for effect, record in known]
    marks.append((ordinary, HEALS, f"ordinary records, median: {ordinary:.3g}"))
    effects = [effect for effect, _ in known]
    said = [f"{_range(effects)} for the {'record' if len(effects) == 1 else 'records'} found"] if effects else []
    lost = len(records) - len(known)
    said += [f"not finite for {lost} of them"] if lost else []
    return _line(
        "By how much the loss rises after the update",
        f"{', '.join(said)}; {ordinary:.3g} for an ordinary record (median)",
        marks,
        _LINEAR if min([ordinary, *effects]) <= 0 else _LOGARITHMIC,
    )


def _margin_line(name: str, margin: Margin, own: OwnValue | None) -> NumberLine:
    said, marks, zones = [], [], []
    if margin.survives is not None:
        said.append(f"survives up to {margin.survives:.3g}{_in(margin.survived)}")
        marks.append((margin.survives, HEALS, said[-1]))
        zones.append((-math.inf, margin.survives, HEALS.mood))
    if margin.breaks is not None:
        said.append(f"breaks from {margin.breaks:.3g}{_in(margin.broke)}")
        marks.append((margin.breaks, BREAKS, said[-1]))
        zones.append((margin.breaks, math.inf, BREAKS.mood))
    if own is not None:
        marks.append((own.value, THIS_RUN, f"this run: {own.text}"))
    axis = _MOMENTUM if name == "momentum" else _LOGARITHMIC
    title = _TITLES.get(name, name.replace("_", " ").capitalize())
    said += [] if own is None else [f"this run has {own.text}"]
    return _line(title, ", ".join(said), marks, axis, zones)


def _in(count: Count | None) -> str:
    return "" if count is None else f" ({count})"


def _curvature_line(curvature: Curvature) -> NumberLine:
    found = [
        (curvature.ordinary, HEALS, "of ordinary batches"),
        (curvature.at_break, BREAKS, f"of the batch of iteration {curvature.iteration:,}"),
    ]
    marks = [(value, look, f"{text}: {_short(value)}") for value, look, text in found if value is not None]
    limits = ((curvature.slows, "2(1 − β)/η"), (curvature.diverges, "2(1 + β)/η"))
    marks += [(value, LIMIT, f"{text} = {_short(value)}") for value, text in limits]
    said = ", ".join(text.replace(": ", " ") for _, _, text in reversed(marks[:-2]))
    said += f"; a step overshoots above {limits[1][1]} = {_short(curvature.diverges)}"
    zones = [(curvature.diverges, math.inf, BREAKS.mood)]
    return _line("Curvature along the gradient", said, marks, _LOGARITHMIC, zones)


@dataclass(frozen=True)
class _Axis:
    """Where values are on a line (None: nowhere), and its ticks from one such place to another.

    Attributes:
        room: beside the outermost points, at least.
        lowest: place.
    """

    place: Callable[[float], float | None]
    ticks: Callable[[float, float], Sequence[tuple[float, str]]]
    room: float = _DECADES
    lowest: float = -math.inf


def _logarithm(value: float) -> float | None:
    return math.log10(value) if 1 / _LARGEST <= value <= _LARGEST else None


def _of_momentum(value: float) -> float | None:
    return -math.log10(1 - value) if 0 <= value < 1 else None


def _itself(value: float) -> float | None:
    return value if abs(value) <= _LARGEST else None


_LOGARITHMIC = _Axis(_logarithm, lambda low, high: log_ticks(10**low, 10**high))
_MOMENTUM = _Axis(_of_momentum, lambda low, high: [(m, f"{m:g}") for m in _MOMENTA], lowest=0.0)
_LINEAR = _Axis(_itself, lambda low, high: Scale(low, high).ticks(), room=1e-9)


def _line(
    title: str,
    said: str,
    marks: Sequence[tuple[float, Look, str]],
    axis: _Axis,
    zones: Sequence[tuple[float, float, Mood]] = (),
) -> NumberLine:
    """Lay out a line with `marks`; an infinite one is at its end, and one that has no place on it is left out."""
    places = [place for value, _, _ in marks if math.isfinite(value) and (place := axis.place(value)) is not None]
    if not places:
        return NumberLine(title, said, (), ())
    room = max(_ROOM * (max(places) - min(places)), axis.room, 1e-6 * max(map(abs, places)))
    low, high = max(min(places) - room, axis.lowest), max(places) + room

    def at(value: float) -> float | None:
        if not math.isfinite(value):
            return 100.0 if value > 0 else 0.0
        place = axis.place(value)
        return None if place is None else round(100 * min(max((place - low) / (high - low), 0), 1), 2)

    points = [Point(x, look, text) for value, look, text in marks if (x := at(value)) is not None]
    ticks = [(place, text) for value, text in axis.ticks(low, high) if (place := axis.place(value)) is not None]
    inside = [(round(100 * (place - low) / (high - low), 2), text) for place, text in ticks if low <= place <= high]
    ends = ((at(first), at(last), mood) for first, last, mood in zones)
    return NumberLine(
        title,
        said,
        tuple(_apart(inside)),
        tuple(points),
        tuple((first, last, mood) for first, last, mood in ends if first is not None and last is not None),
    )


def _apart(ticks: Sequence[tuple[float, str]], least: float = 9.0) -> Iterator[tuple[float, str]]:
    """Leave out ticks that are nearer than `least` percent to the one before."""
    last = -math.inf
    for at, text in ticks:
        if at - last >= least:
            yield at, text
            last = at


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.3g}"
