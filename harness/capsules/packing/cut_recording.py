"""Write the recording of a capsule: the rows around a stretch of a run, without windows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from harness.errors import BadInput, RecordingError
from harness.recording import Recording
from harness.recording.run_directory import attributes, encode_info, named_run
from harness.recording.writer import Writer
from harness.schemas.layout import ACTIVATION_STATS, INPUT_STATS, STATS, Activation, Layout, Output
from harness.schemas.run_info import RunInfo
from harness.schemas.window import Window

BEFORE = 200  # iterations before the stretch, from which rules and diagnosis know what was normal


def write_cut(run: Path, info: RunInfo, out: Path, before: int = BEFORE) -> None:
    """Write recording.h5 and run.json of the run directory `out`, with what `run` recorded of the iterations of `info`.

    Up to `before` iterations before them come first, also those of runs that `run` continues.

    Args:
        info: the contents of run.json.

    Raises:
        RecordingError: the recording cannot be read, or lacks one of these iterations.
        RecordingFailed: the disk is full.
    """
    with ExitStack() as stack:
        parts = _parts(run, Window(info.first, info.until), before, stack)
        last = parts[-1][0]
        complete = all(part.inputs == last.inputs for part, _ in parts)  # recordings from before 0.3.0 have none
        layout = _layout(last, info, last.inputs if complete else ())
        nowhere = msgspec.structs.replace(info, directory="")  # whoever opens a capsule sets it in run.json
        writer = Writer.create(out / "recording.h5", layout, attributes(nowhere))
        try:
            for recording, rows in parts:
                writer.append_frames(_frames(recording, layout, rows))
                _append_activations(writer, recording, rows)
                _append_tests(writer, recording, layout, rows)
            first = int(parts[0][0].iterations[parts[0][1]][0])
            writer.append_alarms([alarm for alarm in last.alarms if first <= alarm.iteration < info.until])
            writer.close(encode_info(info))
        except BaseException:
            writer.abandon()
            raise


def _parts(run: Path, window: Window, count: int, stack: ExitStack) -> list[tuple[Recording, slice]]:
    """Open the recordings that hold `window` and what comes before it, oldest first, each with its rows."""
    recording = stack.enter_context(Recording(run))
    iterations = recording.iterations
    start, stop = (int(row) for row in np.searchsorted(iterations, [window.start, window.stop]))
    if stop - start != len(window):
        have = f"{iterations[0]:,} to {iterations[-1]:,}" if len(iterations) else "none"
        raise RecordingError(
            f"{recording.path}: not all iterations from {window.start:,} to {window.stop - 1:,} were recorded; it has "
            f"{have}"
        )
    parts = [(recording, slice(max(0, start - count), stop))]
    missing, first = count - start, int(iterations[0])
    while missing > 0 and (before := _before(parts[0][0], stack)) is not None:
        row = int(np.searchsorted(before.iterations, first))
        if not row or before.iterations[row - 1] != first - 1:
            break
        parts.insert(0, (before, slice(max(0, row - missing), row)))
        missing, first = missing - row, int(before.iterations[0])
    return parts


def _before(recording: Recording, stack: ExitStack) -> Recording | None:
    """Open the recording that `recording` continues, if it is there, and of the same net."""
    named = recording.goes_on_from
    run = named_run(str(named), recording.path.parent) if named is not None else None
    if run is None:
        return None
    try:
        found = stack.enter_context(Recording(run, may_repair=False))
    except (BadInput, RecordingError):
        return None
    return found if _columns(found) == _columns(recording) else None


def _columns(recording: Recording) -> tuple[object, ...]:
    params = [(param.layer, param.index, param.shape) for param in recording.params]
    return params, _outputs(recording), recording.blobs


def _outputs(recording: Recording) -> tuple[Output, ...]:
    return tuple(Output(name, recording.output(name, slice(0, 0)).shape[1]) for name in recording.outputs)


def _layout(recording: Recording, info: RunInfo, inputs: tuple[Activation, ...]) -> Layout:
    tests = range(len(info.test_nets))  # all of them, or none
    test_outputs = tuple(
        tuple(Output(name, recording.test(name, net)[1].shape[1]) for name in recording.test_outputs(net))
        for net in tests
    )
    return Layout(
        params=recording.params,
        outputs=_outputs(recording),
        test_outputs=test_outputs,
        heads=info.heads,
        activations=recording.blobs,
        relus=info.relus,
        windows=(),
        arrays=(),
        inputs=inputs,
    )


def _frames(recording: Recording, layout: Layout, rows: slice) -> npt.NDArray[np.void]:
    """Return iterations as the worker sends them, (n,) of Layout.frame_dtype."""
    iterations = recording.series("iteration", rows)
    frames = np.zeros(len(iterations), layout.frame_dtype)
    for name in ("iteration", "lr", "loss", "smoothed_loss", "seconds", "digest"):
        frames[name] = recording.series(name, rows)
    for name, column in layout.output_columns.items():
        values = recording.output(name, rows)
        frames["output"][:, column : column + values.shape[1]] = values
    for number, name in enumerate(STATS):
        frames["stat"][:, number] = recording.stat(name, rows).values
    for number, name in enumerate(INPUT_STATS if layout.inputs else ()):
        frames["input"][:, number] = recording.input_stat(name, rows).values
    return frames


def _append_activations(writer: Writer, recording: Recording, rows: slice) -> None:
    stats = [recording.activation(name) for name in ACTIVATION_STATS]
    kept = _within(recording, rows, stats[0].iterations)
    if kept.any():
        values = np.stack([stat.values[kept] for stat in stats], axis=-1)
        writer.append_activations(stats[0].iterations[kept].tolist(), values)


def _append_tests(writer: Writer, recording: Recording, layout: Layout, rows: slice) -> None:
    for net, outputs in enumerate(layout.test_outputs if recording.test_nets >= len(layout.test_outputs) else ()):
        passes = [recording.test(output.name, net) for output in outputs]
        kept: Sequence[int] = np.flatnonzero(_within(recording, rows, passes[0][0])).tolist() if passes else []
        for row in kept:
            values = np.concatenate([found[row] for _, found in passes])
            writer.append_test_pass(net, int(passes[0][0][row]), values)


def _within(recording: Recording, rows: slice, iterations: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    first, last = recording.iterations[rows][[0, -1]]
    kept: npt.NDArray[np.bool_] = (iterations >= first) & (iterations <= last)
    return kept
