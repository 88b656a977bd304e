"""Made-up cases and results: procedures of an investigation without any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from harness.caffe_files.messages import pb
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.trials import Found, Procedure, Wanted
from harness.schemas.arm import Arm, ArmResult
from harness.schemas.explanation import Levels
from harness.schemas.layout import Param

AT, AFTER = 100, 16
HEALTHY, BROKEN = 0.5, 4.0


def made_up_case(layers: Sequence[str] = ("a", "b", "c", "d"), **fields: object) -> Case:
    """Return the case of a run that breaks at iteration 100, at the rate 0.1; fields of its solver can be given."""
    count = 2 * AT
    loss = np.where(np.arange(count) <= AT, HEALTHY, BROKEN)
    gradient = np.where(np.arange(count) < AT, 2.0, 50.0)
    return Case(
        at=AT,
        first=AT - 50,
        kept=AT - 5,
        start=AT - 5,
        after=AFTER,
        levels=Levels(HEALTHY, BROKEN, (HEALTHY + BROKEN) / 2, BROKEN),
        solver=pb.SolverParameter(**{"type": "SGD", "momentum": 0.9, **fields}),  # type: ignore[arg-type]
        net=pb.NetParameter(),
        params=tuple(Param(layer, 0, (3, 3), 1.0, 1.0) for layer in layers),
        iterations=np.arange(count),
        loss=loss,
        rate=np.full(count, 0.1),
        gradient_l2=gradient,
        seconds=0.01,
    )


def answered(
    procedure: Procedure[Found],
    breaks: Callable[[Arm], bool],
    seen: list[Wanted] | None = None,
    more: Callable[[Arm], dict[str, object]] = lambda arm: {},
) -> Found:
    """Run a procedure whose arms have the losses of a training that breaks, or does not.

    Args:
        breaks: tells which.
        seen: gets what it wants.
        more: gives other fields of results.
    """
    try:
        wanted = next(procedure)
        while True:
            if seen is not None:
                seen.append(wanted)
            wanted = procedure.send(
                {arm.key: _result(arm, breaks(arm), more(arm)) for trial in wanted.trials for arm in trial.arms}
            )
    except StopIteration as stop:
        answer: Found = stop.value
        return answer


def _result(arm: Arm, breaks: bool, more: dict[str, object]) -> ArmResult:
    loss = (HEALTHY, *[BROKEN if breaks else HEALTHY] * (arm.horizon - 1))
    result = ArmResult(arm=arm, ended="completed", loss=loss, gradient_l2=(2.0,) * arm.horizon)
    return msgspec.structs.replace(result, **more)
