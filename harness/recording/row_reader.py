"""Read the rows of a recording: numbers of every iteration, statistics of activations, and test passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from harness.errors import RecordingError, nearest
from harness.recording.checked_file import CheckedFile
from harness.recording.hdf5_schema import datasets
from harness.recording.labelled import Labelled
from harness.schemas import layout as fmt
from harness.schemas.layout import ROWS, Activation, Param

_SERIES = tuple(name for name in ROWS if name not in ("output", "stat", "input_stat"))


class RowReader:
    """Reads the rows of the recording `path`, whose open file is `file`.

    In the shapes below, T is the number of recorded iterations, P of learnable param blobs, I of the blobs that data
    layers fill, A of the train net's blobs, and S of the iterations at which activation statistics were taken. Methods
    that take `rows`, a slice of positions in `iterations`, read that part only.
    """

    def __init__(self, path: Path, file: h5py.File, live: bool) -> None:
        self.path, self._file, self.live = path, file, live
        self._checked = CheckedFile(path, file, live)

    # -- columns ----------------------------------------------------------------------------------------------------

    @property
    def params(self) -> tuple[Param, ...]:
        """The P learnable param blobs in update order, which are the columns of `stat`."""
        return self._checked.params

    @property
    def blobs(self) -> tuple[Activation, ...]:
        """The A blobs of the train net, which are the columns of `activation`."""
        return self._checked.blobs

    @property
    def inputs(self) -> tuple[Activation, ...]:
        """The I blobs that data layers fill, the columns of `input_stat`; none in recordings from before 0.3.0."""
        return self._checked.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the train net's output blobs."""
        return tuple(sorted(self._checked.names("output")))

    # -- every iteration --------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """T, the number of recorded iterations."""
        return self._checked.count()

    @property
    def iterations(self) -> npt.NDArray[np.int64]:
        """(T,) the recorded iterations."""
        return self._checked.rows("iteration", slice(0, self._checked.count()))

    def series(self, name: str, rows: slice = slice(None)) -> npt.NDArray[Any]:
        """Read a number of every iteration.

        Args:
            name: `lr`, `loss` (weighted total of this iteration alone), `smoothed_loss` (as `caffe train` displays it),
                `seconds`, or `digest` (of all weights W_t); also `iteration`.
            rows: part of the iterations.

        Returns:
            (T,) float64; uint64 for `digest`, int64 for `iteration`.

        Raises:
            RecordingError: no such series.
        """
        if name not in _SERIES:
            raise RecordingError(f"{self.path}: no series {name!r}. {nearest(name, _SERIES)}")
        return self._checked.rows(name, self._slice(rows))

    def output(self, name: str, rows: slice = slice(None)) -> npt.NDArray[np.float32]:
        """Read an output blob of the train net.

        Args:
            name: one of `outputs`.
            rows: part of the iterations.

        Returns:
            (T, n) float32, n the size of the blob.

        Raises:
            RecordingError: no such output.
        """
        return self._checked.rows(self._output_path("output", name), self._slice(rows))

    def stat(self, name: str, rows: slice = slice(None)) -> Labelled:
        """Read a statistic of every param blob.

        Args:
            name: `weight_l2`, `weight_max`, `gradient_l2`, `gradient_max`, `gradient_nonfinite` or `update_l2`: l2
                norm, largest magnitude, number of NaN or infinite elements; gradients are raw.
            rows: part of the iterations.

        Returns:
            (T, P) float64; labels are `layer/index`, as in `conv1/7x7_s2/0`.

        Raises:
            RecordingError: no such statistic.
        """
        if name not in fmt.STATS:
            raise RecordingError(f"{self.path}: no statistic {name!r}. {nearest(name, fmt.STATS)}")
        labels = tuple(p.label for p in self.params)
        values, iterations = self._checked.rows(f"stat/{name}", self._slice(rows)), self.series("iteration", rows)
        return Labelled(values, iterations, labels, ("iteration", "param"))

    def input_stat(self, name: str, rows: slice = slice(None)) -> Labelled:
        """Read a statistic of every blob that a data layer fills, images and labels, at every iteration.

        Args:
            name: `minimum`, `maximum`, `mean_abs` (mean magnitude) or `nonfinite` (number of NaN or infinite elements);
                with `iter_size` above 1, over all passes of the iteration.
            rows: part of the iterations.

        Returns:
            (T, I) float64; labels are names of blobs. Of a recording from before 0.3.0, there are no labels: (T, 0).

        Raises:
            RecordingError: no such statistic.
        """
        if name not in fmt.INPUT_STATS:
            raise RecordingError(f"{self.path}: no statistic of inputs {name!r}. {nearest(name, fmt.INPUT_STATS)}")
        iterations = self.series("iteration", rows)
        labels = tuple(blob.name for blob in self.inputs)
        values = np.empty((len(iterations), 0))
        if labels:
            values = self._checked.rows(f"input_stat/{name}", self._slice(rows))
        return Labelled(values, iterations, labels, ("iteration", "blob"))

    def _slice(self, rows: slice) -> slice:
        return slice(*rows.indices(self._checked.count()))

    # -- activations and tests --------------------------------------------------------------------------------------

    def activation(self, name: str) -> Labelled:
        """Read a statistic of every blob of the train net, at the iterations at which it was taken.

        Args:
            name: `mean_abs`, `max` (largest magnitude), `zero_fraction` or `nonfinite` (number of NaN or infinite
                elements).

        Returns:
            (S, A) float64; labels are names of blobs.

        Raises:
            RecordingError: no such statistic.
        """
        if name not in fmt.ACTIVATION_STATS:
            raise RecordingError(
                f"{self.path}: no activation statistic {name!r}. {nearest(name, fmt.ACTIVATION_STATS)}"
            )
        rows = slice(0, min(dataset.shape[0] for dataset in self._file["activation"].values()))
        values, iterations = (self._checked.rows(f"activation/{part}", rows) for part in (name, "iteration"))
        return Labelled(values, iterations, tuple(blob.name for blob in self.blobs), ("iteration", "blob"))

    @property
    def test_nets(self) -> int:
        """Number of test nets."""
        return len(self._file["test"])

    def test_outputs(self, net: int = 0) -> tuple[str, ...]:
        """List the names of the outputs of test net `net`.

        Raises:
            RecordingError: no such test net.
        """
        return tuple(sorted(self._checked.names(f"{self._test(net)}/output")))

    def test(self, name: str, net: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Read an output of a test net, averaged over each test pass.

        Args:
            name: one of `test_outputs(net)`.
            net: number of the test net.

        Returns:
            (R,) int64, the iterations of the R test passes; and (R, n) float32, n the size of the output.

        Raises:
            RecordingError: no such test net or output.
        """
        group = self._test(net)
        path = self._output_path(f"{group}/output", name)
        rows = slice(0, min(dataset.shape[0] for dataset in datasets(self._file[group])))
        return self._checked.rows(f"{group}/iteration", rows), self._checked.rows(path, rows)

    def _test(self, net: int) -> str:
        nets = self._file["test"]
        if str(net) not in nets:
            raise RecordingError(f"{self.path}: no test net {net}; it has {len(nets)}")
        return f"test/{net}"

    def _output_path(self, group: str, name: str) -> str:
        names = self._checked.names(group)
        if name not in names:
            raise RecordingError(f"{self.path}: no output {name!r}. {nearest(name, names)}")
        return names[name]
