"""Choose the last good snapshot: the newest one after which training stayed healthy until the onset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.diagnosis.recorded.onset import span_of
from harness.schemas.onset import Onset


@dataclass(frozen=True)
class Choice:
    """The iteration of the snapshot chosen, and the reason, as a clause for the user."""

    iteration: int
    reason: str


def newest_healthy(snapshots: Iterable[int], onset: int | None, margin: int) -> int | None:
    """Return the newest snapshot that at least `margin` healthy iterations follow; None where there is none.

    A snapshot of iteration t holds W_t: the update of iteration t comes after it. Without an onset all are healthy.
    """
    return max((t for t in snapshots if onset is None or t + margin <= onset), default=None)


def last_good(snapshots: Sequence[int], onset: Onset | None, span: int, first: int, last: int) -> Choice | None:
    """Choose the newest snapshot that at least `span` healthy iterations follow; None where there is none.

    Args:
        snapshots: their iterations, in any order.
        span: the solver's display interval (0: 40).
        first, last: the iterations recorded. Nothing is known of a snapshot from after them: it is left out.
    """
    span = span_of(span)
    known = sorted(t for t in snapshots if t <= last + 1)
    newest = newest_healthy(known, None if onset is None else onset.iteration, span)
    if newest is None:
        return None
    if onset is None:
        return Choice(newest, f"the newest snapshot; no divergence was found in the iterations {first}…{last} recorded")
    late = [t for t in known if t > newest]
    too_late = f"; the next one, {late[0]}, is too late" if late else ""
    return Choice(
        newest,
        f"the newest snapshot followed by at least {span} healthy iterations: {onset.iteration - newest} until the "
        f"onset at {onset.iteration} ({onset.reason}){too_late}",
    )
