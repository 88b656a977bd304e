"""Margins: the highest learning rate, clip threshold and momentum with which a training survives what broke it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from harness.caffe_files.solver import solver_type
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.judging import recovers
from harness.diagnosis.cause.observing import measure
from harness.diagnosis.cause.slower import slower, with_momentum
from harness.diagnosis.cause.stages.limit_search import LimitSearch
from harness.diagnosis.cause.trials import Procedure, Trial
from harness.schemas.arm import AnyChange, Arm, ArmResult, SolverField
from harness.schemas.explanation import Margin

STAGE = "margins"
_LOWER = (0.3, 0.1, 0.01, 0.001)  # of the run's, to be tried until one survives
_LONGER = 1.5  # times as long as others, since a lower rate recovers more slowly


@dataclass(frozen=True)
class _Setting:
    """A setting of the solver whose limit is searched.

    Attributes:
        name: the key in explain.json.
        search: in numbers that are the worse the higher they are.
        value: of the setting, from such a number, as a user gives it.
        changes: that give the arm that value.
        what: names the value.
    """

    name: str
    search: LimitSearch
    value: Callable[[float], float]
    changes: Callable[[float], tuple[AnyChange, ...]]
    what: str


def find_margins(case: Case, cause: int) -> Procedure[dict[str, Margin]]:
    """Bisect the settings from iteration `cause` on, all of them at once, until each is known within a factor of 1.25.

    Rates are those of iteration `cause`; later ones follow the schedule at the same ratio. A threshold acts on the raw
    gradient of all blobs, summed over the passes, as Caffe's clip_gradients does. Momentum is searched by its effective
    rate, 1 / (1 - momentum), at the same rate, with a history as that momentum would have left it.

    A training survives where it has healed at the end of the arm, or is about to (see `recovers`): near the limit that
    takes too long to wait for. The lowest value that breaks can be that of the run, which is not repeated.
    """
    settings = {setting.name: setting for setting in _settings(case, cause)}
    searches = {name: setting.search for name, setting in settings.items()}
    while steps := {name: step for name, search in searches.items() if (step := search.next) is not None}:
        trials = [_trial(case, cause, settings[name], step) for name, step in steps.items()]
        found = yield from measure(STAGE, trials)
        for (name, step), trial in zip(steps.items(), trials, strict=True):
            searches[name] = searches[name].told(step, _survives(case, found[trial.arms[0].key]))
    return {name: _margin(setting, searches[name]) for name, setting in settings.items()}


def _trial(case: Case, cause: int, setting: _Setting, number: float) -> Trial:
    changes = setting.changes(setting.value(number))
    name = f"{setting.what} {setting.value(number):g} from {cause:,}"
    return Trial(name, "margin", (Arm(cause, int(_LONGER * case.rest(cause)), changes),))


def _survives(case: Case, result: ArmResult) -> bool | None:
    """Tell whether a training survived; None if its process died or it cannot be computed."""
    return None if result.ended in ("died", "refused") else recovers(result, case.levels)


def _margin(setting: _Setting, search: LimitSearch) -> Margin:
    def value(number: float | None) -> float | None:
        return None if number is None else setting.value(number)

    return Margin(value(search.survives), value(search.breaks))


def _settings(case: Case, cause: int) -> Iterator[_Setting]:
    rate = case.rate_at(cause)
    if np.isfinite(rate) and rate > 0:
        mild = tuple(factor * rate for factor in _LOWER)
        yield _Setting(
            "learning_rate",
            LimitSearch.below(rate, mild),
            _rounded,
            lambda value: slower(case.solver, value / rate, cause),
            "learning rate",
        )
    thresholds = _thresholds(case, cause)
    if thresholds is not None:
        yield _Setting(
            "clip_gradients",
            thresholds,
            _rounded,
            lambda value: (SolverField("clip_gradients", repr(value)),),
            "gradient clipped to",
        )
    momentum = case.momentum
    if solver_type(case.solver) in ("SGD", "Nesterov", "Adam") and 0 <= momentum < 1:
        effective = 1 / (1 - momentum)
        yield _Setting(
            "momentum",
            LimitSearch.below(effective, (max(_LOWER[0] * effective, 1.0), 1.0)),
            lambda number: _rounded(1 - 1 / number),
            lambda value: with_momentum(case.solver, value),
            "momentum",
        )


def _thresholds(case: Case, cause: int) -> LimitSearch | None:
    """Return the search for a threshold, below the largest that clips anything after iteration `cause`."""
    row = case.row(cause)
    norms = case.gradient_l2[row : row + case.rest(cause)]
    norms = norms[np.isfinite(norms) & (norms > 0)]
    usual = case.usual_gradient
    if not norms.size:
        return LimitSearch((usual,)) if usual > 0 else None
    clipped = float(case.solver.clip_gradients)
    largest = min(float(norms.max()), clipped if clipped > 0 else math.inf)
    if not 0 < usual < largest:
        usual = largest / 10
    return LimitSearch.below(largest, (math.sqrt(usual * largest), usual, usual / 10))


def _rounded(value: float) -> float:
    """Return a value that can be written in a few digits."""
    return float(f"{value:.4g}")
