"""The data of a report, without its presentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from harness.diagnosis.recorded.batch import Batch
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.diagnosis.recorded.filters import Filters, first_filters
from harness.diagnosis.recorded.heatmap import QUANTITIES, Heatmap
from harness.diagnosis.recorded.label_shares import LabelShare, label_shares, unusual_labels
from harness.errors import RecordingError
from harness.recording import Recording
from harness.recording.lineage_reader import LineageReader
from harness.reports.suggestion import Suggestion
from harness.reports.suggestions import next_commands, rewind_of_onset
from harness.schemas.explanation import Explanation
from harness.schemas.predictions import HeadPredictions
from harness.schemas.rescue import Rescue
from harness.schemas.rewind import NoRewind, Rewind
from harness.schemas.run_info import RunInfo

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """One run, as its report shows it.

    Attributes:
        lineage: the run and those that it continues, as one training.
        info: its run.json.
        base_lr: the solver's.
        batch: the inputs of the onset (without an onset, of the first iteration in a window); None if not recorded.
        predictions: those of each head for the batch; if empty, `unpredicted` may give the reason.
        labels: all labels of the training data; None if not available.
        children: the restarts of this run, by their changes.
        explanation: what `explain` found; None if it was not asked, or if `unexplained` gives the reason.
        rescue: what `rescue` tried, if it ended with this run; None if not, or if `unread_rescue` gives the reason.
        later_rescue: the rescue that began with this run; None likewise.
    """

    run: Path
    recording: Recording
    lineage: LineageReader
    info: RunInfo
    base_lr: float
    found: Diagnosis
    batch: Batch | None
    predictions: tuple[HeadPredictions, ...]
    unpredicted: str | None
    labels: npt.NDArray[np.int32] | None
    children: Mapping[str, Recording]
    explanation: Explanation | None
    unexplained: str | None
    rescue: Rescue | None
    later_rescue: Rescue | None
    unread_rescue: str | None

    def draw(self, page: Callable[[Subject], T]) -> T:
        """Return what `page` makes of the subject; without the ancestors of the run if one of them is damaged."""
        try:
            return page(self)
        except RecordingError as error:
            if len(self.lineage.parts) == 1:
                raise
            return page(replace(self, lineage=self.lineage.alone(str(error))))

    @property
    def onset(self) -> int | None:
        """The iteration of the onset."""
        return self.found.onset.iteration if self.found.onset else None

    @cached_property
    def heatmaps(self) -> tuple[Heatmap, ...]:
        """The heat maps of the iterations around the onset, one column per iteration."""
        return tuple(self.found.heatmap(quantity) for quantity in QUANTITIES)

    @cached_property
    def rewind(self) -> Rewind | NoRewind | None:
        """How to record the iterations around the onset after the run; None without an onset, and while it goes on."""
        return rewind_of_onset(self.recording, self.found)

    @property
    def suggestions(self) -> list[Suggestion]:
        """The commands that the page suggests."""
        return next_commands(self.recording, self.info, self.found, self.base_lr, self.batch)

    @property
    def label_shares(self) -> tuple[LabelShare, ...]:
        """The labels of the batch: counts, and those expected by the label's share of the data set."""
        if self.batch is None or self.batch.labels is None:
            return ()
        return label_shares(self.batch.labels, self.labels)

    @property
    def unusual_labels(self) -> tuple[LabelShare, ...]:
        """The labels that are more frequent in the batch than by chance."""
        return unusual_labels(self.label_shares, len(self.batch)) if self.batch is not None else ()

    @cached_property
    def filters(self) -> Filters | None:
        """The filters of the first convolution before and after the update of the iteration that is looked into."""
        return None if self.found.moment is None else first_filters(self.found.kept, self.found.moment)

    @property
    def head(self) -> HeadPredictions | None:
        """The main head: the one with the largest weight."""
        return max(self.predictions, key=lambda head: head.weight, default=None)
