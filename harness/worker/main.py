"""The solver process: the one place where Caffe runs.

It steps the real solver one iteration at a time, looks at what Caffe has computed, and puts frames into the ring.
Nothing here writes to Caffe's memory.
"""

from __future__ import annotations

import json
import select
import sys
import time
from pathlib import Path
from typing import Any

import harness.worker.lazy_caffe_io  # noqa: F401  # before caffe

# isort: split
import caffe
import numpy as np
from google.protobuf import text_format

from harness.caffe_files.lmdb_file import check_reader_lock
from harness.caffe_files.messages import pb
from harness.errors import BadInput, RecordingFailed
from harness.recording import run_directory as rundir
from harness.recording.consumer import Consumer
from harness.recording.ring import Kind, Payload, Request, Ring
from harness.recording.writer import Writer
from harness.schemas.data_position import MainGenerator, Point
from harness.schemas.events import End
from harness.schemas.layout import Layout, all_finite
from harness.worker import blas
from harness.worker import rng as generator
from harness.worker.build import build, nets_of
from harness.worker.observer import Observer
from harness.worker.payload import Job
from harness.worker.probes.gpu import Cuda, GpuMemory
from harness.worker.probes.memory import HostMemory
from harness.worker.smoothed_loss import SmoothedLoss
from harness.worker.snapshots import Snapshots


