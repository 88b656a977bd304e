"""Candidates that may get a broken training past its break, and rescue.json, which says what became of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from harness.schemas.arm import AnyChange
from harness.schemas.explanation import Cost

RESCUE_VERSION = 1
RESCUE = "rescue.json"  # in the study directory

CandidateKind = Literal[
    "unchanged",  # an unchanged replay does not break
    "records",  # leave the culprit records out
    "batches",  # skip the batches
    "clip",  # clip gradients
    "stretch",  # a lower learning rate for a stretch, then the old one
    "history",  # reset the momentum
    "layer-rate",  # a lower learning rate of one layer, for good
    "rate",  # a lower learning rate, for good
    "momentum",  # a lower momentum, for good
    "decay",  # another weight decay, for good
    "given",  # by the user
]


class Step(msgspec.Struct, frozen=True):
    """Options of restart.py with which training goes on, until an iteration; None: to its end."""

    words: tuple[str, ...]
    until: int | None = None


class Candidate(msgspec.Struct, frozen=True):
    """A change that may get a training past its break.

    Attributes:
        name: unique among the candidates of a break, in words.
        steps: one after the other, from the state before the break that all candidates begin with.
        changes: the same for arms, of one step or all; empty if arms cannot express it, which are then left out.
        why: a clause that says from what it was derived.
        shown: replays of the explanation that got past the break with the same change, or with other data in place of
            those that are left out; 0 if not all did.
    """

    kind: CandidateKind
    name: str
    steps: tuple[Step, ...]
    changes: tuple[AnyChange, ...] = ()
    why: str = ""
    shown: int = 0


class Tried(msgspec.Struct, frozen=True):
    """What became of a candidate at a break.

    Attributes:
        candidate: its name; `changes` are the options of its steps, in words.
        runs, heals: arms and restarts, and those that got past the break.
        loss: its level at the end of the restart past the break; None without one.
        test: outputs of the first test net after the break, by name.
        iterations: that all its replays and restarts took.
        why: a clause that says why it was chosen or not.
    """

    candidate: str
    kind: CandidateKind
    changes: str
    runs: int = 0
    heals: int = 0
    loss: float | None = None
    test: dict[str, float] = {}
    iterations: int = 0
    chosen: bool = False
    why: str = ""


class Intervention(msgspec.Struct, frozen=True):
    """A break that was got past: training went on from `iteration` of `parent` with a candidate, as the run `run`."""

    iteration: int
    candidate: str
    changes: str
    why: str
    parent: str = ""
    run: str = ""
    broke: int | None = None


class Attempt(msgspec.Struct, frozen=True):
    """A break that was met: at iteration `broke` of `run`, of the kind that explain named, and what was tried."""

    run: str
    broke: int
    kind: str
    sentence: str
    tried: tuple[Tried, ...] = ()


class Rescue(msgspec.Struct, frozen=True):
    """rescue.json.

    Attributes:
        finished: training reached `until`.
        run: the last run directory of the lineage.
        tried: the candidates of the last break.
        attempts: all breaks, in their order.
        sentence: what became of it, in words.
    """

    finished: bool
    run: str
    interventions: tuple[Intervention, ...] = ()
    tried: tuple[Tried, ...] = ()
    cost: Cost = Cost(0, 0.0, 0)
    attempts: tuple[Attempt, ...] = ()
    sentence: str = ""
    until: int | None = None
    format_version: int = RESCUE_VERSION
    harness: str = ""


decode = msgspec.json.Decoder(Rescue).decode
