"""The worker process: it steps the real solver and puts what Caffe has computed into the ring buffer.

    python -P -m harness.worker.main LIFELINE [RING BOX LOCK PAYLOAD DIRECTORY]

The arguments are inherited file descriptors. LIFELINE is a socket whose other end closes when the supervisor dies.
Through it come the others when the run is planned: the memory of the ring and of the black box; the lock on the run
directory, which supervisor and worker share, so that no other process repairs a recording that the worker continues;
the payload; the directory in which it works. Nothing here writes to Caffe's memory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

import harness.worker.lazy_caffe_io  # noqa: F401  # before caffe

# isort: split
import caffe
import numpy as np
import numpy.typing as npt
from google.protobuf import text_format

from harness.caffe_files.lmdb_file import check_reader_lock
from harness.caffe_files.messages import pb
from harness.errors import BadInput
from harness.prefetch.positions import PositionTracker
from harness.processes import take_signals
from harness.recording.locks import path_by
from harness.recording.ring import Kind, Request, Ring
from harness.recording.snapshots import prefix
from harness.schemas.data_position import GeneratorState, TrainingPosition
from harness.schemas.events import BlasLoaded, End, NoSnapshot, NotExact, Refused
from harness.schemas.layout import Layout, all_finite, inputs_finite
from harness.worker import rng
from harness.worker.blas import loaded_blas, other_kernels
from harness.worker.build import build, nets_of
from harness.worker.channel import Channel
from harness.worker.layer_state import State, read_state
from harness.worker.observer import Observer
from harness.worker.payload import Payload
from harness.worker.probes.gpu import Cuda, GpuMemory
from harness.worker.probes.memory import HostMemory
from harness.worker.pycaffe import Solver
from harness.worker.smoothed_loss import SmoothedLoss
from harness.worker.snapshots import SnapshotFailed, Snapshots
from harness.worker.solver_history import history_blobs
from harness.worker.waiting import restart_for_blas, wait_for_run


@dataclass(frozen=True)
class Training:
    """A native solver that is ready to be stepped, with all that observes it.

    `tracker` follows the position in data and random numbers. `reads_generator`: the state of the main generator can be
    read (on a GPU, layers draw from another one). `layers` gives the state that layers keep outside their params.
    """

    payload: Payload
    param: pb.SolverParameter
    nets: Sequence[pb.NetParameter]
    solver: Solver
    tracker: PositionTracker
    reads_generator: bool
    observer: Observer
    layers: Callable[[], State | None]
    snapshots: Snapshots
    smoothed: SmoothedLoss
    channel: Channel

    def run(self) -> None:
        """Train until the end, or until the supervisor asks to stop; the last message says how it ended."""
        # as Solver::Solve prints at its start; ours is called at the end of the training
        caffe.log(f"Solving {self.nets[0].name}")
        caffe.log(f"Learning Rate Policy: {self.param.lr_policy}")
        last_loss = None
        try:
            self._loop()
            last_loss = self._finish()
        except SnapshotFailed as failure:
            self.channel.send(NoSnapshot(str(failure)))
        self.channel.send(End(self.solver.iter, f"{self.observer.params.digest():016x}", last_loss))

    def _loop(self) -> None:
        solver, ring = self.solver, self.channel.ring
        asked, judged = ring.snapshot_requests, (True, True)
        while solver.iter < self.payload.until and self.channel.alive() and self.channel.request is Request.GO:
            iteration = solver.iter
            if self._is_due(iteration + 1):  # Caffe takes it in this step, and would abort
                self.snapshots.check_space()
            frame = self._step(iteration)
            finite = (judged[0] and all_finite(frame), judged[1] and inputs_finite(frame))
            if finite != judged:
                # A NaN that meets a MAX pooling layer corrupts the heap (pooling_layer.cpp, Backward_cpu: its mask
                # stays -1), so the supervisor decides before another iteration is made.
                judged = finite
                self.channel.wait_for_rules(iteration)
            if ring.snapshot_requests > asked:
                asked = ring.snapshot_requests
                self.snapshots.take()
                self._publish(self._point(), self.layers())
            elif self._is_due(solver.iter):
                self._publish(self._point(), self.layers())

    def _is_due(self, iteration: int) -> bool:
        """Check whether Caffe takes a snapshot before `iteration`, as Solver::Step decides."""
        return bool(self.param.snapshot and iteration % self.param.snapshot == 0)

    def _step(self, iteration: int) -> npt.NDArray[np.void]:
        self.observer.before(iteration)
        self.solver.step(1)
        frame = self.observer.after(iteration)
        frame["smoothed_loss"] = self.smoothed.update(iteration, np.float32(frame["loss"]))
        self.channel.put(Kind.FRAME, frame.reshape(1), iteration=iteration)
        return frame

    def _finish(self) -> float | None:
        """Do what Caffe does at the end of a training. Returns the last loss that it displays, if it does."""
        solver, param = self.solver, self.param
        last_loss = None
        # before the forward pass and the tests that solve() makes at the end
        point, layers = self._point(), self.layers()
        if solver.iter >= param.max_iter:
            if param.snapshot_after_train and not self._is_due(solver.iter):
                self.snapshots.check_space()
            solver.solve()  # makes no more steps: the last snapshot, the last loss, the last test pass
            if param.display and solver.iter % param.display == 0:
                last_loss = float(self.smoothed.update(solver.iter, self.observer.loss()))
            self.observer.send_tests(solver.iter)
        elif self.channel.request is not Request.QUIT and (
            solver.iter < self.payload.until or param.snapshot_after_train
        ):
            self.snapshots.take()
        self._publish(point, layers)
        return last_loss

    def _point(self) -> TrainingPosition:
        """Return the position in data and random numbers before the next iteration."""
        point = self.tracker.before(self.solver.iter)
        if not self.reads_generator:
            return point
        words, position = rng.read_state()
        return replace(point, generator=GeneratorState(point.iteration, words, position))

    def _publish(self, point: TrainingPosition, layers: State | None) -> None:
        if not self.snapshots.written:
            return
        self.channel.record_all()  # a snapshot never is newer than the recording
        taken = self.snapshots.publish(self.observer.params.digest, point, layers)
        self.channel.send(taken)


def prepare(payload: Payload, channel: Channel) -> Training:
    """Build the solver of `payload`, and send the layout of its recording.

    Caffe gets a path of the run directory that stays valid if that is moved.

    Raises:
        BadInput: weights, state or data do not fit, or the ring is too small.
    """
    np.seterr(all="ignore")  # losses overflow as Caffe's own do
    param = text_format.Parse(payload.info.solver, pb.SolverParameter())
    param.snapshot_prefix = prefix(channel.run, payload.snapshot_name)
    Path(param.snapshot_prefix).parent.mkdir(parents=True, exist_ok=True)
    nets = nets_of(payload)
    for source in {layer.data_param.source for net in nets for layer in net.layer if layer.type == "Data"}:
        check_reader_lock(Path(source))
    reads_generator = (
        payload.gpu is None and rng.is_accessible()
    )  # which seeds it, so it comes before the nets are built
    solver, start = build(payload, param, nets, channel.send)
    memory = HostMemory() if payload.gpu is None else GpuMemory(Cuda(payload.gpu))
    history = partial(history_blobs, solver, payload.solver_type)
    layers = partial(read_state, (solver.net, *solver.test_nets), nets)
    observer = Observer(solver, nets[0], payload, channel, param, memory, channel.box, history, layers)
    blas = loaded_blas()
    training = Training(
        payload=payload,
        param=param,
        nets=nets,
        solver=solver,
        tracker=PositionTracker(start, param),
        reads_generator=reads_generator,
        observer=observer,
        layers=layers,
        snapshots=Snapshots(solver, channel.run, msgspec.structs.replace(payload.info, blas=blas), payload.solver_type),
        smoothed=SmoothedLoss(param.average_loss, solver.iter),
        channel=channel,
    )
    channel.layout = observer.layout
    _check_ring(channel.ring, observer.layout)
    if observer.layout.windows:
        channel.ring.populate(sum(observer.layout.sizes(payload.until - solver.iter)))
    if payload.record_keys:
        Path(payload.record_keys).unlink(missing_ok=True)
    channel.put(Kind.LAYOUT, observer.layout.encode())
    channel.send(BlasLoaded(blas))
    if payload.blas is not None and (reason := other_kernels(payload.blas, blas)):
        channel.send(NotExact(reason))
    return training


def _check_ring(ring: Ring, layout: Layout) -> None:
    rows = [array.nbytes // array.shape[0] if array.shape else array.nbytes for array in layout.arrays]
    largest = max([layout.frame_dtype.itemsize, *rows])
    if largest > ring.max_payload:
        raise BadInput(
            f"too small: one message of this net has {largest:,} bytes",
            field="--ring-mib",
            value=ring.capacity >> 20,
            remedy=f"Give at least {(largest >> 19) + 1}",
        )


def main(payload: Payload, channel: Channel) -> int:
    """Run `payload`. Returns the exit code of the process."""
    try:
        training = prepare(payload, channel)
        if channel.wait_for_start():
            training.run()
    except BadInput as error:
        channel.send(Refused(str(error)))
        return 2
    finally:
        channel.close()
    return 0


def carry_out(
    lifeline: int, *descriptors: int, make_channel: Callable[[Path, int, int, int], Channel] = Channel
) -> int:
    """Carry out the run that `descriptors` give, else the one that comes through the lifeline. Returns the exit code.

    Args:
        lifeline, descriptors: the arguments of this process.
        make_channel: makes the channel to the supervisor from the run directory, ring, black box and lifeline.
    """
    ring, box, lock, content, directory = descriptors or wait_for_run(lifeline)
    os.fchdir(directory)
    given = Payload.decode(os.pread(content, os.fstat(content).st_size, 0))
    restart_for_blas(given, (lifeline, ring, box, lock, content, directory))
    os.close(content)
    os.close(directory)
    caffe.init_log(0, True)  # glog to stderr, all of it, as `caffe train` does; it installs a handler of SIGTERM
    take_signals()
    return main(given, make_channel(path_by(lock, Path(given.run)), ring, box, lifeline))


if __name__ == "__main__":
    sys.exit(carry_out(*map(int, sys.argv[1:])))
