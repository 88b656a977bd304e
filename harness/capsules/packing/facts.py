"""Collect the facts in capsule.json that run.json does not have: the break, the iterations, the processor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

import harness
from harness.capsules.repeating.this_machine import processor
from harness.capsules.repeating.verdict import BEFORE, SETTLED
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.schemas.capsule import Break, HeadLevels, Manifest
from harness.schemas.onset import Onset


def describe(run: Path, title: str, broke: Break | None, *, anonymous: bool = False) -> Manifest:
    """Describe the minimal run directory `run`, as the capsule of it will; `write_capsule` adds the members.

    Raises:
        BadInput: its run.json is damaged.
        RecordingError: its recording is.
    """
    info = read_info(run)
    with Recording(run, may_repair=False) as recording:
        parameters = sum(param.count for param in recording.params)
    return Manifest(
        title=title,
        harness=harness.__version__,
        first=info.first,
        until=info.until,
        broke=broke,
        parameters=parameters,
        processor=processor(),
        anonymous=anonymous,
    )


def break_at(onset: Onset | None, recording: Recording, until: int) -> Break | None:
    """Describe the break at `onset` by the levels of the losses in `recording` before it, and up to `until`.

    The level before is the median of the 50 iterations before the onset; that after, of the iterations from 5 after it
    on (or of the last one, where there are not so many).
    """
    if onset is None:
        return None
    iterations = recording.iterations
    before = (iterations < onset.iteration) & (iterations >= onset.iteration - BEFORE)
    start = min(onset.iteration + SETTLED, until - 1)
    after = (iterations >= start) & (iterations < until)
    loss = recording.series("loss")
    heads = []
    for head in recording.heads:
        values = recording.output(head.name)[:, 0]
        heads.append(HeadLevels(head.name, head.weight, head.classes, _median(values[before]), _median(values[after])))
    return Break(onset.iteration, onset.reason, _median(loss[before]), _median(loss[after]), tuple(heads))


def _median(values: npt.NDArray[np.floating]) -> float | None:
    if not len(values):
        return None
    level = float(np.median(values))
    return level if np.isfinite(level) else None
