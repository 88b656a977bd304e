"""Predict the records that the windows of a run will see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.transformer_rng import mt19937
from harness.prefetch.epochs import Epochs
from harness.schemas.data_position import TrainingPosition
from harness.schemas.window import Window
from harness.supervisor.training_spec import TrainingSpec


@dataclass(frozen=True)
class WindowKeys:
    """The records that the windows will see: `iteration` (W,), `key` and `label` (W, batch × iter_size)."""

    iteration: npt.NDArray[np.int64]
    key: npt.NDArray[np.bytes_]
    label: npt.NDArray[np.int32]
    label_blob: str | None


def window_keys(
    spec: TrainingSpec, records: Mapping[str, Records], windows: tuple[Window, ...], point: TrainingPosition
) -> WindowKeys | None:
    """Predict what the first data layer of the train net will read.

    None if there is no window, or if the order of a list depends on what layers before it draw, which only Caffe knows.
    """
    place = next((place for place in point.places if place.net == 0), None)
    if place is None or place.index is None or not windows:
        return None
    layer = spec.train.layers[place.index]
    data = records[place.source]
    if not place.known and place.index == 0:
        random = mt19937(point.seed, 0)
        place = place.seeded(lambda: int(random.random_raw()))
    if (place.shuffle and place.list_seed is None) or (place.rand_skip and place.skipped is None):
        return None
    iterations = np.concatenate([np.arange(w.start, w.stop) for w in windows])
    passes = (iterations - point.iteration)[:, None] * spec.solver.iter_size + np.arange(spec.solver.iter_size)
    starts = np.array([place.after(int(n)).position for n in passes.ravel()]).reshape(passes.shape)
    positions = (starts[:, :, None] + np.arange(place.batch_size)).reshape(len(iterations), -1)
    order = Epochs(len(data), place.list_seed).lines(positions)
    label = layer.top[1] if len(layer.top) > 1 else None
    return WindowKeys(iterations, data.keys[order], data.labels[order], label)
