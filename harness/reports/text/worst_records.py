"""Name the records of a broken run's onset whose values are far beyond those of the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.diagnosis.recorded.batch import Batch, batch_or_reason
from harness.diagnosis.recorded.diagnose import not_finite_from
from harness.errors import BadInput, RecordingError
from harness.recording import Recording
from harness.reports.suggestions import outlying_records
from harness.schemas.outcome import OutlyingRecords
from harness.schemas.rewind import NoRewind, Rewind
from harness.schemas.window import Window

_MOST = 8  # records named
_BEFORE, _AFTER = 5, 45  # iterations around an onset; where its loss arrives at a level, only a diagnosis shows


@dataclass(frozen=True)
class Ended:
    """What the recording of a run that has ended says of its onset.

    Attributes:
        lines: the description of the batch: its outliers, largest first, or that it has none, or is not known.
        outlying: None where the records are not known.
        is_kept: a window holds the weights.
        rewind: how to record the iterations around the onset, where none does; None if the run cannot be read.
    """

    lines: tuple[str, ...] = ()
    outlying: OutlyingRecords | None = None
    is_kept: bool = False
    rewind: Rewind | NoRewind | None = None


def worst_records(run: Path, onset: int) -> Ended:
    """Describe the batch of the onset of a run that has ended."""
    try:
        with Recording(run, may_repair=False) as recording:
            found = batch_or_reason(recording, onset)
            is_kept = "weight" in recording.window_arrays(onset)
            rewind = None if is_kept else recording.rewind_cost(_around(onset, recording))
    except (BadInput, RecordingError):
        return Ended()
    if isinstance(found, str):
        return Ended((f"The records of iteration {onset:,} are not known. {found}",), None, is_kept, rewind)
    return Ended(tuple(_lines(found)), outlying_records(found), is_kept, rewind)


def _around(onset: int, recording: Recording) -> Window:
    first, last = int(recording.iterations[0]), int(recording.iterations[-1])
    broken = not_finite_from(recording)
    end = last if broken is None else max(onset, broken)
    return Window(max(first, onset - _BEFORE), min(onset + _AFTER, end + 1))


def _lines(batch: Batch) -> Iterator[str]:
    worst, count = batch.worst, len(batch)
    if not worst:
        read = f"Iteration {batch.iteration:,} read {count:,} records"
        yield f"{read}; the values of none of them reach far beyond those of the others."
        return
    rest = ", beyond all batches before" if len(worst) == count else " far beyond those of the others"
    if not batch.is_finite[worst].any():
        rest = " that are NaN or infinite"
    holds = "hold values" if len(worst) > 1 else "holds values"
    yield f"{len(worst):,} of the {count:,} records of iteration {batch.iteration:,} {holds}{rest}:"
    for image in worst[:_MOST]:
        yield f"    {batch.describe(image)}"
    if len(worst) > _MOST:
        yield f"    and {len(worst) - _MOST:,} more (report shows all)"
