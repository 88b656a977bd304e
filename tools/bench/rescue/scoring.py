"""What is right about a rescue, and what it took, compared with the baselines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.schemas.rescue import Attempt
from tools.bench.faults.nets import NETS
from tools.bench.faults.truth_file import Truth
from tools.bench.rescue.result_file import Alone, Baselines, Rescued

_STRETCH = re.compile(r"of the iterations \d+ to (\d+) ")


@dataclass(frozen=True)
class Score:
    """What became of a planted run.

    Attributes:
        curable: see `is_curable`; None for a control.
        healthy: training reached its end, and ends healthy.
        right: a curable run is healthy; an incurable one is, or is reported as such; a control was left alone.
        spent: iterations of replays and restarts until the last choice.
        ordered, random: iterations of replays until a candidate gets past, in the order of rescue and at random; None
            where no candidate was replayed.
        divided: "roll back and divide the rate by ten, up to five times" ends healthy.
        excess: the level at the end, divided by that of this baseline; None where one of them does not end healthy.
    """

    truth: Truth
    rescued: Rescued
    curable: bool | None
    healthy: bool
    right: bool
    spent: int
    ordered: int | None
    random: float | None
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
    replayed = [] if baselines is None else [one for one in baselines.alone if one.gets_past is not None]
    return Score(
        truth=truth,
        rescued=rescued,
        curable=curable,
        healthy=healthy,
        right=right,
        spent=_spent(attempts),
        ordered=in_order(replayed) if replayed else None,
        random=at_random(replayed) if replayed else None,
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


def in_order(alone: Sequence[Alone]) -> int:
    """Return how many iterations it takes to try one candidate after the other until one gets past."""
    first = next((number for number, one in enumerate(alone) if one.gets_past), len(alone) - 1)
    return sum(one.iterations for one in alone[: first + 1])


def at_random(alone: Sequence[Alone]) -> float:
    """Return how many iterations it takes on average in random order, until one gets past.

    One of h that do is tried if it is the first of them, with probability 1/h; another one if it comes before all of
    them, with probability 1/(h+1).
    """
    past = [one.iterations for one in alone if one.gets_past]
    others = sum(one.iterations for one in alone if not one.gets_past)
    return others / (len(past) + 1) + (sum(past) / len(past) if past else 0.0)
