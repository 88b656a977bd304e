"""Write a run for TensorBoard while it trains: event files that TensorBoard reads as they grow."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event as FileEvent
from tensorboardX.proto.summary_pb2 import Summary

from harness.diagnosis.live.messages import LOOK_AT, sentence
from harness.diagnosis.live.rows import names_of
from harness.diagnosis.recorded.histogram import Histogram, histogram, merged
from harness.recording.writer import SPARE_SPACE
from harness.reports.tensorboard.summaries import (
    NORMS,
    alarm_tag,
    blob_tags,
    histogram_summary,
    iteration_series,
    log10,
    output_tag,
    scalars,
    test_tags,
    text,
)
from harness.reports.text.alarms import divergence_lines
from harness.schemas.events import Event, Frames, Kept, TestPass
from harness.schemas.layout import STATS, Alarm, Layout
from harness.schemas.outcome import Divergence, Opening, Outcome

_FLUSH_EVERY = 5.0  # seconds; each flush waits for the disk
_NORM_ROWS = [list(STATS).index(f"{name}_l2") for name in NORMS]  # of a frame's stat


class TensorBoard:
    """Writes one run into `<run directory>/tensorboard/`.

    If it cannot write any further, it passes a message to `report`, and the run continues without it.

    It does not use tensorboardX's SummaryWriter: that writes in a thread, which ends when the disk is full, so that the
    next call blocks forever. One event holds all scalars of an iteration, which takes a fraction of the time of single
    events.
    """

    dropped = None  # the user is shown what the terminal shows

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._opening: Opening | None = None
        self._file: EventsWriter | None = None
        self._flushed = 0.0
        self._last = 0  # iteration
        self._outputs: tuple[tuple[str, int], ...] = ()  # tags, and columns in a frame's output
        self._parts: list[Histogram] = []  # of an array that has not arrived completely
        self._arrived = 0  # bytes of it
        self._histograms: dict[int, list[Summary.Value]] = {}  # of iterations whose frames have not arrived
        self._onset: str | None = None

    # -- the listener's methods --------------------------------------------------------------------------------------

    def start(self, opening: Opening) -> None:
        layout = opening.layout
        self._opening, self._last = opening, opening.first
        columns = layout.output_columns
        self._outputs = tuple(
            (output_tag(o.name, layout.heads), columns[o.name]) for o in layout.outputs if o.size == 1
        )
        directory = (
            opening.directory.absolute() / "tensorboard"
        )  # tensorboardX would upload to a path that starts with s3:
        with self._disk_errors():
            directory.mkdir(exist_ok=True)
            self._file = EventsWriter(str(directory / "events"))

    def event(self, event: Event) -> None:
        if self._file is None or self._opening is None:
            return
        if isinstance(event, Kept):
            self._kept(event, self._opening.layout)
        elif isinstance(event, Frames):
            self._frames(event, self._opening.layout)
        elif isinstance(event, TestPass):
            outputs = self._opening.layout.test_outputs[event.net]
            tags = [tag for output in outputs for tag in test_tags(event.net, output.name, output.size)]
            self._write(event.iteration, scalars(tags, event.values.tolist()))

    def alarms(self, alarms: Sequence[Alarm], divergences: Sequence[Alarm], divergence: Divergence | None) -> None:
        if self._opening is None:
            return
        names = names_of(self._opening.layout)
        for alarm in alarms:
            tag = alarm_tag(alarm.rule, alarm.subject)
            self._text(alarm.iteration, tag, f"{sentence(alarm, names)}. {LOOK_AT[alarm.rule]}")
        self._diverged(divergence)

    def message(self, text: str) -> None:
        """Ignore it: messages are for the terminal."""

    def tick(self, recorded_bytes: int) -> None:
        if self._file is None or self._opening is None:
            return
        with self._disk_errors():
            needed = max(0, self._opening.window_bytes + self._opening.row_bytes - recorded_bytes) + SPARE_SPACE
            free = shutil.disk_usage(self._opening.directory).free
            if free < needed:
                self._give_up(f"the disk has {free / 2**20:,.0f} MiB free, which the recording needs")
            elif time.monotonic() - self._flushed >= _FLUSH_EVERY:
                self._file.flush()
                self._flushed = time.monotonic()

    def finish(self, outcome: Outcome) -> None:
        self._diverged(outcome.divergence)
        self._text(self._last, "outcome", outcome.sentence)
        self.close()

    def close(self) -> None:
        """Write what is still in memory."""
        if self._file is not None:
            with self._disk_errors():
                self._file.close()
            self._file = None

    # -- events to summaries ----------------------------------------------------------------------------------------

    def _kept(self, kept: Kept, layout: Layout) -> None:
        for index, payload in kept.parts:
            array = layout.arrays[index]
            if array.group not in NORMS:
                continue
            part = histogram(np.frombuffer(payload, np.float32))
            self._parts += [part] if part is not None else []
            self._arrived += payload.nbytes
            if self._arrived == array.nbytes:
                whole = merged(self._parts)
                if whole is not None:
                    summary = histogram_summary(f"{array.group}/{array.label}", whole)
                    self._histograms.setdefault(kept.iteration, []).append(summary)
                self._parts, self._arrived = [], 0

    def _frames(self, frames: Frames, layout: Layout) -> None:
        rows = frames.rows
        norms = rows["stat"][:, _NORM_ROWS]  # (T, 3, P)
        outputs = {tag: rows["output"][:, column] for tag, column in self._outputs}
        series = iteration_series(rows["loss"], rows["smoothed_loss"], rows["lr"], rows["seconds"], outputs, norms)
        table = np.column_stack(list(series.values()))
        blobs, of_blobs = blob_tags(param.label for param in layout.params), log10(norms)
        for row, iteration in enumerate(rows["iteration"].tolist()):
            summary = scalars(series, table[row].tolist())
            if rows["lapse"][row] > 0 or layout.in_window(iteration):
                summary += scalars(blobs, of_blobs[row].ravel().tolist())
            self._write(iteration, summary + self._histograms.pop(iteration, []))
            self._last = iteration

    def _diverged(self, divergence: Divergence | None) -> None:
        if divergence is None or self._opening is None:
            return
        described = "\n\n".join(line.plain for line in divergence_lines(divergence, self._opening))
        if described != self._onset:
            self._onset = described
            self._text(int(divergence.onset.iteration), "onset", described)

    # -- the file ---------------------------------------------------------------------------------------------------

    def _text(self, step: int, tag: str, content: str) -> None:
        self._write(step, text(tag, content))

    def _write(self, step: int, values: list[Summary.Value]) -> None:
        if self._file is not None:
            with self._disk_errors():
                self._file.write_event(FileEvent(step=step, wall_time=time.time(), summary=Summary(value=values)))

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._give_up(error.strerror or str(error))

    def _give_up(self, why: str) -> None:
        file, self._file = self._file, None
        with suppress(OSError):
            if file is not None:
                file.close()
        assert self._opening is not None
        directory = self._opening.directory / "tensorboard"
        self._report(f"{directory} cannot be written ({why}); the run continues without it")
