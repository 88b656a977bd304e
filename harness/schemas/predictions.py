"""Predictions of a net for every image of one batch, before and after the update computed from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.errors import RecordingError


class NoPredictions(RecordingError):
    """Predictions cannot be computed from this recording; the message says why."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of one head for each image, in the order of the batch, with one set of weights.

    Attributes:
        loss: (N,) float64, in nats, at most 87.3 as Caffe's own; NaN if the label is ignored or not one of the classes.
        predicted: (N,) int64, the most probable class; -1 if the net outputs NaN.
        probability: (N,) float64, of the predicted class; NaN if the net outputs NaN.
        label_probability: (N,) float64; NaN if the loss is.
    """

    loss: npt.NDArray[np.float64]
    predicted: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64]
    label_probability: npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeadPredictions:
    """One SoftmaxWithLoss head: `name` and `weight` as in `Recording.heads`, and its predictions with W_t (`before`)
    and with W_{t+1} (`after`). `labels` (N,) int64 are the labels that the head read. `batch_statistics` names the
    BatchNorm layers that normalised by the batch, because their running averages were still empty.
    """

    name: str
    weight: float
    classes: int
    labels: npt.NDArray[np.int64]
    before: Predictions
    after: Predictions
    batch_statistics: str = ""
