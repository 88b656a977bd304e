"""`LineageReader`: a run and those that it continues, read as one training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from harness.errors import RecordingError
from harness.recording.labelled import Labelled
from harness.recording.lineage import ancestry
from harness.recording.lineage_part import Part
from harness.recording.reader import Recording
from harness.schemas.layout import Alarm, Head, Param
from harness.schemas.window import Window, clip, merge

Array = npt.NDArray[np.float32]
_END = 2**62  # after every iteration


class LineageReader:
    """A run and those that it continues, read as one training: the rows of each run up to where the next takes over.

    Methods are those of `Recording`, with T, S and W counted over all runs. Columns are those of the last run; where an
    earlier one does not have a column, its values are NaN. Values are read from the files as they are asked for.

    Args:
        last: the recording of the last run. It is closed with the lineage.

    Raises:
        BadInput: its run.json cannot be read.

    Attributes:
        parts: the runs, oldest first.
        missing: a clause that says why older runs are left out, as where a directory is gone; None if none is.
    """

    def __init__(self, last: Recording) -> None:
        line = ancestry(last.path.parent)
        self.missing, until = line.missing, None
        parts: list[Part] = []
        for run, info, begins in reversed(list(zip(line.runs, line.infos, line.begins, strict=True))):
            try:
                recording = Recording(run, may_repair=False) if parts else last  # what a file names is only read
                rows = None if until is None else int(np.searchsorted(recording.iterations, until))
            except RecordingError as error:
                self.missing = str(error)
                break
            parts.append(Part(recording, info, begins, until, rows))
            until = begins if until is None else min(until, begins)
        self.parts = tuple(reversed(parts))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        times = self.iterations
        span = f"iterations {times[0]}…{times[-1]}" if len(times) else "no iteration yet"
        return f"<Lineage {self.path.parent}: {span} of {len(self.parts)} runs>"

    def close(self) -> None:
        """Close the files of all runs."""
        for part in self.parts:
            part.recording.close()

    def refresh(self) -> None:
        """Show what was written since the files were opened, while the last run continues."""
        for part in self.parts:
            part.recording.refresh()

    def alone(self, reason: str) -> Self:
        """Return the lineage without the ancestors of the last run, left out for `reason`; this one stays open."""
        found = copy(self)
        found.parts, found.missing = self.parts[-1:], reason
        return found

    # -- the runs ---------------------------------------------------------------------------------------------------

    @property
    def last(self) -> Recording:
        """The recording of the last run."""
        return self.parts[-1].recording

    @property
    def interventions(self) -> tuple[Part, ...]:
        """The runs that change something of the training that they continue, at the iteration `begins`."""
        return tuple(part for part in self.parts[1:] if part.intervenes)

    def at(self, iteration: int) -> Part:
        """Find the run that an iteration is read from; one before all of them is looked for in the oldest."""
        return next((part for part in reversed(self.parts) if part.begins <= iteration), self.parts[0])

    @property
    def path(self) -> Path:
        """The recording of the last run."""
        return self.last.path

    @property
    def live(self) -> bool:
        """The last run is in progress."""
        return self.last.live

    @property
    def heads(self) -> tuple[Head, ...]:
        """The losses of the last run's train net."""
        return self.last.heads

    @property
    def params(self) -> tuple[Param, ...]:
        """The P learnable param blobs of the last run, which are the columns of `stat`."""
        return self.last.params

    @property
    def same_params(self) -> bool:
        """All runs have the param blobs of the last one, so that no value of `stat` is NaN for the lack of a column."""
        labels = [param.label for param in self.params]
        return all([param.label for param in part.recording.params] == labels for part in self.parts)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the output blobs of the last run's train net."""
        return self.last.outputs

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms of all runs up to where the next takes over, as they were raised."""
        return tuple(
            alarm
            for part in self.parts
            for alarm in part.recording.alarms
            if part.until is None or alarm.iteration < part.until
        )

    # -- every iteration --------------------------------------------------------------------------------------------

    @property
    def iterations(self) -> npt.NDArray[np.int64]:
        """(T,) the recorded iterations."""
        return self.series("iteration")

    def series(self, name: str, rows: slice = slice(None)) -> npt.NDArray[Any]:
        """Read a number of every iteration, as `Recording.series` does."""
        return np.concatenate([recording.series(name, part) for recording, part in self._rows(rows)])

    def output(self, name: str, rows: slice = slice(None)) -> Array:
        """Read an output blob of the train net, as `Recording.output` does."""
        width = self.last.output(name, slice(0, 0)).shape[1]

        def read(recording: Recording, part: slice) -> Array:
            values = recording.output(name, part) if name in recording.outputs else np.empty((0, 0), np.float32)
            if values.shape[1] == width:
                return values
            return np.full((len(recording.series("iteration", part)), width), np.nan, np.float32)

        return np.concatenate([read(recording, part) for recording, part in self._rows(rows)])

    def stat(self, name: str, rows: slice = slice(None)) -> Labelled:
        """Read a statistic of every param blob, as `Recording.stat` does."""
        return self._columns(lambda recording, part: recording.stat(name, part), rows)

    def input_stat(self, name: str, rows: slice = slice(None)) -> Labelled:
        """Read a statistic of every blob that a data layer fills, as `Recording.input_stat` does."""
        return self._columns(lambda recording, part: recording.input_stat(name, part), rows)

    def _columns(self, read: Callable[[Recording, slice], Labelled], rows: slice) -> Labelled:
        return _joined([read(recording, part) for recording, part in self._rows(rows)], read(self.last, slice(0, 0)))

    def _rows(self, rows: slice) -> Iterator[tuple[Recording, slice]]:
        """Divide rows of the lineage into rows of the recordings; at least those of the last, which may be none."""
        counts = [part.count for part in self.parts]
        start, stop, step = rows.indices(sum(counts))
        before = 0
        for part, count in zip(self.parts, counts, strict=True):
            first = start if start >= before else start + -(-(before - start) // step) * step
            end = min(stop, before + count)
            if first < end or part is self.parts[-1]:
                yield part.recording, slice(max(first - before, 0), max(end - before, 0), step)
            before += count

    # -- activations and tests --------------------------------------------------------------------------------------

    def activation(self, name: str) -> Labelled:
        """Read a statistic of every blob of the train net, as `Recording.activation` does."""
        found = [_before(part.recording.activation(name), part.until) for part in self.parts]
        return _joined(found, found[-1])

    @property
    def test_nets(self) -> int:
        """Number of test nets of the last run."""
        return self.last.test_nets

    def test_outputs(self, net: int = 0) -> tuple[str, ...]:
        """List the names of the outputs of test net `net` of the last run."""
        return self.last.test_outputs(net)

    def test(self, name: str, net: int = 0) -> tuple[npt.NDArray[np.int64], Array]:
        """Read an output of a test net, as `Recording.test` does. Runs without that output have no rows."""
        iterations, values = self.last.test(name, net)
        found = [(iterations, values)]
        for part in reversed(self.parts[:-1]):
            recording = part.recording
            if net >= recording.test_nets or name not in recording.test_outputs(net):
                continue
            times, rows = recording.test(name, net)
            if rows.shape[1:] == values.shape[1:]:
                kept = times < (np.inf if part.until is None else part.until)
                found.append((times[kept], rows[kept]))
        return np.concatenate([times for times, _ in found[::-1]]), np.concatenate([rows for _, rows in found[::-1]])

    # -- windows ----------------------------------------------------------------------------------------------------

    @property
    def windows(self) -> tuple[Window, ...]:
        """The ranges of iterations whose complete arrays are stored."""
        found = [
            window
            for part in self.parts
            for window in clip(part.recording.windows, part.begins, _END if part.until is None else part.until)
        ]
        return merge(found)

    def window_arrays(self, iteration: int) -> tuple[str, ...]:
        """List what is stored of an iteration, as `Recording.window_arrays` does."""
        return self.at(iteration).recording.window_arrays(iteration)

    def weight(self, iteration: int, layer: str, index: int = 0) -> Array:
        """Read W_t of one param blob in a window, as `Recording.weight` does."""
        return self.at(iteration).recording.weight(iteration, layer, index)

    def gradient(self, iteration: int, layer: str, index: int = 0) -> Array:
        """Read the raw gradient of one param blob in a window, as `Recording.gradient` does."""
        return self.at(iteration).recording.gradient(iteration, layer, index)

    def update(self, iteration: int, layer: str, index: int = 0) -> Array:
        """Read what Caffe subtracted from one param blob in a window, as `Recording.update` does."""
        return self.at(iteration).recording.update(iteration, layer, index)

    def history(self, iteration: int, layer: str, index: int = 0, slot: int = 0) -> Array:
        """Read the solver's history of one param blob in a window, as `Recording.history` does."""
        return self.at(iteration).recording.history(iteration, layer, index, slot)

    def input(self, iteration: int, blob: str) -> Array:
        """Read a blob that a data layer wrote in a window, as `Recording.input` does."""
        return self.at(iteration).recording.input(iteration, blob)

    def keys(self, iteration: int) -> list[bytes]:
        """Read the LMDB keys of the records of an iteration in a window, as `Recording.keys` does."""
        return self.at(iteration).recording.keys(iteration)


def _before(found: Labelled, until: int | None) -> Labelled:
    """Leave out the rows from the iteration `until` on."""
    if until is None:
        return found
    kept = found.iterations < until
    return Labelled(found.values[kept], found.iterations[kept], found.labels, found.dims)


def _joined(found: list[Labelled], last: Labelled) -> Labelled:
    """Join statistics of several runs in the columns of the last run's; those that a run lacks are NaN."""
    values = [part.values if part.labels == last.labels else _in_columns(part, last.labels) for part in found]
    return Labelled(np.concatenate(values), np.concatenate([part.iterations for part in found]), last.labels, last.dims)


def _in_columns(found: Labelled, labels: tuple[str, ...]) -> npt.NDArray[np.float64]:
    values = np.full((len(found.iterations), len(labels)), np.nan)
    place = {label: column for column, label in enumerate(found.labels)}
    for column, label in enumerate(labels):
        if label in place:
            values[:, column] = found.values[:, place[label]]
    return values
