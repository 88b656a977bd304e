"""Is what an alarm found still so?"""

from __future__ import annotations

import numpy as np

from harness.diagnosis.live.rows import Names, Rows
from harness.schemas.layout import Alarm

_JITTER = 0.02  # of a head at ln(classes)


def is_active(alarm: Alarm, last: Rows, names: Names) -> bool:
    """Is the loss behind `alarm` as bad in the `last` iterations still? (False for rules that are not about a loss.)"""
    if alarm.rule == "non_finite":
        return len(last) > 0 and not np.isfinite(last.loss[-1] + last.gradient_l2[-1].sum())
    if alarm.rule not in ("loss_jump", "uniform_collapse", "saturated_softmax"):
        return False
    heads = [head.name for head in names.heads]
    values = last.heads[:, heads.index(alarm.subject)] if alarm.subject in heads else last.loss
    since = values[last.iteration >= alarm.iteration]
    return not len(since) or not np.median(since) < (1 - _JITTER) * alarm.limit
