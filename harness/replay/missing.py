"""Find what the windows of a run lack of some iterations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.caffe_files.messages import parse_text, pb
from harness.errors import BadInput
from harness.recording import Recording
from harness.recording.rewind_cost import bytes_of_iteration
from harness.recording.run_directory import read_info
from harness.schemas.run_info import RunInfo
from harness.schemas.window import Window, clip, merge


@dataclass(frozen=True)
class Missing:
    """What the windows of a run lack.

    Attributes:
        iterations: those whose arrays are not all stored, ascending.
        groups: the kinds of arrays that some of them lack.
        size: bytes of these arrays.
    """

    iterations: tuple[int, ...]
    groups: tuple[str, ...]
    size: int


def missing(run: Path, windows: Sequence[Window], capture: Sequence[str]) -> Missing:
    """Find what the run directory `run` lacks of the arrays `capture` in `windows`.

    Raises:
        BadInput: a window reaches beyond the recorded iterations; run.json cannot be read.
        RecordingError: the recording cannot be read.
    """
    info = read_info(run)
    with Recording(run) as recording:
        _check_reach(run, recording, windows)
        possible = _possible(run, info, recording, capture)
        stored = {t: recording.window_arrays(t) for t in recording.window_iterations.tolist()}
        wanted = (t for window in merge(windows) for t in range(window.start, window.stop))
        lacks = {t: [group for group in possible if group not in stored.get(t, ())] for t in wanted}
        iterations = tuple(t for t, lacking in lacks.items() if lacking)
        groups = tuple(group for group in possible if any(group in lacking for lacking in lacks.values()))
        solver = parse_text(info.solver, pb.SolverParameter, run / "run.json")
        size = len(iterations) * bytes_of_iteration(groups, recording.params, recording.inputs, solver)
        return Missing(iterations, groups, size)


def _possible(run: Path, info: RunInfo, recording: Recording, capture: Sequence[str]) -> list[str]:
    """Return those of the kinds `capture` that the net has: one without param blobs has no weights, for example."""
    net = parse_text(info.net, pb.NetParameter, run / "run.json")
    has_inputs = bool(net.input) or any(
        layer.top and not layer.bottom and layer.type != "Parameter" for layer in net.layer
    )
    has_params = bool(recording.params)
    return [group for group in capture if (has_inputs if group == "input" else has_params)]


def _check_reach(run: Path, recording: Recording, windows: Sequence[Window]) -> None:
    iterations = recording.iterations
    if not len(iterations):
        raise BadInput("no iteration was recorded", file=run, remedy="Give another run")
    first, stop = int(iterations[0]), int(iterations[-1]) + 1
    for window in windows:
        if clip([window], first, stop) == (window,):
            continue
        origin = recording.goes_on_from
        if window.start < first and origin is not None:
            remedy = f"Give a window that begins at {first} or later, or rewind {origin}, which it continues"
        else:
            remedy = f"Give A:B with {first} <= A < B <= {stop}"
        raise BadInput(
            f"{run} recorded iterations {first:,} to {stop - 1:,}", field="--watch", value=window, remedy=remedy
        )
