"""Made-up explanations, as `explain` would write them for a run that broke."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from harness.schemas.explanation import (
    ArmSummary,
    ChainLink,
    Condition,
    ControlSummary,
    Cost,
    CulpritRecord,
    Curvature,
    Explanation,
    Judgement,
    Levels,
    Margin,
    Orders,
    Verdict,
)

HEALTHY, BROKEN = 1.5, 9.02  # levels of the loss of the demo
AFTER = 60  # iterations that arms have from the cause on


def trial(
    name: str,
    kind: str,
    start: int,
    judgements: Sequence[Judgement],
    *,
    at: int,
    changes: Sequence[str] = (),
    horizon: int | None = None,
) -> ArmSummary:
    """Make up a trial, whose arms break at iteration `at`, if they do."""
    horizon = at + AFTER - start if horizon is None else horizon
    curves = [_curve(start, horizon, at, judgement, seed) for seed, judgement in enumerate(judgements)]
    ends = [curve[-1] for curve in curves if curve]
    known = [end for end in ends if end is not None]
    return ArmSummary(
        name=name,
        kind=kind,
        changes=tuple(changes),
        start=start,
        horizon=horizon,
        runs=len(judgements),
        breaks=judgements.count("broken"),
        heals=judgements.count("healed"),
        loss=float(np.median(known)) if known and len(known) == len(ends) else None,
        command=f"caffe-harness explain RUN --arm {abs(hash(name)) % 16**8:08x}",
        keys=tuple(f"{number:032x}" for number in range(len(judgements))),
        judgements=tuple(judgements),
        curves=tuple(curves),
    )


def record_explanation(
    at: int, keys: Sequence[str], layer: str, *, first_index: int = 8, scale: float = 1.0
) -> Explanation:
    """Make up that the records `keys` of the batch of iteration `at` broke the run."""
    start, several = at - 5, f"{len(keys)} records"
    records = tuple(
        CulpritRecord(
            key=key,
            label=None,
            iteration=at,
            index=first_index + number,
            effect=0.35 + 0.06 * number,
            gradient_l2=210.0 + 9 * number,
            usual_effect=0.004,
            usual_gradient_l2=6.3,
        )
        for number, key in enumerate(keys)
    )
    trials = (
        trial("nothing changed", "control", start, ["broken"] * 3, at=at),
        trial("weights jittered by 0.1 %", "control", start, ["broken"] * 6, at=at, changes=["weights jittered"]),
        trial(f"batch of {at} replaced", "record", start, ["healed"] * 4, at=at, changes=["other records"]),
        trial(f"{several} of {at} replaced", "record", start, ["healed"] * 8, at=at, changes=[f"{several} replaced"]),
        trial("the others replaced", "placebo", start, ["broken"] * 3, at=at, changes=["16 other records replaced"]),
        trial(f"{several} in another batch", "record", start, ["broken"] * 5, at=at, changes=[f"{several} moved"]),
        trial("a quarter of them", "record", start, ["healed", "unclear", "broken"], at=at, changes=["4 moved"]),
        trial("rate × 0.1", "learning-rate", start, ["healed"] * 3, at=at, changes=["rate × 0.1", "history × 0.1"]),
        trial("momentum 0", "momentum", start, ["broken", "died"], at=at, changes=["momentum 0"]),
        trial("rate × 0.41", "margin", start, ["broken"], at=at, changes=["rate × 0.41"]),
        trial("rate × 0.33", "margin", start, ["healed"], at=at, changes=["rate × 0.33"]),
        trial(f"update of {layer} withheld", "layer", start, ["healed"] * 2, at=at, changes=["one layer withheld"]),
        trial("update of the others withheld", "layer", start, ["broken"] * 2, at=at, changes=["all but one"]),
        trial("rate × 0.1 after it", "brake", start, ["broken"] * 3, at=at, changes=[f"rate × 0.1 from {at + 1}"]),
        trial(
            "orders from 5 before",
            "order",
            start,
            ["broken", "healed", "healed", "healed"],
            at=at,
            changes=["other order"],
        ),
        *(
            trial(f"record {number} alone", "effect", at, ["healed"], at=at, horizon=2, changes=[f"record {number}"])
            for number in range(2 * len(keys))
        ),
    )
    rate = 0.0034 * scale
    return Explanation(
        verdict=Verdict(
            kind="record",
            sentence=f"The {several} {keys[0]} to {keys[-1]} in the batch of iteration {at} broke it.",
            confidence=1.0,
            iteration=at,
            records=records,
            layers=(layer,),
            conditions=(
                Condition("learning-rate", "a learning rate above 0.0016", ("rate × 0.1",)),
                Condition("gradient-clipping", "no gradient clipping at 20 or less"),
            ),
            evidence=(
                ChainLink(
                    "With other records in their place training continues (8 of 8 replays)",
                    (f"{several} of {at} replaced",),
                ),
                ChainLink(
                    "Placed in other batches they break those as well (5 of 5)", (f"{several} in another batch",)
                ),
                ChainLink("With the 16 other records replaced it still breaks (3 of 3)", ("the others replaced",)),
            ),
            chain=(
                ChainLink(f"{several} of batch {at} hold values far beyond the others", (f"batch of {at} replaced",)),
                ChainLink(f"blob data is the first out of its range, at iteration {at}"),
                ChainLink(f"the update of {layer} does the damage", (f"update of {layer} withheld",)),
                ChainLink("412 of 512 units are dead afterwards"),
                ChainLink("all heads stay at chance level"),
            ),
        ),
        control=ControlSummary(identical=True, iterations=3 * (AFTER + 5), breaks=3, runs=3),
        arms=trials,
        margins={
            "learning_rate": Margin(0.33 * rate, 0.41 * rate),
            "clip_gradients": Margin(20.0, 25.0),
            "momentum": Margin(0.5, 0.6),
        },
        point_of_no_return=at,
        rewind=(
            Orders(1, 5, 4),
            Orders(2, 5, 3),
            Orders(5, 5, 1),
            Orders(10, 5, 0),
            Orders(20, 5, 0),
            Orders(50, 5, 0),
        ),
        cost=Cost(2340, 58.2, 2),
        curvature=Curvature(at, 5200.0, 41.0, 2 * 0.1 / rate, 2 * 1.9 / rate),
        levels=Levels(HEALTHY, BROKEN, (HEALTHY + BROKEN) / 2, 1.6 * math.log(280)),
        harness="0.3.0",
    )


def rate_explanation(at: int) -> Explanation:
    """Make up that the learning rate is too high: there are no records, and arms end not finite."""
    start = at - 5
    return Explanation(
        verdict=Verdict(
            kind="learning-rate",
            sentence="The learning rate is too high for this net: nothing changed, and other data break as well.",
            confidence=0.875,
            iteration=at,
            evidence=(ChainLink("In other orders of the data it breaks too (7 of 8 replays).", ("other orders",)),),
        ),
        control=ControlSummary(identical=True, iterations=AFTER, breaks=2, runs=2),
        arms=(
            trial("nothing changed", "control", start, ["broken"] * 2, at=at),
            trial("other orders", "order", start, [*["broken"] * 7, "healed"], at=at),  # type: ignore[list-item]
            trial("rate × 0.5", "learning-rate", start, ["healed"] * 3, at=at, changes=["rate × 0.5"]),
        ),
        margins={"learning_rate": Margin(None, 1e-4)},
        rewind=(Orders(1, 4, 4), Orders(50, 4, 3)),
        cost=Cost(800, 31.0, 1),
        levels=Levels(HEALTHY, None, 3.1, None),
        complete=False,
        left_out=("layers", "point of no return"),
        harness="0.3.0",
    )


def machine_explanation(at: int) -> Explanation:
    """Make up that unchanged replays do not break."""
    return Explanation(
        verdict=Verdict(
            kind="machine",
            sentence=f"An unchanged replay does not break: the weights of iteration {at + 1} on are not repeated.",
            confidence=1.0,
            iteration=at,
        ),
        control=ControlSummary(identical=False, iterations=2 * AFTER, breaks=0, runs=2, first_difference=at + 1),
        arms=(trial("nothing changed", "control", at - 5, ["healed"] * 2, at=at),),
        cost=Cost(130, 4.1, 1),
        levels=Levels(HEALTHY, BROKEN, 5.2, None),
    )


def undecided_explanation(at: int) -> Explanation:
    """Make up that what was tried does not tell the cause."""
    return Explanation(
        verdict=Verdict(
            kind="undecided",
            sentence="What broke it is not decided: no change that was tried heals it.",
            would_decide=("A snapshot nearer to the onset: rewind --watch 800:801 --capture history records one.",),
        ),
        control=None,
    )


def none_explanation() -> Explanation:
    """Make up that nothing broke."""
    return Explanation(
        verdict=Verdict(kind="none", sentence="Nothing broke: the loss recovers by itself."), control=None
    )


def encoded(explanation: Explanation) -> bytes:
    return msgspec.json.format(msgspec.json.encode(explanation), indent=1)


def _curve(start: int, horizon: int, at: int, judgement: Judgement, seed: int) -> tuple[float | None, ...]:
    """Make up the losses of an arm: the demo's level, and after iteration `at` what `judgement` says."""
    random = np.random.default_rng((seed, horizon, start))
    loss = np.abs(HEALTHY + 0.3 * random.standard_normal(horizon))
    after = np.arange(start, start + horizon) > at
    since = np.arange(horizon)[: int(after.sum())]
    if judgement == "died":
        return tuple(loss[: at - start + 1].tolist())
    if judgement == "broken":
        loss[after] = BROKEN + (60 * np.exp(-1.5 * since) + 4 * np.exp(-since / 8)) * random.uniform(
            0.5, 1.2, len(since)
        )
        if seed == 2:  # into NaN
            return (*loss[: at - start + 6].tolist(), None)
    elif judgement == "unclear":
        loss[after] += 4.2 * np.exp(-since / 90)
    else:
        loss[after] += 1.5 * np.exp(-since / 6)
    return tuple(loss.tolist())
