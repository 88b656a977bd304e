"""Read the tables and the attributes of a recording."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from harness.schemas.layout import Activation, Alarm, Param


def read_attributes(file: h5py.File) -> dict[str, Any]:
    """Read the attributes of the root: text, numbers and booleans."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in file.attrs.items()}


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
    return _blobs(file["blob"])


def read_inputs(file: h5py.File) -> tuple[Activation, ...]:
    """Read /input: the blobs that data layers fill. Recordings from before 0.3.0 have no such table."""
    return _blobs(file["input"]) if "input" in file else ()


def read_alarms(rows: npt.NDArray[np.void]) -> tuple[Alarm, ...]:
    """Return the alarms in rows of /alarm."""
    return tuple(
        Alarm(int(r["iteration"]), _text(r["rule"]), _text(r["subject"]), float(r["value"]), float(r["limit"]))
        for r in rows
    )


def _blobs(table: h5py.Dataset) -> tuple[Activation, ...]:
    return tuple(Activation(_text(r["name"]), tuple(map(int, r["shape"]))) for r in table[()])


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