class Host:
    """A native solver, and the ring that its frames go into."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.ring = Ring(job.ring)
        self.param = text_format.Parse(job.solver, pb.SolverParameter())
        self.nets = nets_of(job)
        self.orphaned = False
        self._lifeline = select.poll()
        self._lifeline.register(job.lifeline, select.POLLIN)
        self.layout: Layout | None = None
        self._heir: Consumer | None = None  # goes on with the recording when the harness process is dead
        self._ended: dict[str, Any] = {}

    # -- talking to the harness process -----------------------------------------------------------------------------

    def alive(self) -> bool:
        """Does the harness process live? Its end of the lifeline closes with it, however it dies."""
        if not self.orphaned:
            self.orphaned = bool(self._lifeline.poll(0))
        return not self.orphaned

    def requested(self) -> Request:
        """What the harness process asks for now."""
        return self.ring.request

    def put(self, kind: Kind, payload: Payload, **where: Any) -> None:
        """Put a message into the ring; with nobody left to empty it, empty it into the recording here."""
        if not self.ring.put(kind, payload, alive=self.alive, **where):
            self.take_over()
            self.ring.put(kind, payload, **where)

    def note(self, what: str, **facts: Any) -> None:
        """Tell the harness process something."""
        self.put(Kind.NOTE, json.dumps({"what": what} | facts).encode())

    def take_over(self) -> None:
        """The harness process is dead: write what lies in the ring into the recording, as it would have done."""
        path = Path(self.job.run) / "recording.h5"
        try:
            if not self._ended:
                self._ended = {"how": "the harness process died"}
                self.ring.take_over()
                if self.layout is not None and path.exists():
                    heir = Consumer(self.ring, lambda layout: Writer.take_over(path, layout))
                    heir.writer = Writer.take_over(path, self.layout)
                    self._heir = heir
            if self._heir is not None:
                for event in self._heir.drain():
                    self._ended |= event.facts if isinstance(event, End) else {}
        except RecordingFailed as failure:
            self._heir = None
            self._ended["how"] += f"; {failure}"
        for _ in self.ring.messages():  # what has no recording to go into
            pass
        self.ring.release()

    def leave(self) -> None:
        """See to it that all that was put into the ring is written, by whoever is there to do it."""
        self.ring.request_drain()
        while self.ring.tail < self.ring.head and self.alive():
            time.sleep(0.005)
        if self.alive():
            return
        self.take_over()
        if self._heir is not None and self._heir.writer is not None:
            self._heir.writer.close()
        run = Path(self.job.run)
        rundir.write_facts(run, rundir.read_facts(run) | {"ended": self._ended})

    # -- the run ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train until the end, or until asked to stop; the last message says how it ended."""
        job, param = self.job, self.param
        np.seterr(all="ignore")  # losses overflow as Caffe's own do
        for source in {layer.data_param.source for net in self.nets for layer in net.layer if layer.type == "Data"}:
            check_reader_lock(Path(source))
        readable = job.gpu is None and generator.is_accessible()
        solver, start = build(job, param, self.nets, self.note)
        smoothed = SmoothedLoss(param.average_loss, solver.iter)
        memory = HostMemory() if job.gpu is None else GpuMemory(Cuda(job.gpu))
        observer = Observer(solver, self.nets[0], job, self, param, memory)
        snapshots = Snapshots(solver, Path(job.run), job.facts | {"blas": blas.blas()})
        self.layout = observer.layout
        self._check_ring(self.layout)
        if self.layout.windows:
            self.ring.populate()
        if job.window_keys:
            Path(job.window_keys).unlink(missing_ok=True)
        self.put(Kind.LAYOUT, self.layout.to_json())
        self.note("blas", **blas.blas())
        if job.blas is not None and (reason := blas.other_kernels(job.blas, blas.blas())):
            self.note("not exact", reason=reason)

        def point() -> Point:
            words, position = generator.read_state() if readable else (None, 0)
            main = MainGenerator(solver.iter, words, position) if words else start.generator
            return Point(solver.iter, start.seed, main, start.after(observer.passes))

        self.ring.request_drain()
        while self.requested() is Request.WAIT and self.alive():
            time.sleep(0.005)
        if self.requested() is not Request.GO:
            return
        # what Solver::Solve says at its start; ours comes at the end of the training
        caffe.log(f"Solving {self.nets[0].name}")
        caffe.log(f"Learning Rate Policy: {param.lr_policy}")

        asked, broken = self.ring.snapshot_requests, False
        while solver.iter < job.until and self.alive() and self.requested() is Request.GO:
            iteration = solver.iter
            observer.before(iteration)
            solver.step(1)
            frame = observer.after(iteration)
            frame["smoothed_loss"] = smoothed.update(iteration, np.float32(frame["loss"]))
            self.put(Kind.FRAME, frame.reshape(1), iteration=iteration)
            if not broken and not all_finite(frame):
                broken = True
                self._await_judgement(iteration)
            if self.ring.snapshot_requests > asked:
                asked = self.ring.snapshot_requests
                snapshots.take()
                self._publish(snapshots, observer, point())
            elif param.snapshot and solver.iter % param.snapshot == 0:  # as Solver::Step decides
                self._publish(snapshots, observer, point())

        facts: dict[str, Any] = {}
        stands = point()  # before the forward pass and the tests that solve() makes at the end
        if solver.iter >= param.max_iter:
            solver.solve()  # steps no more: the last snapshot, the last loss, the last test pass
            if param.display and solver.iter % param.display == 0:
                facts["last_loss"] = float(smoothed.update(solver.iter, observer.loss()))
            observer.send_tests(solver.iter)
        elif self.requested() is not Request.QUIT and (solver.iter < job.until or param.snapshot_after_train):
            snapshots.take()
        self._publish(snapshots, observer, stands)
        facts |= {"iteration": solver.iter, "weight_digest": f"{observer.params.digest():016x}"}
        self.put(Kind.END, json.dumps(facts).encode())

    def _await_judgement(self, iteration: int) -> None:
        """After the first NaN, let the harness process decide before another iteration is made.

        A NaN that meets a MAX pooling layer corrupts the heap (pooling_layer.cpp, Backward_cpu: its mask stays -1).
        """
        self.ring.request_drain()
        while self.ring.checked_until <= iteration and self.requested() is Request.GO and self.alive():
            time.sleep(0.005)

    def _check_ring(self, layout: Layout) -> None:
        rows = [array.nbytes // array.shape[0] if array.shape else array.nbytes for array in layout.arrays]
        largest = max([layout.frame_dtype.itemsize, *rows])
        if largest > self.ring.max_payload:
            raise BadInput(
                f"too small: one message of this net has {largest:,} bytes",
                field="--ring-mib",
                value=self.ring.capacity >> 20,
                remedy=f"Give at least {(largest >> 19) + 1}",
            )

    def _publish(self, snapshots: Snapshots, observer: Observer, point: Point) -> None:
        about = snapshots.publish(observer.params.digest, point)
        if about is not None:
            self.note("snapshot", **about)


def main() -> None:
    host = Host(Job.from_json(sys.stdin.read()))
    try:
        host.run()
    except BadInput as error:
        host.note("bad input", message=str(error))
        sys.exit(2)
    finally:
        host.leave()


if __name__ == "__main__":
    caffe.init_log(0, True)  # glog to stderr, all of it, as `caffe train` does
    main()
