"""The values in an open recording, compared with their checksums as they are read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import h5py
import msgspec
import numpy as np
import numpy.typing as npt

from harness.errors import RecordingError
from harness.recording.checksums import (
    CHECKSUM,
    COLUMN,
    SCALARS,
    alarm_checksum,
    attributes_checksum,
    row_checksums,
    scalar_rows,
    table_checksum,
)
from harness.recording.hdf5_schema import datasets, row_datasets
from harness.recording.tables import read_alarms, read_attributes, read_blobs, read_inputs, read_params
from harness.schemas.layout import Activation, Alarm, Param, link_names

T = TypeVar("T")
_REMEDY = "Its other datasets and iterations can be read; copy the recording from a backup to have all of it"


class CheckedFile:
    """The recording `path`, whose open file is `file`. While it is `live`, nothing is checked: rows are still coming.

    Recordings from before 0.3.0 have no checksums, and are read as they are.

    Every method raises RecordingError where the file is damaged.
    """

    def __init__(self, path: Path, file: h5py.File, live: bool) -> None:
        self._path, self._file, self._live = path, file, live
        self._checked: dict[tuple[str, int], npt.NDArray[np.bool_]] = {}  # rows, by group and column of the checksums

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The attributes of the root, but for their checksum."""
        with self._reading("the attributes"):
            found = read_attributes(self._file)
            expected = found.pop(CHECKSUM, None)
            known = isinstance(found.get("closed"), bool)  # which the checksum does not cover
            if expected is not None and not (known and expected == attributes_checksum(found)):
                raise self._damaged("the attributes")
            return found

    def attribute(self, name: str, kind: type[T], default: str) -> T:
        """Read an attribute of the root that holds JSON."""
        text = self.attributes.get(name, default)
        try:
            return msgspec.convert(json.loads(text), kind)  # unlike msgspec's decoder, json reads NaN
        except (ValueError, TypeError, RecursionError) as error:
            raise RecordingError(f"{self._path}: the attribute {name} is damaged ({error}). {_REMEDY}") from None

    @cached_property
    def params(self) -> tuple[Param, ...]:
        """/param: the learnable param blobs in update order."""
        with self._reading("/param"):
            found = read_params(self._file)
            self._check_table("param", found)
            return found

    @cached_property
    def blobs(self) -> tuple[Activation, ...]:
        """/blob: the blobs of the train net."""
        with self._reading("/blob"):
            found = read_blobs(self._file)
            self._check_table("blob", found)
            return found

    @cached_property
    def inputs(self) -> tuple[Activation, ...]:
        """/input: the blobs that data layers fill; none in recordings from before 0.3.0."""
        with self._reading("/input"):
            found = read_inputs(self._file)
            if found:
                self._check_table("input", found)
            return found

    def alarms(self) -> tuple[Alarm, ...]:
        """Read /alarm: the alarms in the order in which they were raised."""
        with self._reading("/alarm"):
            rows = self._file["alarm"][()]
            if CHECKSUM in rows.dtype.names and any(row[CHECKSUM] != alarm_checksum(row) for row in rows):
                raise self._damaged("/alarm")
            return read_alarms(rows)

    def names(self, group: str) -> dict[str, str]:
        """Return the path of each dataset below `group` by its name: an output, a blob, or a param's `layer/index`."""
        with self._reading(f"/{group}"):
            found = {str(dataset.attrs["name"]): dataset.name.lstrip("/") for dataset in datasets(self._file[group])}
            if {name: f"{group}/{path}" for name, path in link_names(found).items()} != found:
                raise RecordingError(f"{self._path}: the names in /{group} are damaged. {_REMEDY}")
            return found

    def count(self) -> int:
        """Count the iterations that are complete in all datasets."""
        # a live file may be read between two datasets of the same row
        found = row_datasets(self._file) if self._live else self._row_datasets
        return min(int(dataset.shape[0]) for dataset in found)

    @cached_property
    def _row_datasets(self) -> list[h5py.Dataset]:
        return row_datasets(self._file)

    def rows(self, name: str, rows: slice) -> npt.NDArray[Any]:
        """Read rows of the dataset `name` that grows; `rows` has a start and a stop, and steps of at least 1."""
        start, stop, step = rows.start, max(rows.start, rows.stop), rows.step or 1
        with self._reading(f"/{name}"):
            dataset = self._file[name]
            values = np.asarray(dataset[start:stop])
            if len(values) < stop - start:
                raise RecordingError(f"{self._path}: /{name} is damaged: it has {len(dataset)} rows. {_REMEDY}")
            column = dataset.attrs.get(COLUMN)
            group = _group_of(name)
            if column is not None and not self._live:
                self._check(name, group, int(column), start, values)
            return values[::step]

    def _check(self, name: str, group: str, column: int, start: int, values: npt.NDArray[Any]) -> None:
        sums = self._file[f"{group}{CHECKSUM}"]
        known = self._checked.setdefault((group, column), np.zeros(sums.shape[0], bool))
        here = slice(start, start + len(values))
        if known[here].all() and len(known) >= here.stop:
            return
        iterations = self._file[f"{group}iteration"][here]
        if name in SCALARS:  # which have one checksum
            values = scalar_rows({scalar: self._file[scalar][here] for scalar in SCALARS})
        wrong = iterations[row_checksums(iterations, values)[:, 0] != sums[here, column]]
        if len(wrong):
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            what = f"one of /{', /'.join(SCALARS)}" if name in SCALARS else f"/{name}"
            raise self._damaged(f"{what} at iteration {wrong[0]}{more}")
        known[here] = True

    def _check_table(self, name: str, rows: Sequence[Param | Activation]) -> None:
        expected = self._file[name].attrs.get(CHECKSUM)
        if expected is not None and expected != table_checksum(rows):
            raise self._damaged(f"/{name}")

    def _damaged(self, what: str) -> RecordingError:
        return RecordingError(f"{self._path}: {what}: damaged, not as its checksum says. {_REMEDY}")

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError, MemoryError) as error:
            raise RecordingError(f"{self._path}: {what} cannot be read ({error}). {_REMEDY}") from error


def _group_of(name: str) -> str:
    """Return the path of the group whose checksums cover the dataset `name`: "" for the root, else with a slash."""
    head, *rest = name.split("/")
    if head == "test":
        return f"test/{rest[0]}/"
    return f"{head}/" if head in ("activation", "window") else ""
