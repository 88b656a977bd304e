"""Find what the windows of a run lack of some iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        lacks: of each iteration whose arrays are not all stored, ascending, the kinds that it lacks.
        size: bytes of all of them.
    """

    lacks: Mapping[int, tuple[str, ...]]
    size: int

    @property
    def iterations(self) -> tuple[int, ...]:
        return tuple(self.lacks)

    @property
    def groups(self) -> tuple[str, ...]:
        """The kinds that some iteration lacks."""
        return tuple(dict.fromkeys(group for groups in self.lacks.values() for group in groups))


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
        solver = parse_text(info.solver, pb.SolverParameter, run / "run.json")
        columns = recording.params, recording.inputs
    wanted = (t for window in merge(windows) for t in range(window.start, window.stop))
    all_lacks = {t: tuple(group for group in possible if group not in stored.get(t, ())) for t in wanted}
    lacks = {t: groups for t, groups in all_lacks.items() if groups}
    return Missing(lacks, sum(bytes_of_iteration(groups, *columns, solver) for groups in lacks.values()))


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
