"""Find the position from which a run starts: from scratch, from weights, or from where another training stood."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import xxhash

from harness.caffe_files.caffemodel import SolverState, read_caffemodel, read_solverstate
from harness.caffe_files.history_digest import digest_history
from harness.caffe_files.lr_policy import next_step
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.paths import exists, is_file
from harness.caffe_files.solver import solver_type
from harness.errors import BadInput
from harness.recording import Recording
from harness.recording.snapshots import iterations_of, read_snapshot
from harness.recording.window_starts import window_starts
from harness.schemas.rewind import Rewind
from harness.schemas.run_info import NativeStart, RunInfo, SnapshotInfo, TrainingSetup
from harness.schemas.window import Window, merge
from harness.supervisor.native_start import find_native_start

_LARGEST_STATE = 4 << 30  # bytes


@dataclass(frozen=True)
class Start:
    """The start of a run, before `iteration`: with `weights` (caffemodels to fine-tune from) or another run's state.

    Attributes:
        state: the snapshot to continue from.
        setup: what that training computed with; None for one of Caffe's own snapshots.
        window: the run directory whose recording has a window that holds `iteration`, where there is no snapshot.
        window_layers: that window holds the state that layers keep outside their params.
        native_start: where the process began that wrote `state`, if Caffe alone wrote it.
        step: Caffe's current_step.
        scale: a factor for the momentum history.
        skip: iterations whose data is left out, as (first, stop).
    """

    iteration: int = 0
    weights: tuple[str, ...] = ()
    state: SolverState | None = None
    setup: TrainingSetup | None = None
    window: Path | None = None
    window_layers: bool = False
    native_start: NativeStart | None = None
    step: int = 0
    scale: float | None = None
    skip: tuple[int, int] | None = None

    @property
    def is_reached(self) -> bool:
        """Whether it is the state that a training had reached, be it that before iteration 0."""
        return self.state is not None or self.window is not None

    @property
    def layer_state(self) -> Path | None:
        """The file beside the snapshot with the state that layers keep outside their params, if there is one."""
        if self.state is None or not isinstance(self.setup, SnapshotInfo) or self.setup.layer_state is None:
            return None
        return self.state.path.with_name(self.setup.layer_state)


def from_weights(given: str | None, solver: pb.SolverParameter) -> Start:
    """Start at iteration 0, from the caffemodels `given`, else from those that the solver names, as `caffe train`.

    Raises:
        BadInput: one cannot be read.
    """
    parts = [given] if given is not None else list(solver.weights)
    names = tuple(name.strip() for part in parts for name in part.split(","))
    for name in names:
        read_caffemodel(Path(name))
    return Start(weights=names)


def from_solverstate(path: Path, native_start: int | None = None, interval: int = 0) -> Start:
    """Start from the solverstate `path`, one of ours or of Caffe's own.

    Args:
        native_start: where the process of `caffe train` began that wrote it; None finds out as far as possible.
        interval: between two snapshots of the solver.

    Raises:
        BadInput: it is missing or damaged, or its caffemodel is gone; `native_start` is not possible.
    """
    state = read_solverstate(path)
    setup = read_info_beside(path)
    if setup is None:
        _check_native_start(native_start, state.iteration)
        begun = find_native_start(path, state.iteration, native_start, interval)
        return Start(state.iteration, state=state, native_start=begun, step=state.step)
    if native_start is not None:
        raise BadInput(
            "is for snapshots of caffe train; the JSON beside this one states its position",
            field="--native-start",
            value=native_start,
            remedy="Leave it out",
        )
    return Start(state.iteration, state=state, setup=setup, step=state.step)


def _check_native_start(given: int | None, iteration: int) -> None:
    if given is not None and not 0 <= given <= iteration:
        raise BadInput(
            f"not between 0 and the iteration of the snapshot, {iteration}",
            field="--native-start",
            value=given,
            remedy="Give the iteration of the snapshot that caffe train was last resumed from",
        )


def from_run(run: Path, info: RunInfo, iteration: int) -> Start:
    """Start from where the run in the directory `run` stood before `iteration`; `info` is its run.json.

    Raises:
        BadInput: the run kept nothing of that iteration.
    """
    snapshots = iterations_of(run / "snapshots")
    if iteration in snapshots:
        snapshot = read_snapshot(snapshots[iteration])
        state = read_solverstate(snapshots[iteration].with_name(snapshot.solverstate))
        if state.iteration != iteration:
            raise BadInput(
                f"the file is of iteration {state.iteration}, and {snapshots[iteration].name} says {iteration}",
                file=state.path,
                remedy="One of them is damaged, or from another snapshot: restart from another one",
            )
        return Start(iteration, state=state, setup=snapshot, step=state.step)
    if iteration == info.first == 0:
        return Start(weights=info.weights, setup=info)
    return _from_window(run, info, iteration, snapshots)


def _from_window(run: Path, info: RunInfo, iteration: int, snapshots: Mapping[int, Path]) -> Start:
    solver = parse_text(info.solver, pb.SolverParameter, run / "run.json")
    kind = solver_type(solver)
    held = _held_by_windows(run)
    kept = window_starts(held, kind)
    if iteration not in kept:
        have = ", ".join(map(str, sorted({*snapshots, *([0] if info.first == 0 else [])}))) or "none"
        raise BadInput(
            f"nothing was kept of that iteration to restart from: no snapshot, and {_lacking(held, iteration, kind)}",
            file=run,
            field="--from",
            value=iteration,
            remedy=". ".join([f"Snapshots: {have}", *_other_remedies(run, iteration, kept)]),
        )
    before = max((t for t in snapshots if t <= iteration), default=None)
    setup: TrainingSetup = info
    step, at = info.step, info.first
    if before is not None:
        snapshot = read_snapshot(snapshots[before])
        setup, at = snapshot, before
        step = read_solverstate(snapshots[before].with_name(snapshot.solverstate)).step
    for t in range(at, iteration):
        step = next_step(solver, t, step)
    return Start(iteration, setup=setup, window=run, window_layers="state" in held[iteration], step=step)


def restartable_in_windows(run: Path, info: RunInfo, needs_state: bool) -> set[int]:
    """Return the iterations at which a run can be restarted out of its windows (see `from_run`).

    Args:
        info: its run.json.
        needs_state: only those of which windows hold the state that layers keep outside their params.

    Raises:
        BadInput: the solver in `info`, its run.json, cannot be parsed.
        RecordingError: the recording cannot be read.
    """
    kind = solver_type(parse_text(info.solver, pb.SolverParameter, run / "run.json"))
    return window_starts(_held_by_windows(run), kind, needs_state)


def _held_by_windows(run: Path) -> dict[int, tuple[str, ...]]:
    """Return what windows hold of each of their iterations."""
    with Recording(run) as recording:
        return {t: recording.window_arrays(t) for t in recording.window_iterations.tolist()}


def _lacking(held: Mapping[int, Collection[str]], iteration: int, kind: str) -> str:
    """State what windows lack for a restart at `iteration`."""
    if "weight" not in held.get(iteration, ()):
        return "no window that holds its weights"
    if kind == "SGD":
        return "a window that has neither its history nor the updates of the iteration before, which are SGD's history"
    return f"a window without the history of the {kind} solver (its updates are not its history; only SGD's are)"


def _other_remedies(run: Path, iteration: int, kept: set[int]) -> Iterator[str]:
    """Yield where windows can be restarted from, and how `iteration` becomes a place to restart from."""
    windows = merge(Window(t, t + 1) for t in kept)
    if windows:
        spans = (f"{w.start} … {w.stop - 1}" if len(w) > 1 else str(w.start) for w in windows)
        yield f"In windows: {', '.join(spans)}"
    with Recording(run) as recording:
        rewind = recording.rewind_cost(Window(iteration, iteration + 1), ("weight", "history"))
    if isinstance(rewind, Rewind):
        yield str(rewind)
    elif not windows:
        yield "A run with --watch A:B --capture history can be restarted at every iteration of that window"


def read_info_beside(state: Path) -> SnapshotInfo | None:
    """Read the JSON beside the solverstate `state`; None if there is none: the snapshot is one of Caffe's own.

    Raises:
        BadInput: it is damaged, and with it what only it holds.
    """
    path = state.with_name(state.name.removesuffix(".h5").removesuffix(".solverstate") + ".json")
    return read_snapshot(path) if path.exists() else None


def check_snapshot(start: Start) -> None:
    """Check that the solverstate of `start` is the one that the JSON beside it describes.

    Its history is not looked at if it will be set to zero. The weights are checked once Caffe has read them.

    Raises:
        BadInput: it is damaged, or belongs to another snapshot.
    """
    info, state = start.setup, start.state
    if state is None or not isinstance(info, SnapshotInfo):
        return
    for field, value, described in (
        ("iter", state.iteration, info.iteration),
        ("current_step", state.step, state.step if info.step is None else info.step),
    ):
        if value != described:
            raise BadInput(
                f"damaged, or of another snapshot: the JSON beside it says {described}",
                file=state.path,
                field=field,
                value=value,
                remedy="Restart from another snapshot",
            )
    if info.history_digest is not None and start.scale != 0:
        found = digest_history(state.path).history
        if found != info.history_digest:
            raise BadInput(
                f"its momentum is damaged, or of another snapshot: the JSON beside it has the digest "
                f"{info.history_digest}",
                file=state.path,
                field="history",
                value=found,
                remedy="Restart from another snapshot, or with the momentum set to zero: restart.py … --history reset",
            )
    if start.layer_state is not None:
        _check_layer_state(start.layer_state, info)


def _check_layer_state(path: Path, info: SnapshotInfo) -> None:
    try:
        found = _digest(path)
    except OSError as error:
        found = f"({error.strerror})"
    if found != info.layer_state_digest:
        raise BadInput(
            "missing, damaged or of another snapshot: the JSON beside it has the digest "
            f"{info.layer_state_digest} of the state of layers",
            file=path,
            field="layer_state_digest",
            value=found,
            remedy="Restart from another snapshot",
        )


def _digest(path: Path) -> str:
    """Compute the digest of a file of layers' state.

    Raises:
        OSError: it cannot be read, or it is a directory, a pipe, or larger than any state of layers.
    """
    if exists(path) and not is_file(path):  # reading a named pipe would wait forever
        raise OSError(errno.EINVAL, "not a file")
    if path.stat().st_size > _LARGEST_STATE:
        raise OSError(errno.EFBIG, f"larger than {_LARGEST_STATE >> 30} GiB")
    with path.open("rb") as file:
        return file_digest(file, xxhash.xxh3_64).hexdigest()
