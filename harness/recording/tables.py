"""Read the tables of a recording and the names of its outputs."""

from __future__ import annotations

import h5py

from harness.recording.hdf5_schema import datasets
from harness.schemas.layout import Activation, Alarm, Param


def read_params(file: h5py.File) -> tuple[Param, ...]:
    """Read /param: the learnable param blobs in update order."""
    return tuple(
        Param(
            _text(r["layer"]),
            int(r["index"]),
            tuple(map(int, r["shape"])),
            float(r["lr_mult"]),
            float(r["decay_mult"]),
        )
        for r in file["param"][()]
    )


def read_blobs(file: h5py.File) -> tuple[Activation, ...]:
    """Read /blob: the blobs of the train net."""
    return tuple(Activation(_text(r["name"]), tuple(map(int, r["shape"]))) for r in file["blob"][()])


def read_alarms(file: h5py.File) -> tuple[Alarm, ...]:
    """Read /alarm: the alarms in the order in which they were raised."""
    return tuple(
        Alarm(int(r["iteration"]), _text(r["rule"]), _text(r["subject"]), float(r["value"]), float(r["limit"]))
        for r in file["alarm"][()]
    )


def read_output_names(group: h5py.Group) -> tuple[str, ...]:
    """Read the names of the outputs in `group`, sorted."""
    return tuple(sorted(str(dataset.attrs["name"]) for dataset in datasets(group)))


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
