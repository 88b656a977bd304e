"""Trials: questions to a training, each put by arms that are repeats of one another, and what they answer.

A procedure is a generator. It yields the trials that it wants (`Wanted`), and is sent the results of their arms; its
return value is what it found. So it needs no engine, and can be tried on made-up results.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.schemas.arm import AnyChange, Arm, ArmResult, LayerField, WeightsJittered
from harness.schemas.explanation import Judgement
from harness.schemas.layout import Param


class OutOfBudget(Exception):
    """Thrown into a procedure where no further arm may be started: it returns what it has found so far."""


Found = TypeVar("Found")
Results = Mapping[str, ArmResult]  # by the key of the arm


@dataclass(frozen=True)
class Trial:
    """A question: what becomes of the training with a change?

    Attributes:
        name: unique in an investigation; a trial of the same name replaces an earlier one, with longer arms.
        kind: what it tests; see `ArmSummary.kind`.
        arms: that answer it: with other seeds, or other stand-ins.
    """

    name: str
    kind: str
    arms: tuple[Arm, ...]


@dataclass(frozen=True)
class Wanted:
    """Trials whose results a procedure waits for; `stage` is what the user is shown."""

    stage: str
    trials: tuple[Trial, ...]


Procedure = Generator[Wanted, Results, Found]


@dataclass(frozen=True)
class Seen:
    """A trial, the results of its arms and how each was judged, in the order of `trial.arms`."""

    trial: Trial
    results: tuple[ArmResult, ...]
    judgements: tuple[Judgement, ...]

    @property
    def runs(self) -> int:
        """The arms that say something: broken or healed."""
        return self.breaks + self.heals

    @property
    def breaks(self) -> int:
        return self.judgements.count("broken")

    @property
    def heals(self) -> int:
        return self.judgements.count("healed")

    @property
    def all_heal(self) -> bool:
        return self.heals == len(self.judgements) > 0

    @property
    def all_break(self) -> bool:
        return self.breaks == len(self.judgements) > 0


def repeated(
    name: str,
    kind: str,
    start: int,
    horizon: int,
    changes: Sequence[AnyChange],
    jitter: float,
    runs: int,
) -> Trial:
    """Return a trial of `runs` arms: the first one as it is, the others with their weights jittered by `jitter`.

    With a jitter of 0 they would all be the same, and there is one.
    """
    more = range(1, runs if jitter else 1)
    arms = [Arm(start, horizon, tuple(changes))]
    arms += [Arm(start, horizon, (*changes, WeightsJittered(jitter)), seed) for seed in more]
    return Trial(name, kind, tuple(arms))


def layer_rate(params: Sequence[Param], layer: str, factor: float) -> tuple[LayerField, ...]:
    """Return the changes that multiply the rates of all params of a layer by `factor`."""
    return tuple(
        LayerField(layer, f"param[{p.index}].lr_mult", repr(p.lr_mult * factor)) for p in params if p.layer == layer
    )
