"""Screening: what becomes of the training with one setting changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.caffe_files.messages import pb
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.observing import observe
from harness.diagnosis.cause.patience import observe_falling
from harness.diagnosis.cause.slower import holds_rate, slower, with_momentum
from harness.diagnosis.cause.trials import Procedure, Seen, Trial, repeated
from harness.schemas.arm import AnyChange, HistoryScaled, RateHeld, SolverField
from harness.schemas.explanation import Kind

STAGE = "screening"
_RUNS = 3
_RAISED = 1.15  # a rate that grew by less is the same
_BACK = 50  # iterations before the onset from which on a changed rate or momentum has acted
_FAR_BACK = 100  # likewise, a weight decay
_SHARES = (3 / 4, 1 / 3)  # of the rate at the break
_LONG = 400  # iterations before the onset in which a rise of the rate is looked for
USUAL_MOMENTUM = 0.9
USUAL_DECAY = 0.0005
_LONGER = 1.5  # times as long as others after the onset, since a lower rate recovers more slowly
_SLOW = ("learning-rate", "lr-schedule")  # arms with a lower rate, which recover slowly


@dataclass(frozen=True)
class Factor:
    """A setting that may have caused the break.

    Attributes:
        kind: the verdict that it stands for, or "gradient-clipping", which is a remedy only.
        words: what was changed, in words.
        value, tried: of the setting: that of the run, and that of the arms.
        since: the iteration from which on the run has that value; None if from its start.
    """

    kind: Kind | Literal["gradient-clipping"]
    words: str
    value: float
    tried: float
    since: int | None = None


@dataclass(frozen=True)
class Screened:
    """A factor and the arms with it changed. `placebo`: unchanged but for jitter, from the same start."""

    factor: Factor
    seen: Seen
    placebo: Seen | None = None

    @property
    def heals(self) -> bool:
        """It healed in all arms, while training breaks without it in most."""
        return self.seen.all_heal and self._without_breaks

    @property
    def is_needed(self) -> bool:
        """The break needs it: what deviates from its past healed in most arms, and a setting that always was so in all.

        A training heals from what else was done to it at its own pace, and by then it may break anew.
        """
        if self.factor.kind != "lr-schedule":
            return self.heals
        return 2 * self.seen.heals > len(self.seen.judgements) and self._without_breaks

    @property
    def _without_breaks(self) -> bool:
        placebo = self.placebo
        return placebo is None or 3 * placebo.heals <= len(placebo.judgements)


def reach(solver: pb.SolverParameter) -> int:
    """Return how many iterations before an onset changes of the settings of a training must be able to begin."""
    return _BACK if is_usual_decay(solver) else _FAR_BACK


def is_usual_decay(solver: pb.SolverParameter) -> bool:
    """Check whether the weight decay is usual: a larger one, or a negative one, which lets weights grow, is not."""
    return 0 <= solver.weight_decay <= 1.01 * USUAL_DECAY


def screen(case: Case, cause: int | None = None) -> Procedure[tuple[Screened, ...]]:
    """Change one setting at a time: one arm each, and repeats of those that heal, and of what deviates from its past.

    Args:
        cause: the iteration from which on data do damage, where that is known: arms go on for long enough after it.
    """
    until = case.until if cause is None else max(case.until, cause + case.after)
    candidates = list(_candidates(case))
    first = [_trial(case, candidate, until, 1) for candidate in candidates]
    seen = yield from observe_falling(case, STAGE, first, _SLOW)
    repeats = [
        _trial(case, candidate, until, _RUNS)
        for candidate, one in zip(candidates, seen, strict=True)
        if case.jitter and (one.all_heal or candidate.factor.kind == "lr-schedule")
    ]
    again = yield from observe_falling(case, f"{STAGE}, repeats", repeats, _SLOW)
    latest = {one.trial.name: one for one in (*seen, *again)}
    placebos: dict[int, Seen] = {}
    for start in sorted({candidate.start for candidate in candidates if candidate.start < case.start}):
        if any(candidate.start == start and latest[candidate.factor.words].heals for candidate in candidates):
            trial = repeated(f"unchanged from {start:,}", "placebo", start, until - start, (), case.jitter, _RUNS)
            (placebos[start],) = yield from observe(case, f"{STAGE}, placebos", [trial])
    return tuple(Screened(c.factor, latest[c.factor.words], placebos.get(c.start)) for c in candidates)


@dataclass(frozen=True)
class _Candidate:
    factor: Factor
    changes: tuple[AnyChange, ...]
    start: int


def _trial(case: Case, candidate: _Candidate, until: int, runs: int) -> Trial:
    factor, start = candidate.factor, candidate.start
    longer = int((_LONGER - 1) * case.after) if factor.kind == "lr-schedule" else 0
    horizon = until - start + longer
    return repeated(factor.words, factor.kind, start, horizon, candidate.changes, case.jitter, runs)


def _candidates(case: Case) -> Iterator[_Candidate]:
    rate, start = case.rate_at(case.at), case.start
    slow = Factor("learning-rate", "rate × 0.1", rate, rate / 10, case.began if _is_raised_at_start(case) else None)
    yield _Candidate(slow, slower(case.solver, 0.1, start), start)
    yield from _rate_before(case)
    clip = usual_clip(case)
    current = case.solver.clip_gradients
    if clip and not 0 < current <= clip:
        changes = (SolverField("clip_gradients", repr(clip)),)
        yield _Candidate(Factor("gradient-clipping", f"gradient clipped to {clip:g}", current, clip), changes, start)
    early = max(case.first, case.at - _BACK)
    if case.momentum > 1.001 * USUAL_MOMENTUM:
        yield _Candidate(
            Factor("momentum", f"momentum {USUAL_MOMENTUM}", case.momentum, USUAL_MOMENTUM),
            with_momentum(case.solver, USUAL_MOMENTUM),
            early,
        )
    if not is_usual_decay(case.solver):
        yield _Candidate(
            Factor("weight-decay", f"weight decay {USUAL_DECAY}", case.solver.weight_decay, USUAL_DECAY),
            (SolverField("weight_decay", repr(USUAL_DECAY)),),
            max(case.first, case.at - _FAR_BACK),
        )


def usual_clip(case: Case) -> float:
    """Return twice the usual norm of the gradient, to which it is clipped; 0 where the norm is not known."""
    usual = case.usual_gradient
    return float(f"{2 * usual:.3g}") if np.isfinite(usual) else 0.0


def _rate_before(case: Case) -> Iterator[_Candidate]:
    """Yield rates of before the last rise, if the rate rose: held from near the onset on, and from the rise on."""
    for since, before in rises(case):
        words = f"rate held at {before:.3g}"
        yield _held(case, words, since, before, case.start)
        if max(case.first, case.start - _BACK) <= since < case.start:
            yield _held(case, f"{words} from {since:,} on", since, before, since)


def _held(case: Case, words: str, since: int, before: float, start: int) -> _Candidate:
    """Return arms from iteration `start` on, in which the rate that rose at `since` is held at that of `before`."""
    changes: tuple[AnyChange, ...] = (RateHeld(max(start, since) if since <= case.at else start, before),)
    if since < start and holds_rate(case.solver):
        changes = (*changes, HistoryScaled(before / case.rate_at(start)))
    return _Candidate(Factor("lr-schedule", words, case.rate_at(case.at), before, since), changes, start)


def _is_raised_at_start(case: Case) -> bool:
    """Check whether the run goes on from another one with a higher rate, not long before the break."""
    return case.at - case.began <= _LONG and case.rate_at(case.began) > _RAISED * case.rate_before


def rises(case: Case) -> tuple[tuple[int, float], ...]:
    """Return the iteration at which the rate last rose before the break, and the rate before; none if it did not.

    A rate that rises at every iteration has risen since it was three quarters of what it is at the break, and since it
    was a third.
    """
    row = min(case.row(case.at), len(case.rate) - 1)
    offset = max(0, row - _LONG)
    rates = case.rate[offset : row + 1]
    steps = np.flatnonzero(rates[1:] > _RAISED * rates[:-1]) + 1
    if steps.size:
        last = int(steps[-1])
        return ((int(case.iterations[offset + last]), float(rates[last - 1])),)
    lower = [np.flatnonzero(rates < share * rates[-1]) for share in _SHARES]
    return tuple((int(case.iterations[offset + rows[-1]]), float(rates[rows[-1]])) for rows in lower if rows.size)
