"""Compare records that were read again with what the run recorded of them."""

from __future__ import annotations

import numpy as np

from harness.errors import RecordingError
from harness.recording import Recording
from harness.training_data.read import read_records
from harness.training_data.records import Floats, IterationRecords, RecordsUnknown


def confirmed_records(recording: Recording, iteration: int) -> IterationRecords:
    """Read the records of `iteration` as `read_records`, and compare them with what the run recorded.

    The nearest iteration of a window is read as well, and must have the inputs that are recorded there, bit for bit.

    Raises:
        RecordsUnknown: as `read_records`; what the run recorded contradicts, or files of these records were written
            after the run had begun.
        BadInput: run.json cannot be read.
    """
    run = recording.path.parent
    found = read_records(run, iteration)
    known = recording.window_iterations
    if len(known):
        nearest = int(known[np.argmin(np.abs(known - iteration))])
        other = found if nearest == iteration else read_records(run, nearest)
        for blob, values in other.inputs.items():
            recorded = _recorded(recording, nearest, blob)
            if recorded is not None and recorded.tobytes() != values.tobytes():
                raise RecordsUnknown(
                    f"The data set does not give the {blob} that the window has at iteration {nearest:,}: its records "
                    f"are not those that the run read."
                )
    if found.written_later:
        raise RecordsUnknown(
            f"{found.written_later[0]} was written after the run had begun: it may have been another image then."
        )
    return found


def _recorded(recording: Recording, iteration: int, blob: str) -> Floats | None:
    try:
        return recording.input(iteration, blob)
    except RecordingError:  # left out of --capture
        return None
