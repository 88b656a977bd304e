"""Caffe's own snapshots, each whole or not at all.

Caffe writes them into a folder for unfinished files; what is complete moves up from there. A JSON beside them comes
last and says what they are.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.recording.errors import BadInput
from harness.recording.files import write_whole
from harness.solver.replay.point import Point
from harness.solver.statefile import set_learned_net

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


_KEYS = {"iteration", "caffemodel", "solverstate", "point", "solver", "net", "test_nets", "random_seed", "blas_threads"}


def read_json(path: Path) -> dict[str, Any]:
    """What the JSON beside a snapshot says.

    Raises:
        BadInput: damaged, or another file.
    """
    remedy = "Restart from another snapshot, or move this file away to take the snapshot for one of Caffe's own"
    try:
        about = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot be read ({error})", file=path, remedy=remedy) from None
    if not isinstance(about, dict) or not about.keys() >= _KEYS:
        raise BadInput("not what the harness writes beside a snapshot", file=path, remedy=remedy)
    return about


def iterations_of(directory: Path) -> dict[int, Path]:
    """The snapshots in `directory` by iteration: the JSON beside each. Files that are none are passed over."""
    found = {}
    for path in directory.glob("*.json"):
        with suppress(BadInput):
            found[int(read_json(path)["iteration"])] = path
    return found


def note_health(about: Path, health: dict[str, Any]) -> None:
    """Write into the JSON beside a snapshot what is known of the run's health."""
    write_whole(about, json.dumps(json.loads(about.read_text()) | {"health": health}, indent=2) + "\n")


def remove(about: Path) -> None:
    """Remove a snapshot by the JSON beside it, which goes first: it says that the others are whole."""
    facts = json.loads(about.read_text())
    for name in (about.name, facts["solverstate"], facts["caffemodel"]):
        about.with_name(name).unlink(missing_ok=True)
