"""The records that the train net of a run read in an iteration, read again from the data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import RecordingError

Floats = npt.NDArray[np.float32]

LARGEST = 1 << 30  # bytes of the records of an iteration that are read


class RecordsUnknown(RecordingError):
    """The records of an iteration cannot be told for certain; the message is one sentence with the reason."""


@dataclass(frozen=True)
class Record:
    """One record as a data layer read it.

    Attributes:
        key: its LMDB key, its path as in the list of images, or `file:row` for a row of an HDF5 file.
        label: None where the layer gives none, or none that is one whole number.
        class_name: from a list of names beside the data; None if there is none.
        crop: the first row and column of the part that the net saw; None if nothing was cut off.
        mirrored: the net saw it mirrored.
        values: of the layer's first top, as the net saw them: cropped, mirrored, scaled, the mean subtracted.
    """

    key: str
    label: int | None
    class_name: str | None
    crop: tuple[int, int] | None
    mirrored: bool
    values: Floats


@dataclass(frozen=True)
class LayerRecords:
    """The records that one data layer read in an iteration, with iter_size > 1 those of all passes, in their order.

    Attributes:
        source: the LMDB or list, as an absolute path.
        inputs: the blobs that it filled, (records, …) each.
        written_later: files of these records that were written after the run had begun.
    """

    layer: str
    source: str
    records: tuple[Record, ...]
    inputs: Mapping[str, Floats]
    written_later: tuple[str, ...] = ()


@dataclass(frozen=True)
class IterationRecords:
    """The records that the train net read in an iteration.

    Attributes:
        layers: the data layers whose records are known, in the order of the net.
        unknown: a sentence for each data layer whose records are not.
    """

    iteration: int
    layers: tuple[LayerRecords, ...]
    unknown: tuple[str, ...]

    @property
    def inputs(self) -> dict[str, Floats]:
        """The blobs that the layers filled, (records, …) each."""
        return {blob: values for layer in self.layers for blob, values in layer.inputs.items()}

    @property
    def written_later(self) -> tuple[str, ...]:
        """The files of these records that were written after the run had begun."""
        return tuple(path for layer in self.layers for path in layer.written_later)


def whole_label(value: Any) -> int | None:
    """Return `value` as a label: None unless it is one whole number."""
    array = np.asarray(value)
    if array.size != 1 or not np.isfinite(array).all() or (array != np.round(array)).any():
        return None
    return int(array.reshape(()))
