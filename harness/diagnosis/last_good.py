"""Which snapshot to go back to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.diagnosis.recorded.onset import Onset, span_of


@dataclass(frozen=True)
class Choice:
    """The iteration of the snapshot chosen, and why this one: a clause for the user."""

    iteration: int
    reason: str


def last_good(snapshots: Sequence[int], onset: Onset | None, span: int, first: int, last: int) -> Choice | None:
    """The newest snapshot after which at least `span` healthy iterations passed before the onset; None if none did.

    A snapshot of iteration t holds W_t: the update of iteration t comes after it.

    Args:
        snapshots: their iterations, in any order.
        span: the solver's display interval (0: 40).
        first, last: the iterations recorded; a snapshot from after them tells nothing, and is left out.
    """
    span = span_of(span)
    known = sorted(t for t in snapshots if t <= last + 1)
    if onset is None:
        if not known:
            return None
        return Choice(
            known[-1], f"the newest snapshot: no divergence was found in the iterations {first}…{last} recorded"
        )
    good = [t for t in known if t + span <= onset.iteration]
    if not good:
        return None
    healthy = onset.iteration - good[-1]
    late = [t for t in known if t > good[-1]]
    passed_over = f"; the next one, {late[0]}, is too late" if late else ""
    return Choice(
        good[-1],
        f"the newest snapshot with at least {span} healthy iterations behind it: {healthy} until the onset at "
        f"{onset.iteration} ({onset.reason}){passed_over}",
    )
