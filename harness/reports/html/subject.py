"""What a report is about: all that the page shows, and nothing that it draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.diagnosis.recorded.batch import Batch, LabelShare, label_shares
from harness.diagnosis.recorded.heatmap import QUANTITIES, Heatmap, heatmap
from harness.diagnosis.recorded.post_mortem import PostMortem
from harness.recording import Recording
from harness.schemas.predictions import HeadPredictions
from harness.schemas.run_info import RunInfo


@dataclass(frozen=True)
class Subject:
    """One run.

    `info` is its run.json. `batch` are the images of the onset's iteration (of the window's first, in a run
    without an onset), where they were kept, `predictions` what each head says of them, or `unpredicted` why that cannot
    be told; `labels` all labels of the training data. `children` are restarts of this run, by name.
    """

    run: Path
    recording: Recording
    info: RunInfo
    base_lr: float
    found: PostMortem
    batch: Batch | None
    predictions: tuple[HeadPredictions, ...]
    unpredicted: str | None
    labels: npt.NDArray[np.int32] | None
    children: Mapping[str, Recording]

    @property
    def onset(self) -> int | None:
        """The iteration where it began to diverge."""
        return self.found.onset.iteration if self.found.onset else None

    @cached_property
    def heatmaps(self) -> tuple[Heatmap, ...]:
        """The heat maps of the iterations around the onset, one column per iteration."""
        rows = self.found.around
        columns = max(1, len(self.recording.iterations[rows]))
        return tuple(heatmap(self.recording, quantity, rows, self.onset, columns) for quantity in QUANTITIES)

    @property
    def label_shares(self) -> tuple[LabelShare, ...]:
        """The labels of the batch, beside their share of the data set."""
        if self.batch is None or self.batch.labels is None:
            return ()
        return label_shares(self.batch.labels, self.labels)

    @property
    def head(self) -> HeadPredictions | None:
        """The head by which images are told: the one with the largest weight."""
        return max(self.predictions, key=lambda head: head.weight, default=None)
