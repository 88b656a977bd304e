"""The curvature of the loss along the gradient, to be compared with the step that the solver makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.caffe_files.messages import pb
from harness.caffe_files.solver import solver_type
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.observing import measure
from harness.diagnosis.cause.trials import Procedure, Trial
from harness.schemas.arm import (
    AnyChange,
    Arm,
    ArmResult,
    HistoryScaled,
    LayerField,
    RateHeld,
    SolverField,
    StreamShifted,
)
from harness.schemas.explanation import Curvature

STAGE = "curvature"
_ORDINARY = 3  # batches
_BACK = 40  # iterations before the break from which they are taken
_STEPS = (0.1, 0.01, 0.001)  # of the solver's: the first after which all is finite is used


@dataclass(frozen=True)
class _Batch:
    """The batch of iteration `read`, for arms that read it twice with the weights of iteration `at`."""

    at: int
    read: int

    def trial(self, rate: float, plain: Sequence[AnyChange]) -> Trial:
        """Return an arm of a step at `rate` along the gradient of the batch, and of its gradient after that."""
        same = (StreamShifted(self.at, self.read, self.at + 1), StreamShifted(self.at + 1, self.read))
        name = f"one step at {rate:.3g} on batch {self.read:,}, from the weights of {self.at:,}"
        return Trial(name, "curvature", (Arm(self.at, 2, (*same, RateHeld(self.at, rate), *plain)),))


def measure_curvature(case: Case, iteration: int) -> Procedure[Curvature | None]:
    """Measure g'Hg / g'g of the batch of `iteration` and of ordinary ones, at the weights before that iteration.

    It is how much the gradient of a batch changes along itself: from W - rg to W + rg, where r is a tenth of the
    solver's rate, so that kinks on the way count as the solver meets them. (Losses say less: Caffe limits them, while
    the gradient goes on.) Where layers have other rates (lr_mult), g is M^(1/2) times the gradient, for the matrix M of
    the lr_mult, and H likewise, which is what the limits 2(1 ± β)/η hold for. Dropout is switched off.

    None where the solver's update is not along the gradient (neither SGD nor Nesterov), where its rate is 0, and where
    two passes of the same batch differ because layers draw, or go on with a state.
    """
    rate = case.rate_at(iteration)
    if solver_type(case.solver) not in ("SGD", "Nesterov") or not rate > 0:
        return None
    batches = [_Batch(iteration, read) for read in (iteration, *_ordinary(case, iteration))]
    plain = _plain(case.net)
    repeated = [batch.trial(0.0, plain) for batch in batches[:2]]
    results = yield from measure(STAGE, repeated)
    if not _is_repeatable([results[trial.arms[0].key] for trial in repeated]):
        return None
    found = yield from _curvatures(batches, rate, plain)
    ordinary = [found[batch] for batch in batches[1:] if batch in found]
    return Curvature(
        iteration,
        found.get(batches[0]),
        float(np.median(ordinary)) if ordinary else None,
        slows=2 * (1 - case.momentum) / rate,
        diverges=2 * (1 + case.momentum) / rate,
    )


def _ordinary(case: Case, iteration: int) -> list[int]:
    """Return iterations before the break whose batches are ordinary, if possible of those that arms read anyway."""
    known = range(max(case.first, iteration - _BACK), iteration)
    before = known if len(known) >= _ORDINARY else range(max(case.earliest, iteration - _BACK), iteration)
    ordinary = [t for t in before if t not in case.alike]
    return sorted({ordinary[len(ordinary) * number // _ORDINARY] for number in range(_ORDINARY)}) if ordinary else []


def _plain(net: pb.NetParameter) -> tuple[AnyChange, ...]:
    """Return the changes with which an update is rate × gradient, and nothing is drawn."""
    dropout = (
        LayerField(layer.name, "dropout_param.dropout_ratio", "0") for layer in net.layer if layer.type == "Dropout"
    )
    fields = (SolverField("momentum", "0"), SolverField("weight_decay", "0"), SolverField("clip_gradients", "-1"))
    return (*fields, HistoryScaled(0.0), *dropout)


def _is_repeatable(unchanged: Sequence[ArmResult]) -> bool:
    """Tell whether the loss of a batch is the same again, bit for bit, after a step at rate 0, where it is finite."""
    finite = [result.loss for result in unchanged if result.ended == "completed"]
    return bool(finite) and all(before == after for before, after in finite)


def _curvatures(batches: Sequence[_Batch], rate: float, plain: Sequence[AnyChange]) -> Procedure[dict[_Batch, float]]:
    """Return the curvatures of batches, but of those whose gradient is not finite."""
    found: dict[_Batch, float] = {}
    for share in _STEPS:
        pending = [batch for batch in batches if batch not in found]
        if not pending:
            break
        step = share * rate
        trials = [batch.trial(signed, plain) for batch in pending for signed in (step, -step)]
        results = yield from measure(STAGE, trials)
        along = [results[trial.arms[0].key] for trial in trials]
        for batch, forward, backward in zip(pending, along[::2], along[1::2], strict=True):
            if forward.ended == backward.ended == "completed" and (square := _square(forward, 0)):
                found[batch] = (_square(backward, 1) - _square(forward, 1)) / (4 * step * square)
    return {batch: value for batch, value in found.items() if math.isfinite(value)}


def _square(result: ArmResult, number: int) -> float:
    """Return g'g of an iteration, where g is scaled by the lr_mult, up to a factor: that of gradient × update.

    Where the blobs of a layer have several lr_mult, it is too large by a few percent.
    """
    gradients, updates = result.layer_gradient_l2, result.layer_update_l2
    return math.fsum(gradients[layer][number] * updates[layer][number] for layer in gradients)
