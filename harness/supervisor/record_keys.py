"""Predict the records that the windows of a run, and its black box, will see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from harness.caffe_files.lmdb_file import Records
from harness.errors import BadInput
from harness.prefetch.record_keys import RecordKeys
from harness.prefetch.record_order import ReadingPlan
from harness.schemas.data_position import TrainingPosition
from harness.supervisor.training_spec import TrainingSpec

_FEW = 64 << 20  # bytes


@dataclass(frozen=True)
class WindowKeys:
    """The records that a run reads, by the rule that gives them: a window may have any length.

    Attributes:
        key: of all records of the source (n,).
        label: of all records (n,).
        plan: which of them an iteration reads.
        label_blob: the blob that has these labels; None if the layer gives none.
    """

    key: npt.NDArray[np.bytes_]
    label: npt.NDArray[np.int32]
    plan: ReadingPlan
    label_blob: str | None

    @property
    def are_few(self) -> bool:
        """Whether they may be held for the whole run, should the black box need them."""
        return self.key.nbytes <= _FEW

    def look_up(self) -> RecordKeys:
        """Return what looks the keys up, one iteration after the other."""
        return RecordKeys(self.key, self.label, self.plan, self.label_blob)

    def write(self, path: Path) -> None:
        """Write them to the .npz file `path`, from which RecordKeys reads them in the worker.

        Raises:
            BadInput: there is no room for them.
        """
        try:
            np.savez(path, key=self.key, label=self.label, plan=np.array(msgspec.json.encode(self.plan)))
        except OSError as error:
            path.unlink(missing_ok=True)
            raise BadInput(
                f"no room for the keys of {len(self.key):,} records, which a window needs ({error.strerror})",
                field="--out",
                value=path.parent,
                remedy="Free some space, give --out on another disk, or leave input out of --capture",
            ) from None


def window_keys(spec: TrainingSpec, records: Mapping[str, Records], point: TrainingPosition) -> WindowKeys | None:
    """Predict what the first data layer of the train net will read.

    None if the order of a list depends on what layers before it draw, which only Caffe knows.
    """
    place = next((place for place in point.places if place.net == 0 and place.source in records), None)
    if place is None or place.index is None:
        return None
    layer = spec.train.layers[place.index]
    data = records[place.source]
    if (place.shuffle and place.list_seed is None) or (place.rand_skip and place.skipped is None):
        return None
    label = layer.top[1] if len(layer.top) > 1 else None
    plan = ReadingPlan(place, point.iteration, spec.solver.iter_size)
    return WindowKeys(data.keys, data.labels, plan, label)
