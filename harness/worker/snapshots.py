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

from harness.atomic_write import write_whole
from harness.caffe_files.solverstate import set_learned_net
from harness.recording.snapshots import UNFINISHED
from harness.schemas.data_position import Point


class Snapshots:
    """Publishes the snapshots of `solver` in `run`; `facts` go into the JSON beside each."""

    def __init__(self, solver: Any, run: Path, facts: dict[str, Any]) -> None:
        self._solver = solver
        self._facts = facts
        self._directory = run / "snapshots"
        self._unfinished = self._directory / UNFINISHED
        self._unfinished.mkdir(parents=True, exist_ok=True)
        self._last = -1

    def take(self) -> None:
        """Have Caffe write one now, unless it has just done so."""
        if self._last != self._solver.iter:
            self._solver.snapshot()

    def publish(self, digest: Callable[[], int], point: Point) -> dict[str, Any] | None:
        """Move up what Caffe has finished, and say what it was.

        `digest` gives that of the weights; `point` is where data and random numbers stood after this iteration.
        """
        states = [f.name for f in self._unfinished.iterdir() if f.name.endswith((".solverstate", ".solverstate.h5"))]
        if not states:
            return None
        state = self._unfinished / states[0]
        model = state.with_name(state.name.replace(".solverstate", ".caffemodel"))
        set_learned_net(state, str(self._directory / model.name))
        for path in (model, state):
            _sync(path)
            os.replace(path, self._directory / path.name)
        self._last = self._solver.iter
        about = {
            "iteration": self._solver.iter,
            "weight_digest": f"{digest():016x}",
            "caffemodel": model.name,
            "solverstate": state.name,
        }
        path = self._directory / re.sub(r"\.solverstate(\.h5)?$", ".json", state.name)
        write_whole(path, json.dumps(about | {"point": point.to_json()} | self._facts, indent=2) + "\n")
        return about | {"about": path.name}


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
