"""Arms in tests: replays of recorded runs, with results in the run directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.experiments import Arms, local
from harness.recording import Recording
from harness.schemas.arm import Arm, ArmResult
from harness.schemas.listener import NoListener
from harness.supervisor.signals import Interrupts


def arms_of(run: Path, first: int, workers: int = 1) -> Arms:
    return Arms(run, first, local(workers), NoListener(), Interrupts("stop"))


def replay_all(run: Path, first: int, arms: Iterable[Arm], workers: int = 1) -> list[ArmResult]:
    """Replay arms; the results are in the order of `arms`."""
    wanted = list(arms)
    with arms_of(run, first, workers) as replays:
        replays.submit(wanted)
        found = {result.arm.key: result for result in replays.results()}
    return [found[arm.key] for arm in wanted]


def recorded_digests(run: Path, first: int, count: int) -> list[int]:
    """The digests that a run recorded of `count` iterations from `first` on."""
    with Recording(run) as recording:
        row = first - int(recording.iterations[0])
        return [int(digest) for digest in recording.series("digest", slice(row, row + count))]
