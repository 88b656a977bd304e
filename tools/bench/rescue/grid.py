"""Changes of all kinds that `rescue` makes, for any break: what random search draws from."""

from __future__ import annotations

from collections.abc import Iterator

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.slower import holds_rate, slower
from harness.diagnosis.cause.stages.factors import USUAL_DECAY, usual_clip
from harness.diagnosis.cause.trials import layer_rate
from harness.schemas.arm import AnyChange, HistoryScaled, RateScaled, SolverField, StreamShifted
from harness.schemas.rescue import Candidate, CandidateKind

_WIDTHS = (1, 2, 4, 8, 16)  # batches that are skipped
_CLIPS = (0.5, 1.0, 2.0, 5.0)  # times twice the usual norm of the gradient
_FACTORS = (0.5, 0.2, 0.1, 0.05, 0.01)  # of the rate
_LAYER_FACTOR = 0.1
_MOMENTA = (0.9, 0.5)


def grid_of(case: Case) -> tuple[Candidate, ...]:
    """Return the changes that fit a training, whatever broke it, but for records left out: nothing says which."""
    return (*_of_data(case), *_of_rates(case), *_of_settings(case))


def _of_data(case: Case) -> Iterator[Candidate]:
    yield _candidate("unchanged", "nothing changed")
    for width in _WIDTHS:
        yield _candidate("batches", f"without {width} batches", StreamShifted(case.at, case.at + width))


def _of_rates(case: Case) -> Iterator[Candidate]:
    for factor in _FACTORS:
        briefly: list[AnyChange] = [RateScaled(factor, case.start, case.until)]
        if holds_rate(case.solver):
            briefly.append(HistoryScaled(factor))
        yield _candidate("stretch", f"rate × {factor} for a stretch", *briefly)
        yield _candidate("rate", f"rate × {factor}", *slower(case.solver, factor, case.start))
    for layer in case.layers:
        changes = layer_rate(case.params, layer, _LAYER_FACTOR)
        yield _candidate("layer-rate", f"rate × {_LAYER_FACTOR} for {layer}", *changes)


def _of_settings(case: Case) -> Iterator[Candidate]:
    reset = (HistoryScaled(0.0),) if holds_rate(case.solver) and case.momentum > 0 else ()
    if reset:
        yield _candidate("history", "momentum reset", *reset)
    for momentum in _MOMENTA:
        if momentum < case.momentum:
            yield _candidate("momentum", f"momentum {momentum}", SolverField("momentum", repr(momentum)), *reset)
    if abs(case.solver.weight_decay - USUAL_DECAY) > 0.01 * USUAL_DECAY:
        yield _candidate("decay", "usual weight decay", SolverField("weight_decay", repr(USUAL_DECAY)))
    for factor in _CLIPS if usual_clip(case) else ():
        value = factor * usual_clip(case)
        yield _candidate("clip", f"gradients clipped to {value:.3g}", SolverField("clip_gradients", repr(value)))


def _candidate(kind: CandidateKind, name: str, *changes: AnyChange) -> Candidate:
    return Candidate(kind, f"{name} (grid)", (), changes)
