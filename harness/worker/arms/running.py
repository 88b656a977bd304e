"""One arm while it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

import harness
from harness.caffe_files.arm_edits import edited
from harness.caffe_files.messages import pb
from harness.schemas.arm import Arm, ArmResult, LayerRedrawn, UpdateWithheld
from harness.schemas.feed import Feed
from harness.schemas.run_info import DigestKind
from harness.worker.arms.arm_solver import ArmFiles, build_solver
from harness.worker.arms.checkpoint import Checkpoint, Misfit
from harness.worker.arms.observed import Observed, by_name
from harness.worker.arms.rates import rates
from harness.worker.arms.start_weights import change_weights, history_factors, own_params
from harness.worker.arms.stored_batches import FEEDER, StoreReader
from harness.worker.arms.watch import NotFinite, Watch
from harness.worker.fast_forward import without_files
from harness.worker.probes.blobs import ParamProbe
from harness.worker.probes.memory import Memory
from harness.worker.pycaffe import Blob


class Abandoned(Exception):
    """Nobody waits for the result of an arm any more."""


@dataclass(frozen=True)
class Training:
    """The training whose arms are replayed.

    Attributes:
        kind: Caffe's type of its solver.
        solver, net: its messages; `net` is the train net, with the user's own layers.
        until: the iteration before which the run was to end.
        heads: names of losses.
        fed: the layers of `net` whose batches come from `store`.
        files: from which solvers are built.
        on_cpu: Caffe computes on the CPU.
        is_wanted: tells whether anybody waits for the result.
        digests: how the training's weights are hashed.
    """

    kind: str
    solver: pb.SolverParameter
    net: pb.NetParameter
    until: int
    heads: tuple[str, ...]
    fed: tuple[int, ...]
    store: StoreReader
    files: ArmFiles
    memory: Memory
    on_cpu: bool
    is_wanted: Callable[[], bool]
    digests: DigestKind


class Running:
    """An arm that is at its start: its solver is built, and stands where `checkpoint` was taken.

    Args:
        feed: the batches of all its passes.

    Attributes:
        solver: a solver of its own.
        net: the message of its train net.
        watch: watches each iteration.

    Raises:
        BadInput: a field cannot be changed in this way.
        Misfit: the changes do not fit the net.
    """

    def __init__(self, arm: Arm, feed: Feed, checkpoint: Checkpoint, training: Training) -> None:
        self._arm, self._training = arm, training
        message, net = edited(training.solver, training.net, arm.changes, training.fed)
        self.net = without_files(net)
        FEEDER.set(feed, training.store)
        drawn = self._draw(message, net) if any(isinstance(c, LayerRedrawn) for c in arm.changes) else None
        self.solver = build_solver(training.files.write(message, net), training.kind)
        self.watch = Watch(
            self.solver,
            self.net,
            training.heads,
            message.iter_size,
            training.memory,
            training.on_cpu,
            arm.look,
            training.digests,
        )
        factors = history_factors(arm, self.watch.params, training.kind)
        checkpoint.put_into(self.solver, self.net, factors)
        change_weights(arm, self.watch.params, drawn)
        self._withheld = [(change, self._blobs(change)) for change in arm.changes if isinstance(change, UpdateWithheld)]
        self._rates = list(rates(message, arm.start, arm.until, checkpoint.step, arm.changes, training.until))
        for iteration, rate in enumerate(self._rates, arm.start):
            if not math.isfinite(rate):  # poly beyond max_iter
                raise Misfit(f"the learning rate of iteration {iteration:,} is {rate}")

    def run(self, report: Callable[[float], None] = lambda loss: None) -> ArmResult:
        """Compute the arm, up to the first iteration that is not finite; `report` is told the loss of each.

        Raises:
            Abandoned: nobody waits for the result any more.
        """
        seen, digests = list[Observed](), list[int]()
        why = ""
        for iteration, rate in enumerate(self._rates, self._arm.start):
            if not self._training.is_wanted():
                raise Abandoned
            digests.append(self.watch.params.digest())
            why = self._step(iteration, rate)
            seen.append(self.watch.observed)
            report(self.watch.loss)
            if why:
                break
        return ArmResult(
            arm=self._arm,
            ended="not finite" if why else "completed",
            why=why,
            loss=tuple(row.loss for row in seen),
            rate=tuple(self._rates[: len(seen)]),
            gradient_l2=tuple(row.gradient_l2 for row in seen),
            layer_gradient_l2=by_name(row.layer_gradient_l2 for row in seen),
            layer_update_l2=by_name(row.layer_update_l2 for row in seen),
            blob_peak=by_name(row.blob_peak for row in seen),
            zero_fraction=by_name(row.zero_fraction for row in seen),
            outputs=by_name(row.outputs for row in seen),
            digest=tuple(digests),
            final_digest=self.watch.params.digest(),
            harness=harness.__version__,
        )

    def _step(self, iteration: int, rate: float) -> str:
        """Make an iteration. Returns a sentence if something in it is not finite."""
        kept = [(blob, blob.data.copy()) for blob in self._withheld_at(iteration)]
        self.watch.begin()
        self.solver.param.base_lr = rate
        try:
            self.solver.step(1)
        except NotFinite:
            return f"In iteration {iteration:,}, a MAX pooling layer read nothing but NaN somewhere."
        self.watch.complete()
        for blob, values in kept:
            blob.data[...] = values
        if self.watch.is_finite:
            return ""
        what = "gradient" if np.isfinite(self.watch.loss) else "loss"
        return f"In iteration {iteration:,}, the {what} is not finite."

    def _withheld_at(self, iteration: int) -> Iterator[Blob]:
        for change, blobs in self._withheld:
            if change.first <= iteration and (change.stop is None or iteration < change.stop):
                yield from blobs

    def _blobs(self, change: UpdateWithheld) -> Sequence[Blob]:
        params = self.watch.params
        return [params.blobs[position] for position in own_params(params.params, change.layer, change.index)]

    def _draw(self, message: pb.SolverParameter, net: pb.NetParameter) -> ParamProbe:
        """Return the params of a solver that was just built with the arm's seed; that seeds the main generator."""
        seeded = pb.SolverParameter()
        seeded.CopyFrom(message)
        seeded.random_seed = self._arm.seed
        solver = build_solver(self._training.files.write(seeded, net), self._training.kind)
        return ParamProbe(solver.net, self.net, self._training.memory, self._training.digests)
