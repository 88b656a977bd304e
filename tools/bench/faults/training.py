"""A training as files: a data set, a net, a solver, and weights to start from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.caffe_files.messages import pb
from tools.bench.faults.data import Record, write_lmdb
from tools.bench.faults.nets import Net


@dataclass(frozen=True, eq=False)
class Training:
    """What is trained, and how.

    Attributes:
        records: of the data set, in its order; no iteration of a run reads one a second time.
        seed: of the solver.
        solver: fields that differ from the usual ones; None leaves a field out.
        factors: of the learning rates of some layers.
        start: what training starts from, in place of what is usual for the net.
    """

    net: Net
    records: Sequence[Record]
    seed: int
    solver: Mapping[str, object] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    start: StartWeights | None = None

    def with_solver(self, **fields: object) -> Training:
        return replace(self, solver={**self.solver, **fields})

    def with_records(self, changed: Mapping[int, Record]) -> Training:
        """Return it with other records in some places."""
        return replace(self, records=[changed.get(number, record) for number, record in enumerate(self.records)])

    def write(self, home: Path, weights: Path | None = None, data: Path | None = None) -> TrainingFiles:
        """Write it into the directory `home`, in place of what is there.

        Args:
            weights: the caffemodel of `start`, as it was before it was damaged.
            data: the data set, if it has been written already.
        """
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        if data is None:
            data = home / "data"
            write_lmdb(data, self.records)
        (home / "net.prototxt").write_text(self.net.prototxt(data, self.factors))
        fields: dict[str, object] = {
            "net": f'"{home / "net.prototxt"}"',
            "base_lr": self.net.rate,
            "lr_policy": '"fixed"',
            "momentum": self.net.momentum,
            "weight_decay": self.net.decay,
            "display": 20,
            "max_iter": self.net.iterations,
            "snapshot_after_train": "false",
            "snapshot_prefix": f'"{home / "native"}"',
            "random_seed": self.seed,
            "solver_mode": "CPU",
        } | dict(self.solver)
        lines = (f"{name}: {value}\n" for name, value in fields.items() if value is not None)
        (home / "solver.prototxt").write_text("".join(lines))
        if self.start is None or weights is None:
            return TrainingFiles(home, home / "solver.prototxt", self.net.weights)
        self.start.damage(weights, home / "start.caffemodel")
        return TrainingFiles(home, home / "solver.prototxt", home / "start.caffemodel")


@dataclass(frozen=True, eq=False)
class StartWeights:
    """The weights that another training ended with, of some layers multiplied by a factor.

    Attributes:
        kept: the file in the work directory that keeps them before they are multiplied; empty if none does.
    """

    trained: Training
    factors: Mapping[str, float] = field(default_factory=dict)
    kept: str = ""

    def damage(self, source: Path, out: Path) -> None:
        """Multiply the weights (not the biases) in the caffemodel `source`."""
        net = pb.NetParameter.FromString(source.read_bytes())
        for layer in net.layer:
            if layer.name in self.factors:
                values = np.array(layer.blobs[0].data, np.float32) * np.float32(self.factors[layer.name])
                layer.blobs[0].data[:] = values.tolist()
        out.write_bytes(net.SerializeToString())


@dataclass(frozen=True)
class TrainingFiles:
    """A training that was written into `home`: its solver, and the caffemodel that it starts from."""

    home: Path
    solver: Path
    weights: Path | None

    def as_json(self) -> dict[str, Any]:
        return {"solver": str(self.solver), "weights": None if self.weights is None else str(self.weights)}
