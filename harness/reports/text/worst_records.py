"""Name the records of a broken run's onset whose values are far beyond those of the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.diagnosis.recorded.batch import Batch, batch_or_reason
from harness.errors import BadInput, RecordingError
from harness.recording import Recording
from harness.reports.suggestions import outlying_records
from harness.schemas.outcome import OutlyingRecords

_MOST = 8  # records named


def worst_records(run: Path, onset: int) -> tuple[list[str], OutlyingRecords | None]:
    """Describe the batch of the onset: its outliers, largest first, or that it has none, or is not known.

    Returns the lines, and the outliers if the records are known.
    """
    try:
        with Recording(run, may_repair=False) as recording:
            found = batch_or_reason(recording, onset)
    except (BadInput, RecordingError):
        return [], None
    if isinstance(found, str):
        return [f"The records of iteration {onset:,} are not known. {found}"], None
    return list(_lines(found)), outlying_records(found)


def _lines(batch: Batch) -> Iterator[str]:
    worst, count = batch.worst, len(batch)
    if not worst:
        read = f"Iteration {batch.iteration:,} read {count:,} records"
        yield f"{read}; the values of none of them reach far beyond those of the others."
        return
    rest = ", beyond all batches before" if len(worst) == count else " far beyond those of the others"
    holds = "hold values" if len(worst) > 1 else "holds values"
    yield f"{len(worst):,} of the {count:,} records of iteration {batch.iteration:,} {holds}{rest}:"
    for image in worst[:_MOST]:
        yield f"    {batch.describe(image)}"
    if len(worst) > _MOST:
        yield f"    and {len(worst) - _MOST:,} more (report shows all)"
