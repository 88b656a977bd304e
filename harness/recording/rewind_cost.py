"""Tell what it takes to record iterations after the run, or what keeps that from being possible.

`rewind` repeats the run from the nearest iteration before at which it can be restarted: one of a snapshot, one inside a
window, or its start.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.caffe_files.caffemodel import HISTORIES
from harness.caffe_files.layer_types import is_input_without_position
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.paths import exists
from harness.caffe_files.solver import solver_type
from harness.caffe_files.stateful_layers import stateful_layers
from harness.errors import BadInput, RecordingError
from harness.recording.checked_file import CheckedFile
from harness.recording.run_directory import named_run, read_info
from harness.recording.snapshots import iterations_of
from harness.recording.window_starts import window_starts
from harness.schemas.captures import CAPTURES
from harness.schemas.layout import Activation, Param
from harness.schemas.rewind import NoRewind, Rewind
from harness.schemas.run_info import RunInfo
from harness.schemas.window import Window

# Measured on 2 cores, with nets of 10 and of 52 param blobs (P):
_START_UP, _START_OF_BLOB = 1.0, 0.025  # seconds from the command to the first iteration: 1.0 + 0.025 P
_OVERHEAD, _OVERHEAD_OF_BLOB = 1.05, 25e-6  # of an iteration: what is recorded at each takes 5 % of it and 25 µs × P
_BYTES_A_SECOND = 150e6  # of a window: copied, written and read again
_FLOAT = 4  # bytes


def bytes_of_iteration(
    capture: Sequence[str], params: Sequence[Param], inputs: Sequence[Activation], solver: pb.SolverParameter
) -> int:
    """Compute the bytes of the arrays `capture` of one iteration, of a net with the blobs `params` and `inputs`."""
    slots = {"input": 0, "history": HISTORIES[solver_type(solver)]}
    of_params = sum(slots.get(kind, 1) for kind in capture) * sum(param.count for param in params)
    of_inputs = solver.iter_size * sum(math.prod(blob.shape) for blob in inputs) if "input" in capture else 0
    return _FLOAT * (of_params + of_inputs)


class Rewinds:
    """Tells what it takes to record iterations of a run after it.

    Args:
        run: the run directory.
        checked: its recording.
        held: what windows hold of each of their iterations (`Recording.window_arrays`).
        live: a writer still holds it.
    """

    def __init__(self, run: Path, checked: CheckedFile, held: Mapping[int, Collection[str]], live: bool) -> None:
        self._run, self._checked, self._held, self._live = run, checked, held, live

    def of(self, window: Window, capture: Sequence[str] = CAPTURES) -> Rewind | NoRewind:
        """Tell what it takes to record the arrays `capture` of the iterations in `window`, as far as none has them."""
        try:
            reason = self._out_of_reach(window)
            if reason is not None:
                return NoRewind(reason)
            lacking = [t for t in range(window.start, window.stop) if not set(capture) <= set(self._held.get(t, ()))]
            if not lacking:
                return NoRewind("all of it is recorded already")
            first = self._start(lacking[0])
            if first is None:
                return NoRewind(self._without_start(lacking[0]))
            reason = next(self._obstacles(first), None)
            return self._possible(window, capture, lacking, first) if reason is None else NoRewind(reason)
        except (BadInput, RecordingError) as error:
            return NoRewind(str(error))

    def _possible(self, window: Window, capture: Sequence[str], lacking: Sequence[int], first: int) -> Rewind:
        repeated = Window(first, lacking[-1] + 1)
        size = len(lacking) * self._bytes_of(capture)
        blobs = len(self._checked.params)
        iteration = _OVERHEAD * self._seconds(repeated) + _OVERHEAD_OF_BLOB * blobs
        seconds = _START_UP + _START_OF_BLOB * blobs + len(repeated) * iteration + size / _BYTES_A_SECOND
        return Rewind(self._run, window, tuple(capture), repeated, seconds, size)

    # -- whether it is possible --------------------------------------------------------------------------------------

    def _out_of_reach(self, window: Window) -> str | None:
        """Tell why the run did not compute these iterations, or may not be repeated yet."""
        recorded = self._iterations
        if not len(recorded):
            return "the run has recorded no iteration"
        first, last = int(recorded[0]), int(recorded[-1])
        if window.start < first:
            before = f", {self._info.goes_on_from}" if self._info.goes_on_from else ""
            return f"this run begins at iteration {first}; rewind the run before it{before}"
        if window.stop > last + 1:
            return f"the last iteration of this run is {last}"
        goes_on = self._live and self._info.ended is None  # the one that has just ended still holds the lock
        return "the run is in progress; once it has ended, rewind records it" if goes_on else None

    def _start(self, at: int) -> int | None:
        """Return the nearest iteration at or before `at` at which the run can be restarted."""
        return max((t for t in self._starts if self._info.first <= t <= at), default=None)

    @cached_property
    def _starts(self) -> set[int]:
        info, found = self._info, set(iterations_of(self._run / "snapshots"))
        if not any(layer.type == "Filter" for net in self._nets for layer in net.layer):
            needs_state = any(stateful_layers(net) for net in self._nets)
            found |= window_starts(self._held, solver_type(self._solver), needs_state)
        return found | ({info.first} if self._can_begin else set())

    @cached_property
    def _can_begin(self) -> bool:
        """What the run began with is still there."""
        info = self._info
        if info.parent is not None:
            parent = named_run(info.parent.run, self._run)
            in_snapshot = info.resume is not None  # else it began at iteration 0, or inside a window
            return parent is not None and (not in_snapshot or info.first in iterations_of(parent / "snapshots"))
        if info.resume is not None:
            before = named_run(info.goes_on_from, self._run) if info.goes_on_from is not None else None
            moved = before is not None and exists(before / "snapshots" / Path(info.resume).name)
            return moved or exists(self._path(info.resume))
        return info.first == 0 and all(exists(self._path(name)) for name in info.weights)

    def _without_start(self, at: int) -> str:
        info = self._info
        where = f"there is no snapshot of this run from iteration {at} or before"
        if info.parent is not None:
            return f"{where}, and none of the run that it continues, {info.parent.run}, of iteration {info.first}"
        gone = [info.resume] if info.resume else [name for name in info.weights if not exists(self._path(name))]
        return f"{where}, and {' and '.join(gone)}, from which it began, is gone" if gone else where

    def _obstacles(self, first: int) -> Iterator[str]:
        """Yield what keeps the run from being repeated from iteration `first` on, and stored."""
        for layer in self._nets[0].layer:
            if first > 0 and is_input_without_position(layer):
                yield f"layer {layer.name} ({layer.type}) cannot be positioned at iteration {first}"
        for place in self._info.point.inputs:
            if place.net == 0 and not exists(self._path(place.source)):
                yield f"the data of layer {place.layer}, {place.source}, are gone"
        if not os.access(self._run, os.W_OK | os.X_OK):
            yield f"{self._run} cannot be written"

    # -- what it costs -----------------------------------------------------------------------------------------------

    def _seconds(self, stretch: Window) -> float:
        """Return the median of the seconds that Caffe took for an iteration of `stretch`."""
        rows = slice(*(int(row) for row in np.searchsorted(self._iterations, (stretch.start, stretch.stop))))
        return float(np.median(self._checked.rows("seconds", rows)))

    def _bytes_of(self, capture: Sequence[str]) -> int:
        """Compute the bytes of the arrays `capture` of one iteration."""
        tops = {top for layer in self._nets[0].layer if not layer.bottom for top in layer.top}
        inputs = self._checked.inputs or [blob for blob in self._checked.blobs if blob.name in tops]
        return bytes_of_iteration(capture, self._checked.params, inputs, self._solver)

    # -- the run -----------------------------------------------------------------------------------------------------

    @cached_property
    def _info(self) -> RunInfo:
        return read_info(self._run)

    @cached_property
    def _iterations(self) -> npt.NDArray[np.int64]:
        return self._checked.rows("iteration", slice(0, self._checked.count()))

    @cached_property
    def _solver(self) -> pb.SolverParameter:
        return parse_text(self._info.solver, pb.SolverParameter, self._run / "run.json")

    @cached_property
    def _nets(self) -> list[pb.NetParameter]:
        texts = (self._info.net, *self._info.test_nets)
        return [parse_text(text, pb.NetParameter, self._run / "run.json") for text in texts]

    def _path(self, name: str) -> Path:
        """Return a path of the run's as it counts now: from where the run was started, if that is still there."""
        directory = Path(self._info.directory)
        return directory / name if directory.is_dir() else Path(name)
