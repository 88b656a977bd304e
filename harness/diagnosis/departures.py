"""Define the onset: the last departure from which the run did not return.

Live alarms and reports (a loss at every iteration) and logs (a loss at every display) find the onset by levels, medians
of the loss over some iterations or displays. What they share is here:

- A level *departs* where it rises above the best level before by more than the caller's margin, which is what noise and
  wandering can do.
- The run has *returned* from it where a later level is nearer to the best level than to those that follow for good. So
  a recovery need not reach the best level again: 0.6 → 8 → 0.9 → 9 departs for good at the second rise.
- Of a slow drift and a sudden rise that more than doubles it, the sudden rise is the departure. Of two sudden rises
  without a return between them, the first is.
- A loss that grows without bound departs where it left the level at which the growth began.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from harness.diagnosis.robust_stats import Floats, Ints

FLOOR = 0.001  # a loss below it counts as 0: changes down there do not matter
PLAIN = 5.0  # factor: few healthy levels are all that far above those before them
EXPLODED = 25.0  # factor above which a rise may be growth without bound
_RETURNED = 0.5  # share of a rise that a run gives back when it has returned
_STEP = 0.25  # share of the whole rise that an earlier sudden one must have to be the departure
OFTEN = 3  # times: a level at which a run has been so often may be left again
_CLIMBS = 0.5  # of the margin: a level that is so much higher than one shortly before is climbing
_PATIENCE = 10  # levels just before a climb


@dataclass(frozen=True)
class Departure:
    """A departure after level `last`.

    Attributes:
        first: the first level that all later ones exceed by the margin.
        last: the last level before the departure.
        best: the best level before it.
        base: the level from which it rose: that just before a sudden rise, else that at which the climb began.
        end: the lowest level after it.
        sudden: half of the rise or more was done at once.
        top: levels were taken to be this high at most, because they grow without bound; infinite where they do not.
    """

    first: int
    last: int
    best: float
    base: float
    end: float
    sudden: bool
    top: float = math.inf


def last_departure(past: Floats, future: Floats, margin: Floats, reach: int = 0) -> Departure | None:
    """Find the last departure from which the levels did not return; None where they did not depart.

    Args:
        past: (N,) the level up to each place.
        future: (N,) the level from each place on; infinite where the loss is not finite.
        margin: (N,) the least rise above the best level up to each place that counts; infinite where none does.
        reach: places beside a rise whose levels may hold values from both before and after it.
    """
    found = _largest(past, future, margin, reach)
    if found is None:
        return None
    if has_exploded(future, found.base):
        # half of the way up would be late; levels above what is plain are no farther from the base
        top = PLAIN * max(found.base, FLOOR)
        grown = None if found.sudden else _largest(np.minimum(past, top), np.minimum(future, top), margin, reach)
        found = replace(found if grown is None else replace(grown, base=found.base, sudden=False), top=top)
    return _step_before(found, past, future, margin, reach)


def has_exploded(values: Floats, base: float) -> bool:
    """Check whether the last values are so far above `base` that this may be growth without bound."""
    return bool(base >= 0 and float(np.median(values[-3:])) > EXPLODED * max(base, FLOOR))


def began(levels: Floats, last: int, least: float) -> int:
    """Return the place at which the climb to level `last` began: those just before are not lower by `least` or more."""
    while True:
        near = levels[max(0, last - _PATIENCE) : last]
        if not len(near) or not near.min() <= levels[last] - least:
            return last
        last -= len(near) - int(np.flatnonzero(near == near.min())[-1])


def is_usual(levels: Floats, departure: Departure) -> bool:
    """Check whether the run has been as high as after `departure` often, and for as long, so that it may return."""
    before = stays(levels, departure)
    return len(before) >= OFTEN and len(levels) - 1 - departure.last <= int(np.diff(before).max())


def stays(levels: Floats, departure: Departure) -> Ints:
    """(n, 2) Return from where to where (exclusive) the levels before `departure` were as high as those after it.

    A run may begin high: that does not count.
    """
    high = levels[: departure.last + 1] > (departure.best + departure.end) / 2
    edges = np.flatnonzero(np.diff(np.concatenate([[True], high, [False]]).astype(int)))
    return edges[1:].reshape(-1, 2)


def _largest(past: Floats, future: Floats, margin: Floats, reach: int) -> Departure | None:
    """Find the departure of the largest rise: after it, no level gives half of that back."""
    best = np.minimum.accumulate(past)
    lowest = np.minimum.accumulate(future[::-1])[::-1]
    with np.errstate(invalid="ignore", over="ignore"):  # a run that begins with NaN has nothing to rise from
        lifted = lowest[1:] - best[:-1]
    rows = np.flatnonzero(lifted > margin[:-1])
    if not len(rows):
        return None
    last = int(rows[np.argmax(lifted[rows] >= _RETURNED * lifted[rows].max())])
    start, end = float(best[last]), float(lowest[last + 1])
    first = max(last - reach, 0)
    before, after = max(float(past[first]), float(future[first])), float(future[min(last + 2 + reach, len(future) - 1)])
    sudden = _is_sudden(start, before, after, end)
    base = before if sudden else float(past[began(past, last, _CLIMBS * float(margin[last]))])
    return Departure(int(rows[0]), last, start, base, end, sudden)


def _is_sudden(start: float, before: float, after: float, end: float) -> bool:
    """Check whether half of a rise from `start` to `end` was done at once, from `before` to `after`.

    Half of its logarithm, too: of what grows exponentially, the last step is always most of it.
    """
    if math.isinf(after) and math.isfinite(before) and start > 0:
        after = end = PLAIN * before  # as far as what is plain
    most = after - before >= _RETURNED * (end - start)
    return most and (start <= 0 or math.log(after / before) >= _RETURNED * math.log(end / start))


def _step_before(found: Departure, past: Floats, future: Floats, margin: Floats, reach: int) -> Departure:
    """Return an earlier sudden departure from which the levels did not return before `found`; else `found` itself."""
    stop = found.last + 1 - reach
    if stop < 2:
        return found
    earlier = _largest(past[:stop], future[:stop], margin[:stop], reach)
    if earlier is None or not earlier.sudden:
        return found
    stayed = future[earlier.last + 1 : stop]
    lifted = float(stayed.min()) - earlier.best
    least = max(abs(earlier.best), _STEP * (found.end - found.best) if math.isinf(found.top) else 0.0)
    if lifted < max(least, _RETURNED * (float(stayed.max()) - earlier.best)):
        return found
    if math.isfinite(found.top):  # what follows still grows without bound
        earlier = replace(earlier, top=PLAIN * max(earlier.base, FLOOR))
    return _step_before(earlier, past, future, margin, reach)
