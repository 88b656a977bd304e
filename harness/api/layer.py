"""One layer of a recorded run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.diagnosis.robust_stats import Floats, total_norm
from harness.errors import RecordingError, nearest
from harness.recording import Labelled
from harness.recording.frames import data_frame
from harness.schemas.layout import STATS, Param

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from harness.api.run import Run

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A layer with learnable param blobs: their statistics at every iteration, and their values inside windows.

    In the shapes below, T is the number of recorded iterations.

    Attributes:
        name: of the layer.
        params: its param blobs: for most layers the weights, then the biases. Blobs that layers share belong to the
            first of these layers.

    Example:
        >>> layer = run.layer("conv1/7x7_s2")
        >>> layer.gradient_l2[836:846]  # around the break
        >>> layer.weight(841).shape, layer.update(841, 1)  # inside a window: the weights, and the update of the biases
        >>> layer.frame().to_csv("conv1.csv")
    """

    name: str
    params: tuple[Param, ...]
    run: Run = field(repr=False, compare=False)

    @property
    def iterations(self) -> npt.NDArray[np.int64]:
        """(T,) the recorded iterations."""
        return self.run.iterations

    def stat(self, name: str) -> Labelled:
        """Read a statistic of each of its param blobs, as `Recording.stat` does.

        Returns:
            (T, blobs) float64; labels are `layer/index`.

        Raises:
            RecordingError: no such statistic.
        """
        found = self.run.stat(name)
        labels = tuple(param.label for param in self.params)
        columns = [found.labels.index(label) for label in labels]
        return Labelled(found.values[:, columns], found.iterations, labels, found.dims)

    @property
    def weight_l2(self) -> Floats:
        """(T,) the l2 norm of all its param blobs together, before the update of the iteration."""
        return total_norm(self.stat("weight_l2").values)

    @property
    def gradient_l2(self) -> Floats:
        """(T,) the l2 norm of its raw gradients together."""
        return total_norm(self.stat("gradient_l2").values)

    @property
    def update_l2(self) -> Floats:
        """(T,) the l2 norm of what Caffe subtracted from its param blobs."""
        return total_norm(self.stat("update_l2").values)

    def weight(self, iteration: int, index: int = 0) -> Array:
        """Read the values of a param blob in an iteration of a window, as `Recording.weight` does.

        Raises:
            RecordingError: the iteration is in no window, or that blob was not recorded.
        """
        return self.run.weight(iteration, self.name, index)

    def gradient(self, iteration: int, index: int = 0) -> Array:
        """Read the raw gradient of a param blob in an iteration of a window; errors are those of `weight`."""
        return self.run.gradient(iteration, self.name, index)

    def update(self, iteration: int, index: int = 0) -> Array:
        """Read what Caffe subtracted from a param blob in an iteration of a window; errors are those of `weight`."""
        return self.run.update(iteration, self.name, index)

    def history(self, iteration: int, index: int = 0, slot: int = 0) -> Array:
        """Read the solver's history of a param blob in an iteration of a window, as `Recording.history` does."""
        return self.run.history(iteration, self.name, index, slot)

    def frame(self) -> pd.DataFrame:
        """Return all statistics as a pandas DataFrame: a row for each iteration, columns such as `gradient_l2/0`.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        columns = {
            f"{name}/{param.index}": values
            for name in STATS
            for param, values in zip(self.params, self.stat(name).values.T, strict=True)
        }
        return data_frame(columns, self.iterations)

    def plot(self) -> Figure:
        """Draw the norms of its weights, gradients and updates over all iterations, with the onset and the windows.

        Returns:
            A Matplotlib figure; `figure.savefig("conv1.png")` writes it.
        """
        from harness.reports.figures import layer_norms  # Matplotlib takes a while to import

        onset = self.run.onset
        return layer_norms(self.run, self.name, None if onset is None else onset.iteration)


def layer_of(run: Run, name: str) -> Layer:
    """Return the layer `name` of a run.

    Raises:
        RecordingError: no layer of that name has a learnable param blob of its own.
    """
    params = tuple(param for param in run.params if param.layer == name)
    if not params:
        known = dict.fromkeys(param.layer for param in run.params)
        raise RecordingError(
            f"{run.path}: no layer {name!r} with learnable param blobs of its own. {nearest(name, known)}"
        )
    return Layer(name, params, run)
