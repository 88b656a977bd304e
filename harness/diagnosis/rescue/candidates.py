"""Candidates for a break: changes that may get the training past it, by how little they change it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain

import msgspec

from harness.diagnosis.cause.case import Case
from harness.diagnosis.rescue.data import without_batches, without_records
from harness.diagnosis.rescue.given import kinds_changed
from harness.diagnosis.rescue.settings import (
    clipped,
    lower_for_a_layer,
    lower_for_a_stretch,
    lower_for_good,
    still_lower,
    usual_decay,
    usual_momentum,
    without_history,
)
from harness.schemas.explanation import Explanation
from harness.schemas.rescue import Candidate, CandidateKind, Step

NOTHING = "nothing changed"
ORDER: tuple[CandidateKind, ...] = (  # by how little they change the training
    "unchanged",
    "records",
    "batches",
    "clip",
    "stretch",
    "history",
    "layer-rate",
    "momentum",
    "decay",
    "rate",
    "given",
)
_UNSAFE = re.compile(r"[^\w.=+-]+")  # in the name of a directory


def candidates_of(
    case: Case, found: Explanation, given: Sequence[Candidate] = (), forbidden: Sequence[CandidateKind] = ()
) -> tuple[Candidate, ...]:
    """List what may get a training past its break, by how little it changes the training.

    Left out is what replays of the explanation have refuted. All candidates begin at `case.start`, so the case is one
    that was `placed`.

    Args:
        given: by the user; each stands behind those that change as much as it does.
        forbidden: kinds that are left out.
    """
    if found.verdict.kind == "none":
        return ()
    derived = chain(
        _unchanged(found),
        without_records(case, found),
        without_batches(case, found),
        clipped(case, found),
        lower_for_a_stretch(case, found),
        without_history(case, found),
        lower_for_a_layer(case, found),
        usual_momentum(case, found),
        usual_decay(case, found),
        lower_for_good(case, found),
    )
    wanted: dict[str, Candidate] = {}
    for candidate in (*derived, *given):
        if candidate.kind not in forbidden:
            while plain_name(candidate.name) in wanted:
                candidate = msgspec.structs.replace(candidate, name=f"{candidate.name} (given)")
            wanted[plain_name(candidate.name)] = candidate
    return tuple(sorted(wanted.values(), key=_rank))


def plain_name(name: str) -> str:
    """Return the name of a candidate as that of a directory."""
    return _UNSAFE.sub("-", name).strip("-.")


def last_candidates(case: Case, found: Explanation, forbidden: Sequence[CandidateKind] = ()) -> tuple[Candidate, ...]:
    """List what may still get a training past its break where none of its candidates does."""
    return tuple(candidate for candidate in still_lower(case, found) if candidate.kind not in forbidden)


def _unchanged(found: Explanation) -> Iterator[Candidate]:
    """Yield the candidate that changes nothing, where no unchanged replay breaks."""
    control, kind = found.control, found.verdict.kind
    none_breaks = control is not None and control.runs > 0 and control.breaks == 0
    if kind == "machine" or (kind == "undecided" and none_breaks):
        why = "an unchanged replay does not break"
        why += f" (0 of {control.runs} break)" if control is not None and none_breaks else ""
        yield Candidate("unchanged", NOTHING, (Step(()),), (), why, control.runs if none_breaks and control else 0)


def _rank(candidate: Candidate) -> tuple[int, bool]:
    kinds = [candidate.kind] if candidate.kind != "given" else kinds_changed(candidate.steps[0].words)
    return max(map(ORDER.index, kinds), default=0), candidate.kind == "given"
