"""Is what an alarm found still so?"""

from __future__ import annotations

import numpy as np

from harness.analysis.rules.rows import Names, Rows
from harness.recording.layout import Alarm

_JITTER = 0.02  # of a head at ln(classes)


def stands(alarm: Alarm, last: Rows, names: Names) -> bool:
    """Has the loss behind `alarm` not come back below its limit in the `last` iterations?"""
    heads = [head.name for head in names.heads]
    values = last.heads[:, heads.index(alarm.subject)] if alarm.subject in heads else last.loss
    since = values[last.iteration >= alarm.iteration]
    return not len(since) or not np.median(since) < (1 - _JITTER) * alarm.limit
