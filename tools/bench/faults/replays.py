"""Replay arms of a planted run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.experiments import Arms, local
from harness.schemas.arm import Arm, ArmResult
from harness.schemas.listener import NoListener
from harness.supervisor.signals import Interrupts


def replayed(arms: Sequence[Arm], first: int, run: Path) -> dict[str, ArmResult]:
    """Return the results of arms, which start at `first` or later, by their keys."""
    with Arms(run, first, local(1), NoListener(), Interrupts("stop")) as replays:
        replays.submit(arms)
        return {result.arm.key: result for result in replays.results()}
