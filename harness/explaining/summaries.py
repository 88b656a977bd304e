"""Trials and what they gave, as explain.json lists them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.diagnosis.cause.judging import end_level
from harness.diagnosis.cause.surviving import judged
from harness.diagnosis.cause.trials import Trial
from harness.explaining.wording import in_words
from harness.invocation import next_command, path_argument
from harness.schemas.arm import ArmResult
from harness.schemas.explanation import ArmSummary, Levels


def summary(run: Path, levels: Levels, trial: Trial, found: Mapping[str, ArmResult]) -> ArmSummary | None:
    """Summarize those arms of a trial that have a result; None if none has."""
    results = [found[arm.key] for arm in trial.arms if arm.key in found]
    if not results:
        return None
    judgements = tuple(judged(trial.kind, result, levels) for result in results)
    counted = [result for result, how in zip(results, judgements, strict=True) if how not in ("died", "refused")]
    first = results[0].arm
    return ArmSummary(
        name=trial.name,
        kind=trial.kind,
        changes=tuple(in_words(change) for change in first.changes),
        start=first.start,
        horizon=max(result.arm.horizon for result in results),
        runs=judgements.count("broken") + judgements.count("healed"),
        breaks=judgements.count("broken"),
        heals=judgements.count("healed"),
        loss=_finite(float(np.median([end_level(result.loss) for result in counted]))) if counted else None,
        command=repeat_command(run, first.key),
        keys=tuple(result.arm.key for result in results),
        judgements=judgements,
        curves=tuple(tuple(_finite(loss) for loss in result.loss) for result in results),
    )


def repeat_command(run: Path, key: str) -> str:
    """Return the command that replays an arm of a run once more."""
    return f"{next_command('explain')} {path_argument(run)} --repeat {key}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
