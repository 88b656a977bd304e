"""Check whether an alarm is still active."""

from __future__ import annotations

import numpy as np

from harness.diagnosis.conditions import Condition
from harness.diagnosis.live.rows import Names, Rows
from harness.schemas.layout import Alarm

_ABOUT_LOSSES = ("loss_jump", Condition.UNIFORM.rule, Condition.SATURATED.rule)
_JITTER = 0.02  # relative, of a head at chance level


def is_active(alarm: Alarm, recent: Rows, names: Names) -> bool:
    """Check whether the loss that raised `alarm` is as bad in the `recent` iterations; False for other rules."""
    if alarm.rule == Condition.NON_FINITE.rule:
        return len(recent) > 0 and not np.isfinite(recent.loss[-1] + recent.gradient_l2[-1].sum())
    if alarm.rule not in _ABOUT_LOSSES:
        return False
    heads = [head.name for head in names.heads]
    values = recent.heads[:, heads.index(alarm.subject)] if alarm.subject in heads else recent.loss
    since = values[recent.iteration >= alarm.iteration]
    return not len(since) or not np.median(since) < (1 - _JITTER) * alarm.limit
