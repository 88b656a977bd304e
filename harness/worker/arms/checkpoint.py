"""A checkpoint: all that a training continues with, apart from its data, taken from one solver and put into others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.caffe_files.messages import pb
from harness.caffe_files.solverstate import copy_solverstate, scale_history, set_learned_net
from harness.worker import rng
from harness.worker.layer_state import State, read_state, write_state
from harness.worker.pycaffe import Floats, Solver

Weights = tuple[tuple[Floats, ...], ...]  # of each layer of a built net, the data of its param blobs


class Misfit(Exception):
    """A solver cannot continue from a checkpoint: its blobs are other ones. The message is a sentence."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stood before `iteration`.

    Attributes:
        step: Caffe's current_step.
        weights: of all layers.
        state: the solverstate, which leaves the weights as they are.
        generator: the words and the position of the main generator; None if it cannot be read.
        layers: what layers keep outside their params.
    """

    iteration: int
    step: int
    weights: Weights
    state: Path
    generator: tuple[str, int] | None
    layers: State | None

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(values.nbytes for layer in self.weights for values in layer)

    def remove(self) -> None:
        """Remove its file."""
        self.state.unlink()

    def put_into(self, solver: Solver, net: pb.NetParameter, factors: Mapping[int, float]) -> None:
        """Bring a solver that was just built to this point.

        Args:
            net: the message of its train net.
            factors: for blobs of the solver's history; others stay as they are.

        Raises:
            Misfit: its param blobs have other shapes.
        """
        ours = [[tuple(blob.shape) for blob in layer.blobs] for layer in solver.net.layers]
        theirs = [[values.shape for values in layer] for layer in self.weights]
        if ours != theirs:
            raise Misfit("the changes give the net other param blobs than the weights and the history have")
        state = self.state
        if factors:
            state = copy_solverstate(state, _nothing(state), state.with_name("changed.solverstate"), None)
            scale_history(state, factors)
        solver.restore(str(state))
        for layer, stored in zip(solver.net.layers, self.weights, strict=True):
            for blob, values in zip(layer.blobs, stored, strict=True):
                blob.data[...] = values
        if self.layers is not None:
            write_state(self.layers, (solver.net,), (net,))
        if self.generator is not None:
            rng.write_state(*self.generator)


def take(solver: Solver, net: pb.NetParameter, step: int, prefix: Path, reads_generator: bool) -> Checkpoint:
    """Take a checkpoint of `solver`.

    Args:
        net: the message of its train net.
        step: Caffe's current_step, which the solver itself does not have (see rates.py).
        prefix: the solver's snapshot_prefix.
    """
    solver.snapshot()
    name = f"{prefix.name}_iter_{solver.iter}"
    state = prefix.with_name(f"{name}.solverstate")
    state.with_name(f"{name}.caffemodel").unlink()
    set_learned_net(state, str(_nothing(state)))
    return Checkpoint(
        iteration=solver.iter,
        step=step,
        weights=tuple(tuple(blob.data.copy() for blob in layer.blobs) for layer in solver.net.layers),
        state=state,
        generator=rng.read_state() if reads_generator else None,
        layers=read_state((solver.net,), (net,)),
    )


def _nothing(state: Path) -> Path:
    """Return a caffemodel without any layer, beside `state`."""
    model = state.with_name("empty.caffemodel")
    model.touch()
    return model
