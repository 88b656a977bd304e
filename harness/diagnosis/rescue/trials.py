"""Trials of candidates: arms past the break, of one after the other, as long as none is good enough."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from harness.caffe_files.solver import display_interval
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.patience import observe_falling
from harness.diagnosis.cause.trials import Procedure, Seen, Trial, repeated
from harness.diagnosis.recorded.onset import span_of
from harness.schemas.arm import RateScaled
from harness.schemas.rescue import Candidate, CandidateKind

STAGE = "candidates"
ENOUGH = 3  # candidates that get past the break, besides the one for comparison, where none is good
_RUNS = 3
_SHOWN = 2  # replays of the explanation that are evidence enough
_DISPLAYS = 3  # display intervals past the break that restarts have
_SLOW: tuple[CandidateKind, ...] = ("stretch", "layer-rate", "rate")  # a lower rate heals slowly
_YARDSTICK = "rate"  # the kind that gets past most breaks, and to which smaller changes are compared


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate in arms; `seen` is None where there were none."""

    candidate: Candidate
    seen: Seen | None = None

    @property
    def runs(self) -> int:
        """The arms that were replayed; those that are not possible were refused."""
        return 0 if self.seen is None else sum(judgement != "refused" for judgement in self.seen.judgements)

    @property
    def heals(self) -> int:
        return 0 if self.seen is None else self.seen.heals

    @property
    def iterations(self) -> int:
        """That its arms have, those that were replayed before among them."""
        return 0 if self.seen is None else sum(len(result.loss) for result in self.seen.results)

    @property
    def gets_past(self) -> bool:
        """Training got past the break in most of its arms; True where only a restart is needed to tell."""
        if not self.runs:
            return self.seen is not None or not needs_arms(self.candidate)
        return self.heals > self.runs // 2


def needs_arms(candidate: Candidate) -> bool:
    """Check whether arms can express a candidate, and replays of the explanation have not shown yet that it helps."""
    return (bool(candidate.changes) or candidate.kind == "unchanged") and candidate.shown < _SHOWN


def left_to_try(
    candidates: Sequence[Candidate], tried: Collection[str], past: Collection[str], good: Collection[str]
) -> tuple[Candidate, ...]:
    """Return the candidates of a break that are still to be tried, the smallest changes first.

    Those of the user are, and those that change less than one with which training goes on as while it was healthy.
    Where three have got past the break, and none is as good as that, only the lower rate for good is.

    Args:
        candidates: by how little they change the training.
        tried: the names of those that were tried.
        past: of those that got past the break, in replays and in a restart.
        good: of those with which training goes on as while it was healthy.
    """
    end = next((number for number, candidate in enumerate(candidates) if candidate.name in good), len(candidates))
    few = sum(candidate.name in past and not _is_extra(candidate) for candidate in candidates) < ENOUGH
    return tuple(
        candidate
        for number, candidate in enumerate(candidates)
        if candidate.name not in tried
        and (candidate.kind == "given" or (number < end and (few or candidate.kind == _YARDSTICK)))
    )


def try_until_past(case: Case, candidates: Sequence[Candidate]) -> Procedure[tuple[Outcome, ...]]:
    """Try candidates one after the other in arms, until one gets past the break; those of the user all at once.

    Each has one arm first. Those with which it heals have two more, with jittered weights, and count where most heal.
    What replays of the explanation have shown to get past needs none.

    Returns:
        An outcome for each that was tried.
    """
    outcomes: list[Outcome] = []
    given = [candidate for candidate in candidates if candidate.kind == "given"]
    derived = [candidate for candidate in candidates if candidate.kind != "given"]
    while given or derived:
        wave = [*derived[:1], *given]
        found = yield from try_all(case, wave)
        outcomes += found
        if not derived or found[0].gets_past:
            break
        given, derived = [], derived[1:]
    return tuple(outcomes)


def try_all(case: Case, candidates: Sequence[Candidate]) -> Procedure[tuple[Outcome, ...]]:
    """Try all candidates in arms. Returns their outcomes, in their order."""
    outcomes = {candidate.name: Outcome(candidate) for candidate in candidates}
    for runs, stage in ((1, STAGE), (_RUNS, f"{STAGE}, repeats")):
        wave = [c for c in candidates if needs_arms(c) and (runs == 1 or (case.jitter and outcomes[c.name].gets_past))]
        seen = yield from observe_falling(case, stage, [_trial(case, candidate, runs) for candidate in wave], _SLOW)
        outcomes |= {c.name: Outcome(c, one) for c, one in zip(wave, seen, strict=True)}
    return tuple(outcomes.values())


def restarts_end(case: Case, candidates: Sequence[Candidate], tested: bool) -> int:
    """Return the iteration before which restarts end: three displays past the break, and the next test pass.

    A rate that is lowered for a stretch is up again by then.

    Args:
        tested: the run has a test net.
    """
    stretches = [step.until for candidate in candidates for step in candidate.steps if step.until is not None]
    end = max(case.until, *stretches, 0) + _DISPLAYS * span_of(display_interval(case.solver))
    interval = case.solver.test_interval
    if tested and interval:
        end = math.ceil(end / interval) * interval + 1  # the pass is made before that iteration
    return end


def _is_extra(candidate: Candidate) -> bool:
    """Check whether a candidate does not count for `ENOUGH`: it serves for comparison, or the user wants it."""
    return candidate.kind in (_YARDSTICK, "given")


def _trial(case: Case, candidate: Candidate, runs: int) -> Trial:
    until = case.until
    for change in candidate.changes:
        if isinstance(change, RateScaled) and change.stop is not None:
            until = max(until, change.stop + case.after)  # the rate is up again for as long as a break takes
    return repeated(
        candidate.name, candidate.kind, case.start, until - case.start, candidate.changes, case.jitter, runs
    )
