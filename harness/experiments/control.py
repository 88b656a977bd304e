"""Compare the weights of a control with those that the run recorded, by digest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.recording.digests import RecordedDigests
from harness.schemas.arm import ArmResult


@dataclass(frozen=True)
class Compared:
    """How many iterations of a control were compared, and the first one whose weights W_t differ; None if none do."""

    iterations: int
    first_difference: int | None

    @property
    def identical(self) -> bool:
        return self.iterations > 0 and self.first_difference is None


def compare(run: Path, control: ArmResult) -> Compared:
    """Compare `control`, an unchanged replay of `run`, with what the run recorded of the same iterations.

    Raises:
        RecordingError: the recording cannot be read.
    """
    ours = [*control.digest, *([] if control.final_digest is None else [control.final_digest])]
    first = control.arm.start
    iterations, digests = RecordedDigests(run).find(np.arange(first, first + len(ours)))
    differing = [
        t for t, digest in zip(iterations.tolist(), digests.tolist(), strict=True) if digest != ours[t - first]
    ]
    return Compared(len(iterations), differing[0] if differing else None)
