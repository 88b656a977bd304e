"""Compare records that were read again with what the run recorded of them."""

from __future__ import annotations

import numpy as np

from harness.errors import RecordingError
from harness.recording import Recording
from harness.schemas.layout import INPUT_STATS
from harness.training_data.read import read_records
from harness.training_data.records import Floats, IterationRecords, RecordsUnknown

_MEAN_TOLERANCE = 1e-6  # of a mean magnitude, relative: the sums are taken in another order


def confirmed_records(recording: Recording, iteration: int) -> IterationRecords:
    """Read the records of `iteration` as `read_records`, and compare them with what the run recorded.

    Their values must have the statistics of the inputs that were recorded at `iteration`; and those of the nearest
    iteration in a window must be the recorded inputs, bit for bit.

    Raises:
        RecordsUnknown: as `read_records`; what the run recorded contradicts; or an image was written after the run had
            begun, and there are no statistics.
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
            if recorded is None or not _of_one_shape(recorded, values):  # a window has no images of another size
                continue
            if recorded.tobytes() != values.tobytes():
                raise _contradicts(f"the {blob} that the window has at iteration {nearest:,}")
    compared = _compare_statistics(recording, found)
    for layer in found.layers:
        if layer.written_later and not compared & set(layer.inputs):
            raise RecordsUnknown(
                f"{layer.written_later[0]} was written after the run had begun: it may have been another image then."
            )
    return found


def _compare_statistics(recording: Recording, found: IterationRecords) -> set[str]:
    """Compare with the statistics that were recorded, and return the blobs that have some."""
    row = int(np.searchsorted(recording.iterations, found.iteration))
    rows = slice(row, row + 1)
    stats = {name: recording.input_stat(name, rows) for name in INPUT_STATS}
    labels = stats["minimum"].labels
    compared = {blob for blob in found.inputs if blob in labels} if found.iteration in recording.iterations else set()
    for blob in compared:
        values = found.inputs[blob].astype(np.float64)
        recorded = {name: float(stat.values[0, labels.index(blob)]) for name, stat in stats.items()}
        same = recorded["nonfinite"] == int((~np.isfinite(values)).sum())
        if not np.isnan(values).any():
            same &= (recorded["minimum"], recorded["maximum"]) == (values.min(), values.max())
            mean = float(np.abs(values).mean())
            same &= bool(np.isclose(recorded["mean_abs"], mean, rtol=_MEAN_TOLERANCE, atol=0))
        if not same:
            raise _contradicts(f"the {blob} whose statistics were recorded at iteration {found.iteration:,}")
    return compared


def _recorded(recording: Recording, iteration: int, blob: str) -> Floats | None:
    try:
        return recording.input(iteration, blob)
    except RecordingError:  # left out of --capture
        return None


def _of_one_shape(recorded: Floats, values: Floats) -> bool:
    """Check that blobs hold as many records of the same shape; `recorded` may have an axis more, for iter_size."""
    return recorded.size == values.size and recorded.shape[recorded.ndim - values.ndim + 1 :] == values.shape[1:]


def _contradicts(what: str) -> RecordsUnknown:
    return RecordsUnknown(f"The data set does not give {what}: its records are not shown, as they may be other ones.")
