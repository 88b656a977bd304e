"""Caffe's own snapshots, each complete or not there at all.

Caffe writes them into a folder for unfinished files. The JSON that describes a snapshot is written there last; once it
is on the disk the snapshot is complete, and its files move up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from harness.atomic_write import sync
from harness.caffe_files.history_digest import digest_history
from harness.caffe_files.solverstate import set_learned_net
from harness.recording.snapshots import UNFINISHED, publish, write_snapshot
from harness.schemas.data_position import TrainingPosition
from harness.schemas.events import SnapshotTaken
from harness.schemas.run_info import SnapshotInfo, TrainingSetup
from harness.worker.pycaffe import Solver


class Snapshots:
    """Publishes the snapshots of `solver` in the run directory `run`; `setup` goes into the JSON beside each."""

    def __init__(self, solver: Solver, run: Path, setup: TrainingSetup) -> None:
        self._solver = solver
        self._setup = {name: getattr(setup, name) for name in TrainingSetup.__struct_fields__}
        self._directory = run / "snapshots"
        self._unfinished = self._directory / UNFINISHED
        self._last = -1

    def take(self) -> None:
        """Make Caffe write a snapshot now, unless it has just done so."""
        if self._last != self._solver.iter:
            self._solver.snapshot()

    def publish(self, digest: Callable[[], int], point: TrainingPosition) -> SnapshotTaken | None:
        """Move up what Caffe has finished. Returns what it is; None if there is nothing.

        Args:
            digest: gives the digest of the weights.
            point: the position in data and random numbers after this iteration.
        """
        states = [f.name for f in self._unfinished.iterdir() if f.name.endswith((".solverstate", ".solverstate.h5"))]
        if not states:
            return None
        state = self._unfinished / states[0]
        model = state.with_name(state.name.replace(".solverstate", ".caffemodel"))
        set_learned_net(state, str(self._directory / model.name))
        found = digest_history(state)
        sync(model)
        sync(state)
        self._last = self._solver.iter
        info = SnapshotInfo(
            **self._setup | {"point": point},
            iteration=self._solver.iter,
            weight_digest=f"{digest():016x}",
            step=found.step,
            history_digest=found.history,
            caffemodel=model.name,
            solverstate=state.name,
        )
        path = self._unfinished / re.sub(r"\.solverstate(\.h5)?$", ".json", state.name)
        write_snapshot(path, info)
        publish(path)
        return SnapshotTaken(info.iteration, info.weight_digest, info.caffemodel, info.solverstate, path.name)
