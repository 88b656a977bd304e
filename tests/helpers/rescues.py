"""A made-up rescue.json: two breaks, the second of which begins after the first was got past."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.schemas.explanation import Cost
from harness.schemas.rescue import RESCUE, Attempt, Intervention, Rescue, Tried

SENTENCE = "Training reached iteration 55 with 2 interventions."


def made_up_rescue(first: Path, study: Path) -> Rescue:
    """Describe how the lineage `first`, `study/1`, `2` and `3` came about (see tests/helpers/lineages.py)."""
    clip = Tried(
        "clip gradients at 10", "clip", "--set clip_gradients=10", 3, 3, 1.31, {"loss3/top-1": 0.52}, 900,
        why="it got past the break, but a lower rate has a lower loss",
    )  # fmt: skip
    useless = Tried("skip the batch", "batches", "--skip 26:27", 3, 0, None, {}, 90, why="it broke again")
    lower = Tried(
        "a lower rate", "rate", "--set base_lr=0.002", 4, 4, 1.24, {"loss3/top-1": 0.5486, "loss": 1.25}, 1200,
        chosen=True, why="the smallest change whose level is within noise of the best",
    )  # fmt: skip
    left_out = Tried("reset the momentum", "history", "--history reset", why="left out: smaller changes were enough")
    reset = "--set momentum=0.8 --history reset"
    momentum = Tried("momentum 0.8", "momentum", reset, 2, 2, 1.1, iterations=400, chosen=True, why="the only one")
    one, two, three = (str(study / name) for name in "123")
    return Rescue(
        finished=True,
        run=three,
        interventions=(
            Intervention(20, "a lower rate", "--set base_lr=0.002", "its level is the best", str(first), one, 26),
            Intervention(40, "momentum 0.8", reset, "", two, three, 46),
        ),
        tried=(momentum,),
        cost=Cost(2590, 77.0, 2),
        attempts=(
            Attempt(str(first), 26, "record", "A record of batch 26 <b>broke</b>.", (clip, useless, lower, left_out)),
            Attempt(two, 46, "momentum", "The momentum was too high for this net.", (momentum,)),
        ),
        sentence=SENTENCE,
        until=55,
    )


def write_rescue(study: Path, rescue: Rescue) -> None:
    """Write rescue.json into the directory `study`."""
    (study / RESCUE).write_bytes(msgspec.json.format(msgspec.json.encode(rescue)))
