"""Trials of candidates: arms past the break, of as many candidates as it takes to know a few that get past it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.patience import observe_falling
from harness.diagnosis.cause.trials import Procedure, Seen, Trial, repeated
from harness.schemas.arm import RateScaled
from harness.schemas.rescue import Candidate, CandidateKind

STAGE = "candidates"
ENOUGH = 3  # candidates that get past the break, besides the one for comparison
_RUNS = 3
_SLOW: tuple[CandidateKind, ...] = ("stretch", "layer-rate", "rate")  # a lower rate heals slowly
_YARDSTICK = "rate"  # the kind that gets past most breaks, and to which smaller changes are compared


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate in arms; `seen` is None where arms cannot express it, or it was not tried."""

    candidate: Candidate
    seen: Seen | None = None

    @property
    def runs(self) -> int:
        return 0 if self.seen is None else len(self.seen.judgements)

    @property
    def heals(self) -> int:
        return 0 if self.seen is None else self.seen.heals

    @property
    def iterations(self) -> int:
        """That its arms have, those that were replayed before among them."""
        return 0 if self.seen is None else sum(len(result.loss) for result in self.seen.results)

    @property
    def gets_past(self) -> bool:
        """Training got past the break in most of its arms; True where only a restart can tell."""
        if self.seen is None:
            return not can_be_tried(self.candidate)
        return self.seen.heals > self.runs // 2


def can_be_tried(candidate: Candidate) -> bool:
    """Check whether arms can express a candidate."""
    return bool(candidate.changes) or candidate.kind == "unchanged"


def try_candidates(case: Case, candidates: Sequence[Candidate]) -> Procedure[tuple[Outcome, ...]]:
    """Try candidates, the smallest changes first, until three get past the break, and the lower rate for good.

    Each has one arm first. Those with which it heals have two more, with jittered weights, and count where most heal.
    Those of the user are all tried.

    Returns:
        An outcome for each of `candidates`, in their order.
    """
    outcomes = {candidate.name: Outcome(candidate) for candidate in candidates}
    waiting = [candidate for candidate in candidates if can_be_tried(candidate)]
    while waiting:
        known = sum(outcome.gets_past and not _is_extra(outcome.candidate) for outcome in outcomes.values())
        derived = [candidate for candidate in waiting if not _is_extra(candidate)]
        wave = [*filter(_is_extra, waiting), *derived[: max(0, ENOUGH - known)]]
        if not wave:
            break
        waiting = [candidate for candidate in waiting if candidate not in wave]
        ones = yield from observe_falling(case, STAGE, [_trial(case, candidate, 1) for candidate in wave], _SLOW)
        outcomes |= {c.name: Outcome(c, one) for c, one in zip(wave, ones, strict=True)}
        again = [c for c, one in zip(wave, ones, strict=True) if one.all_heal and case.jitter]
        repeats = yield from observe_falling(
            case, f"{STAGE}, repeats", [_trial(case, candidate, _RUNS) for candidate in again], _SLOW
        )
        outcomes |= {c.name: Outcome(c, seen) for c, seen in zip(again, repeats, strict=True)}
    return tuple(outcomes[candidate.name] for candidate in candidates)


def finalists(outcomes: Sequence[Outcome]) -> tuple[Candidate, ...]:
    """Return the candidates to be restarted: the smallest that get past the break, and the lower rate for good."""
    past = [outcome.candidate for outcome in outcomes if outcome.gets_past]
    few = [candidate for candidate in past if not _is_extra(candidate)][:ENOUGH]
    return tuple(candidate for candidate in past if candidate in few or _is_extra(candidate))


def _is_extra(candidate: Candidate) -> bool:
    """Check whether a candidate is tried in any case: it serves for comparison, or the user wants it."""
    return candidate.kind in (_YARDSTICK, "given")


def _trial(case: Case, candidate: Candidate, runs: int) -> Trial:
    until = case.until
    for change in candidate.changes:
        if isinstance(change, RateScaled) and change.stop is not None:
            until = max(until, change.stop + case.after)  # the rate is up again for as long as a break takes
    return repeated(
        candidate.name, candidate.kind, case.start, until - case.start, candidate.changes, case.jitter, runs
    )
