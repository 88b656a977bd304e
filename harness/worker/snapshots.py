"""Caffe's own snapshots, each complete or not there at all.

Caffe writes them into a folder for unfinished files. The JSON that describes a snapshot is written there last; once it
is on the disk the snapshot is complete, and its files move up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import xxhash

from harness.atomic_write import sync, write_whole
from harness.caffe_files.history_digest import digest_history
from harness.caffe_files.solverstate import set_learned_net
from harness.caffe_files.written import is_whole_model, is_whole_state
from harness.errors import BadInput
from harness.recording.snapshots import UNFINISHED, expected_size, publish, write_snapshot
from harness.recording.writer import MIN_FREE_SPACE
from harness.schemas.data_position import TrainingPosition
from harness.schemas.events import SnapshotTaken
from harness.schemas.run_info import SnapshotInfo, TrainingSetup
from harness.worker.layer_state import State, encode_state
from harness.worker.pycaffe import Solver


class SnapshotFailed(Exception):
    """A snapshot cannot be written; nothing of it is left behind."""


class Snapshots:
    """Publishes the snapshots of `solver` in the run directory `run`.

    Args:
        setup: goes into the JSON beside each.
        kind: the type of the solver.
    """

    def __init__(self, solver: Solver, run: Path, setup: TrainingSetup, kind: str) -> None:
        self._solver = solver
        self._setup = {name: getattr(setup, name) for name in TrainingSetup.__struct_fields__}
        self._run, self._directory = run, run / "snapshots"
        self._unfinished = self._directory / UNFINISHED
        self._last = -1
        counts = [blob.count for layer in solver.net.layers for blob in layer.blobs]
        self._bytes = expected_size(sum(counts), kind, setup.net)

    def check_space(self) -> None:
        """Check that the disk has room for a snapshot: Caffe aborts where it has not.

        Raises:
            SnapshotFailed: it has not, or the run directory was deleted.
        """
        if not self._unfinished.is_dir():
            raise SnapshotFailed(f"{self._place}: no snapshot can be written, since its directory was deleted")
        disk = os.statvfs(self._unfinished)
        free = disk.f_bavail * disk.f_frsize
        if free < self._bytes + MIN_FREE_SPACE:
            raise SnapshotFailed(
                f"{self._place}: the disk is full: a snapshot needs {_mib(self._bytes)} MiB and "
                f"{_mib(MIN_FREE_SPACE)} to spare, and the disk has {_mib(free)} free. Free some space and restart "
                "from the last snapshot, or give --out on another disk"
            )

    def take(self) -> None:
        """Make Caffe write a snapshot now, unless it has just done so.

        Raises:
            SnapshotFailed: the disk has no room for it.
        """
        if self._last != self._solver.iter:
            self.check_space()
            self._solver.snapshot()

    @property
    def written(self) -> bool:
        """Whether there is a snapshot that Caffe has written and that is not published."""
        return bool(self._states())

    def publish(self, digest: Callable[[], int], point: TrainingPosition, layers: State | None) -> SnapshotTaken:
        """Move up what Caffe has `written`. Returns what it is.

        Args:
            digest: gives the digest of the weights.
            point: the position in data and random numbers after this iteration.
            layers: the state that layers keep outside their params; None if it cannot be read.

        Raises:
            SnapshotFailed: a file was not written completely, or cannot be read back.
        """
        try:
            return self._publish(self._states()[0], digest, point, layers)
        except (OSError, BadInput, SnapshotFailed) as error:
            for path in self._unfinished.glob("*"):
                path.unlink(missing_ok=True)
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SnapshotFailed(
                f"{self._place}: the snapshot of iteration {self._solver.iter}, which needs {_mib(self._bytes)} MiB, "
                f"could not be written ({reason}); nothing of it is left. "
                + ("Restart" if isinstance(error, BadInput) else "Free some space on that disk, and restart")
                + " from the last snapshot"
            ) from error

    def _publish(
        self, state: Path, digest: Callable[[], int], point: TrainingPosition, layers: State | None
    ) -> SnapshotTaken:
        model = state.with_name(state.name.replace(".solverstate", ".caffemodel"))
        for path, whole in (
            (model, is_whole_model(model, len(self._solver.net.layers))),
            (state, is_whole_state(state)),
        ):
            if not whole:
                raise SnapshotFailed(f"{path.name} is cut short at {path.stat().st_size:,} bytes")
        set_learned_net(state, str(self._place / "snapshots" / model.name))
        found = digest_history(state)
        name = re.sub(r"\.solverstate(\.h5)?$", "", state.name)
        kept = encode_state(layers) if layers else None
        if kept is not None:
            write_whole(self._unfinished / f"{name}.layers.npz", kept)
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
            layer_state=f"{name}.layers.npz" if kept is not None else None,
            layer_state_digest=xxhash.xxh3_64_hexdigest(kept) if kept is not None else None,
        )
        path = self._unfinished / f"{name}.json"
        write_snapshot(path, info)
        publish(path)
        return SnapshotTaken(info.iteration, info.weight_digest, info.caffemodel, info.solverstate, path.name)

    def _states(self) -> list[Path]:
        return [path for path in self._unfinished.glob("*") if path.name.endswith((".solverstate", ".solverstate.h5"))]

    @property
    def _place(self) -> Path:
        """The run directory as it is called now."""
        return self._run.resolve()


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"
