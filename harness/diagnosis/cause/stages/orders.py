"""Other orders of the data: how often training breaks with them, from how far before the cause."""

from __future__ import annotations

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.observing import measure, seen
from harness.diagnosis.cause.other_data import other_orders
from harness.diagnosis.cause.trials import Procedure, Trial
from harness.schemas.arm import Arm
from harness.schemas.explanation import Orders

STAGE = "other data orders"
_BACK = (50, 20, 10, 5, 2, 1)  # in the order in which a replay worker passes them
_RUNS = 2
_DEAR = 2.0  # an arm so many times as long as others is made once


def find_orders(case: Case, cause: int) -> Procedure[tuple[Orders, ...]]:
    """Replay from 1, 2, 5, 10, 20 and 50 iterations before the cause on with other batches, each of them once.

    Starts before the first iteration that can be replayed are left out, and arms that are not clear are not counted.
    """
    backs = [back for back in _BACK if cause - back >= case.first]
    trials = [_trial(case, cause, back) for back in backs]
    results = yield from measure(STAGE, trials)
    found = [seen(case, trial, results) for trial in trials]
    orders = (Orders(back, one.runs, one.breaks) for back, one in zip(backs, found, strict=True))
    return tuple(sorted(orders, key=lambda one: one.back))


def _trial(case: Case, cause: int, back: int) -> Trial:
    start, horizon = cause - back, back + case.rest(cause)
    runs = 1 if horizon > _DEAR * case.rest(cause) else _RUNS
    arms = tuple(Arm(start, horizon, order) for order in other_orders(case, start, start + horizon, runs))
    return Trial(f"another order of the data from {start:,}", "order", arms)
