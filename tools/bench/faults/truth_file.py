"""The truth about a planted run, as JSON beside it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.atomic_write import write_whole

NAME = "truth.json"


class Undo(msgspec.Struct, frozen=True):
    """Something that was undone, and what came of it.

    Attributes:
        name: in words, as "the records replaced".
        kinds: the verdicts that it speaks for, or what it is: a control, or a layer that is as usual.
        start, horizon: of the replays; a whole training has start 0.
        changes: of the replays, as text; empty for a training of its own.
        runs, breaks: their numbers.
    """

    name: str
    kinds: tuple[str, ...]
    start: int
    horizon: int
    changes: tuple[str, ...]
    runs: int
    breaks: int

    @property
    def heals(self) -> bool:
        """Most of its replays do not break."""
        return 2 * self.breaks < self.runs


class Truth(msgspec.Struct, frozen=True):
    """What was planted into a run, and what heals it.

    Attributes:
        net, kind, seed: name the fault.
        what: a sentence on what was planted.
        kinds: the verdicts that are right. With two causes both are to be named, one of them as a condition.
        iterations: the first and the last one that are right as the verdict's; None where none is to be judged.
        records: the keys of those that were changed, in the order of the data set.
        harmless: those of them that do no damage: they may be named or not.
        layers: that a verdict must name.
        at: the iteration at which something was planted; None where nothing happens at any time.
        broke: the first iteration whose loss, smoothed, stays nearer to the broken level; None for controls.
        healthy, broken: levels of the loss before and after it; None for controls.
        start: of the replays.
        control: whether the unchanged replay has the recorded digests; None where none was made.
        undos: everything that was tried, whether it heals or not: nothing (the control), what was planted, the others.
    """

    net: str
    kind: str
    seed: int
    what: str
    kinds: tuple[str, ...]
    iterations: tuple[int, int] | None = None
    records: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    at: int | None = None
    broke: int | None = None
    healthy: float | None = None
    broken: float | None = None
    start: int | None = None
    control: bool | None = None
    undos: tuple[Undo, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.net}-{self.kind}-{self.seed}"

    @property
    def is_control(self) -> bool:
        """Nothing breaks for good."""
        return self.kinds == ("none",)


def read_truth(home: Path) -> Truth:
    return msgspec.json.decode((home / NAME).read_bytes(), type=Truth)


def write_truth(home: Path, truth: Truth) -> None:
    write_whole(home / NAME, msgspec.json.format(msgspec.json.encode(truth), indent=1) + b"\n")
