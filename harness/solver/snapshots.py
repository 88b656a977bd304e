"""Caffe's own snapshots, each whole or not at all.

Caffe writes them into a folder for unfinished files; what is complete moves up from there. A JSON beside them comes
last and says what they are.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from harness.recording.files import write_whole
from harness.solver.messages import pb

_UNFINISHED = ".writing"


def prefix(run: Path, name: str) -> str:
    """The snapshot_prefix under which Caffe writes into the run directory `run`."""
    return str(run / "snapshots" / _UNFINISHED / name)


def final_name(text: str) -> str:
    """`text` with the names under which snapshots appear in the end."""
    return text.replace(f"/snapshots/{_UNFINISHED}/", "/snapshots/")


class Snapshots:
    """Publishes the snapshots of `solver` in `run`; `facts` go into the JSON beside each."""

    def __init__(self, solver: Any, run: Path, facts: dict[str, Any]) -> None:
        self._solver = solver
        self._facts = facts
        self._directory = run / "snapshots"
        self._unfinished = self._directory / _UNFINISHED
        self._unfinished.mkdir(parents=True, exist_ok=True)
        self._last = -1

    def take(self) -> None:
        """Have Caffe write one now, unless it has just done so."""
        if self._last != self._solver.iter:
            self._solver.snapshot()

    def publish(self, digest: Callable[[], int], passes: dict[str, Any]) -> dict[str, Any] | None:
        """Move up what Caffe has finished, and say what it was. `digest` gives that of the weights."""
        states = [f.name for f in self._unfinished.iterdir() if f.name.endswith((".solverstate", ".solverstate.h5"))]
        if not states:
            return None
        state = self._unfinished / states[0]
        model = state.with_name(state.name.replace(".solverstate", ".caffemodel"))
        _set_learned_net(state, str(self._directory / model.name))
        for path in (model, state):
            _sync(path)
            os.replace(path, self._directory / path.name)
        self._last = self._solver.iter
        about = {
            "iteration": self._solver.iter,
            "weight_digest": f"{digest():016x}",
            "caffemodel": model.name,
            "solverstate": state.name,
            "passes": passes,
        }
        name = re.sub(r"\.solverstate(\.h5)?$", ".json", state.name)
        write_whole(self._directory / name, json.dumps(about | self._facts, indent=2) + "\n")
        return about


def _set_learned_net(state: Path, model: str) -> None:
    """Make the solverstate name its caffemodel where it will lie."""
    if state.name.endswith(".h5"):
        with h5py.File(state, "r+") as file:
            del file["learned_net"]
            # Caffe reads up to a NUL (hdf5_load_string), which numpy's own strings leave out
            file["learned_net"] = np.array(model.encode(), f"S{len(model.encode()) + 1}")
        return
    with state.open("ab") as file:  # of a field that comes twice, protobuf keeps the last
        file.write(pb.SolverState(learned_net=model).SerializePartialToString())


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
