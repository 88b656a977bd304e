"""The explanation of a break: explain.json, as `explain.py` writes it and report, notebook and capsules read it."""

from __future__ import annotations

from typing import Literal

import msgspec

EXPLANATION_VERSION = 1
EXPLAIN = "explain.json"  # in the run directory

Kind = Literal[
    "record",
    "data-shift",
    "learning-rate",
    "lr-schedule",
    "layer-lr",
    "momentum",
    "weight-decay",
    "start-weights",
    "machine",
    "none",
    "undecided",
]
Judgement = Literal["broken", "healed", "unclear", "died", "refused"]


class CulpritRecord(msgspec.Struct, frozen=True):
    """A record that does damage.

    Attributes:
        key: in the data set; empty if it is not known.
        iteration, index: which one of those that this iteration reads.
        effect: by how much the loss of the next iteration (of the second or third one, where it shows first there) is
            higher with this record in an ordinary batch; None where it is not finite.
        gradient_l2: norm of the raw gradient of that batch.
        usual_effect, usual_gradient_l2: the medians of ordinary records.
        relief: by how much the loss of the iteration that shows the damage is lower with an ordinary record in its
            place; only of a record that does damage together with others, but not alone.
        layers: the data layers that read it; empty for all of them.
    """

    key: str
    label: int | None
    iteration: int
    index: int
    effect: float | None
    class_name: str | None = None
    gradient_l2: float | None = None
    usual_effect: float | None = None
    usual_gradient_l2: float | None = None
    relief: float | None = None
    layers: tuple[str, ...] = ()


class Condition(msgspec.Struct, frozen=True):
    """Something that the break also needs, and the names of the trials that show it."""

    kind: Kind | Literal["gradient-clipping"]
    sentence: str
    trials: tuple[str, ...] = ()


class ChainLink(msgspec.Struct, frozen=True):
    """A step from the cause to the damage, and the names of the trials that support it."""

    sentence: str
    trials: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """What broke the run.

    Attributes:
        sentence: the whole statement; `evidence` has a sentence for each claim, with counts.
        confidence: the share of the deciding arms that agree.
        iteration: the one at which the cause acts first.
        would_decide: what would decide it, where the kind is "undecided".
    """

    kind: Kind
    sentence: str
    confidence: float | None = None
    iteration: int | None = None
    records: tuple[CulpritRecord, ...] = ()
    layers: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    evidence: tuple[ChainLink, ...] = ()
    chain: tuple[ChainLink, ...] = ()
    would_decide: tuple[str, ...] = ()


class ControlSummary(msgspec.Struct, frozen=True):
    """The unchanged replays.

    Attributes:
        identical: all of them had the recorded digest at every iteration.
        iterations: that were compared.
        first_difference: the first iteration whose weights differ from the recorded ones.
        not_exact: what may keep a replay from the recorded bits.
    """

    identical: bool
    iterations: int
    breaks: int
    runs: int
    first_difference: int | None = None
    not_exact: tuple[str, ...] = ()


class ArmSummary(msgspec.Struct, frozen=True):
    """A trial: arms that differ in their seeds or stand-ins only.

    Attributes:
        name: unique in an explanation.
        kind: what it tests: a Kind, or "gradient-clipping", "control", "placebo", "effect", "margin", "layer", "brake",
            "order", "curvature".
        changes: in words, one each.
        loss: the median of the losses at the end of its arms; None where it is not finite.
        command: repeats the first arm exactly.
        keys: of the arms.
        judgements: of the arms.
        curves: the losses of each arm, from `start` on; null where not finite.
    """

    name: str
    kind: str
    changes: tuple[str, ...]
    start: int
    horizon: int
    runs: int
    breaks: int
    heals: int
    loss: float | None
    command: str
    keys: tuple[str, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    curves: tuple[tuple[float | None, ...], ...] = ()


class Count(msgspec.Struct, frozen=True):
    """How many of some replays did what is said, and how many there were."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number} of {self.of} {'replay' if self.of == 1 else 'replays'}"


class Margin(msgspec.Struct, frozen=True):
    """The highest value of a setting with which training survives, and the lowest with which it breaks.

    Attributes:
        survived, broke: in how many replays with these values; null where there is none, and for the value of the run.
    """

    survives: float | None = None
    breaks: float | None = None
    survived: Count | None = None
    broke: Count | None = None

    @property
    def confirmed(self) -> float | None:
        """The value with which all replays survived; None if there is none."""
        known = self.survived is None or self.survived.number == self.survived.of
        return self.survives if known else None


class Curvature(msgspec.Struct, frozen=True):
    """The curvature of the loss along the gradient, g'Hg / g'g, at iteration `iteration`.

    Attributes:
        at_break, ordinary: of the batch that broke, and of ordinary ones (their median).
        slows, diverges: 2(1 - β)/η and 2(1 + β)/η, for momentum β and rate η.
    """

    iteration: int
    at_break: float | None
    ordinary: float | None
    slows: float
    diverges: float


class Orders(msgspec.Struct, frozen=True):
    """How many of `runs` other data orders break that start `back` iterations before the cause."""

    back: int
    runs: int
    breaks: int


class Levels(msgspec.Struct, frozen=True):
    """Levels of the loss: before the break, after it (None: not finite), at chance, and where arms count as broken."""

    healthy: float
    broken: float | None
    limit: float
    chance: float | None = None

    @property
    def highest(self) -> float:
        """The level up to which losses are drawn: after the break; where that is not finite, chance, or twice the rise
        to the limit.
        """
        return self.broken or self.chance or 2 * self.limit - self.healthy


class Cost(msgspec.Struct, frozen=True):
    """What the replays took: iterations that were computed, seconds of this command, and workers."""

    iterations: int
    seconds: float
    workers: int


class Explanation(msgspec.Struct, frozen=True):
    """explain.json.

    Attributes:
        complete: no stage was left out; False after an interruption, or where the budget was used up.
        left_out: the stages that were not finished.
    """

    verdict: Verdict
    control: ControlSummary | None
    arms: tuple[ArmSummary, ...] = ()
    margins: dict[str, Margin] = {}
    point_of_no_return: int | None = None
    rewind: tuple[Orders, ...] = ()
    cost: Cost = Cost(0, 0.0, 0)
    curvature: Curvature | None = None
    levels: Levels | None = None
    complete: bool = True
    left_out: tuple[str, ...] = ()
    format_version: int = EXPLANATION_VERSION
    harness: str = ""


decode = msgspec.json.Decoder(Explanation).decode
