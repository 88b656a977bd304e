"""Follow which alarms are still active: those from which the run has not returned."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from harness.diagnosis.conditions import Condition
from harness.diagnosis.live.rows import Names, Rows, no_rows
from harness.diagnosis.recorded.onset import level_width
from harness.diagnosis.robust_stats import Floats
from harness.schemas.layout import Alarm

_ABOUT_LOSSES = ("loss_jump", Condition.UNIFORM.rule, Condition.SATURATED.rule)
_JITTER = 0.02  # relative, of a head at chance level


class ActiveAlarms:
    """Follows the alarms of a run from its first iteration on. How the run is cut into pieces changes nothing.

    The run has returned from an alarm once the level of the loss that raised it, the median over about `span`
    iterations, is below its limit; from a value that is not finite, once everything is finite for as long. It is not
    active again when the loss breaks a second time: that is another departure.
    """

    def __init__(self, names: Names, span: int) -> None:
        self._names, self._width = names, level_width(span)
        self._alarms: list[Alarm] = []
        self._recent = no_rows(names)

    def take(self, rows: Rows, alarms: Iterable[Alarm]) -> None:
        """Take the next iterations, and the alarms that were raised at them."""
        self._alarms += [alarm for alarm in alarms if alarm.rule in (*_ABOUT_LOSSES, Condition.NON_FINITE.rule)]
        if not self._alarms:  # no more than this is done at the iterations of a healthy run
            self._recent = no_rows(self._names)
            return
        known = self._recent + rows
        self._alarms = [alarm for alarm in self._alarms if not self._has_returned(alarm, known)]
        self._recent = known[max(0, len(known) - self._width) :]

    @property
    def now(self) -> list[Alarm]:
        """The alarms whose damage is there in the last iterations."""
        return [alarm for alarm in self._alarms if self._is_bad(alarm)]

    def _has_returned(self, alarm: Alarm, rows: Rows) -> bool:
        values = self._values(alarm, rows)[rows.iteration >= alarm.iteration]
        if len(values) < self._width:
            return False
        levels = np.lib.stride_tricks.sliding_window_view(values, self._width)
        if alarm.rule == Condition.NON_FINITE.rule:
            return bool(np.isfinite(levels).all(axis=1).any())
        return bool((np.median(levels, axis=1) < (1 - _JITTER) * alarm.limit).any())

    def _is_bad(self, alarm: Alarm) -> bool:
        values = self._values(alarm, self._recent)
        if alarm.rule == Condition.NON_FINITE.rule:
            return len(values) > 0 and not np.isfinite(values[-1])
        since = values[self._recent.iteration >= alarm.iteration]
        return not len(since) or not np.median(since) < (1 - _JITTER) * alarm.limit

    def _values(self, alarm: Alarm, rows: Rows) -> Floats:
        """(n,) Return the loss that raised an alarm; of a value that is not finite, one that is not finite either."""
        if alarm.rule == Condition.NON_FINITE.rule:
            return np.asarray(rows.loss + rows.gradient_l2.sum(axis=1))
        heads = [head.name for head in self._names.heads]
        return rows.heads[:, heads.index(alarm.subject)] if alarm.subject in heads else rows.loss
