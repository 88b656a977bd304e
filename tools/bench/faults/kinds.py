"""The kinds of planted faults, by name."""

from __future__ import annotations

from tools.bench.faults import plant_others, plant_records, plant_settings, plant_start, plant_stream
from tools.bench.faults.planting import Planter

KINDS: dict[str, Planter] = {
    "unscaled": plant_records.unscaled,
    "outlier": plant_records.outlier,
    "nan": plant_records.nan_pixel,
    "two-batches": plant_records.two_batches,
    "labels": plant_stream.wrong_labels,
    "units": plant_stream.units,
    "sorted": plant_stream.sorted_stretch,
    "schedule": plant_settings.schedule,
    "rate": plant_settings.rate,
    "layer": plant_settings.layer,
    "momentum": plant_settings.momentum,
    "decay": plant_settings.decay,
    "start-weights": plant_start.start_weights,
    "machine": plant_start.bit_flip,
    "two-causes": plant_others.two_causes,
    "spike": plant_others.spike,
    "healthy": plant_others.healthy,
}
