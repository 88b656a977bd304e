"""Legs: restarts that a study makes, each a run directory, and how they ended."""

from __future__ import annotations

import msgspec

from harness.schemas.run_info import PathName


class Leg(msgspec.Struct, frozen=True):
    """A restart of the run `parent`, as `restart.py PARENT --from START WORDS --until UNTIL` makes it.

    Attributes:
        parent: a run directory, as an absolute path.
        words: options of restart.py that say what is changed: --set, --set-layer, --history, --skip, --skip-records,
            --seed.
        directory: the run directory that it makes, as an absolute path. A leg whose process was killed goes on from
            its last snapshot in DIRECTORY.part2, then DIRECTORY.part3, which continue it.
        stops: it stops where a rule finds a divergence (--on-alarm stop); otherwise at the first value that is not
            finite.
    """

    parent: PathName
    start: int
    until: int
    words: tuple[str, ...]
    directory: PathName
    stops: bool = True


class LegResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a leg ended.

    Attributes:
        directory: the last of its run directories; empty where nothing was trained.
        code: the exit code of restart.py: 0 it is complete, 3 it diverged and stopped, 130 it was stopped, …
        last: the iteration before which it ended.
        why: what restart.py said where it failed.
        iterations, seconds: that were trained, and that it took, over all its processes.
        worker: where it ran; empty for this machine.
    """

    leg: Leg
    directory: PathName
    code: int
    last: int
    why: str = ""
    iterations: int = 0
    seconds: float = 0.0
    worker: str = ""
