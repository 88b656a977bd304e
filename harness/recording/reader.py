"""`Recording`: the one reader of a recording, for every consumer, notebooks included."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from harness.errors import RecordingError, nearest
from harness.recording.hdf5_schema import datasets
from harness.recording.repair import is_marked_open, read_lock, repair, write_lock
from harness.schemas import layout as fmt
from harness.schemas.layout import ROWS, Activation, Alarm, Head, Param, link_names
from harness.schemas.window import Window, merge

_PATIENCE = 5.0  # seconds in which a writer has opened or closed its file for good
_SERIES = tuple(name for name in ROWS if name not in ("output", "stat"))


@dataclass(frozen=True)
class Labelled:
    """`values[row, column]`: rows are `iterations`, columns are `labels` (blobs).

    `pandas.DataFrame(a.values, a.iterations, a.labels)` and `xarray.DataArray(a.values, a.coords, a.dims)` take it as
    it is.
    """

    values: npt.NDArray[np.float64]
    iterations: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    dims: tuple[str, str]

    @property
    def coords(self) -> dict[str, Sequence[Any]]:
        return {self.dims[0]: self.iterations, self.dims[1]: list(self.labels)}  # type: ignore[dict-item]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.values, dtype=dtype) if copy else np.asarray(self.values, dtype=dtype)

    def __getitem__(self, label: str) -> npt.NDArray[np.float64]:
        """The column of one blob."""
        if label not in self.labels:
            raise RecordingError(f"no {self.dims[1]} {label!r}. {nearest(label, self.labels)}")
        return self.values[:, self.labels.index(label)]


class Recording:
    """A recording, open for reading: finished, still being written, or left behind by a process that was killed.

    Args:
        path: a recording, or the run directory that holds `recording.h5`.

    Raises:
        RecordingError: no such file; not a recording; written by a newer version; truncated.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self.path /= "recording.h5"
        if not self.path.is_file():
            raise RecordingError(f"{self.path}: no such recording. Give a run directory or its recording.h5")
        self._links: dict[str, dict[str, str]] = {}  # where the arrays of a window are: none comes later
        try:
            self._file = self._open()
        except (OSError, RuntimeError) as error:
            size = self.path.stat().st_size
            raise RecordingError(f"{self.path}: truncated or damaged ({size} bytes: {error})") from error
        try:
            self._check()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> h5py.File:
        patience = time.monotonic() + _PATIENCE
        while True:
            with read_lock(self.path.parent) as alone:
                self.live = not alone
                left_open = is_marked_open(self.path)
                mendable = left_open and os.access(self.path, os.W_OK)
                if alone and not mendable:
                    return h5py.File(self.path, "r", libver="latest", swmr=left_open)
            if alone:
                with write_lock(self.path.parent, wait=True):
                    repair(self.path)
                continue
            try:
                return h5py.File(self.path, "r", libver="latest", swmr=True)
            except (OSError, RuntimeError):  # its writer is just opening, closing or mending it
                if time.monotonic() > patience:
                    raise
            time.sleep(0.01)

    def _check(self) -> None:
        attrs = self._file.attrs
        if attrs.get("format") != fmt.FORMAT:
            raise RecordingError(f"{self.path}: an HDF5 file, but not a recording (format = {attrs.get('format')!r})")
        version = int(attrs.get("format_version", 0))
        if version > fmt.FORMAT_VERSION:
            raise RecordingError(
                f"{self.path}: recorded in format {version}, and this harness reads up to format "
                f"{fmt.FORMAT_VERSION}. Update the harness"
            )

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        times = self.iterations
        span = f"iterations {times[0]}…{times[-1]}" if len(times) else "no iteration yet"
        windows = ", ".join(map(str, self.windows)) or "none"
        return f"<Recording {self.path}: {span}, {len(self.params)} param blobs, windows {windows}>"

    def close(self) -> None:
        self._file.close()

    def refresh(self) -> None:
        """See what was written since, while the run goes on."""
        if self.live:
            for dataset in datasets(self._file):
                dataset.id.refresh()

    # -- what it is about -------------------------------------------------------------------------------------------

    @property
    def facts(self) -> dict[str, Any]:
        """What the root's attributes say: seeds, versions, solver and net text…"""
        return dict(self._file.attrs)

    @property
    def params(self) -> tuple[Param, ...]:
        """The learnable param blobs, in update order: the columns of every statistic."""
        return tuple(
            Param(
                _text(r["layer"]),
                int(r["index"]),
                tuple(map(int, r["shape"])),
                float(r["lr_mult"]),
                float(r["decay_mult"]),
            )
            for r in self._file["param"][()]
        )

    @property
    def blobs(self) -> tuple[Activation, ...]:
        """The train net's blobs: the columns of every activation statistic."""
        return tuple(Activation(_text(r["name"]), tuple(map(int, r["shape"]))) for r in self._file["blob"][()])

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the train net's outputs."""
        return _output_names(self._file["output"])

    @property
    def heads(self) -> tuple[Head, ...]:
        """The losses of the train net, their weights and classes."""
        return tuple(Head(**head) for head in json.loads(self._file.attrs["heads"]))

    @property
    def relus(self) -> tuple[str, ...]:
        """Names of the blobs that a ReLU wrote; none where the recording does not say."""
        return tuple(json.loads(self._file.attrs.get("relus", "[]")))

    @property
    def goes_on_from(self) -> Path | None:
        """The run directory that recorded the iterations before this one's first; None where there is none."""
        run = str(self._file.attrs.get("goes_on_from", "null"))
        return None if run == "null" else Path(run)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms of the run, in the order in which they were raised."""
        return tuple(
            Alarm(int(r["iteration"]), _text(r["rule"]), _text(r["subject"]), float(r["value"]), float(r["limit"]))
            for r in self._file["alarm"][()]
        )

    @property
    def windows(self) -> tuple[Window, ...]:
        """The iterations whose arrays were kept."""
        return merge(Window(int(t), int(t) + 1) for t in self.window_iterations)

    # -- every iteration --------------------------------------------------------------------------------------------

    @property
    def iterations(self) -> npt.NDArray[np.int64]:
        """(T,) the iterations recorded."""
        return np.asarray(self._file["iteration"][: self._rows()], np.int64)

    def series(self, name: str, rows: slice = slice(None)) -> npt.NDArray[Any]:
        """(T,) lr, loss, smoothed_loss, seconds or digest; of the iterations in `rows`, here and below."""
        if name not in _SERIES:
            raise RecordingError(f"{self.path}: no series {name!r}. {nearest(name, _SERIES)}")
        return np.asarray(self._file[name][self._in(rows)])

    def output(self, name: str, rows: slice = slice(None)) -> npt.NDArray[np.float32]:
        """(T, n) the output blob `name` of the train net."""
        path = self._output_path(self._file["output"], name)
        return np.asarray(self._file["output"][path][self._in(rows)])

    def stat(self, name: str, rows: slice = slice(None)) -> Labelled:
        """(T, P) a statistic of every param blob; labels are `layer/index`, as in `conv1/7x7_s2/0`."""
        if name not in fmt.STATS:
            raise RecordingError(f"{self.path}: no statistic {name!r}. {nearest(name, fmt.STATS)}")
        labels = tuple(p.label for p in self.params)
        values, iterations = self._file["stat"][name][self._in(rows)], self.series("iteration", rows)
        return Labelled(values, iterations, labels, ("iteration", "param"))

    def _in(self, rows: slice) -> slice:
        return slice(*rows.indices(self._rows()))

    def _rows(self) -> int:
        # a live file may be read between two datasets of the same row
        return min(int(d.shape[0]) for name in ROWS for d in datasets(self._file[name]))

    # -- activations and tests --------------------------------------------------------------------------------------

    def activation(self, name: str) -> Labelled:
        """(S, A) a statistic of every blob of the train net, at the iterations where it was taken."""
        if name not in fmt.ACTIVATION_STATS:
            raise RecordingError(
                f"{self.path}: no activation statistic {name!r}. {nearest(name, fmt.ACTIVATION_STATS)}"
            )
        group = self._file["activation"]
        rows = min(dataset.shape[0] for dataset in group.values())
        labels = tuple(blob.name for blob in self.blobs)
        return Labelled(group[name][:rows], group["iteration"][:rows], labels, ("iteration", "blob"))

    @property
    def test_nets(self) -> int:
        """How many test nets there are."""
        return len(self._file["test"])

    def test_outputs(self, net: int = 0) -> tuple[str, ...]:
        """Names of the outputs of test net `net`."""
        return _output_names(self._test(net)["output"])

    def test(self, name: str, net: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """(R,) the iterations of the test passes of test net `net`, and (R, n) its output `name` at each."""
        group = self._test(net)
        dataset = group["output"][self._output_path(group["output"], name)]
        rows = min(dataset.shape[0], group["iteration"].shape[0])
        return np.asarray(group["iteration"][:rows]), np.asarray(dataset[:rows])

    def _test(self, net: int) -> h5py.Group:
        nets = self._file["test"]
        if str(net) not in nets:
            raise RecordingError(f"{self.path}: no test net {net}; it has {len(nets)}")
        return nets[str(net)]

    def _output_path(self, group: h5py.Group, name: str) -> str:
        names = _output_names(group)
        if name not in names:
            raise RecordingError(f"{self.path}: no output {name!r}. {nearest(name, names)}")
        return link_names(names)[name]

    # -- windows ----------------------------------------------------------------------------------------------------

    @property
    def window_iterations(self) -> npt.NDArray[np.int64]:
        """(W,) the iterations whose arrays were kept."""
        if "window" not in self._file:
            return np.empty(0, np.int64)
        # as with `_rows`
        rows = min(d.shape[0] for d in datasets(self._file["window"])) if self.live else None
        return np.asarray(self._file["window/iteration"][:rows], np.int64)

    def weight(self, iteration: int, layer: str, index: int = 0) -> npt.NDArray[np.float32]:
        """W_t of one blob, as the forward pass of `iteration` used it."""
        return self._window_array("weight", iteration, layer, index)

    def gradient(self, iteration: int, layer: str, index: int = 0) -> npt.NDArray[np.float32]:
        """The raw gradient of one blob: summed over iter_size, before clipping, normalisation and decay."""
        return self._window_array("gradient", iteration, layer, index)

    def update(self, iteration: int, layer: str, index: int = 0) -> npt.NDArray[np.float32]:
        """What Caffe subtracted: weight(t + 1) = weight(t) - update(t), bit for bit.

        Not so for BatchNorm's running averages: Caffe's forward pass writes them (batch_norm_layer.cpp).
        """
        return self._window_array("update", iteration, layer, index)

    def input(self, iteration: int, blob: str) -> npt.NDArray[np.float32]:
        """A blob that a data layer made; with iter_size > 1 its first axis is the pass."""
        return self._window_array("input", iteration, blob, None)

    def keys(self, iteration: int) -> list[bytes]:
        """The LMDB keys of the records that `iteration` saw, in order."""
        row = self._window_row(iteration)
        if "window/key" not in self._file:
            raise RecordingError(
                f"{self.path}: no keys were recorded; they need --capture input and a Data layer on LMDB"
            )
        return [bytes(key) for key in self._file["window/key"][row]]

    def _window_row(self, iteration: int) -> int:
        rows = np.flatnonzero(self.window_iterations == iteration)
        if not len(rows):
            has = ", ".join(map(str, self.windows)) or "no window at all: run with --watch A:B"
            raise RecordingError(f"{self.path}: iteration {iteration} is in no window; it has {has}")
        return int(rows[0])

    def _window_array(self, group: str, iteration: int, name: str, index: int | None) -> npt.NDArray[np.float32]:
        row = self._window_row(iteration)
        kept = self._file["window"].get(group)
        if kept is None:
            raise RecordingError(f"{self.path}: no {group} was recorded; it was left out of --capture")
        wanted = name if index is None else f"{name}/{index}"
        if group not in self._links:
            self._links[group] = {str(dataset.attrs["name"]): dataset.name for dataset in datasets(kept)}
        names = self._links[group]
        if wanted not in names:
            raise RecordingError(f"{self.path}: no {group} of {wanted!r}. {nearest(wanted, names)}")
        return np.asarray(self._file[names[wanted]][row])


def _output_names(group: h5py.Group) -> tuple[str, ...]:
    return tuple(sorted(str(dataset.attrs["name"]) for dataset in datasets(group)))


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
