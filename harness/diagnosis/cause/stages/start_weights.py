"""Whether training broke because of the weights that it started from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.observing import observe
from harness.diagnosis.cause.trials import Procedure, Seen, Trial
from harness.schemas.arm import AnyChange, Arm, HistoryScaled, LayerRedrawn

STAGE = "start weights"
NEAR = 60  # iterations after the start of training in which its start weights are suspected
_GROUPS = 8  # more layers than that are redrawn in groups first
_NO_HISTORY = "history zero at the start"
_RUNS = 2
_MORE = 4  # further arms of those that heal
_BY_CHANCE = 0.25  # share of the arms with other layers redrawn that may heal, at the most


@dataclass(frozen=True)
class StartFinding:
    """What other start weights gave.

    Attributes:
        layers: with fresh weights in each of which alone training does not break.
        history: the history of the start set to zero; None if it was not tried.
        tried: all trials.
        repeated: of `layers`: further arms.
    """

    layers: tuple[str, ...]
    history: Seen | None
    tried: tuple[Seen, ...]
    repeated: tuple[Seen, ...] = ()

    @property
    def heals(self) -> bool:
        """Training does not break with other start weights, or without the history."""
        return bool(self.layers) or (self.history is not None and self.history.all_heal)


def is_near_start(case: Case) -> bool:
    """Check whether training broke so early that what it started from is suspected, and can be replaced."""
    return case.at - case.began <= NEAR and case.first == case.began


def find_start(case: Case) -> Procedure[StartFinding]:
    """Draw the start weights anew, layer by layer, and forget the history with which training was resumed."""
    tried: list[Seen] = []
    history = None
    if case.began > 0:
        zero = Trial(_NO_HISTORY, "start-weights", _arms(case, (HistoryScaled(0),)))
        (history,) = yield from observe(case, STAGE, [zero])
        tried.append(history)
    groups: list[tuple[str, ...]] = list(_halved(case.layers)) if len(case.layers) > _GROUPS else _single(case.layers)
    layers: list[str] = []
    while groups:
        seen = yield from observe(case, STAGE, [_redrawn(case, group) for group in groups])
        tried += seen
        healing = [group for group, one in zip(groups, seen, strict=True) if one.all_heal]
        layers += [group[0] for group in healing if len(group) == 1]
        groups = [part for group in healing if len(group) > 1 for part in _halved(group)]
    if layers and not _is_chance(tried, layers):
        again = yield from observe(case, STAGE, [_redrawn(case, (layer,), _RUNS, _MORE) for layer in layers])
        found = [(layer, seen) for layer, seen in zip(layers, again, strict=True) if seen.all_heal]
        names, repeats = tuple(layer for layer, _ in found), tuple(seen for _, seen in found)
        return StartFinding(names, history, (*tried, *again), repeats)
    return StartFinding((), history, tuple(tried))


def _is_chance(tried: Sequence[Seen], layers: Sequence[str]) -> bool:
    """Check whether training does not break either with other layers redrawn, in more than a few arms."""
    healing = {_name((layer,)) for layer in layers}
    others = [seen for seen in tried if seen.trial.name not in healing and seen.trial.name != _NO_HISTORY]
    runs = sum(seen.runs for seen in others)
    return sum(seen.heals for seen in others) > _BY_CHANCE * runs


def _redrawn(case: Case, group: Sequence[str], first_seed: int = 0, runs: int = _RUNS) -> Trial:
    changes = tuple(LayerRedrawn(layer) for layer in group)
    name = f"{_name(group)} (repeats)" if first_seed else _name(group)
    return Trial(name, "start-weights", _arms(case, changes, first_seed, runs))


def _name(group: Sequence[str]) -> str:
    which = group[0] if len(group) == 1 else f"{group[0]} … {group[-1]} ({len(group)} layers)"
    return f"{which} redrawn at the start"


def _arms(case: Case, changes: Sequence[AnyChange], first_seed: int = 0, runs: int = _RUNS) -> tuple[Arm, ...]:
    horizon = max(case.until - case.began, 2 * case.after)
    return tuple(Arm(case.began, horizon, tuple(changes), seed) for seed in range(first_seed, first_seed + runs))


def _single(layers: Sequence[str]) -> list[tuple[str, ...]]:
    return [(layer,) for layer in layers]


def _halved(group: Sequence[str]) -> Iterator[tuple[str, ...]]:
    middle = len(group) // 2
    yield tuple(group[:middle])
    yield tuple(group[middle:])
