"""Margins: the highest learning rate, clip threshold and momentum with which a training survives what broke it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from harness.caffe_files.solver import solver_type
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.observing import measure
from harness.diagnosis.cause.slower import slower, with_momentum
from harness.diagnosis.cause.stages.limit_search import WITHIN, LimitSearch
from harness.diagnosis.cause.surviving import survives
from harness.diagnosis.cause.trials import Procedure, Trial, repeated
from harness.schemas.arm import AnyChange, SolverField
from harness.schemas.explanation import Count, Margin

STAGE = "margins"
_LOWER = (0.3, 0.1, 0.01, 0.001)  # of the run's, to be tried until one survives
_RUNS = 2  # arms at both ends
_LOWERED = 2  # times that an end is lowered whose repeat does not survive
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
        least: no number below it has a value.
    """

    name: str
    search: LimitSearch
    value: Callable[[float], float]
    changes: Callable[[float], tuple[AnyChange, ...]]
    what: str
    least: float = 0.0


def find_margins(case: Case, cause: int) -> Procedure[dict[str, Margin]]:
    """Bisect the settings from iteration `cause` on, until each is known within a factor of 1.25.

    Rates are those of iteration `cause`; later ones follow the schedule at the same ratio. A threshold acts on the raw
    gradient of all blobs, summed over the passes, as Caffe's clip_gradients does. Momentum is searched by its effective
    rate, 1 / (1 - momentum), at the same rate, with a history as that momentum would have left it; a guess is the same
    share of the run's as for the rate.

    A training survives where it has healed at the end of the arm, or is about to (see `survives`). Both ends are
    repeated from jittered weights; where such a repeat does not survive, lower values are tried. The lowest value that
    breaks can be that of the run, which is not repeated.
    """
    settings = {setting.name: setting for setting in (*_rate(case, cause), *_threshold(case, cause))}
    searches = yield from _bisected(case, cause, settings)
    momentum = {setting.name: setting for setting in _momentum(case, _share(case, cause, searches))}
    searches |= yield from _bisected(case, cause, momentum)
    return (yield from _confirmed(case, cause, settings | momentum, searches))


def _bisected(case: Case, cause: int, settings: Mapping[str, _Setting]) -> Procedure[dict[str, LimitSearch]]:
    """Search the limits of all settings at once."""
    searches = {name: setting.search for name, setting in settings.items()}
    while steps := {name: step for name, search in searches.items() if (step := search.next) is not None}:
        found = yield from _tried(case, cause, [(settings[name], step) for name, step in steps.items()], 1)
        for name, step in steps.items():
            (alive,) = found[name, step]
            searches[name] = searches[name].told(step, alive)
    return searches


Survival = dict[tuple[str, float], tuple[bool | None, ...]]  # of the arms, by name of a setting and the number tried


def _tried(case: Case, cause: int, steps: Iterable[tuple[_Setting, float]], runs: int) -> Procedure[Survival]:
    """Return which of the arms survive in which a setting each has some value."""
    wanted = {(setting.name, number): _trial(case, cause, setting, number, runs) for setting, number in steps}
    found = yield from measure(STAGE, list(wanted.values()))
    return {step: tuple(survives(found[arm.key], case.levels) for arm in trial.arms) for step, trial in wanted.items()}


def _confirmed(
    case: Case, cause: int, settings: Mapping[str, _Setting], searches: Mapping[str, LimitSearch]
) -> Procedure[dict[str, Margin]]:
    """Repeat both ends of each search, and lower those that do not survive."""
    ends = {name: (search.survives, search.breaks) for name, search in searches.items()}
    seen: Survival = {}
    for more in reversed(range(_LOWERED + 1)):
        wanted = [
            (settings[name], number)
            for name, numbers in ends.items()
            for number in numbers
            if number is not None and number != settings[name].search.breaks and (name, number) not in seen
        ]
        if wanted:
            seen |= yield from _tried(case, cause, wanted, _RUNS)
        if wanted and more:
            ends = {name: (_lowered(settings[name], mild, seen), breaks) for name, (mild, breaks) in ends.items()}
    return {name: _margin(settings[name], *ends[name], seen) for name in settings}


def _lowered(setting: _Setting, number: float | None, seen: Survival) -> float | None:
    """Return the number to try in place of one that survived, but not in its repeat; itself if it did."""
    if number is None or all(seen.get((setting.name, number), ())) or number / WITHIN < setting.least:
        return number
    return number / WITHIN


def _trial(case: Case, cause: int, setting: _Setting, number: float, runs: int) -> Trial:
    changes = setting.changes(setting.value(number))
    name = f"{setting.what} {setting.value(number):g} from {cause:,}"
    return repeated(name, "margin", cause, int(_LONGER * case.rest(cause)), changes, case.jitter, runs)


def _margin(setting: _Setting, mild: float | None, breaks: float | None, seen: Survival) -> Margin:
    """State the ends of a margin; one that its last repeat did not confirm has the count that says so."""

    def counted(number: float | None, alive: bool) -> Count | None:
        arms = () if number is None else seen.get((setting.name, number), ())
        return Count(arms.count(alive), len(arms)) if arms else None

    low, high = (None if number is None else setting.value(number) for number in (mild, breaks))
    return Margin(low, high, counted(mild, True), counted(breaks, False))


def _rate(case: Case, cause: int) -> Iterator[_Setting]:
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


def _threshold(case: Case, cause: int) -> Iterator[_Setting]:
    thresholds = _thresholds(case, cause)
    if thresholds is not None:
        yield _Setting(
            "clip_gradients",
            thresholds,
            _rounded,
            lambda value: (SolverField("clip_gradients", repr(value)),),
            "gradient clipped to",
        )


def _momentum(case: Case, share: tuple[float, float] | None) -> Iterator[_Setting]:
    """Yield the momentum; `share` guesses its limit: that of the effective rate which survives, and which does not."""
    momentum = case.momentum
    if solver_type(case.solver) not in ("SGD", "Nesterov", "Adam") or not 0 <= momentum < 1:
        return
    effective = 1 / (1 - momentum)
    low, guess = (math.inf, None) if share is None else (share[0] * effective, share[1] * effective)
    mild = [number for number in (low, _LOWER[0] * effective, 1.0) if 1 <= number <= (low if low >= 1 else math.inf)]
    yield _Setting(
        "momentum",
        LimitSearch.below(effective, tuple(mild), guess),
        lambda number: _rounded(1 - 1 / number),
        lambda value: with_momentum(case.solver, value),
        "momentum",
        least=1.0,
    )


def _share(case: Case, cause: int, searches: Mapping[str, LimitSearch]) -> tuple[float, float] | None:
    """Return which shares of the run's learning rate survive and do not; None where that is not known."""
    found = searches.get("learning_rate")
    if found is None or found.survives is None or found.fails is None:
        return None
    rate = case.rate_at(cause)
    return found.survives / rate, found.fails / rate


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
