"""The state from which a capsule starts: one snapshot of its first iteration."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from harness.caffe_files.history_digest import digest_history
from harness.caffe_files.solverstate import copy_solverstate
from harness.caffe_files.stripped import copy_caffemodel, copy_state
from harness.capsules.free_space import check_room
from harness.recording.snapshots import write_snapshot
from harness.replay import Replay, nearest
from harness.replay.starts import start_of
from harness.schemas.run_info import RunInfo, SnapshotInfo, TrainingSetup
from harness.supervisor.resume import Start

_NAME = "capsule"


@dataclass(frozen=True)
class StatePlan:
    """How the state before iteration `at` of a run is reached.

    Attributes:
        replay: what is to be repeated first; it leaves a snapshot. None where a snapshot is there already.
        reason: what it begins with, as in "the snapshot of iteration 800".
    """

    at: int
    replay: Replay | None
    reason: str


def plan_state(run: Path, info: RunInfo, at: int) -> StatePlan:
    """Plan how to reach the state before iteration `at` of the run in the directory `run`, whose run.json is `info`.

    Raises:
        BadInput: there is nothing to start from.
    """
    found = nearest(run, info, at)
    if found.iteration == at and _has_files(start_of(run, info, at)):
        return StatePlan(at, None, found.reason)
    return StatePlan(at, Replay(run, found.iteration, at, snapshot=True), found.reason)


def _has_files(start: Start) -> bool:
    """Check that a start has files that hold all of its state."""
    return start.state is not None and isinstance(start.setup, SnapshotInfo)


def write_state(start: Start, info: RunInfo, weight_digest: int, out: Path) -> None:
    """Write the snapshot of iteration `info.first` into the run directory `out` of a capsule.

    Args:
        start: from files.
        info: the capsule's run.json.
        weight_digest: of the weights.

    Raises:
        BadInput: a file is damaged.
        RecordingFailed: the disk is full.
    """
    state = start.state
    assert state is not None
    model = state.learned_net
    check_room(out, model.stat().st_size + 2 * state.path.stat().st_size)
    directory = out / "snapshots"
    directory.mkdir()
    name = f"{_NAME}_iter_{info.first}"
    model_copy = directory / f"{name}.caffemodel{'.h5' if model.name.endswith('.h5') else ''}"
    state_copy = directory / f"{name}.solverstate{'.h5' if state.path.name.endswith('.h5') else ''}"
    copy_caffemodel(model, model_copy)
    source = state.path
    if start.scale is not None:
        scaled = directory / f".scaled{state_copy.suffix if state_copy.suffix == '.h5' else '.solverstate'}"
        source = copy_solverstate(source, model_copy, scaled, start.scale)
    copy_state(source, model_copy.name, state_copy)
    if source != state.path:
        source.unlink()
    found = digest_history(state_copy)
    layers = None
    if start.layer_state is not None:
        layers = directory / f"{name}.layers.npz"
        _copy_layers(start.layer_state, 1 + len(info.test_nets), layers)
    write_snapshot(
        directory / f"{name}.json",
        SnapshotInfo(
            **{field: getattr(info, field) for field in TrainingSetup.__struct_fields__},
            iteration=info.first,
            weight_digest=f"{weight_digest:016x}",
            step=found.step,
            history_digest=found.history,
            caffemodel=model_copy.name,
            solverstate=state_copy.name,
            layer_state=layers.name if layers else None,
            layer_state_digest=xxhash.xxh3_64_hexdigest(layers.read_bytes()) if layers else None,
        ),
    )


def _copy_layers(path: Path, nets: int, target: Path) -> None:
    """Copy the state of layers (docs/file-format.md, State of layers) of the first `nets` nets."""
    with np.load(path) as file:
        kept = {key: file[key] for key in file.files if int(key.partition("/")[0]) < nets}
        if len(kept) == len(file.files):
            shutil.copyfile(path, target)
        else:
            np.savez(target, **kept)
