"""sweep.json: restarts of a run with other settings, and how they compare."""

from __future__ import annotations

import msgspec

from harness.schemas.run_info import FileName, PathName

SWEEP_VERSION = 1
SWEEP = "sweep.json"  # in the study directory
LOSSES = "losses.png"  # likewise: the figure


class SweepLeg(msgspec.Struct, frozen=True, kw_only=True):
    """A restart of a sweep.

    Attributes:
        name: of its run directory in the study directory.
        words: options of restart.py that say what is changed.
        until: the iteration before which it is to end.
        run: the last of its run directories, in the study directory; empty where nothing was trained.
        code: the exit code of restart.py: 0 complete, 3 diverged, 130 interrupted, …; None before it has ended.
        last: the iteration before which it ended.
        why: what was said where it is not complete.
        iterations, seconds: that were trained, and that these took.
        worker: where it ran; empty for this machine.
        loss: its level at the end, the median loss over the last `span` iterations, without those before the onset of
            a divergence; None if it is not finite.
        parent_loss: that of the parent over the same iterations; None where it has not recorded them.
        test: the scalar outputs of the first test net in its last test pass, at iteration `tested`.
        parent_test: those of the parent at that iteration.
        onset: of a divergence, or of a rise of the loss from which a complete leg has not come back.
    """

    name: FileName
    words: tuple[str, ...]
    until: int
    run: str = ""
    code: int | None = None
    last: int | None = None
    why: str = ""
    iterations: int = 0
    seconds: float = 0.0
    worker: str = ""
    loss: float | None = None
    parent_loss: float | None = None
    test: dict[str, float] = {}
    tested: int | None = None
    parent_test: dict[str, float] = {}
    onset: int | None = None


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """sweep.json.

    Attributes:
        parent: the run directory, as an absolute path.
        start: the iteration from which all legs restart it.
        span: iterations over which levels are taken.
        best: the name of the best leg that is complete; None where none is.
        criterion: by what it is the best: "loss", or "test:NAME".
        command: the arguments of the last command.
    """

    parent: PathName
    start: int
    span: int
    legs: tuple[SweepLeg, ...]
    best: str | None = None
    criterion: str = "loss"
    command: tuple[str, ...] = ()
    harness: str = ""
    format_version: int = SWEEP_VERSION
