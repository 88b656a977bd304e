"""Which records the windows of a run will see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.caffe_files.lmdb_file import Records
from harness.prefetch.epochs import Epochs
from harness.schemas.data_position import Point
from harness.schemas.stream import generator
from harness.schemas.window import Window
from harness.supervisor.training_spec import Problem


@dataclass(frozen=True)
class WindowKeys:
    """The records that the windows will see: `iteration` (W,), `key` and `label` (W, batch × iter_size)."""

    iteration: np.ndarray[Any, Any]
    key: np.ndarray[Any, Any]
    label: np.ndarray[Any, Any]
    label_blob: str | None


def window_keys(
    problem: Problem, records: Mapping[str, Records], windows: tuple[Window, ...], point: Point
) -> WindowKeys | None:
    """What the first data layer of the train net will read, wrapping around: None where nothing is wanted, or where
    only Caffe can say what layers before it draw, and with it the order of a list."""
    place = next((place for place in point.places if place.net == 0), None)
    if place is None or not windows:
        return None
    layer = next(layer for layer in problem.train.layers if layer.name == place.layer)
    data = records[place.source]
    if not place.known and problem.train.layers[0].name == place.layer:
        random = generator(point.seed, 0)
        place = place.seeded(lambda: int(random.random_raw()))
    if (place.shuffle and place.list_seed is None) or (place.rand_skip and place.skipped is None):
        return None
    iterations = np.concatenate([np.arange(w.start, w.stop) for w in windows])
    passes = (iterations - point.iteration)[:, None] * problem.solver.iter_size + np.arange(problem.solver.iter_size)
    starts = np.array([place.after(int(n)).position for n in passes.ravel()]).reshape(passes.shape)
    positions = (starts[:, :, None] + np.arange(place.batch_size)).reshape(len(iterations), -1)
    order = Epochs(len(data), place.list_seed).lines(positions)
    label = layer.top[1] if len(layer.top) > 1 else None
    return WindowKeys(iterations, data.keys[order], data.labels[order], label)
