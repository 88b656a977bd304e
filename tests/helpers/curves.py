"""Synthetic loss curves of 280 classes, one value an iteration, with the iteration at which they leave their level for
good."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

Loss = np.ndarray

CHANCE = math.log(280)
COUNT = 6000


@dataclass(frozen=True)
class Curve:
    """A run of single losses (T,), the first of iteration `start`.

    Attributes:
        onset: the first bad iteration; None for a run that is healthy at the end.
        slack: iterations after `onset` within which it may be seen first, where a loss leaves its level gradually.
    """

    name: str
    loss: Loss
    onset: int | None
    slack: int = 0
    start: int = 0

    def __str__(self) -> str:
        return self.name


def healthy(low: float = 0.6, noise: float = 0.1, count: int = COUNT, seed: int = 0, high: float = CHANCE) -> Loss:
    """The losses of a net that learns, from chance level down to `low`, with log-normal noise."""
    level = low + (high - low) * np.exp(-np.arange(count) / (0.08 * count))
    return level * np.exp(noise * np.random.default_rng(seed).normal(size=count))


def at(level: float, count: int = COUNT, noise: float = 0.003, seed: int = 1) -> Loss:
    """A level."""
    return level * (1 + noise * np.random.default_rng(seed).normal(size=count))


def put(loss: Loss, first: int, values: Loss, stop: int | None = None) -> Loss:
    """Put `values` into a curve, from iteration `first` on."""
    loss = loss.copy()
    stop = len(loss) if stop is None else stop
    loss[first:stop] = values[: stop - first]
    return loss


def excursion(loss: Loss, first: int, peak: float, lasts: float) -> Loss:
    """Lift a curve to `peak` at `first`; it returns exponentially."""
    loss = loss.copy()
    after = np.arange(len(loss) - first)
    loss[first:] += (peak - loss[first]) * np.exp(-after / lasts)
    return loss


def swinging(low: float, share: float, correlation: float = 0.97, count: int = COUNT, seed: int = 0) -> Loss:
    """A loss whose level wanders by `share` about `low`, within some 1 / (1 - correlation) iterations."""
    random = np.random.default_rng(seed)
    steps = share * math.sqrt(1 - correlation**2) * random.normal(size=count)
    wander = np.zeros(count)
    for t in range(1, count):
        wander[t] = correlation * wander[t - 1] + steps[t]
    return healthy(low, 0.1, count, seed) * np.exp(wander)


def _growth(loss: Loss, first: int, rate: float) -> Loss:
    loss = loss.copy()
    loss[first:] *= np.exp(np.minimum(rate * np.arange(len(loss) - first), 80))
    return loss


def _nan(loss: Loss, first: int) -> Loss:
    return put(loss, first, np.full(len(loss), np.nan))


def _drift(loss: Loss, first: int, times: float) -> Loss:
    """Lift a curve by a factor that grows from 1 at `first` to `times` at its end."""
    return loss * np.interp(np.arange(len(loss)), [first, len(loss)], [1, times])


def _healthy_curves() -> Iterator[Curve]:
    for noise in (0.02, 0.1, 0.3):
        for low in (0.05, 0.6, 3.0):
            yield Curve(f"falls to {low}, noise {noise}", healthy(low, noise, seed=1), None)
    for seed in (0, 1):
        yield Curve(f"level wanders, {seed}", swinging(0.6, 0.2, 0.95, seed=seed), None)
    spiked = healthy()
    spiked[[1500, 2700, 2701, 4100]] *= 12
    yield Curve("spikes recover", spiked, None)
    for lasts in (5, 60, 200):
        yield Curve(f"a shock is over after some {3 * lasts}", excursion(healthy(), 3000, CHANCE, lasts), None)
    for long in (200, 600):
        yield Curve(f"plateau for {long} and back", put(healthy(), 2500, at(CHANCE), 2500 + long), None)
    twice = put(put(healthy(), 2000, at(CHANCE), 2400), 3000, at(CHANCE), 3200)
    yield Curve("two plateaus and back", twice, None)
    yield Curve("the rate steps down", healthy() * np.where(np.arange(COUNT) < 3000, 1.5, 1.0), None)
    one = healthy()
    one[3000] = np.nan
    yield Curve("a NaN alone", one, None)
    yield Curve("hot rate, recovers", excursion(healthy(), 1400, 8.0, 40), None)


def _broken_curves() -> Iterator[Curve]:
    for low in (0.05, 0.15, 0.6, 2.5):
        yield Curve(f"collapse from {low}", put(healthy(low), 4007, at(CHANCE)), 4007)
    yield Curve("collapse, noisy", put(healthy(0.6, 0.5), 4007, at(CHANCE)), 4007)
    yield Curve("collapse near the end", put(healthy(), 5803, at(CHANCE)), 5803)
    for seed in (0, 1):
        swings = swinging(0.6, 0.5, 0.9, seed=seed)
        yield Curve(f"swings, then collapse, {seed}", put(swings, 4011, at(CHANCE)), 4011)
    drifts = _drift(swinging(0.6, 0.5, 0.9, seed=1), 1000, 2.5)
    yield Curve("swings and drifts, then collapse", put(drifts, 5009, at(CHANCE)), 5009)
    for low, times in ((0.05, 4.0), (0.15, 4.0), (0.3, 3.0), (0.6, 2.0)):
        drift = _drift(healthy(low), 2000, times)
        yield Curve(f"drifts {times} times from {low}, then collapse", put(drift, 4807, at(CHANCE)), 4807)
    for low in (0.05, 0.6):
        away = put(put(healthy(low), 1500, at(CHANCE), 1700), 2600, at(CHANCE), 2900)
        yield Curve(f"two plateaus and back from {low}, then for good", put(away, 4301, at(CHANCE)), 4301)
    long = put(put(healthy(), 1800, at(CHANCE), 3400), 4301, at(CHANCE))
    yield Curve("a plateau for a quarter of the run and back, then for good", long, 4301)
    shocks = excursion(excursion(healthy(), 1800, 4.0, 60), 3000, 5.0, 100)
    yield Curve("two shocks, then for good", put(shocks, 4422, at(CHANCE)), 4422)
    between = put(put(healthy(), 2500, at(CHANCE), 2900), 2900, at(0.9, noise=0.1), 3500)
    yield Curve("plateau, a recovery to above the best, plateau", put(between, 3500, at(CHANCE)), 3500)
    spiked = healthy()
    spiked[[1500, 2700, 2701, 4100, 4555]] *= 15
    yield Curve("spikes, then for good", put(spiked, 4603, at(CHANCE)), 4603)
    for first, peak, lasts, rest, broke in (
        (718, 8.0, 20, 1.0, 1000),
        (718, 8.0, 20, 1.5, 1000),
        (1400, 5.0, 30, 1.3, 2217),
        (1400, 6.5, 100, 2.0, 3000),
        (3000, 3.0, 100, 1.5, 4000),
    ):
        hot = excursion(healthy(), first, peak, lasts)
        hot[first:] *= rest
        name = f"hot rate: {first}, recovers to {rest} times, breaks at {broke}"
        yield Curve(name, put(hot, broke, at(CHANCE)), broke)
        yield Curve(name + " above chance level", put(hot, broke, at(9.3, noise=0.05)), broke)
    for rate in (0.005, 0.02, 0.2):
        yield Curve(f"grows at {rate}", _growth(healthy(), 4507, rate), 4507, round(1.5 / rate))
    away = excursion(healthy(), 2000, 5.0, 80)
    yield Curve("a shock, later growth", _growth(away, 4507, 0.02), 4507, 75)
    yield Curve("drift, later growth", _growth(_drift(healthy(0.3), 2000, 2.0), 4507, 0.05), 4507, 30)
    yield Curve("NaN at once", _nan(healthy(), 4005), 4005)
    yield Curve("growth to NaN", _nan(_growth(healthy(), 4480, 0.15), 4505), 4480, 10)
    yield Curve("plateau to NaN", _nan(put(healthy(), 4003, at(CHANCE)), 4303), 4003)
    yield Curve("shock, recovers, NaN", _nan(excursion(healthy(), 2000, 5.0, 60), 4005), 4005)
    yield Curve("worse for good, below chance level", put(healthy(), 4001, healthy(2.5, 0.1, high=2.5)), 4001)
    yield Curve("in two steps", put(put(healthy(), 3001, at(3.5, noise=0.1), 4001), 4001, at(CHANCE)), 3001)
    for start in (3000, 3800):
        whole = put(excursion(healthy(), 3500, 5.0, 50), 4607, at(CHANCE))
        yield Curve(f"restarted at {start}", whole[start:], 4607, start=start)
    yield Curve("restarted, and breaks at once", put(at(0.7, 800, 0.1), 60, at(CHANCE)), 5060, start=5000)


CURVES = (*_healthy_curves(), *_broken_curves())
