"""Find where a replay can begin: a snapshot of the run, an iteration in one of its windows, or its start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from harness.caffe_files.caffemodel import read_caffemodel, read_solverstate
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.paths import exists
from harness.caffe_files.solver import solver_type
from harness.caffe_files.solverstate import history_scale
from harness.caffe_files.stateful_layers import stateful_layers
from harness.caffe_files.stored_numbers import model_blobs, weight_digest
from harness.diagnosis.first_change import continues_as_caffe
from harness.errors import BadInput, RecordingError
from harness.recording import Recording
from harness.recording.run_directory import named_run, read_info
from harness.recording.snapshots import iterations_of
from harness.schemas.layout import Param
from harness.schemas.run_info import RunInfo, SnapshotInfo, TrainingSetup
from harness.supervisor.resume import Start, check_snapshot, from_run, read_info_beside, restartable_in_windows

_FIELDS = TrainingSetup.__struct_fields__


@dataclass(frozen=True)
class Nearest:
    """The iteration at which a replay begins, and what is there: "the snapshot of iteration 800", for example."""

    iteration: int
    reason: str


def nearest(run: Path, info: RunInfo, at: int) -> Nearest:
    """Find the last iteration, up to `at`, from which the run in the directory `run` can be replayed exactly.

    Args:
        info: its run.json.

    Raises:
        BadInput: there is none: the run begins later, or what it began from is gone.
    """
    if at < info.first:
        origin = f", where it continues {info.goes_on_from}" if info.goes_on_from else ""
        raise BadInput(
            f"the run begins at iteration {info.first:,}{origin}",
            file=run,
            field="iteration",
            value=at,
            remedy="Give a later iteration" + (", or that run" if info.goes_on_from else ""),
        )
    refused: list[tuple[Nearest, Exception]] = []
    for candidate in _candidates(run, info, at):
        try:
            _check(start_of(run, info, candidate.iteration), run)
        except (BadInput, RecordingError) as error:  # a damaged snapshot or window: an older one may do
            refused.append((candidate, error))
        else:
            cannot = "".join(f" ({other.reason} cannot be used: {error})" for other, error in refused[:1])
            return replace(candidate, reason=f"{candidate.reason}{cannot}")
    raise refused[-1][1]  # that of the start of the run, which is always a candidate


def _candidates(run: Path, info: RunInfo, at: int) -> Iterator[Nearest]:
    """Yield where a replay may begin, the last iteration first."""
    found = {info.first: Nearest(info.first, "its start")}
    nets = [parse_text(text, pb.NetParameter, Path("run.json")) for text in (info.net, *info.test_nets)]
    if not any(layer.type == "Filter" for net in nets for layer in net.layer):
        inside = restartable_in_windows(run, info, needs_state=any(stateful_layers(net) for net in nets))
        found |= {t: Nearest(t, f"iteration {t:,} in a window") for t in inside if info.first < t <= at}
    saved = (t for t in iterations_of(run / "snapshots") if info.first <= t <= at)
    found |= {t: Nearest(t, f"the snapshot of iteration {t:,}") for t in saved}
    for iteration in sorted(found, reverse=True):
        yield found[iteration]


def _check(start: Start, run: Path) -> None:
    """Check what a replay of `run` would begin with, which Caffe reads later: the weights and history that `run` kept.

    Raises:
        BadInput, RecordingError: it is damaged.
    """
    check_snapshot(start)
    with Recording(run) as recording:
        if start.window == run:
            for p in recording.params:  # checksums are compared
                recording.weight(start.iteration, p.layer, p.index)
                if "history" not in recording.window_arrays(start.iteration):
                    recording.update(start.iteration - 1, p.layer, p.index)  # of SGD
        elif start.state is not None and isinstance(start.setup, SnapshotInfo):
            _check_weights(start.state.learned_net, start.setup, recording.params)


def _check_weights(model: Path, snapshot: SnapshotInfo, params: Sequence[Param]) -> None:
    """Check the weights in a binary caffemodel; those in HDF5 are checked when Caffe has read them."""
    if model.name.endswith(".h5"):
        return
    with model_blobs(model, "r") as blobs:
        try:
            found = weight_digest(blobs, params, snapshot.digest_kind)
        except KeyError:  # other names than those of the run; they are checked when Caffe has read them
            return
    if found != snapshot.weight_digest:
        raise BadInput(
            f"damaged, or of another snapshot: the JSON beside it has the digest {snapshot.weight_digest}",
            file=model,
            field="weight_digest",
            value=found,
            remedy="Put the snapshot's own caffemodel back",
        )


def start_of(run: Path, info: RunInfo, iteration: int) -> Start:
    """Start from where the run in the directory `run` stood before `iteration`, which may be its own first.

    Raises:
        BadInput: nothing was kept of that iteration, or what the run began from is gone.
        RecordingError: the recording of the run, or of the one that it continues, cannot be read.
    """
    if iteration != info.first or iteration in iterations_of(run / "snapshots"):
        return from_run(run, info, iteration)
    if iteration == 0:
        for name in info.weights:
            read_caffemodel(_place(info, name))  # is there, and is one
        return from_run(run, info, 0)
    before = _origin(run, info)
    return replace(
        before,
        setup=_setup(before.setup, info),
        native_start=None,  # the position is that of the run
        step=info.step,
        scale=_scale(run, info, before),
    )


def _origin(run: Path, info: RunInfo) -> Start:
    """Return the state that a run began with: a snapshot, or an iteration in a window of the run that it continues."""
    named = info.parent.run if info.parent is not None else info.goes_on_from
    parent = named_run(named, run) if named is not None else None
    if info.parent is not None:
        if parent is None:
            raise BadInput(
                f"it continues {info.parent.run} from iteration {info.first:,}, and that run is not there any more",
                file=run,
                remedy="Put that run back, or give a later iteration, from which on this run has a snapshot",
            )
        return from_run(parent, read_info(parent), info.first)
    assert info.resume is not None
    path = _place(info, info.resume)
    if not exists(path) and parent is not None:  # moved together
        path = parent / "snapshots" / path.name
    state = read_solverstate(path)
    if state.iteration != info.first:
        raise BadInput(
            f"the file is of iteration {state.iteration}, and the run began at {info.first}",
            file=path,
            remedy="Put the snapshot back from which the run was resumed",
        )
    return Start(info.first, state=state, setup=read_info_beside(path), step=state.step)


def _place(info: RunInfo, name: str) -> Path:
    """Return the path of a file that a run was given by `name`."""
    path = Path(info.directory, name)
    return path if exists(path) else Path(name)


def _setup(before: TrainingSetup | None, info: RunInfo) -> TrainingSetup:
    """Return what a run computed with at its first iteration, its position included.

    The nets are those with which random numbers are to be drawn again: the ones before it, if its generator's state was
    not known where it began.
    """
    fields = {name: getattr(info, name) for name in _FIELDS}
    if before is None or continues_as_caffe(info):
        return info
    if info.point.generator.at < info.first:
        fields |= {"net": before.net, "test_nets": before.test_nets}
    if isinstance(before, SnapshotInfo):
        return msgspec.structs.replace(before, **fields)
    return msgspec.structs.replace(info, **fields)


def _scale(run: Path, info: RunInfo, before: Start) -> float | None:
    """Return the factor that the run applied to the history with which it began."""
    if info.parent is None or info.parent.history == "keep":
        return None
    parent = named_run(info.parent.run, run)
    assert parent is not None
    old, new = (parse_text(i.solver, pb.SolverParameter, run / "run.json") for i in (read_info(parent), info))
    return history_scale(solver_type(new), info.parent.history, old, new, before.iteration, before.step)
