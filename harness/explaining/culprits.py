"""Names of culprit records, from the data set or a window of the run."""

from __future__ import annotations

import msgspec

from harness.diagnosis.cause.verdict.sentences import with_keys
from harness.diagnosis.recorded.batch import Batch, batch_of
from harness.errors import BadInput, RecordingError
from harness.recording import Recording
from harness.schemas.explanation import CulpritRecord, Verdict
from harness.training_data.confirm import confirmed_records


class Culprits:
    """Names the culprit records of a run; the batch of each iteration is read once."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._batches: dict[int, Batch | None] = {}

    def named(self, verdict: Verdict) -> Verdict:
        """Return a verdict with key, label and class name of its records, as far as these are known."""
        return with_keys(verdict, tuple(map(self._named, verdict.records)))

    def _named(self, record: CulpritRecord) -> CulpritRecord:
        if record.layers:
            return self._of_layer(record)
        if record.iteration not in self._batches:
            self._batches[record.iteration] = batch_of(self._recording, record.iteration)
        batch, index = self._batches[record.iteration], record.index
        if batch is None or index >= len(batch):
            return record
        return msgspec.structs.replace(
            record,
            key=batch.keys[index] if batch.keys else record.key,
            label=int(batch.labels[index]) if batch.labels is not None else record.label,
            class_name=batch.names[index] if batch.names else record.class_name,
        )

    def _of_layer(self, record: CulpritRecord) -> CulpritRecord:
        """Name a record that not all data layers read."""
        try:
            layers = confirmed_records(self._recording, record.iteration).layers
        except (BadInput, RecordingError):
            return record
        for layer in layers:
            if layer.layer in record.layers and record.index < len(layer.records):
                found = layer.records[record.index]
                return msgspec.structs.replace(record, key=found.key, label=found.label, class_name=found.class_name)
        return record
