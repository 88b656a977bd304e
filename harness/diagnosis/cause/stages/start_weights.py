"""Whether training broke because of the weights that it started from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.observing import observe
from harness.diagnosis.cause.trials import Procedure, Seen, Trial, repeated
from harness.schemas.arm import AnyChange, Arm, HistoryScaled, LayerRedrawn, WeightsScaled

STAGE = "start weights"
NEAR = 60  # iterations after the start of training in which its start weights are suspected
FAR = 300  # likewise, where some of them were unusually large or small
_GROUPS = 8  # more layers than that are redrawn in groups first
_NO_HISTORY = "history zero at the start"
_RUNS = 2
_MORE = 4  # further arms of those that heal
_BY_CHANCE = 0.25  # share of the arms with other layers redrawn that may heal, at the most
_JITTER = 1e-3  # of repeats, where the control does not say how much it bears


@dataclass(frozen=True)
class StartFinding:
    """What other start weights gave.

    Attributes:
        layers: whose weights broke it: scaled to the size of the others, or redrawn alone, training does not break.
        history: the history of the start set to zero; None if it was not tried.
        tried: all trials.
        repeated: of `layers`, where these were redrawn: further arms.
        balanced: those of an unusual size scaled; None if there are none.
        unchanged: from the start, for comparison with these.
        sizes: by layer, by which factor its weights were unusually large or small.
    """

    layers: tuple[str, ...]
    history: Seen | None
    tried: tuple[Seen, ...]
    repeated: tuple[Seen, ...] = ()
    balanced: Seen | None = None
    unchanged: Seen | None = None
    sizes: Mapping[str, float] = field(default_factory=dict)

    @property
    def heals(self) -> bool:
        """Training does not break with other start weights, or without the history."""
        return bool(self.layers) or (self.history is not None and self.history.all_heal)

    @property
    def deviates(self) -> bool:
        """It is not only that other start weights heal: those of the run had unusual sizes, or the history did it."""
        return self.balance_heals or (self.history is not None and self.history.all_heal)

    @property
    def balance_heals(self) -> bool:
        """Training does not break with all weights of a usual size, and breaks from the same start without that."""
        balanced, unchanged = self.balanced, self.unchanged
        return (
            balanced is not None
            and balanced.all_heal
            and unchanged is not None
            and (unchanged.breaks > unchanged.heals)
        )


def is_near_start(case: Case) -> bool:
    """Check whether training broke so early that what it started from is suspected, and can be replaced."""
    return case.at - case.began <= (FAR if case.start_sizes else NEAR) and case.first == case.began


def find_start(case: Case) -> Procedure[StartFinding]:
    """Change what training started from: the sizes of weights, the history with which it was resumed, whole layers.

    Weights of an unusual size are scaled to that of the others. Where that does not heal, and training broke soon,
    layers are drawn anew, one by one.
    """
    tried: list[Seen] = []
    history = None
    if case.began > 0:
        zero = Trial(_NO_HISTORY, "start-weights", _arms(case, (HistoryScaled(0),)))
        (history,) = yield from observe(case, STAGE, [zero])
        tried.append(history)
    found = StartFinding((), history, tuple(tried), sizes=case.start_sizes)
    if case.start_sizes:
        found = yield from _with_usual_sizes(case, found)
    if found.layers or case.at - case.began > NEAR:
        return found
    return (yield from _with_layers_redrawn(case, found))


def _with_usual_sizes(case: Case, found: StartFinding) -> Procedure[StartFinding]:
    """Scale the weights of an unusual size, all of them at once; in few arms first."""
    scaled = tuple(WeightsScaled(layer, 1 / ratio, 0) for layer, ratio in case.start_sizes.items())
    what = f"the weights of {' and '.join(case.start_sizes)} scaled to the size of others at the start"
    for runs in (_RUNS, _RUNS + _MORE):
        balanced, unchanged = (
            repeated(name, kind, case.began, _horizon(case), changes, case.jitter or _JITTER, count)
            for name, kind, changes, count in (
                (what, "start-weights", scaled, runs),
                ("unchanged from the start", "placebo", (), _RUNS + 1),
            )
        )
        seen = yield from observe(case, STAGE, [balanced, unchanged])
        found = replace(found, balanced=seen[0], unchanged=seen[1])
        if not found.balance_heals:
            break
    layers = tuple(case.start_sizes) if found.balance_heals else ()
    return replace(found, layers=layers, tried=(*found.tried, *seen))


def _with_layers_redrawn(case: Case, found: StartFinding) -> Procedure[StartFinding]:
    """Draw layers anew: each alone, or groups of many layers that are halved."""
    groups = list(_halved(case.layers)) if len(case.layers) > _GROUPS else _single(case.layers)
    redrawn: list[Seen] = []
    layers: list[str] = []
    while groups:
        seen = yield from observe(case, STAGE, [_redrawn(case, group) for group in groups])
        redrawn += seen
        healing = [group for group, one in zip(groups, seen, strict=True) if one.all_heal]
        layers += [group[0] for group in healing if len(group) == 1]
        groups = [part for group in healing if len(group) > 1 for part in _halved(group)]
    layers = [layer for layer in layers if not _is_chance(layer, redrawn)]
    tried = (*found.tried, *redrawn)
    if not layers:
        return replace(found, tried=tried)
    again = yield from observe(case, STAGE, [_redrawn(case, (layer,), _RUNS, _MORE) for layer in layers])
    repeats = {layer: seen for layer, seen in zip(layers, again, strict=True) if seen.all_heal}
    return replace(found, layers=tuple(repeats), tried=(*tried, *again), repeated=tuple(repeats.values()))


def _is_chance(layer: str, redrawn: Sequence[Seen]) -> bool:
    """Check whether training does not break either with other layers redrawn than `layer`, in more than a few arms."""
    others = [seen for seen in redrawn if LayerRedrawn(layer) not in seen.trial.arms[0].changes]
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
    return tuple(Arm(case.began, _horizon(case), tuple(changes), seed) for seed in range(first_seed, first_seed + runs))


def _horizon(case: Case) -> int:
    return max(case.until - case.began, 2 * case.after)


def _single(layers: Sequence[str]) -> list[tuple[str, ...]]:
    return [(layer,) for layer in layers]


def _halved(group: Sequence[str]) -> Iterator[tuple[str, ...]]:
    middle = len(group) // 2
    yield tuple(group[:middle])
    yield tuple(group[middle:])
