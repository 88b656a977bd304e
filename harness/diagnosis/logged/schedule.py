"""Compare the displayed learning rates with the solver's policy, or infer the policy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from harness.caffe_files.log_header import LogHeader
from harness.caffe_log.model import Series
from harness.diagnosis.logged.findings import Schedule
from harness.diagnosis.robust_stats import Floats, Ints

_POINTS = 2000  # displays that are examined
_ENOUGH = 20  # rates from which on the roundest of several laws that fit is chosen
_ULP = 1.01e-5  # relative: two neighbours of six digits; a power of another C library may round to the other one
_POWERS = (1.0, 0.5, 0.9, 2.0, 0.75, 1.5, 3.0, 4.0, 0.25)  # common powers of poly and inv
_DIGITS = (1, 2, 3, 4, 5, 6)
_RANGE = np.finfo(np.float32)  # Caffe computes rates as float32: what lies outside was not printed by it


def read_schedule(lr: Series, header: LogHeader) -> Schedule | None:
    """Return the findings on the rates; None where none was displayed."""
    known = np.isfinite(lr.values)
    iterations, rates = lr.iterations[known], lr.values[known]
    if not len(rates):
        return None
    differs = _first_difference(iterations, rates, header.rate) if header.rate is not None else None
    steps = _steps(iterations, rates)
    rises = _rises(iterations, rates)
    law = _Law(header.policy) if header.rate is not None else _inferred(iterations, rates, steps)
    return Schedule(
        first=float(rates[0]),
        last=float(rates[-1]),
        agrees=None if header.rate is None else differs is None,
        differs=differs,
        policy=law.policy,
        base_lr=law.base_lr,
        power=law.power,
        gamma=law.gamma,
        max_iter=law.max_iter,
        unsure=law.unsure,
        steps=steps,
        rises=rises,
        only_one=len(rates) == 1,
    )


def _rises(iterations: Ints, rates: Floats) -> tuple[tuple[int, float, float], ...]:
    """Return each rise: its first display, the rate before and the rate when it is over. A warm-up is one rise."""
    rows = np.flatnonzero(rates[1:] > rates[:-1] * (1 + _ULP)) + 1
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(rows) else []
    return tuple((int(iterations[g[0]]), float(rates[g[0] - 1]), float(rates[g[-1]])) for g in groups)


def _first_difference(iterations: Ints, rates: Floats, rate: Callable[[int], float]) -> tuple[int, float, float] | None:
    """Return the first iteration whose rate is not that of the policy, with both rates."""
    step = max(1, len(rates) // _POINTS)
    for iteration, shown in zip(iterations[::step].tolist(), rates[::step].tolist(), strict=True):
        computed = rate(iteration)
        if math.isfinite(computed) and not abs(shown - computed) <= _ULP * abs(computed):
            return iteration, shown, computed
    return None


def _steps(iterations: Ints, rates: Floats) -> tuple[tuple[int, float], ...]:
    """Return each change of a rate that is constant in between; none for a rate that always changes."""
    changed = np.flatnonzero(np.abs(np.diff(rates)) > _ULP * np.abs(rates[:-1])) + 1
    if len(changed) > max(len(rates) // 4, 1) or len(rates) < 3:
        return ()
    return tuple((int(iterations[k]), float(rates[k])) for k in changed)


@dataclass(frozen=True)
class _Law:
    """A policy with its fields; None: not known."""

    policy: str | None
    base_lr: float | None = None
    power: float | None = None
    gamma: float | None = None
    max_iter: int | None = None
    unsure: bool = False


def _inferred(iterations: Ints, rates: Floats, steps: tuple[tuple[int, float], ...]) -> _Law:
    if np.all(np.abs(rates - rates[0]) <= _ULP * abs(rates[0])):
        return _Law("fixed", float(rates[0])) if len(rates) > 1 else _Law(None)
    if steps:
        pieces = np.append(rates[0], [rate for _, rate in steps])
        if not _plausible(pieces):
            return _Law("step", float(rates[0]))
        ratios = pieces[1:] / pieces[:-1]
        alike = np.all(np.abs(ratios / ratios[0] - 1) < 1e-3)
        return _Law("step", float(rates[0]), gamma=float(ratios[0]) if alike else None)
    step = max(1, len(rates) // _POINTS)
    times, shown = iterations[::step].astype(np.float64), rates[::step]
    if len(shown) < 3 or not _plausible(shown):
        return _Law(None)
    polys = [found for power in _POWERS if (found := _poly(times, shown, power))]
    if polys:
        # over a short stretch several powers fit: the roundest numbers are the most probable, if there are enough rates
        if len(polys) > 1 and len(shown) < _ENOUGH:
            return _Law(None)
        _, roundest = min(polys, key=lambda pair: pair[0])
        return replace(roundest, unsure=len(polys) > 1)
    slope, at_zero = _line(times, np.log(shown))
    if slope < 0 and _fits(shown, np.exp(at_zero + slope * times)):
        return _Law("exp", _shortest(math.exp(at_zero)), gamma=math.exp(slope))
    for power in _POWERS:
        slope, at_zero = _line(times, shown ** (-1 / power))
        if slope > 0 and at_zero > 0 and _fits(shown, (at_zero + slope * times) ** -power):
            return _Law("inv", _shortest(at_zero**-power), power, _shortest(slope / at_zero))
    return _Law(None)


def _poly(times: Floats, shown: Floats, power: float) -> tuple[int, _Law] | None:
    """Fit a poly policy, whose lr ** (1 / power) is linear in the iteration.

    Returns the base_lr and max_iter with the fewest digits that give the rates displayed, and the number of digits;
    None where none do.
    """
    slope, at_zero = _line(times, shown ** (1 / power))
    if slope >= 0 or at_zero <= 0:
        return None
    base, horizon = at_zero**power, -at_zero / slope
    for digits_base, digits_horizon in sorted(itertools.product(_DIGITS, _DIGITS), key=sum):
        b, h = float(f"{base:.{digits_base}g}"), float(f"{horizon:.{digits_horizon}g}")
        if h > times[-1] and _fits(shown, b * (1 - times / h) ** power):
            return digits_base + digits_horizon, _Law("poly", b, power, max_iter=round(h))
    return None


def _line(times: Floats, values: Floats) -> tuple[float, float]:
    """Fit a straight line with relative weights. Returns its slope and its value at 0."""
    # with full=True, polyfit warns of no poorly conditioned fit: _fits decides about each
    (slope, at_zero), *_ = np.polyfit(times, values, 1, w=1 / np.maximum(np.abs(values), _RANGE.tiny), full=True)
    return float(slope), float(at_zero)


def _plausible(rates: Floats) -> bool:
    """Check that a law can be fitted to rates: all of them are positive float32 numbers."""
    return bool(np.all((rates >= _RANGE.tiny) & (rates <= _RANGE.max)))


def _fits(shown: Floats, computed: Floats) -> bool:
    return bool(np.all(np.abs(shown - computed) <= _ULP * shown))


def _shortest(value: float) -> float:
    """Return the value with the fewest digits that is close enough."""
    return next((s for s in (float(f"{value:.{d}g}") for d in _DIGITS) if abs(s - value) <= 3e-5 * value), value)
