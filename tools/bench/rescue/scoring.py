"""What is right about a rescue, and what it took, compared with the baselines."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.diagnosis.rescue.candidates import ORDER
from harness.diagnosis.rescue.trials import ENOUGH
from harness.schemas.rescue import Attempt
from tools.bench.faults.nets import NETS
from tools.bench.faults.truth_file import Truth
from tools.bench.rescue.result_file import Alone, Baselines, Rescued

_STRETCH = re.compile(r"of the iterations \d+ to (\d+) ")


@dataclass(frozen=True)
class AtRandom:
    """The iterations that random search takes on average, for any good change, and for the smallest one."""

    for_any: float
    for_smallest: float


@dataclass(frozen=True)
class Score:
    """What became of a planted run.

    Attributes:
        curable: see `is_curable`; None for a control.
        healthy: training reached its end, and ends healthy.
        right: a curable run is healthy; an incurable one is, or is reported as such; a control was left alone.
        spent: iterations of replays and restarts until the last choice.
        first: those of them at the first break.
        explained: iterations that explain took before.
        random: the same for random search among changes of all kinds, on average; None where it has not been measured,
            or no arm could express a change.
        random_derived: the same among the candidates of rescue.
        divided: "roll back and divide the rate by ten, up to five times" ends healthy.
        excess: the level at the end, divided by that of this baseline; None where one of them does not end healthy.
    """

    truth: Truth
    rescued: Rescued
    curable: bool | None
    healthy: bool
    right: bool
    spent: int
    first: int
    explained: int
    random: AtRandom | None
    random_derived: AtRandom | None
    divided: bool | None
    excess: float | None


def score(truth: Truth, rescued: Rescued, baselines: Baselines | None) -> Score:
    said = rescued.said
    divided = None if baselines is None else baselines.divisions is not None
    healthy = rescued.code == 0 and rescued.healthy and said is not None
    attempts = () if said is None else said.attempts
    if truth.is_control:
        curable, right = None, rescued.code == 0 and rescued.untouched and not attempts
    else:
        curable = is_curable(truth, divided)
        right = healthy and bool(attempts) and said is not None and said.finished
        right |= not curable and rescued.code == 3
    excess = None
    if right and healthy and baselines is not None and baselines.level and rescued.level is not None:
        excess = rescued.level / baselines.level
    tested = [] if baselines is None else [one for one in baselines.alone if one.gets_past is not None]
    derived = [one for one in tested if one.derived]
    return Score(
        truth=truth,
        rescued=rescued,
        curable=curable,
        healthy=healthy,
        right=right,
        spent=_spent(attempts),
        first=_spent(attempts[:1]),
        explained=0 if baselines is None else baselines.explained,
        random=at_random(tested) if tested else None,
        random_derived=at_random(derived) if derived else None,
        divided=divided,
        excess=excess,
    )


def is_curable(truth: Truth, divided: bool | None) -> bool:
    """Check whether something heals a run that a restart can express: a change, or the same once more.

    Where data stay wrong to the end, there are no others, and a change that heals a replay may not last: the run is
    curable if it ends healthy with a divided rate.
    """
    stretch = _STRETCH.search(truth.what)
    for_good = truth.kinds[0] == "data-shift" and not truth.records
    if for_good and (stretch is None or int(stretch.group(1)) >= NETS[truth.net].iterations - 1):
        return bool(divided)
    return any(undo.heals and (undo.changes or "machine" in undo.kinds) for undo in truth.undos)


def _spent(attempts: Sequence[Attempt]) -> int:
    return sum(tried.iterations for attempt in attempts for tried in attempt.tried)


def at_random(tested: Sequence[Alone]) -> AtRandom:
    """Return how many iterations it takes on average to test changes in random order, each as `rescue` does.

    For any good one, the search stops with the first, or with the fourth that gets past, of which the best is chosen.
    For the smallest one, as `rescue` finds it, it goes on with all that are smaller than those that were good so far.
    """
    good = sum(one.good for one in tested)
    past = sum(bool(one.gets_past) for one in tested) - good
    for_any = sum(
        one.iterations * _is_tested(good - one.good, past - (bool(one.gets_past) and not one.good)) for one in tested
    )
    return AtRandom(for_any, _for_smallest(tested) if good else for_any)


def _is_tested(good: int, past: int) -> float:
    """Return the probability that a change is tested, which `good` others would prevent, and `past` if 4 come before.

    Of these and the change, in random order, k come before it with the same probability for each k.
    """
    others = good + past
    before = range(min(ENOUGH, past) + 1)
    return sum(math.comb(past, count) / math.comb(others, count) for count in before) / (others + 1)


def _for_smallest(tested: Sequence[Alone]) -> float:
    """Return what the smallest good change takes: each is tested that comes before all smaller ones that are good."""
    iterations, smaller = 0.0, 0
    for one in sorted(tested, key=lambda one: ORDER.index(one.kind)):
        iterations += one.iterations / (1 + smaller)
        smaller += one.good
    return iterations
