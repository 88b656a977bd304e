"""Repeat an arm exactly: replay it once more and compare with the result that is stored."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.experiments.arms import Arms, local
from harness.experiments.results import DIRECTORY, find
from harness.schemas.arm import ArmResult
from harness.schemas.arm_task import Progress
from harness.schemas.listener import RunListener
from harness.supervisor.signals import Interrupts


@dataclass(frozen=True)
class Repeated:
    """An arm that was replayed twice.

    Attributes:
        stored: its first result.
        again: that of the replay just now.
        first_difference: the first iteration whose weights, loss or outputs differ, or which only one of them has; None
            if there is none.
        not_exact: sentences on what may keep a replay from the same bits.
    """

    stored: ArmResult
    again: ArmResult
    first_difference: int | None
    not_exact: tuple[str, ...]

    @property
    def identical(self) -> bool:
        return self.first_difference is None and self.stored.ended == self.again.ended


def repeat(
    run: Path,
    key: str,
    listener: RunListener,
    interrupts: Interrupts,
    follow: Callable[[Progress], None] = lambda progress: None,
) -> Repeated:
    """Replay once more the arm of `run` whose key is, or begins with, `key`. Changes nothing in the run directory.

    Args:
        listener, interrupts, follow: see `Arms`.

    Raises:
        BadInput, RecordsUnknown, RecordingError, RecordingFailed: see `results.find` and `Arms`.
    """
    stored = find(run / DIRECTORY, key)
    with (
        tempfile.TemporaryDirectory(prefix="caffe-harness-") as directory,
        Arms(run, stored.arm.start, local(1), listener, interrupts, follow=follow, directory=Path(directory)) as arms,
    ):
        arms.submit([stored.arm])
        (again,) = arms.results()
        return Repeated(stored, again, _first_difference(stored, again), arms.not_exact)


def _first_difference(one: ArmResult, other: ArmResult) -> int | None:
    count = min(len(one.digest), len(other.digest))
    for n in range(count):
        if one.digest[n] != other.digest[n] or not np.array_equal(_numbers(one, n), _numbers(other, n), equal_nan=True):
            return one.arm.start + n
    same_end = len(one.digest) == len(other.digest) and one.final_digest == other.final_digest
    return None if same_end else one.arm.start + count


def _numbers(result: ArmResult, n: int) -> list[float]:
    return [result.loss[n], *(values[n] for _, values in sorted(result.outputs.items()))]
