"""The filters of the first convolution, before and after the update of an iteration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.diagnosis.recorded.baseline import PARAM_ROWS
from harness.recording import Recording, RecordingError
from harness.schemas.layout import Param


@dataclass(frozen=True)
class Filters:
    """The filters of a convolution that reads images.

    Attributes:
        before, after: (n, channels, height, width) W_t and W_{t+1}; `channels` is 1 or 3 (BGR).
        change: ‖update‖ / ‖weight‖ of this iteration.
        usual: its median before; None where it is not known.
    """

    param: str
    iteration: int
    before: npt.NDArray[np.float32]
    after: npt.NDArray[np.float32]
    change: float
    usual: float | None

    @property
    def limit(self) -> float:
        """The magnitude that is shown as black or white: the largest of `before`."""
        size = np.abs(self.before[np.isfinite(self.before)])
        return float(size.max(initial=0.0)) or 1.0


def first_filters(recording: Recording, iteration: int) -> Filters | None:
    """Return the filters of the first convolution of 1 or 3 channels, from a window that holds `iteration`.

    None where the net has no such layer, or its weights or updates were not captured.
    """
    column, param = next(((c, p) for c, p in enumerate(recording.params) if _is_of_images(p)), (0, None))
    if param is None:
        return None
    try:
        weight = recording.weight(iteration, param.layer, param.index)
        update = recording.update(iteration, param.layer, param.index)
    except RecordingError:
        return None
    row = int(np.searchsorted(recording.iterations, iteration))
    rows = slice(max(0, row - PARAM_ROWS), row + 1)
    with np.errstate(all="ignore"):
        updates, weights = (recording.stat(f"{kind}_l2", rows).values[:, column] for kind in ("update", "weight"))
        ratio = updates / weights
        after = weight - update
    usual = float(np.median(ratio[:-1])) if len(ratio) > 1 and np.isfinite(ratio[:-1]).all() else None
    return Filters(param.label, iteration, weight, after, float(ratio[-1]), usual)


def _is_of_images(param: Param) -> bool:
    return len(param.shape) == 4 and param.shape[1] in (1, 3) and min(param.shape[2:]) > 1
