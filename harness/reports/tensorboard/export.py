"""Write an existing recording for TensorBoard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

from harness.caffe_files.paths import exists, is_directory
from harness.diagnosis.live.messages import LOOK_AT
from harness.diagnosis.recorded.batch import Batch, worst_first
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.diagnosis.recorded.histogram import histogram
from harness.diagnosis.robust_stats import Floats
from harness.errors import BadInput, RecordingError
from harness.recording import Recording
from harness.reports.figures.window import picture
from harness.reports.tensorboard.summaries import (
    NORMS,
    alarm_tag,
    blob_tags,
    histogram_summary,
    image_summary,
    iteration_series,
    log10,
    output_tag,
    scalars,
    test_tags,
    text,
)

_CHUNK = 4096  # iterations that are read at a time
_MOST_IMAGES = 96
_EVENTS = "events"  # how the names of event files begin

_Step = tuple[int, list[Summary.Value]]


def export(found: Diagnosis, batch: Batch | None, target: Path) -> None:
    """Write the recording of `found` to the directory `target`, completely or not at all.

    It takes the place of event files that are there.

    Args:
        batch: the records of the onset's batch; None where they are not known.

    Raises:
        BadInput: `target` has other contents, or the run may be writing it.
        OSError: it cannot be written.
    """
    _check(target, live=found.recording.live)
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        times = _Times(found)
        with closing(EventsWriter(str(part.absolute() / _EVENTS))) as file:  # a relative path may be a URL to it
            for step, values in _summaries(found, batch):
                file.write_event(Event(step=step, wall_time=times.at(step), summary=Summary(value=values)))
        if is_directory(target):
            shutil.rmtree(target)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check(target: Path, *, live: bool) -> None:
    if not exists(target):
        return
    if not is_directory(target):
        raise BadInput("not a directory", file=str(target), remedy="Give another --out")
    if live:
        raise BadInput(
            "the run is in progress and may be writing its own event files there",
            file=str(target),
            remedy="Give another --out, or wait until the run has ended",
        )
    other = next((entry.name for entry in target.iterdir() if not entry.name.startswith(_EVENTS)), None)
    if other is not None:
        raise BadInput(f"contains {other}, which is no event file", file=str(target), remedy="Give another --out")


class _Times:
    """The time of day (s since 1970) at which an iteration ended, as far as it was recorded."""

    def __init__(self, found: Diagnosis) -> None:
        self._iterations = found.recording.iterations
        self._start = datetime.strptime(found.info.started, "%Y-%m-%dT%H:%M:%S%z").timestamp()
        self._ends = np.cumsum(np.nan_to_num(found.recording.series("seconds")))

    def at(self, iteration: int) -> float:
        row = int(np.searchsorted(self._iterations, iteration, side="right")) - 1
        return self._start + (float(self._ends[row]) if row >= 0 else 0.0)


def _summaries(found: Diagnosis, batch: Batch | None) -> Iterator[_Step]:
    recording = found.recording
    yield from _rows(found)
    for net in range(recording.test_nets):
        yield from _tests(recording, net)
    for iteration in recording.window_iterations.tolist():
        yield iteration, list(_histograms(recording, iteration))
    if batch is not None:
        yield batch.iteration, list(_images(batch))
    yield from _texts(found)


def _rows(found: Diagnosis) -> Iterator[_Step]:
    """Summarise every iteration; the norms of single blobs where `caffe train` displays, and in windows."""
    recording = found.recording
    iterations, display = recording.iterations, found.solver.display
    detailed = np.isin(iterations, recording.window_iterations)
    if display > 0:
        detailed |= iterations % display == 0
    blobs = blob_tags(param.label for param in recording.params)
    for start in range(0, len(iterations), _CHUNK):
        rows = slice(start, min(start + _CHUNK, len(iterations)))
        norms = np.stack([recording.stat(f"{norm}_l2", rows).values for norm in NORMS], axis=1)
        series = _series(recording, rows, norms)
        table, of_blobs = np.column_stack(list(series.values())), log10(norms)
        for row, iteration in enumerate(iterations[rows].tolist()):
            values = scalars(series, table[row].tolist())
            if detailed[start + row]:
                values += scalars(blobs, of_blobs[row].ravel().tolist())
            yield iteration, values


def _series(recording: Recording, rows: slice, norms: Floats) -> dict[str, Floats]:
    outputs = {name: recording.output(name, rows).astype(np.float64) for name in recording.outputs}
    return iteration_series(
        loss=recording.series("loss", rows),
        smoothed=recording.series("smoothed_loss", rows),
        lr=recording.series("lr", rows),
        seconds=recording.series("seconds", rows),
        outputs={output_tag(n, recording.heads): v[:, 0] for n, v in outputs.items() if v.shape[1] == 1},
        norms=norms,
    )


def _tests(recording: Recording, net: int) -> Iterator[_Step]:
    for name in recording.test_outputs(net):
        iterations, values = recording.test(name, net)
        tags = test_tags(net, name, values.shape[1])
        for iteration, row in zip(iterations.tolist(), values.tolist(), strict=True):
            yield iteration, scalars(tags, row)


def _histograms(recording: Recording, iteration: int) -> Iterator[Summary.Value]:
    for kind in NORMS:
        for param in recording.params:
            try:
                values = getattr(recording, kind)(iteration, param.layer, param.index)
            except RecordingError:  # not captured
                continue
            counted = histogram(values.ravel())
            if counted is not None:
                yield histogram_summary(f"{kind}/{param.label}", counted)


def _images(batch: Batch) -> Iterator[Summary.Value]:
    """Return the records of the batch as pictures, the outliers first."""
    if batch.pixels is None:
        return
    for rank, image in enumerate(worst_first(batch, None)[:_MOST_IMAGES], 1):
        yield image_summary(f"batch/{rank:02d} {batch.describe(image)}", picture(batch, image))


def _texts(found: Diagnosis) -> Iterator[_Step]:
    for alarm in found.alarms:
        content = f"{found.describe(alarm)}. {LOOK_AT.get(alarm.rule, '')}".strip()
        yield alarm.iteration, text(alarm_tag(alarm.rule, alarm.subject), content)
    if found.onset is not None:
        yield found.onset.iteration, text("onset", f"Onset: iteration {found.onset.iteration:,}: {found.onset.reason}")
    ended, iterations = found.info.ended, found.recording.iterations
    if ended is not None and len(iterations):
        yield int(iterations[-1]), text("outcome", ended.how)
