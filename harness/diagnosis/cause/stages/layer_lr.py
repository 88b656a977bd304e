"""Screening of single layers: what becomes of the training with a tenth of the rate for one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.observing import observe
from harness.diagnosis.cause.slower import holds_rate
from harness.diagnosis.cause.trials import Procedure, Seen, Trial, layer_rate, repeated
from harness.schemas.arm import AnyChange, HistoryScaled

STAGE = "layers' rates"
_FACTOR = 0.1
_RUNS = 3
_MOST = 4  # layers that are tried alone, because they are out of line
_HIGH_RATE = 3.0  # times the median lr_mult, or more, is out of line
_FAR = 20.0  # likewise, so far that it is no choice of fine-tuning, for which 10 is usual
_LARGE_STEP = 5.0  # times the median of update / weight


@dataclass(frozen=True)
class LayerRates:
    """What lower rates of layers gave.

    Attributes:
        alone: by layer, arms with a tenth of its rate.
        others: arms with a tenth of the rate of all layers but the one that heals alone; None if they were not made.
        far: the layers whose lr_mult is so far above that of others that they need no comparison with those: a tenth of
            the rate of many layers heals where one is much too fast.
    """

    alone: dict[str, Seen]
    others: Seen | None = None
    far: tuple[str, ...] = ()

    @property
    def healing(self) -> tuple[str, ...]:
        """The layers of which each heals alone."""
        return tuple(layer for layer, seen in self.alone.items() if seen.all_heal)

    @property
    def layer(self) -> str | None:
        """The one layer that heals alone, while all others together do not, or is far above them; None without one."""
        if len(self.healing) != 1:
            return None
        (layer,) = self.healing
        return layer if self.is_far or (self.others is not None and self.others.all_break) else None

    @property
    def is_far(self) -> bool:
        """The one layer that heals alone is far above the others."""
        return len(self.healing) == 1 and self.healing[0] in self.far


def screen_layer_rates(case: Case) -> Procedure[LayerRates]:
    """Lower the rate of one layer at a time, of those out of line.

    A layer that is not is no cause, even if it heals: a lower rate heals nearly everything, by chance as well.
    """
    layers = case.layers
    if len(layers) < 2:
        return LayerRates({})
    candidates = out_of_line(case)
    found = yield from observe(case, STAGE, [_alone(case, layer, 1) for layer in candidates])
    alone = dict(zip(candidates, found, strict=True))
    far = tuple(layer for layer in candidates if rates(case)[layer] >= _FAR * usual_rate(case))
    healing = [layer for layer, seen in alone.items() if seen.all_heal]
    if len(healing) != 1:
        return LayerRates(alone, far=far)
    (layer,) = healing
    trials = [_alone(case, layer, _RUNS)]
    if layer not in far:
        rest = [other for other in layers if other != layer]
        trials.append(_trial(case, f"rate × {_FACTOR} for all but {layer}", rest, _FACTOR, _RUNS))
    again, *others = yield from observe(case, STAGE, trials)
    return LayerRates(alone | {layer: again}, others[0] if others else None, far)


def out_of_line(case: Case) -> tuple[str, ...]:
    """Return the layers whose rate, or whose usual update in relation to their weights, is far above that of others.

    At most four, those with the largest updates first.
    """
    layers = case.layers
    steps = {layer: case.usual_steps.get(layer, 0.0) for layer in layers}
    high = _HIGH_RATE * usual_rate(case)
    large = _LARGE_STEP * float(np.median(list(steps.values())))
    found = [layer for layer in layers if rates(case)[layer] >= high or (large > 0 and steps[layer] >= large)]
    return tuple(sorted(found, key=lambda layer: -steps[layer])[:_MOST])


def alone_factor(case: Case, layer: str) -> float:
    """Return a tenth, or less where a tenth of the rate of a layer is more than that of the others."""
    return min(_FACTOR, usual_rate(case) / rates(case)[layer])


def alone_named(layer: str, factor: float) -> str:
    """Name the trial with `factor` times the rate of one layer."""
    return f"rate × {factor:.2g} for {layer}"


def _alone(case: Case, layer: str, runs: int) -> Trial:
    factor = alone_factor(case, layer)
    return _trial(case, alone_named(layer, factor), [layer], factor, runs)


def _trial(case: Case, name: str, layers: Sequence[str], factor: float, runs: int) -> Trial:
    changes: list[AnyChange] = []
    for layer in layers:
        changes += layer_rate(case.params, layer, factor)
        changes += [HistoryScaled(factor, layer)] if holds_rate(case.solver) else []
    return repeated(name, "layer-lr", case.start, case.horizon, changes, case.jitter, runs)


def rates(case: Case) -> dict[str, float]:
    """Return the lr_mult of the first blob of each layer that learns: usually that of its weights."""
    return {p.layer: p.lr_mult for p in reversed(case.params) if p.lr_mult}


def usual_rate(case: Case) -> float:
    """Return the median lr_mult of the layers."""
    return float(np.median(list(rates(case).values())))
