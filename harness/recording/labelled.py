"""Arrays that carry their iterations and column labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.errors import RecordingError, nearest
from harness.recording.frames import data_frame

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Labelled:
    """A statistic by iteration and blob: `values[row, column]` belongs to `iterations[row]` and `labels[column]`.

    Example:
        >>> norms = recording.stat("gradient_l2")
        >>> norms["conv1/7x7_s2/0"]  # (T,), the column of one param blob
        >>> norms.frame()  # a pandas DataFrame
        >>> xarray.DataArray(norms.values, norms.coords, norms.dims)

    Attributes:
        values: (T, P), (T, I) or (S, A) float64.
        iterations: (T,) or (S,) int64.
        labels: names of the columns: `layer/index` of a param blob, or the name of a net's blob.
        dims: names of the two axes, `("iteration", "param")` or `("iteration", "blob")`.
    """

    values: npt.NDArray[np.float64]
    iterations: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    dims: tuple[str, str]

    @property
    def coords(self) -> dict[str, npt.NDArray[np.int64] | list[str]]:
        """Coordinates of the two axes by their names, as xarray takes them."""
        return {self.dims[0]: self.iterations, self.dims[1]: list(self.labels)}

    def frame(self) -> pd.DataFrame:
        """Return a pandas DataFrame with the iterations as its index and the labels as its columns.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        return data_frame(dict(zip(self.labels, self.values.T, strict=True)), self.iterations)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[np.generic]:
        return np.array(self.values, dtype=dtype) if copy else np.asarray(self.values, dtype=dtype)

    def __getitem__(self, label: str) -> npt.NDArray[np.float64]:
        """Select the column of one blob.

        Args:
            label: one of `labels`.

        Returns:
            (T,) or (S,) float64.

        Raises:
            RecordingError: no such label.
        """
        if label not in self.labels:
            raise RecordingError(f"no {self.dims[1]} {label!r}. {nearest(label, self.labels)}")
        return self.values[:, self.labels.index(label)]
