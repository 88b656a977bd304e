"""Collect the data of a report's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.api.runs import diagnose, predict
from harness.caffe_files.lmdb_file import open_records
from harness.caffe_files.paths import is_directory
from harness.errors import BadInput, RecordingError
from harness.recording import Recording
from harness.recording.lineage import children
from harness.recording.lineage_reader import LineageReader
from harness.recording.repeats import repeat_of
from harness.recording.result_files import read_explanation, rescue_from, rescue_of
from harness.recording.run_directory import read_info
from harness.reports.html.subject import Subject
from harness.reports.names import curve_names
from harness.reports.suggestions import rewind_of_onset
from harness.schemas.explanation import Explanation
from harness.schemas.predictions import HeadPredictions
from harness.schemas.rescue import Rescue
from harness.schemas.rewind import Rewind
from harness.schemas.run_info import Parent, RunInfo
from harness.training_data.lmdb_scan import scan_apart


@contextmanager
def subject_of(run: Path, rules: Path | None, *, whole: bool = True) -> Iterator[Subject]:
    """Open and diagnose a run.

    Args:
        rules: a file with other limits of the alarm rules.
        whole: collect what a whole report shows; a comparison has no predictions, labels, restarts and explanation.

    Raises:
        BadInput, RecordingError: it cannot be read.
    """
    with ExitStack() as stack:
        recording = stack.enter_context(Recording(run))
        found = diagnose(recording, rules=rules)
        onset = found.onset.iteration if found.onset is not None else None
        if onset is not None and "weight" not in recording.window_arrays(onset) and not recording.live:
            repeat = stack.enter_context(repeat_of(run, recording, onset))
            found = found if repeat is None else found.with_windows_of(repeat)
        batch = found.batch()
        heads: tuple[HeadPredictions, ...] = ()
        unpredicted = None
        if batch is not None and recording.live:
            unpredicted = "they will be computed after the run has ended."
        elif batch is not None and batch.source == "data set":
            unpredicted = f"they need the weights of iteration {batch.iteration:,}, which no window holds."
            if isinstance(rewind_of_onset(recording, found), Rewind):
                unpredicted += " A command above records them."
        elif batch is not None and whole:
            try:
                heads = predict(found.kept, batch.iteration)
            except RecordingError as error:
                unpredicted = str(error)
        info = found.info
        explanation, unexplained = _explanation(run) if whole else (None, None)
        rescue, later, unread_rescue = _rescues(run) if whole else (None, None, None)
        yield Subject(
            run=run,
            recording=recording,
            lineage=stack.enter_context(LineageReader(recording)),
            info=info,
            base_lr=found.solver.base_lr,
            found=found,
            batch=batch,
            predictions=tuple(head for head in heads if len(head.labels) == len(batch or ())),
            unpredicted=unpredicted,
            labels=_labels(info) if batch is not None and whole else None,
            children=_children(run, stack) if whole else {},
            explanation=explanation,
            unexplained=unexplained,
            rescue=rescue,
            later_rescue=later,
            unread_rescue=unread_rescue,
        )


def _explanation(run: Path) -> tuple[Explanation | None, str | None]:
    """Read what `explain` found about `run`, or why it cannot be read."""
    try:
        return read_explanation(run), None
    except BadInput as error:
        return None, str(error)


def _rescues(run: Path) -> tuple[Rescue | None, Rescue | None, str | None]:
    """Read the rescue that ended with `run`, and the one that began with it; or why one cannot be read."""
    try:
        return rescue_of(run), rescue_from(run), None
    except BadInput as error:
        return None, None, str(error)


def _children(run: Path, stack: ExitStack) -> Mapping[str, Recording]:
    """Open the restarts of `run` that can be read, by their changes; where these are the same, with their names."""
    recordings: dict[str, Recording] = {}
    parents: dict[str, Parent | None] = {}
    for child in children(run):
        try:
            recording, parent = stack.enter_context(Recording(child, may_repair=False)), read_info(child).parent
        except (BadInput, RecordingError):  # damaged
            continue
        if len(recording.iterations) and parent is not None:
            recordings[child.name], parents[child.name] = recording, parent
    return dict(zip(curve_names(parents), recordings.values(), strict=True))


def _labels(info: RunInfo) -> npt.NDArray[np.int32] | None:
    """Read all labels of the training data, if the data still exist unchanged."""
    for place in info.point.places:
        source = Path(info.directory, place.source)
        if place.net == 0 and is_directory(source):  # an LMDB
            try:
                records = open_records(source, scan=scan_apart)
            except BadInput:
                return None
            return records.labels if records.fingerprint == place.fingerprint else None
    return None
